from pathlib import Path

import pytest
import torch

from bench.runs import record
from bench.training import checkpoint
from tests.tiny import tiny_run


def test_a_checkpoint_of_other_code_is_told_without_loading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    assert not checkpoint.is_of_other_code(path)
    checkpoint.save(path, tiny_run("simclr", "dense"), "feed", "a machine", {"weights": torch.ones(1000)})
    assert not checkpoint.is_of_other_code(path)
    monkeypatch.setattr(record, "source_digest", lambda: "other code")
    assert checkpoint.is_of_other_code(path)
    path.write_bytes(path.read_bytes()[:-2000])
    assert not checkpoint.is_of_other_code(path)  # unreadable: left to the run, which fails and says so
