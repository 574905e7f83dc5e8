"""Take out of an encoder what a plan does not keep."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from methods.compaction.border import BorderedConv2d, give
from methods.compaction.channels import affine, of_ones, pads_zeros
from methods.compaction.plan import Plan, melting
from methods.compaction.wires import wires
from methods.gating.layer import replace


@torch.no_grad()
def compacted(encoder: nn.Module) -> nn.Module:
    """Return a smaller encoder that computes the same features, up to rounding, with the dead channels gone.

    Filters that are zero, filters that nothing reads any more, and the channels of normalisations and of the next
    layers that belong to them are gone, through shortcuts too. Normalisations melt into the convolutions before them.
    The features keep their number and their order. Zeros that are no whole channel stay.

    Args:
        encoder: plain, with zeros baked in, as ``masking.export`` gives it. The copy is in evaluation mode: which
            channels are constant depends on the running statistics.

    Raises:
        ValueError: the encoder cannot be traced, or has a layer whose channels nobody here knows to follow.
    """
    plan, made = Plan.of(encoder), copy.deepcopy(encoder).eval()
    last = len(plan.wires) - 1
    for place, wire in enumerate(plan.wires):
        if not wire.path:
            continue
        module, stays = made.get_submodule(wire.path), plan.kept[place]
        before = plan.kept[wire.reads[0]]
        constant = plan.known[wire.reads[0]].constant.nan_to_num(0.0)
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            module = _cut(module, stays, before, constant.masked_fill(before, 0.0))
        elif isinstance(module, nn.BatchNorm2d):
            _cut_normalisation(module, stays)
            if place in plan.melts:
                _melt(made, plan.wires[plan.melts[place]].path, module)
                module = nn.Identity()
        elif isinstance(module, nn.Linear):
            _cut_linear(module, before, constant)
        elif place == last and isinstance(module, nn.Identity) and not before.all():
            module = _spread_linear(before, constant)
        if place in plan.spreads:
            spread = _spread_convolution(plan.spreads[place].places, plan.spreads[place].constant)
            module = spread if isinstance(module, nn.Identity) else nn.Sequential(module, spread)
        replace(made, wire.path, module.eval())
    return _as(encoder, made)


@torch.no_grad()
def folded(encoder: nn.Module) -> nn.Module:
    """Return an encoder that computes the same, up to rounding, all of its channels, with normalisations melted.

    It is what a compacted encoder is fairly compared with.

    Args:
        encoder: plain; the copy is in evaluation mode.

    Raises:
        ValueError: as ``compacted``.
    """
    found, made = wires(encoder), copy.deepcopy(encoder).eval()
    for place, into in melting(found).items():
        module = made.get_submodule(found[place].path)
        assert isinstance(module, nn.BatchNorm2d)
        _melt(made, found[into].path, module)
        replace(made, found[place].path, nn.Identity().eval())
    return _as(encoder, made)


def shaped(encoder: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Give an encoder, in place, the layers of the compacted one that has these tensors; return it.

    Args:
        encoder: as it was built before it was trained and compacted.
        tensors: the ``state_dict`` of the compacted one. Its values are not copied.

    Raises:
        ValueError: a layer of the encoder has no weight among them.
    """
    for path, module in list(encoder.named_modules()):
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear | nn.Identity):
            own = {name.removeprefix(f"{path}."): each for name, each in tensors.items() if name.startswith(f"{path}.")}
            replace(encoder, path, _shaped(path, module, own))
    laid_out: nn.Module = encoder.to(memory_format=torch.channels_last)
    return laid_out


