"""SET and RigL: in each layer, weak weights make room for random ones (SET) or for those of large gradients (RigL)."""

from typing import Literal

from methods.drop_and_grow import LayerExchange
from methods.setting import Setting


class Rigl(LayerExchange):
    """Exchange a fraction of each layer's weights, which falls along a cosine to 0.

    Source: Evci et al. 2020 (RigL), section 3, with alpha 0.3 and T_end 0.75. ``set`` is given the same schedule, so
    that the two differ only in how they grow and in the weight step (ours; Mocanu et al. 2018 exchange a constant 0.3
    every epoch).

    Args:
        setting: density, seed and period; the window is the method's own.
        growth: ``gradient`` for RigL, ``random`` for SET.
        replaces_step: an update takes the place of the weight step (RigL). Source: the authors' code, which does
            either, never both.
        fraction: exchanged at first; 0 is static sparsity.
        end_fraction: of the run, when exchanging ends.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        growth: Literal["gradient", "random"],
        replaces_step: bool,
        fraction: float = 0.3,
        end_fraction: float = 0.75,
    ) -> None:
        super().__init__(
            setting,
            "drop-and-grow",
            growth=growth,
            replaces_step=replaces_step,
            fraction=fraction,
            end_fraction=end_fraction,
        )
