"""Command line: ``python -m hardware step|layer|gemm|sweep|roofline``."""

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hardware import comparison, explain, machine_file, presets, roofline
from hardware.caption import caption
from hardware.checks import HardwareError, at_least, fraction
from hardware.cost.cost import Cost
from hardware.cost.dense import Gemm, gemm_cycles
from hardware.cost.step import amdahl_limit, phase_cost, resolved, step
from hardware.machine import Dataflow
from hardware.network import masks, workload
from hardware.network.ramp import CubicRamp
from hardware.network.workload import Workload
from hardware.sparsity.state import DENSE_STATE, Phase, State

TRACED = Path(__file__).resolve().parents[1] / "results" / "workloads"
USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, or 2 for a usage or data error."""
    options = _parser().parse_args(arguments)
    try:
        sys.stdout.write(COMMANDS[options.command](options) + "\n")
    except HardwareError as error:
        sys.stderr.write(f"error: {error}\n")
        return USAGE
    return 0


def _step(options: argparse.Namespace) -> str:
    """One training step, dense beside sparse."""
    network, machine = _workload(options), presets.machine(options.preset, options.set)
    online, target = _states(options, network)
    if options.ramp:
        if options.masks is not None:
            raise HardwareError("--ramp with --masks: a ramp is of densities. Give --density, or another --point.")
        ramp = CubicRamp(options.ramp[0], options.density, options.ramp[1], options.ramp[2])
        # Branches keep their distance along the ramp, as far as density goes: at most 1.
        gap = (options.density if options.target_density is None else options.target_density) - options.density
        if gap < 0.0:
            raise HardwareError(
                f"--ramp with --target-density {options.target_density} below --density {options.density}: the "
                "target would leave 0 ... 1 along the ramp. Give a target at least as dense."
            )
        points = [
            step(network, machine, _uniform(options, network, density), _uniform(options, network, density + gap))
            for density in ramp.samples(options.points)
        ]
        rows = comparison.beside(step(network, machine, {}, {}), comparison.average(points))
    else:
        rows = comparison.rows(network, machine, online, target)
    limit = amdahl_limit(network, online, target)
    if options.json:
        numbers, cycles = comparison.as_numbers(rows), rows["step"].sparse.cycles
        return _json(
            {
                "machine": machine.name,
                "workload": network.name,
                "workload_digest": network.digest,
                "batch_images": network.step.batch,
                "cycles": cycles,
                "seconds": cycles / machine.array.frequency_hz,
                "amdahl_limit_final": limit,
                "parts": numbers,
            }
        )
    end = f"Workload: {network.name}, batch {network.step.batch} images; Amdahl limit of the layers {limit:.3f} x"
    tail = f"{end} (at the final masks).\n{explain.totals(rows['step'], machine)}"
    return f"{explain.table(rows)}\n\n{tail}\n{caption(machine, options.set)}"


def _layer(options: argparse.Namespace) -> str:
    """Every layer, or one layer and phase in detail."""
    network, machine = _workload(options), presets.machine(options.preset, options.set)
    if options.branch == "online" and options.target_density is not None:
        raise HardwareError("--target-density without --branch target: the table shows the online branch. Add it.")
    branches = _states(options, network)
    states = dict(
        zip(
            (layer.name for layer in network.layers),
            resolved(network, branches[options.branch == "target"]),
            strict=True,
        )
    )
    if options.explain:
        if options.json:
            raise HardwareError("--explain with --json: the explanation is text. Leave one of them out.")
        name, phase = options.explain
        if phase not in Phase.__members__:
            raise HardwareError(f"no phase {phase!r}: choose from {', '.join(Phase.__members__)}.")
        layer = network.layer(name)
        return "\n".join(explain.explain(layer, Phase[phase], machine, network.step.batch, states[name]))
    rows = {
        f"{layer.name} {phase.value}": comparison.Row(
            phase_cost(layer, phase, machine, network.step.batch, DENSE_STATE),
            phase_cost(layer, phase, machine, network.step.batch, states[layer.name]),
        )
        for layer in network.layers
        for phase in Phase
    }
    if options.json:
        return _json({"machine": machine.name, "layers": comparison.as_numbers(rows)})
    whole = comparison.Row(
        sum((row.dense for row in rows.values()), Cost()), sum((row.sparse for row in rows.values()), Cost())
    )
    end = (
        f"One view of {network.step.batch} images through the {options.branch} branch, forward and backward. `step` "
        "shows a whole\ntraining step: both views through the branches of its framework, the optimizer, mask updates."
    )
    shown = explain.table(rows | {"all layers": whole})
    return f"{shown}\n\n{end}\n{explain.totals(whole, machine)}\n{caption(machine, options.set)}"


def _gemm(options: argparse.Namespace) -> str:
    """Array cycles of one dense product, M pixels x N outputs, K summed over."""
    at_least(1, rows=options.rows, columns=options.columns, M=options.m, N=options.n, K=options.k)
    plain = presets.machine("systolic32").array
    flow = Dataflow(options.dataflow)
    array = dataclasses.replace(plain, dataflow=flow, rows=options.rows, columns=options.columns)
    cycles, macs = gemm_cycles(array, Gemm(options.m, options.n, options.k)), options.m * options.n * options.k
    utilisation = macs / (cycles * array.peak_macs_per_cycle)
    if options.json:
        return _json({"dataflow": flow.value, "cycles": cycles, "macs": macs, "utilisation": utilisation})
    head = ["dataflow", "array [cycles]", "work [MACs]", "utilisation [ratio]"]
    return explain.aligned([head, [flow.value, f"{cycles:,}", f"{macs:,}", f"{utilisation:.4f}"]])


def _sweep(options: argparse.Namespace) -> str:
    """The step at every combination of machine entries and densities."""
    network, table = _workload(options), presets.changed(presets.load(options.preset), options.set)
    axes = [[f"{key}={value}" for value in _values(values)] for key, values in map(_axis, options.vary)]
    found = []
    for changes in itertools.product(*axes):
        machine = machine_file.parse(presets.changed(table, changes), options.preset)
        dense = step(network, machine, {}, {})
        for density in options.densities:
            states = _uniform(options, network, density)
            row = comparison.beside(dense, step(network, machine, states, states))["step"]
            found.append((changes, density, row))
    if options.json:
        return _json(
            {
                "configurations": [
                    {"changes": list(changes), "density": density} | comparison.as_numbers({"step": row})["step"]
                    for changes, density, row in found
                ]
            }
        )
    rows = {f"{' '.join(changes)} density={density:g}".strip(): row for changes, density, row in found}
    return f"{explain.table(rows)}\n\n{caption(presets.machine(options.preset, options.set), options.set)}"


def _roofline(options: argparse.Namespace) -> str:
    """Every dense phase under the machine's own roofs; refuses a machine that beats them."""
    network, machine = _workload(options), presets.machine(options.preset, options.set)
    found = list(roofline.points(network, machine))
    if options.json:
        return _json(
            {"machine": machine.name, "points": [dataclasses.asdict(each) | {"share": each.share} for each in found]}
        )
    worst = min(found, key=lambda point: point.share)
    ridge = machine.array.peak_macs_per_cycle / machine.dram_bytes_per_cycle
    end = (
        f"{len(found)} phases, none above its roof. Lowest share: {worst.share:.3f}, {worst.name}. The array is the "
        f"roof from {ridge:.1f} MACs per byte on.\nBatch {network.step.batch} images of {network.name}."
    )
    return f"{explain.aligned(roofline.rows(found))}\n\n{end}\n{caption(machine, options.set)}"


