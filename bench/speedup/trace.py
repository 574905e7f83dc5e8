"""From a run to the workload that ``hardware`` reads: its layers and its optimizer step, traced and never listed.

One real step is taken on two images, and watched: which layers run, on which maps, who reads whom, how often each
branch is passed and with gradients or without. So any encoder and any framework comes out as it is.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # the only common base of all batch normalisations
from torch.utils._python_dispatch import TorchDispatchMode  # the documented place, whatever its name says

from bench.config.run import Run
from bench.data.known import KNOWN
from bench.frameworks import Framework
from bench.training import parts
from hardware.checks import HardwareError
from hardware.network.layer import LayerSpec, Part
from hardware.network.workload import StepSpec, Workload

IMAGES = 2  # batch normalisation refuses one
# An attribute of a framework -> what it is. Copies that follow by moving average are not traced: they have the shape
# of what they follow, and the step says how often they are passed.
PARTS = {
    "online": Part.ENCODER,
    "projection": Part.PROJECTOR,
    "prediction": Part.PREDICTOR,
    "classifier": Part.PREDICTOR,
}
FOLLOWERS = {"target", "target_projection"}
# Between two layers, what keeps channels apart. Behind anything else a layer reads nobody in particular.
CHANNELWISE = {
    "NativeBatchNormBackward0",
    "ReluBackward0",
    "AvgPool2DBackward0",
    "MaxPool2DWithIndicesBackward0",
    "MeanBackward1",
    "ViewBackward0",
    "UnsafeViewBackward0",
    "ReshapeAliasBackward0",
    "SqueezeBackward0",
}


def trace(run: Run, name: str, *, image_pixels: int = KNOWN["cifar10"].pixels) -> Workload:
    """Return the network and the optimizer step of a run, without mask updates.

    Args:
        run: any.
        name: of the workload.
        image_pixels: height and width of an image.

    Raises:
        HardwareError: if the framework has a part that has no place in ``PARTS``, or a layer of another kind.
        ValueError: if the run cannot be built.
    """
    with torch.random.fork_rng(devices=()):
        framework = parts.framework_for(run)
        seen = _watched(framework, image_pixels)
        loss_macs = sum(_macs(loss, inputs, run.optimizer.batch_images) for loss, inputs in tuple(seen.compared))
    micro_batches = run.optimizer.accumulate_batches
    passes = {key: times * micro_batches for key, times in seen.passes.items()}
    return Workload(
        name=name,
        layers=tuple(
            dataclasses.replace(layer, has_batch_norm=layer.name in seen.normalised) for layer in seen.layers.values()
        ),
        step=StepSpec(
            batch=run.optimizer.batch_images,
            online_passes=passes["online"],
            twin_passes=passes.get("twin", 0),
            target_passes=passes.get("target", 0),
            predictor_passes=passes.get("predictor", 0),
            target_is_ema="target" in passes,
            optimizer_states=1 if run.optimizer.momentum else 0,  # of SGD and of LARS
            mask_update_period_steps=0,
            regrowth_needs_dense_gradient=False,
            weight_gradient_is_dense=False,  # the mask is in the graph (methods.masking)
            loss_macs=loss_macs * micro_batches,
        ),
    )


class _Watch:
    """What was seen in one step."""

    def __init__(self) -> None:
        self.layers: dict[str, LayerSpec] = {}
        self.normalised: set[str] = set()
        self.passes: Counter[str] = Counter()
        self.compared: list[tuple[nn.Module, tuple[Tensor, ...]]] = []  # what a loss was given, call by call
        self._makers: dict[Any, str] = {}  # node of the autograd graph -> the layer that made it

    def layer(self, name: str, part: Part, module: nn.Conv2d | nn.Linear, given: Tensor, made: Tensor) -> None:
        """See one layer at work; the first time counts, and every time tells who made what."""
        self._makers[made.grad_fn] = name
        if name not in self.layers:
            self.layers[name] = self._spec(name, part, module, given)

    def normalisation(self, given: Tensor) -> None:
        """See a batch normalisation behind a layer."""
        if given.grad_fn in self._makers:  # else behind a layer of the twin, which may share the module
            self.normalised.add(self._makers[given.grad_fn])

    def _spec(self, name: str, part: Part, module: nn.Conv2d | nn.Linear, given: Tensor) -> LayerSpec:
        source = self._source(given)
        channels = given.shape[1]
        if source is not None and self.layers[source].out_channels != channels:
            source = None  # maps were flattened into channels
        shape: dict[str, int] = {"kernel_height": 1, "kernel_width": 1, "stride": 1, "padding": 0, "groups": 1}
        height = width = 1
        if given.ndim == 4:
            height, width = given.shape[2:]
            shape = _convolution(name, module)
        return LayerSpec(
            name=name,
            part=part,
            in_channels=channels,
            in_height=height,
            in_width=width,
            out_channels=module.weight.shape[0],
            is_first=given.grad_fn is None,
            has_batch_norm=False,
            reads=source,
            **shape,
        )

    def _source(self, tensor: Tensor) -> str | None:
        """Return the layer whose channels these are, through whatever keeps channels apart."""
        node: Any = tensor.grad_fn
        while node is not None and node not in self._makers:
            before = [parent for parent, _ in node.next_functions if parent is not None and _is_inner(parent)]
            node = before[0] if node.name() in CHANNELWISE and len(before) == 1 else None
        return self._makers.get(node)


def _is_inner(node: Any) -> bool:
    return "AccumulateGrad" not in node.name()


def _convolution(name: str, module: Any) -> dict[str, int]:
    """Return the shape of a convolution, square in stride and padding, as ``hardware`` knows it."""
    kernel_height, kernel_width = module.kernel_size
    strides, paddings = set(module.stride), set(module.padding)
    if len(strides) > 1 or len(paddings) > 1 or set(module.dilation) != {1}:
        raise HardwareError(
            f"{name}: stride {module.stride}, padding {module.padding}, dilation {module.dilation}: the accelerator "
            "model knows one stride and one padding for both directions, and no dilation. Choose another encoder."
        )
    return {
        "kernel_height": kernel_height,
        "kernel_width": kernel_width,
        "stride": strides.pop(),
        "padding": paddings.pop(),
        "groups": module.groups,
    }


def _watched(framework: Framework, image_pixels: int) -> _Watch:
    """Take one step on random images and return what was seen."""
    seen = _Watch()
    for attribute, child in framework.named_children():
        if attribute in PARTS:
            _watch_layers(seen, attribute, child)
            if PARTS[attribute] is Part.PREDICTOR:
                child.register_forward_hook(lambda *_: seen.passes.update(["predictor"]))
        elif attribute not in FOLLOWERS and next(child.parameters(), None) is not None:
            raise HardwareError(
                f"{type(framework).__name__}.{attribute} has weights, but no place in bench.workload.PARTS. Add it."
            )
    framework.online.register_forward_hook(lambda *_: seen.passes.update(["online"]))
    framework.target.register_forward_hook(
        lambda *_: seen.passes.update(["twin" if torch.is_grad_enabled() else "target"])
    )
    for attribute, child in framework.named_children():
        if attribute == "criterion":
            child.register_forward_pre_hook(lambda loss, inputs: seen.compared.append((loss, inputs)))
    views = torch.randn(2, IMAGES, 3, image_pixels, image_pixels)
    framework.train().loss(views[0], views[1], torch.zeros(IMAGES, dtype=torch.int64))
    return seen


def _watch_layers(seen: _Watch, attribute: str, part_module: nn.Module) -> None:
    prefix = "" if PARTS[attribute] is Part.ENCODER else attribute + "."  # masks name layers of the encoder so
    owned: set[int] = set()

    def watch_layer(name: str, module: nn.Conv2d | nn.Linear) -> None:
        module.register_forward_hook(
            lambda _, inputs, output: seen.layer(prefix + name, PARTS[attribute], module, inputs[0], output)
        )

    for name, module in part_module.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            watch_layer(name, module)
            owned |= {id(parameter) for parameter in module.parameters()}
        elif isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(lambda _, inputs: seen.normalisation(inputs[0]))
    for name, parameter in part_module.named_parameters():
        if parameter.ndim > 1 and id(parameter) not in owned:
            raise HardwareError(f"{prefix}{name}: only Conv2d and Linear layers have a cost here. Choose another part.")


class _Products(TorchDispatchMode):
    """Counts the multiply-accumulates of matrix products. torch's own counter brings its compiler along."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in SUMMED_OVER:
            self.macs += made.numel() * SUMMED_OVER[func](args)
        return made


# A matrix product -> the length of its sums.
SUMMED_OVER: dict[Any, Callable[[Any], int]] = {
    torch.ops.aten.mm.default: lambda args: int(args[0].shape[-1]),
    torch.ops.aten.bmm.default: lambda args: int(args[0].shape[-1]),
    torch.ops.aten.addmm.default: lambda args: int(args[1].shape[-1]),
}


def _macs(criterion: nn.Module, inputs: tuple[Tensor, ...], batch_images: int) -> int:
    """Return the matrix products of a loss and its gradient, counted on a whole batch of random embeddings."""
    embeddings = [torch.randn(batch_images, *given.shape[1:], requires_grad=given.requires_grad) for given in inputs]
    with _Products() as products:
        criterion(*embeddings).backward()
    macs: int = products.macs
    return macs
