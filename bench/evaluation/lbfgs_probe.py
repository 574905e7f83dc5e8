"""A logistic regression on cached features, solved to convergence: it adds no seed and no schedule of its own.

Deviation 11 in results/deviations.md.
"""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from bench.evaluation.knn import CPU
from bench.evaluation.logistic import MOST_ITERATIONS, STRENGTH, TOLERANCE, Logistic
from bench.evaluation.probe import Probe, Question
from bench.ticks import Tick, silent


def linear_probe(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    labels: Tensor,
    *,
    device: torch.device = CPU,
    tick: Tick = silent,
) -> int:
    """Return how many queries a logistic regression on the bank's features classifies correctly.

    Features are standardised with the bank's statistics; L2 strength C = 1, solved to convergence by L-BFGS,
    so that the probe adds no seed and no schedule of its own.

    Args:
        bank: features ``[N, F]``.
        bank_labels: classes ``[N]``.
        queries: features ``[Q, F]``.
        labels: classes ``[Q]``.
        device: where it is solved: on a CPU by scikit-learn, elsewhere by ``Logistic``, which has the same optimum.
        tick: called at least once an iteration.
    """
    scaler = StandardScaler().fit(bank.numpy().astype(np.float64))
    known, asked = (scaler.transform(each.numpy().astype(np.float64)) for each in (bank, queries))
    if device.type != "cpu":
        there = Logistic.fitted(torch.from_numpy(known).to(device), bank_labels.to(device), tick)
        return int((there.classes(torch.from_numpy(asked).to(device)).cpu() == labels).sum())
    probe = LogisticRegression(C=STRENGTH, solver="lbfgs", max_iter=MOST_ITERATIONS, tol=TOLERANCE)
    probe.set_callbacks(_Heeding(tick)).fit(known, bank_labels.numpy())
    return int((probe.predict(asked) == labels.numpy()).sum())


class _Heeding:
    """Lets a user stop scikit-learn between two iterations; changes no number of the fit."""

    def __init__(self, tick: Tick) -> None:
        self._tick = tick

    def setup(self, estimator: object, context: object) -> None:
        """Nothing to prepare."""

    def teardown(self, estimator: object, context: object) -> None:
        """Nothing to tidy up."""

    def on_fit_task_begin(self, estimator: object, context: object) -> None:  # noqa: ARG002 (passed by name)
        """Ask."""
        self._tick(0, 0, "probing")

    def on_fit_task_end(self, estimator: object, context: object) -> bool:  # noqa: ARG002 (passed by name)
        """Never stop because of what was found."""
        return False


def _correct(asked: Question) -> int:
    device = next(asked.encoder.parameters()).device
    return linear_probe(asked.bank, asked.train.labels, asked.queries, asked.labels, device=device, tick=asked.tick)


LBFGS = Probe(
    protocol="L-BFGS logistic regression, C = 1, standardised cached features, last epoch",
    correct=_correct,
)
