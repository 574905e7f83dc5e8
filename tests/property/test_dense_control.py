"""Dense training on smaller images costs what it shall: counted anew, ramp by ramp, and as the stored runs say."""

import dataclasses
import functools
import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.config.profiles import PROFILES, Profile
from bench.config.run import EncoderSpec, Run
from bench.config.sparsity import SparsitySpec
from bench.config.views import ViewSpec
from bench.errors import RunError
from bench.judging.references import load_references
from bench.tables.control import ratios, share_at
from bench.training import encoders
from methods import masking
from methods.allocation import erk
from methods.macs import inference_macs
from methods.schedule import Cubic
from tests.tiny import tiny_run

CELL = "simclr/gradual_erk/element/d0.02"
IMAGES = {"smoke": 12_800, "cpu": 50_000, "paper": 50_000}
POINTS = [(profile, density) for profile in IMAGES for density in PROFILES[profile].densities]


def control(profile: str, density: float) -> tuple[Profile, Run, int]:
    size = PROFILES[profile]
    point = SparsitySpec(method="dense_small_images", granularity="element", density=density)
    run = size.run("simclr", point, "cifar10")
    return size, run, run.total_steps(IMAGES[profile])


@functools.cache
def layers(spec: EncoderSpec) -> tuple[dict[str, torch.Size], dict[int, dict[str, int]]]:
    """Shapes of the prunable weights, and MACs per layer of images of 16 and of 32 pixels."""
    encoder, _ = encoders.build(spec)
    masking.install(encoder)
    shapes = {name: weight.shape for name, weight in masking.latent(encoder).items()}
    return shapes, {side: inference_macs(encoder, (3, side, side)) for side in (16, 32)}


def cost_of_gradual_erk(size: Profile, run: Run, total_steps: int) -> Fraction:
    """Training MACs over dense ones, from the ramp's levels, ERK counts and the sizes of the other rows' images."""
    shapes, macs = layers(run.encoder)
    level = Cubic.over(total_steps, *size.ramp, run.sparsity.period_fraction, initial=1.0, final=run.sparsity.density)
    ends = [0, *(step + 1 for step in level.due_steps), total_steps]
    levels = [1.0, *map(level.value, level.due_steps)]
    small_steps = round(run.views.small_fraction * total_steps)
    parts_of_run = {16: range(small_steps), 32: range(small_steps, total_steps)}
    spent = whole = 0
    for (first, last), kept in zip(itertools.pairwise(ends), levels, strict=True):
        ones = erk(shapes, kept)
        for side, steps in parts_of_run.items():
            count = len(range(max(first, steps.start), min(last, steps.stop)))
            for name, dense in macs[side].items():
                whole += count * dense
                spent += count * (dense * ones[name] // shapes[name].numel() if name in ones else dense)
    return Fraction(spent, whole)


@pytest.mark.parametrize(("profile", "density"), POINTS)
def test_the_control_takes_the_training_macs_of_gradual_erk_to_the_nearest_step(profile: str, density: float) -> None:
    size, run, total_steps = control(profile, density)
    wanted = float(cost_of_gradual_erk(size, run, total_steps))
    assert run.views.control_fraction == share_at(run, wanted, total_steps)
    reached = ratios(run, total_steps)
    steps = round(run.views.control_fraction * total_steps)
    assert abs(reached[steps] - wanted) <= (reached[steps - 1] - reached[steps]) / 2


def test_the_count_of_gradual_erk_is_what_its_stored_runs_took() -> None:
    found = {
        record.facts["training_macs_ratio"]
        for record in load_references("cifar10", "smoke", "cifar10")
        if record.run.cell == CELL
    }
    assert found == {float(cost_of_gradual_erk(*control("smoke", 0.02)))}


@given(
    st.sampled_from([0, 16, 24]),
    st.floats(0.01, 1.0),
    st.integers(1, 60),
    st.floats(0.0, 1.0),
)
def test_more_steps_on_smaller_images_cost_less_and_the_share_found_is_the_nearest(
    small: int, fraction: float, total_steps: int, wanted: float
) -> None:
    views = ViewSpec(
        pipeline="batched-v1",
        recipe="digits",
        small_pixels=small,
        small_fraction=fraction if small else 0.0,
        control_pixels=8,
        control_fraction=0.5,
    )
    run = dataclasses.replace(tiny_run("simclr", "dense_small_images"), views=views)
    reached = ratios(run, total_steps)
    assert reached[0] == 1.0
    assert (np.diff(reached) < 0.0).all()
    ratio = reached[-1] + wanted * (reached[1] - reached[-1])  # from all steps on smaller images to one
    steps = round(share_at(run, ratio, total_steps) * total_steps)
    assert abs(reached[steps] - ratio) <= np.abs(reached - ratio).min() + 1e-12


def test_where_its_share_is_unknown_the_control_says_what_there_is() -> None:
    point = SparsitySpec(method="dense_small_images", granularity="element", density=0.3)
    with pytest.raises(RunError, match=r"density 0\.3 on cifar10: .* is settled at d0\.10, d0\.02 alone there\. Take"):
        PROFILES["cpu"].run("simclr", point, "cifar10")
    with pytest.raises(RunError, match=r"density 0\.02 on digits: .* is settled at no density there"):
        PROFILES["smoke"].run("simclr", dataclasses.replace(point, density=0.02), "digits")
    with pytest.raises(RunError, match="is settled at no density there"):
        PROFILES["gpu"].run("simclr", dataclasses.replace(point, density=0.10), "cifar10")
