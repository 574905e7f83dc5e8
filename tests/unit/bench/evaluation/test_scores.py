import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from bench.config.views import ViewSpec
from bench.data.dataset import Dataset, Split
from bench.errors import RunError
from bench.evaluation import features, knn, lbfgs_probe, scores, sgd_probe
from bench.evaluation.logistic import STRENGTH, Logistic
from bench.evaluation.probes import PROBES
from bench.ticks import silent
from bench.views import recipes
from bench.views.recipes import normalise
from tests.tiny import tiny_run
from tests.virtual_device import CUDA, virtual_cuda


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


def test_of_ties_the_first_wins() -> None:
    """Of keys that are as near as each other, and of classes with as many votes: whatever the device does."""
    keys = torch.eye(2).repeat_interleave(4, dim=0).T.contiguous()  # four keys of each of two directions
    labels = torch.tensor([2, 1, 1, 0, 0, 2, 2, 2])
    queries = torch.eye(2)
    found = [knn.voted(queries, keys, labels, 3, count=count, temperature=0.1).tolist() for count in (1, 2, 4)]
    assert found == [[2, 0], [1, 0], [1, 2]]  # 2 | 2 and 1 tie | 1 wins; 0 | 0 and 2 tie | 2 wins


@pytest.mark.parametrize("shape", [(40, 3), (60, 2)])
def test_a_device_finds_what_the_cpu_finds(shape: tuple[int, int]) -> None:
    per_class, classes = shape
    (bank, known), (queries, asked) = (clusters(seed, per_class, classes) for seed in (0, 1))
    found = []
    for device in (knn.CPU, CUDA):
        with virtual_cuda():
            nearest = knn.knn(bank, known, queries, asked, neighbours=12, temperature=0.3, device=device)
            found.append((nearest, lbfgs_probe.linear_probe(bank, known, queries, asked, device=device)))
    assert found[0] == found[1]
    assert len(bank) / 2 < min(found[0]) < len(bank)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_probe_of_a_device_ends_at_scikit_learns_optimum(classes: int) -> None:
    bank, known = clusters(0, 60, classes)
    features, labels = bank.double(), known + 5  # a class may have any name
    here = Logistic.fitted(features, labels, silent)
    there = LogisticRegression(C=STRENGTH, tol=1e-12, max_iter=9999).fit(features.numpy(), labels.numpy())
    best = torch.from_numpy(np.hstack([there.coef_, there.intercept_[:, None]]))
    logits = features @ best[:, :-1].T + best[:, -1]
    logits = logits if classes > 2 else torch.cat([torch.zeros_like(logits), logits], dim=1)
    least = torch.nn.functional.cross_entropy(logits, known) + best[:, :-1].square().sum() / (2 * len(features))
    assert float(least) <= here.loss <= float(least) + 1e-6
    assert torch.allclose(here.weights, best, atol=0.02) if classes == 2 else True
    assert here.classes(features).tolist() == there.predict(features.numpy()).tolist()


@pytest.mark.parametrize("device", [knn.CPU, CUDA])
def test_a_user_can_stop_the_probe_between_any_two_of_its_iterations(device: torch.device) -> None:
    """A fit ended only when it had converged, or its worker was killed after 20 seconds."""
    (bank, known), asked = clusters(0, 40), list[str]()

    def told(_done: int, _total: int, phase: str = "training", /) -> None:
        asked.append(phase)
        if len(asked) == stop:
            raise KeyboardInterrupt

    def fit() -> int:
        asked.clear()
        return lbfgs_probe.linear_probe(bank, known, bank, known, device=device, tick=told)

    with virtual_cuda():
        stop = 0
        correct, times = fit(), len(asked)
        assert set(asked) == {"probing"}
        assert times > 8
        for stop in (1, times // 2, times):
            with pytest.raises(KeyboardInterrupt):
                fit()
            assert len(asked) == stop
        stop = 0
        assert fit() == correct


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


def test_the_sgd_probe_takes_the_steps_that_its_protocol_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rate 0.1 for both views of 128 pictures, momentum 0.9, no decay, a cosine over all steps: computed by hand."""
    images = torch.randint(0, 256, (300, 3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    train = Split(images=images, labels=torch.arange(300) % 3)
    encoder = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.BatchNorm1d(3, eps=0.0))
    queries = features.features(encoder, images, normalise=normalise)
    ended: list[Tensor] = []
    monkeypatch.setattr(sgd_probe, "require_finite", lambda weight, _: ended.append(weight.double().clone()))
    sgd_probe.sgd_probe(encoder, train, queries, train.labels, seed=5, epochs=4)

    generator = torch.Generator().manual_seed(5)
    weight = torch.cat([0.01 * torch.randn(3, 3, generator=generator), torch.zeros(3, 1)], dim=1).double()
    spec = ViewSpec(pipeline="batched-v1", recipe="probe")
    views = recipes.build(spec, seed=5, images=300, side=8, size=train.size)
    speed, step, steps = torch.zeros_like(weight), 0, 2 * 3  # 300 pictures are three batches
    for epoch in range(2):
        for samples in torch.randperm(300, generator=generator).split(128):
            seen = torch.cat([view.mean((2, 3)) for view in views.views(images[samples], samples, epoch)]).double()
            seen = torch.cat([seen, torch.ones(len(seen), 1)], dim=1)
            errors = (seen @ weight.T).softmax(1) - functional.one_hot(train.labels[samples].repeat(2), 3)
            speed = 0.9 * speed + errors.T @ seen / len(seen)
            weight = weight - 0.1 * (1 + math.cos(math.pi * step / steps)) / 2 * speed
            step += 1
    assert step == steps
    torch.testing.assert_close(ended[0], weight[:, :-1], rtol=1e-4, atol=1e-5)


def test_a_vote_says_that_nobody_knows_how_long_it_takes() -> None:
    told: list[tuple[int, int, str]] = []
    bank, labels = clusters(0, 40)
    knn.knn(bank, labels, bank, labels, neighbours=5, temperature=0.1, tick=lambda *said: told.append(said))
    assert told == [(0, 0, "probing")]