COMMANDS = {"step": _step, "layer": _layer, "gemm": _gemm, "sweep": _sweep, "roofline": _roofline}


def _workload(options: argparse.Namespace) -> Workload:
    """Return the workload named by a path or by the name of a traced network, with the batch asked for."""
    path = Path(options.workload)
    if path.suffix != ".json":
        path = TRACED / f"{options.workload}.json"
        if not path.exists():
            known = ", ".join(sorted(found.stem for found in TRACED.glob("*.json")))
            raise HardwareError(
                f"no workload {options.workload!r}: choose from {known}, or give a path ending with .json."
            )
    network = workload.read(path)
    if options.batch is None:
        return network
    return dataclasses.replace(network, step=dataclasses.replace(network.step, batch=options.batch))


def _states(options: argparse.Namespace, network: Workload) -> tuple[dict[str, State], dict[str, State]]:
    if options.masks is not None:
        if options.density < 1.0 or options.target_density is not None or options.filters:
            raise HardwareError("--masks with densities: the file says what is kept. Leave one of them out.")
        path = Path(options.masks)
        return masks.read(path, network, options.point, "online"), masks.read(path, network, options.point, "target")
    target = options.density if options.target_density is None else options.target_density
    return _uniform(options, network, options.density), _uniform(options, network, target)


