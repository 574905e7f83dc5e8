"""Workloads are what the networks are: each stored one is traced again and compared whole."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.config.run import EncoderSpec
from bench.speedup import stored, trace
from bench.training import parts
from hardware.checks import HardwareError
from hardware.network import workload
from hardware.network.layer import Part
from methods import macs, masking
from tests.tiny import BATCH, FRAMEWORKS, tiny_run

STORED = sorted(path.stem for path in stored.WORKLOADS.glob("*.json"))


def test_every_network_of_the_profiles_is_stored() -> None:
    assert sorted(stored.names()) == STORED


@pytest.mark.parametrize("name", STORED)
def test_a_stored_workload_is_what_is_traced(name: str) -> None:
    """If the network was meant to change: `python -m bench workload`."""
    path = stored.path_of(name)
    traced = trace.trace(stored.named(name), name)
    assert path.read_text() == traced.text
    assert workload.read(path) == traced


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_trace_agrees_with_what_masks_and_macs_say(framework: str) -> None:
    """Names, shapes and MACs are the encoder's own; passes are those that the framework declares."""
    run = tiny_run(framework, "dense")
    traced, built = trace.trace(run, "tiny"), parts.framework_for(run)
    encoder = [layer for layer in traced.layers if layer.part is Part.ENCODER]
    masks = masking.read(built.online)
    assert {layer.name: layer.macs for layer in encoder} == macs.inference_macs(built.online, (3, 32, 32))
    assert {layer.name: layer.weight_shape for layer in encoder if layer.name in masks} == {
        name: tuple(mask.shape) for name, mask in masks.items()
    }
    step, passes = traced.step, built.passes
    assert (step.online_passes, step.twin_passes, step.target_passes) == (
        passes.online,
        passes.target_trained,
        passes.target_forward,
    )
    assert step.target_is_ema == (passes.target_forward > 0)
    assert step.predictor_passes == {"byol": 2, "simsiam": 2, "supervised": 1}.get(framework, 0)
    assert [layer.name for layer in traced.layers if layer.is_first] == ["conv1"]
    assert sum(layer.part is Part.PREDICTOR for layer in traced.layers) == {
        "byol": 2,
        "simsiam": 2,
        "supervised": 1,
    }.get(framework, 0)


def test_who_reads_whom() -> None:
    """Within a block the second convolution reads the first alone; behind a residual sum, nobody in particular."""
    layers = {layer.name: layer for layer in trace.trace(tiny_run("byol", "dense"), "tiny").layers}
    assert layers["layer2.0.conv2"].reads == "layer2.0.conv1"
    assert layers["layer2.0.conv1"].reads is None
    assert layers["layer2.0.shortcut.0"].reads is None
    assert layers["projection.layers.0"].reads is None
    assert layers["prediction.layers.0"].reads == "projection.layers.3"
    assert layers["projection.layers.0"].has_batch_norm
    assert not layers["projection.layers.3"].has_batch_norm


def test_the_loss_is_counted() -> None:
    """NT-Xent: four B x B products of D channels, each with two in its gradient; MoCo: keys get no gradient."""
    batch, channels, queue = BATCH, 16, 8
    assert trace.trace(tiny_run("simclr", "dense"), "a").step.loss_macs == 3 * 4 * batch**2 * channels
    moco = trace.trace(tiny_run("moco", "dense"), "b").step.loss_macs
    assert 2 * batch * queue * channels <= moco <= 3 * batch * (queue + 1) * channels
    assert trace.trace(tiny_run("byol", "dense"), "c").step.loss_macs == 0


def test_micro_batches_multiply_the_passes() -> None:
    run = tiny_run("simclr", "dense")
    split = replace(run, optimizer=replace(run.optimizer, accumulate_batches=3))
    one, three = trace.trace(run, "a").step, trace.trace(split, "b").step
    assert (three.online_passes, three.twin_passes, three.loss_macs) == (3, 3, 3 * one.loss_macs)


def test_an_imagenet_encoder_is_traced_too() -> None:
    run = replace(tiny_run("simclr", "dense"), encoder=EncoderSpec(name="resnet-50", width=1, stem="imagenet"))
    traced = trace.trace(run, "resnet50", image_pixels=224)
    encoder = [layer for layer in traced.layers if layer.part is Part.ENCODER]
    assert len(encoder) == 53
    assert sum(layer.macs for layer in encoder) == 4_087_136_256  # 4.09 GMACs at 224 pixels without the classifier


def test_tracing_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    trace.trace(tiny_run("simclr", "dense"), "a")
    assert torch.equal(before, torch.get_rng_state())


def test_a_part_without_a_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = parts.framework_for

    def with_a_decoder(run: object) -> nn.Module:
        framework = whole(run)  # type: ignore[arg-type]
        framework.decoder = nn.Linear(2, 2)
        return framework

    monkeypatch.setattr(parts, "framework_for", with_a_decoder)
    with pytest.raises(HardwareError, match=r"decoder has weights, but no place in bench\.workload\.PARTS"):
        trace.trace(tiny_run("simclr", "dense"), "a")


def test_an_unknown_workload_is_refused() -> None:
    with pytest.raises(HardwareError, match="no workload 'paper-simclear': choose from"):
        stored.named("paper-simclear")
