"""The one mechanism behind every mask: the parameter stays dense, the module computes with ``latent * mask``.

Rules that hold everywhere:

1. ``install`` on every run, dense ones included, before the target is made: masking one branch alone
   changes the order of parameters, by which Lightly's ``update_momentum`` pairs them.
2. The effective weight is exactly 0 off the mask at every moment, also right after loading a checkpoint.
3. The latent's gradient is exactly 0 off the mask, unless it is let ``straight`` through; whoever wants to grow needs
   ``watch`` and ``dense_gradient``.
4. A mask changes after the gradient was taken under the old one, hence ``settle``.
5. The EMA of a target sees latents only, never masks; so a target that keeps more than the online encoder
   keeps it at its old strength. Weight decay acts on latents, masked ones included. An optimizer that
   scales by norms, as LARS, must be told what acts: at density 0.1 the latent's norm is about three times that.
6. Masks change between optimizer steps, never between micro-batches.
7. Masked modules can be deep-copied (masks are not aliased) but not pickled.

Source: ours, on ``torch.nn.utils.parametrize``. Published code multiplies in the forward pass as well, but
ranks the masked gradient for growth and leaves the optimizer's state behind.
"""

import copy
import hashlib
from collections.abc import Collection, Sequence

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # the only common base of all batch normalisations
from torch.nn.utils import parametrize
from torch.optim import Optimizer

Masks = dict[str, Tensor]
"""Module path -> mask with the weight's shape, in any memory format: float32 with entries 0 or 1, as all that are read
are, or bool."""

_SUFFIX = ".parametrizations.weight.0"


