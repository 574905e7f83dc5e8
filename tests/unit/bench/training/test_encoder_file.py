"""A kept encoder is the encoder that was scored, built again from its file alone."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.config.run import Run
from bench.training import parts
from bench.training.encoder_file import EncoderFileError, packed, unpacked
from bench.views.pixels import MEAN, STD, normalise
from methods.gating.convolution import GatedConv2d
from methods.gating.skipping import skipping
from tests.tiny import gated_run, tiny_run

IMAGES = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
RUNS = {
    "plain": tiny_run("simclr", "static_erk"),
    "ema": gated_run("byol", "dual_gate", 1.5),
    **{
        method: gated_run("simclr", method, 1.5)
        for method in ("single_gate", "channel_gate", "feature_boosting", "group_gate", "spatial_gate")
    },
    "sliced": gated_run("simclr", "dual_gate", 1.5, granularity="slice2"),
    "bypassed": gated_run("simclr", "dual_gate", 1.0),
}


def exported(run: Run) -> nn.Module:
    """Return an encoder as a run would leave it, had it only seen a batch."""
    framework, method = parts.framework_for(run), parts.method_for(run)
    method.attach(framework.branches, 10)
    method.hold_out(normalise(IMAGES))
    method.before_forward(5)
    framework.train()
    framework.loss(normalise(IMAGES), normalise(IMAGES.flip(3)), torch.zeros(6, dtype=torch.int64))
    method.penalty()  # takes what the pass left for it
    return method.export(framework.online).eval()


def written(run: Run, encoder: nn.Module, folder: Path) -> Path:
    path = folder / "encoder.safetensors"
    path.write_bytes(packed(run, encoder, pixels=32))
    return path


@torch.no_grad()
def outputs(encoder: nn.Module) -> Tensor:
    features: Tensor = encoder(normalise(IMAGES))
    return features


@pytest.mark.parametrize("name", RUNS)
def test_a_kept_encoder_computes_what_was_scored_bit_for_bit(name: str, tmp_path: Path) -> None:
    run = RUNS[name]
    encoder = exported(run)
    state = torch.get_rng_state()
    found = unpacked(written(run, encoder, tmp_path))
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in found.modules())
    assert torch.equal(outputs(found), outputs(encoder))
    assert outputs(found).shape == (6, found.features)
    kept = encoder.state_dict()
    assert all(torch.equal(tensor, kept[key]) for key, tensor in found.network.state_dict().items())
    assert any(isinstance(module, GatedConv2d) for module in found.modules()) is any(
        isinstance(module, GatedConv2d) for module in encoder.modules()
    )


@pytest.mark.parametrize("name", ["sliced", "spatial_gate"])
def test_a_kept_encoder_with_gates_can_skip(name: str, tmp_path: Path) -> None:
    found = unpacked(written(RUNS[name], exported(RUNS[name]), tmp_path))
    torch.testing.assert_close(outputs(skipping(found)), outputs(found))


def test_it_names_its_normalisation_and_applies_it_bit_for_bit(tmp_path: Path) -> None:
    run = RUNS["plain"]
    found = unpacked(written(run, exported(run), tmp_path))
    assert found.normalisation == (MEAN, STD)
    assert found.normalisation.mean == MEAN
    assert torch.equal(found.normalise(IMAGES), normalise(IMAGES))
    assert (found.pixels, found.run_id) == (32, run.run_id)


def test_masks_are_zeros_in_the_file_and_equal_encoders_are_equal_bytes(tmp_path: Path) -> None:
    run = RUNS["plain"]
    encoder = exported(run)
    assert packed(run, encoder, pixels=32) == packed(run, exported(run), pixels=32)
    network = unpacked(written(run, encoder, tmp_path)).network
    assert sum(int((weight == 0).sum()) for weight in network.parameters() if weight.ndim == 4) > 1000
    assert not any("mask" in name or "parametrizations" in name for name in network.state_dict())


def test_what_is_no_encoder_of_ours_is_refused(tmp_path: Path) -> None:
    run, path = RUNS["plain"], tmp_path / "encoder.safetensors"
    with pytest.raises(EncoderFileError, match="there is no such file"):
        unpacked(path)
    written(run, exported(run), tmp_path)
    with pytest.raises(EncoderFileError, match="its SHA-256 is not the record's"):
        unpacked(path, sha256="0" * 64)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EncoderFileError, match="not an encoder that this version can build"):
        unpacked(path)
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(EncoderFileError, match="not an encoder that this version can build"):
        unpacked(path)


def test_importing_bench_imports_no_torch() -> None:
    """And what users call imports it, which is refused here at once: an import takes seconds."""
    start = "import sys, bench; assert 'torch' not in sys.modules; sys.modules['torch'] = None; "
    for script, said in ((start, ""), (f"{start}bench.load_encoder", "import of torch halted")):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=600)
        assert (done.returncode, said in done.stderr) == (int(bool(said)), True), done.stderr
