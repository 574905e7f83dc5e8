"""Exactly k winners per image, and how many each layer has so that the network spends what it should."""

from collections.abc import Callable, Mapping

from torch import Tensor


def winners(saliency: Tensor, kept: Tensor) -> Tensor:
    """Return which entries of each row are among its ``kept`` largest: bool ``[N, C]``, exactly ``kept`` a row.

    Ties go to the lowest index. Comparing with the k-th value instead, as published code does, loses or wins all ties.

    Args:
        saliency: ``[N, C]``, finite.
        kept: scalar, whole, in [1, C]; a tensor, so that asking makes no device wait.
    """
    ranks = saliency.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return ranks < kept


def counts(channels: Mapping[str, int], share: Callable[[Mapping[str, int]], float], wanted: float) -> dict[str, int]:
    """Return how many channels each layer keeps so that ``share`` of these counts comes nearest to ``wanted``.

    All layers have one density d and keep ``ceil(d C)`` channels. Where layers gain a channel at the same d they
    gain it one after the other, in their order: the finest step is one channel of one layer. Source: ours; the papers
    fix d and take the cost that comes out.

    Args:
        channels: of each layer.
        share: executed share of the MACs; grows with every count.
        wanted: share to come near to.
    """
    kept = dict.fromkeys(channels, 1)
    best, distance = dict(kept), abs(share(kept) - wanted)
    gains = sorted(
        (have / count, place, path) for place, (path, count) in enumerate(channels.items()) for have in range(1, count)
    )
    for _, _, path in gains:
        kept[path] += 1
        if abs(share(kept) - wanted) < distance:
            best, distance = dict(kept), abs(share(kept) - wanted)
    return best


__all__ = ["counts", "winners"]
