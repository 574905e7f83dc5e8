"""Tables at equal cost: every sparse row as cheap as the row of the method that the table is about.

Rows of equal density hide up to twice the multiply-accumulates. Matched rows are ordinary runs: their names, run ids
and records say what they are, and what they really cost is measured and shown.
"""

import dataclasses
import functools
import math
from collections.abc import Collection, Mapping
from typing import Literal

from scipy import optimize

from bench.config.run import SMALL_IMAGES, UNTRAINED, Run
from bench.errors import UsageError
from bench.tables.control import CIFAR_PIXELS, share_at
from bench.tables.spec import TableSpec
from bench.training import parts
from methods import macs

Match = Literal["density", "macs", "training-macs"]
LEADER = "synchronized"  # the rows that others are matched to
FACTS: Mapping[Match, str] = {"macs": "macs_ratio", "training-macs": "training_macs_ratio"}
Measured = Mapping[str, Mapping[str, float]]  # cell -> fact -> mean over its runs
# Methods whose counts per layer follow from the density alone: as those of the method named beside, with fixed masks.
COUNTED = {name: name for name in ("dense_narrow", "static_uniform")} | dict.fromkeys(
    (
        *("static_erk", "set", "set_itop", "rigl", "rigl_itop", "srigl"),
        *("gradual_erk", "granet_erk", "synchronized_erk"),
    ),
    "static_erk",
)
DENSITY_DIGITS = 4
DENSE = "dense"
TITLES: Mapping[Match, str] = {"macs": "MACs of inference", "training-macs": "MACs of training"}


def matched(spec: TableSpec, match: Match, measured: Measured, moving: Collection[str] | None = None) -> TableSpec:
    """Return the table with its rows at the cost of the leading row of their framework, shapes and density.

    ``macs``: each row's density is solved so that inference takes as many MACs: exactly, where counts per layer follow
    from the density; else along a power law through the row's own measurement and the dense encoder, so that what
    comes out is only near. ``training-macs``: each row, the dense one too, is trained for so many steps that it spends
    as many MACs in training; all schedules are fractions of the steps, so that the cost of a step stays. The control on
    smaller images keeps its steps: so many see smaller images that it spends as many.

    Args:
        spec: at equal density.
        match: what shall be equal.
        measured: of the rows at equal density, from references or runs.
        moving: cells that shall move; the others stay as they are, and need no cost. By default, all.

    Raises:
        UsageError: the table has gates or nothing to match, or a row that is needed was never run.
    """
    if match == "density":
        return spec
    if any(run.sparsity.reduction for run in spec.cells):
        raise UsageError(f"--match {match}: the rows of table {spec.name} are at equal reductions of MACs already.")
    leaders = {_group(run): run for run in reversed(spec.cells) if run.sparsity.method == LEADER}  # the first wins
    if not leaders:
        raise UsageError(f"--match {match}: there is no row {LEADER} among the cells to match the others to.")
    of_framework = {run.framework.name: run for run in leaders.values()}
    cells, led, wanted = [], [], spec.names if moving is None else moving
    for run in spec.cells:
        leader = leaders.get(_group(run))
        if run.sparsity.method == DENSE and match == "training-macs":
            leader = of_framework.get(run.framework.name)
        if leader is None or leader.cell == run.cell or run.cell not in wanted or not _can_move(run, match):
            cells.append(run)
            continue
        moved = _at_macs(run, leader, measured) if match == "macs" else _at_training_macs(run, leader, measured)
        cells.append(moved)
        led.append((moved.cell, leader.cell))
    title = f"{spec.title.removesuffix('at equal density').rstrip()} at equal {TITLES[match]}"
    return dataclasses.replace(spec, cells=tuple(cells), title=title, match=match, leaders=tuple(led))


def _can_move(run: Run, match: Match) -> bool:
    """Return whether a row has what is solved for: steps, or a density at the end that its shapes do not give."""
    if match == "training-macs":
        return run.sparsity.method != UNTRAINED
    if run.sparsity.density == 1.0 or run.sparsity.granularity != "element":
        return False
    return not parts.method_for(run).ends_dense


def _group(run: Run) -> tuple[str, str, float]:
    return run.framework.name, run.sparsity.granularity, run.sparsity.density


def _fact(measured: Measured, run: Run, match: Match) -> float:
    found = measured.get(run.cell, {}).get(FACTS[match])
    if found is None:
        raise UsageError(
            f"--match {match}: {run.cell} has neither references nor runs under --out, so that its cost is unknown. "
            "Make the table without --match first."
        )
    return found


def _at_macs(run: Run, leader: Run, measured: Measured) -> Run:
    """Return the run at the density where its inference takes as many MACs as the leader's."""
    wanted = _fact(measured, leader, "macs")
    counted = COUNTED.get(run.sparsity.method)
    if counted is None:
        exponent = math.log(_fact(measured, run, "macs")) / math.log(run.sparsity.density)
        return _at_density(run, wanted ** (1.0 / exponent))

    def excess(density: float) -> float:
        return counted_macs(_at_density(run, density), counted) - wanted

    least = run.sparsity.density / 4.0
    if excess(least) >= 0.0 or excess(1.0) <= 0.0:
        raise UsageError(
            f"{run.cell}: no density from {least:g} on has {wanted:.4f} of the dense MACs. Leave it out with --cells."
        )
    return _at_density(run, float(optimize.brentq(excess, least, 1.0, xtol=10.0**-DENSITY_DIGITS / 2.0)))


def _at_training_macs(run: Run, leader: Run, measured: Measured) -> Run:
    """Return the run with so many steps, or so many on smaller images, that it spends the leader's training MACs."""
    if run.sparsity.method == SMALL_IMAGES:
        steps = round(measured.get(leader.cell, {}).get("optimizer_steps", 0.0))
        share = share_at(run, _fact(measured, leader, "training-macs"), steps)
        return dataclasses.replace(run, views=dataclasses.replace(run.views, control_fraction=share))
    share = 1.0 if run.sparsity.method == DENSE else _fact(measured, run, "training-macs")
    budget = _fact(measured, leader, "training-macs") * measured[leader.cell]["optimizer_steps"]
    return dataclasses.replace(run, optimizer=dataclasses.replace(run.optimizer, steps=max(1, round(budget / share))))


def _at_density(run: Run, density: float) -> Run:
    rounded = min(1.0, round(density, DENSITY_DIGITS))
    return dataclasses.replace(run, sparsity=dataclasses.replace(run.sparsity, density=rounded))


def counted_macs(run: Run, method: str) -> float:
    """Return the MACs of inference, as a fraction of the dense encoder's, under the masks that a method draws."""
    return _drawn_macs(dataclasses.replace(run, sparsity=dataclasses.replace(run.sparsity, method=method, gap=0.0)))


@functools.cache
def _drawn_macs(run: Run) -> float:
    framework = parts.framework_for(run)
    parts.method_for(run).attach(framework.branches, 1)
    pixels = run.data.crop_size or run.data.image_size or CIFAR_PIXELS
    return macs.macs_ratio(framework.online, (3, pixels, pixels))
