"""Dense layers as matrix products on the array, in cycles."""

from collections.abc import Iterator
from dataclasses import dataclass

from hardware.machine import Array, Dataflow
from hardware.network.layer import LayerSpec
from hardware.skipping.base import ceil_div
from hardware.sparsity.state import Phase


@dataclass(frozen=True, slots=True)
class Gemm:
    """A product of an m x k with a k x n matrix."""

    m: int
    n: int
    k: int


def gemm_cycles(array: Array, gemm: Gemm) -> int:
    """Return the cycles of a dense product: m are pixels, n outputs, k is summed over."""
    match array.dataflow:
        case Dataflow.CORE:
            tiles = ceil_div(gemm.k, array.columns) * ceil_div(gemm.n, array.rows)
            return tiles * ceil_div(gemm.m, array.pixels * array.cores) + array.fill_cycles
        case Dataflow.SYSTOLIC_OS:
            tiles = ceil_div(gemm.m, array.rows) * ceil_div(gemm.n, array.columns)
            each = gemm.k + array.rows + array.columns - 2
        case Dataflow.SYSTOLIC_WS:
            tiles = ceil_div(gemm.k, array.rows) * ceil_div(gemm.n, array.columns)
            each = array.rows + gemm.m + array.rows + array.columns - 2
    return ceil_div(tiles, array.cores) * each


def gemms(layer: LayerSpec, phase: Phase, images: int, *, inserts_zeros: bool) -> Iterator[Gemm]:
    """Yield the products of one phase of one group (README.md, sections 1 and 2)."""
    k, c = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    pixels = images * layer.out_pixels
    match phase:
        case Phase.FP:
            yield Gemm(pixels, k, c * layer.kernel)
        case Phase.WU:
            yield Gemm(k, c * layer.kernel, pixels)
        case Phase.BP if inserts_zeros:
            yield Gemm(images * layer.in_pixels, c, k * layer.kernel)
        case Phase.BP:
            for height, rows in _decomposed(layer.in_height, layer.kernel_height, layer):
                for width, columns in _decomposed(layer.in_width, layer.kernel_width, layer):
                    yield Gemm(images * height * width, c, k * rows * columns)


def _decomposed(size: int, kernel: int, layer: LayerSpec) -> Iterator[tuple[int, int]]:
    """Yield (input positions, kernel positions that reach them) for each residue of the stride, if both exist."""
    for residue in range(min(layer.stride, size)):
        reaching = len(range((residue + layer.padding) % layer.stride, kernel, layer.stride))
        if reaching:
            yield ceil_div(size - residue, layer.stride), reaching
