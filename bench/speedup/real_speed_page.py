"""The table of real speed, for people and for programs."""

import dataclasses
import datetime as dt
import functools
import json
from collections.abc import Callable, Iterable, Sequence

import torch

from bench import provenance
from bench.report.grid import NOTHING, Column, grid
from bench.report.markdown import titled_grid
from bench.speedup import peers, sparse_prop, zeros
from bench.speedup.real_speed import MACHINES, PIXELS, Line, RealSpeed
from bench.speedup.turns import Ratio, Speed

SCHEMA = 3  # since 2: machine; since 3: code, date, peers
_FORMS = {zeros.FOLDED: "with folded normalisation", zeros.FUSED: "in one call of the same kernel"}
NOTES = (
    (
        "MACs saved: dense multiply-accumulates of an image over those needed, what gates cost included. A filter "
        "takes the inputs that read it along."
    ),
    (
        "Measured / MACs saved: of the largest batch, over the dense encoder in PyTorch, so what a kernel or a folded "
        "normalisation gains without zeros is in it. What zeros alone buy is the speed-up over the dense encoder in "
        "the same form: of filters the first notes say it."
    ),
    (
        "Modelled: a training step on machines of `hardware/`, with the same zeros, batch and network. Nothing there "
        "was measured, and nothing measured is extrapolated to other networks, rates or devices."
    ),
    "Zeros are drawn at random: masks of trained networks cluster, and their filters die unevenly.",
    (
        "Gates, known: what a view opens was decided before the step, by the encoder in evaluation mode, and is not "
        "timed. In the step nothing is decided and no threshold learns. Published gates decide within the step: its "
        "time is in the row without `known`. A normalisation behind spatial gates takes statistics of open pixels."
    ),
)


def page(found: RealSpeed) -> str:
    """Return the table as Markdown."""
    run, batches = found.run, sorted({count for line in found.lines for count in line.inference})
    head = [
        f"- network: {run.encoder.name} x {run.encoder.width:g}, random weights, {PIXELS}x{PIXELS} images of noise",
        f"- here: {machine()}",
        f"- measured on {_today()} by the code of commit {_code()}; peers: {', '.join(_peers()) or 'none'}",
        f"- training step: SimCLR, {zeros.TRAINED} images, two views each: forward, backward, optimizer",
        f"- turns: {found.rounds} rounds of A, B, A, C, A, ...; A is the dense encoder; medians and 95 % intervals",
        *(
            f"- {name}: dense {found.dense[name]:.1f} ms of CPU time; noise, dense over dense: {_interval(noise)}"
            for name, noise in found.noise.items()
        ),
    ]
    notes = [
        *(f"- {each}" for each in _over_dense(found.lines)),
        *(f"- {each}" for each in _reasons(found.lines)),
        *(f"- {each}" for each in (peers.missing(), sparse_prop.missing(), *NOTES) if each),
    ]
    table = titled_grid(grid("Speed-up over the dense encoder", _columns(batches), found.lines))
    return "\n".join(
        [
            "# What sparsity really buys: measured here, beside modelled",
            "",
            *head,
            "",
            table,
            "## Notes",
            "",
            *notes,
            "",
        ]
    )


def machine() -> str:
    """Return the class of the environment that everything was measured in: machine, processor, versions, one thread."""
    processor = provenance.cpu(torch.backends.cpu.get_cpu_capability())
    return provenance.env_class(processor=processor, threads=1, precision="32-true", ranks=1)


def _code() -> str:
    state = provenance.git_state()
    return f"{state['git_commit']}{', with changes not committed' if state['git_dirty'] else ''}"


def _today() -> str:
    return dt.datetime.now(tz=dt.UTC).date().isoformat()


def _peers() -> list[str]:
    return [each.version() for each in (peers, sparse_prop) if not each.missing()]


def payload(found: RealSpeed) -> str:
    """Return the table as JSON, nothing rounded."""
    body = {
        "schema": SCHEMA,
        "machine": machine(),
        "code": _code(),
        "date": _today(),
        "peers": _peers(),
        "encoder": dataclasses.asdict(found.run.encoder),
        "rounds": found.rounds,
        "dense_cpu_milliseconds": dict(found.dense),
        "noise": {name: dataclasses.asdict(each) for name, each in found.noise.items()},
        "rows": [
            {
                "kind": line.subject.kind,
                "rate": line.subject.rate,
                "macs_reduction": line.subject.macs_reduction,
                "modelled_training_step": dict(line.modelled),
                "modelled_forward": dict(line.modelled_forward),
                "inference": {str(count): dataclasses.asdict(each) for count, each in line.inference.items()},
                "inference_how": line.subject.how,
                "training_step": dataclasses.asdict(line.training) if line.training else None,
                "training_step_how": line.subject.how_trained,
                "measured_over_macs": dataclasses.asdict(line.conversion) if line.conversion else None,
            }
            for line in found.lines
        ],
    }
    return json.dumps(body, sort_keys=True, indent=1, allow_nan=False) + "\n"


def _columns(batches: Iterable[int]) -> Iterable[Column[Line]]:
    yield Column(title="zeros", show=lambda line: line.subject.kind)
    yield _number("left", lambda line: f"{line.subject.rate:g}")
    yield _number("MACs saved [x]", lambda line: f"{line.subject.macs_reduction:.2f}")
    for count in batches:
        yield _number(f"inference, batch {count} [x]", functools.partial(_inference, count))
    yield _number("measured / MACs saved", lambda line: _interval(line.conversion))
    yield _number("training step [x]", lambda line: _speed(line.training))
    yield _number("wall, training step [x]", lambda line: _wall(line.training))
    for machine in MACHINES:
        yield _number(f"{machine}, step [x]", functools.partial(_modelled, machine))
    yield Column(title="inference here", show=lambda line: line.subject.how)
    yield Column(title="training here", show=lambda line: line.subject.how_trained)


def _number(title: str, show: Callable[[Line], str]) -> Column[Line]:
    return Column(title=title, show=show, is_number=True)


def _inference(count: int, line: Line) -> str:
    return _speed(line.inference.get(count))


def _modelled(machine: str, line: Line) -> str:
    return f"{line.modelled[machine]:.2f}"


def _speed(speed: Speed | None) -> str:
    return NOTHING if speed is None else _interval(speed.cpu)


def _wall(speed: Speed | None) -> str:
    return NOTHING if speed is None else f"{speed.wall.median:.2f}"


def _interval(ratio: Ratio | None) -> str:
    return NOTHING if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _over_dense(lines: Sequence[Line]) -> list[str]:
    """Say what rows of filters gain over the dense encoder in each form: folded, and in one call of the kernel."""
    rows, said = {line.subject.kind: line for line in lines}, []
    for line in lines:
        if line.subject.kind.startswith(zeros.FILTERS):
            for kind, form in _FORMS.items():
                if kind in rows:
                    each = ", ".join(_over(line, rows[kind], count) for count in sorted(line.inference))
                    said.append(f"{line.subject.name}: over the dense encoder {form} {each}")
    return said


def _over(line: Line, dense: Line, count: int) -> str:
    gain = line.inference[count].cpu.median / dense.inference[count].cpu.median
    return f"{gain:.2f} (batch {count}), {gain / line.subject.macs_reduction:.2f} of the MACs"


def _reasons(lines: Iterable[Line]) -> list[str]:
    """Say of each kind without a faster inference that there is none, and why."""
    kinds = {line.subject.kind: line.subject.how for line in lines if line.subject.how.startswith("nothing: ")}
    return [f"{kind}: nothing faster exists on this device; {how.partition(': ')[2]}." for kind, how in kinds.items()]
