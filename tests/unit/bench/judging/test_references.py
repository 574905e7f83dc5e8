import json
from pathlib import Path

import pytest

from bench.judging.references import load_reference, load_references, save_reference
from bench.runs.record import RecordError, seal
from tests.made_up_tables import made_up_record, made_up_run

RECORD = made_up_record(made_up_run(seed=3), 51.25)


def _saved(folder: Path) -> Path:
    return save_reference(folder, "cifar10", "smoke", "cifar10", RECORD)


def test_a_reference_comes_back_as_it_was(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    assert path == tmp_path / "cifar10" / "smoke" / "cifar10" / f"{RECORD.run_id}.json"
    assert load_references("cifar10", "smoke", "cifar10", tmp_path) == (RECORD,)


def test_a_reference_has_a_line_for_each_number(tmp_path: Path) -> None:
    """Sorted, too: what version control shows is what changed."""
    text = _saved(tmp_path).read_text()
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=1) + "\n"


def test_a_table_without_references_has_none(tmp_path: Path) -> None:
    assert load_references("cifar10", "smoke", "cifar10", tmp_path) == ()


def test_an_edited_metric_breaks_the_seal(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    path.write_text(path.read_text().replace("51.25", "51.26"))
    with pytest.raises(RecordError, match="does not match its seal") as raised:
        load_references("cifar10", "smoke", "cifar10", tmp_path)
    assert str(path) in str(raised.value)
    assert "nox -s record" in str(raised.value)


@pytest.mark.parametrize("part", ["metrics", "facts", "provenance", "run"])
def test_the_seal_covers_every_part(tmp_path: Path, part: str) -> None:
    path = _saved(tmp_path)
    body = json.loads(path.read_text())
    body[part]["added"] = 1
    path.write_text(json.dumps(body))
    with pytest.raises(RecordError, match="seal"):
        load_reference(path)


def test_a_missing_seal_is_a_broken_one(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    body = json.loads(path.read_text())
    del body["seal"]
    path.write_text(json.dumps(body))
    with pytest.raises(RecordError, match="seal"):
        load_reference(path)


def test_layout_does_not_matter_to_the_seal(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    assert load_reference(path) == RECORD


def test_a_renamed_or_moved_reference_is_refused(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    renamed = path.rename(path.with_name("other.json"))
    with pytest.raises(RecordError, match="A reference lies at"):
        load_reference(renamed)
    moved = tmp_path / "cifar10" / "smoke" / "digits" / path.name
    moved.parent.mkdir()
    renamed.rename(moved)
    with pytest.raises(RecordError, match="on cifar10"):
        load_reference(moved)


@pytest.mark.parametrize("text", ["", "[]", "{}", "\0"])
def test_a_file_that_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    path = _saved(tmp_path)
    path.write_text(text)
    with pytest.raises(RecordError, match=path.name):
        load_reference(path)


def test_users_seeds_are_no_references(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="seed 100 cannot be a reference"):
        save_reference(tmp_path, "cifar10", "smoke", "cifar10", made_up_record(made_up_run(seed=100), 1.0))


def test_the_seal_depends_on_numbers_not_on_order() -> None:
    assert seal({"a": 1, "b": 2}) == seal({"b": 2, "a": 1, "seal": "x"})
    assert seal({"a": 1}) != seal({"a": 1.5})
