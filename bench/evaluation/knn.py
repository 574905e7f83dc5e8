"""Weighted k nearest neighbours on features."""

from lightly.utils.benchmarking.knn import knn_predict
from torch import Tensor
from torch.nn import functional

KNN_PROTOCOL = "cosine, k = min(200, N/10), t = 0.1, bank = un-augmented train images, last epoch"


def knn(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor, *, neighbours: int, temperature: float
) -> int:
    """Return how many queries the weighted kNN vote (Wu et al. 2018, section 3.4) classifies correctly.

    Args:
        bank: features ``[N, F]``, any scale; cosine similarity is used.
        bank_labels: classes ``[N]``, from 0.
        queries: features ``[Q, F]``.
        labels: classes ``[Q]``.
        neighbours: k; ``min(k, N // 10)`` is used, at least 1.
        temperature: t of the vote's weights ``exp(similarity / t)``.
    """
    count = max(1, min(neighbours, len(bank) // 10))
    classes = int(bank_labels.max()) + 1
    keys = functional.normalize(bank, dim=1).T.contiguous()
    correct = 0
    for part, truth in zip(functional.normalize(queries, dim=1).split(512), labels.split(512), strict=True):
        ranked = knn_predict(part, keys, bank_labels, classes, knn_k=count, knn_t=temperature)
        correct += int((ranked[:, 0] == truth).sum())
    return correct
