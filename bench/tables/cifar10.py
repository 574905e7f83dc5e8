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
# And synchronized pruning with only active weights competing. None of these in the smoke table: it has ten minutes.
ALLOCATED = (
    *(f"{method}_{name}" for method in ("gradual", "granet", "synchronized") for name in ("erk", "lamp")),
    "synchronized_active",
)
PATTERN, PATTERN_DENSITY = "2:4", 0.50
PATTERN_SPARSE = ("static_uniform", "gradual", "synchronized")
SMOKE_PATTERN_SPARSE = ("static_uniform", "synchronized")  # it has ten minutes, and cpu an hour
SMALL_PATTERN_FRAMEWORKS = ("simclr", "moco")  # a shared encoder and an EMA target
# With labels, in one view a step: dense, and the only opponent there that is trained sparse from dense as SyncCP is.
SUPERVISED = ("dense", "gradual")
# The stand-in shows that everything is wired up: a shared encoder, an EMA target and a method of each kind do.
STAND_IN_FRAMEWORKS = ("simclr", "byol")
STAND_IN_SPARSE = ("static_erk", "gradual", "synchronized")
# The smoke table has ten minutes: the two costliest frameworks there leave out what has its like in the table.
SMOKE_COSTLY = ("barlow_twins", "byol")
SMOKE_WITHOUT = ("static_uniform", "set", "granet")
REGRESSION_CELLS = (
    "simclr/untrained/*",
    "simclr/synchronized/element/d0.02*",
    "simclr/static_uniform/2:4/*",
    "moco/set/*",
    "moco/rigl/*",
    "moco/granet/*",
    "barlow_twins/static_erk/*",
    "byol/synchronized/*",
    "supervised/gradual/*",
)


def table(profile: str, data: str) -> TableSpec:
    """Return the table at a profile's size, on CIFAR-10 or, with fewer rows, on the stand-in."""
    size, is_whole = PROFILES[profile], data != STAND_IN
    frameworks, sparse = (FRAMEWORKS, (*SPARSE, *ALLOCATED)) if is_whole else (STAND_IN_FRAMEWORKS, STAND_IN_SPARSE)
    points = [SparsitySpec(method=method) for method in DENSE]
    points += [point for density in size.densities for point in _points(size, sparse, "element", density)]
    is_smoke = profile == "smoke"
    with_patterns = FRAMEWORKS if profile == "paper" else SMALL_PATTERN_FRAMEWORKS
    patterns = _points(size, SMOKE_PATTERN_SPARSE if is_smoke else PATTERN_SPARSE, PATTERN, PATTERN_DENSITY)
    cells = []
    for framework in frameworks:
        has_patterns = is_whole and framework in with_patterns
        left_out = SMOKE_WITHOUT if is_smoke and framework in SMOKE_COSTLY else ()
        if is_smoke:
            left_out = (*left_out, *ALLOCATED)
        chosen = [point for point in points if point.method not in left_out]
        cells += [size.run(framework, point, data) for point in (*chosen, *(patterns if has_patterns else ()))]
    cells += [size.run("supervised", point, data) for point in points if point.method in SUPERVISED]
    return TableSpec(
        name=NAME,
        title=f"Sparse contrastive learning on {title_of(data if is_whole else DATA)}: accuracy at equal density",
        profile=profile,
        data=data,
        cells=tuple(cells),
    )


def _points(size: Profile, methods: Iterable[str], shapes: str, density: float) -> list[SparsitySpec]:
    """Return every method at one density; ``synchronized`` with the profile's gaps."""
    return [
        SparsitySpec(method=method, granularity=shapes, density=density, gap=gap)
        for method in methods
        for gap in (size.gaps if method.startswith("synchronized") else (0.0,))
    ]
