"""The highest scores of a layer as a mask, and granularities by name."""

import re
from collections.abc import Mapping

from torch import Tensor

from methods.granularity.base import Granularity
from methods.granularity.block import Block
from methods.granularity.element import Elementwise
from methods.granularity.filter import Filter
from methods.granularity.n_of_m import NofM


def select(scores: Mapping[str, Tensor], counts: Mapping[str, int], granularity: Granularity) -> dict[str, Tensor]:
    """Return float32 masks with ``counts[name]`` ones in each layer, on its highest scores.

    Raises:
        ValueError: if the two name different layers, or a layer's scores or count are refused (the layer is
            named).
    """
    if scores.keys() != counts.keys():
        raise ValueError(f"scores and counts name different layers: {sorted(scores.keys() ^ counts.keys())}.")
    masks = {}
    for name, score in scores.items():
        try:
            masks[name] = granularity.keep(score, counts[name]).float()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return masks


def parse(text: str) -> Granularity:
    """Return the granularity of a cell's name.

    ``element``, ``2:4``, ``block4x4`` (output x input channels), ``filter``, or ``-`` (dense; nothing goes).

    Raises:
        ValueError: for any other text.
    """
    if text in {"element", "-"}:
        return Elementwise()
    if text == "filter":
        return Filter()
    pattern = re.fullmatch(r"(\d+):(\d+)", text)
    if pattern is not None:
        return NofM(int(pattern[1]), int(pattern[2]))
    block = re.fullmatch(r"block([1-9]\d*)x([1-9]\d*)", text)
    if block is not None:
        return Block(int(block[1]), int(block[2]))
    raise ValueError(
        f"unknown granularity {text!r}: use 'element', an N:M pattern such as '2:4', a block of output x input "
        "channels such as 'block4x4', 'filter', or '-' for dense."
    )