class _Multiply(nn.Module):
    """Compute ``latent * mask``; while watched, sum the gradients that arrive at the product."""

    mask: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.float32, requires_grad=False))
        self.is_watched = False
        self.is_straight = False
        self._probe: Tensor | None = None

    def forward(self, latent: Tensor) -> Tensor:
        if self.is_straight:  # the value is the product's: x - x is 0, and x + 0 is x
            return torch.addcmul(latent, latent.detach(), self.mask - 1.0)
        if not (self.is_watched and latent.requires_grad and torch.is_grad_enabled()):
            return latent * self.mask
        # The gradient of a summand is that of the sum: autograd adds it up by itself, which a hook on the product would
        # do at ten times the cost. And -0 + x is x, with its bits, for every x; 0 + x is not for -0.
        return torch.addcmul(self._probe_for(latent), latent, self.mask)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Let ``module.weight = value`` set the latent, as initialisers do."""
        return weight

    def watch(self, *, enabled: bool) -> None:
        """Start summing anew; or stop, and forget the sum. What it is summed with stays, for the next time."""
        self.is_watched = enabled
        if self._probe is not None:
            self._probe.grad = None

    def _probe_for(self, latent: Tensor) -> Tensor:
        if self._probe is None or _form(self._probe) != _form(latent):  # the module has moved since it was made
            self._probe = torch.full_like(latent, -0.0, requires_grad=True)
        return self._probe

    @property
    def gradient(self) -> Tensor | None:
        """The sum; ``None`` if nothing has arrived."""
        return None if self._probe is None else self._probe.grad


def prunable(encoder: nn.Module) -> tuple[str, ...]:
    """Return the paths of all ``Conv2d`` but the first registered one: the stem, which reads the image.

    Linear layers, normalisation and biases are never pruned. Source: Meng et al. 2023 (SyncCP), the
    authors' ResNets.
    """
    return tuple(name for name, module in encoder.named_modules() if isinstance(module, nn.Conv2d))[1:]


def install(encoder: nn.Module, layers: Collection[str] | None = None) -> None:
    """Give the layers at these paths (default: ``prunable(encoder)``) a mask of ones, in place.

    Raises:
        ValueError: if there are none, or one of them is masked already.
    """
    layers = prunable(encoder) if layers is None else layers
    if not layers:
        raise ValueError("the encoder has no prunable layer: it needs a Conv2d besides its stem.")
    for path in layers:
        module = encoder.get_submodule(path)
        if parametrize.is_parametrized(module, "weight"):
            raise ValueError(f"{path} is masked already: install masks once, before the target is made.")
        parametrize.register_parametrization(module, "weight", _Multiply(module.get_parameter("weight")))


def is_installed(encoder: nn.Module) -> bool:
    """Return whether any layer has a mask."""
    return any(isinstance(module, _Multiply) for module in encoder.modules())


def twin(encoder: nn.Module, *, own_statistics: bool) -> nn.Module:
    """Return a second module on the same ``Parameter`` objects with masks of its own.

    Args:
        encoder: masked.
        own_statistics: True gives the twin running statistics of batch normalisation of its own, which two
            different masks need: the statistics of one branch would spoil the other in evaluation mode. False
            shares them, so that a dense twin is bit-identical to using the encoder twice.
    """
    shared: dict[int, object] = {id(parameter): parameter for parameter in encoder.parameters()}
    if not own_statistics:
        # The modules, not only their buffers: `Module.to` replaces buffers, and the two would part ways.
        shared |= {id(module): module for module in encoder.modules() if isinstance(module, _BatchNorm)}
    return copy.deepcopy(encoder, shared)


def read(encoder: nn.Module) -> Masks:
    """Return copies of the masks, in the order of the modules."""
    return {
        path: module.mask.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        for path, module in _masked(encoder).items()
    }


def write(encoder: nn.Module, masks: Masks, optimizer: Optimizer | None = None) -> None:
    """Replace the masks, in place; with an optimizer, also ``settle`` it.

    Nothing is written unless everything is valid. Pairs of branches: use ``Branches.write``.

    Raises:
        ValueError: if names, shapes or dtype are wrong, or an entry is neither 0 nor 1.
    """
    before = None if optimizer is None else read(encoder)
    write_alike((encoder,), masks)
    if optimizer is not None and before is not None:
        settle(encoder, before, masks, optimizer)


def write_alike(encoders: Sequence[nn.Module], masks: Masks) -> None:
    """Replace the masks of several encoders by the same ones, which are looked at once.

    Raises:
        ValueError: as ``write``; then no mask of any encoder has changed.
    """
    parts = [_masked(encoder) for encoder in encoders]
    for modules in parts:
        if masks.keys() != modules.keys():
            raise ValueError(
                f"masks and encoder name different layers: {sorted(masks.keys() ^ modules.keys())}. "
                "Write all masks of an encoder at once; `read` gives the present ones."
            )
        for path, mask in masks.items():
            _check(path, mask, modules[path].mask.shape)
    numbers = {path: mask for path, mask in masks.items() if mask.dtype != torch.bool}
    if numbers and not _is_binary(flat(numbers)):  # of all at once: a wait, not one each
        path = next(path for path, mask in numbers.items() if not _is_binary(mask))
        raise ValueError(f"{path}: a mask's entries are 0 or 1; NaN is neither.")
    for modules in parts:
        torch._foreach_copy_([module.mask for module in modules.values()], [masks[path] for path in modules])


@torch.no_grad()
def settle(encoder: nn.Module, before: Masks, after: Masks, optimizer: Optimizer) -> None:
    """Make gradients and optimizer state fit a new mask.

    The gradient was taken under the old mask, so it is zeroed off the new one. Whatever state has the
    weight's shape (momentum, Adam's moments) is zeroed off the new mask and where a weight has just grown:
    otherwise a dropped latent coasts on its momentum, straight into an EMA target, and a grown one starts
    with a stale push.

    Args:
        encoder: whose latents the optimizer moves.
        before: which latents acted before the change: the old mask, for a tied pair the union of both.
        after: which latents act now.
        optimizer: any whose state is keyed by parameter.
    """
    for path, parameter in latent(encoder).items():
        stays = before[path] * after[path]
        if parameter.grad is not None:
            parameter.grad.mul_(after[path])
        # `get`: the state is a defaultdict, and asking must not create an entry.
        for value in optimizer.state.get(parameter, {}).values():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                value.mul_(stays)


@torch.no_grad()
def forget(encoder: nn.Module, acting: Masks) -> None:
    """Set every latent that does not act to 0: should it come back, it starts from nothing."""
    for path, parameter in latent(encoder).items():
        parameter.masked_fill_(acting[path] == 0, 0.0)


def latent(encoder: nn.Module) -> dict[str, nn.Parameter]:
    """Return the dense parameters behind the masks: what the optimizer and the EMA move."""
    return {path: encoder.get_parameter(f"{path}.parametrizations.weight.original") for path in _masked(encoder)}


def watch(encoder: nn.Module, *, enabled: bool) -> None:
    """Start summing dL/d(effective weight) over all backward passes; or stop, and forget the sum.

    Raises:
        RuntimeError: the gradient of a layer is let straight through: it is the latent's own.
    """
    masked = _masked(encoder).values()
    if enabled and any(module.is_straight for module in masked):
        raise RuntimeError(
            "watch: gradients are let straight through here, so a latent's `.grad` is the dense gradient."
        )
    for module in masked:
        module.watch(enabled=enabled)


def let_straight(encoder: nn.Module) -> None:
    """From now on give every latent the whole gradient dL/d(effective weight), at masked positions too.

    The straight-through estimator. It is summed over views and micro-batches, and averaged over ranks, with the
    gradients of all other parameters; ``watch`` has nothing to add, and is refused from here on.
    """
    for module in _masked(encoder).values():
        module.watch(enabled=False)
        module.is_straight = True


def is_watched(encoder: nn.Module) -> bool:
    """Return whether dense gradients are being summed."""
    return any(module.is_watched for module in _masked(encoder).values())


def dense_gradient(*encoders: nn.Module) -> dict[str, Tensor]:
    """Return the sum of dL/d(effective weight) since ``watch``, non-zero at masked positions too.

    Args:
        encoders: one; or both modules of a tied pair, whose gradients are added.

    Returns:
        One tensor per layer with the weight's shape, over views and micro-batches, averaged over ranks.

    Raises:
        RuntimeError: if a layer was not watched, or no gradient has reached it.
    """
    first, *others = ({path: _arrived(path, module) for path, module in _masked(each).items()} for each in encoders)
    total = {path: gradient.clone() for path, gradient in first.items()}
    for other in others:
        torch._foreach_add_([*total.values()], [other[path] for path in total])
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for gradient in total.values():
            torch.distributed.all_reduce(gradient)
            gradient.div_(torch.distributed.get_world_size())
    return total


def export(encoder: nn.Module) -> nn.Module:
    """Return a plain copy: zeros baked in, no masks, keys in the order of a module that never had any."""
    plain = copy.deepcopy(encoder)
    latents = latent(plain)
    for path, module in _masked(plain).items():
        layer, dense = plain.get_submodule(path), latents[path]
        # Not `remove_parametrizations`: it takes the property off the class, which the original still needs.
        layer.__class__ = parametrize.type_before_parametrizations(layer)
        del layer.parametrizations
        # Not `latent * 0`, which may be -0. The weight comes first again; the others go behind it.
        weight = dense.detach().masked_fill(module.mask == 0, 0.0)
        others = dict(layer.named_parameters(recurse=False))
        layer.register_parameter("weight", nn.Parameter(weight, requires_grad=dense.requires_grad))
        for name, parameter in others.items():
            delattr(layer, name)
            layer.register_parameter(name, parameter)
    return plain


def flat(masks: Masks) -> Tensor:
    """Return all entries in one row, the inputs of a layer last: no copy of what is channels-last."""
    return torch.cat([(mask.movedim(1, -1) if mask.dim() > 1 else mask).reshape(-1) for mask in masks.values()])


class Layers:
    """The masked layers of an encoder, found once: asking these costs little, in every step too.

    Args:
        encoder: whose modules stay where they are, and are not masked anew, from now on.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._modules = _masked(encoder)

    @property
    def version(self) -> int:
        """A number that grows whenever a mask is written, by ``write`` or by loading a checkpoint."""
        return sum(module.mask._version for module in self._modules.values())  # noqa: SLF001 (public in all but name)

    @property
    def has_dense_gradient(self) -> bool:
        """Whether the gradient of any layer is computed off its mask too: it is watched, or let straight through."""
        return any(module.is_watched or module.is_straight for module in self._modules.values())

    def counts(self) -> dict[str, int]:
        """Return how many weights each layer keeps."""
        return {path: _ones(module.mask) for path, module in self._modules.items()}


