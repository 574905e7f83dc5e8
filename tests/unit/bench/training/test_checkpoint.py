import hashlib
import io
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.config import code
from bench.sources import Sources
from bench.training import checkpoint
from bench.training.checkpoint import CheckpointError
from tests.tiny import tiny_run

RUN = tiny_run("simclr", "dense")
STATE: checkpoint.State = {"weights": torch.arange(100.0), "step": 3}


@pytest.fixture(name="path", scope="module")
def fixture_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a whole checkpoint, which no test may change."""
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt"
    checkpoint.save(path, RUN, "feed", "a machine", STATE)
    return path


def test_what_was_saved_is_loaded(path: Path) -> None:
    state = checkpoint.load(path, RUN, "feed")
    assert state is not None
    assert state["step"] == 3
    weights, saved = state["weights"], STATE["weights"]
    assert isinstance(weights, torch.Tensor)
    assert isinstance(saved, torch.Tensor)
    assert torch.equal(weights, saved)


def test_a_checkpoint_is_read_into_the_hosts_memory_wherever_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All ranks loaded what the first GPU had written onto that GPU, and where there was none it seemed damaged."""
    path = tmp_path / "checkpoint.pt"
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
    checkpoint.save(path, RUN, "feed", "a machine", STATE)
    with pytest.raises(RuntimeError, match="deserialize object on a CUDA device"):
        torch.load(io.BytesIO(path.read_bytes().split(b"\n", 2)[2]), weights_only=True)
    state = checkpoint.load(path, RUN, "feed")
    assert state is not None
    weights = state["weights"]
    assert isinstance(weights, torch.Tensor)
    assert weights.device.type == "cpu"


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=150)
def test_no_flipped_bit_is_resumed_from(path: Path, place: float, bit: int) -> None:
    payload = bytearray(path.read_bytes())
    payload[int(place * len(payload))] ^= 1 << bit
    damaged = path.with_name("damaged.pt")
    damaged.write_bytes(payload)
    with pytest.raises(CheckpointError, match=r"damaged.pt: a damaged checkpoint: .* --restart"):
        checkpoint.load(damaged, RUN, "feed")


@given(length=st.floats(0, 1, exclude_max=True))
@settings(max_examples=20)
def test_no_torn_file_is_resumed_from(path: Path, length: float) -> None:
    torn = path.with_name("torn.pt")
    torn.write_bytes(path.read_bytes()[: int(length * path.stat().st_size)])
    with pytest.raises(CheckpointError, match="a damaged checkpoint"):
        checkpoint.load(torn, RUN, "feed")
    checkpoint.discard_damaged(torn)
    assert not torn.exists()


def test_only_damaged_files_are_discarded(path: Path, tmp_path: Path) -> None:
    checkpoint.discard_damaged(path)
    checkpoint.discard_damaged(tmp_path / "none.pt")
    assert path.exists()


def test_why_a_checkpoint_is_dropped_is_told_by_its_header_alone(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkpoint.why_dropped(tmp_path / "none.pt", RUN, "feed") is None
    assert checkpoint.why_dropped(path, RUN, "feed") is None
    assert checkpoint.why_dropped(path, RUN, "other images") == "images"
    cut = tmp_path / "cut.pt"
    cut.write_bytes(path.read_bytes()[:-1000])
    digest = code.code_of(RUN).digest
    monkeypatch.setattr(code, "code_of", lambda _run: Sources({"a file": "of other code"}))
    assert checkpoint.why_dropped(path, RUN, "feed") == "code"
    assert checkpoint.why_dropped(cut, RUN, "feed") == "code"
    checkpoint.keep_of_other_code(cut, RUN)
    assert [each.name for each in tmp_path.iterdir()] == [f"cut.code-{digest}.pt"]


@pytest.mark.parametrize("identity", ["[1]", "{}", '"text"', '{"run": 1}', "null", "not json", "x" * (1 << 21)])
def test_an_odd_identity_stops_its_run_and_nothing_else(identity: str, tmp_path: Path) -> None:
    path, payload = tmp_path / "checkpoint.pt", identity.encode() + b"\nrest"
    digest = hashlib.sha256(payload).hexdigest()
    path.write_bytes(b"sparse-ssl checkpoint 1 sha256=" + digest.encode() + b"\n" + payload)
    assert checkpoint.why_dropped(path, RUN, "feed") is None
    with pytest.raises(CheckpointError, match="a damaged checkpoint"):
        checkpoint.load(path, RUN, "feed")
