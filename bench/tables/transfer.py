"""Transfer: what sparse encoders trained on CIFAR-10 know about other images, beside the dense one."""

import dataclasses

from bench.config.profiles import profile_of
from bench.config.run import STAND_IN, Run
from bench.data.known import title_of
from bench.tables.points import dense_points, shaped_points
from bench.tables.spec import TableSpec

NAME = "transfer"
DATA = "cifar10"

FRAMEWORKS = ("simclr", "moco")  # those of the work on lottery tickets in self-supervised pre-training
PROBED = {"cifar10": ("cifar100", STAND_IN), "cifar100": ("cifar10", STAND_IN)}  # others: the stand-in alone
SPARSE = ("static_erk", "gradual", "synchronized", "one_shot", "ticket")
# The smoke table has eight minutes on two cores: every method on a shared encoder, the tickets on an EMA target too.
SMOKE_SPARSE = {"simclr": SPARSE, "moco": ("ticket",)}
REGRESSION_CELLS = (
    *(f"simclr/{method}/*" for method in ("static_erk", "gradual", "synchronized", "one_shot")),
    "moco/ticket/*",
)


def table(profile: str, data: str) -> TableSpec:
    """Return the table at a profile's size on CIFAR-10; other images, the stand-in's too, take its place."""
    size, sparse = profile_of(profile, data), SMOKE_SPARSE if profile == "smoke" else dict.fromkeys(FRAMEWORKS, SPARSE)
    cells = []
    for framework, methods in sparse.items():
        rows = [("element", method) for method in methods]
        points = dense_points()
        points += [point for density in size.densities for point in shaped_points(size, rows, density)]
        cells += [_probed(size.run(framework, point, data), data) for point in points]
    return TableSpec(
        name=NAME,
        title=f"Transfer from {title_of(data)}: features of sparse encoders on other images, at equal density",
        profile=profile,
        data=data,
        cells=tuple(cells),
    )


def _probed(run: Run, data: str) -> Run:
    """Return the run with probes on other data sets; the stand-in's has none: it is used where others are missing."""
    names = () if data == STAND_IN else PROBED.get(data, (STAND_IN,))
    return dataclasses.replace(run, evaluation=dataclasses.replace(run.evaluation, transfer="+".join(names) or None))
