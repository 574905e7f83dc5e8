"""Gates of every kind in the frameworks: they train, keep their budget, resume bit by bit."""

import copy
import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from lightly.models.utils import update_momentum

from bench.config.run import Run
from bench.data import dataset
from bench.errors import RunError
from bench.evaluation import features
from bench.frameworks import FRAMEWORKS
from bench.runs import job
from bench.runs.context import Context
from bench.runs.folder import RunFolder
from bench.ticks import silent
from bench.training import parts
from bench.views.recipes import normalise
from methods import GATES, masking
from methods.gating import control
from methods.gating.control import TOLERANCE
from methods.gating.convolution import GatedConv2d
from methods.gating.layer import gated
from tests.strategies import TIED_ALONE
from tests.tiny import BATCH, SCORED, Pretrained, dataset_of, gated_run, pretrained

# Every kind of gates on a shared encoder; on an EMA target those with state of their own there; elsewhere one.
EMA = {"dual_gate", "dual_gate_averaged", "single_gate", "group_gate", "spatial_gate"}
CELLS = [
    (framework, method)
    for framework in FRAMEWORKS
    for method in GATES
    if framework == "simclr" or (framework == "byol" and method in EMA) or method == "dual_gate"
]


@pytest.mark.parametrize(("framework", "method"), CELLS)
def test_an_interrupted_run_ends_with_the_same_bits(
    framework: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the checkpoint of that moment: that a Ctrl-C writes it is seen in test_virtual_device.py."""
    monkeypatch.setattr(control, "SETTLING_ROUNDS", 2)  # of so few steps: what is done in them is the same each time
    run = gated_run(framework, method, 1.5, epochs=1)  # four steps; steering starts after the first
    step = 1 + CELLS.index((framework, method)) % 3
    whole = pretrained(run, tmp_path, leaves=step)
    continued = pretrained(run, tmp_path)
    assert len(continued.trained.step_seconds) == 4 - step
    assert continued.facts == whole.facts
    assert all(torch.equal(continued.masks[name], mask) for name, mask in whole.masks.items())
    facts = whole.facts
    assert isinstance(facts["training_macs_ratio"], float)
    assert facts["update_steps"]
    assert facts["samples_seen"] == 4 * BATCH
    assert facts["gate_overhead_macs"]


@pytest.fixture(scope="module")
def dense_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pretrained]:
    """What an epoch without gates ends with, in each kind of pair."""
    folder = tmp_path_factory.mktemp("dense")
    return {name: pretrained(gated_run(name, "dense", 0.0, epochs=1), folder / name) for name in ("simclr", "byol")}


@pytest.mark.parametrize(
    ("framework", "method"),
    [(each, method) for each in ("simclr", "byol") for method in GATES if each == "simclr" or method not in TIED_ALONE],
)
def test_null_row_all_gates_on_is_dense(
    framework: str, method: str, dense_runs: dict[str, Pretrained], tmp_path: Path
) -> None:
    dense = dense_runs[framework]
    null = pretrained(gated_run(framework, method, 1.0, epochs=1), tmp_path / "gated")
    assert null.facts["loss_digest"] == dense.facts["loss_digest"]
    images = dataset_of(gated_run(framework, "dense", 0.0), tmp_path / "cache").test.images[:50]
    first, second = (features.features(each.encoder, images, normalise=normalise) for each in (dense, null))
    assert torch.equal(first, second)
    assert null.facts["gate_rate"] == 1.0
    assert (dense.target, dense.features) == (None, None)


@pytest.mark.parametrize(("framework", "granularity"), [("simclr", "slice2"), ("byol", "element")])
def test_dual_gates_meet_their_reduction_in_both_branches(framework: str, granularity: str, tmp_path: Path) -> None:
    run = gated_run(framework, "dual_gate", 1.5, granularity=granularity, epochs=6, batch=24)
    facts = pretrained(run, tmp_path, scored=100).facts  # of few images it would be met by chance
    assert facts["reduction_is_met"] is True
    curves = facts["curves"]
    assert isinstance(curves, dict)
    for name in ("held_out_reduction", "held_out_reduction_target"):
        assert curves[name][-1] == pytest.approx(1.5, rel=0.01)
    for name in ("reduction", "reduction_target"):
        assert facts[name] == pytest.approx(1.5, rel=TOLERANCE)


@pytest.mark.parametrize("method", GATES)
def test_an_export_computes_what_its_branch_does_and_stays(method: str) -> None:
    """And where the target is scored as the online encoder, the two are one function."""
    run = gated_run("simclr", method, 1.5)
    framework, gates = parts.framework_for(run), parts.method_for(run)
    gates.attach(framework.branches, 10)
    views = torch.randn(2, 4, 3, 32, 32)
    gates.hold_out(views[0])
    framework.loss(views[0], views[1], torch.zeros(4, dtype=torch.int64))
    gates.penalty()
    branches = framework.online.eval(), framework.target.eval()
    exports = [gates.export(branch).eval() for branch in branches]
    for exported in exports:
        assert len(gated(exported)) == 8
        assert not any("parametrizations" in name for name in exported.state_dict())
    with torch.no_grad():
        online, target = (branch(views[0]) for branch in branches)
        before = [exported(views[0]) for exported in exports]
        torch.testing.assert_close(before[0], online)
        if method != "single_gate":  # whose target does what the online branch decides; alone it decides itself
            torch.testing.assert_close(before[1], target)
        assert torch.equal(*before) is not gates.splits_branches
        for weight in framework.parameters():
            weight.add_(1.0)
        assert all(torch.equal(exported(views[0]), each) for exported, each in zip(exports, before, strict=True))
        assert torch.equal(copy.deepcopy(exports[0])(views[0]), before[0])


def test_both_branches_of_gated_runs_are_scored(tmp_path: Path) -> None:
    """Each as it is: the features seen while gates are measured are the export's, and an ungated target is dense.

    What is scored goes on from the end of what was trained.
    """
    context = Context(runs_dir=tmp_path / "runs", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    for method in ("dual_gate", "shared_gate", "ungated_target"):
        run = gated_run("simclr", method, 1.5, epochs=1)
        trained = pretrained(run, tmp_path / method)
        images = dataset_of(run, tmp_path / "cache").test.images[:SCORED]
        assert trained.target is not None
        assert trained.features is not None
        torch.testing.assert_close(trained.features, features.features(trained.encoder, images, normalise=normalise))
        assert (trained.target is trained.encoder) is (method == "shared_gate")
        home = RunFolder.of(context.runs_dir, run)
        home.path.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / method / "checkpoint.pt", home.checkpoint)
        made = job.perform(run, context, silent)
        seconds, of_steps = made.provenance["cpu_seconds"], made.provenance["train_cpu_seconds"]
        assert isinstance(seconds, float)
        assert isinstance(of_steps, float)
        assert seconds > of_steps  # the rest is what gates are measured with, and the scores
        same = made.metrics == {name: made.facts[f"{name}_target"] for name in made.metrics}
        assert same is (method == "shared_gate")
        agreement, rate = made.facts["gate_agreement"], made.facts["gate_rate"]
        assert isinstance(agreement, float)
        if method == "ungated_target":
            assert made.facts["reduction_target"] == 1.0
            assert agreement == pytest.approx(rate)  # equal where the online gate is on
        else:
            assert (agreement == 1.0) is (method == "shared_gate")
            is_equal = made.facts["reduction_target"] == made.facts["reduction"]
            assert is_equal is (method == "shared_gate")


@pytest.mark.parametrize("method", GATES)
def test_branches_that_compute_differently_have_statistics_of_their_own(method: str) -> None:
    """Otherwise the exported branch is normalised by a mixture with what another function of the images gave."""
    run = gated_run("simclr", method, 1.5)
    framework = parts.framework_for(run)
    is_one = framework.online.get_submodule("bn1") is framework.target.get_submodule("bn1")
    assert is_one is (method in {"shared_gate", "channel_gate", "feature_boosting", "group_gate", "spatial_gate"})


def test_a_gated_encoder_is_copied_averaged_and_twinned() -> None:
    run = gated_run("byol", "dual_gate", 1.5)
    framework = parts.framework_for(run)
    parts.method_for(run).attach(framework.branches, 10)
    other, twin = copy.deepcopy(framework.online), masking.twin(framework.online, own_statistics=True)
    with torch.no_grad():
        for layer in gated(framework.online).values():
            layer.get_parameter("gate.deviation").fill_(1.0)
    update_momentum(framework.online, other, m=0.75)
    for path, layer in gated(other).items():
        assert layer.get_parameter("gate.deviation").unique().tolist() == [0.25]
        shared = gated(twin)[path]
        assert shared.get_parameter("gate.deviation") is gated(framework.online)[path].get_parameter("gate.deviation")
        shared.get_buffer("gate.aim").fill_(3.0)
        assert gated(framework.online)[path].get_buffer("gate.aim").item() == 0.0


@pytest.mark.parametrize("method", ["shared_gate", "single_gate"])
def test_an_ema_leaves_a_gate_of_both_branches_alone(method: str) -> None:
    """Lightly's in-place update shrinks what is online and target at once, at every step."""
    run = gated_run("moco", method, 1.5)
    framework, gates = parts.framework_for(run), parts.method_for(run)
    gates.attach(framework.branches, 10)
    deviation = framework.online.get_parameter("layer1.0.conv1.gate.deviation")
    deviation.data.fill_(1.0)
    before = framework.target.get_parameter("conv1.weight").clone()
    framework.online.get_parameter("conv1.weight").data.add_(1.0)
    framework.update_target(0, 10)
    assert torch.equal(deviation, torch.ones_like(deviation))
    torch.testing.assert_close(framework.target.get_parameter("conv1.weight"), before + 0.1)


def test_averaged_thresholds_follow_and_own_ones_do_not() -> None:
    for framework_name in ("simclr", "byol"):
        for method_name, expected in (("dual_gate_averaged", 0.01), ("dual_gate", 0.0)):
            run = gated_run(framework_name, method_name, 1.5)
            framework, method = parts.framework_for(run), parts.method_for(run)
            method.attach(framework.branches, 100)
            for layer in gated(framework.online).values():
                layer.get_buffer("gate.aim").fill_(1.0)
            method.on_step(0)
            for layer in gated(framework.target).values():
                assert layer.get_buffer("gate.aim").item() == pytest.approx(expected)


def test_a_single_gate_decides_for_both_views() -> None:
    run = gated_run("byol", "single_gate", 1.5)
    framework, method = parts.framework_for(run), parts.method_for(run)
    method.attach(framework.branches, 10)
    for encoder in (framework.online, framework.target):
        for layer in gated(encoder).values():
            layer.notes = []
    views = torch.randn(2, 4, 3, 32, 32)
    framework.loss(views[0], views[1], torch.zeros(4, dtype=torch.int64))
    for path, layer in gated(framework.online).items():
        told, followed = layer.notes, gated(framework.target)[path].notes
        assert told is not None
        assert followed is not None
        assert len(told) == 2
        assert all(torch.equal(one.gates, two.gates) for one, two in zip(told, followed, strict=True))


def test_an_ungated_target_is_dense() -> None:
    run = gated_run("simclr", "ungated_target", 1.5)
    framework, method = parts.framework_for(run), parts.method_for(run)
    dense = parts.framework_for(run).target.eval()
    method.attach(framework.branches, 10)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(framework.target.eval()(images), dense(images))
    assert not torch.equal(framework.online.eval()(images), dense(images))


def test_held_out_images_are_trained_on_by_nobody(tmp_path: Path) -> None:
    run = gated_run("simclr", "dense", 0.0)
    with_all = dataclasses.replace(run, data=dataclasses.replace(run.data, held_out_images=0))
    parted, whole = (dataset_of(each, tmp_path) for each in (run, with_all))
    joined = torch.cat([parted.train.images, parted.held_out.images])
    assert torch.equal(joined, whole.train.images)
    assert len(parted.held_out.images) == 24
    assert parted.fingerprint != whole.fingerprint
    all_held_out = dataclasses.replace(run.data, train_images=0, held_out_images=1297)
    with pytest.raises(dataset.DataError, match="1,297 of 1,297 train images are to be held out"):
        dataset_of(dataclasses.replace(run, data=all_held_out), tmp_path)


def _method_of(run: Run, method: str, reduction: float, density: float) -> object:
    sparsity = dataclasses.replace(run.sparsity, method=method, reduction=reduction, density=density)
    return parts.method_for(dataclasses.replace(run, sparsity=sparsity))


def test_weights_and_gates_are_told_apart() -> None:
    run = gated_run("simclr", "dual_gate", 1.5)
    for method, reduction, density, message in (
        ("gradual", 1.5, 1.0, "gating method 'gradual' is unknown.* Choose from dual_gate"),
        ("dual_gate", 0.0, 1.0, r"method 'dual_gate' is unknown. .*With a reduction \(t1.50\), from dual_gate"),
        ("dual_gate", 1.5, 0.5, "gates skip activations; all weights stay"),
        ("dual_gate", 0.5, 1.0, "reduction is 0.5; it must be at least 1"),
    ):
        with pytest.raises(RunError, match=message):
            _method_of(run, method, reduction, density)
    with pytest.raises(ValueError, match="unknown granularity of gates '2:4'"):
        parts.method_for(gated_run("simclr", "dual_gate", 1.5, granularity="2:4"))


def test_gates_of_the_export_belong_to_the_online_branch(tmp_path: Path) -> None:
    trained = pretrained(gated_run("byol", "dual_gate", 1.5), tmp_path)
    aims = {layer.gate.aim.item() for layer in gated(trained.encoder).values() if isinstance(layer, GatedConv2d)}
    curves = trained.facts["curves"]
    assert isinstance(curves, dict)
    (aim,) = aims
    assert aim == pytest.approx(curves["aim"][-1], abs=1e-5)
