"""The examples of CONTRIBUTING run as they stand."""

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import methods
from bench import frameworks
from bench.__main__ import main
from bench.config import framework
from bench.views import recipes
from tests.tiny import pretrained, tiny_run

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def example(title: str) -> dict[str, Any]:
    """Return what the example defines that is to become the file ``title``."""
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if block.startswith(f"# {title}")]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, title, "exec"), names)
    return names


def test_a_method_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = example("methods/pruning/snip_at_start.py")["LargestAtStart"]
    monkeypatch.setitem(methods.METHODS, "largest_at_start", method)
    run = tiny_run("simclr", "largest_at_start", epochs=1)
    trained = pretrained(run, tmp_path).trained
    kept = sum(int(mask.count_nonzero()) for mask in methods.masking.read(trained.framework.online).values())
    total = sum(mask.numel() for mask in methods.masking.read(trained.framework.online).values())
    assert kept == int(run.sparsity.density * total + 0.5)


def test_a_framework_is_a_specification_and_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = example("bench/config/framework.py")["CosineSpec"]
    monkeypatch.setitem(framework.FRAMEWORK_SPECS, "cosine", spec)
    monkeypatch.setitem(frameworks.FRAMEWORKS, "cosine", example("bench/frameworks/cosine.py")["Cosine"])
    monkeypatch.setitem(recipes.RECIPES, "cosine", recipes.RECIPES["digits"])
    run = tiny_run("simclr", "gradual", epochs=2)
    run = dataclasses.replace(run, framework=spec(hidden_dim=16, output_dim=16))
    assert run.cell == "cosine/gradual/element/d0.20"
    assert len(pretrained(run, tmp_path).trained.losses) == 8


def test_a_data_set_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 8)):
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / "pets" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                size = (int(pixels.integers(20, 50)), int(pixels.integers(20, 50)), 3)
                Image.fromarray(pixels.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{index}.png")
    (command,) = re.findall(r"^python -m bench (run .*) --data NAME (.*)$", TEXT, re.MULTILINE)
    arguments = [*command[0].split(), "--data", "pets", *command[1].split(), "--set", "optimizer.batch_images=16"]
    arguments += ["--set", "optimizer.epochs=1", "--set", "encoder.width=0.0625"]
    arguments += ["--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--jobs", "1"]
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    assert main() == 0
    said = capsys.readouterr()
    assert "simclr-dense" in said.out
    assert "all are used" in said.err
