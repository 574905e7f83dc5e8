"""A few rounds of what ``nox -s faults`` does for minutes: nothing is lost, and nothing damaged is believed."""

from pathlib import Path
from random import Random

import pytest

from tests.faults.__main__ import Faults
from tests.faults.campaign import Campaign, Tally
from tests.faults.damage import DAMAGES
from tests.faults.victims import Believed, Victim

ROUNDS = 1


def test_nothing_is_lost_and_nothing_damaged_is_believed(tmp_path: Path) -> None:
    campaign, tally = Campaign.prepared(tmp_path, seed=0), Tally()
    for number in range(ROUNDS):
        campaign.round(number, tally)
    assert tally.failures == []
    assert sum(tally.counts.values()) > 40


def test_an_interrupted_campaign_says_what_it_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped:
        def round(self, number: int, tally: Tally) -> None:
            if number == 2:
                raise KeyboardInterrupt
            tally.counts["commands killed", "ended as ever"] += 1

    monkeypatch.setattr(Campaign, "prepared", lambda *_: Stopped())
    monkeypatch.setenv("SPARSE_SSL_CACHE", "")  # the campaign sets it; the test's end takes that back
    assert Faults(seed=7).act() == 130
    said = capsys.readouterr().out
    assert "2  commands killed: ended as ever" in said
    assert "seed 7, 2 rounds, 0 failures, interrupted" in said


@pytest.mark.parametrize("kind", DAMAGES)
def test_every_damage_changes_a_file(kind: str) -> None:
    content = Random(0).randbytes(10_000)
    assert all(DAMAGES[kind](Random(seed), content) != content for seed in range(20))


def test_a_file_that_says_something_else_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_bytes(b"1")
    sealed = Victim(path=path, read=path.read_bytes)
    assert sealed.whole == (b"1", b"1")
    with pytest.raises(Believed):
        sealed.after(b"2")
    assert path.read_bytes() == b"1"
    assert Victim(path=path, read=path.read_bytes, is_sealed=False).after(b"2") == "taken"
    assert Victim(path=path, read=lambda: len(path.read_bytes())).after(b"2") == "the same"
