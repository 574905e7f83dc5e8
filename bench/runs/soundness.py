"""What a run left, checked against its sums and against itself: nothing is repaired, every fault is named."""

import hashlib
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from bench.data.known import known_content
from bench.errors import UserError
from bench.runs.record import Record, unsealed
from bench.training import checkpoint, encoders, parts
from bench.training.encoder_file import unpacked
from bench.training.facts import emptied, overlaps
from methods import macs, masking
from methods.gating.control import TOLERANCE
from methods.gating.measure import Activity, Budget
from methods.masking import Masks
from reading import read_json

Fault = tuple[Path, str]
_BRANCHES = {"online": "", "target": "_target"}  # branch -> how its facts end
# Facts that others are checked with: of every run, and of gates.
_NEEDED = ("optimizer_steps", "samples_seen", "train_images")
_OF_GATES = (
    *("reduction", "macs_ratio", "reduction_asked", "reduction_is_met"),
    *("gate_rate_per_layer", "gate_rate_per_layer_target"),
)


def faults(folder: Path) -> Iterator[Fault]:
    """Give what is wrong in the folder of a run: files of it, and what contradicts each other. None of it is fatal.

    A run that is made again keeps what it left before under other names (``record.WHY.json``): these are checked too.
    """
    for path in sorted(folder.glob("checkpoint*.pt")):
        yield from _of_checkpoint(path)
    for path in sorted(folder.glob("record*.json")):
        yield from _of_record(path)


def sealed(path: Path) -> Iterator[str]:
    """Give what is wrong with a record's file as a file."""
    try:
        body = read_json(path)
    except ValueError as error:
        yield f"not a readable record ({error})"
        return
    if not isinstance(body, dict):
        yield "not a record"
    elif broken := unsealed(body):
        yield broken


def _of_checkpoint(path: Path) -> Iterator[Fault]:
    try:
        text = checkpoint.owner(path)
    except checkpoint.CheckpointError as error:
        yield path, _without(path, error)
        return
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    if not path.parent.name.endswith(f"-{digest}"):
        yield path, f"belongs to a run whose name ends with {digest}, not to that of its folder"


def _of_record(path: Path) -> Iterator[Fault]:
    broken = [*sealed(path)]
    yield from ((path, fault) for fault in broken)
    if broken:
        return
    try:
        record = Record.load(path)
    except UserError as error:
        yield path, _without(path, error)
        return
    if record.run_id != path.parent.name:
        yield path, f"is the record of {record.run_id}, not of the run whose folder it lies in"
    needed = (*_NEEDED, *(_OF_GATES if record.run.sparsity.reduction else ()))
    if missing := [name for name in needed if name not in record.facts]:
        yield path, f"lacks {', '.join(missing)}, which others are checked with"
        return
    yield from ((path, fault) for fault in (*_counts(record.facts), *_settings(record), *_gates(record)))
    why = path.name.removeprefix("record").removesuffix(".json")
    masks: Masks = {}  # of the online encoder, unless something is wrong with them
    yield from _of_masks(path.with_name(f"masks{why}.npz"), record, masks)
    yield from _of_encoder(path.with_name(f"encoder{why}.safetensors"), record, masks)


def _counts(facts: Mapping[str, object]) -> Iterator[str]:
    """Give counts of a record that contradict one another."""
    for end in _BRANCHES.values():
        kept, total = facts.get(f"kept_per_layer{end}"), facts.get(f"kept_weights{end}")
        if isinstance(kept, Mapping) and sum(kept.values()) != total:
            yield f"kept_weights{end} is {total}, but its layers keep {sum(kept.values())}"


def _settings(record: Record) -> Iterator[str]:
    """Give counts of a record that its settings contradict."""
    facts, spec = record.facts, record.run.optimizer
    seen = int(str(facts["optimizer_steps"])) * spec.batch_images * spec.accumulate_batches
    if facts["samples_seen"] != seen:
        yield f"samples_seen is {facts['samples_seen']}, but {facts['optimizer_steps']} steps see {seen}"
    steps = record.run.total_steps(int(str(facts["train_images"])))
    if facts["optimizer_steps"] != steps:
        yield f"optimizer_steps is {facts['optimizer_steps']}, but its settings ask for {steps}"


def _gates(record: Record) -> Iterator[str]:
    """Give measurements of gates that contradict one another; of a run without gates there are none."""
    facts, asked = record.facts, record.run.sparsity.reduction
    if not asked:
        return
    reduction, ratio = float(str(facts["reduction"])), float(str(facts["macs_ratio"]))
    if not math.isclose(ratio * reduction, 1.0, rel_tol=1e-12):
        yield f"macs_ratio is {ratio}, but the reduction {reduction}"
    if facts["reduction_asked"] != asked:
        yield f"reduction_asked is {facts['reduction_asked']}, but its settings ask for {asked}"
    if facts["reduction_is_met"] != (abs(reduction / asked - 1) <= TOLERANCE):
        yield f"reduction_is_met is {facts['reduction_is_met']}, but it is {reduction} of {asked}"


