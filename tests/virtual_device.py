"""A CUDA device where there is none: what would go wrong there, and what would cost time there, is seen on any machine.

Its tensors say that they lie on cuda:0. They compute on the CPU, refuse to meet tensors of the host (but numbers of no
dimension, as CUDA does), and count what slows a device down:

- syncs: the host waits for the device, to read a number, a shape that depends on values, or a copy;
- copies: to the device;
- launches: operations that are no views, hence kernels, or more.

Not seen are waits inside a library, kernels that the device lacks, and its rounding.
"""

import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)
_ATEN = torch.ops.aten
_SYNCING = {
    _ATEN._local_scalar_dense.default: "item",
    _ATEN.nonzero.default: "nonzero",
    _ATEN.masked_select.default: "masked_select",
    _ATEN.equal.default: "equal",
    _ATEN.is_nonzero.default: "bool",
    _ATEN._unique2.default: "unique",
}
_INDEXING = {
    _ATEN.index.Tensor,
    _ATEN.index_put.default,
    _ATEN.index_put_.default,
    _ATEN._index_put_impl_.default,
}
_MASKS = {torch.bool, torch.uint8}
_ALLOCATING = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}  # no kernel
_GENERATOR, _RAND = torch.Generator, torch.rand
_OPTIMIZERS = sys.modules[torch.optim.Optimizer.__module__]  # torch.optim hides the module


class MixedDevices(RuntimeError):  # noqa: N818 - what torch's own error is about
    """A tensor of the device met one of the host."""


@dataclass(slots=True)
class Counts:
    """What was done on the device.

    Attributes:
        syncs: how often the host waited, by what for.
        copies: how often something was sent to the device, by how.
        launches: operations that are no views, by name; those on a list of tensors are one.
    """

    syncs: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    launches: Counter[str] = field(default_factory=Counter)

    def since(self, before: "Counts") -> "Counts":
        """Return what was done after ``before``."""
        return Counts(self.syncs - before.syncs, self.copies - before.copies, self.launches - before.launches)

    def now(self) -> "Counts":
        """Return a copy."""
        return Counts(self.syncs.copy(), self.copies.copy(), self.launches.copy())


_counts = Counts()


class OnDevice(Tensor):
    """A tensor of the device; ``held`` has its values, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls: type["OnDevice"], held: Tensor) -> "OnDevice":  # noqa: PYI034 - of a tensor, nobody derives from this
        assert type(held) is Tensor, type(held)
        made: OnDevice = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device("meta"),  # a device whose tensors need no data; what asks is told another one below
        )
        made.held = held
        return made

    device = property(lambda _: CUDA)
    is_cuda = property(lambda _: True)
    is_meta = property(lambda _: False)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.held})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnDevice":
        if id(self) not in memo:
            made = OnDevice(self.held.clone(memory_format=torch.preserve_format))
            made.requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                made._is_param = True
            memo[id(self)] = made
        found: OnDevice = memo[id(self)]
        return found

    @classmethod
    def __torch_function__(cls, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.type_as and isinstance(args[1], OnDevice):
            return args[0].to(device=CUDA, dtype=args[1].dtype)
        if func in {Tensor.tolist, Tensor.numpy} and isinstance(args[0], OnDevice):
            if func is Tensor.numpy and not kwargs.get("force"):
                raise TypeError("can't convert cuda:0 device type tensor to numpy")
            _counts.syncs[func.__name__] += 1
            return func(_held(args[0].detach()))
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _done(func, args, kwargs or {})


class DeviceGenerator(torch.Generator):
    """A generator of the device; it draws what one of the host would."""

    device = property(lambda _: CUDA)

    @staticmethod
    def of(device: Any = "cpu") -> torch.Generator:
        """Return what ``torch.Generator(device)`` would."""
        return DeviceGenerator() if _names_cuda(device) else _GENERATOR(device)

    def __deepcopy__(self, _memo: dict[int, Any]) -> "DeviceGenerator":
        made = DeviceGenerator()
        made.set_state(self.get_state())
        return made


def _drawn(*shape: Any, generator: Any = None, device: Any = None, **options: Any) -> Tensor:
    """Be ``torch.rand``, which would not know a generator of this device."""
    if not isinstance(generator, DeviceGenerator):
        return _RAND(*shape, generator=generator, device=device, **options)
    if not _names_cuda(device):
        raise MixedDevices("a generator of the device draws no numbers on the host")
    _counts.launches["rand"] += 1
    return OnDevice(_RAND(*shape, generator=generator, **options))


class _Factories(TorchDispatchMode):
    """Sends what names the device, or a tensor of it, there."""

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _names_cuda(kwargs.get("device")) or any(isinstance(each, OnDevice) for each in _leaves(args, kwargs)):
            return _done(func, args, kwargs)
        return func(*args, **kwargs)


def _done(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do one operation that names the device, or has a tensor of it."""
    device = kwargs.get("device")
    here = {**kwargs, "device": torch.device("cpu")} if device is not None else kwargs
    if func is _ATEN._to_copy.default:
        return _copied(func, args[0], here, to=args[0].device if device is None else torch.device(device))
    if func is _ATEN.copy_.default:
        return _filled(*args[:2])
    leaves = _leaves(args, kwargs)
    tensors = [each for each in leaves if isinstance(each, Tensor)]
    if any(isinstance(each, _GENERATOR) for each in leaves):
        raise MixedDevices(f"{func}: a generator of the host draws no numbers on the device")
    _require_one_device(func, args, tensors)
    if func in _SYNCING:
        _counts.syncs[_SYNCING[func]] += 1
    made = func(*_mapped(_held, args), **{name: _mapped(_held, value) for name, value in here.items()})
    _launched(func)
    if func._schema.is_mutable and isinstance(made, Tensor):
        return next(each for each in tensors if _held(each) is made)  # what was changed in place, not a new tensor
    return made if device is not None and not _names_cuda(device) else _mapped(_sent, made)


