"""Whatever is damaged under a folder of results is found, file by file, or is the same as before."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.__main__ import main
from bench.config.run import Run
from bench.data.cache import Cache
from bench.data.image_folder import ImageFolder
from bench.data.tree import Tree
from bench.runs.context import Context
from bench.runs.folder import RunFolder
from bench.runs.job import perform
from bench.runs.record import Record
from bench.runs.soundness import faults
from bench.ticks import silent
from bench.training import checkpoint
from bench.training.encoder_file import packed, unpacked
from methods import masking
from tests.images_on_disk import write_folder
from tests.tiny import gated_run, tiny_run

RUN = tiny_run("moco", "synchronized", density=0.2, gap=0.3)
GATED = gated_run("simclr", "dual_gate", 1.5)
Verify = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return what a run left, with a checkpoint beside it, as if it had been killed between its last two moments."""
    out = tmp_path_factory.mktemp("out")
    for run in (RUN, GATED):
        perform(run, Context(runs_dir=out / "runs", data_dir=out / "data", cache_dir=out / "cache"), silent)
    folder = RunFolder.of(out / "runs", RUN)
    checkpoint.save(folder.checkpoint, RUN, "feed", "cpu", {"step": 3, "weights": torch.arange(6.0)})
    return folder


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    def act(folder: Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bench", "verify", str(folder)])
        return main(), capsys.readouterr().out

    return act


@pytest.fixture
def kept(home: RunFolder) -> Iterator[RunFolder]:
    """Return the run's folder, whose files are put back afterwards."""
    contents = {path: path.read_bytes() for path in home.path.iterdir()}
    yield home
    for path in set(home.path.iterdir()) - contents.keys():
        path.unlink()
    for path, content in contents.items():
        path.write_bytes(content)


def _edit(
    home: RunFolder, *, facts: dict[str, object] | None = None, provenance: dict[str, object] | None = None
) -> None:
    """Write a record anew, with a seal that fits: whoever forges it, or a bug of ours, can do that."""
    record = Record.load(home.record)
    dataclasses.replace(
        record, facts={**record.facts, **(facts or {})}, provenance={**record.provenance, **(provenance or {})}
    ).save(home.record)


def _found(home: RunFolder) -> dict[str, str]:
    return {path.name: fault for path, fault in faults(home.path)}


def test_what_runs_leave_is_sound(home: RunFolder, verify: Verify) -> None:
    """Weights and gates; the decoded images lie elsewhere under the same folder."""
    code, told = verify(home.path.parents[1])
    assert code == 0
    assert told.endswith("runs, references and caches checked, 0 faults\n")
    assert {path.name for path in home.files()} == {"record.json", "masks.npz", "encoder.safetensors", "checkpoint.pt"}


@settings(max_examples=40)
@given(st.data())
def test_a_damaged_byte_is_found_or_changes_nothing(home: RunFolder, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(home.files()))
    content = path.read_bytes()
    place, change = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255))
    damaged = bytearray(content)
    damaged[place] ^= change
    try:
        path.write_bytes(damaged)
        if path.name not in _found(home):  # white space between entries of JSON is nobody's content
            assert path == home.record
            assert json.loads(bytes(damaged)) == json.loads(content)
    finally:
        path.write_bytes(content)


