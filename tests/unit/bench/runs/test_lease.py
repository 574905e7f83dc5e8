"""Leases: who is at a run, where no lock says it to all machines."""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.runs import lease
from bench.runs.attempt import attempt
from bench.runs.context import Context
from bench.runs.folder import RunFolder
from bench.runs.lease import Lease
from bench.runs.outcomes import Taken
from bench.runs.perform import require_holds
from bench.runs.record import Record
from tests.forked import Running
from tests.unit.bench.runs import pool_jobs
from tests.unit.bench.runs.pool_jobs import a_run, happens


def taken(folder: Path) -> Lease:
    answer = Lease.take(folder, is_alone_here=False)
    assert isinstance(answer, Lease), answer
    return answer


def age(folder: Path, seconds: float) -> None:
    """Have the newest lease of a folder not renewed for some time."""
    newest = lease.files(folder)[-1]
    os.utime(newest, (time.time() - seconds,) * 2)


def of_another_machine(folder: Path) -> None:
    """Have the newest lease of a folder held by a process elsewhere."""
    lease.files(folder)[-1].write_text("process 7 on elsewhere\nof-another-boot\n")


def home_of(tmp_path: Path, seed: int = 0) -> RunFolder:
    """Return a run's folder, among runs that are held by leases."""
    lease.use(tmp_path)
    home = RunFolder.of(tmp_path, a_run(seed))
    home.path.mkdir()
    return home


