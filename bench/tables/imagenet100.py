"""Sparse weights and gated activations on ImageNet-100: what both works say of images of ImageNet's size.

Any folder of images can take its place (``--data``). ``--set encoder.name=resnet-50`` makes the rows with ResNet-50:
MoCo with the recipe published for it, the others with that of ResNet-18, and gates at a smaller reduction: only the
middle convolution of its blocks is gated, which is less than half of the work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.config.profiles import Profile, profile_of
from bench.config.sparsity import SparsitySpec
from bench.data.known import title_of
from bench.errors import UsageError
from bench.tables import cifar10, gating
from bench.tables.points import dense_points, sparse_points
from bench.tables.spec import TableSpec

NAME = "imagenet100"
DATA = "imagenet100"
REDUCTION = 1.65  # the largest reported for dual gating on ImageNet-100
# Ours: what gates of ResNet-50 can reach is 1.31 for the slowest of the methods (width 1/4; it hardly depends on it).
REDUCTIONS = {"resnet-50": 1.20}
REGRESSION_CELLS = ("simclr/synchronized/*", "simclr/dual_gate/*", "moco/static_erk/*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What each framework of the table has beside an untrained and a dense row.

    Attributes:
        sparse: methods that prune weights, at every density of the profile.
        gates: methods that gate activations, at the one reduction.
    """

    sparse: Sequence[str]
    gates: Sequence[str]


_WHOLE = Rows(sparse=cifar10.SPARSE, gates=("dual_gate", "shared_gate", *gating.OPPONENTS))
ROWS: Mapping[str, Mapping[str, Rows]] = {
    "gpu": {
        "simclr": Rows(sparse=cifar10.HEADLINE_SPARSE["simclr"], gates=("dual_gate", "channel_gate")),
        "moco": Rows(sparse=("static_erk", "gradual", "synchronized"), gates=()),
    },
    "paper": dict.fromkeys(cifar10.FRAMEWORKS, _WHOLE),
}


def table(profile: str, data: str, *, encoder: str = "") -> TableSpec:
    """Return the table at a profile's size, on ImageNet-100 or on a folder of images of any size.

    Args:
        profile: a key of the profiles.
        data: the data set's name.
        encoder: that will take the place of ResNet-18, and for which the constants are; empty for none.

    Raises:
        UsageError: the profile is none that bears images of this size.
    """
    if profile not in ROWS:
        raise UsageError(
            f"table {NAME}, profile {profile}: images of 224 pixels are nothing for minutes on a CPU. Use --profile "
            "gpu or paper. A miniature is --profile gpu --data PATH --force, with a --set for each of data.image_size, "
            "data.crop_size, data.held_out_images, encoder.width, optimizer.batch_images and optimizer.epochs."
        )
    size, reduction = profile_of(profile, DATA, encoder), REDUCTIONS.get(encoder, REDUCTION)
    return TableSpec(
        name=NAME,
        title=f"Sparse weights and gated activations on {title_of(data)}",
        profile=profile,
        data=data,
        cells=tuple(
            size.run(framework, point, data)
            for framework, rows in ROWS[profile].items()
            for point in _points(size, rows, reduction)
        ),
    )


def _points(size: Profile, rows: Rows, reduction: float) -> list[SparsitySpec]:
    points = dense_points()
    points += [point for density in size.densities for point in sparse_points(size, rows.sparse, "element", density)]
    return points + [SparsitySpec(method=method, granularity="element", reduction=reduction) for method in rows.gates]
