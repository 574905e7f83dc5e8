"""Encoders with zeros of every kind: as they train, as they infer fastest here, and as the model sees them."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bench.config.run import Run
from bench.speedup import drawn, peers, sparse_prop
from bench.speedup.drawn import Bools, Drawer
from bench.speedup.gate_speed import how_skipped
from bench.speedup.level import level
from bench.speedup.subject import Subject, forms
from bench.speedup.timeline import States
from bench.training import encoders
from hardware.comparison import is_prunable
from hardware.network.layer import LayerSpec
from hardware.network.workload import Workload
from hardware.sparsity.gates import GateMask
from hardware.sparsity.state import State
from hardware.sparsity.weights import Mask
from methods import GATES, GateSetting, macs, masking
from methods.branches import Branches
from methods.compaction import compacted, folded
from methods.gating.convolution import GatedConv2d, block_convolutions, install
from methods.gating.layer import Gated, gated
from methods.gating.masked import MaskedConv2d
from methods.gating.measure import Budget, observe
from methods.gating.skipping import skipping

FOLDED = "no zeros, folded"
FUSED = "no zeros, one call"
FILTERS = "filter"
IN_PYTORCH = "filter, in PyTorch"
PEER = f"filter, {peers.PEER}"
DENSITIES = (0.5, 0.25, 0.1)
PATTERNS = ((2, 4), (1, 4), (1, 8))
RATES = (0.5, 0.26, 0.1)  # of open gates; 0.26 is about what a reduction of 2.25 needs
GROUPS = 4  # of the base path behind gates per pixel and slice
TRAINED = 16  # images of a training step, two views each
_SEEN = 8  # images whose gates the model is given
_WARM = 3  # passes in which running statistics settle


@torch.no_grad()
def dense(run: Run, images: Tensor) -> nn.Module:
    """Return a run's encoder with random weights and the running statistics of these images."""
    torch.manual_seed(run.seed)
    encoder, _ = encoders.build(run.encoder)
    encoder.train()
    for _ in range(_WARM):
        encoder(images)
    return encoder.eval()


def subjects(encoder: nn.Module, network: Workload, images: Tensor) -> Iterator[Subject]:
    """Yield the dense encoder with its normalisation folded, and every kind of zeros at three rates.

    Args:
        encoder: dense.
        network: the same, as the model knows it.
        images: normalised, ``[N, C, H, W]``: gates are set so that they are open at the rate on these.
    """
    yield from forms(_no_zeros(encoder), plain=FOLDED, whole=FUSED)
    for density in DENSITIES:
        why = "torch has no convolution that leaves single zeros out"
        yield _weights(encoder, network, images, "element", density, drawn.element, why)
    for density in DENSITIES if not sparse_prop.missing() else ():
        yield _propagated(encoder, network, images, density)
    for kept, of in PATTERNS:
        why = "torch multiplies 2:4 patterns faster on CUDA GPUs alone" if of == 4 else "torch knows 2:4 patterns alone"
        yield _weights(encoder, network, images, f"{kept}:{of}", kept / of, _n_of_m(kept, of), why)
    for density in DENSITIES:
        why = "torch has no block-sparse convolution"
        yield _weights(encoder, network, images, "block 16x16", density, drawn.block, why)
    pruned = [_weights(encoder, network, images, FILTERS, density, drawn.filters, "") for density in DENSITIES]
    yield from _by_form(pruned, plain=IN_PYTORCH, whole=FILTERS)
    by_peer = [_peer(encoder, network, images, density) for density in DENSITIES if not peers.missing()]
    yield from _by_form(by_peer, plain=PEER, whole=f"{PEER}, one call")
    for kind, install_gates in (("gates per pixel and slice", _with_slices), ("spatial gates", _with_masks)):
        found = [_gates(kind, install_gates(encoder), images, rate) for rate in RATES]
        yield from (deciding for deciding, _ in found)
        yield from (knowing for _, knowing in found)


