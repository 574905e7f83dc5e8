"""Structured RigL (SRigL): all filters of a layer have equally many weights, and useless filters go as a whole."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from methods import masking, scores
from methods.allocation import erk
from methods.drop_and_grow import DropAndGrow
from methods.exchange import drop
from methods.granularity.base import check_finite, highest
from methods.masking import Masks
from methods.setting import Setting


class SRigl(DropAndGrow):
    """RigL under constant fan-in: in a layer, the active filters have equally many weights, the others none.

    An update drops the smallest magnitudes of a layer and asks, filter by filter, how many weights are *salient*: kept,
    or among as many of the layer's largest dense gradients as were dropped. A filter with fewer than ``salience`` of
    the layer's fan-in is ablated; the weights are shared anew among the others, which keep their largest magnitudes
    and grow by their largest gradients. Only active weights have a value: what grows starts at 0. An update takes the
    place of the weight step, as in RigL. Both branches get the same mask.

    Counts are exact, so fan-ins of a layer may differ by one: the spare weights go to the filters with most salient
    weights (ours). The curve ``ablated_filters`` counts filters without a weight.

    Source: Lasby et al. 2024 (SRigL), section 3.1, and the authors' code (condensed-sparsity, commit 3052bb8,
    src/rigl_torch/rigl_constant_fan.py, lines 235 to 622; configs/config.yaml: ERK, alpha 0.3, salience 0.3 of the
    sparse fan-in). Deviation 30 in results/deviations.md.

    Args:
        setting: density, seed and period; the window is the method's own.
        salience: fraction of the fan-in that must be salient for a filter to stay; 0 ablates none that has one.
        fraction: of a layer's weights, dropped at first; it falls along a cosine to 0. 0 is static sparsity.
        end_fraction: of the run, when exchanging ends.
    """

    def __init__(
        self, setting: Setting, *, salience: float = 0.3, fraction: float = 0.3, end_fraction: float = 0.75
    ) -> None:
        if not 0.0 <= salience <= 1.0:
            raise ValueError(f"salience {salience} is outside [0, 1]: it is a fraction of a filter's weights.")
        super().__init__(setting, "srigl", fraction=fraction, end_fraction=end_fraction)
        self._salience = salience

    def first(self, drawn: dict[str, Tensor]) -> Masks:
        """Return random masks with ERK counts, of constant fan-in."""
        ones = erk({name: score.shape for name, score in drawn.items()}, self._setting.density)
        return {name: widest(score, fan_ins(score.flatten(1).sum(1), ones[name])) for name, score in drawn.items()}

    def before_forward(self, step: int) -> None:
        """Watch the dense gradient in the steps that update."""
        if self.is_due(step):
            self._branches.watch()

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Exchange weights and ablate filters, when due."""
        if not self.is_due(step):
            return True
        fraction = self._exchange.value(step)
        magnitudes = scores.magnitude(masking.latent(self._branches.online))
        gradients = scores.gradient_magnitude(self._branches.dense_gradient())
        masks = {
            name: updated(mask, magnitudes[name], gradients[name], fraction, self._salience)
            for name, mask in masking.read(self._branches.online).items()
        }
        self._branches.write(masks, optimizer, candidates="active")
        ablated = sum(int((mask.flatten(1).sum(1) == 0).count_nonzero()) for mask in masks.values())
        self.history.add(step, exchanged_fraction=fraction, ablated_filters=float(ablated))
        return False


def updated(mask: Tensor, strength: Tensor, growth: Tensor, fraction: float, salience: float) -> Tensor:
    """Return a layer's next mask, with as many ones: ``SRigl`` says how.

    Args:
        mask: float32, (out, in, ...), entries 0 or 1.
        strength: the mask's shape; magnitudes.
        growth: the mask's shape; magnitudes of the dense gradient.
        fraction: of the ones, dropped.
        salience: of the fan-in.
    """
    ones = int(mask.count_nonzero())
    kept = drop(mask, strength, fraction)
    dropped = ones - int(kept.count_nonzero())
    salient = kept.bool() | highest(growth, dropped)
    counts = salient.flatten(1).sum(1).double()
    filters = len(mask)
    wanted = max(1, int(salience * (ones // filters)))
    wide = mask[0].numel()
    # So many at least that the weights fit into them, and no more than there are weights.
    stay = min(max(int((counts >= wanted).count_nonzero()), -(-ones // wide)), filters, ones)
    room = fan_ins(counts, ones, stay)
    # Above every gradient: what is kept, in the order of its magnitudes; below: what cannot be told apart.
    ranked = torch.where(kept == 1, 2.0 + _shrunk(strength), _shrunk(growth))
    return widest(ranked, room)


def fan_ins(salient: Tensor, ones: int, stay: int | None = None) -> Tensor:
    """Return how many weights each filter gets, equal up to one, of shape (out,); 0 for those that do not stay.

    Args:
        salient: of shape (out,): the filters with most stay, and of these the first get one more where it does not
            divide; ties to the lowest index.
        ones: of the layer.
        stay: how many filters get any; ``None``: as many as there are weights for.
    """
    stay = min(len(salient), ones) if stay is None else stay
    base, spare = divmod(ones, stay)
    active, more = highest(salient, stay), highest(salient, spare)
    return active * base + more.long()


def widest(ranked: Tensor, room: Tensor) -> Tensor:
    """Return a mask with ``room[i]`` ones in filter i, on its highest scores."""
    rows = ranked.flatten(1)
    check_finite(rows)
    order = rows.argsort(dim=1, descending=True, stable=True)  # of all filters at once: small ones cost by the call
    chosen = torch.arange(rows.shape[1], device=rows.device) < room[:, None]
    return torch.zeros_like(rows, dtype=torch.float32).scatter_(1, order, chosen.float()).view(ranked.shape)


def _shrunk(magnitudes: Tensor) -> Tensor:
    """Return the magnitudes in the same order, in [0, 1], as float64: two kinds of them fit into one ranking."""
    return magnitudes.double() / magnitudes.double().max().clamp_min(torch.finfo(torch.float64).tiny)
