"""What bears on the claims about a table: our own stored runs and a user's, together.

A table judges fresh runs against references, so that the two must be kept apart there. A claim compares cells with
cells: every run of the table's own settings counts, once a seed, whoever made it.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.config.run import DataSpec
from bench.judging import exact
from bench.judging.budget import bears_claims
from bench.judging.tolerances import Tolerances
from bench.runs.record import METRICS, Record, RecordError
from bench.sources import states
from bench.tables.spec import TableSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Runs of a table's cells.

    Attributes:
        spec: the whole table.
        records: cell -> seed -> run. Of a seed that was run twice, the stored reference counts.
        left_out: why runs do not count whose exact facts are not those of their cell's references.
    """

    spec: TableSpec
    records: Mapping[str, Mapping[int, Record]]
    left_out: tuple[str, ...] = ()

    def values(self, tolerances: Tolerances) -> dict[str, dict[str, dict[int, float]]]:
        """Return metric -> cell -> seed -> percent, of the runs that can bear a claim."""
        bearing = self._bearing(tolerances)
        return {
            metric: {cell: {seed: item.metrics[metric] for seed, item in of.items()} for cell, of in bearing.items()}
            for metric in METRICS
        }

    def seeds(self, cells: Sequence[str], tolerances: Tolerances) -> frozenset[int]:
        """Return the seeds of which all of some cells have a run that can bear a claim."""
        bearing = self._bearing(tolerances)
        found = [frozenset(bearing.get(cell, {})) for cell in cells]
        return frozenset.intersection(*found) if found else frozenset()

    def states(self, cells: Sequence[str]) -> int:
        """Return how many states of the code made the runs of some cells."""
        found = [item.provenance for cell in cells for item in self.records.get(cell, {}).values()]
        return len(states(found)) if found else 0

    def _bearing(self, tolerances: Tolerances) -> dict[str, dict[int, Record]]:
        return {
            cell: {seed: item for seed, item in found.items() if bears_claims(item, tolerances)}
            for cell, found in self.records.items()
        }


def gathered(spec: TableSpec, references: Sequence[Record], fresh: Sequence[Record]) -> Evidence:
    """Return the runs among some records that belong to a table, with its own settings.

    A fresh run whose exact facts (images, counts, steps, MACs) are not those of its cell's references was made by other
    code or on other images: it is left out, as the table calls its cell DEVIATES. Where a cell has no references, its
    runs are held to the one of the lowest seed: runs that contradict one another bear nothing together.

    Raises:
        RecordError: two seeds of a cell have the same weights: one is a copy under another name; or runs of one table
            saw different images under one name.
    """
    owners = {run.run_id: run.cell for run in spec.cells}
    stored, made = _by_cell(owners, references), _by_cell(owners, fresh)
    records, left_out = {cell: dict(found) for cell, found in stored.items()}, []
    for cell, found in made.items():
        of_cell = records.setdefault(cell, {})
        kept = list(stored.get(cell, {}).values()) or [found[min(found)]]  # without references: runs are held to one
        for seed, record in found.items():
            _require_own_weights([*of_cell.values(), record] if seed not in of_cell else [])
            if broken := exact.violations(record, kept):
                left_out.append(f"{record.run_id}: {broken[0]}")
            else:
                of_cell.setdefault(seed, record)
    require_same_images([record for of_cell in records.values() for record in of_cell.values()])
    return Evidence(spec=spec, records={cell: of for cell, of in records.items() if of}, left_out=tuple(left_out))


def _by_cell(owners: Mapping[str, str], records: Sequence[Record]) -> dict[str, dict[int, Record]]:
    found: defaultdict[str, dict[int, Record]] = defaultdict(dict)
    for record in records:
        cell = owners.get(dataclasses.replace(record.run, seed=0).run_id)
        if cell is not None:
            found[cell].setdefault(record.run.seed, record)
    for of_cell in found.values():
        _require_own_weights(list(of_cell.values()))
    return dict(found)


def require_same_images(records: Sequence[Record]) -> None:
    """Demand that runs of one data set, and one part of it, saw the same images.

    Raises:
        RecordError: two did not.
    """
    first: dict[DataSpec, Record] = {}
    for record in records:
        known = first.setdefault(record.run.data, record)
        one, other = (each.facts.get("data_fingerprint") for each in (known, record))
        if one != other:
            raise RecordError(
                f"{known.run_id} and {record.run_id} were trained on different images, both called "
                f"{record.run.data.name} (fingerprints {one} and {other}), and compare nothing. Find out which images "
                "are meant, and move the runs on the others away."
            )


def _require_own_weights(records: Sequence[Record]) -> None:
    """Demand that no two seeds of a cell have the same weights.

    Raises:
        RecordError: two have.
    """
    digests = Counter(str(item.facts["weights_digest"]) for item in records if "weights_digest" in item.facts)
    for digest, count in digests.items():
        if count > 1:
            twins = [item.run_id for item in records if item.facts.get("weights_digest") == digest]
            raise RecordError(
                f"{' and '.join(twins)} have the same weights (digest {digest}): seeds of their own have weights of "
                "their own, so one is a copy under another name. Delete it; the run is then made again."
            )
