"""``real-speed`` measures every kind of zeros beside the model. How long anything takes is no test."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from bench.__main__ import main
from bench.config.run import EncoderSpec
from bench.speedup import peers, real_speed, sparse_prop, zeros
from bench.speedup.trace import trace
from methods import masking
from methods.compaction import one_call
from methods.gating.layer import gated

NO_ZEROS = (zeros.FOLDED,) if one_call.missing() else (zeros.FOLDED, zeros.FUSED)
NOTHING_FASTER = ("element", "2:4", "block 16x16")
FILTERS = ("filter",) if one_call.missing() else ("filter", zeros.IN_PYTORCH)
GATES = ("gates per pixel and slice", "gates per pixel and slice, known", "spatial gates", "spatial gates, known")
KINDS = (*NO_ZEROS, *NOTHING_FASTER, *FILTERS, *GATES)
SPEC = EncoderSpec(name="resnet-9", width=0.125)


@pytest.fixture(autouse=True)
def fixture_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One rate of each kind, few images."""
    monkeypatch.setattr(zeros, "DENSITIES", (0.5,))
    monkeypatch.setattr(zeros, "PATTERNS", ((2, 4),))
    monkeypatch.setattr(zeros, "RATES", (0.26,))
    monkeypatch.setattr(real_speed, "BATCHES", (2,))
    monkeypatch.setattr(real_speed, "TRAINED", 4)
    monkeypatch.setattr(zeros, "TRAINED", 4)
    monkeypatch.setattr(peers, "_PACKAGE", "no_such_package")
    monkeypatch.setattr(sparse_prop, "_PACKAGE", "nor_this_one")
    sparse_prop.missing.cache_clear()


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *options: str, code: int = 0) -> str:
    monkeypatch.setattr(sys, "argv", ["bench", "real-speed", *options])
    assert main() == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_every_kind_has_a_row_and_what_has_nothing_faster_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--encoder", "resnet-9", "--width", "0.125", "--rounds", "1", "--out", str(tmp_path))
    said = call(capsys, monkeypatch, *options)
    assert said == (tmp_path / "tables/real-speed.md").read_text()
    assert "Torch-Pruning: skipped, because no_such_package is not installed here: pip install torch-pruning" in said
    assert "SparseProp: skipped, because nor_this_one is not installed here: pip install setuptools" in said
    table = json.loads((tmp_path / "tables/real-speed.json").read_text())
    assert f"- here: {table['machine']}\n" in said.replace("\\", "")
    assert "- Measured / MACs saved: of the largest batch, over the dense encoder in PyTorch, so what a kernel" in said
    assert f"- measured on {table['date']} by the code of commit {table['code']}; peers: none\n" in said
    rows = {row["kind"]: row for row in table["rows"]}
    assert tuple(rows) == KINDS
    medians = {kind: row["inference"]["2"]["cpu"]["median"] for kind, row in rows.items() if row["inference"]}
    for kind, form in zip(NO_ZEROS, ("with folded normalisation", "in one call of the same kernel"), strict=False):
        dense = rows.pop(kind)
        assert (dense["macs_reduction"], dense["training_step"]) == (1.0, None)
        for filters in FILTERS:
            fair = medians[filters] / medians[kind]
            assert f"- {filters} 0.5: over the dense encoder {form} {fair:.2f} (batch 2), " in said
    for kind, row in rows.items():
        assert f"| {kind} | {row['rate']:g} | {row['macs_reduction']:.2f} |" in said
        assert row["macs_reduction"] > 1
        if kind == zeros.IN_PYTORCH:
            assert row["training_step"] is None
        else:
            assert min(row["training_step"]["cpu"]["low"], *row["modelled_training_step"].values()) > 0
        if kind in NOTHING_FASTER:
            assert f"- {kind}: nothing faster exists on this device; torch " in said
            assert (row["inference"], row["measured_over_macs"]) == ({}, None)
        elif kind.endswith(", known"):
            assert row["inference_how"].startswith("not measured: ")
            assert row["training_step_how"].startswith("gates known before the step: open pixels alone, ")
            assert row["macs_reduction"] > rows[kind.removesuffix(", known")]["macs_reduction"]  # nothing is decided
        else:
            speed = row["inference"]["2"]["cpu"]["median"]
            assert row["measured_over_macs"]["median"] == pytest.approx(speed / row["macs_reduction"])


def test_what_infers_computes_what_trains_and_gates_are_open_at_the_rate() -> None:
    run = real_speed.run_of(SPEC)
    with torch.random.fork_rng():
        images = torch.randn(8, 3, 32, 32)
        encoder = zeros.dense(run, images)
        found = {each.kind: each for each in zeros.subjects(encoder, trace(run, "tiny"), images)}
    assert tuple(found) == KINDS
    for kind, subject in found.items():
        assert (subject.infers is None) is (kind in NOTHING_FASTER or kind.endswith(", known"))
        if subject.infers is not None:
            with torch.no_grad():
                like = found["filter"] if kind == zeros.IN_PYTORCH else subject
                expected = (like.trains or encoder).eval()(images)
                torch.testing.assert_close(subject.infers(images), expected, rtol=1e-4, atol=1e-5)
        if subject.trains is not None and masking.is_installed(subject.trains) and not gated(subject.trains):
            kept = sum(masking.counts(subject.trains).values())
            assert kept == sum(int(state.weights.ones((0, 0, 0))) for state in subject.states.values())
    needed = [state.gate.needed_share() for state in found["gates per pixel and slice"].states.values()]
    assert needed == pytest.approx([0.25 + 0.75 * 0.26] * len(needed), abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--rounds", "0"), "at least 1 is needed"), (("--width", "0.1"), "Use a multiple of 0.125")],
)
def test_what_cannot_be_measured_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    assert message in call(capsys, monkeypatch, *options, code=2)


def test_the_peer_removes_what_is_zero_in_all_coupled_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch_pruning", reason="an optional peer")
    monkeypatch.undo()
    run, images = real_speed.run_of(SPEC), torch.randn(2, 3, 32, 32)
    with torch.random.fork_rng():
        encoder = zeros.dense(run, images)
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight[:2] = 0.0
    small = peers.torch_pruned(encoder, images)
    before, after = (
        [module.weight.shape[0] for module in each.modules() if isinstance(module, torch.nn.Conv2d)]
        for each in (encoder, small)
    )
    assert after == [count - 2 for count in before]


def test_the_peer_computes_single_zeros_and_what_its_kernel_cannot_take_stays_dense(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("sparseprop", reason="an optional peer")
    monkeypatch.undo()
    sparse_prop.missing.cache_clear()
    assert not sparse_prop.missing()
    dense = torch.nn.Conv2d(8, 8, 3, padding=1, bias=False)
    with torch.no_grad():
        dense.weight *= torch.rand_like(dense.weight) < 0.3
    for is_over_batch in (True, False):
        sparse = importlib.import_module("sparseprop.modules").SparseConv2d.from_dense(dense, not is_over_batch)
        layer = sparse_prop.Propagated(dense, sparse, is_over_batch=is_over_batch)
        for count in (1, 8, 12, 16):
            images = torch.randn(count, 8, 6, 6)
            torch.testing.assert_close(layer(images), dense(images))
    made, how = sparse_prop.propagated(torch.nn.Sequential(dense), torch.randn(8, 8, 6, 6), trains=True)
    assert how.startswith("SparseProp in the ")
    assert " of 1 layers" in how
    made(torch.randn(8, 8, 6, 6)).sum().backward()