def test_a_lease_is_one_processes_until_it_gives_it_back(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    for _ in range(3):
        mine = taken(home.path)
        assert lease.holder(home.path, is_alone_here=False).startswith(f"process {os.getpid()} on ")
        whose = Lease.take(home.path, is_alone_here=False)
        assert isinstance(whose, str)
        assert whose.startswith(f"process {os.getpid()} on ")
        mine.give_back()
        assert lease.holder(home.path, is_alone_here=False) == ""
    assert [path.name for path in lease.files(home.path)] == ["lease.000003"]  # and nothing else stays
    assert home.files() == ()
    assert not list(tmp_path.glob(".clock.*"))


def test_a_lease_is_taken_over_only_once_it_was_not_renewed_for_long(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    first = taken(home.path)
    age(home.path, lease.LAPSE_SECONDS - 10)
    assert isinstance(Lease.take(home.path, is_alone_here=False), str)
    age(home.path, lease.LAPSE_SECONDS + 10)
    second = taken(home.path)
    second.give_back()
    first.give_back()
    assert [path.name for path in lease.files(home.path)] == ["lease.000002"]


def test_whoever_has_the_lock_of_a_machine_knows_which_of_its_holders_died(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    taken(home.path)
    assert lease.holder(home.path, is_alone_here=True) == ""
    of_another_machine(home.path)
    assert lease.holder(home.path, is_alone_here=True).startswith("process 7 on elsewhere (by a lease")


def race(folder: Path, start: threading.Barrier) -> Lease | str:
    start.wait()
    return Lease.take(folder, is_alone_here=False)


def test_of_many_who_take_over_at_once_one_does(tmp_path: Path) -> None:
    for seed in range(10):
        home = home_of(tmp_path, seed)
        taken(home.path)
        age(home.path, lease.LAPSE_SECONDS + 10)
        with ThreadPoolExecutor(8) as racers:
            start = threading.Barrier(8)
            answers = list(racers.map(race, [home.path] * 8, [start] * 8))
        assert sum(isinstance(answer, Lease) for answer in answers) == 1
        assert [path.name for path in lease.files(home.path)] == ["lease.000002"]


def test_who_looked_long_ago_takes_nothing_from_those_who_came_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number that was free when it looked may be free again: those who came since remove what is older."""
    home = home_of(tmp_path)
    monkeypatch.setattr(lease, "_look", lambda *_, **__: (0, ""))  # as it was before any came
    (home.path / "lease.000003").write_text("process 7 on elsewhere\nof-another-boot\n")
    assert isinstance(Lease.take(home.path, is_alone_here=False), str)
    assert [path.name for path in lease.files(home.path)] == ["lease.000003"]


def test_a_lease_is_renewed_and_its_holder_hears_of_a_successor_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    home = home_of(tmp_path)

    def slow(_run: object, _folder: Path, tick: Callable[[int, int], None]) -> Record:
        age(home.path, lease.LAPSE_SECONDS - 10)
        first = lease.files(home.path)[-1]
        assert happens(lambda: time.time() - first.stat().st_mtime < 60)
        first.rename(home.path / "lease.000002")  # as if another had been quicker to make it
        of_another_machine(home.path)
        for _ in range(600):
            time.sleep(0.1)
            tick(1, 1)
        raise AssertionError("it heard of nothing")

    task = pool_jobs.a_task(tmp_path, slow)
    made = attempt(a_run(0), task, heed=lambda: None)
    assert isinstance(made, Taken)
    assert made.holder.startswith("process 7 on elsewhere (by a lease")
    assert lease.holder(home.path, is_alone_here=False) == made.holder  # it is not given back in the other's name
    assert not home.error.exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_used_by_leases_and_that_is_said(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found where flock fails: a bare OSError for every run. A lock made of a file would outlive its process."""

    def missing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    runs_dir = tmp_path / "runs"
    context = Context(runs_dir=runs_dir, data_dir=tmp_path, cache_dir=tmp_path)
    assert require_holds(context) == []
    monkeypatch.setattr(fcntl, "flock", missing)
    home = RunFolder.of(runs_dir, a_run(0))
    with pytest.raises(OSError, match=r"this file system offers no locks.* Put --out on a local disk, or use --leases"):
        hold(home)
    (note,) = require_holds(context)
    assert note.startswith("the file system offers no locks: the runs in ")
    assert "is free after 120 s" in note
    with home.held(pytest.fail):
        assert home.is_held()
        task = pool_jobs.a_task(runs_dir, pool_jobs.succeed)
        assert isinstance(attempt(a_run(0), task, heed=lambda: None), Taken)
    assert not home.is_held()
    assert isinstance(attempt(a_run(0), task, heed=lambda: None), Record)


def hold(home: RunFolder) -> None:
    with home.held(pytest.fail):
        raise AssertionError("held without a lock")


def test_leases_are_asked_for_where_locks_do_not_reach_other_machines(tmp_path: Path) -> None:
    context = Context(runs_dir=tmp_path / "runs", data_dir=tmp_path, cache_dir=tmp_path, leases=True)
    (note,) = require_holds(context)
    assert note.startswith("the runs in ")
    home = RunFolder.of(context.runs_dir, a_run(0))
    with home.held(pytest.fail):
        of_another_machine(home.path)
    task = pool_jobs.a_task(context.runs_dir, pool_jobs.succeed)
    os.utime(lease.files(home.path)[-1])  # renewed there, and its lock, if it has one, is not seen here
    answer = attempt(a_run(0), task, heed=lambda: None)
    assert isinstance(answer, Taken)
    assert home.is_held()


def test_without_locks_commands_share_the_runs_and_take_over_what_a_killed_one_had(tmp_path: Path) -> None:
    lease.use(tmp_path)
    arguments = (pool_jobs.command_without_locks, tmp_path)
    with Running(*arguments, "never_listen", 2, output=tmp_path / "first") as first:
        assert happens(lambda: len(list(tmp_path.glob("*/*.pid"))) == 2)
        with Running(*arguments, "take_a_moment", 4, output=tmp_path / "second") as second:
            said = tmp_path / "second/stdout.txt"
            assert happens(lambda: said.exists() and said.read_text().count("waiting for process") == 2)
            made = tmp_path / "made.txt"
            # The last free run may still be under way when both taken ones are known.
            assert happens(lambda: made.exists() and sorted(made.read_text().split()) == ["2", "3"])
            first.kill_group()
            text, errors = second.communicate()
    assert errors == ""
    assert "records 4" in text
    assert "(by a lease, which lapses 6 s after its last renewal), which is at the same run" in text
    assert sorted(made.read_text().split()) == ["0", "1", "2", "3"]
