"""Every method and every framework: trains, is exact about its masks, resumes bit by bit."""

import dataclasses
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.config import code
from bench.config.framework import BYOLSpec, MoCoSpec
from bench.config.run import Run
from bench.errors import RunError
from bench.frameworks import FRAMEWORKS, Framework
from bench.frameworks.simclr import SimCLR
from bench.runs import job
from bench.runs.context import Context
from bench.sources import Sources
from bench.ticks import Phase, Tick, silent
from bench.training import checkpoint
from bench.training import parts as training_parts
from bench.training.checkpoint import CheckpointError
from bench.training.state import TrainingError
from bench.views.batched import BatchedViews
from methods import METHODS
from methods.branches import Branches
from methods.granularity.base import budget
from methods.granularity.select import parse
from methods.pruning.synchronized import Synchronized
from methods.scores import EmaMagnitude
from tests.strategies import FIXED, has_gap, keeps_exact_counts, takes
from tests.tiny import BATCH, Pretrained, dataset_of, pretrained, tiny_run

# A method sees a pair of encoders, and no framework: a tied pair (SimCLR) or one with an EMA target (BYOL), by turns
# here, and both in tests/property/test_branches.py. Every other framework has one with two masks, which also follow the
# gradients: whatever of a framework a checkpoint must hold is in it.
PAIRS = ("simclr", "byol")
TAKEN = {method: [pair for pair in PAIRS if takes(method, tied=pair == "simclr")] for method in METHODS}
CELLS = [(taken[index % len(taken)], method) for index, (method, taken) in enumerate(TAKEN.items())]
CELLS += [(each, "synchronized") for each in FRAMEWORKS if (each, "synchronized") not in CELLS]
NEVER_ZERO = (*FIXED, "gradual", "synchronized", "asp")


def gap_of(method: str) -> float:
    return 0.3 if has_gap(method) else 0.0


def stop_at(step: int) -> Tick:
    def tick(done: int, _total: int, phase: Phase = "training", /) -> None:
        if done == step and phase == "training":
            raise KeyboardInterrupt

    return tick


def unpacked(masks: dict[str, Tensor], prefix: str) -> int:
    return sum(int(np.unpackbits(value.numpy()).sum()) for name, value in masks.items() if name.startswith(prefix))


@pytest.mark.parametrize(("framework", "method"), CELLS)
def test_a_run_ends_at_exactly_its_density_and_an_interrupted_one_with_the_same_bits(
    framework: str, method: str, tmp_path: Path
) -> None:
    """From the checkpoint of that moment: that a Ctrl-C writes it is seen below and in test_virtual_device.py."""
    run = tiny_run(framework, method, gap=gap_of(method), epochs=2)
    # In the middle of the mask schedule, at a step that differs from cell to cell.
    step = 3 + CELLS.index((framework, method)) % 2
    whole = pretrained(run, tmp_path, leaves=step)
    resumed_at: list[int] = []
    continued = pretrained(run, tmp_path, lambda done, *_: resumed_at.append(done))
    assert resumed_at[0] == step + 1
    assert continued.facts == whole.facts
    assert continued.masks.keys() == whole.masks.keys()
    assert all(torch.equal(continued.masks[name], mask) for name, mask in whole.masks.items())
    is_exact(run, continued)