def _of_masks(path: Path, record: Record, online: Masks) -> Iterator[Fault]:
    """Check a file of masks against its sum, and the record's counts, digests and budgets against the masks.

    Args:
        path: of the file.
        record: of the run.
        online: gets the final masks of the online encoder, if the file has them.
    """
    if not path.exists():
        yield path, "is missing, and its record is there"
        return
    sum_ = record.provenance.get("masks_sha256")
    if sum_ is not None and hashlib.sha256(path.read_bytes()).hexdigest() != sum_:
        yield path, "its SHA-256 is not the record's"
        return
    encoder, masks = _masked(record), dict[str, Masks]()
    for branch, end in reversed(_BRANCHES.items()):  # the online masks last: the budgets are theirs
        try:
            masking.write(encoder, masks.setdefault(branch, _unpacked(path, branch, encoder)))
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            yield path, f"holds no masks of the {branch} branch ({error})"
            return
        of_branch = {f"kept_per_layer{end}": masking.counts(encoder), f"mask_digest{end}": masking.digest(encoder)}
        yield from ((path, fault) for fault in _differences(of_branch, record.facts))
    if not record.run.sparsity.reduction:  # gates mask no weight, and wrap the layers
        online |= masks["online"]
    found = _budgets(encoder, record) | emptied(encoder)
    if not record.run.sparsity.reduction and parts.method_for(record.run).splits_branches:
        found |= overlaps(masks["online"], masks["target"])
    yield from ((path, fault) for fault in _differences(found, record.facts))


def _masked(record: Record) -> torch.nn.Module:
    """Return an encoder with masks on the layers that had some; gates are installed as in training."""
    with torch.random.fork_rng(devices=()):
        if not record.run.sparsity.reduction:
            encoder, _ = encoders.build(record.run.encoder)
            masking.install(encoder)
            return encoder
        framework = parts.framework_for(record.run)
        parts.method_for(record.run).attach(framework.branches, int(str(record.facts["optimizer_steps"])))
        return framework.online


def _unpacked(path: Path, branch: str, encoder: torch.nn.Module) -> Masks:
    """Return a branch's final masks; every array of the file is read, so that its own sum is checked."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return {
        layer: torch.from_numpy(np.unpackbits(arrays[f"final/{branch}/{layer}"], count=mask.numel()))
        .reshape(mask.shape)
        .float()
        for layer, mask in masking.read(encoder).items()
    }


def _budgets(encoder: torch.nn.Module, record: Record) -> dict[str, object]:
    """Return the budgets that masks decide, and, of gates, how often they are on by the rates of the layers."""
    weights = sum(weight.numel() for weight in masking.latent(encoder).values())
    found: dict[str, object] = {
        "prunable_weights": weights,
        "density_prunable": macs.density_prunable(encoder),
        "density_encoder": macs.density_encoder(encoder),
    }
    data = record.run.data
    known = known_content(data.name)
    pixels = data.crop_size or data.image_size or (known.pixels if known else 0)
    shape = (3, pixels, pixels)
    if not pixels:
        return found
    if not record.run.sparsity.reduction:
        return found | {
            "dense_macs": sum(macs.inference_macs(encoder, shape).values()),
            "macs_ratio": macs.macs_ratio(encoder, shape),
        }
    budget = Budget.of(encoder, shape)
    for end in _BRANCHES.values():
        rates = record.facts[f"gate_rate_per_layer{end}"]
        assert isinstance(rates, Mapping)  # as the record was read
        if rates.keys() != budget.layers.keys():
            found[f"gate_rate_per_layer{end}"] = f"a rate for each of {', '.join(budget.layers)}"
        else:
            found[f"gate_rate{end}"] = Activity(rates=rates, shares={}, overhead_macs=0).rate(budget)
    return found | {"dense_macs": budget.dense}


def _differences(found: Mapping[str, object], facts: Mapping[str, object]) -> Iterator[str]:
    for name, value in found.items():
        if facts.get(name) != value:
            yield f"{name} of the record is {_short(facts.get(name, 'missing'))}, that of the masks {_short(value)}"


def _of_encoder(path: Path, record: Record, masks: Masks) -> Iterator[Fault]:
    """Check a kept encoder against its sum, and its weights against the digest in the record and the final masks."""
    sum_ = record.provenance.get("encoder_sha256")
    if sum_ is None:
        return
    try:
        encoder = unpacked(path, sha256=str(sum_))
    except UserError as error:
        yield path, _without(path, error)
        return
    if encoder.run_id != record.run_id:
        yield path, f"is the encoder of {encoder.run_id}"
    if masking.weights_digest(encoder.network) != record.facts.get("weights_digest"):
        yield path, "its weights do not have the digest in the record"
    weights = dict(encoder.network.named_parameters())
    for layer, mask in masks.items():
        weight = weights.get(f"{layer}.weight")
        if weight is None or weight.shape != mask.shape:
            yield path, f"has no layer {layer} of its mask's shape"
        elif weight[mask == 0].any():
            yield path, f"{layer} has weights where its mask has none"


def _without(path: Path, error: Exception) -> str:
    return str(error).removeprefix(f"{path}: ")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
