"""The drawings of the accelerator model; the same numbers give the same bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.report.svg import svg
from bench.speedup import validation
from hardware import presets
from hardware.cost.step import phase_cost
from hardware.sparsity.state import DENSE_STATE, Phase

# Okabe and Ito's colours, which the colour-blind tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#000000")
MARKS = "os^Dv*"
FAR_BELOW = 0.5  # of the roof: points further down get their layer's name
DASHES = ("-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), "-.")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing: its title, its size in inches, how many panels side by side, and who draws it."""

    title: str
    size: tuple[float, float]
    panels: int
    draw: Callable[[list[Axes]], None]

    def svg(self) -> bytes:
        """Return the file."""
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=self.size, layout="constrained")
            axes = figure.subplots(1, self.panels, sharey=self.panels > 1, squeeze=False)
            figure.suptitle(self.title, fontsize=10)
            self.draw(list(axes[0]))
            return svg(figure)


def _layers(axes: list[Axes]) -> None:
    """Show the cycles of each layer by phase, stalls hatched."""
    (axis,) = axes
    network, machine = validation.network(validation.SHARED), presets.machine("chip28nm")
    places = range(len(network.layers))
    for index, phase in enumerate(Phase):
        costs = [phase_cost(layer, phase, machine, network.step.batch, DENSE_STATE) for layer in network.layers]
        x = [place + (index - 1) * 0.27 for place in places]
        busy = [(cost.cycles - cost.stall_cycles) / 1e6 for cost in costs]
        stalls = [cost.stall_cycles / 1e6 for cost in costs]
        axis.bar(x, busy, 0.27, color=COLOURS[index], label=phase.value)
        label = "of it stalls" if index == 2 else None
        axis.bar(
            x, stalls, 0.27, bottom=busy, color="white", edgecolor=COLOURS[index], hatch="////", lw=0.5, label=label
        )
    axis.set_xticks(list(places), [layer.name for layer in network.layers], rotation=60, ha="right")
    axis.set_ylabel("cycles of a pass [million]")
    axis.set_ylim(top=1.12 * axis.get_ylim()[1])  # room for the legend
    axis.grid(axis="y", alpha=0.3)
    axis.legend(ncols=4, loc="upper center", borderaxespad=0.0)


def _roofline(axes: list[Axes]) -> None:
    """Show each layer and phase by intensity and performance under the two roofs."""
    (axis,) = axes
    network, machine = validation.network(validation.SHARED), presets.machine("chip28nm")
    peak, slope = machine.array.peak_macs_per_cycle, machine.dram_bytes_per_cycle
    for index, phase in enumerate(Phase):
        costs = [phase_cost(layer, phase, machine, network.step.batch, DENSE_STATE) for layer in network.layers]
        real = [cost for cost in costs if cost.cycles]
        axis.scatter(
            [cost.macs / cost.dram_bytes for cost in real],
            [cost.macs / cost.cycles for cost in real],
            s=22,
            color=COLOURS[index],
            marker="os^"[index],
            alpha=0.75,
            label=phase.value,
        )
        for layer, cost in zip(network.layers, costs, strict=True):
            if not cost.cycles:
                continue
            roof = min(peak, slope * cost.macs / cost.dram_bytes)
            if cost.macs / cost.cycles < FAR_BELOW * roof:  # nothing else says which one it is
                place = (cost.macs / cost.dram_bytes, cost.macs / cost.cycles)
                axis.annotate(f"{layer.name} {phase.value}", place, (4, 4), textcoords="offset points", fontsize=7)
    ridge = peak / slope
    axis.plot([10, ridge, 500], [10 * slope, peak, peak], color="black", lw=1, label="roofs: DRAM, array")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("intensity [MACs per DRAM byte]")
    axis.set_ylabel("performance [MACs per cycle]")
    axis.grid(alpha=0.3, which="both")
    axis.legend(loc="lower right")


