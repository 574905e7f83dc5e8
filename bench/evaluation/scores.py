"""All scores of one encoder, weighted kNN and a linear probe, with the counts behind the percentages.

Both use the encoder of the last epoch (never the best on test), the training images as bank, and the whole evaluation
split. Nothing is tuned on that split. Deviations 10 and 11 in results/deviations.md.
"""

import math

import torch

from bench.config.run import Run
from bench.data import dataset as data_dataset
from bench.errors import RunError, unknown
from bench.evaluation import features, knn
from bench.evaluation.health import health
from bench.evaluation.probe import Probe, Question
from bench.evaluation.probes import PROBES
from bench.ticks import Tick, silent
from bench.training.passes import told
from bench.views.recipes import normalise


def probe_for(run: Run) -> Probe:
    """Return the linear probe of a run.

    Raises:
        RunError: no such probe.
    """
    name = run.evaluation.probe
    if name not in PROBES:
        raise RunError(f"{run.cell}: {unknown('setting evaluation.probe:', name, PROBES)}")
    return PROBES[name]


def scores(
    run: Run,
    dataset: data_dataset.Dataset,
    encoder: torch.nn.Module,
    queries: torch.Tensor | None,
    tick: Tick = silent,
) -> tuple[dict[str, float], dict[str, object]]:
    """Return the percentages and the counts behind them.

    Everything is computed on the encoder's device.

    Args:
        run: whose encoder it is.
        dataset: the bank is its train split, the queries are its test split.
        encoder: exported.
        queries: its features ``[N, F]`` of the test split, if they are known.
        tick: called after every batch of images, and every iteration of a fit; may raise ``KeyboardInterrupt``.

    Raises:
        RunError: no such probe.
        NotFiniteError: a feature is not finite.
    """
    spec, probe = run.evaluation, probe_for(run)
    images = [dataset.train.seen, *([dataset.test.seen] if queries is None else [])]
    with told(encoder, tick, "scoring", total=sum(math.ceil(len(each) / features.BATCH) for each in images)):
        bank, *rest = [features.features(encoder, each, normalise=normalise) for each in images]
    queries = rest[0] if queries is None else queries
    features.require_finite(bank, "the training images' features")
    features.require_finite(queries, "the scored images' features")
    labels = dataset.train.labels, dataset.test.labels
    neighbours = knn.knn(
        bank,
        labels[0],
        queries,
        labels[1],
        neighbours=spec.knn_neighbours,
        temperature=spec.knn_temperature,
        device=next(encoder.parameters()).device,
        tick=tick,
    )
    question = Question(
        encoder=encoder,
        train=dataset.train,
        bank=bank,
        queries=queries,
        labels=labels[1],
        seed=run.seed,
        tick=tick,
    )
    linear = probe.correct(question)
    total = len(queries)
    metrics = {"knn_top1_percent": 100 * neighbours / total, "linear_top1_percent": 100 * linear / total}
    counts: dict[str, object] = {
        "knn_correct": neighbours,
        "linear_correct": linear,
        "test_images": total,
        "knn_protocol": knn.KNN_PROTOCOL,
        "linear_protocol": probe.protocol,
        **health(queries),
    }
    return metrics, counts
