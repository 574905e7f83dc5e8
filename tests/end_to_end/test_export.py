"""Encoders in formats that other programs read compute what was scored, gates included."""

import sys
from pathlib import Path
from typing import Literal

import pytest
import torch

from bench.__main__ import main
from bench.runs import export
from bench.runs.export import ExportError, sample
from bench.training.encoder_file import Encoder, unpacked
from tests.unit.bench.training.test_encoder_file import RUNS, exported, written


def encoder_of(name: str, folder: Path) -> Encoder:
    return unpacked(written(RUNS[name], exported(RUNS[name]), folder))


@pytest.mark.parametrize(("name", "form"), [("plain", "torch-export"), ("ema", "torch-export"), ("ema", "onnx")])
def test_an_exported_encoder_computes_the_same(
    name: str, form: Literal["torch-export", "onnx"], tmp_path: Path
) -> None:
    encoder = encoder_of(name, tmp_path)
    path = tmp_path / f"encoder{export.SUFFIXES[form]}"
    assert export.export(encoder, path, form) <= 1e-5
    assert path.stat().st_size > 10_000
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_a_file_that_computes_something_else_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, path = encoder_of("plain", tmp_path), tmp_path / "encoder.pt2"
    monkeypatch.setattr(
        export,
        "_torch_export",
        lambda _encoder, _images, part: (part.touch(), lambda seen: seen.flatten(1)[:, : encoder.features])[1],
    )
    with pytest.raises(ExportError, match="are off by"):
        export.export(encoder, path, "torch-export")
    assert list(tmp_path.glob("*.pt2")) == []


def test_a_missing_package_is_named_with_the_way_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = encoder_of("plain", tmp_path)
    monkeypatch.setattr(export, "_NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(Exception, match=r"needs no_such_package, not installed here: pip install -e '.\[onnx\]'"):
        export.export(encoder, tmp_path / "encoder.onnx", "onnx")
    monkeypatch.setattr(sys, "argv", ["bench", "export", "nothing", "--out", str(tmp_path)])
    assert main() == 2
    assert "nothing" in capsys.readouterr().err


def test_the_images_that_are_compared_are_images(tmp_path: Path) -> None:
    images = sample(encoder_of("plain", tmp_path))
    assert images.shape == (16, 3, 32, 32)
    assert len(torch.unique(images.flatten(1), dim=0)) == 16