@settings(max_examples=10)
@given(st.data())
def test_a_file_that_was_cut_is_found(home: RunFolder, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(home.files()))
    content = path.read_bytes()
    try:
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 2))])
        assert path.name in _found(home)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("kept_weights", 1),
        ("density_prunable", 0.5),
        ("density_encoder", 0.5),
        ("macs_ratio", 0.5),
        ("dense_macs", 1),
        ("prunable_weights", 1),
        ("mask_digest", "feed"),
        ("mask_digest_target", "feed"),
        ("branch_overlap", 0.99),
        ("branch_containment", 0.99),
        ("emptiest_layer_weights", 0),
        ("emptied_layers", ["layer1.0.conv1"]),
        ("samples_seen", 1),
        ("optimizer_steps", 7),
    ],
)
def test_a_number_that_the_masks_or_the_settings_contradict_is_found(kept: RunFolder, fact: str, value: object) -> None:
    _edit(kept, facts={fact: value})
    found = _found(kept)
    assert any(fact in fault for fault in found.values()), found


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("dense_macs", 5),
        ("density_prunable", 0.5),
        ("gate_rate", 0.5),
        ("gate_rate_target", 0.5),
        ("gate_rate_per_layer", {"elsewhere": 0.5}),
        ("reduction", 3.0),
        ("macs_ratio", 0.5),
        ("reduction_asked", 1.0),
        ("reduction_is_met", "perhaps"),
        ("linear_top1_percent_target", 99.0),
        ("knn_correct_target", 0),
    ],
)
def test_a_number_of_gates_that_others_contradict_is_found(home: RunFolder, fact: str, value: object) -> None:
    gated = RunFolder.of(home.path.parent, GATED)
    content = gated.record.read_bytes()
    try:
        _edit(gated, facts={fact: value})
        assert any(fact in fault for fault in _found(gated).values())
    finally:
        gated.record.write_bytes(content)


def test_a_fact_that_masks_decide_must_be_there(kept: RunFolder) -> None:
    record = Record.load(kept.record)
    for name in ("kept_per_layer", "branch_overlap", "density_encoder"):
        facts_ = {key: value for key, value in record.facts.items() if key != name}
        dataclasses.replace(record, facts=facts_).save(kept.record)
        assert any(f"{name} of the record is missing" in fault for _, fault in faults(kept.path))


@pytest.mark.parametrize("run", [RUN, GATED], ids=["weights", "gates"])
def test_facts_that_others_are_checked_with_must_be_there(home: RunFolder, run: Run) -> None:
    folder = RunFolder.of(home.path.parent, run)
    content, record = folder.record.read_bytes(), Record.load(folder.record)
    needed = ["optimizer_steps", "samples_seen", "train_images"]
    needed += ["reduction", "macs_ratio", "gate_rate_per_layer_target"] if run is GATED else []
    try:
        for name in needed:
            rest = {key: value for key, value in record.facts.items() if key != name}
            dataclasses.replace(record, facts=rest).save(folder.record)
            assert f"lacks {name}, which" in _found(folder)["record.json"]
    finally:
        folder.record.write_bytes(content)


def test_weights_where_the_mask_has_none_are_found_though_all_sums_fit(kept: RunFolder) -> None:
    """Found by a review: a dense encoder passed beside the masks of a sparse one."""
    encoder = unpacked(kept.encoder)
    network = encoder.network
    for weight in network.parameters():
        weight.data.add_(0.01)
    payload = packed(Record.load(kept.record).run, network, pixels=encoder.pixels)
    kept.encoder.write_bytes(payload)
    _edit(
        kept,
        facts={"weights_digest": masking.weights_digest(network)},
        provenance={"encoder_sha256": hashlib.sha256(payload).hexdigest()},
    )
    assert "has weights where its mask has none" in _found(kept)["encoder.safetensors"]


def test_masks_are_counted_at_the_side_that_crops_have(tmp_path: Path) -> None:
    """Found by a review: runs on crops of larger images, as those of ImageNet-100, were all called damaged."""
    run = dataclasses.replace(RUN, data=dataclasses.replace(RUN.data, crop_size=24))
    perform(run, Context(runs_dir=tmp_path / "runs", data_dir=tmp_path, cache_dir=tmp_path / "cache"), silent)
    assert [*faults(RunFolder.of(tmp_path / "runs", run).path)] == []


def test_a_record_without_its_seal_is_found(kept: RunFolder) -> None:
    body = json.loads(kept.record.read_text())
    del body["seal"]
    kept.record.write_text(json.dumps(body))
    assert "it has no seal" in _found(kept)["record.json"]


