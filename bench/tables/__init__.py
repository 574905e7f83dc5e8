"""Each paper table as data."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.config.profiles import PROFILES
from bench.data.fit import fitted
from bench.data.known import Content, known_content
from bench.tables import asymmetry, cifar10, cifar100, gating, imagenet100, nm, structured, transfer
from bench.tables.spec import TableSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One paper table. Called with a profile and the data set really used, it gives the cells.

    Attributes:
        data: the data set that it is about; a stand-in may take its place.
        build: profile and data set to cells.
        regression_cells: what ``nox -s regression`` repeats: each method and each framework, the hardest settings.
        profiles: the sizes that it has.
        of_encoders: encoders for which other constants are published, each with what then takes the place of
            ``build``; its cells have the table's own encoder yet.
    """

    data: str
    build: Callable[[str, str], TableSpec]
    regression_cells: tuple[str, ...]
    profiles: tuple[str, ...] = tuple(PROFILES)
    of_encoders: Mapping[str, Callable[[str, str], TableSpec]] = field(default_factory=dict)

    def __call__(self, profile: str, data: str, content: Content | None = None, encoder: str = "") -> TableSpec:
        """Return the table at a profile's size on a data set.

        Args:
            profile: a key of the profiles.
            data: the data set's name.
            content: of a data set that is not known by name: its classes and counts.
            encoder: that will take the place of the table's; empty for none.
        """
        build = self.of_encoders.get(encoder, self.build)
        spec, there = build(profile, data), content or known_content(data)
        return dataclasses.replace(spec, cells=tuple(fitted(run, there) for run in spec.cells)) if there else spec


TABLES: dict[str, Table] = {
    cifar10.NAME: Table(data=cifar10.DATA, build=cifar10.table, regression_cells=cifar10.REGRESSION_CELLS),
    cifar100.NAME: Table(data=cifar100.DATA, build=cifar100.table, regression_cells=cifar100.REGRESSION_CELLS),
    gating.NAME: Table(data=gating.DATA, build=gating.table, regression_cells=gating.REGRESSION_CELLS),
    nm.NAME: Table(data=nm.DATA, build=nm.table, regression_cells=nm.REGRESSION_CELLS),
    structured.NAME: Table(data=structured.DATA, build=structured.table, regression_cells=structured.REGRESSION_CELLS),
    transfer.NAME: Table(data=transfer.DATA, build=transfer.table, regression_cells=transfer.REGRESSION_CELLS),
    asymmetry.NAME: Table(data=asymmetry.DATA, build=asymmetry.table, regression_cells=asymmetry.REGRESSION_CELLS),
    imagenet100.NAME: Table(
        data=imagenet100.DATA,
        build=imagenet100.table,
        regression_cells=imagenet100.REGRESSION_CELLS,
        profiles=tuple(imagenet100.ROWS),
        of_encoders={"resnet-50": functools.partial(imagenet100.table, encoder="resnet-50")},
    ),
}
