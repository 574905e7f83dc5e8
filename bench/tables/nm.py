"""N:M sparsity on CIFAR-10: 2:4 and 1:4, by every method that trains it, at equal density."""

from bench.config.profiles import profile_of
from bench.config.run import STAND_IN
from bench.data.known import title_of
from bench.tables.points import dense_points, shaped_points
from bench.tables.spec import TableSpec

NAME = "nm"
DATA = "cifar10"

FRAMEWORKS = ("simclr", "moco")  # a shared encoder, and the cheaper of those with an EMA target
DENSITIES = {"2:4": 0.50, "1:4": 0.25}
PATTERNED = (
    *("static_uniform", "gradual", "synchronized", "sr_ste", "sr_ste_transposable"),
    *("asp", "asp_transposable"),
)
# Constant fan-in is an N:M whose group are all inputs of a filter: of single weights, at the same density.
FREE = ("srigl",)
ROWS = {
    shapes: (*((shapes, method) for method in PATTERNED), *(("element", method) for method in FREE))
    for shapes in DENSITIES
}
# The smoke table has eight minutes on two cores: an EMA target has the denser pattern, by a method of each kind.
SMOKE_MOCO = tuple(("2:4", method) for method in ("static_uniform", "synchronized", "sr_ste", "asp"))
# The stand-in shows that everything is wired up: a shared encoder with a method of each kind, and an EMA target.
STAND_IN_ROWS = {"simclr": SMOKE_MOCO, "moco": tuple(("2:4", method) for method in ("synchronized", "sr_ste"))}
REGRESSION_CELLS = (
    "simclr/static_uniform/1:4/*",
    "simclr/gradual/2:4/*",
    "simclr/synchronized/1:4/*",
    "simclr/sr_ste/1:4/*",
    "simclr/sr_ste_transposable/2:4/*",
    "simclr/asp/1:4/*",
    "simclr/asp_transposable/2:4/*",
    "simclr/srigl/element/d0.25",
    "moco/sr_ste/2:4/*",
)


def table(profile: str, data: str) -> TableSpec:
    """Return the table at a profile's size on CIFAR-10 or, with fewer rows, on the stand-in."""
    size, on = profile_of(profile, data), title_of(DATA if data == STAND_IN else data)
    cells = []
    for framework in FRAMEWORKS:
        points = dense_points()
        for shapes, density in DENSITIES.items():
            points += shaped_points(size, _rows(profile, framework, shapes, data), density)
        cells += [size.run(framework, point, data) for point in points]
    return TableSpec(
        name=NAME,
        title=f"N:M sparsity on {on}: accuracy at equal density, by how it is trained",
        profile=profile,
        data=data,
        cells=tuple(cells),
    )


def _rows(profile: str, framework: str, shapes: str, data: str) -> tuple[tuple[str, str], ...]:
    """Return (granularity, method) of the rows of a framework at the density of a pattern."""
    if data == STAND_IN:
        return tuple(row for row in STAND_IN_ROWS[framework] if row[0] == shapes)
    if profile == "smoke" and framework == "moco":
        return tuple(row for row in SMOKE_MOCO if row[0] == shapes)
    return ROWS[shapes]
