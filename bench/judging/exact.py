"""The exact gates: facts of a run that no seed, or no repetition, may change."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench.provenance import is_same_class
from bench.runs.record import Record

SAME_WITH_EVERY_SEED = (
    *("data_fingerprint", "train_images", "test_images", "samples_seen", "optimizer_steps", "update_steps"),
    *("dense_macs", "kept_weights", "kept_weights_target", "prunable_weights"),
    *("linear_protocol", "knn_protocol", "output_features"),
)
# The same with every seed for some methods only (static masks, schedules of counts): where all references agree.
SAME_IF_STORED_SO = (
    *("curves.", "kept_per_layer.", "kept_per_layer_target.", "macs_ratio", "training_macs_ratio"),
    *("density_prunable", "density_encoder", "layers_left_dense"),
)
# What a ranking happened to empty: no schedule decides it, and some seeds can share a curve of zeros that one breaks.
BY_CHANCE = frozenset({"curves.emptied_layers", "curves.ablated_filters"})
# Exact for every method but those that do as published code does: these compare with thresholds, and draw by chance.
COUNTS = frozenset({"kept_weights", "kept_weights_target"})
WITHOUT_COUNTS = "_as_published"
FEWEST_TO_AGREE = 3
# How facts end that say which images these were, and how many: a run's own, and those of each transfer.
OF_IMAGES = ("_fingerprint", "_images")
WEIGHTS = "weights_digest"
_LONGEST = 60  # characters of a value in a message


def violations(record: Record, references: Sequence[Record]) -> tuple[str, ...]:
    """Compare a fresh run with the references of its cell, exactly.

    Counts, update steps, data, those of every transfer too, and how runs are scored must equal those of every
    reference. So must counts per layer, densities, MACs and schedules where all references, three at least, agree:
    there no seed decides them. A repetition (same seed, same ``env_class``) must also show *every* fact and metric of
    its reference, bit for bit: masks, weights and losses by digest. Another seed must have ended at other weights: else
    it is the reference under another name.
    Methods that do as published code does meet their counts on average alone: of these, only a repetition has to show
    them.

    Returns:
        One line per broken fact, with the first reference that it differs from.
    """
    found = dict(_leaves("", _everything(record)))
    fixed = {*SAME_WITH_EVERY_SEED, *_agreed(references)}
    if record.run.sparsity.method.endswith(WITHOUT_COUNTS):
        fixed -= COUNTS
    lines: dict[str, str] = {}
    for reference in references:
        names = dict.fromkeys(SAME_WITH_EVERY_SEED, "nothing") | dict(_leaves("", _everything(reference)))
        compares_all = is_repetition(record, reference)
        if record.run.seed != reference.run.seed and record.facts[WEIGHTS] == reference.facts[WEIGHTS]:
            seeds = f"seed {record.run.seed} ended at the weights of seed {reference.run.seed}, to the bit"
            lines.setdefault(WEIGHTS, f"{WEIGHTS}: {seeds} ({reference.run_id}): no run of its own ({record.run_id})")
        for name, expected in names.items():
            actual, is_fixed = found.get(name, "nothing"), name in fixed or name.endswith(OF_IMAGES)
            if (compares_all or is_fixed) and (actual != expected or actual == "nothing"):
                line = f"{name}: expected {_short(expected)} ({reference.run_id}), found {_short(actual)}"
                lines.setdefault(name, f"{line} ({record.run_id})")
    return tuple(lines[name] for name in sorted(lines))


def repetitions(records: Iterable[Record], references: Sequence[Record]) -> int:
    """Return how many records repeat a reference and are therefore compared bit by bit."""
    return sum(any(is_repetition(record, reference) for reference in references) for record in records)


def is_repetition(record: Record, reference: Record) -> bool:
    """Return whether two records are of the same run, seed included, in the same class of environment."""
    is_same_place = is_same_class(record.provenance.get("env_class"), reference.provenance.get("env_class"))
    return record.run_id == reference.run_id and is_same_place


def _agreed(references: Sequence[Record]) -> set[str]:
    """Return the facts of ``SAME_IF_STORED_SO`` that all references share; counts per layer all together or not at all.

    (One layer of a network that is pruned as a whole may keep the same few weights in five seeds by chance.)
    """
    if len(references) < FEWEST_TO_AGREE:
        return set()
    every = [dict(_leaves("", _everything(reference))) for reference in references]
    names = [name for name in every[0] if name.startswith(SAME_IF_STORED_SO) and name not in BY_CHANCE]
    groups = {name: name.partition(".")[0] if name.startswith("kept_") else name for name in names}
    moved = {groups[name] for name in names if len({facts.get(name) for facts in every}) > 1}
    return {name for name in names if groups[name] not in moved}


def _everything(record: Record) -> dict[str, object]:
    return {**record.facts, "metrics": record.metrics}


def _leaves(prefix: str, value: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Give the leaves of nested mappings as JSON texts: ``kept_per_layer.layer1.0.conv1``, ``"144"``."""
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            yield from _leaves(f"{prefix}{key}.", entry)
        else:
            yield f"{prefix}{key}", json.dumps(entry, sort_keys=True)  # tuples and lists read alike


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