def is_exact(run: Run, trained: Pretrained) -> None:
    """Check densities and the exported zeros."""
    method = run.sparsity.method
    total = trained.facts["prunable_weights"]
    assert isinstance(total, int)
    kept, wanted = (trained.facts[f"kept_weights{branch}"] for branch in ("", "_target"))
    assert kept == unpacked(trained.masks, "final/online/")
    assert wanted == unpacked(trained.masks, "final/target/")
    density = 1.0 if training_parts.method_for(run).ends_dense else run.sparsity.density
    unit = parse(run.sparsity.granularity).unit or 1
    if keeps_exact_counts(method):
        assert kept == unit * budget(total // unit, density)
        assert wanted == unit * budget(total // unit, min(1.0, density + run.sparsity.gap))
    layers = trained.facts["kept_per_layer"]
    assert isinstance(layers, dict)
    for name, ones in layers.items():
        layer = trained.encoder.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        assert not parametrize.is_parametrized(layer)
        # What the mask dropped is exactly zero; others are not, unless they grew, from 0, late or behind a dead unit.
        nonzero = int(layer.weight.count_nonzero())
        assert nonzero == ones if method.startswith(NEVER_ZERO) else nonzero <= ones


@pytest.mark.parametrize(
    ("framework", "method"),
    [("byol", "static_uniform"), ("simclr", "gradual"), ("simclr", "synchronized"), ("byol", "synchronized")],
)
def test_an_exported_encoder_is_exactly_2_of_4(framework: str, method: str, tmp_path: Path) -> None:
    run = tiny_run(framework, method, granularity="2:4", density=0.5, gap=gap_of(method), epochs=3)
    whole = pretrained(run, tmp_path / "whole")
    if method == "synchronized":
        with pytest.raises(KeyboardInterrupt):
            pretrained(run, tmp_path, stop_at(5))
        assert pretrained(run, tmp_path).facts == whole.facts
    layers = whole.facts["kept_per_layer"]
    assert isinstance(layers, dict)
    assert layers
    assert whole.facts["layers_left_dense"] == []
    for name in layers:
        weight = whole.encoder.get_submodule(name).get_parameter("weight")
        groups = (weight != 0).movedim(1, -1).reshape(-1, 4).sum(dim=1)
        assert bool((groups == 2).all())


@pytest.mark.parametrize(("framework", "granularity"), [("simclr", "block4x4"), ("byol", "filter")])
def test_an_exported_encoder_consists_of_whole_units(framework: str, granularity: str, tmp_path: Path) -> None:
    run = tiny_run(framework, "synchronized", granularity=granularity, density=0.25, gap=0.3, epochs=3)
    whole = pretrained(run, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrained(run, tmp_path / "cut", stop_at(5))
    assert pretrained(run, tmp_path / "cut").facts == whole.facts
    layers = whole.facts["kept_per_layer"]
    assert isinstance(layers, dict)
    assert whole.facts["layers_left_dense"] == []
    shapes, kept = parse(granularity), 0
    for name, ones in layers.items():
        weight = whole.encoder.get_submodule(name).get_parameter("weight")
        units = shapes.pooled((weight != 0).float())
        assert set(units.unique().tolist()) <= {0.0, weight.numel() / units.numel()}
        assert int(units.sum()) == ones
        kept += ones
    total, size = whole.facts["prunable_weights"], shapes.unit or 1  # filters: every layer divides by 4
    assert isinstance(total, int)
    assert kept == size * budget(total // size, 0.25)


def test_a_layer_that_a_block_does_not_fit_is_listed(tmp_path: Path) -> None:
    # What reads or makes the 4 channels of the stem.
    run = tiny_run("simclr", "static_erk", granularity="block8x8", density=0.25, epochs=1)
    facts = pretrained(run, tmp_path).facts
    left, online = facts["layers_left_dense"], facts["kept_per_layer"]
    assert isinstance(online, dict)
    assert left == [name for name in online if name.startswith(("layer1", "layer2.0.conv1", "layer2.0.shortcut"))]


def test_a_layer_that_a_pattern_does_not_fit_is_listed(tmp_path: Path) -> None:
    # What reads the stem or the first block has 4 input channels.
    run = tiny_run("simclr", "gradual", granularity="2:8", density=0.25, epochs=1)
    facts = pretrained(run, tmp_path).facts
    left, online = facts["layers_left_dense"], facts["kept_per_layer"]
    assert isinstance(online, dict)
    assert left == [name for name in online if name.startswith(("layer1", "layer2.0.conv1", "layer2.0.shortcut"))]


@pytest.mark.parametrize(("framework", "method"), [("simclr", "gradual"), ("byol", "synchronized")])
def test_the_last_mask_update_happens_and_leaves_time_to_recover(framework: str, method: str, tmp_path: Path) -> None:
    run = tiny_run(framework, method, gap=gap_of(method))
    facts = pretrained(run, tmp_path).facts
    steps = facts["update_steps"]
    assert isinstance(steps, list)
    assert len(steps) >= 5
    assert steps[0] == 6
    assert steps[-1] == 13  # 68 % of 20 steps, rounded down


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_another_seed_is_another_run(framework: str, tmp_path: Path) -> None:
    """The same seed is the same run: an interrupted one ends with the same bits, above."""
    run = tiny_run(framework, "synchronized", gap=0.3, epochs=1)
    one, other = (pretrained(dataclasses.replace(run, seed=seed), tmp_path / str(seed)).facts for seed in (0, 1))
    for name in ("loss_digest", "weights_digest", "mask_digest"):
        assert one[name] != other[name]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_methods_share_the_seeds_initial_weights(framework: str) -> None:
    methods = METHODS if framework == "byol" else ("dense", "rigl", "synchronized")
    runs = [tiny_run(framework, method) for method in methods]
    states = [training_parts.framework_for(run).state_dict() for run in runs]
    assert all(torch.equal(states[0][name], state[name]) for state in states for name in states[0])


def test_the_method_is_attached_to_weights_that_are_on_their_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # B4: its averages were on the CPU and the weights on the accelerator, which stopped the first step.
    run, seen = tiny_run("byol", "synchronized", gap=0.3), list[str]()

    def attach(_: object, branches: Branches, *_steps: int) -> None:
        seen.extend(weight.device.type for part in (branches.online, branches.target) for weight in part.parameters())
        raise InterruptedError

    monkeypatch.setattr(Fabric, "device", property(lambda _: torch.device("meta")))
    monkeypatch.setattr(Synchronized, "attach", attach)
    with pytest.raises(InterruptedError):
        pretrained(run, tmp_path)
    assert set(seen) == {"meta"}


def test_accumulation_counts_optimizer_steps(tmp_path: Path) -> None:
    # B33: the published code counted micro-batches, so its schedule ran 16 times too fast.
    run = tiny_run("simclr", "gradual", epochs=3)
    halved = dataclasses.replace(run.optimizer, batch_images=BATCH // 2, accumulate_batches=2)
    whole = pretrained(run, tmp_path / "whole").facts
    parts = pretrained(dataclasses.replace(run, optimizer=halved), tmp_path / "parts").facts
    for name in ("optimizer_steps", "update_steps", "samples_seen", "kept_weights"):
        assert whole[name] == parts[name]


def test_averages_move_once_per_optimizer_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I37, and B33: not once per micro-batch, not once more per update, and no longer than they are needed."""
    moves: list[EmaMagnitude] = []
    update = EmaMagnitude.update

    def counted(average: EmaMagnitude, weights: Mapping[str, Tensor]) -> None:
        moves.append(average)
        update(average, weights)

    monkeypatch.setattr(EmaMagnitude, "update", counted)
    run = tiny_run("byol", "synchronized", gap=0.3, epochs=3)
    halved = dataclasses.replace(run.optimizer, batch_images=BATCH // 2, accumulate_batches=2)
    facts = pretrained(dataclasses.replace(run, optimizer=halved), tmp_path).facts
    steps = facts["update_steps"]
    assert isinstance(steps, list)
    assert Counter(map(id, moves)) == dict.fromkeys({id(average) for average in moves}, steps[-1])
    assert len({id(average) for average in moves}) == 2


def test_an_untrained_run_takes_no_step(tmp_path: Path) -> None:
    run = tiny_run("simclr", "untrained", density=1.0, epochs=0)
    run = dataclasses.replace(
        run,
        sparsity=dataclasses.replace(run.sparsity, granularity="-"),
        optimizer=dataclasses.replace(run.optimizer, warmup_epochs=0.5),  # a warm-up that no step is left for
    )
    trained = pretrained(run, tmp_path)
    initial = training_parts.framework_for(run).online.get_submodule("conv1")
    final = trained.encoder.get_submodule("conv1")
    assert isinstance(initial, nn.Conv2d)
    assert isinstance(final, nn.Conv2d)
    assert torch.equal(initial.weight, final.weight)
    assert trained.facts["optimizer_steps"] == 0


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    run = tiny_run("byol", "dense")
    wild = dataclasses.replace(run, optimizer=dataclasses.replace(run.optimizer, learning_rate=1e30))
    with pytest.raises(TrainingError, match=r"the loss is nan at step \d+ of 20. Lower the learning rate"):
        pretrained(wild, tmp_path)


def test_an_unknown_method_or_framework_names_the_way_out() -> None:
    run = tiny_run("simclr", "gradual")
    with pytest.raises(ValueError, match=r"method 'magic' is unknown. Choose from dense, "):
        training_parts.method_for(dataclasses.replace(run, sparsity=dataclasses.replace(run.sparsity, method="magic")))
    with pytest.raises(ValueError, match=r"framework 'swav' is unknown. Choose from simclr, "):
        training_parts.framework_for(
            dataclasses.replace(run, framework=dataclasses.replace(run.framework, name="swav"))
        )


def test_labels_without_an_output_stop_a_run_before_its_first_step(tmp_path: Path) -> None:
    run = tiny_run("supervised", "dense")
    run = dataclasses.replace(run, framework=dataclasses.replace(run.framework, output_dim=3))
    for start in (lambda: training_parts.check(run, dataset_of(run, tmp_path)), lambda: pretrained(run, tmp_path)):
        with pytest.raises(RunError, match="supervised: 10 classes, but the classifier has 3 outputs"):
            start()


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run = tiny_run("simclr", "dense", epochs=1)
    with pytest.raises(KeyboardInterrupt):
        pretrained(run, tmp_path, stop_at(3))
    with pytest.raises(CheckpointError, match="belongs to another run"):
        pretrained(dataclasses.replace(run, seed=1), tmp_path)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run = tiny_run("simclr", "dense", epochs=1)
    with pytest.raises(KeyboardInterrupt):
        pretrained(run, tmp_path, stop_at(3))
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match="a damaged checkpoint"):
        pretrained(run, tmp_path)


def test_a_checkpoint_of_other_code_is_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run("simclr", "dense", epochs=1)
    with pytest.raises(KeyboardInterrupt):
        pretrained(run, tmp_path, stop_at(3))
    monkeypatch.setattr(code, "code_of", lambda _run: Sources({"a file": "of other code"}))
    steps: list[int] = []
    pretrained(run, tmp_path, lambda done, *_: steps.append(done))
    assert steps[0] == 1


def test_a_checkpoint_on_other_data_is_not_continued(tmp_path: Path) -> None:
    run = tiny_run("simclr", "dense", epochs=1)
    with pytest.raises(KeyboardInterrupt):
        pretrained(run, tmp_path, stop_at(3))
    path = tmp_path / "checkpoint.pt"
    fingerprint = dataset_of(run, tmp_path / "cache").fingerprint
    assert checkpoint.load(path, run, fingerprint) is not None
    assert checkpoint.load(path, run, "other pictures") is None


def test_a_run_goes_on_on_another_kind_of_machine_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run("simclr", "dense", epochs=1)
    whole = job.perform(run, a_context(tmp_path / "whole"), silent)
    with pytest.raises(KeyboardInterrupt):
        job.perform(run, a_context(tmp_path), stop_at(3))
    monkeypatch.setattr(training_parts, "env_class_for", lambda *_, **__: "another machine")
    steps: list[int] = []
    made = job.perform(run, a_context(tmp_path), lambda done, *_: steps.append(done))
    assert steps[0] == 4
    assert made.facts == whole.facts
    assert made.provenance["env_class"] == f"{whole.provenance['env_class']} then another machine"


def test_the_time_of_every_process_that_was_at_a_run_counts(tmp_path: Path) -> None:
    run = tiny_run("simclr", "dense", epochs=1)
    with pytest.raises(KeyboardInterrupt):
        job.perform(run, a_context(tmp_path), stop_at(3))
    path, images = tmp_path / "runs" / run.run_id / "checkpoint.pt", dataset_of(run, tmp_path / "cache")
    state = checkpoint.load(path, run, images.fingerprint)
    assert state is not None
    checkpoint.save(path, run, images.fingerprint, "a machine", state | {"seconds": 7200.0, "cpu_seconds": 3600.0})
    made = job.perform(run, a_context(tmp_path), silent).provenance
    assert 7200 < float(str(made["train_seconds"])) < 7260
    assert 3600 < float(str(made["train_cpu_seconds"])) < 3660


def test_a_run_that_is_stopped_while_it_is_scored_is_trained_no_more(tmp_path: Path) -> None:
    run = tiny_run("simclr", "dense", epochs=1)
    whole = job.perform(run, a_context(tmp_path / "whole"), silent)
    steps: list[int] = []

    def stop_in(stopping: Phase) -> Tick:
        def tick(done: int, _total: int, phase: Phase = "training", /) -> None:
            steps.extend([done] if phase == "training" else [])
            if phase == stopping:
                raise KeyboardInterrupt

        return tick

    for phase in ("scoring", "probing"):
        with pytest.raises(KeyboardInterrupt):
            job.perform(run, a_context(tmp_path), stop_in(phase))
    made = job.perform(run, a_context(tmp_path), silent)
    assert steps == [1, 2, 3, 4]
    assert (made.facts, made.metrics) == (whole.facts, whole.metrics)


def test_the_commit_is_read_before_the_hours_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found on records that named a commit that was checked out while they were made."""
    asked: list[str] = []

    def state() -> dict[str, object]:
        asked.append("commit")
        return {}

    def train(*_: object) -> None:
        assert asked == ["commit"]
        raise InterruptedError

    monkeypatch.setattr(job, "git_state", state)
    monkeypatch.setattr(job, "train", train)
    with pytest.raises(InterruptedError):
        job.perform(tiny_run("simclr", "dense"), a_context(tmp_path), silent)


def a_context(folder: Path) -> Context:
    return Context(runs_dir=folder / "runs", data_dir=folder, cache_dir=folder / "cache")


def test_a_checkpoint_holds_a_shared_weight_once(tmp_path: Path) -> None:
    run = tiny_run("simclr", "synchronized", gap=0.3, epochs=1)
    with pytest.raises(KeyboardInterrupt):
        pretrained(run, tmp_path, stop_at(2))
    archive = (tmp_path / "checkpoint.pt").read_bytes().split(b"\n", 2)[2]
    state = torch.load(io.BytesIO(archive), weights_only=True)["framework"]
    owned = {name for name in state if name.startswith("target.")}
    assert owned
    # Of the twin of a method with two masks: its masks and its running statistics, but no weight.
    assert all(name.endswith((".mask", ".running_mean", ".running_var", ".num_batches_tracked")) for name in owned)


def test_every_epoch_shows_every_image_once_in_an_order_of_its_own_and_each_branch_its_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, list[int], tuple[Tensor, Tensor]]] = []
    seen: list[tuple[Tensor, Tensor]] = []
    make, look = BatchedViews.views, SimCLR.loss

    def views(self: BatchedViews, images: Tensor, samples: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        made.append((epoch, samples.tolist(), make(self, images, samples, epoch)))
        return made[-1][2]

    def loss(self: SimCLR, view0: Tensor, view1: Tensor, labels: Tensor) -> Tensor:
        seen.append((view0, view1))
        return look(self, view0, view1, labels)

    monkeypatch.setattr(BatchedViews, "views", views)
    monkeypatch.setattr(SimCLR, "loss", loss)
    pretrained(tiny_run("simclr", "dense", epochs=3), tmp_path)
    orders = [[sample for epoch, samples, _ in made if epoch == each for sample in samples] for each in range(3)]
    assert all(sorted(order) == list(range(4 * BATCH)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert len(seen) == len(made) == 12
    for (_, _, pair), given in zip(made, seen, strict=True):
        assert all(torch.equal(*each) for each in zip(pair, given, strict=True))
        assert not torch.equal(*given)


@pytest.mark.parametrize("framework", ["byol", "moco"])
def test_the_target_follows_the_online_encoder_after_every_step(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run(framework, "dense", epochs=1)
    assert isinstance(run.framework, BYOLSpec | MoCoSpec)
    run = dataclasses.replace(run, framework=dataclasses.replace(run.framework, ema_start=0.75, ema_end=0.75))
    pairs, make = list[Framework](), training_parts.framework_for
    online, target = list[Tensor](), list[Tensor]()

    def framework_for(run: Run, *, gather: bool) -> Framework:
        pairs.append(make(run, gather=gather))
        return pairs[-1]

    def look(*_: object) -> None:
        latent = "layer1.0.conv1.parametrizations.weight.original"
        for kept, module in ((online, pairs[0].online), (target, pairs[0].target)):
            kept.append(module.get_parameter(latent).detach().clone())

    monkeypatch.setattr(training_parts, "framework_for", framework_for)
    pretrained(run, tmp_path, look)
    assert len(target) == 4
    for before, after, followed in zip(target, target[1:], online[1:], strict=False):
        torch.testing.assert_close(after, 0.75 * before + 0.25 * followed)
        assert not torch.equal(after, before)