def _by_form(found: Sequence[Subject], *, plain: str, whole: str) -> Iterator[Subject]:
    """Yield all in one call of the kernel, then all in PyTorch; once, where there is no kernel."""
    both = [forms(each, plain=plain, whole=whole) for each in found]
    yield from (each[-1] for each in both)
    yield from (each[0] for each in both if len(each) > 1)


def _no_zeros(encoder: nn.Module) -> Subject:
    """Return what compacted rows are fairly compared with: the part of their speed that is owed to no zeros."""
    return Subject(
        kind=FOLDED,
        rate=1.0,
        macs_reduction=1.0,
        states={},
        trains=None,
        infers=folded(encoder),
        how="dense: normalisation is folded into the convolutions, as it is in rows of filters",
        how_trained="not measured",
    )


@torch.no_grad()
def _weights(
    encoder: nn.Module, network: Workload, images: Tensor, kind: str, density: float, draw: Drawer, why: str
) -> Subject:
    """Return the encoder under random masks; without whole filters (no ``why``), compacted."""
    masked, kept = _masked(encoder, network, density, draw)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    whole = macs.inference_macs(masked, shape)
    small = None if why else compacted(masking.export(masked))
    needed = macs.effective_macs(masked, whole) if small is None else macs.inference_macs(small, shape)
    return Subject(
        kind=kind,
        rate=density,
        macs_reduction=sum(whole.values()) / sum(needed.values()),
        states=_states(kept),
        trains=masked,
        infers=small,
        how=f"nothing: {why}" if why else "compacted: dead filters are gone, normalisation is folded",
        how_trained="masked" if why else "--compact-training: dead filters are gone, for masks that stay",
        trains_compactly=not why,
    )


@torch.no_grad()
def _peer(encoder: nn.Module, network: Workload, images: Tensor, density: float) -> Subject:
    """Return what the peer makes of the same filters."""
    masked, kept = _masked(encoder, network, density, drawn.filters)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    small = peers.torch_pruned(masking.export(masked), images)
    whole, needed = macs.inference_macs(masked, shape), macs.inference_macs(small, shape)
    return Subject(
        kind=PEER,
        rate=density,
        macs_reduction=sum(whole.values()) / sum(needed.values()),
        states=_states(kept),
        trains=None,
        infers=small,
        how=f"{peers.PEER}: filters that are zero in all layers that a sum couples; normalisation is folded",
        how_trained="not measured",
    )


def _propagated(encoder: nn.Module, network: Workload, images: Tensor, density: float) -> Subject:
    """Return what the peer makes of the same single zeros; it propagates no gradient to them."""
    masked, kept = _masked(encoder, network, density, drawn.element)
    whole = macs.inference_macs(masked, (images.shape[1], images.shape[2], images.shape[3]))
    plain = masking.export(masked)
    infers, how = sparse_prop.propagated(plain, images, trains=False)
    trains, how_trained = sparse_prop.propagated(plain, images[:TRAINED], trains=True)
    return Subject(
        kind=f"element, {sparse_prop.PEER}",
        rate=density,
        macs_reduction=sum(whole.values()) / sum(macs.effective_macs(masked, whole).values()),
        states=_states(kept),
        trains=trains,
        infers=infers,
        how=how,
        how_trained=f"{how_trained}, for masks that stay",
    )


def _masked(
    encoder: nn.Module, network: Workload, density: float, draw: Drawer
) -> tuple[nn.Module, Mapping[str, Bools]]:
    generator = np.random.default_rng(drawn.SEED)
    kept = {layer.name: draw(generator, layer, density) for layer in network.layers if is_prunable(layer)}
    masked = copy.deepcopy(encoder)
    masking.install(masked)
    masking.write(masked, {path: torch.from_numpy(kept[path]).float() for path in masking.read(masked)})
    return masked, kept


def _states(kept: Mapping[str, Bools]) -> States:
    return {path: State(Mask(each)) for path, each in kept.items()}


