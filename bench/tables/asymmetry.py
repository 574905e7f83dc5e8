"""How unequal the two branches may be: which of them is sparser, by how much, and what that does to their masks."""

from collections.abc import Mapping, Sequence

from bench.config.profiles import profile_of
from bench.config.run import STAND_IN
from bench.config.sparsity import SparsitySpec
from bench.data.known import title_of
from bench.tables.points import dense_points
from bench.tables.spec import TableSpec

NAME = "asymmetry"
DATA = "cifar10"

FRAMEWORKS = ("simclr", "moco", "barlow_twins", "byol")
DENSITY = 0.10  # of the sparser branch, in every row
GAPS = (0.10, 0.30, 0.50)
BASE = tuple(dense_points())
# When pruning starts, in either kind of training: what Corti et al. (2022) compare.
STARTS = tuple(
    SparsitySpec(method=method, granularity="element", density=DENSITY) for method in ("gradual", "gradual_early")
)
REGRESSION_CELLS = (
    "simclr/synchronized/element/d0.40-g0.30",
    "simclr/sdclr/*",
    "simclr/gradual_early/*",
    "moco/synchronized/element/d0.10+g0.30",
    "supervised/gradual/*",
)


def _synchronized(*pairs: tuple[float, float]) -> tuple[SparsitySpec, ...]:
    """Return synchronized pruning at (density of the exported encoder, gap to the target) pairs."""
    return tuple(
        SparsitySpec(method="synchronized", granularity="element", density=density, gap=gap) for density, gap in pairs
    )


def _sum(gap: float) -> float:
    return round(DENSITY + gap, 2)


ONLINE_SPARSER = _synchronized(*((DENSITY, gap) for gap in GAPS))
TARGET_SPARSER = _synchronized(*((_sum(gap), -gap) for gap in GAPS))
# Equally sparse: at the density of the rows above, and at the exported densities of the rows whose target is sparser.
EQUAL = _synchronized((DENSITY, 0.0), *((_sum(gap), 0.0) for gap in GAPS))
TARGET_DENSE = _synchronized((DENSITY, round(1.0 - DENSITY, 2)))
# The online encoder dense, its twin the competitor; only where both learn.
COMPETITOR = (SparsitySpec(method="sdclr", granularity="element", density=1.0, gap=round(DENSITY - 1.0, 2)),)
COMPETING = ("simclr", "barlow_twins")
MIDDLE = _synchronized((DENSITY, 0.0), (DENSITY, 0.30), (_sum(0.30), -0.30))
# The smoke table has eight minutes on two cores, and the GPU's a day: on a shared encoder every gap with the sparser
# online encoder, and the middle one on the other side; on an EMA target both sides of the middle one.
FEW_ROWS = {
    "simclr": (*BASE, *MIDDLE[:1], *ONLINE_SPARSER, *TARGET_DENSE, *EQUAL[2:3], *MIDDLE[2:], *COMPETITOR, *STARTS),
    "moco": (*BASE, *MIDDLE),
    "supervised": (*BASE[1:], *STARTS),
}
STAND_IN_ROWS = {"simclr": (*BASE, *MIDDLE), "moco": (*BASE, *MIDDLE)}


def table(profile: str, data: str) -> TableSpec:
    """Return the table at a profile's size on CIFAR-10 or, with fewer rows, on the stand-in."""
    size, rows = profile_of(profile, data), _whole()
    if data == STAND_IN:
        rows = STAND_IN_ROWS
    elif profile in {"smoke", "gpu"}:
        rows = FEW_ROWS
    on = title_of(DATA if data == STAND_IN else data)
    return TableSpec(
        name=NAME,
        title=f"Unequal branches on {on}: accuracy and overlap by which branch is sparser",
        profile=profile,
        data=data,
        cells=tuple(size.run(framework, point, data) for framework, points in rows.items() for point in points),
    )


def _whole() -> Mapping[str, Sequence[SparsitySpec]]:
    rows: dict[str, Sequence[SparsitySpec]] = {
        framework: (
            *(*BASE, *EQUAL, *ONLINE_SPARSER, *TARGET_SPARSER, *TARGET_DENSE),
            *(COMPETITOR if framework in COMPETING else ()),
            *STARTS,
        )
        for framework in FRAMEWORKS
    }
    return rows | {"supervised": (*BASE[1:], *STARTS)}
