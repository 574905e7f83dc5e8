"""``show``: everything that is known of one run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import Positional, arg

from bench.commands.place import Out
from bench.commands.repeat import command_of
from bench.commands.result import aligned, numbers
from bench.config import overrides
from bench.config.run import Run
from bench.files import write_atomically
from bench.runs import find
from bench.runs.folder import RunFolder
from bench.runs.record import Record

_BUDGETS = {  # fact or entry of the provenance -> what it is
    "density_prunable": "density of the prunable weights",
    "density_encoder": "density of the whole encoder",
    "dense_macs": "dense MACs of an image",
    "macs_ratio": "MACs left, as a fraction of them",
    "training_macs_ratio": "MACs of training, as a fraction of dense training",
    "reduction_asked": "reduction of MACs that was asked for",
    "reduction": "reduction of MACs, measured",
    "compact_macs_ratio": "MACs of the smaller network that training went on in",
    "compact_from_step": "the first step in it",
    "optimizer_steps": "optimizer steps",
    "samples_seen": "images seen",
    "train_cpu_seconds": "CPU-seconds of training",
    "cpu_seconds": "CPU-seconds in all",
    "wall_seconds": "seconds on the wall",
    "step_milliseconds": "milliseconds of a step",
    "masked_step_cpu_milliseconds": "CPU-milliseconds of a step with masks",
    "compact_step_cpu_milliseconds": "CPU-milliseconds of a step in the smaller network",
    "peak_memory_bytes": "bytes of memory at most",
}


@dataclass(frozen=True, kw_only=True)
class Show:
    """Show one finished run: results, settings, budgets, loss, masks, provenance, and the command that repeats it.

    The loss is also drawn, as loss.svg in the run's folder.

    Attributes:
        run: name of the run, the beginning of it, or its folder; `runs` lists names.
        place: where the runs lie.
    """

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    place: Out = field(default_factory=Out)

    def act(self) -> int:
        """Print it and draw the loss; return the exit code.

        Raises:
            UsageError: no such run.
            RecordError: the record cannot be read.
        """
        folder = find.named(self.run, self.place.runs_dir)
        record = Record.load(folder.record)
        run = record.run
        print(f"{run.cell}, seed {run.seed}: {record.run_id}")
        print(*_section("results", numbers(record)), sep="\n")
        print(*_section("settings", _texts(overrides.settings(run))), sep="\n")
        known = {**record.facts, **record.provenance}
        print(
            *_section("budgets", {what: _text(known[name]) for name, what in _BUDGETS.items() if name in known}),
            sep="\n",
        )
        self._show_loss(record, folder)
        title, layers = _layers(run, record)
        print(*_section(title, layers), sep="\n")
        provenance = {name: value for name, value in record.provenance.items() if name not in {*_BUDGETS, "sources"}}
        print(*_section("provenance", _texts(provenance)), sep="\n")
        print(*_section("files", {path.name: f"{path.stat().st_size:,} bytes" for path in folder.files()}), sep="\n")
        print(f"\nagain:\n  {command_of(run)}")
        return 0

    def _show_loss(self, record: Record, folder: RunFolder) -> None:
        from bench.report import loss

        steps, losses = loss.curve(record.facts)
        if not losses:
            return
        write_atomically(folder.path / "loss.svg", loss.drawing(steps, losses, record.run_id))
        print(f"\nloss, from {losses[0]:.4g} at step {steps[0]} to {losses[-1]:.4g} at step {steps[-1]} (loss.svg):")
        print(f"  {loss.sparkline(losses)}")


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items()}


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else overrides.text_of(value)


def _section(title: str, values: Mapping[str, str]) -> Iterator[str]:
    """Yield a title and a line per name and value."""
    if values:
        yield f"\n{title}:"
        yield from (f"  {line}" for line in aligned([*values.items()]))


def _layers(run: Run, record: Record) -> tuple[str, dict[str, str]]:
    """Return a title, and by layer: the densities of both branches' masks; of gates, the share of them that was on."""
    facts = record.facts
    if run.sparsity.reduction:
        rates, of_target = _per_layer(facts, "gate_rate_per_layer")
        return "share of gates on per layer, online and target", {
            layer: f"{rate:.4f}  {of_target[layer]:.4f}" for layer, rate in rates.items()
        }
    kept, of_target = _per_layer(facts, "kept_per_layer")
    weights = _weights_per_layer(run)
    return "density of masks per layer, online and target, and weights", {
        layer: f"{count / weights[layer]:.4f}  {of_target[layer] / weights[layer]:.4f}  {weights[layer]:,}"
        for layer, count in kept.items()
    }


def _per_layer(facts: Mapping[str, object], name: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return a fact of both branches by layer; empty where the record has none."""
    online, target = facts.get(name), facts.get(f"{name}_target")
    return (online, target) if isinstance(online, dict) and isinstance(target, dict) else ({}, {})


def _weights_per_layer(run: Run) -> dict[str, int]:
    """Return how many weights each prunable layer has, by building the encoder: a record holds those that are kept."""
    import torch

    from bench.training import encoders
    from methods import masking

    with torch.random.fork_rng(devices=()):
        encoder, _ = encoders.build(run.encoder)
    masking.install(encoder)
    return {path: weight.numel() for path, weight in masking.latent(encoder).items()}
