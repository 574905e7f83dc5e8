"""What bears on the claims about a table: our own stored runs and a user's, together.

A table judges fresh runs against references, so that the two must be kept apart there. A claim compares cells with
cells: every run of the table's own settings counts, once a seed, whoever made it.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.judging.budget import bears_claims
from bench.judging.tolerances import Tolerances
from bench.runs.record import METRICS, Record, RecordError
from bench.tables.spec import TableSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Runs of a table's cells.

    Attributes:
        spec: the whole table.
        records: cell -> seed -> run. Of a seed that was run twice, the stored reference counts.
    """

    spec: TableSpec
    records: Mapping[str, Mapping[int, Record]]

    def values(self, tolerances: Tolerances) -> dict[str, dict[str, dict[int, float]]]:
        """Return metric -> cell -> seed -> percent, of the runs that can bear a claim."""
        return {
            metric: {
                cell: {seed: item.metrics[metric] for seed, item in found.items() if bears_claims(item, tolerances)}
                for cell, found in self.records.items()
            }
            for metric in METRICS
        }

    def seeds(self, cells: Sequence[str]) -> frozenset[int]:
        """Return the seeds that all of some cells have."""
        found = [frozenset(self.records.get(cell, {})) for cell in cells]
        return frozenset.intersection(*found) if found else frozenset()


def gathered(spec: TableSpec, references: Sequence[Record], fresh: Sequence[Record]) -> Evidence:
    """Return the runs among some records that belong to a table, with its own settings.

    Raises:
        RecordError: two seeds of a cell have the same weights: one is a copy under another name.
    """
    owners = {run.run_id: run.cell for run in spec.cells}
    records: defaultdict[str, dict[int, Record]] = defaultdict(dict)
    for record in (*references, *fresh):
        cell = owners.get(dataclasses.replace(record.run, seed=0).run_id)
        if cell is not None:
            records[cell].setdefault(record.run.seed, record)
    for of_cell in records.values():
        _require_own_weights(list(of_cell.values()))
    return Evidence(spec=spec, records=dict(records))


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
