"""``export --compact``: the encoder of a run without its dead filters, on disk and for other programs."""

import json
import pickle
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from bench import load_encoder
from bench.__main__ import main
from bench.runs import job
from bench.runs.context import Context
from bench.runs.export import sample
from bench.runs.folder import RunFolder
from bench.speedup import compact
from bench.ticks import silent
from bench.training.encoder_file import EncoderFileError, repacked, unpacked, without_dead_channels
from methods.compaction import one_call
from tests.tiny import gated_run, tiny_run
from tests.unit.bench.training.test_encoder_file import exported, written

RUN = tiny_run("supervised", "static_uniform", granularity="filter", density=0.3, epochs=1)


def export(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, out: Path, *options: str, code: int = 0
) -> str:
    monkeypatch.setattr(sys, "argv", ["bench", "export", RUN.run_id, "--out", str(out), *options])
    assert main() == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_a_compacted_encoder_is_smaller_says_what_it_gains_and_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "BATCHES", (2,))
    context = Context(runs_dir=tmp_path / "runs", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    job.perform(RUN, context, silent)
    folder = RunFolder.of(context.runs_dir, RUN)
    kept = folder.encoder.read_bytes()
    said = export(capsys, monkeypatch, tmp_path, "--compact")
    path = folder.path / "encoder-compact.safetensors"
    assert f"{path}: {path.stat().st_size:,} bytes, with zeros {len(kept):,} bytes" in said
    assert "times fewer than " in said
    for form in (compact.PLAIN, *(() if one_call.missing() else (compact.IN_ONE_CALL,))):
        assert re.search(rf"  \d\S* \(.*\): {re.escape(form)}; \S+ times .* left in, \S+ of the MACs\n", said)
    assert compact.FOLDED in said
    assert path.stat().st_size < 0.5 * len(kept)
    whole, small = load_encoder(folder.path), load_encoder(path)
    assert (small.features, small.pixels, small.run_id) == (whole.features, whole.pixels, whole.run_id)
    with torch.no_grad():
        torch.testing.assert_close(small(sample(whole)), whole(sample(whole)), rtol=0, atol=1e-5)
        if not one_call.missing():
            quick = small.fused()
            assert (quick.features, quick.normalisation) == (small.features, small.normalisation)
            torch.testing.assert_close(quick(sample(whole)), whole(sample(whole)), rtol=0, atol=1e-5)
            assert torch.equal(pickle.loads(pickle.dumps(quick))(sample(whole)), quick(sample(whole)))
    program = export(capsys, monkeypatch, tmp_path, "--compact", "--format", "torch-export")
    assert program.startswith(f"{path.with_suffix('.pt2')}: ")
    monkeypatch.chdir(tmp_path)  # a relative --out and an absolute --to name the same file
    link = tmp_path / "link.safetensors"
    link.symlink_to(folder.encoder)
    for out, to in ((tmp_path, folder.encoder), (Path(), folder.encoder), (tmp_path, link)):
        for options in (["--compact"], ["--format", "torch-export"]):
            said = export(capsys, monkeypatch, out, *options, "--to", str(to), code=2)
            assert "would be lost" in said
    assert folder.encoder.read_bytes() == kept
    assert link.is_symlink()


def test_a_file_of_format_1_whose_normalisations_stand_for_themselves_is_read(tmp_path: Path) -> None:
    run = tiny_run("simclr", "dense")
    whole = unpacked(written(run, exported(run), tmp_path))
    path = tmp_path / "compact.safetensors"
    path.write_bytes(repacked(tmp_path / "encoder.safetensors", whole))
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    (key,) = metadata
    header = json.loads(metadata[key])
    assert (header["format"], header["is_compact"]) == (2, True)
    path.write_bytes(save(tensors, {key: json.dumps(header | {"format": 1})}))
    images = sample(whole)
    with torch.no_grad():
        assert torch.equal(unpacked(path)(images), whole(images))
    path.write_bytes(save(tensors, {key: json.dumps(header | {"format": 3})}))
    with pytest.raises(EncoderFileError, match=r"its format is 3, and the newest that is known here 2"):
        unpacked(path)


def test_gates_cannot_be_compacted(tmp_path: Path) -> None:
    run = gated_run("simclr", "dual_gate", 1.5)
    encoder = unpacked(written(run, exported(run), tmp_path))
    with pytest.raises(EncoderFileError, match=r"the encoder of simclr-dual_gate-\S+ cannot be compacted"):
        without_dead_channels(encoder)
