import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from bench.runs.folder import RunFolder
from bench.runs.merging import MergeError, merge
from bench.runs.record import Record
from tests.unit.bench.runs.pool_jobs import a_run, saved


def folders(root: Path) -> tuple[Path, Path, Path]:
    """Return two folders of runs and one that is not there yet: seeds 0 and 1 in the first, 2 in the second."""
    first, second = root / "first", root / "second"
    for seed in (0, 1):
        saved(a_run(seed), first)
    saved(a_run(2), second)
    RunFolder.of(second, a_run(3)).path.mkdir()
    for name in ("masks.npz", "checkpoint.pt", "lock", ".record.json.0123"):
        (RunFolder.of(first, a_run(0)).path / name).write_text(name)
    return first, second, root / "into"


def test_merged_folders_hold_every_finished_run_once_with_all_it_left(tmp_path: Path) -> None:
    first, second, into = folders(tmp_path)
    done = merge([first, second], into)
    assert set(done.copied) == {a_run(seed).run_id for seed in range(3)}
    assert (done.repeated, done.unfinished) == ((), (a_run(3).run_id,))
    assert [folder.path.name for folder in RunFolder.recorded(into)] == sorted(done.copied)
    left = {path.name for path in RunFolder.of(into, a_run(0)).path.iterdir()}
    assert left == {"record.json", "masks.npz", "lock"}
    again = merge([first, second], into)
    assert (again.copied, len(again.repeated)) == ((), 3)


def test_a_run_with_two_results_is_refused_and_nothing_is_copied(tmp_path: Path) -> None:
    first, second, into = folders(tmp_path)
    saved(a_run(1), second, images="others")
    with pytest.raises(MergeError, match="different numbers of the same run"):
        merge([first, second], into)
    assert not into.exists()


def test_a_folder_keeps_its_own_of_two_equal_runs(tmp_path: Path) -> None:
    first, second, _ = folders(tmp_path)
    saved(a_run(1), second, source="0123456789abcdef")
    done = merge([first], second)
    assert (done.repeated, len(done.source_digests)) == ((a_run(1).run_id,), 2)
    assert Record.load(RunFolder.of(second, a_run(1)).record).provenance["source_digest"] == "0123456789abcdef"


@pytest.mark.parametrize("damage", ["other", "gone"])
def test_a_run_whose_masks_are_not_its_records_is_refused_and_nothing_is_copied(tmp_path: Path, damage: str) -> None:
    """Found by a review: damage in one folder spread to the one that all were put together in."""
    first, second, into = folders(tmp_path)
    folder = RunFolder.of(first, a_run(1))
    folder.masks.write_bytes(b"masks")
    record = Record.load(folder.record)
    sums = {"masks_sha256": hashlib.sha256(b"masks").hexdigest()}
    replace(record, provenance={**record.provenance, **sums}).save(folder.record)
    assert len(merge([first], tmp_path / "sound").copied) == 2
    if damage == "gone":
        folder.masks.unlink()
    else:
        folder.masks.write_bytes(b"masts")
    with pytest.raises(
        MergeError, match=r"masks\.npz: is not the file that its record speaks of .* Nothing was copied"
    ):
        merge([first, second], into)
    assert not into.exists()
