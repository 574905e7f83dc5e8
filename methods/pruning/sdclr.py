"""Self-damaging contrastive learning (SDCLR): a dense encoder learns beside a pruned copy of itself."""

import math

from methods import masking, scores
from methods.allocation import ranked
from methods.branches import Branches
from methods.granularity.select import select
from methods.method import SparseMethod
from methods.normalisation import own_scale
from methods.setting import Setting, require_elementwise, require_no_ramp


class SDCLR(SparseMethod):
    """View 0 goes through the dense encoder, view 1 through the same weights under a mask that is made anew so often.

    The mask keeps the largest magnitudes of all layers together. Images that the network has hardly learned change
    most when it is pruned, so that the loss looks after them: the mask is a means of training, and the dense encoder is
    what comes out. The masked twin has a batch normalisation of its own, scale and shift included.

    It takes a twin that learns: an EMA target gets no gradient, and cannot be a competitor.

    Source: Jiang et al., ICML 2021, section 3.2, and their code: ``prune/prune_simCLR.py:38`` (mask at the start of
    each epoch), ``:64`` to ``:85`` (two backward passes, whose gradients add up to that of the loss of both branches,
    which is taken here), ``prune/mask.py``, ``models/resnet_s_cifar_prune_multibn.py`` of VITA-Group/SDCLR at f1490fc.
    Here the mask is made anew once a period, and the heads' normalisation is shared (deviation 38).

    Args:
        setting: density 1, and a negative gap: the twin keeps ``1 + gap``. Their script for CIFAR-10 prunes 0.9.

    Raises:
        ValueError: the setting asks for another density, no twin that is sparser, or another granularity.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        require_elementwise(setting, "sdclr")
        require_no_ramp(setting, "sdclr")
        if setting.density != 1.0 or setting.gap >= 0.0:
            raise ValueError(
                f"sdclr exports a dense encoder and prunes its twin, but the setting asks for density "
                f"{setting.density} and gap {setting.gap}: use density 1 and a negative gap, as in d1.00-g0.90."
            )
        self._setting = setting

    @property
    def splits_branches(self) -> bool:
        """True."""
        return True

    @property
    def window(self) -> tuple[float, float]:
        """The whole run: the mask that changes last is not exported."""
        return 0.0, 1.0

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Give the twin a batch normalisation of its own, and its first mask.

        Raises:
            ValueError: the target is no twin that learns.
        """
        if not branches.tied:
            raise ValueError(
                "sdclr: no gradient reaches this framework's target, so it cannot compete with the online encoder: use "
                "a framework whose branches share their weights and both learn, such as simclr."
            )
        self._branches = branches
        self._every = max(1, math.floor(self._setting.period_fraction * total_steps + 1e-6))
        for module in branches.target.modules():
            own_scale(module)
        self._prune()

    def before_forward(self, step: int) -> None:
        """Make the twin's mask anew, when due."""
        if step and step % self._every == 0:
            self._prune()
            self.history.add(step, target_density=1.0 + self._setting.gap)

    def _prune(self) -> None:
        branches, granularity = self._branches, self._setting.granularity
        strength = scores.magnitude(masking.latent(branches.online))
        shares = ranked(strength, 1.0 + self._setting.gap, granularity)
        branches.write(masking.read(branches.online), target=select(strength, shares.ones, granularity))
