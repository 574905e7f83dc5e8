import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.judging.references import REFERENCES
from bench.runs.record import KINDS, Record, RecordError, seal
from tests.made_up_tables import made_up_record, made_up_run

RUN = made_up_run("gradual", density=0.125, seed=100)
RECORD = made_up_record(
    dataclasses.replace(RUN, sparsity=dataclasses.replace(RUN.sparsity, options=(("depth", 3), ("form", "round")))),
    51.25,
)
BODY = json.loads(RECORD.text)
# A record of each table; cifar10's are older than the knobs of gates; all hold the constants of every framework.
OLD = [min(folder.glob("*/*/*.json")) for folder in sorted(REFERENCES.iterdir())]


@functools.cache
def _body(path: Path) -> Any:
    return json.loads(path.read_text())


def _written(folder: Path, body: Any) -> Path:
    path = folder / "record.json"
    with contextlib.suppress(ValueError, TypeError, AttributeError):  # of an infinity, and of what is no record
        body = body | {"seal": seal(body)}
    path.write_text(json.dumps(body))
    return path


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    RECORD.save(tmp_path / "record.json")
    assert Record.load(tmp_path / "record.json") == RECORD


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.parents[2].name)
def test_an_old_record_is_read_and_its_young_knobs_are_off(path: Path) -> None:
    record, old = Record.load(path), _body(path)
    assert record.run.run_id == path.stem == old["run_id"]
    assert (record.metrics, record.facts, record.provenance) == (old["metrics"], old["facts"], old["provenance"])
    for part, entries in old["run"].items():
        value = getattr(record.run, part)
        if isinstance(entries, dict):
            plain = json.loads(json.dumps(dataclasses.asdict(value)))  # tuples and lists read alike
            assert {key: entry for key, entry in entries.items() if entry is not None} == {
                key: plain[key] for key, entry in entries.items() if entry is not None
            }
        else:
            assert value == entries


def _drop(body: Any) -> None:
    del body["run"]["seed"]


def _set(*keys: str, to: object) -> Callable[[Any], None]:
    def change(body: Any) -> None:
        for key in keys[:-1]:
            body = body[key]
        body[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, "run.seed is missing"),
        (_set("run", to="text"), "run is 'text'; it must be a table"),
        (_set("run", "seed", to="3"), "run.seed is '3'; it must be an integer"),
        (_set("run", "seed", to=True), "run.seed is True; it must be an integer"),
        (_set("run", "seed", to=101), "its settings are those of .*-s101-.*, but it says .*-s100-"),
        (_set("run", "sparsity", "density", to=2.0), r"sparsity.density is 2.0; it must lie in \(0, 1\]"),
        (_set("run", "sparsity", "colour", to=1), "run.sparsity has unknown entries colour"),
        (_set("run", "framework", "name", to="simclrr"), "framework 'simclrr' is unknown. Did you mean 'simclr'"),
        (_set("run", "framework", "queue_size", to=3), "run.framework has unknown entries queue_size"),
        (_set("run", "optimizer", "name", to="adam"), "its settings are those of"),
        (_set("metrics", "knn_top1_percent", to="40"), r"metrics\[knn_top1_percent\] is '40'; it must be a number"),
        (_set("metrics", "knn_top1_percent", to=99.99), "metrics.knn_top1_percent is 99.99, but .* 40000 / 100000"),
        (_set("metrics", "other_top1_percent", to=1.0), "metrics.other_top1_percent has no counts to bear it"),
        (_set("facts", "knn_correct", to=100_001), "metrics.knn_top1_percent has no counts"),
        (_set("facts", "test_images", to=0), "has no counts to bear it"),
        (_set("facts", "kept_weights", to="many"), "facts.kept_weights: it is 'many'; it must be an integer"),
        (_set("facts", "kept_per_layer", to={"conv1": 0.5}), r"facts.kept_per_layer: \[conv1\] is 0.5"),
        (_set("facts", to=[]), r"facts is \[\]; it must be a table"),
        (_set("provenance", "env_class", to=7), "provenance.env_class: it is 7; it must be a text"),
        (_set("schema", to=2), "not a record of schema 1"),
        (_set("colour", to=2), "unknown entries colour"),
    ],
)
def test_a_broken_record_names_its_file_and_its_field(
    tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    body = json.loads(RECORD.text)
    change(body)
    with pytest.raises(RecordError, match=message) as raised:
        Record.load(_written(tmp_path, body))
    assert "record.json" in str(raised.value)
    assert "Delete it; the run is then made again." in str(raised.value)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"percent": 71.0}, "facts.transfer_mine_percent is 71.0, but .*_correct / transfer_mine_images is 180 / 360"),
        ({"correct": 181}, "facts.transfer_mine_percent is 50.0, but .* 181 / 360"),
        ({"images": 361}, "facts.transfer_mine_percent is 50.0, but .* 180 / 361"),
        ({"percent": "50"}, "facts.transfer_mine_percent is '50', but"),
        ({"correct": 361}, "facts.transfer_mine_percent has no counts to bear it: facts.transfer_mine_correct is 361"),
        ({"images": None}, "facts.transfer_mine_percent has no counts .*, facts.transfer_mine_images None"),
    ],
)
def test_a_percentage_on_other_images_is_that_of_its_counts(
    tmp_path: Path, facts: dict[str, object], message: str
) -> None:
    """The seal tells a damaged one; who computes it anew could store any."""
    whole = {"percent": 50.0, "correct": 180, "images": 360, "fingerprint": "feed"}
    for entries, is_read in ((whole, True), (whole | facts, False)):
        body = json.loads(RECORD.text)
        body["facts"] |= {f"transfer_mine_{name}": value for name, value in entries.items()}
        path = _written(tmp_path, body)
        if is_read:
            assert Record.load(path).facts["transfer_mine_percent"] == 50.0
        else:
            with pytest.raises(RecordError, match=message):
                Record.load(path)


