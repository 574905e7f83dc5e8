import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.data.dataset import Split
from bench.evaluation import features, knn, linear
from bench.views.recipes import normalise


def clusters(seed: int, per_class: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(per_class)
    centres = torch.eye(classes, 5) * 2
    return centres[labels] + 0.9 * torch.randn(len(labels), 5, generator=generator), labels


def brute_force(bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor, k: int, t: float) -> int:
    correct = 0
    for query, label in zip(queries.double(), labels, strict=True):
        similarity = [float(query @ key / (query.norm() * key.norm())) for key in bank.double()]
        nearest = sorted(range(len(bank)), key=lambda index: -similarity[index])[:k]
        votes = np.zeros(int(bank_labels.max()) + 1)
        for index in nearest:
            votes[bank_labels[index]] += math.exp(similarity[index] / t)
        correct += int(votes.argmax() == label)
    return correct


def test_knn_is_the_weighted_cosine_vote() -> None:
    bank, bank_labels = clusters(0, 40)
    queries, labels = clusters(1, 30)
    found = knn.knn(bank, bank_labels, queries, labels, neighbours=7, temperature=0.1)
    assert found == brute_force(bank, bank_labels, queries, labels, 7, 0.1)
    assert 30 < found < 90  # neither chance nor trivial: the majority class alone has 30 of 90


def test_knn_never_asks_for_more_than_a_tenth_of_the_bank() -> None:
    bank, bank_labels = clusters(0, 20)
    queries, labels = clusters(1, 20)
    capped = knn.knn(bank, bank_labels, queries, labels, neighbours=200, temperature=0.1)
    assert capped == brute_force(bank, bank_labels, queries, labels, 6, 0.1)


def test_knn_ignores_the_scale_of_features() -> None:
    bank, bank_labels = clusters(0, 20)
    queries, labels = clusters(1, 20)
    one = knn.knn(bank, bank_labels, queries, labels, neighbours=5, temperature=0.1)
    other = knn.knn(100 * bank, bank_labels, 0.01 * queries, labels, neighbours=5, temperature=0.1)
    assert one == other


def test_the_majority_class_is_not_enough() -> None:
    bank, bank_labels = clusters(0, 40)
    queries, labels = clusters(1, 40)
    majority = int((labels == bank_labels.mode().values).sum())
    assert knn.knn(bank, bank_labels, queries, labels, neighbours=10, temperature=0.1) > 1.5 * majority
    assert linear.linear_probe(bank, bank_labels, queries, labels) > 1.5 * majority


def test_the_probe_separates_what_is_linearly_separable() -> None:
    bank, bank_labels = clusters(0, 40)
    separable = bank + 100 * torch.eye(3, 5)[bank_labels]
    assert linear.linear_probe(separable, bank_labels, separable, bank_labels) == len(bank)


def test_the_probe_refuses_features_that_are_not_finite() -> None:
    bank, labels = clusters(0, 10)
    bank[3, 2] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        linear.linear_probe(bank, labels, bank, labels)


def test_features_come_from_evaluation_mode_and_leave_statistics_alone() -> None:
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(12))
    images = torch.randint(0, 256, (10, 3, 2, 2), dtype=torch.uint8)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    whole = features.features(encoder, images, normalise=lambda part: part.float())
    parts = features.features(encoder, images, normalise=lambda part: part.float(), batch=3)
    assert torch.equal(whole, parts)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_the_sgd_probe_learns_what_can_be_learnt() -> None:
    # Class and brightness go together, so that any crop of a picture tells its class.
    labels = torch.arange(3).repeat(40)
    noise = torch.randint(0, 40, (120, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    images = (80 * labels[:, None, None, None] + noise).to(torch.uint8)
    encoder = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.BatchNorm1d(48))
    encoder.train()
    encoder(normalise(images))
    queries = features.features(encoder, images, normalise=normalise)
    train = Split(images=images, labels=labels)
    found = linear.sgd_probe(encoder, train, queries, labels, seed=0, epochs=40)
    assert found >= 110
    assert linear.sgd_probe(encoder, train, queries, labels, seed=0, epochs=40) == found
    assert linear.sgd_probe(encoder, train, queries, labels.flip(0), seed=0, epochs=40) <= 50
