"""Weighted k nearest neighbours on features."""

import torch
from lightly.utils.benchmarking.knn import knn_predict
from torch import Tensor
from torch.nn import functional

from bench.ticks import Tick, silent

KNN_PROTOCOL = "cosine, k = min(200, N/10), t = 0.1, bank = un-augmented train images, last epoch"
CPU = torch.device("cpu")
QUERIES = 512  # of a chunk; changes no number


def knn(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    labels: Tensor,
    *,
    neighbours: int,
    temperature: float,
    device: torch.device = CPU,
    tick: Tick = silent,
) -> int:
    """Return how many queries the weighted kNN vote (Wu et al. 2018, section 3.4) classifies correctly.

    Args:
        bank: features ``[N, F]``, any scale; cosine similarity is used.
        bank_labels: classes ``[N]``, from 0.
        queries: features ``[Q, F]``.
        labels: classes ``[Q]``.
        neighbours: k; ``min(k, N // 10)`` is used, at least 1.
        temperature: t of the vote's weights ``exp(similarity / t)``.
        device: where it is computed. On a CPU by Lightly's function; elsewhere by the same formula, with a rule for
            ties, which Lightly's has not.
        tick: called before every chunk of queries.
    """
    count = max(1, min(neighbours, len(bank) // 10))
    classes = int(bank_labels.max()) + 1
    keys = functional.normalize(bank.to(device), dim=1).T.contiguous()
    known = bank_labels.to(device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    parts = functional.normalize(queries.to(device), dim=1).split(QUERIES)
    for part, truth in zip(parts, labels.to(device).split(QUERIES), strict=True):
        tick(0, 0, "probing")
        if device.type == "cpu":
            found = knn_predict(part, keys, known, classes, knn_k=count, knn_t=temperature)[:, 0]
        else:
            found = voted(part, keys, known, classes, count=count, temperature=temperature)
        correct += (found == truth).sum()
    return int(correct)


def voted(queries: Tensor, keys: Tensor, labels: Tensor, classes: int, *, count: int, temperature: float) -> Tensor:
    """Return the class ``[Q]`` that the nearest keys of each query vote for.

    Of equally near keys the first ones vote, and of classes with equal votes the first one wins: on a device,
    ``topk`` and ``argsort`` promise neither.

    Args:
        queries: of length 1, ``[Q, F]``.
        keys: of length 1, ``[F, N]``.
        labels: of the keys, ``[N]``.
        classes: how many there are.
        count: keys that vote.
        temperature: t of a vote's weight ``exp(similarity / t)``.
    """
    similarity, order = torch.sort(queries @ keys, dim=1, descending=True, stable=True)
    weights = (similarity[:, :count] / temperature).exp()
    is_for = labels[order[:, :count]].unsqueeze(-1) == torch.arange(classes, device=labels.device)
    return (weights.unsqueeze(-1) * is_for).sum(1).argmax(1)  # the first of the largest
