"""A logistic regression on cached features, solved to convergence: it adds no seed and no schedule of its own.

Deviation 11 in results/deviations.md.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from bench.evaluation.probe import Probe, Question


def linear_probe(bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor) -> int:
    """Return how many queries a logistic regression on the bank's features classifies correctly.

    Features are standardised with the bank's statistics; L2 strength C = 1, solved to convergence by L-BFGS,
    so that the probe adds no seed and no schedule of its own.
    """
    scaler = StandardScaler().fit(bank.numpy().astype(np.float64))
    probe = LogisticRegression(C=1.0, solver="lbfgs", max_iter=2000, tol=1e-4)
    probe.fit(scaler.transform(bank.numpy().astype(np.float64)), bank_labels.numpy())
    predicted = probe.predict(scaler.transform(queries.numpy().astype(np.float64)))
    return int((predicted == labels.numpy()).sum())


def _correct(asked: Question) -> int:
    return linear_probe(asked.bank, asked.train.labels, asked.queries, asked.labels)


LBFGS = Probe(
    protocol="L-BFGS logistic regression, C = 1, standardised cached features, last epoch",
    correct=_correct,
)
