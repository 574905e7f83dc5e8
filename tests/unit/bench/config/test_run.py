import contextlib
import dataclasses
import hashlib
import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.config.cell import Point, parse_point
from bench.config.framework import (
    BarlowTwinsSpec,
    BYOLSpec,
    FrameworkSpec,
    MoCoSpec,
    SimCLRSpec,
    SimSiamSpec,
    SupervisedSpec,
    VICRegSpec,
)
from bench.config.run import DataSpec, EncoderSpec, OptimizerSpec, Run
from bench.config.sparsity import SparsitySpec
from bench.config.views import ViewSpec
from bench.errors import RunError

RUN = Run(
    framework=SimCLRSpec(hidden_dim=64, output_dim=128, temperature=0.2),
    sparsity=SparsitySpec(method="synchronized", granularity="element", density=0.1, gap=0.3),
    data=DataSpec(name="cifar10", train_images=5120),
    encoder=EncoderSpec(name="resnet-9", width=0.125),
    views=ViewSpec(pipeline="batched-v1", recipe="simclr"),
    optimizer=OptimizerSpec(name="sgd", learning_rate=0.06, weight_decay=5e-4, batch_images=64, epochs=4),
    seed=3,
)

EMA = {"ema_start": 0.9, "ema_end": 1.0}


def test_a_run_has_a_pinned_name() -> None:
    # A literal: renaming a run orphans every stored reference, so it must be done knowingly.
    assert RUN.run_id == "simclr-synchronized-element-d0.10+g0.30-s3-430cb316f0b0"


def test_the_name_hashes_the_canonical_text() -> None:
    assert RUN.run_id.endswith(hashlib.sha256(RUN.canonical_text.encode()).hexdigest()[:12])


def test_defaults_are_left_out_of_the_text() -> None:
    assert "momentum" not in RUN.canonical_text
    assert "evaluation" not in RUN.canonical_text
    assert '"learning_rate":0.06' in RUN.canonical_text


OTHER_TEXTS = {
    "evaluate_on": "validation",
    "pipeline": "lightly",
    "precision": "bf16-mixed",
    "probe": "sgd",
    "stem": "imagenet",
    "transfer": "digits",
}
TOGETHER = {
    *(("framework", "name"), ("optimizer", "name"), ("optimizer", "trust_coefficient"), ("optimizer", "clip_lr")),
    *(("sparsity", "reduction"), ("views", "small_pixels"), ("views", "small_fraction")),
    *(("views", "control_pixels"), ("views", "control_fraction")),
}


@pytest.mark.parametrize("part", ["framework", "sparsity", "data", "encoder", "views", "optimizer", "evaluation"])
def test_every_field_changes_the_name(part: str) -> None:
    value = getattr(RUN, part)
    for item in dataclasses.fields(value):
        old = getattr(value, item.name)
        if old == ():
            other = dataclasses.replace(value, **{item.name: (("fraction", 0.5),)})
            assert dataclasses.replace(RUN, **{part: other}).run_id != RUN.run_id
            continue
        if (part, item.name) in TOGETHER:
            continue
        changed = OTHER_TEXTS.get(item.name, f"{old}x") if isinstance(old, str | None) else old / 2 or 0.5
        changed = old + 1 if isinstance(old, int) else changed
        other = dataclasses.replace(RUN, **{part: dataclasses.replace(value, **{item.name: changed})})
        assert other.run_id != RUN.run_id, item.name


def test_fields_that_go_together_change_the_name() -> None:
    lars = dataclasses.replace(RUN.optimizer, name="lars", trust_coefficient=0.02)
    others = [
        dataclasses.replace(
            RUN, framework=BYOLSpec(hidden_dim=64, output_dim=128, prediction_dim=8, ema_start=0.9, ema_end=1.0)
        ),
        dataclasses.replace(RUN, optimizer=lars),
        dataclasses.replace(RUN, optimizer=dataclasses.replace(lars, trust_coefficient=0.01)),
        dataclasses.replace(RUN, optimizer=dataclasses.replace(lars, clip_lr=True)),
        dataclasses.replace(RUN, sparsity=SparsitySpec(method="dual_gate", granularity="element", reduction=1.5)),
        dataclasses.replace(RUN, sparsity=SparsitySpec(method="dual_gate", granularity="element", reduction=2.0)),
    ]
    assert len({run.run_id for run in (RUN, *others)}) == len(others) + 1


