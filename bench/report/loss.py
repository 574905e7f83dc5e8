"""The loss of one run: as a line of blocks for a terminal, and as a drawing."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from bench.report.svg import svg

_BLOCKS = "▁▂▃▄▅▆▇█"


def curve(facts: Mapping[str, object]) -> tuple[list[int], list[float]]:
    """Return (optimizer steps, losses) as a record's facts hold them; empty of a run that took no step.

    About fifty evenly spaced losses are kept: one in ``steps // 50``, from the first on.
    """
    losses, steps = facts.get("loss_curve"), facts.get("optimizer_steps")
    if not isinstance(losses, list) or not isinstance(steps, int):
        return [], []
    stride = max(1, steps // 50)
    return [stride * place for place in range(len(losses))], [float(loss) for loss in losses]


def sparkline(losses: Sequence[float]) -> str:
    """Return a character per loss: the lowest and the highest block are the smallest and the largest loss."""
    low, span = min(losses), max(losses) - min(losses)
    return "".join(_BLOCKS[round((len(_BLOCKS) - 1) * (loss - low) / span)] if span else _BLOCKS[0] for loss in losses)


def drawing(steps: Sequence[int], losses: Sequence[float], title: str) -> bytes:
    """Return an SVG, the same for the same curve."""
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, losses)
    axes.set(xlabel="optimizer step", ylabel="loss")
    axes.set_title(title, fontsize="small")
    axes.grid(alpha=0.3)
    return svg(figure)
