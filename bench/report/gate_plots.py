"""What gating bought, drawn: accuracy against the reduction of MACs, and where gates were on."""

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.config.run import UNTRAINED
from bench.judging.judged_table import JudgedTable, Row
from bench.report.heading import seeds_drawn
from bench.report.power import METRIC_TITLES
from bench.report.svg import svg

Arrays = Mapping[str, npt.NDArray[np.uint8]]
_MARKERS = "osD^vP*X<>hp"


def accuracy_against_reduction(table: JudgedTable) -> bytes:
    """Return an SVG, the same for the same table: a panel a framework, a line a method and granularity.

    What ran is drawn; where nothing did, the references are.
    """
    frameworks = list(dict.fromkeys(row.cell.partition("/")[0] for row in table.rows))
    figure = Figure(figsize=(5.2 * len(frameworks), 4.2), layout="constrained")
    panels = figure.subplots(1, len(frameworks), squeeze=False, sharey=True)[0]
    for panel, framework in zip(panels, frameworks, strict=True):
        _panel(panel, framework, table)
    figure.suptitle(f"{table.spec.caption}; {seeds_drawn(table)}", fontsize="medium")
    return svg(figure)


def _panel(panel: Axes, framework: str, table: JudgedTable) -> None:
    panel.set_prop_cycle(color=mpl.color_sequences["tab20"])  # more lines than the default has colours
    metric = table.tolerances.judged_metric
    lines: dict[str, list[Row]] = {}
    for row in table.rows:
        name, method, granularity, point = row.cell.split("/")
        if name == framework and method == UNTRAINED:
            floor = table.shown(row).mean
            if floor is not None:
                panel.axhline(floor, color="grey", linestyle=":", label=UNTRAINED)
        elif name == framework and (row.facts["reduction"] is not None or not point.startswith("t")):
            lines.setdefault(method if granularity in {"-", "element"} else f"{method} {granularity}", []).append(row)
    for index, (name, rows) in enumerate(lines.items()):
        points = sorted((_reduction(row), mean) for row in rows if (mean := table.shown(row).mean) is not None)
        if points:
            xs, ys = zip(*points, strict=True)
            panel.plot(xs, ys, marker=_MARKERS[index % len(_MARKERS)], label=name)
    panel.set(
        title=framework, xlabel="reduction of MACs, measured (dense / gated)", ylabel=METRIC_TITLES[metric] + ", %"
    )
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")


def _reduction(row: Row) -> float:
    found = row.facts["reduction"]
    return 1.0 if found is None else found


def gate_maps(arrays: Arrays, title: str) -> bytes:
    """Return a PNG: test images, and below them the fraction of gates on at each pixel, per layer and branch.

    Args:
        arrays: of one run's ``masks.npz``: ``gates/images`` ``[N, 3, H, W]`` and ``gates/BRANCH/LAYER`` ``[N, h, w]``.
        title: of the picture.
    """
    images = arrays["gates/images"].transpose(0, 2, 3, 1)
    names = [name for name in arrays if name.startswith("gates/") and name != "gates/images"]
    layers = list(dict.fromkeys(name.split("/")[2] for name in names))
    rows = [f"gates/{branch}/{layer}" for layer in _spread(layers) for branch in ("online", "target")]
    figure = Figure(figsize=(1.25 * len(images) + 2.2, 1.25 * (len(rows) + 1) + 0.5), layout="constrained")
    panels = figure.subplots(len(rows) + 1, len(images), squeeze=False)
    for column, image in enumerate(images):
        panels[0, column].imshow(image)
    for row, name in enumerate(rows, start=1):
        for column, each in enumerate(arrays[name]):
            drawn = panels[row, column].imshow(each / 255, vmin=0, vmax=1, cmap="viridis")
        _, branch, layer = name.split("/")
        panels[row, 0].set_ylabel(f"{layer}\n{branch}", rotation=0, ha="right", va="center", fontsize="small")
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    figure.colorbar(drawn, ax=panels[1:, :], label="fraction of gates on", shrink=0.5)
    figure.suptitle(title, fontsize="medium")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90, bbox_inches="tight", metadata={"Software": None})
    return stream.getvalue()


def _spread(layers: Sequence[str]) -> list[str]:
    """Return at most four layers, from the first to the last."""
    return [layers[round(index * (len(layers) - 1) / 3)] for index in range(4)] if len(layers) > 4 else list(layers)


__all__ = ["accuracy_against_reduction", "gate_maps"]
