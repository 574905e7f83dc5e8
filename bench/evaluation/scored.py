"""Which encoders of a trained pair are scored, and what the percentages are called: both decide what a record says."""

from bench.config.run import Run
from bench.data.dataset import Dataset
from bench.evaluation.scores import scores
from bench.ticks import Tick, silent
from bench.training.exported import Exported


def scored(
    run: Run, dataset: Dataset, ended: Exported, tick: Tick = silent
) -> tuple[dict[str, float], dict[str, object]]:
    """Return the percentages of the online encoder; and the counts behind them, the target's percentages and theirs.

    Args:
        run: whose encoders they are.
        dataset: they are scored on.
        ended: the encoders; without gates the online one alone.
        tick: called after every batch of images, and every iteration of a fit; may raise ``KeyboardInterrupt``.

    Raises:
        RunError: no such probe.
        NotFiniteError: a feature is not finite.
    """
    metrics, counts = scores(run, dataset, ended.encoder, ended.features, tick)
    if ended.target is not None:
        is_one = ended.target is ended.encoder
        # Not by what it did beside the online encoder: a target that followed there decides by itself here.
        of_target, behind = (metrics, counts) if is_one else scores(run, dataset, ended.target, None, tick)
        correct = {name: behind[name] for name in behind if name.endswith("_correct")}
        counts = counts | {f"{name}_target": number for name, number in (of_target | correct).items()}
    return metrics, counts
