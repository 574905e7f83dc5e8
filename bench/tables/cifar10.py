"""Sparse weights on CIFAR-10 and CIFAR-100: what synchronized contrastive pruning is compared with, per framework."""

from collections.abc import Mapping, Sequence

from bench.config.profiles import profile_of
from bench.config.run import STAND_IN
from bench.config.sparsity import SparsitySpec
from bench.data.known import title_of
from bench.tables.points import dense_points, sparse_points
from bench.tables.spec import TableSpec

NAME = "cifar10"
DATA = "cifar10"

FRAMEWORKS = ("simclr", "moco", "barlow_twins", "byol")
SPARSE = ("static_erk", "static_uniform", "gradual", "set", "rigl", "granet", "synchronized")
# The same methods with other allocations: what the published ranking of all layers together costs at small sizes.
# And synchronized pruning with only active weights competing, so that what it grows can stay.
ALLOCATED = (
    *(f"{method}_{name}" for method in ("gradual", "granet", "synchronized") for name in ("erk", "lamp")),
    "synchronized_active",
)
# Opponents beyond those that the papers compare with: no time for them at smoke size.
OPPONENTS = ("set_itop", "rigl_itop", "snfs", "srigl", "sparse_then_dense")
# A narrower dense encoder at each density: with `--match training-macs`, dense training at the cost of sparse training.
# And one that learns from smaller images first, at the cost of `gradual_erk`, or of what the others are matched to.
CONTROL = ("dense_narrow", "dense_small_images")
# Trained densely and pruned afterwards; and the code of synchronized pruning as it was published.
PRUNED_LATER = ("one_shot", "ticket")
AS_PUBLISHED = ("synchronized_as_published", "synchronized_lamp_as_published")
PATTERN, PATTERN_DENSITY = "2:4", 0.50
PATTERN_SPARSE = ("static_uniform", "gradual", "synchronized")
# With labels, in one view a step: dense, and the only opponent there that is trained sparse from dense as SyncCP is.
SUPERVISED = ("gradual",)
# The stand-in shows that everything is wired up: a shared encoder, an EMA target and a method of each kind do.
STAND_IN_ROWS = dict.fromkeys(("simclr", "moco"), ("static_erk", "gradual", "synchronized"))
# The smoke table has eight minutes on two cores: every method on one framework, ERK and LAMP counts on two, and on each
# framework a mask that never moves beside the method of the table.
SMOKE_SPARSE = {
    "simclr": (
        *("static_erk", "set", "rigl", "gradual", "gradual_erk", "granet"),
        *("synchronized", "synchronized_erk", "synchronized_lamp", "synchronized_active"),
        *("synchronized_as_published", "dense_narrow", "dense_small_images"),
    ),
    "moco": ("static_erk", "synchronized", "synchronized_erk"),
    "barlow_twins": ("static_erk", "synchronized", "synchronized_lamp"),
    "byol": ("static_erk", "synchronized"),
}
# Ninety minutes a seed on two cores, at three CPU-minutes a run: a shared encoder and an EMA target with every method
# that the papers compare with, a dense control, and labels.
CPU_SPARSE = {
    "simclr": (
        *("static_erk", "set", "rigl", "gradual", "gradual_erk", "granet"),
        *("synchronized", "synchronized_erk", "dense_small_images"),
    ),
    "moco": (
        *("static_erk", "set", "rigl", "gradual", "granet"),
        *("synchronized", "synchronized_erk", "dense_small_images"),
    ),
}
# A day on one GPU: a mask that never moves, and of the methods that go from dense to sparse one that never takes a
# weight back, the closest opponent, and the method of the table.
HEADLINE_SPARSE = dict.fromkeys(FRAMEWORKS, ("static_erk", "gradual", "granet", "synchronized"))
REGRESSION_CELLS = (
    "simclr/synchronized_lamp/element/*",
    "simclr/synchronized_as_published/*",
    "simclr/dense_*/*",
    "simclr/set/*",
    "simclr/rigl/*",
    "simclr/gradual/*",
    "simclr/granet/*",
    "moco/synchronized_erk/*",
    "barlow_twins/static_erk/*",
    "byol/static_erk/*",
    "supervised/gradual/*",
)


def table(profile: str, data: str) -> TableSpec:
    """Return the table at a profile's size on CIFAR-10 or, with fewer rows, on the stand-in."""
    if data == STAND_IN:
        return laid_out(NAME, DATA, profile, data, STAND_IN_ROWS)
    whole = dict.fromkeys(FRAMEWORKS, (*SPARSE, *OPPONENTS, *ALLOCATED, *CONTROL, *PRUNED_LATER, *AS_PUBLISHED))
    patterned = {framework: _patterned(profile, framework) for framework in FRAMEWORKS}
    return laid_out(NAME, DATA, profile, data, rows_of(profile, SMOKE_SPARSE, whole), patterned)


def rows_of(
    profile: str, smoke: Mapping[str, Sequence[str]], whole: Mapping[str, Sequence[str]]
) -> Mapping[str, Sequence[str]]:
    """Return the methods of a profile's rows with single weights, per framework.

    Args:
        profile: a key of the profiles.
        smoke: those of the smoke table, which differ from data set to data set.
        whole: those of the sizes that have every row.
    """
    return {"smoke": smoke, "cpu": CPU_SPARSE, "gpu": HEADLINE_SPARSE}.get(profile, whole)


def laid_out(
    name: str,
    about: str,
    profile: str,
    data: str,
    sparse: Mapping[str, Sequence[str]],
    patterned: Mapping[str, Sequence[str]] | None = None,
) -> TableSpec:
    """Return a table of sparse weights: untrained, dense, each method at each density; and supervised rows.

    Args:
        name: of the table.
        about: the data set that the table is about; its title names it even where the stand-in takes its place.
        profile: a key of the profiles.
        data: the images really used.
        sparse: methods of the rows with single weights, per framework, in the order of the rows.
        patterned: methods of the rows with the N:M pattern, per framework.
    """
    size, on = profile_of(profile, data), title_of(about if data == STAND_IN else data)
    cells = []
    for framework, methods in sparse.items():
        points = dense_points()
        points += [point for density in size.densities for point in sparse_points(size, methods, "element", density)]
        points += sparse_points(size, (patterned or {}).get(framework, ()), PATTERN, PATTERN_DENSITY)
        cells += [size.run(framework, point, data) for point in points]
    supervised = [SparsitySpec(method="dense")]
    supervised += [point for density in size.densities for point in sparse_points(size, SUPERVISED, "element", density)]
    cells += [size.run("supervised", point, data) for point in supervised]
    return TableSpec(
        name=name,
        title=f"Sparse contrastive learning on {on}: accuracy at equal density",
        profile=profile,
        data=data,
        cells=tuple(cells),
    )


def _patterned(profile: str, framework: str) -> tuple[str, ...]:
    """Return the methods of a framework's rows with the N:M pattern; a table of minutes or a day has none."""
    if profile == "paper":
        return (*PATTERN_SPARSE, AS_PUBLISHED[0])
    return PATTERN_SPARSE if profile == "cpu" and framework == "simclr" else ()
