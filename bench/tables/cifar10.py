"""Sparse weights on CIFAR-10: what synchronized contrastive pruning is compared with, per framework."""

from collections.abc import Iterable

from bench.config.profiles import PROFILES, Profile
from bench.config.run import STAND_IN, UNTRAINED, SparsitySpec
from bench.data.known import title_of
from bench.tables.spec import TableSpec

NAME = "cifar10"
DATA = "cifar10"

FRAMEWORKS = ("simclr", "moco", "barlow_twins", "byol")
DENSE = (UNTRAINED, "dense")
SPARSE = ("static_erk", "static_uniform", "gradual", "set", "rigl", "granet", "synchronized")
# The same methods with other allocations: what the published ranking of all layers together costs at small sizes.
# And synchronized pruning with only active weights competing, so that what it grows can stay.
ALLOCATED = (
    *(f"{method}_{name}" for method in ("gradual", "granet", "synchronized") for name in ("erk", "lamp")),
    "synchronized_active",
)
PATTERN, PATTERN_DENSITY = "2:4", 0.50
PATTERN_SPARSE = ("static_uniform", "gradual", "synchronized")
SMALL_PATTERN_FRAMEWORKS = ("simclr", "moco")  # a shared encoder and an EMA target
# With labels, in one view a step: dense, and the only opponent there that is trained sparse from dense as SyncCP is.
SUPERVISED = ("gradual",)
# The stand-in shows that everything is wired up: a shared encoder, an EMA target and a method of each kind do.
STAND_IN_FRAMEWORKS = ("simclr", "byol")
STAND_IN_SPARSE = ("static_erk", "gradual", "synchronized")
# The smoke table has eight minutes on two cores: every method and allocation on one framework at least, and on each
# framework a mask that never moves beside the method of the table.
SMOKE_SPARSE = {
    "simclr": (
        *("static_erk", "set", "rigl", "gradual", "gradual_erk", "gradual_lamp", "granet"),
        *("synchronized", "synchronized_erk", "synchronized_lamp", "synchronized_active"),
    ),
    "moco": ("static_erk", "rigl", "gradual", "synchronized", "synchronized_erk", "synchronized_lamp"),
    "barlow_twins": ("static_erk", "synchronized", "synchronized_erk"),
    "byol": ("static_erk", "synchronized"),
}
SMOKE_PATTERN_SPARSE = {"simclr": ("static_uniform", "synchronized")}
REGRESSION_CELLS = (
    "simclr/untrained/*",
    "simclr/synchronized_lamp/element/*",
    "simclr/static_uniform/2:4/*",
    "simclr/set/*",
    "simclr/granet/*",
    "moco/rigl/*",
    "barlow_twins/synchronized_erk/*",
    "byol/static_erk/*",
    "supervised/gradual/*",
)


def table(profile: str, data: str) -> TableSpec:
    """Return the table at a profile's size, on CIFAR-10 or, with fewer rows, on the stand-in."""
    size, is_whole = PROFILES[profile], data != STAND_IN
    cells = []
    for framework in FRAMEWORKS if is_whole else STAND_IN_FRAMEWORKS:
        points = [SparsitySpec(method=method) for method in DENSE]
        for density in size.densities:
            points += _points(size, _sparse(profile, framework) if is_whole else STAND_IN_SPARSE, "element", density)
        if is_whole:
            points += _points(size, _patterned(profile, framework), PATTERN, PATTERN_DENSITY)
        cells += [size.run(framework, point, data) for point in points]
    supervised = [SparsitySpec(method="dense")]
    supervised += [point for density in size.densities for point in _points(size, SUPERVISED, "element", density)]
    cells += [size.run("supervised", point, data) for point in supervised]
    return TableSpec(
        name=NAME,
        title=f"Sparse contrastive learning on {title_of(data if is_whole else DATA)}: accuracy at equal density",
        profile=profile,
        data=data,
        cells=tuple(cells),
    )


def _sparse(profile: str, framework: str) -> tuple[str, ...]:
    """Return the methods of a framework's rows with single weights."""
    return SMOKE_SPARSE[framework] if profile == "smoke" else (*SPARSE, *ALLOCATED)


def _patterned(profile: str, framework: str) -> tuple[str, ...]:
    """Return the methods of a framework's rows with the N:M pattern."""
    if profile == "smoke":
        return SMOKE_PATTERN_SPARSE.get(framework, ())
    return PATTERN_SPARSE if profile == "paper" or framework in SMALL_PATTERN_FRAMEWORKS else ()


def _points(size: Profile, methods: Iterable[str], shapes: str, density: float) -> list[SparsitySpec]:
    """Return every method at one density; ``synchronized`` with the profile's gaps."""
    return [
        SparsitySpec(method=method, granularity=shapes, density=density, gap=gap)
        for method in methods
        for gap in (size.gaps if method.startswith("synchronized") else (0.0,))
    ]
