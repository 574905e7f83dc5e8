"""Whether features have collapsed, which a score alone does not say."""

import torch
from torch import Tensor

CONSTANT = 1e-5  # a feature that varies by less than this share of its largest magnitude tells images apart by rounding


def health(features: Tensor) -> dict[str, object]:
    """Return facts about features ``[N, F]``: how many are constant, and their effective rank.

    The effective rank is the exponential of the entropy of the singular values of the centred features, as shares of
    their sum: between 1, one direction, and min(N, F), all directions alike; 0 if nothing varies. Source: Roy and
    Vetterli, EUSIPCO 2007.
    """
    wide = features.double()
    spread = wide.amax(0) - wide.amin(0)
    constant = spread <= CONSTANT * wide.abs().amax(0)
    varying = wide[:, ~constant]
    return {
        "output_features": wide.shape[1],
        "constant_features": int(constant.sum()),
        "effective_rank": round(_effective_rank(varying - varying.mean(0)), 3) if varying.numel() else 0.0,
    }


def _effective_rank(centred: Tensor) -> float:
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp_min(0.0).sqrt()
    shares = values / values.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))
