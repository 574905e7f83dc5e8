"""Sparse training methods, each entry one complete configuration: ``METHODS`` prune weights, ``GATES`` activations."""

from collections.abc import Callable
from functools import partial

from methods.allocation import erk, uniform
from methods.branches import Branches
from methods.gating.boosting import FeatureBoosting
from methods.gating.channel import ChannelGate
from methods.gating.control import GatedMethod
from methods.gating.dual import DualGate, Target
from methods.gating.group import GroupGate
from methods.gating.setting import GateSetting
from methods.gating.spatial import SpatialGate
from methods.gating.unified import UnifiedGate
from methods.method import Facts, SparseMethod
from methods.options import build
from methods.pruning.asp import Asp
from methods.pruning.dense import Dense
from methods.pruning.gradual import Gradual
from methods.pruning.granet import GraNet
from methods.pruning.group_lasso import GroupLasso
from methods.pruning.itop import Itop
from methods.pruning.momentum import MomentumPruning
from methods.pruning.narrow import Narrow
from methods.pruning.one_shot import OneShot
from methods.pruning.rigl import Rigl
from methods.pruning.sdclr import SDCLR
from methods.pruning.small_images import SmallImages
from methods.pruning.snfs import Snfs
from methods.pruning.sparse_then_dense import SparseThenDense
from methods.pruning.sr_ste import SrSte
from methods.pruning.srigl import SRigl
from methods.pruning.static import StaticMask
from methods.pruning.synchronized import Synchronized
from methods.pruning.synchronized_as_published import SynchronizedAsPublished
from methods.pruning.ticket import Ticket
from methods.setting import Setting

METHODS: dict[str, Callable[[Setting], SparseMethod]] = {
    "dense": Dense,
    "dense_narrow": Narrow,
    "dense_small_images": SmallImages,
    "static_erk": partial(StaticMask, allocation=erk),
    "static_uniform": partial(StaticMask, allocation=uniform),
    "set": partial(Rigl, growth="random", replaces_step=False),
    "set_itop": partial(Itop, growth="random", period_fraction=1500 / 97_750),
    "rigl": partial(Rigl, growth="gradient", replaces_step=True),
    "rigl_itop": partial(Itop, growth="gradient", period_fraction=4000 / 97_750),
    "srigl": SRigl,
    "snfs": Snfs,
    "sparse_then_dense": SparseThenDense,
    "gradual": partial(Gradual, allocation="global", start="setting"),
    "gradual_early": partial(Gradual, allocation="global", start="first step"),
    "gradual_erk": partial(Gradual, allocation="erk", start="setting"),
    "gradual_lamp": partial(Gradual, allocation="lamp", start="setting"),
    "granet": partial(GraNet, allocation="global"),
    "granet_erk": partial(GraNet, allocation="erk"),
    "granet_lamp": partial(GraNet, allocation="lamp"),
    "synchronized": partial(Synchronized, allocation="global", candidates="all"),
    "synchronized_active": partial(Synchronized, allocation="global"),
    "synchronized_erk": partial(Synchronized, allocation="erk"),
    "synchronized_lamp": partial(Synchronized, allocation="lamp"),
    "synchronized_as_published": partial(SynchronizedAsPublished, allocation="global"),
    "synchronized_lamp_as_published": partial(SynchronizedAsPublished, allocation="lamp", momentum=0.0),
    "one_shot": partial(OneShot, allocation="global"),
    "ticket": Ticket,
    "sdclr": SDCLR,
    "momentum_pruning": MomentumPruning,
    "sr_ste": partial(SrSte, transposable=False),
    "sr_ste_transposable": partial(SrSte, transposable=True),
    "asp": partial(Asp, transposable=False),
    "asp_transposable": partial(Asp, transposable=True),
    "group_lasso": GroupLasso,
}
"""Allocation is part of the key, not a field of a run: rows of a table are told apart by their cell's name, and which
allocation is a paper's is a property of the method. Without a suffix it is what was published: ``global``, and all
latents compete in ``synchronized``, so that what it grows does not survive; in ``synchronized_active`` only active
weights do, and in those with another allocation."""

GATES: dict[str, Callable[[GateSetting], GatedMethod]] = {
    "dual_gate": partial(DualGate, target=Target.OWN),
    "dual_gate_averaged": partial(DualGate, target=Target.AVERAGED),
    "shared_gate": partial(DualGate, target=Target.SHARED),
    "single_gate": partial(DualGate, target=Target.FOLLOWING),
    "ungated_target": partial(DualGate, target=Target.UNGATED),
    "channel_gate": ChannelGate,
    "feature_boosting": FeatureBoosting,
    "group_gate": GroupGate,
    "spatial_gate": SpatialGate,
    "unified_gate": UnifiedGate,
}

__all__ = ["GATES", "METHODS", "Branches", "Facts", "GateSetting", "Setting", "SparseMethod", "build"]