def _shaped(path: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return what stands for a layer: itself in its new shape, what it melted into, what spreads its channels."""
    weight, spread = tensors.get("weight"), tensors.get("1.weight")
    if spread is not None:
        return nn.Sequential(
            _shaped(path, module, _below("0.", tensors)), _shaped(path, nn.Identity(), _below("1.", tensors))
        )
    if isinstance(module, nn.BatchNorm2d) and "running_mean" not in tensors:
        module = nn.Identity()
    if isinstance(module, nn.Identity):
        if weight is None:
            return module
        outputs, inputs, *kernel = weight.shape
        return (nn.Conv2d(inputs, outputs, 1) if kernel else nn.Linear(inputs, outputs)).requires_grad_(False)
    if weight is None:
        raise ValueError(f"{path} has no weight among the tensors. Give the encoder that they were made of.")
    assert isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear)
    _shape(module, tensors)
    if isinstance(module, nn.Conv2d) and "border" in tensors:
        return give(module, torch.empty_like(tensors["border"]))
    return module


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}


def _shape(module: nn.Conv2d | nn.BatchNorm2d | nn.Linear, tensors: Mapping[str, Tensor]) -> None:
    """Give a layer parameters and buffers of these tensors' shapes, uninitialised."""
    weight, own = tensors["weight"], module.weight
    if isinstance(module, nn.BatchNorm2d):
        module.num_features = len(weight)
    elif isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels = len(weight), weight.shape[1] * module.groups
    else:
        module.out_features, module.in_features = weight.shape
    for name in ("weight", "bias"):
        if name in tensors:
            shape, is_trained = tensors[name].shape, own.requires_grad
            setattr(module, name, nn.Parameter(own.new_empty(shape), requires_grad=is_trained))
    for name, buffer in list(module.named_buffers(recurse=False)):
        setattr(module, name, buffer.new_empty(len(weight)) if buffer.ndim else buffer)


def _cut(conv: nn.Conv2d, outputs: Tensor, inputs: Tensor, removed: Tensor) -> nn.Conv2d:
    """Return a convolution without some channels, which still adds what it made of the constants among them.

    Args:
        conv: is changed.
        outputs: bool ``[C]``: which output channels stay.
        inputs: bool ``[K]``: which input channels stay.
        removed: float64 ``[K]``: the constant of each input channel that does not stay; else 0.
    """
    whole = conv.weight[outputs]
    added = (whole.double() * removed[None, :, None, None]).sum(1, keepdim=True)
    conv.weight = _parameter(conv.weight, whole[:, inputs])
    if conv.bias is not None:
        conv.bias = _parameter(conv.bias, conv.bias[outputs])
    if isinstance(conv, BorderedConv2d):
        conv.border = conv.border[outputs]
    conv.out_channels, conv.in_channels = int(outputs.sum()), int(inputs.sum())
    if added.any() and pads_zeros(conv):
        return give(conv, added)
    if added.any():
        _add(conv, of_ones(added)[:, 0])
    return conv


def _add(layer: nn.Conv2d | nn.Linear, shift: Tensor) -> None:
    """Add a float64 shift per output channel to the bias of a layer, which may have none."""
    bias: Tensor | None = layer.bias  # whatever the annotation of torch says
    if bias is None:
        layer.bias = nn.Parameter(shift.to(layer.weight.dtype), requires_grad=layer.weight.requires_grad)
    else:
        layer.bias = _parameter(bias, (bias.double() + shift).to(bias.dtype))


def _melt(encoder: nn.Module, path: str, normalisation: nn.BatchNorm2d) -> None:
    """Let the convolution at a path give what the normalisation behind it makes of its output, in place."""
    conv = encoder.get_submodule(path)
    assert isinstance(conv, nn.Conv2d)
    scale, shift = affine(normalisation)
    by_filter = scale[:, None, None, None]
    conv.weight = _parameter(conv.weight, (conv.weight.double() * by_filter).to(conv.weight.dtype))
    if isinstance(conv, BorderedConv2d):
        conv.border = (conv.border.double() * by_filter).to(conv.border.dtype)
    if conv.bias is not None:
        conv.bias = _parameter(conv.bias, (conv.bias.double() * scale).to(conv.bias.dtype))
    _add(conv, shift)


def _cut_normalisation(normalisation: nn.BatchNorm2d, channels: Tensor) -> None:
    normalisation.weight = _parameter(normalisation.weight, normalisation.weight[channels])
    normalisation.bias = _parameter(normalisation.bias, normalisation.bias[channels])
    for name in ("running_mean", "running_var"):
        setattr(normalisation, name, getattr(normalisation, name)[channels].clone())
    normalisation.num_features = int(channels.sum())


def _cut_linear(linear: nn.Linear, inputs: Tensor, constant: Tensor) -> None:
    added = (linear.weight.double() * constant.masked_fill(inputs, 0.0)).sum(1)
    if added.any():
        _add(linear, added)
    linear.weight = _parameter(linear.weight, linear.weight[:, inputs])
    linear.in_features = int(inputs.sum())


def _spread_linear(inputs: Tensor, constant: Tensor) -> nn.Linear:
    """Return what puts the features that are left where they were, and constants where these were."""
    made = nn.Linear(int(inputs.sum()), len(inputs)).requires_grad_(False)
    made.weight.copy_(torch.eye(len(inputs))[:, inputs])
    made.bias.copy_(constant.masked_fill(inputs, 0.0))
    return made


def _spread_convolution(places: Tensor, constant: Tensor) -> nn.Conv2d:
    """Return what puts the channels of a branch where they belong in a sum."""
    made = nn.Conv2d(len(places), len(constant), 1).requires_grad_(False)
    assert made.bias is not None
    made.weight.copy_(torch.eye(len(constant))[:, places, None, None])
    made.bias.copy_(constant)
    return made


def _as(encoder: nn.Module, made: nn.Module) -> nn.Module:
    """Return what was made, on the encoder's device, in its precision, channels-last."""
    reference = next(encoder.parameters())
    placed: nn.Module = made.to(device=reference.device, dtype=reference.dtype).to(memory_format=torch.channels_last)
    return placed


def _parameter(before: Tensor, value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.clone(), requires_grad=before.requires_grad)
