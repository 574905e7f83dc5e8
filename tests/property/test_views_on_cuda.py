"""Views are the CPU's bit for bit also where PyTorch rounds as it does on CUDA."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.views import pillow, recipes, resample
from bench.views.batched import BatchedViews
from tests.virtual_device import CUDA, OnDevice, virtual_cuda

_ATEN = torch.ops.aten
_BY_A_NUMBER = {_ATEN.div.Tensor, _ATEN.div_.Tensor}
_ADDED = {_ATEN.add.Tensor, _ATEN.add_.Tensor, _ATEN.sub.Tensor, _ATEN.sub_.Tensor}
_ADDED_PRODUCTS = {_ATEN.addcmul.default, _ATEN.addcmul_.default}
_IN_PLACE = {_ATEN.div_.Tensor, _ATEN.addcmul_.default}
_MULTIPLIED = {_ATEN.bmm.default, _ATEN.bmm.out, _ATEN.mm.default}
_COUNT = 24


class CudaRounding(TorchDispatchMode):
    """Computes on the CPU, rounding as PyTorch's kernels for CUDA do, or may.

    Source: ``aten/src/ATen/native/cuda/BinaryDivTrueKernel.cu``: a divisor that is a number of the host becomes a
    factor, its reciprocal. Where a kernel multiplies and adds, its compiler decides whether the product is rounded; on
    CPUs it is not, so here it is. Matrix products may take TF32's operands. Put around the virtual device, it rounds
    what that one computes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch's has no types

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _BY_A_NUMBER and isinstance(args[1], int | float) and args[0].is_floating_point():
            inverse = float(torch.ones((), dtype=args[0].dtype) / args[1])
            return (args[0].mul_ if func in _IN_PLACE else args[0].mul)(inverse)
        if func in _ADDED and "alpha" in kwargs and isinstance(args[1], Tensor):
            return func(args[0], args[1] * kwargs["alpha"])
        if func in _ADDED_PRODUCTS:
            product = args[1] * args[2] * kwargs.get("value", 1)
            return (args[0].add_ if func in _IN_PLACE else args[0].add)(product)
        if func in _MULTIPLIED:
            return func(*map(_as_tf32, args), **kwargs)
        return func(*args, **kwargs)


def _as_tf32(tensor: Tensor) -> Tensor:
    """Return what ten bits behind the first hold."""
    return (tensor.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


def _pictures(side: int) -> Tensor:
    """Return noise, and areas of equal greys and extremes, on which rounding has ties."""
    generator = torch.Generator().manual_seed(side)
    pictures = torch.randint(0, 256, (_COUNT, 3, side, side), dtype=torch.uint8, generator=generator)
    coarse = torch.randint(0, 9, (_COUNT // 2, 3, 1, 1), generator=generator).mul(32).clamp(max=255).to(torch.uint8)
    pictures[::2, :, : side // 2] = coarse
    return pictures


@pytest.mark.parametrize(("side", "size"), [(32, 32), (37, 30), (24, 40)])
@pytest.mark.parametrize("recipe", ["simclr", "byol", "simclr-imagenet", "vicreg-imagenet"])
def test_rounding_as_on_cuda_changes_no_bit_of_a_view(recipe: str, side: int, size: int) -> None:
    """On a GPU single pixels differed by up to 0.12."""
    pictures, samples = _pictures(side), torch.arange(_COUNT)
    maker = BatchedViews(recipes.RECIPES[recipe], seed=0, images=_COUNT, side=side, size=size)
    here = maker.views(pictures, samples, 0)
    with CudaRounding(), virtual_cuda():
        there = maker.views(pictures.to(CUDA), samples, 0)
    for one, other in zip(here, there, strict=True):
        assert isinstance(other, OnDevice)
        assert torch.equal(one, other.held)


def test_the_hue_of_every_colour_turns_as_on_the_cpu() -> None:
    levels = torch.arange(0, 256, 5.0)
    colours = torch.cartesian_prod(levels, levels, levels).t().reshape(3, 1, -1).contiguous()
    here, there, shift = colours.clone(), colours.clone(), torch.full((1, 1), 3.0)
    pillow.turn_hue(here, shift)
    with CudaRounding():
        pillow.turn_hue(there, shift)
    assert torch.equal(here, there)


def test_a_mean_grey_between_two_levels_is_rounded_up_as_on_the_cpu() -> None:
    """At 112 pixels a rounded reciprocal makes 154 sums another level; at powers of two none."""
    levels = torch.arange(0.0, 255.0)[:, None].expand(-1, 112 * 112 // 2)
    with CudaRounding():
        means = pillow.mean_grey(torch.cat([levels, levels + 1], 1))
    assert torch.equal(means[:, 0], torch.arange(1.0, 256.0))


@pytest.mark.parametrize(("side", "size"), [(256, 224), (40, 12)])
def test_resampling_weights_are_those_of_the_cpu(side: int, size: int) -> None:
    lengths, mirrored = torch.arange(1.0, side + 1), torch.zeros(side)
    here = resample.taps(lengths, mirrored, side, size)
    with CudaRounding():
        there = resample.taps(lengths, mirrored, side, size)
    assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True))


def test_the_emulation_rounds_where_cuda_does() -> None:
    """So that the tests above see what they are for."""
    numbers, others = torch.rand(2, 10_000, generator=torch.Generator().manual_seed(0))
    plain = numbers / 6, numbers.add(others, alpha=1 / 0.7), torch.addcmul(numbers, others, others)
    with CudaRounding():
        found = numbers / 6, numbers.add(others, alpha=1 / 0.7), torch.addcmul(numbers, others, others)
        assert torch.equal(pillow.divided(numbers.clone(), 6), plain[0])
        assert float(torch.mm(torch.tensor([[1 + 2**-12]]), torch.ones(1, 1))) == 1.0
    for one, other in zip(plain, found, strict=True):
        assert not torch.equal(one, other)
        assert torch.allclose(one, other)
