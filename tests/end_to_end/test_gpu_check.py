"""``gpu-check``, whole on a CPU in miniature, and its parts on the virtual device. How fast anything is is no test."""

import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.__main__ import main
from bench.commands import gpu_check
from bench.config.run import Run
from bench.errors import RunError
from bench.files import ROOT
from bench.runs import estimate, job
from bench.runs.context import Context
from bench.runs.gpu_hours import H200, gpu_hours
from bench.runs.outcomes import Failed
from bench.runs.record import Record
from bench.speedup import gpu_runs, gpu_steps, gpu_views, step_cost
from bench.tables import TABLES
from bench.ticks import Tick, silent
from bench.training import parts
from tests.made_up_tables import made_up_record
from tests.on_device import OneDevice
from tests.property.test_views_on_cuda import CudaRounding
from tests.tiny import gated_run, tiny_run
from tests.virtual_device import CUDA, virtual_cuda

Answer = Callable[..., tuple[int, str, str]]
TINY = {
    "simclr/dense/-/d1.00": tiny_run("simclr", "dense"),
    "simclr/synchronized/element/d0.10+g0.30": tiny_run("simclr", "synchronized", gap=0.3),
    "simclr/dual_gate/element/t1.50": gated_run("simclr", "dual_gate", 1.5),
    "byol/dense/-/d1.00": tiny_run("byol", "dense"),
}


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time a few steps on a few images."""
    monkeypatch.setattr(step_cost, "_IMAGES", 32)
    for module in (estimate, gpu_steps):
        monkeypatch.setattr(module, "WARM_UP_STEPS", 1)
        monkeypatch.setattr(module, "TIMED_STEPS", 2)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Answer:
    """Return exit code, output and errors of the command; runs are as small as those of tests, or there is none."""

    def run_of_cell(cell: str, **_: object) -> Run:
        if cell not in TINY:
            raise RunError(f"{cell}: too large for a test.")
        return TINY[cell]

    monkeypatch.setattr(gpu_check, "run_of_cell", run_of_cell)
    monkeypatch.setattr(gpu_views, "differences", functools.partial(gpu_views.differences, images=4))
    monkeypatch.setattr(gpu_views, "rates", functools.partial(gpu_views.rates, images=8, least_seconds=0.0))
    shorten(monkeypatch)

    def act(*arguments: str) -> tuple[int, str, str]:
        options = ["--out", str(tmp_path / "out"), "--frameworks", "simclr", "--steps", "8", *arguments]
        monkeypatch.setattr(sys, "argv", ["bench", "gpu-check", *options])
        code = main()
        said = capsys.readouterr()
        return code, said.out, said.err

    return act


def test_everything_is_checked_and_measured_and_the_table_can_be_pasted(answer: Answer, tmp_path: Path) -> None:
    code, said, errors = answer("--device", "cpu", "--jobs", "2", "--width", "0.0625")
    assert code == 0, errors
    assert (tmp_path / "out/gpu-check.md").read_text() == said
    assert re.search(r"Of [\d,]+ values of 17 recipes, 0 differ from the CPU's", said)
    for who in (
        "batched-v1, (?:the compiled kernel|PyTorch), one core",
        "Lightly's own, one core",
        "torchvision v2, one core",
    ):
        assert len(re.findall(rf"^\| {who} \| (32|224) \| [\d,]+ \|$", said, re.MULTILINE)) == 2, who
    for what in ("bare forward and backward of simclr/dense/-/d1.00", *TINY):
        for precision in ("32-true", "bf16-mixed"):
            row = rf"^\| {re.escape(what)} \| \d+ \| 8 \| {precision} \| \d+\.\d \| - \|$"
            assert len(re.findall(row, said, re.MULTILINE)) == 1, (what, precision)
    for name in TABLES:
        assert re.search(rf"^\| {name} \| gpu \| \d+ \| ([\d,]+|-) \|$", said, re.MULTILINE), name
    assert "3 of 3 were made; linear accuracy" in said
    assert "3 came out the same when they were made again in another folder" in said
    assert "3 when they were stopped half way and resumed" in said
    assert len([*(tmp_path / "out").glob("*/*/record.json")]) == 9
    code, _, errors = answer("--device", "cpu")  # finished runs would be taken for made
    assert code == 2
    assert "is of an earlier check" in errors


def test_a_framework_that_is_unknown_and_a_device_that_is_not_there_are_refused(answer: Answer) -> None:
    assert answer("--device", "cpu", "--frameworks", "simclear")[0] == 2
    code, _, errors = answer()
    assert code == 2
    assert "--device cuda: torch finds no CUDA device here" in errors


def test_what_does_not_repeat_or_fails_is_named_and_wrong() -> None:
    runs = [tiny_run("simclr", "dense", seed=seed) for seed in range(2)]
    whole = {run.run_id: made_up_record(run, 50.0) for run in runs}
    other = {run.run_id: made_up_record(run, 50.0 + run.seed) for run in runs}
    failed = Failed(run_id=runs[1].run_id, cell=runs[1].cell, seed=1, reason="the GPU is full")
    assert gpu_runs.ShortRuns(runs=runs, whole=whole, again=whole, resumed=whole).is_right
    for again, resumed, line in (
        (other, whole, f"- not the same again: {runs[1].run_id}"),
        (whole, other, f"- not the same resumed: {runs[1].run_id}"),
        (whole, whole | {failed.run_id: failed}, f"- failed: {runs[1].run_id}: the GPU is full"),
    ):
        made = gpu_runs.ShortRuns(runs=runs, whole=whole, again=again, resumed=resumed)
        assert not made.is_right
        assert line in made.lines()


def test_a_run_is_stopped_half_way_and_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, told = list[bool](), list[int]()

    def perform(run: Run, _context: Context, tick: Tick) -> Record:
        began.append(bool(told))
        for step in range(len(told), 8):
            told.append(step)
            tick(step + 1, 8)
        return made_up_record(run, 50.0)

    monkeypatch.setattr(job, "perform", perform)
    context = Context(runs_dir=tmp_path, data_dir=tmp_path, cache_dir=tmp_path)
    gpu_runs.stopped_half_way(tiny_run("simclr", "dense"), context, silent)
    assert (began, told) == ([False, True], [*range(8)])

    def stop(*_: object) -> None:
        raise KeyboardInterrupt  # of the user

    told.clear()
    with pytest.raises(KeyboardInterrupt):
        gpu_runs.stopped_half_way(tiny_run("simclr", "dense"), context, stop)


def test_views_are_compared_and_timed_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the virtual one: what mixes places would fail there; what rounds as on CUDA is the same, too."""
    waits = list[bool]()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(True))
    with CudaRounding(), virtual_cuda():
        found = gpu_views.differences(CUDA, images=4)
        (first, *_) = gpu_views.rates(CUDA, images=8, least_seconds=0.0)
    assert {each.apart for each in found} == {0}
    assert (first.who, first.a_second > 0, len(waits) > 0) == ("batched-v1, the GPU", True, True)


