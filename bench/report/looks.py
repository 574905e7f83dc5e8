"""Looks of lines that are told apart without colour, and the room that their names take."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl

LEGEND_LINE_INCHES = 0.2
_MARKS = "osD^vP*X<>hpd8"
_FILLS = ("none", "full", "left")  # of marks: one after the other, so that as many lines again differ
_DASHES = ("-", "--", ":", "-.")


def looks() -> Sequence[Mapping[str, Any]]:
    """Return what Matplotlib takes for lines that differ in mark, its filling, and dash; the colour repeats it."""
    colours = mpl.color_sequences["tab10"]
    return [
        {
            "marker": mark,
            "fillstyle": fill,
            "linestyle": _DASHES[index % len(_DASHES)],
            "color": colours[index % len(colours)],
        }
        for fill in _FILLS
        for index, mark in enumerate(_MARKS)
    ]
