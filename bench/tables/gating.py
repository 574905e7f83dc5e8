"""Gated activations: accuracy against the reduction of MACs, for dual gating and what it is compared with."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from bench.config.profiles import PROFILES
from bench.config.run import STAND_IN, Run
from bench.config.sparsity import SparsitySpec
from bench.data.known import title_of
from bench.tables.points import dense_points
from bench.tables.spec import TableSpec

NAME = "gating"
DATA = "cifar10"
REDUCTIONS = (1.25, 1.50, 1.75, 2.25)  # 2.25: the largest reported for dual gating on CIFAR
ABLATIONS = ("dual_gate_averaged", "shared_gate", "single_gate", "ungated_target")
OPPONENTS = ("channel_gate", "feature_boosting", "group_gate", "spatial_gate")
# The smoke table has eight minutes on two cores, and a gated step costs up to five dense ones.
SMOKE = ("dual_gate", "shared_gate", "single_gate", *OPPONENTS)
# The stand-in shows that everything is wired up: a shared encoder with gates of each kind. Two more do not learn there
# every time, in so few steps: of three seeds, spatial gates have 94.2, 83.4, 96.6 and dual gates with MoCo 71.6, 83.4,
# 87.6, dense encoders 97.5 and 96.1, and an untrained one 86.1.
STAND_IN_METHODS = {"simclr": ("dual_gate", "channel_gate", "group_gate")}
# On CIFAR-100 the smoke table has a gate of each kind: for the whole table see CIFAR-10, whose images cost the same.
SMOKE_CIFAR100 = {"simclr": ("dual_gate", "shared_gate", "channel_gate", "spatial_gate"), "moco": ("dual_gate",)}
UNIFIED = "unified_gate"  # trains a gated and a dense network together: only where the branches share their weights
REGRESSION_CELLS = ("moco/dual_gate/*", *(f"simclr/{name}/*" for name in (*SMOKE, UNIFIED) if name != "dual_gate"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What the table changes about a profile.

    Attributes:
        width: of the encoder: a gate decides for a share of the channels, so that there must be enough.
        train_images: those held out included; 0 means all.
        held_out_images: gates are steered on these.
        slice_channels: of structured gates.
        reductions: of dual gating and its opponents; ablations and slices take the largest alone.
        unified_reductions: of unified gates; none: as the others.
        methods: beside the dense ones, per framework.
    """

    width: float
    train_images: int
    held_out_images: int
    slice_channels: int
    reductions: tuple[float, ...]
    methods: Mapping[str, tuple[str, ...]]
    unified_reductions: tuple[float, ...] = ()


EVERYWHERE = ("dual_gate", *ABLATIONS, *OPPONENTS)
ALL = (*EVERYWHERE, UNIFIED)
FRAMEWORKS = {"simclr": ALL, "moco": EVERYWHERE, "byol": EVERYWHERE, "barlow_twins": ALL}
SIZES = {
    "smoke": Size(
        width=0.125,
        train_images=12_800,  # as the other tables of this size: 198 steps an epoch, without what is held out
        held_out_images=128,
        slice_channels=2,
        reductions=(2.25,),
        methods={"simclr": (*SMOKE, UNIFIED), "moco": ("dual_gate",)},
    ),
    # Ninety minutes a seed on two cores: every opponent at two reductions, on one framework.
    "cpu": Size(
        width=0.125,
        train_images=19_456,  # 150 steps an epoch
        held_out_images=256,
        slice_channels=2,
        reductions=(1.50, 2.25),
        methods={"simclr": ALL},
    ),
    # A day on one GPU: dual gating and its opponents, at the largest reduction alone.
    "gpu": Size(
        width=1.0,
        train_images=0,
        held_out_images=1000,
        slice_channels=8,
        reductions=(2.25,),
        methods={"simclr": ("dual_gate", "shared_gate", *OPPONENTS), "moco": ("dual_gate",)},
    ),
    "paper": Size(
        width=1.0,
        train_images=0,
        held_out_images=1000,
        slice_channels=8,
        reductions=REDUCTIONS,
        methods=FRAMEWORKS,
        unified_reductions=(1.96, 2.25, 5.88),  # its stored results on CIFAR-10 are at 51 % and 17 % of the FLOPs
    ),
}


def table(profile: str, data: str) -> TableSpec:
    """Return the table at a profile's size, on CIFAR-10, CIFAR-100 or, with fewer rows, on the stand-in."""
    size = SIZES[profile]
    methods = size.methods
    if data == STAND_IN:
        methods = STAND_IN_METHODS
    elif (profile, data) == ("smoke", "cifar100"):
        methods = SMOKE_CIFAR100
    return TableSpec(
        name=NAME,
        title=f"Gated activations on {title_of(data)}: accuracy against the reduction of MACs",
        profile=profile,
        data=data,
        cells=tuple(
            _run(profile, framework, point, data)
            for framework, names in methods.items()
            for point in _points(size, names)
        ),
    )


def _points(size: Size, methods: tuple[str, ...]) -> list[SparsitySpec]:
    most = max(size.reductions)
    points = dense_points()
    for method in methods:
        reductions = (most,) if method in ABLATIONS else size.reductions
        if method == UNIFIED:
            reductions = size.unified_reductions or reductions
        points += [SparsitySpec(method=method, granularity="element", reduction=each) for each in reductions]
    if len(methods) > 1:
        structured = f"slice{size.slice_channels}"
        points.append(SparsitySpec(method="dual_gate", granularity=structured, reduction=most))
    return points


def _run(profile: str, framework: str, point: SparsitySpec, data: str) -> Run:
    size = SIZES[profile]
    run = PROFILES[profile].run(framework, point, data)
    images = run.data.train_images if data == STAND_IN else size.train_images  # the stand-in is used whole
    return dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, train_images=images, held_out_images=size.held_out_images),
        encoder=dataclasses.replace(run.encoder, width=size.width),
    )
