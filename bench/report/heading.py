"""What was run, where, and with which code."""

from collections.abc import Iterable

from bench.config.run import Run
from bench.config.views import ViewSpec
from bench.judging.judged_table import JudgedTable
from bench.runs.record import Record
from bench.sources import states


def heading(table: JudgedTable) -> tuple[tuple[str, str], ...]:
    """Return (what, value) pairs. Distinct values are joined, so that a mixture shows."""
    metric, cells = table.tolerances.judged_metric, table.spec.cells
    facts = [record.facts for record in table.records]
    provenance = [record.provenance for record in table.records]
    changed = " with changes" if any(item.get("git_dirty") for item in provenance) else ""
    return (
        ("table", table.spec.caption),
        (
            "encoder",
            _distinct(f"{run.encoder.name}, width {run.encoder.width:g}, {run.encoder.stem} stem" for run in cells),
        ),
        (
            "training",
            _distinct(
                f"{run.data.train_images or 'all'} images{_held_out(run)}, {run.optimizer.epochs} epochs, "
                f"batch {run.optimizer.batch_images}, {run.optimizer.name} {run.optimizer.learning_rate:g}, "
                f"views {_views(run.views)}"
                for run in cells
                if run.optimizer.epochs
            ),
        ),
        ("images scored", _distinct(run.data.evaluate_on for run in cells)),
        ("kNN", _distinct(str(item.get("knn_protocol", "unknown")) for item in facts)),
        ("linear", _distinct(str(item.get("linear_protocol", "unknown")) for item in facts)),
        ("counted", "density and MACs, exactly; zeros are applied, not skipped, and make no step here faster"),
        ("seeds", _seeds(row.new[metric].values for row in table.rows)),
        ("seeds of the references", _seeds(row.references[metric].values for row in table.rows)),
        ("machine", _distinct(str(item.get("host", "unknown")) for item in provenance)),
        ("environment", _distinct(str(item.get("env_class", "unknown")) for item in provenance)),
        ("commit", _distinct(str(item.get("git_commit", "unknown")) for item in provenance) + changed),
        ("sources", _distinct(states(provenance))),
        ("data source", _distinct(str(item.get("data_source", "unknown")) for item in provenance)),
    )


def seeds_drawn(table: JudgedTable) -> str:
    """Return the seeds of the runs that the table is made of: fresh ones, else the references."""
    return f"seeds {_seeds([record.run.seed] for record in table.records)}"


def _views(views: ViewSpec) -> str:
    """Return the views of a run in words: pipeline, recipe and, where it has one, the size of the first steps."""
    first = f", {views.small_pixels} pixels in the first {views.small_fraction:.0%} of the steps"
    before = f", of a control {views.control_pixels} pixels in the first {views.control_fraction:.1%}"
    words = [first if views.small_pixels else "", before if views.control_pixels else ""]
    return f"{views.pipeline} {views.recipe}{''.join(words)}"


def _held_out(run: Run) -> str:
    count = run.data.held_out_images
    return f", {count} of them held out to steer gates" if count else ""


def cost(table: JudgedTable) -> str:
    """Return what the table took, in one sentence."""
    seconds = [_number(record, "cpu_seconds") for record in table.records]
    memory = [_number(record, "peak_memory_bytes") / 2**30 for record in table.records]
    most = max(memory, default=0.0)
    runs = f"Its {len(seconds)} runs took {sum(seconds):.0f} s of CPU time, and at most {most:.1f} GiB."
    return runs if table.wall_seconds is None else f"Time: {table.wall_seconds:.0f} s on the wall. {runs}"


def _number(record: Record, name: str) -> float:
    value = record.provenance.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _distinct(values: Iterable[str]) -> str:
    return " | ".join(sorted(set(values))) or "none"


def _seeds(samples: Iterable[Iterable[int]]) -> str:
    return ", ".join(map(str, sorted({seed for sample in samples for seed in sample}))) or "none"
