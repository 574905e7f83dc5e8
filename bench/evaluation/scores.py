"""All scores of one encoder, with the counts behind the percentages."""

import math

import torch

from bench.config.run import Run
from bench.data import dataset as data_dataset
from bench.evaluation import features, knn
from bench.evaluation import linear as evaluation_linear
from bench.evaluation.health import health
from bench.ticks import Tick, silent
from bench.training.passes import told
from bench.views.recipes import normalise


def scores(
    run: Run,
    dataset: data_dataset.Dataset,
    encoder: torch.nn.Module,
    queries: torch.Tensor | None,
    tick: Tick = silent,
) -> tuple[dict[str, float], dict[str, object]]:
    """Return the percentages and the counts behind them.

    Args:
        run: whose encoder it is.
        dataset: the bank is its train split, the queries are its test split.
        encoder: exported.
        queries: its features ``[N, F]`` of the test split, if they are known.
        tick: called after every batch of images.

    Raises:
        NotFiniteError: a feature is not finite.
    """
    spec = run.evaluation
    images = [dataset.train.seen, *([dataset.test.seen] if queries is None else [])]
    with told(encoder, tick, "scoring", total=sum(math.ceil(len(each) / features.BATCH) for each in images)):
        bank, *rest = [features.features(encoder, each, normalise=normalise) for each in images]
    queries = rest[0] if queries is None else queries
    features.require_finite(bank, "the training images' features")
    features.require_finite(queries, "the scored images' features")
    labels = dataset.train.labels, dataset.test.labels
    tick(0, 0, "probing")
    neighbours = knn.knn(
        bank, labels[0], queries, labels[1], neighbours=spec.knn_neighbours, temperature=spec.knn_temperature
    )
    if spec.probe == "sgd":
        protocol = evaluation_linear.SGD_PROTOCOL
        with told(encoder, tick, "probing", total=evaluation_linear.sgd_passes(len(dataset.train.images))):
            linear = evaluation_linear.sgd_probe(encoder, dataset.train, queries, labels[1], seed=run.seed)
    else:
        protocol = evaluation_linear.LBFGS_PROTOCOL
        linear = evaluation_linear.linear_probe(bank, labels[0], queries, labels[1])
    total = len(queries)
    metrics = {"knn_top1_percent": 100 * neighbours / total, "linear_top1_percent": 100 * linear / total}
    counts: dict[str, object] = {
        "knn_correct": neighbours,
        "linear_correct": linear,
        "test_images": total,
        "knn_protocol": knn.KNN_PROTOCOL,
        "linear_protocol": protocol,
        **health(queries),
    }
    return metrics, counts