def test_options_are_left_out_of_the_text_when_there_are_none_and_read_back_from_lists() -> None:
    assert "options" not in RUN.canonical_text
    given = [["momentum", 0.9], ["prune_rate", 0.25]]
    sparsity = SparsitySpec(method="synchronized", options=given)  # type: ignore[arg-type]
    assert sparsity.options == (("momentum", 0.9), ("prune_rate", 0.25))
    with pytest.raises(ValueError, match="name each once, in alphabetical order"):
        SparsitySpec(method="synchronized", options=sparsity.options[::-1])


def test_names_of_different_seeds_differ() -> None:
    runs = [dataclasses.replace(RUN, seed=seed) for seed in range(5)]
    assert all(one.run_id != two.run_id for one, two in itertools.combinations(runs, 2))


@pytest.mark.parametrize("point", ["d0.10", "d1.00", "d0.02+g0.30", "t2.25", "t1.00", "d0.125", "d0.005+g0.375"])
def test_a_point_parses_back(point: str) -> None:
    assert SparsitySpec.at(method="gradual", granularity="element", point=point).point == point


def test_a_sparser_target_has_a_negative_gap() -> None:
    point = parse_point("d1.00-g0.90")
    assert (point.density, point.gap) == (1.0, -0.9)
    assert SparsitySpec.at(method="sdclr", granularity="element", point="d1.00-g0.90").point == "d1.00-g0.90"


@given(density=st.floats(1e-12, 1.0), gap=st.floats(-1.0, 1.0))
def test_every_density_has_one_name_that_parses_back(density: float, gap: float) -> None:
    point = Point(density=density, gap=gap)
    assert parse_point(str(point)) == point


@given(hundredths=st.integers(1, 100))
def test_a_density_of_two_decimals_keeps_its_name(hundredths: int) -> None:
    assert str(Point(density=hundredths / 100)) == f"d{hundredths / 100:.2f}"


@pytest.mark.parametrize("text", ["d0.1", "d0.100", "d00.10", "d0.10+g0.00", "d1", "t0.00", "d-0.10", "d1e-3", "d", ""])
def test_another_text_is_no_point(text: str) -> None:
    with pytest.raises(RunError, match="point"):
        parse_point(text)


@given(text=st.text(max_size=12))
def test_any_text_is_a_point_or_refused(text: str) -> None:
    with contextlib.suppress(RunError):
        assert str(parse_point(text)) == text


IMPOSSIBLE: list[tuple[str, dict[str, object], str]] = [
    ("sparsity", {"density": 0.0}, r"sparsity.density is 0.0; it must lie in \(0, 1\]"),
    ("sparsity", {"density": math.nan}, r"sparsity.density is nan"),
    ("sparsity", {"gap": -1.1}, r"sparsity.gap is -1.1; it must lie in \[-1, 1\]"),
    ("sparsity", {"gap": -0.1}, "the target would keep nothing"),
    ("sparsity", {"start_fraction": 0.9}, "the start must not exceed the end"),
    ("sparsity", {"period_fraction": 0.0}, "period_fraction"),
    ("sparsity", {"reduction": 2.0}, "Leave density and gap out"),
    ("sparsity", {"reduction": 0.5, "density": 1.0, "gap": 0.0}, "reduction is 0.5; it must be at least 1"),
    ("sparsity", {"method": "untrained"}, "4 epochs are set; untrained takes no step"),
    ("optimizer", {"epochs": 0}, "0 epochs are set"),
    ("optimizer", {"epochs": -1}, "epochs is -1; it must be at least 0"),
    ("optimizer", {"learning_rate": math.inf}, "learning_rate is inf"),
    ("optimizer", {"batch_images": 0}, "batch_images is 0; it must be at least 1"),
    ("optimizer", {"name": ""}, "optimizer.name is ''; it must be a name"),
    ("optimizer", {"name": "lars"}, "LARS needs one"),
    ("optimizer", {"trust_coefficient": 0.02}, "no other optimizer has one"),
    ("data", {"train_images": -1}, "train_images is -1"),
    ("data", {"train_images": 100, "held_out_images": 100}, "leaves none to train on"),
    ("data", {"evaluate_on": "train"}, "evaluate_on 'train' is unknown"),
    ("data", {"name": ""}, "data.name is ''; it must be a name"),
    ("encoder", {"width": 0}, "width is 0; it must be above 0"),
    ("views", {"pipeline": "batched"}, "Did you mean 'batched-v1'"),
    ("evaluation", {"knn_neighbours": 0}, "knn_neighbours is 0"),
    ("framework", {"temperature": 0.0}, "simclr.temperature is 0.0; it must be above 0"),
    ("framework", {"output_dim": 0}, "simclr.output_dim is 0; it must be at least 1"),
]


