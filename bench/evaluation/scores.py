"""All scores of one encoder, with the counts behind the percentages."""

import torch

from bench.config.run import Run
from bench.data import dataset as data_dataset
from bench.evaluation import features, knn
from bench.evaluation import linear as evaluation_linear
from bench.views.recipes import normalise


def scores(
    run: Run, dataset: data_dataset.Dataset, encoder: torch.nn.Module, queries: torch.Tensor | None
) -> tuple[dict[str, float], dict[str, object]]:
    """Return the percentages and the counts behind them; ``queries``: features of the scored images, if known."""
    spec = run.evaluation
    bank = features.features(encoder, dataset.train.images, normalise=normalise)
    if queries is None:
        queries = features.features(encoder, dataset.test.images, normalise=normalise)
    labels = dataset.train.labels, dataset.test.labels
    neighbours = knn.knn(
        bank, labels[0], queries, labels[1], neighbours=spec.knn_neighbours, temperature=spec.knn_temperature
    )
    if spec.probe == "sgd":
        protocol = evaluation_linear.SGD_PROTOCOL
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
    }
    return metrics, counts