def _uniform(options: argparse.Namespace, network: Workload, density: float) -> dict[str, State]:
    return comparison.uniform(network, min(1.0, density), filters=options.filters)


def _axis(text: str) -> tuple[str, str]:
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise HardwareError(f"--vary {text}: write KEY=VALUE,VALUE such as array.rows=16,32.")
    return key, values


def _values(text: str) -> list[str]:
    """Split at the commas that lie outside of brackets, so that inline tables can be swept."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "{[") - (letter in "}]")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return found


def _json(value: object) -> str:
    return json.dumps(value, indent=1, allow_nan=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hardware", description="Training-accelerator cost model.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in COMMANDS.items():
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.add_argument("--json", action="store_true", help="numbers instead of a table; units in the names")
        if name == "gemm":
            _add_gemm(command)
        else:
            _add_network(command)
    for name in ("step", "layer", "sweep"):
        commands.choices[name].add_argument(
            "--filters", action="store_true", help="densities are of whole output channels"
        )
    masked = [commands.choices[name] for name in ("step", "layer")]
    for command in masked:
        command.add_argument("--density", type=_share, default=1.0, help="fraction kept, every prunable layer alike")
        command.add_argument("--target-density", type=_share, help="of the target; default: as --density")
        command.add_argument("--masks", help="masks.npz of a run, instead of densities")
        command.add_argument("--point", default="final", help="of the schedule, in masks.npz")
    commands.choices["layer"].add_argument(
        "--branch", choices=["online", "target"], default="online", help="whose masks or density"
    )
    commands.choices["step"].add_argument(
        "--ramp",
        type=_share,
        nargs=3,
        metavar=("INITIAL", "START", "END"),
        help="average over a run whose density falls from INITIAL to --density between two fractions of it",
    )
    commands.choices["step"].add_argument("--points", type=_count, default=100, help="points of that average")
    commands.choices["layer"].add_argument("--explain", nargs=2, metavar=("LAYER", "PHASE"), help="FP, BP or WU")
    sweep = commands.choices["sweep"]
    sweep.add_argument("--vary", action="append", default=[], metavar="KEY=VALUE,VALUE", help="a machine entry")
    sweep.add_argument("--densities", type=_share, nargs="+", default=[1.0, 0.5, 0.2, 0.1], help="fractions kept")
    return parser


def _add_network(command: argparse.ArgumentParser) -> None:
    command.add_argument("--preset", required=True, help=f"{', '.join(presets.names())}, or a path ending with .toml")
    command.add_argument("--workload", required=True, help="a path ending with .json, or the name of a traced network")
    command.add_argument("--batch", type=_count, help="images per pass; default: the workload's")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a machine entry")


def _add_gemm(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataflow", choices=[flow.value for flow in Dataflow], required=True)
    for name in ("--rows", "--columns"):
        command.add_argument(name, type=int, default=32, help="of the array; default: 32")
    for name in ("-M", "-N", "-K"):
        command.add_argument(name, type=int, required=True, dest=name[1].lower())


def _share(text: str) -> float:
    value = float(text)
    try:
        fraction(density=value)
    except HardwareError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1.")
    return value


if __name__ == "__main__":
    sys.exit(main())