def test_masks_of_another_run_are_found_though_their_sum_fits(kept: RunFolder) -> None:
    with np.load(kept.masks) as file:
        arrays = {name: file[name] for name in file.files}
    name = next(name for name in arrays if name.startswith("final/online/") and arrays[name].size > 8)
    arrays[name] = ~arrays[name]
    np.savez_compressed(kept.masks, **arrays)
    assert "SHA-256" in _found(kept)["masks.npz"]
    record = Record.load(kept.record)
    without = {key: value for key, value in record.provenance.items() if key != "masks_sha256"}
    dataclasses.replace(record, provenance=without).save(kept.record)  # as records of earlier versions are
    assert "of the record is" in _found(kept)["masks.npz"]


def test_missing_and_misplaced_files_are_found(kept: RunFolder) -> None:
    kept.masks.unlink()
    kept.encoder.unlink()
    other = dataclasses.replace(RUN, seed=1)
    checkpoint.save(kept.checkpoint, other, "feed", "cpu", {"step": 3})
    dataclasses.replace(Record.load(kept.record), run=other).save(kept.record)
    found = [(path.name, fault) for path, fault in faults(kept.path)]
    for name, part in (
        ("masks.npz", "is missing"),
        ("encoder.safetensors", "there is no such file"),
        ("checkpoint.pt", "belongs to a run whose name ends with"),
        ("record.json", "not of the run whose folder it lies in"),
    ):
        assert any(name == where and part in fault for where, fault in found), (name, found)


def test_what_was_set_aside_is_checked_too(kept: RunFolder) -> None:
    kept.set_aside("code-feed")
    assert faults_of(kept) == []
    aside = kept.path / "masks.code-feed.npz"
    aside.write_bytes(aside.read_bytes()[:-1])
    assert [path.name for path, _ in faults(kept.path)] == [aside.name]


def faults_of(home: RunFolder) -> list[str]:
    return [fault for _, fault in faults(home.path)]


def test_the_command_names_each_fault_and_fails(kept: RunFolder, verify: Verify) -> None:
    kept.masks.unlink()
    kept.checkpoint.write_bytes(b"")
    code, told = verify(kept.path.parents[1])
    assert code == 1
    assert f"{kept.masks}: is missing, and its record is there\n" in told
    assert f"{kept.checkpoint}: a damaged checkpoint: it does not begin as one" in told
    assert told.endswith(" checked, 2 faults\n")


def test_a_damaged_cache_and_a_damaged_reference_are_found(tmp_path: Path, kept: RunFolder, verify: Verify) -> None:
    write_folder(tmp_path / "mine")
    Cache(tmp_path / "cache").decoded("mine", ImageFolder(Tree(tmp_path / "mine")))
    (place,) = (path.parent for path in (tmp_path / "cache").rglob("header.json"))
    reference = tmp_path / "references" / "digits" / f"{RUN.run_id}.json"
    reference.parent.mkdir(parents=True)
    reference.write_bytes(kept.record.read_bytes())
    table = tmp_path / "tables" / "cifar10-smoke-cifar10.json"  # was taken for a reference, of seed "moke"
    table.parent.mkdir()
    table.write_text("{}")
    assert verify(tmp_path) == (0, "2 runs, references and caches checked, 0 faults\n")
    labels = place / "train-labels.npy"
    content = bytearray(labels.read_bytes())
    content[-8] ^= 1
    labels.write_bytes(content)
    reference.write_text(reference.read_text().replace('"seed": 0', '"seed": 1'))
    code, told = verify(tmp_path)
    assert code == 1
    assert f"{labels}: is not what was written to the cache" in told
    assert f"{reference}: the content does not match its seal" in told


def test_a_folder_without_anything_to_check_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        monkeypatch.setattr(sys, "argv", ["bench", "verify", str(folder)])
        assert main() == 2