def counts(encoder: nn.Module) -> dict[str, int]:
    """Return how many weights each layer keeps."""
    return Layers(encoder).counts()


def version(encoder: nn.Module) -> int:
    """Return a number that grows whenever a mask is written, by ``write`` or by loading a checkpoint."""
    return Layers(encoder).version


def digest(encoder: nn.Module) -> str:
    """Return the SHA-256 of all masks, as hex; independent of device, memory format and layer order."""
    return _sha256({path: mask.bool() for path, mask in read(encoder).items()})


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of ``module.state_dict()``, as hex; independent of device and memory format."""
    return _sha256(module.state_dict())


def _masked(encoder: nn.Module) -> dict[str, _Multiply]:
    found: dict[str, _Multiply] = {}

    # Twice as fast as `named_modules`, whose generators cost a microsecond a module; methods ask in every step.
    def visit(parent: nn.Module, path: str) -> None:
        for name, module in parent._modules.items():  # noqa: SLF001 (public in all but name)
            if isinstance(module, _Multiply):
                found[f"{path}{name}".removesuffix(_SUFFIX)] = module
            elif module is not None:
                visit(module, f"{path}{name}.")

    visit(encoder, "")
    return found


def _form(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def _arrived(path: str, module: _Multiply) -> Tensor:
    gradient = module.gradient
    if gradient is None:
        raise RuntimeError(
            f"{path}: no dense gradient. Call watch(encoder, enabled=True) before the forward pass, "
            "and ask after the backward pass."
        )
    return gradient


def _check(path: str, mask: Tensor, shape: torch.Size) -> None:
    if mask.shape != shape:
        raise ValueError(f"{path}: a mask of shape {tuple(mask.shape)} does not fit a weight of {tuple(shape)}.")
    if mask.dtype not in {torch.float32, torch.bool}:
        raise ValueError(f"{path}: a mask is float32 or bool, not {mask.dtype}; convert it with `.float()`.")


def _ones(mask: Tensor) -> int:
    # Up to 2^24 ones, sums of them are exact in single precision, and eight times faster than `count_nonzero`.
    return int(mask.sum(dtype=torch.float32) if mask.numel() <= 2**24 else mask.count_nonzero())


def _is_binary(mask: Tensor) -> bool:
    # x - x * x is 0 for 0 and 1 alone, and the extremes tell: NaN propagates through both.
    return not bool(torch.stack(mask.addcmul(mask, mask, value=-1).aminmax()).any())


def _sha256(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
