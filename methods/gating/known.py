"""Training steps whose gates are known before them: what is closed is neither computed nor learned from.

A gated layer as published decides by what it sees in the step itself, so that everything is computed first and some of
it thrown away. Where a step's gates come from elsewhere, such as from an earlier pass over the same images, it need not
be. Then nothing is decided in the step, and no gradient reaches a threshold or a network that decides.
Source: ours.
"""

import abc
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from methods.gating import compiled
from methods.gating.convolution import GatedConv2d
from methods.gating.layer import gated, replace
from methods.gating.masked import MaskedConv2d
from methods.gating.open_conv import suits, why_not_compiled
from methods.gating.partition import base_and_rest
from methods.gating.quick_rows import QuickRows
from methods.gating.residual import take_normalisation
from methods.gating.rows import Rows, Stage
from methods.gating.tables import whole
from methods.gating.windows import Windows, are_mostly, places


class KnownGates(nn.Module, abc.ABC):
    """A convolution that computes and learns where gates that it was told are open.

    Attributes:
        conv: the convolution, with its mask.
        gates: bool ``[N, slices, H', W']``, of the images that come next and of all later ones until others are told.
    """

    def __init__(self, conv: nn.Conv2d, stages: list[Stage], *, is_compact: bool) -> None:
        super().__init__()
        self.conv = conv
        self.gates: Tensor | None = None
        self._plain = Rows(conv, stages, is_compact=is_compact)
        self._quick = None if why_not_compiled(conv) else QuickRows(conv, stages, is_compact=is_compact)

    def told(self, images: Tensor) -> Tensor:
        """Return the gates of these images.

        Raises:
            ValueError: nobody told them, or those of other maps.
        """
        gates, size = self.gates, Windows.of(self.conv).size(images)
        if gates is None or gates.dtype != torch.bool or gates.ndim != 4 or len(gates) != len(images):
            told = "none" if gates is None else f"{gates.dtype} {list(gates.shape)}"
            raise ValueError(f"gates of {len(images)} images are needed, bool [N, slices, H', W']; told were {told}.")
        if gates.shape[2:] != size:
            raise ValueError(f"gates of maps of {list(size)} pixels are needed; told were {list(gates.shape)}.")
        return gates

    def computed(self, images: Tensor) -> Tensor:
        """Return what is open, without bias."""
        gates, weight = self.told(images), self.conv.weight
        is_quick = self._quick is not None and suits(self.conv) and images.dtype == torch.float32
        how = self._quick if is_quick else self._plain
        made: Tensor = _Open.apply(images, weight, gates, how)
        return made


class KnownPixels(KnownGates):
    """A convolution of a block with spatial gates, with what normalises it: at closed pixels the output is 0.

    The normalisation's statistics are those of open pixels, as there is nothing else; of fewer than two, its running
    ones. (The masked layer, which has everything, normalises by statistics of all pixels.) Where most pixels are open,
    the dense convolution computes them.

    Args:
        conv: with one group, zero padding given in pixels.
        normalisation: what stood behind the convolution.
    """

    def __init__(self, conv: nn.Conv2d, normalisation: nn.Module) -> None:
        super().__init__(conv, [Stage(parts=whole(conv), is_gated=True)], is_compact=True)
        self.normalisation = normalisation

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[N, out_channels, H', W']`` in channels-last memory."""
        gates = self.told(images)
        count, _, high, wide = gates.shape
        pixels = places(gates)
        if are_mostly(gates):
            every: Tensor = self.conv(images)
            rows = every.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, pixels)
        else:
            rows = self.computed(images)
            rows = rows if self.conv.bias is None else rows + self.conv.bias
        rows = self._normalised(rows)
        made = rows.new_zeros(count * high * wide, rows.shape[1])
        made = made.index_copy_(0, pixels, rows)
        return made.view(count, high, wide, -1).permute(0, 3, 1, 2)

    def _normalised(self, rows: Tensor) -> Tensor:
        norm = self.normalisation
        if isinstance(norm, nn.BatchNorm2d) and len(rows) < 2:  # which have no variance
            mean, variance = norm.running_mean, norm.running_var
            return nn.functional.batch_norm(rows, mean, variance, norm.weight, norm.bias, training=False, eps=norm.eps)
        made: Tensor = norm(rows[:, :, None, None])
        return made.flatten(1)


class KnownSlices(KnownGates):
    """A convolution with gates per pixel and slice: the base path everywhere, the rest where it is open.

    Args:
        layer: whose convolution it is, and how its base path is cut.
    """

    def __init__(self, layer: GatedConv2d) -> None:
        thick = 1 if why_not_compiled(layer.conv) else int(compiled.library().lanes())
        base, rest = base_and_rest(layer, at_least=thick)
        stages = [Stage(parts=base, is_gated=False), Stage(parts=rest, is_gated=True)]
        super().__init__(layer.conv, stages, is_compact=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[N, out_channels, H', W']`` in channels-last memory."""
        made = self.computed(images)
        return made if self.conv.bias is None else made + self.conv.bias[:, None, None]


def know(encoder: nn.Module, gates: Mapping[str, Tensor]) -> None:
    """Tell an encoder the gates of its next images, in place; gated layers become layers with known gates.

    Args:
        encoder: with gates per pixel and slice, or spatial ones, as its method installed them; or with known ones.
        gates: of every gated layer by path, bool ``[N, slices, H', W']``, such as ``measure.decisions`` returns.

    Raises:
        ValueError: other layers have gates than are told, or gates of a kind that decides per image.
    """
    known = {path: layer for path, layer in encoder.named_modules() if isinstance(layer, KnownGates)}
    layers = known or gated(encoder)
    if layers.keys() != gates.keys():
        raise ValueError(f"gates are told of other layers than have them: {sorted(layers.keys() ^ gates.keys())}.")
    for path, layer in layers.items():
        made = layer if isinstance(layer, KnownGates) else _known(encoder, path, layer)
        made.gates = gates[path]


def _known(encoder: nn.Module, path: str, layer: nn.Module) -> KnownGates:
    made: KnownGates
    if isinstance(layer, GatedConv2d):
        made = KnownSlices(layer)
    elif isinstance(layer, MaskedConv2d):
        behind = take_normalisation(encoder, path) if layer.normalisation is None else layer.normalisation
        made = KnownPixels(layer.conv, behind)
    else:
        kind = type(layer).__name__
        raise ValueError(  # noqa: TRY004 (a layer of the wrong kind is a wrong value of the encoder)
            f"{path}: {kind} chooses channels image by image; only gates of pixels can be known. Train it as it is."
        )
    replace(encoder, path, made)
    return made


class _Open(torch.autograd.Function):
    """The convolution where it is open, by ``Rows`` or ``QuickRows``."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, gates: Tensor, how: Rows | QuickRows) -> Tensor:
        ctx.save_for_backward(images, weight, gates)
        ctx.how = how
        return how.forward(images, weight, gates)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, errors: Tensor) -> tuple[Tensor, Tensor, None, None]:
        images, weight, gates = ctx.saved_tensors
        found = ctx.how.backward(images, weight, gates, errors)
        return found.images, found.weight, None, None


__all__ = ["KnownGates", "KnownPixels", "KnownSlices", "know"]