def test_steps_are_timed_on_a_device_with_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "fabric_for", lambda *_, **__: OneDevice())
    monkeypatch.setattr(parts, "env_class_for", lambda *_, **__: "virtual")
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *_: 3 * 2**29)
    shorten(monkeypatch)
    runs = {"simclr/dense": tiny_run("simclr", "dense"), "byol/dual_gate": gated_run("byol", "dual_gate", 1.5)}
    with virtual_cuda():
        found = [*gpu_steps.steps(runs, "cuda")]
    assert len(found) == 2 * 3
    assert all(re.search(r" \d+\.\d \| 1\.5 GiB \|$", step.line) for step in found), [step.line for step in found]


def test_a_difference_of_views_is_told() -> None:
    found = [gpu_views.Difference(recipe="byol", size=32, values=1000, apart=3, most=0.1225)]
    assert gpu_views.lines(found, [])[:2] == [
        "**Views.** Of 1,000 values of 1 recipes, 3 differ from the CPU's for the same parameters.",
        "- byol, 32 pixels: 3 of 1,000, by up to 0.122",
    ]


def test_a_step_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> float:
        raise RuntimeError("CUDA out of\nmemory")

    monkeypatch.setattr(gpu_steps, "median_step_seconds", full)
    monkeypatch.setattr(gpu_steps, "_bare_seconds", lambda *_: 0.25)
    bare, *others = gpu_steps.steps({"a": tiny_run("simclr", "dense")}, "cpu")
    assert "| 250.0 | - |" in bare.line
    assert "| CUDA out of memory | - |" in others[0].line
    (why,) = gpu_steps.hours([bare, *others], "a", "a", "b")
    assert why == "GPU-hours of tables are not known: no step of a, a, b was timed in bf16-mixed."


def test_the_hours_of_a_table_are_those_of_its_runs() -> None:
    rows = gpu_steps.table_hours("gpu", H200)
    assert len(rows) == len(TABLES)
    (row,) = (row for row in rows if row.startswith("| gating |"))
    taken = gpu_hours(TABLES["gating"]("gpu", "cifar10").runs(range(1)))
    assert taken is not None
    assert row == f"| gating | gpu | 12 | {taken:,.0f} |"


def test_the_hours_that_are_stored_are_those_of_the_steps_that_were_measured() -> None:
    """The tables grow: what is written of them is calculated again."""
    rows = [row for profile in ("gpu", "paper") for row in gpu_steps.table_hours(profile, H200)]
    assert "\n".join(rows) in (ROOT / "results/gpu.md").read_text(encoding="utf-8")
