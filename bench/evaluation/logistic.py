"""A logistic regression whose features lie on a device: scikit-learn's objective, minimised by SciPy's L-BFGS-B."""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor
from torch.nn import functional

from bench.ticks import Tick

STRENGTH = 1.0  # C of the L2 penalty, as scikit-learn counts it
TOLERANCE = 1e-4  # of the gradient's largest entry
MOST_ITERATIONS = 2000
Point = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """A linear classifier by logits.

    Attributes:
        weights: float64 ``[K, F + 1]``, the last column the intercepts; of two classes ``[1, F + 1]``: for the second.
        names: the K classes, ascending.
        loss: the objective where the search ended.
    """

    weights: Tensor
    names: Tensor
    loss: float

    @classmethod
    def fitted(cls, features: Tensor, labels: Tensor, tick: Tick) -> "Logistic":
        """Minimise the mean cross entropy plus ``|w|^2 / (2 C N)``, intercepts left out, from 0 on.

        With objective, optimizer and stopping rules of scikit-learn's ``LogisticRegression``, so that both end near the
        only minimum; only the rounding is the device's. Each evaluation sends the point and reads back its gradient.

        Args:
            features: float64 ``[N, F]``, standardised.
            labels: classes ``[N]``, on the features' device.
            tick: called before every evaluation of the objective.
        """
        names, targets = labels.unique(return_inverse=True)
        rows = 1 if len(names) == 2 else len(names)

        def objective(point: Point) -> tuple[float, Point]:
            tick(0, 0, "probing")
            weights = torch.from_numpy(point).to(features.device).reshape(rows, -1).requires_grad_()
            penalty = weights[:, :-1].square().sum() / (2 * STRENGTH * len(features))
            loss = functional.cross_entropy(_logits(features, weights), targets) + penalty
            (slope,) = torch.autograd.grad(loss, weights)
            told = torch.cat([loss.detach().reshape(1), slope.flatten()]).cpu().numpy()  # one wait, not two
            return float(told[0]), told[1:]

        ended = minimize(
            objective,
            np.zeros(rows * (features.shape[1] + 1)),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MOST_ITERATIONS, "maxls": 50, "gtol": TOLERANCE, "ftol": 64 * np.finfo(float).eps},
        )
        if not ended.success:
            warnings.warn(f"the linear probe has not converged: {ended.message}", ConvergenceWarning, stacklevel=2)
        weights = torch.from_numpy(ended.x).to(features.device).reshape(rows, -1)
        return cls(weights=weights, names=names, loss=float(ended.fun))

    def classes(self, features: Tensor) -> Tensor:
        """Return the likeliest class ``[N]`` of features ``[N, F]``."""
        return self.names[_logits(features, self.weights).argmax(1)]


def _logits(features: Tensor, weights: Tensor) -> Tensor:
    logits = features @ weights[:, :-1].T + weights[:, -1]
    return logits if len(weights) > 1 else torch.cat([torch.zeros_like(logits), logits], dim=1)
