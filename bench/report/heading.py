"""What was run, where, and with which code."""

from collections.abc import Iterable

from bench.judged import JudgedTable


def heading(table: JudgedTable) -> tuple[tuple[str, str], ...]:
    """Return (what, value) pairs. Distinct values are joined, so that a mixture shows."""
    metric, cells = table.tolerances.judged_metric, table.spec.cells
    facts = [record.facts for record in table.records]
    provenance = [record.provenance for record in table.records]
    changed = " with changes" if any(item.get("git_dirty") for item in provenance) else ""
    seconds = table.wall_seconds
    return (
        ("table", f"{table.spec.name}, profile {table.spec.profile}, data {table.spec.data}"),
        (
            "encoder",
            _distinct(f"{run.encoder.name}, width {run.encoder.width:g}, {run.encoder.stem} stem" for run in cells),
        ),
        (
            "training",
            _distinct(
                f"{run.data.train_images or 'all'} images, {run.optimizer.epochs} epochs, "
                f"batch {run.optimizer.batch_images}, {run.optimizer.name} {run.optimizer.learning_rate:g}, "
                f"views {run.views.pipeline}"
                for run in cells
                if run.optimizer.epochs
            ),
        ),
        ("images scored", _distinct(run.data.evaluate_on for run in cells)),
        ("kNN", _distinct(str(item.get("knn_protocol", "unknown")) for item in facts)),
        ("linear", _distinct(str(item.get("linear_protocol", "unknown")) for item in facts)),
        ("seeds", _seeds(row.new[metric].values for row in table.rows)),
        ("stored seeds", _seeds(row.stored[metric].values for row in table.rows)),
        ("machine", _distinct(str(item.get("host", "unknown")) for item in provenance)),
        ("environment", _distinct(str(item.get("env_class", "unknown")) for item in provenance)),
        ("commit", _distinct(str(item.get("git_commit", "unknown")) for item in provenance) + changed),
        ("sources", _distinct(str(item.get("source_digest", "unknown")) for item in provenance)),
        ("data source", _distinct(str(item.get("data_source", "unknown")) for item in provenance)),
        ("time", f"{seconds:.0f} s" if seconds is not None else "not measured"),
    )


def _distinct(values: Iterable[str]) -> str:
    return " | ".join(sorted(set(values))) or "none"


def _seeds(samples: Iterable[Iterable[int]]) -> str:
    return ", ".join(map(str, sorted({seed for sample in samples for seed in sample}))) or "none"
