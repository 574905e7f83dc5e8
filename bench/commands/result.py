"""What a finished run is worth a line for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.config import overrides
from bench.config.run import Run
from bench.runs.folder import RunFolder
from bench.runs.record import Record

_SHOWN_FACTS = {
    "density_prunable": "density",
    "macs_ratio": "MACs",
    "training_macs_ratio": "training MACs",
    "reduction": "MACs reduced",
}
_NOTHING = "-"


def numbers(record: Record) -> dict[str, str]:
    """Return a record's results as texts by their titles: percentages first, then what the sparsity leaves."""
    percents = {
        name.removesuffix("_top1_percent"): f"{record.metrics[name]:.2f} %"
        for name in sorted(record.metrics, reverse=True)
    }
    found = {title: record.facts.get(name) for name, title in _SHOWN_FACTS.items()}
    return percents | {title: f"{value:.4f}" for title, value in found.items() if isinstance(value, int | float)}


def result_line(record: Record, runs_dir: Path) -> str:
    """Return the result and the files of one run, in one line."""
    folder = RunFolder(runs_dir / record.run_id)
    files = ",".join(path.name for path in folder.files())
    results = ", ".join(f"{title} {value}" for title, value in numbers(record).items())
    return f"{record.run_id}: {results}; {folder.path}/{{{files}}}"


def sweep_lines(made: Mapping[str, Record], runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """Return a table of runs: what was varied, the results, and the run's name; a failed run has no results."""
    titles = list(dict.fromkeys(title for record in made.values() for title in numbers(record)))
    rows = [[*keys, *titles, "run"]]
    for run in runs:
        record = made.get(run.run_id)
        found = numbers(record) if record else {}
        settings = overrides.settings(run)
        varied = (overrides.text_of(settings[key]) for key in keys)
        rows.append([*varied, *(found.get(title, _NOTHING) for title in titles), run.run_id])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of texts as lines whose columns stand below one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
