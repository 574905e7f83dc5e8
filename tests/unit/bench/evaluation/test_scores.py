import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.data.dataset import Dataset, Split
from bench.errors import RunError
from bench.evaluation import features, knn, lbfgs_probe, scores, sgd_probe
from bench.evaluation.probes import PROBES
from bench.views.recipes import normalise
from tests.tiny import tiny_run


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
    counts = []
    for neighbours, temperature in ((1, 0.1), (12, 0.1), (12, 0.3)):
        found = knn.knn(bank, bank_labels, queries, labels, neighbours=neighbours, temperature=temperature)
        assert found == brute_force(bank, bank_labels, queries, labels, neighbours, temperature)
        assert 30 < found < 90  # neither chance nor trivial: the majority class alone has 30 of 90
        counts.append(found)
    assert len(set(counts)) == 3  # so that each of the two numbers matters


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
    assert lbfgs_probe.linear_probe(bank, bank_labels, queries, labels) > 1.5 * majority


def test_the_probe_separates_what_is_linearly_separable() -> None:
    bank, bank_labels = clusters(0, 40)
    separable = bank + 100 * torch.eye(3, 5)[bank_labels]
    assert lbfgs_probe.linear_probe(separable, bank_labels, separable, bank_labels) == len(bank)


def noise(seed: int, images: int) -> Split:
    """Return images of noise, with labels that nothing but themselves can tell."""
    generator = torch.Generator().manual_seed(seed)
    return Split(
        images=torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=generator),
        labels=torch.randint(0, 10, (images,), generator=generator),
    )


class Looking(torch.nn.Module):
    """Returns some pixels, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * images[:, :, ::4, ::4].flatten(1)


def scored(probe: str, encoder: torch.nn.Module, queries: Tensor | None = None) -> dict[str, float]:
    run = tiny_run("simclr", "dense")
    run = dataclasses.replace(run, evaluation=dataclasses.replace(run.evaluation, probe=probe))
    images = Dataset(
        name="noise",
        classes=tuple("0123456789"),
        train=noise(0, 120),
        test=noise(1, 120),
        held_out=noise(2, 0),
        fingerprint="",
        source="",
        verified=False,
    )
    return scores.scores(run, images, encoder, queries)[0]


@pytest.mark.parametrize("probe", PROBES)
def test_labels_that_only_a_leak_can_know_are_not_known(probe: str) -> None:
    """Whoever fits on a scored image, or has it in the bank, finds its label: 192 pixels tell 120 images apart."""
    for name, percent in scored(probe, Looking()).items():
        assert percent < 25, name  # chance is 10


@pytest.mark.parametrize("probe", PROBES)
def test_what_is_not_finite_gets_no_score_whatever_the_protocol(probe: str) -> None:
    encoder = Looking()
    with pytest.raises(features.NotFiniteError, match="of the scored images' features are not finite"):
        scored(probe, encoder, torch.full((120, 192), torch.inf))
    with torch.no_grad():
        encoder.scale.fill_(torch.nan)
    with pytest.raises(features.NotFiniteError, match="of the training images' features are not finite"):
        scored(probe, encoder)


def test_an_unknown_probe_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(RunError, match=r"evaluation\.probe: 'lbgfs' is unknown\. Did you mean 'lbfgs'"):
        scored("lbgfs", Looking())


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
    found = sgd_probe.sgd_probe(encoder, train, queries, labels, seed=0, epochs=40)
    assert found >= 110
    assert sgd_probe.sgd_probe(encoder, train, queries, labels, seed=0, epochs=40) == found
    assert sgd_probe.sgd_probe(encoder, train, queries, labels.flip(0), seed=0, epochs=40) <= 50
