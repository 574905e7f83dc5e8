"""How convolutions stand in their block: what normalises them, and which one reads only what another wrote.

Source: ours. Both libraries' ResNets register the children of a block in the order in which they run.
"""

from collections.abc import Collection

from torch import nn

from methods.gating.layer import replace


def take_normalisation(encoder: nn.Module, path: str) -> nn.Module:
    """Return the normalisation right behind a convolution and leave nothing in its place; without one, nothing.

    A gate that must act on normalised features takes it into its own layer. A tied pair's twin may hold the same
    module; each branch gives up its own place.

    Returns:
        A ``BatchNorm2d``; or an ``Identity``, if something else or nothing stands there.
    """
    parent, _, name = path.rpartition(".")
    children = list(encoder.get_submodule(parent).named_children())
    place = [child for child, _ in children].index(name) + 1
    for behind, module in children[place : place + 1]:
        if isinstance(module, nn.BatchNorm2d):
            replace(encoder, f"{parent}.{behind}" if parent else behind, nn.Identity())
            return module
    return nn.Identity()


def feeders(encoder: nn.Module, paths: Collection[str]) -> dict[str, str]:
    """Return, for each of these convolutions that reads only what another of them wrote, that other one's path.

    That is the convolution before it in the same block. The first one of a block reads the sum of two paths.
    """
    found = {}
    for path in paths:
        parent, _, name = path.rpartition(".")
        children = encoder.get_submodule(parent).named_children()
        convolutions = [child for child, module in children if isinstance(module, nn.Conv2d)]
        before = convolutions[convolutions.index(name) - 1] if name != convolutions[0] else ""
        feeder = f"{parent}.{before}" if parent else before
        if feeder in paths:
            found[path] = feeder
    return found


__all__ = ["feeders", "take_normalisation"]
