"""Which weights matter: one score per weight, higher is kept."""

from collections.abc import Mapping

import torch
from torch import Tensor


def magnitude(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``|w|``, detached. Source: Han et al. 2015."""
    return {name: weight.detach().abs() for name, weight in weights.items()}


def lamp(strength: Tensor) -> Tensor:
    """Return the scores of layer-adaptive magnitude pruning (LAMP), in double precision, for one layer.

    A weight's score is its square over the sum of the squares of all weights of the layer that are at least as large,
    itself included; of equal ones the first comes first. It orders the weights of a layer as their magnitudes do, and
    the largest has 1 in every layer, so that scores of all layers can be ranked together and no layer is emptied.
    Source: Lee et al., ICLR 2021, equation 4. Published code subtracts running sums in single precision, which
    reach 0 at the largest weights; sums here start there.

    Args:
        strength: magnitudes, any shape; negative where a weight does not compete, which stays below all scores.
    """
    flat = strength.detach().reshape(-1)
    ranked, order = flat.clamp_min(0.0).sort(descending=True, stable=True)
    squares = ranked.double().square()
    above = squares.cumsum(0)
    ratios = torch.where(above > 0.0, squares / above.clamp_min(torch.finfo(above.dtype).tiny), 0.0)
    scores = torch.empty_like(squares).scatter_(0, order, ratios)
    return torch.where(flat < 0.0, -1.0, scores).reshape(strength.shape)


def gradient_magnitude(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``|dL/dw|`` of dense gradients, for growth. Source: Evci et al. 2020 (RigL)."""
    return magnitude(gradients)


def random(weights: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Return uniform scores with the weights' shapes, on their devices.

    Drawn on the CPU, layer after layer, from a generator of their own: neither the global random state nor
    the device nor the rank changes them.
    """
    return {name: torch.rand(weight.shape, generator=generator).to(weight.device) for name, weight in weights.items()}


class EmaMagnitude:
    """The running mean of ``|w|``: ``a <- m a + (1 - m) |w|``, from ``a = |w|`` at the start.

    Source: Meng et al. 2023 (SyncCP), the authors' ``ContrastiveMMask``; momentum 0.99 from their N:M
    script. Their element-wise class takes only the threshold from ``a`` and compares the raw ``|w|`` with
    it, which keeps a wrong number of weights; here ``a`` itself is ranked.
    """

    def __init__(self, weights: Mapping[str, Tensor], momentum: float) -> None:
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum {momentum} is outside [0, 1): at 1 the mean would never move.")
        self._momentum = momentum
        self._means = {name: score.clone() for name, score in magnitude(weights).items()}

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        """Take one step; call it once per optimizer step."""
        magnitudes = torch._foreach_abs([weights[name] for name in self._means])  # noqa: SLF001 (as optimizers do)
        torch._foreach_lerp_(list(self._means.values()), magnitudes, 1.0 - self._momentum)

    @torch.no_grad()
    def restart(self, weights: Mapping[str, Tensor], where: Mapping[str, Tensor]) -> None:
        """Start some means anew at the present magnitude.

        Args:
            weights: of the layers.
            where: 1 at the weights whose means start anew, 0 elsewhere; layers that are missing keep all their means.
        """
        for name, mask in where.items():
            self._means[name].copy_(torch.where(mask == 1, weights[name].abs(), self._means[name]))

    @property
    def scores(self) -> dict[str, Tensor]:
        """The means themselves, one tensor per layer."""
        return dict(self._means)

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the means."""
        return {name: mean.clone() for name, mean in self._means.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the means, bit by bit.

        Raises:
            ValueError: if the layers or shapes differ.
        """
        found = {name: tuple(mean.shape) for name, mean in state.items()}
        expected = {name: tuple(mean.shape) for name, mean in self._means.items()}
        if found != expected:
            raise ValueError(f"the saved magnitudes are for {found}, but the encoder has {expected}.")
        for name, mean in self._means.items():
            mean.copy_(state[name])
