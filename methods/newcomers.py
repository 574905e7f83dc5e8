"""Weights that an update has grown, and how many of these outlive the next update."""

from collections.abc import Mapping

from torch import Tensor

from methods.masking import Masks


class Newcomers:
    """The weights that the last update has added to a branch's mask."""

    def __init__(self) -> None:
        self._grown: Masks = {}

    def outliving(self, kept: Masks) -> float:
        """Return the share of the newcomers that this update keeps; 0 if there are none.

        Args:
            kept: what the update leaves before it grows others: a weight that goes and comes straight back is lost.
        """
        grown = sum(int(mask.count_nonzero()) for mask in self._grown.values())
        left = 0
        for name, mask in self._grown.items():  # that of a checkpoint lies on the CPU, wherever the weights do
            left += int((mask.to(kept[name].device).bool() & kept[name].bool()).count_nonzero())
        return left / grown if grown else 0.0

    @property
    def masks(self) -> Masks:
        """1 at each newcomer."""
        return dict(self._grown)

    def note(self, before: Masks, after: Masks) -> None:
        """Remember what an update has added.

        Args:
            before: the mask before the update.
            after: the mask that it wrote.
        """
        self._grown = {name: after[name] * (1 - mask) for name, mask in before.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the newcomers."""
        return {name: mask.clone() for name, mask in self._grown.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` returned."""
        self._grown = {name: mask.clone() for name, mask in state.items()}
