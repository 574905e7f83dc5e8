"""Structured sparsity on CIFAR-10: what the shape of the zeros costs, per method and framework, at one density."""

import dataclasses

from bench.config.profiles import BRIEF, PROFILES, Profile
from bench.config.run import STAND_IN, UNTRAINED, SparsitySpec
from bench.data.known import title_of
from bench.tables.spec import TableSpec

NAME = "structured"
DATA = "cifar10"

FRAMEWORKS = ("simclr", "moco")  # a shared encoder, and the cheaper of those with an EMA target
DENSE = (UNTRAINED, "dense")
# Filters have one density in all layers, and rows are compared: so random masks are uniform everywhere.
SPARSE = ("static_uniform", "gradual", "synchronized")
GRANULARITIES = ("element", "block4x4", "block8x1", "filter")  # all fit every layer from width 1/8 on
DENSITY = 0.25  # every layer divides: filters too are exactly as dense as the other rows
REGRESSION_CELLS = (
    "simclr/synchronized/block4x4/*",
    "simclr/gradual/filter/*",
    "moco/static_uniform/block8x1/*",
    "moco/synchronized/filter/*",
)

SMOKE_EPOCHS = 2  # 320 steps: its 28 cells shall take four minutes on two cores


def table(profile: str, data: str) -> TableSpec:
    """Return the table at a profile's size, on CIFAR-10 or on the stand-in."""
    size = _shortened(BRIEF) if profile == "smoke" else PROFILES[profile]
    points = [SparsitySpec(method=method) for method in DENSE]
    points += [
        SparsitySpec(
            method=method,
            granularity=granularity,
            density=DENSITY,
            gap=size.gap if method == "synchronized" else 0.0,
        )
        for granularity in GRANULARITIES
        for method in SPARSE
    ]
    on = title_of(DATA if data == STAND_IN else data)
    return TableSpec(
        name=NAME,
        title=f"Structured sparsity on {on}: accuracy at equal density, by the shape of the zeros",
        profile=profile,
        data=data,
        cells=tuple(size.run(framework, point, data) for framework in FRAMEWORKS for point in points),
    )


def _shortened(size: Profile) -> Profile:
    recipes = {
        name: dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, epochs=SMOKE_EPOCHS))
        for name, recipe in size.recipes.items()
    }
    return dataclasses.replace(size, recipes=recipes)
