"""Structured sparsity on CIFAR-10: what the shape of the zeros costs, per method and framework, at one density."""

import itertools

from bench.config.profiles import profile_of
from bench.config.run import STAND_IN
from bench.data.known import title_of
from bench.tables.points import dense_points, shaped_points
from bench.tables.spec import TableSpec

NAME = "structured"
DATA = "cifar10"

# Filters have one density in all layers, and rows are compared: so random masks are uniform everywhere.
SPARSE = ("static_uniform", "gradual", "synchronized")
GRANULARITIES = ("element", "block4x4", "block8x1", "filter")  # all fit every layer from width 1/8 on
DENSITY = 0.25  # every layer divides: filters too are exactly as dense as the other rows
REGRESSION_CELLS = (
    "simclr/synchronized/block4x4/*",
    "simclr/gradual/filter/*",
    "simclr/synchronized/block8x1/*",
    "moco/static_uniform/filter/*",
)

# The smoke table has five minutes on two cores: a shared encoder has every shape but the long blocks of static and
# gradual masks, an EMA target the two masks of filters and blocks that differ most.
SMOKE_ROWS = {
    "simclr": (
        *(("element", method) for method in SPARSE),
        *(("block4x4", method) for method in SPARSE),
        ("block8x1", "synchronized"),
        *(("filter", method) for method in SPARSE),
    ),
    "moco": (("block4x4", "synchronized"), ("filter", "static_uniform"), ("filter", "synchronized")),
}
# Ninety minutes a seed on two cores: single weights beside one shape of blocks and the filters, by every method.
CPU_ROWS = {"simclr": tuple(itertools.product(("element", "block4x4", "filter"), SPARSE))}
# The stand-in shows that everything is wired up: each shape and each method once, and an EMA target.
STAND_IN_ROWS = {
    "simclr": (
        ("element", "synchronized"),
        ("block4x4", "gradual"),
        ("block8x1", "synchronized"),
        ("filter", "static_uniform"),
    ),
    "moco": (("filter", "synchronized"),),
}
_EVERYWHERE = (
    *itertools.product(GRANULARITIES, SPARSE),
    *((granularity, "group_lasso") for granularity in GRANULARITIES if granularity != "element"),
    ("filter", "one_shot"),
)
# A shared encoder, and the cheaper of those with an EMA target: there a momentum encoder's filters can be pruned.
WHOLE_ROWS = {"simclr": _EVERYWHERE, "moco": (*_EVERYWHERE, ("filter", "momentum_pruning"))}


def table(profile: str, data: str) -> TableSpec:
    """Return the table at a profile's size, on CIFAR-10 or, with fewer rows, on the stand-in."""
    size, rows = profile_of(profile, data), {"smoke": SMOKE_ROWS, "cpu": CPU_ROWS}.get(profile, WHOLE_ROWS)
    if data == STAND_IN:
        rows = STAND_IN_ROWS
    on = title_of(DATA if data == STAND_IN else data)
    return TableSpec(
        name=NAME,
        title=f"Structured sparsity on {on}: accuracy at equal density, by the shape of the zeros",
        profile=profile,
        data=data,
        cells=tuple(
            size.run(framework, point, data)
            for framework, shapes in rows.items()
            for point in (*dense_points(), *shaped_points(size, shapes, DENSITY))
        ),
    )
