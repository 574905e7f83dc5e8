"""How a layer with gates per pixel and slice is cut: into the base path and the rest."""

from methods.gating.convolution import GatedConv2d
from methods.gating.tables import Part


def base_and_rest(layer: GatedConv2d, *, at_least: int = 1) -> tuple[list[Part], list[Part]]:
    """Return the base path's parts and the rest's; together they are the convolution.

    Args:
        layer: whose base path it is.
        at_least: output channels of a part of the rest: thinner slices share one, which is computed where any is open.
    """
    outputs, inputs = layer.conv.out_channels, layer.conv.in_channels // layer.groups
    every = range(layer.conv.in_channels)
    groups = layer.groups if layer.partition == "blocks" else 1
    size = outputs // groups
    base = Part(outputs=range(outputs), inputs=[every[:inputs]], group=size, shift=inputs if groups > 1 else 0)
    thick = max(layer.gate.slice_channels, at_least)
    rest = []
    for group in range(groups):
        own = [each for each in (every[: group * inputs], every[(group + 1) * inputs :]) if each] or [every[:0]]
        for first in range(group * size, (group + 1) * size, thick):
            channels = range(first, min(first + thick, (group + 1) * size))
            rest.append(Part(outputs=channels, inputs=own, group=len(channels)))
    return [base], rest


__all__ = ["base_and_rest"]