def _density(axes: list[Axes]) -> None:
    """Show speed-up against density with Amdahl's limit, a panel for each form of the second branch."""
    names = ((validation.SHARED, "shared encoder"), (validation.FOLLOWING, "EMA target"))
    for axis, (name, title) in zip(axes, names, strict=True):
        for index, (kind, curve) in enumerate(validation.speed_up_curves(name, validation.BANDWIDTHS[-1]).items()):
            is_limit = index == len(validation.MADE_FOR)
            axis.plot(
                [density for density, _ in curve],
                [value for _, value in curve],
                linestyle="--" if is_limit else DASHES[index % len(DASHES)],
                marker=None if is_limit else MARKS[index],
                color=COLOURS[index],
                mfc="none",  # lines that run on each other stay visible
                ms=4 + 1.5 * index,
                lw=1.2,
                label=kind,
            )
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("density of prunable weights")
        axis.set_xlim(1.02, 0.0)
        axis.set_yscale("log", base=2)
        axis.set_yticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("speed-up of a training step [x]")
    axes[0].legend(loc="upper left", fontsize=8)


def _sensitivity(axes: list[Axes]) -> None:
    """Show what one changed entry does to the speed-up."""
    (axis,) = axes
    centre, found = validation.sensitivity()
    labels = list(found)[::-1]
    for place, label in enumerate(labels):
        for index, value in enumerate(found[label]):
            axis.barh(place, value - centre, 0.7, left=centre, color=COLOURS[index], alpha=0.85)
    axis.axvline(centre, color="black", lw=1)
    axis.set_yticks(range(len(labels)), labels)
    axis.set_xlabel(
        f"speed-up of a training step at density {validation.CENTRE:g} [x]; blue: first value, orange: second"
    )
    axis.grid(axis="x", alpha=0.3)


def _mixtures(axes: list[Axes]) -> None:
    """Show every mixture by what it saves and what that buys, and the published pair."""
    (axis,) = axes
    groups: dict[str, list[tuple[float, float]]] = {}
    for mixture, row in validation.mixtures():
        gates = "open pixels gathered" if mixture.gathers_open_pixels else "passes wait for gates"
        name = f"{mixture.dram_bytes_per_cycle:g} B/cycle, {gates}"
        groups.setdefault(name, []).append((row.macs_reduction, row.speed_up))
    for index, name in enumerate(sorted(groups, key=lambda key: (float(key.split()[0]), key))):
        x, y = zip(*groups[name], strict=True)
        axis.scatter(x, y, s=14, marker=MARKS[index], facecolors="none", edgecolors=COLOURS[index], lw=0.7, label=name)
    flops, latency = validation.PUBLISHED_FLOPS, validation.PUBLISHED_LATENCY
    axis.scatter(
        [flops], [latency], s=140, marker="P", color="black", zorder=3, label=f"published: {flops}x, {latency}x"
    )
    axis.set_xscale("log")
    axis.set_yscale("log")
    for one in (axis.xaxis, axis.yaxis):
        one.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 50]))
        one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        one.set_minor_locator(NullLocator())
    axis.set_xlabel("MACs reduction [x]")
    axis.set_ylabel("speed-up of a training step [x]")
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left", fontsize=8)


PLOTS = {
    "layers": Plot("Cycles by layer and phase: dense, 256 images, chip28nm as parameterised by us", (9, 4), 1, _layers),
    "roofline": Plot(
        "Roofline: dense layers and phases, 256 images, chip28nm as parameterised by us", (7, 4.2), 1, _roofline
    ),
    "density": Plot(
        "Speed-up against density, each granularity on the machine made for it, 64 DRAM bytes per cycle",
        (9, 4),
        2,
        _density,
    ),
    "mixtures": Plot(
        "What mixtures save and gain, chip28nm as parameterised by us, and what was published", (8, 4.6), 1, _mixtures
    ),
    "sensitivity": Plot("Sensitivity of chip28nm's speed-up, one entry at a time", (8, 4.2), 1, _sensitivity),
}