@pytest.mark.parametrize(("part", "changes", "message"), IMPOSSIBLE)
def test_an_impossible_value_is_refused(part: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(RunError, match=message):
        dataclasses.replace(RUN, **{part: dataclasses.replace(getattr(RUN, part), **changes)})


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(RunError, match=r"run\.seed is -1; it must be at least 0"):
        dataclasses.replace(RUN, seed=-1)


@pytest.mark.parametrize(
    ("spec", "constants", "message"),
    [
        (MoCoSpec, {**EMA, "temperature": 0.2, "queue_size": 0}, "moco.queue_size is 0"),
        (BYOLSpec, {"ema_start": 1.1, "ema_end": 1.0, "prediction_dim": 8}, "byol.ema_start is 1.1"),
        (BYOLSpec, {**EMA, "prediction_dim": 0}, "byol.prediction_dim is 0"),
        (BarlowTwinsSpec, {"redundancy_weight": -1.0, "loss_scale": 0.1}, "barlow_twins.redundancy_weight is -1.0"),
        (SimSiamSpec, {"prediction_dim": 0}, "simsiam.prediction_dim is 0"),
        (VICRegSpec, {"loss_scale": math.nan}, "vicreg.loss_scale is nan"),
        (SupervisedSpec, {}, "supervised.hidden_dim is 16"),
    ],
)
def test_each_framework_checks_its_constants(
    spec: type[FrameworkSpec], constants: dict[str, Any], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        spec(hidden_dim=16, output_dim=16, **constants)


def test_too_few_images_for_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="63 train images do not fill one batch of 64"):
        RUN.steps_per_epoch(63)


def test_smaller_images_first_change_the_name_together() -> None:
    names = {
        dataclasses.replace(RUN, views=dataclasses.replace(RUN.views, small_pixels=pixels, small_fraction=share)).run_id
        for pixels, share in ((0, 0.0), (16, 0.5), (20, 0.5), (16, 0.7))
    }
    assert len(names) == 4
    control = SparsitySpec(method="dense_small_images", granularity="element")
    controls = {
        dataclasses.replace(
            RUN,
            sparsity=control,
            views=dataclasses.replace(RUN.views, control_pixels=pixels, control_fraction=share),
        ).run_id
        for pixels, share in ((8, 0.5), (10, 0.5), (8, 0.7))
    }
    assert len(controls) == 3


def test_untrained_takes_no_step_even_where_others_are_given_a_number() -> None:
    """`table --set optimizer.steps=12` sets them for every cell; the floor stays the floor."""
    optimizer = dataclasses.replace(RUN.optimizer, steps=12)
    assert dataclasses.replace(RUN, optimizer=optimizer).total_steps(12_800) == 12
    floor = dataclasses.replace(
        RUN, sparsity=SparsitySpec(method="untrained"), optimizer=dataclasses.replace(optimizer, epochs=0)
    )
    assert floor.total_steps(12_800) == 0