def _read(path: Path) -> None:
    try:
        record = Record.load(path)
    except RecordError as error:
        assert "record.json" in str(error)  # noqa: PT017
    else:
        assert record.run_id == record.run.run_id


anything = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@anything
@given(payload=st.binary(max_size=60))
def test_any_bytes_are_a_record_or_refused(tmp_path: Path, payload: bytes) -> None:
    (tmp_path / "record.json").write_bytes(payload)
    _read(tmp_path / "record.json")


@anything
@given(place=st.floats(0.0, 1.0, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_changes_what_a_record_says(tmp_path: Path, place: float, bit: int) -> None:
    """Found by `nox -s faults`: a flipped bit among the facts was believed, though the seal could tell."""
    path = tmp_path / "record.json"
    RECORD.save(path)
    payload = bytearray(path.read_bytes())
    payload[int(place * len(payload))] ^= 1 << bit
    path.write_bytes(payload)
    try:
        record = Record.load(path)
    except RecordError as error:
        assert "record.json" in str(error)  # noqa: PT017
    else:
        assert record == RECORD


def test_a_record_that_was_edited_by_hand_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    RECORD.save(path)
    path.write_text(path.read_text().replace('"optimizer_steps": ', '"optimizer_steps": 1'))
    with pytest.raises(RecordError, match=r"record.json: its content does not match its seal, .* Delete it; the run"):
        Record.load(path)


def test_a_record_without_a_seal_is_refused(tmp_path: Path) -> None:
    """Found by a review: who deleted the line could store any number, and `verify` found nothing."""
    path = tmp_path / "record.json"
    RECORD.save(path)
    body = json.loads(path.read_text())
    del body["seal"]
    path.write_text(json.dumps(body))
    with pytest.raises(RecordError, match=r"record.json: it has no seal, .* Delete it; the run is then made again"):
        Record.load(path)


@anything
@given(place=st.floats(0.0, 1.0), patch=st.binary(max_size=3))
def test_any_patched_or_truncated_record_is_a_record_or_refused(tmp_path: Path, place: float, patch: bytes) -> None:
    payload = RECORD.text.encode()
    at = round(place * len(payload))
    patched = payload[:at] + patch + (payload[at + len(patch) :] if patch else b"")
    try:
        _written(tmp_path, json.loads(patched))  # sealed anew: what is left is whether its content is one
    except ValueError:
        (tmp_path / "record.json").write_bytes(patched)
    _read(tmp_path / "record.json")


@anything
@given(
    part=st.sampled_from(["run", "metrics", "facts", "provenance"]),
    key=st.sampled_from(sorted([*KINDS, *BODY["run"], *BODY["metrics"]])),
    entry=st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.just([])
    | st.just({}),
)
def test_a_field_of_any_kind_is_read_or_refused(tmp_path: Path, part: str, key: str, entry: object) -> None:
    body = json.loads(RECORD.text)
    body[part][key] = entry
    _read(_written(tmp_path, body))
