"""Take out of an encoder what a plan does not keep."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from methods.compaction.plan import Plan
from methods.gating.layer import replace


@torch.no_grad()
def compacted(encoder: nn.Module) -> nn.Module:
    """Return a smaller encoder that computes the same features, up to rounding, with the dead channels gone.

    Filters that are zero, filters that nothing reads any more, and the channels of normalisations and of the next
    layers that belong to them are gone, through shortcuts too. The features keep their number and their order. Zeros
    that are no whole channel stay.

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
            if place in plan.carriers:
                _carry(module, constant.masked_fill(before, 0.0), constant, plan.carriers[place])
            _cut(module, stays, before)
        elif isinstance(module, nn.BatchNorm2d):
            _cut_normalisation(module, stays)
        elif isinstance(module, nn.Linear):
            _cut_linear(module, before, constant)
        elif place == last and isinstance(module, nn.Identity) and not before.all():
            module = _spread_linear(before, constant)
        if place in plan.spreads:
            spread = plan.spreads[place]
            module = nn.Sequential(module, _spread_convolution(spread.places, spread.constant))
        replace(made, wire.path, module.eval())
    reference = next(encoder.parameters())
    placed = made.to(device=reference.device, dtype=reference.dtype)
    laid_out: nn.Module = placed.to(memory_format=torch.channels_last)
    return laid_out


def shaped(encoder: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Give an encoder, in place, the layers of the compacted one that has these tensors; return it.

    Args:
        encoder: as it was built before it was trained and compacted.
        tensors: the ``state_dict`` of the compacted one. Its values are not copied.

    Raises:
        ValueError: a layer of the encoder has no weight among them.
    """
    for path, module in list(encoder.named_modules()):
        if not isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear | nn.Identity):
            continue
        weight, inner = tensors.get(f"{path}.weight"), tensors.get(f"{path}.0.weight")
        if isinstance(module, nn.Identity):
            if weight is not None:
                replace(encoder, path, nn.Linear(weight.shape[1], weight.shape[0]).requires_grad_(False))
            continue
        found = weight if weight is not None else inner
        if found is None:
            raise ValueError(f"{path} has no weight among the tensors. Give the encoder that they were made of.")
        _shape(module, found)
        if weight is None:
            outputs, inputs, *_ = tensors[f"{path}.1.weight"].shape
            replace(encoder, path, nn.Sequential(module, nn.Conv2d(inputs, outputs, 1).requires_grad_(False)))
    laid_out: nn.Module = encoder.to(memory_format=torch.channels_last)
    return laid_out


def _shape(module: nn.Conv2d | nn.BatchNorm2d | nn.Linear, weight: Tensor) -> None:
    """Give a layer parameters and buffers of a weight's shape, uninitialised."""
    if isinstance(module, nn.BatchNorm2d):
        module.num_features = len(weight)
    elif isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels = len(weight), weight.shape[1] * module.groups
    else:
        module.out_features, module.in_features = weight.shape
    for name, parameter in list(module.named_parameters(recurse=False)):
        shape = weight.shape if name == "weight" else (len(weight),)
        setattr(module, name, nn.Parameter(parameter.new_empty(shape), requires_grad=parameter.requires_grad))
    for name, buffer in list(module.named_buffers(recurse=False)):
        setattr(module, name, buffer.new_empty(len(weight)) if buffer.ndim else buffer)


def _carry(conv: nn.Conv2d, removed: Tensor, constant: Tensor, carrier: int) -> None:
    """Fold the weights that read removed constants into those that read the carrier."""
    share = (removed / constant[carrier])[None, :, None, None]
    conv.weight[:, carrier] += (conv.weight.double() * share).sum(1).to(conv.weight.dtype)


def _cut(conv: nn.Conv2d, outputs: Tensor, inputs: Tensor) -> None:
    conv.weight = _parameter(conv.weight, conv.weight[outputs][:, inputs])
    if conv.bias is not None:
        conv.bias = _parameter(conv.bias, conv.bias[outputs])
    conv.out_channels, conv.in_channels = int(outputs.sum()), int(inputs.sum())


def _cut_normalisation(normalisation: nn.BatchNorm2d, channels: Tensor) -> None:
    normalisation.weight = _parameter(normalisation.weight, normalisation.weight[channels])
    normalisation.bias = _parameter(normalisation.bias, normalisation.bias[channels])
    for name in ("running_mean", "running_var"):
        setattr(normalisation, name, getattr(normalisation, name)[channels].clone())
    normalisation.num_features = int(channels.sum())


def _cut_linear(linear: nn.Linear, inputs: Tensor, constant: Tensor) -> None:
    added = (linear.weight.double() * constant.masked_fill(inputs, 0.0)).sum(1)
    bias: Tensor | None = linear.bias  # whatever the annotation of torch says
    if bias is not None:
        linear.bias = _parameter(bias, (bias.double() + added).to(bias.dtype))
    elif added.any():
        linear.bias = nn.Parameter(added.to(linear.weight.dtype))
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


def _parameter(before: Tensor, value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.clone(), requires_grad=before.requires_grad)