@torch.no_grad()
def _gates(kind: str, encoder: nn.Module, images: Tensor, rate: float) -> tuple[Subject, Subject]:
    """Set the thresholds of a gated encoder, in place, and let it skip; return it also with gates that it knows."""
    _open(encoder, images, rate)
    plain = masking.export(encoder).eval()
    budget = Budget.of(plain, (images.shape[1], images.shape[2], images.shape[3]))
    online = observe(plain, plain, images).online
    share, states = online.share(budget), _gate_states(plain, images[:_SEEN])
    deciding = Subject(
        kind=kind,
        rate=rate,
        macs_reduction=budget.reduction(share, online.overhead_macs),
        states=states,
        trains=encoder,
        infers=skipping(plain),
        how=f"open pixels alone, {how_skipped()}",
        how_trained="masked: a step that decides by what it sees computes everything",
    )
    knowing = Subject(
        kind=f"{kind}, known",
        rate=rate,
        macs_reduction=dataclasses.replace(budget, predictors=0).reduction(share, 0),
        states=states,
        trains=encoder,
        infers=None,
        how="not measured: without the decision, inference has no gates",
        how_trained=f"gates known before the step: open pixels alone, forwards and backwards, {how_skipped()}",
        knows_gates=True,
    )
    return deciding, knowing


def _n_of_m(kept: int, of: int) -> Drawer:
    def draw(generator: np.random.Generator, layer: LayerSpec, _: float) -> Bools:
        """Keep so many of each group of neighbouring input channels."""
        outputs, inputs, height, width = layer.weight_shape
        ranks = generator.random((outputs, inputs // of, of, height, width)).argsort(axis=2).argsort(axis=2)
        found: Bools = (ranks < kept).reshape(layer.weight_shape)
        return found

    return draw


def _with_slices(encoder: nn.Module) -> nn.Module:
    """Return a copy with gates per pixel and slice, each the thickest that its layer takes."""
    made = copy.deepcopy(encoder)
    masking.install(made)
    for path in block_convolutions(made):
        conv = made.get_submodule(path)
        assert isinstance(conv, nn.Conv2d)
        install(made, groups=GROUPS, slice_channels=conv.out_channels // GROUPS, layers=(path,))
    return made.eval()


def _with_masks(encoder: nn.Module) -> nn.Module:
    """Return a copy with spatial gates."""
    made = copy.deepcopy(encoder)
    masking.install(made)
    pair = Branches(online=made, target=copy.deepcopy(made), tied=False)
    GATES["spatial_gate"](GateSetting(reduction=2.0, seed=0)).attach(pair, total_steps=1)
    return made.eval()


def _open(encoder: nn.Module, images: Tensor, rate: float) -> None:
    """Set every layer's threshold, one after the other, so that its gates are open at a rate on these images."""

    def set_threshold(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(layer, GatedConv2d):
            base = layer.base(inputs[0]).unflatten(1, (-1, layer.gate.slice_channels)).mean(2)
            statistics = layer.gate.normalisation
            assert statistics.running_mean is not None
            assert statistics.running_var is not None
            statistics.running_mean.copy_(base.mean((0, 2, 3)))
            statistics.running_var.copy_(base.var((0, 2, 3)))
            layer.gate.aim.copy_(level(statistics(base), rate))
        elif isinstance(layer, MaskedConv2d) and layer.unit is not None:
            unit = layer.unit
            logits = unit.window(inputs[0]) + unit.image(inputs[0].mean((2, 3)))[..., None, None]
            unit.aim.copy_(level(logits, rate))

    handles = [layer.register_forward_pre_hook(set_threshold) for layer in gated(encoder).values()]
    encoder(images)
    for handle in handles:
        handle.remove()


def _gate_states(encoder: nn.Module, images: Tensor) -> States:
    """Return the real gates of some images."""
    layers = gated(encoder)
    for layer in layers.values():
        layer.notes = []
    encoder(images)
    states = {path: State(gate=_gate(layer)) for path, layer in layers.items()}
    for layer in layers.values():
        layer.notes = None
    return states


def _gate(layer: Gated) -> GateMask:
    assert layer.notes is not None
    (note,) = layer.notes
    channels = layer.conv.out_channels // note.gates.shape[1]
    is_open = note.gates.repeat_interleave(channels, 1).flatten(2)
    return GateMask(is_open.cpu().numpy(), 1 / GROUPS if isinstance(layer, GatedConv2d) else 0.0)
