import dataclasses
import hashlib
import itertools

import pytest

from bench.config.run import DataSpec, EncoderSpec, FrameworkSpec, OptimizerSpec, Run, SparsitySpec, ViewSpec

RUN = Run(
    framework=FrameworkSpec(name="simclr", hidden_dim=64, output_dim=128, temperature=0.2),
    sparsity=SparsitySpec(method="synchronized", granularity="element", density=0.1, gap=0.3),
    data=DataSpec(name="cifar10", train_images=5120),
    encoder=EncoderSpec(name="resnet-9", width=0.125),
    views=ViewSpec(pipeline="batched-v1", recipe="simclr"),
    optimizer=OptimizerSpec(name="sgd", learning_rate=0.06, weight_decay=5e-4, batch_images=64, epochs=4),
    seed=3,
)


def test_a_run_has_a_pinned_name() -> None:
    # A literal: renaming a run orphans every stored reference, so it must be done knowingly.
    assert RUN.run_id == "simclr-synchronized-element-d0.10+g0.30-s3-430cb316f0b0"


def test_the_name_hashes_the_canonical_text() -> None:
    assert RUN.run_id.endswith(hashlib.sha256(RUN.canonical_text.encode()).hexdigest()[:12])


def test_defaults_are_left_out_of_the_text() -> None:
    assert "momentum" not in RUN.canonical_text
    assert "evaluation" not in RUN.canonical_text
    assert '"learning_rate":0.06' in RUN.canonical_text


@pytest.mark.parametrize("part", ["framework", "sparsity", "data", "encoder", "views", "optimizer", "evaluation"])
def test_every_field_changes_the_name(part: str) -> None:
    value = getattr(RUN, part)
    for item in dataclasses.fields(value):
        old = getattr(value, item.name)
        changed = f"{old}x" if isinstance(old, str) else (old or 0) + 1
        other = dataclasses.replace(RUN, **{part: dataclasses.replace(value, **{item.name: changed})})
        assert other.run_id != RUN.run_id, item.name


def test_names_of_different_seeds_differ() -> None:
    runs = [dataclasses.replace(RUN, seed=seed) for seed in range(5)]
    assert all(one.run_id != two.run_id for one, two in itertools.combinations(runs, 2))


@pytest.mark.parametrize("point", ["d0.10", "d1.00", "d0.02+g0.30", "t2.25", "t1.00"])
def test_a_point_parses_back(point: str) -> None:
    assert SparsitySpec.at(method="gradual", granularity="element", point=point).point == point


def test_too_few_images_for_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="63 train images do not fill one batch of 64"):
        RUN.steps_per_epoch(63)
