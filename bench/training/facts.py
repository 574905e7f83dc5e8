"""What is exact about a trained run: counts, MACs, digests, curves."""

import hashlib

import numpy as np
from torch import nn

from bench.config.run import Run
from bench.data.dataset import Dataset
from bench.frameworks import Framework
from bench.training.compaction import start_of
from bench.training.exported import Exported
from bench.training.state import Training
from methods import macs, masking
from methods.compaction.training import CompactForward
from methods.granularity import element, parse
from methods.masking import Masks
from methods.method import GateFacts
from methods.overlap import overlap

EMPTIED = 0.1  # of the network's density: a layer that keeps less was emptied by the allocation (ours)


def shape(dataset: Dataset) -> tuple[int, int, int]:
    """Return (channels, height, width) of an image."""
    channels, height, width = dataset.train.seen.shape[1:]
    return channels, height, width


def sides(run: Run) -> tuple[int, ...]:
    """Return the sides in pixels that views of a run are reduced to at some steps."""
    return tuple(side for side in (run.views.small_pixels, run.views.control_pixels) if side)


def facts(run: Run, dataset: Dataset, training: Training, made: Exported) -> dict[str, object]:
    """Gather what is exact about the run. Counts are of weights, MACs of one image."""
    framework, facts, spec = training.framework, training.method.facts(), run.optimizer
    online, target = masking.counts(framework.online), masking.counts(framework.target)
    losses = np.asarray(training.losses, dtype=np.float64)
    return {
        "optimizer_steps": training.step,
        "update_steps": list(facts.update_steps),
        "samples_seen": training.step * spec.batch_images * spec.accumulate_batches,
        "train_images": len(dataset.train.images),
        "data_fingerprint": dataset.fingerprint,
        "prunable_weights": sum(weight.numel() for weight in masking.latent(framework.online).values()),
        "kept_per_layer": online,
        "kept_per_layer_target": target,
        "kept_weights": sum(online.values()),
        "kept_weights_target": sum(target.values()),
        **emptied(framework.online),
        **_overlap(run, training),
        "density_prunable": macs.density_prunable(framework.online),
        "density_encoder": macs.density_encoder(framework.online),
        "dense_macs": sum(macs.inference_macs(framework.online, shape(dataset)).values()),
        "macs_ratio": macs.macs_ratio(framework.online, shape(dataset)),
        "training_macs_ratio": training.training_macs.ratio if training.step else 0.0,
        "mask_digest": masking.digest(framework.online),
        "mask_digest_target": masking.digest(framework.target),
        "weights_digest": masking.weights_digest(made.encoder),
        "loss_digest": hashlib.sha256(losses.tobytes()).hexdigest(),
        "loss_curve": [round(float(loss), 6) for loss in losses[:: max(1, training.step // 50)]],
        "curves": {name: [round(value, 6) for value in values] for name, values in facts.curves.items()},
        **_left_dense(run, framework),
        **_compacted(run, dataset, training),
        **_of_gates(framework, made.gates),
    }


def _of_gates(framework: Framework, gates: GateFacts | None) -> dict[str, object]:
    """Return what gates change about a run's facts: MACs are no longer those of the masks."""
    if gates is None:
        return {}
    ratio = framework.passes.training_ratio(gates.online_share, gates.target_share)
    return {**gates.facts, "training_macs_ratio": ratio}


def _compacted(run: Run, dataset: Dataset, training: Training) -> dict[str, object]:
    """Say from which step on a run went on in a smaller network, and what of the dense MACs that network has."""
    start = start_of(run, training.method, training.step)
    if start is None:
        return {}
    dense = macs.inference_macs(training.framework.online, shape(dataset))
    left = CompactForward(training.framework.online).macs(dense)
    return {"compact_from_step": start, "compact_macs_ratio": left / sum(dense.values())}


def emptied(encoder: nn.Module) -> dict[str, object]:
    """Say what the emptiest layer keeps, and which layers keep less than ``EMPTIED`` of an equal share.

    A layer that keeps a single weight passes no information on, though it is not empty: counting zeros would miss it.
    """
    kept = masking.counts(encoder)
    sizes = {path: weight.numel() for path, weight in masking.latent(encoder).items()}
    density = sum(kept.values()) / sum(sizes.values())
    return {
        "emptiest_layer_weights": min(kept.values()),
        "emptied_layers": [path for path, ones in kept.items() if ones < EMPTIED * density * sizes[path]],
    }


def _overlap(run: Run, training: Training) -> dict[str, object]:
    framework = training.framework
    if run.sparsity.reduction or not training.method.splits_branches:
        return {}
    return overlaps(masking.read(framework.online), masking.read(framework.target))


def overlaps(online: Masks, target: Masks) -> dict[str, object]:
    """Say how alike the final masks of the branches are, where a method keeps two; 0: as alike as chance makes them."""
    found = overlap(online, target)
    return {"branch_overlap": found.chance_corrected, "branch_containment": found.containment}


def _left_dense(run: Run, framework: Framework) -> dict[str, object]:
    """Name the prunable layers that a pattern does not fit; of single weights there is nothing to say."""
    if run.sparsity.reduction:
        return {}
    shapes = parse(run.sparsity.granularity)
    if shapes == element.Elementwise():
        return {}
    latents = masking.latent(framework.online)
    return {"layers_left_dense": [path for path, weight in latents.items() if not shapes.fits(weight.shape)]}