def _copied(func: Any, source: Tensor, options: dict[str, Any], *, to: torch.device) -> Tensor:
    made: Tensor = func(_held(source), **options)
    _launched(func)
    if not _names_cuda(to):
        _counts.syncs["copy to the host"] += isinstance(source, OnDevice)
        return made
    _counts.copies["to"] += not isinstance(source, OnDevice)
    return OnDevice(made)


def _filled(target: Tensor, source: Tensor) -> Tensor:
    _counts.launches["copy_"] += 1
    if isinstance(source, OnDevice) and not isinstance(target, OnDevice):
        _counts.syncs["copy to the host"] += 1
    elif isinstance(target, OnDevice) and not isinstance(source, OnDevice):
        _counts.copies["copy_"] += 1
    _held(target).copy_(_held(source))
    return target


def _launched(func: Any) -> None:
    name = func.overloadpacket.__name__
    if name not in _ALLOCATING and not _is_view(func):
        _counts.launches[name] += 1


def _require_one_device(func: Any, args: Any, tensors: list[Tensor]) -> None:
    """Refuse tensors of both places, and count what indexing costs.

    Raises:
        MixedDevices: a tensor of the host has a dimension.
    """
    host = [each for each in tensors if not isinstance(each, OnDevice) and each.ndim]
    if func in _INDEXING and isinstance(args[0], OnDevice):
        indices = [each for each in args[1] if isinstance(each, Tensor)]
        _counts.copies["index"] += sum(not isinstance(each, OnDevice) for each in indices)
        _counts.syncs["index by a mask"] += sum(each.dtype in _MASKS for each in indices)
        host = [each for each in host if not any(each is index for index in indices)]
    if host and len(host) < len(tensors):
        shapes = [tuple(each.shape) for each in host]
        raise MixedDevices(f"{func}: tensors of cuda:0 and of the host (shapes {shapes})")


def _leaves(args: Any, kwargs: dict[str, Any]) -> list[Any]:
    """Return what tuples and lists hold: other containers no operation has, and PyTorch's own walk takes far longer."""
    found, todo = list[Any](), [*args, *kwargs.values()]
    for each in todo:
        (todo if type(each) in {tuple, list} else found).extend(each if type(each) in {tuple, list} else (each,))
    return found


def _mapped(act: Callable[[Any], Any], value: Any) -> Any:
    """Return tuples and lists with ``act`` done to each of what they hold."""
    kind = type(value)
    return kind([_mapped(act, each) for each in value]) if kind is tuple or kind is list else act(value)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, OnDevice) else value


def _sent(value: Any) -> Any:
    return OnDevice(value) if type(value) is Tensor else value


def _names_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type in {"cuda", "meta"}


@functools.cache
def _is_view(func: Any) -> bool:
    returned = [each.alias_info for each in func._schema.returns]
    return func is _ATEN.detach.default or any(each is not None and not each.is_write for each in returned)


@contextlib.contextmanager
def virtual_cuda() -> Iterator[Counts]:
    """Let ``cuda`` be the virtual device; yield what is counted on it, from 0 on."""
    global _counts  # noqa: PLW0603 - one device, one count
    _counts = Counts()
    tensor, swaps = torch.tensor, torch.__future__.get_swap_module_params_on_conversion()

    def made(data: Any, *arguments: Any, device: Any = None, **options: Any) -> Tensor:
        found = tensor(data, *arguments, **options)
        return found.to(CUDA) if _names_cuda(device) else found

    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with (
            patch.object(torch.cuda, "_lazy_init", lambda: None),
            patch.object(torch.cuda, "mem_get_info", lambda _: (2**40, 2**40)),
            patch.object(Tensor, "pin_memory", lambda self, *_: self),
            patch.object(torch, "tensor", made),
            patch.object(torch, "Generator", DeviceGenerator.of),
            patch.object(torch, "rand", _drawn),
            # Optimizers take a list of tensors at once where these are PyTorch's own.
            patch.object(_OPTIMIZERS, "_foreach_supported_types", [Tensor, nn.Parameter, OnDevice]),
            _Factories(),  # type: ignore[no-untyped-call]
        ):
            yield _counts
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swaps)
