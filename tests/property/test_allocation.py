"""Laws of allocation: I3, I10, I13, I15 to I18."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from lightly.models import ResNetGenerator
from torch import Tensor

from methods import masking, scores
from methods.allocation import Allocation, erk, global_, ranked, uniform
from methods.granularity.base import budget
from methods.granularity.element import Elementwise
from methods.granularity.select import select
from methods.macs import effective_macs, inference_macs
from methods.scores import lamp
from tests.strategies import densities, shapes

Shapes = dict[str, torch.Size]


def networks() -> st.SearchStrategy[Shapes]:
    return st.lists(shapes(9), min_size=1, max_size=6).map(
        lambda layers: {f"layer{index}": torch.Size(shape) for index, shape in enumerate(layers)}
    )


def size_of(network: Shapes) -> int:
    return sum(shape.numel() for shape in network.values())


def raw_density(shape: torch.Size) -> float:
    return sum(shape) / shape.numel()


@given(networks(), densities(), st.integers(0, 9))
def test_counts_add_up_and_every_layer_keeps_one(network: Shapes, density: float, seed: int) -> None:
    total = budget(size_of(network), density)
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.rand(shape, generator=generator) for name, shape in network.items()}
    assume(total >= len(network))
    for counts in (uniform(network, density), erk(network, density), global_(drawn, density)):
        assert sum(counts.values()) == total == math.floor(density * size_of(network) + 0.5)
        assert list(counts) == list(network)
        assert all(1 <= counts[name] <= shape.numel() for name, shape in network.items())


@given(networks())
def test_too_few_weights_for_the_layers_raise(network: Shapes) -> None:
    density = len(network) / size_of(network) / 3
    assert budget(size_of(network), density) < len(network)
    drawn = {name: torch.zeros(shape) for name, shape in network.items()}
    for allocate in (uniform, erk):
        with pytest.raises(ValueError, match="raise the density or widen"):
            allocate(network, density)
    with pytest.raises(ValueError, match="raise the density or widen"):
        global_(drawn, density)


@pytest.mark.parametrize("density", [0.0, -0.2, 1.2])
def test_densities_outside_the_unit_interval_raise(density: float) -> None:
    network = {"a": torch.Size([4, 4])}
    for allocate in (uniform, erk):
        with pytest.raises(ValueError, match="outside"):
            allocate(network, density)


@given(networks())
def test_density_one_keeps_everything(network: Shapes) -> None:
    whole = {name: shape.numel() for name, shape in network.items()}
    assert uniform(network, 1.0) == erk(network, 1.0) == whole
    assert erk(network, 1.0, power=0.5) == whole


@given(networks(), densities())
def test_uniform_rounds_each_layer_down_or_up(network: Shapes, density: float) -> None:
    quotas = {name: density * shape.numel() for name, shape in network.items()}
    assume(all(quota >= 1 for quota in quotas.values()))
    for name, count in uniform(network, density).items():
        assert count in {math.floor(quotas[name]), math.ceil(quotas[name])}


def test_largest_remainders_round_up_and_ties_go_to_the_first_layer() -> None:
    assert uniform({"a": torch.Size([5]), "b": torch.Size([7]), "c": torch.Size([8])}, 0.5) == {
        "a": 3,
        "b": 3,
        "c": 4,
    }
    assert uniform({"b": torch.Size([7]), "a": torch.Size([5])}, 0.5) == {"b": 4, "a": 2}
    assert uniform({"a": torch.Size([10]), "b": torch.Size([11]), "c": torch.Size([13])}, 0.3) == {
        "a": 3,
        "b": 3,
        "c": 4,
    }


def test_an_empty_layer_takes_from_the_one_with_most() -> None:
    drawn = {"a": torch.zeros(4), "b": torch.arange(1.0, 7.0), "c": torch.arange(1.0, 4.0)}
    assert global_(drawn, 5 / 13) == {"a": 1, "b": 3, "c": 1}
    assert uniform({"a": torch.Size([1]), "b": torch.Size([20])}, 0.1) == {"a": 1, "b": 1}


@given(networks(), densities(), st.integers(0, 9))
def test_global_counts_are_those_of_one_ranking(network: Shapes, density: float, seed: int) -> None:
    total = budget(size_of(network), density)
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randint(1, 9, shape, generator=generator).float() for name, shape in network.items()}
    flat = [
        (-float(value), layer, index)
        for layer, name in enumerate(network)
        for index, value in enumerate(drawn[name].reshape(-1))
    ]
    chosen = sorted(flat)[:total]
    by_layer = [sum(layer == number for _, layer, _ in chosen) for number in range(len(network))]
    assume(all(by_layer))
    counts = global_(drawn, density)
    assert list(counts.values()) == by_layer
    masks = select(drawn, counts, Elementwise())
    for number, name in enumerate(network):
        kept = masks[name].reshape(-1).nonzero().reshape(-1).tolist()
        assert kept == sorted(index for _, layer, index in chosen if layer == number)


@given(networks(), densities())
def test_erk_forces_exactly_the_overfull_layers_dense(network: Shapes, density: float) -> None:
    """Solve for the scale by bisection, independently of the fixed point."""
    assume(budget(size_of(network), density) >= 2 * len(network))
    low, high = 0.0, 1.0 / min(raw_density(shape) for shape in network.values())
    wanted = density * size_of(network)
    for _ in range(200):
        middle = (low + high) / 2
        kept = sum(min(1.0, middle * raw_density(shape)) * shape.numel() for shape in network.values())
        low, high = (middle, high) if kept < wanted else (low, middle)
    quotas = {name: min(1.0, high * raw_density(shape)) * shape.numel() for name, shape in network.items()}
    assume(all(quota >= 1 for quota in quotas.values()))
    assert math.isclose(sum(quotas.values()), wanted, rel_tol=1e-9)
    for name, count in erk(network, density).items():
        assert math.floor(quotas[name] - 1e-6) <= count <= math.ceil(quotas[name] + 1e-6)


@st.composite
def strengths(draw: st.DrawFn) -> Tensor:
    """Magnitudes of one layer: zeros, ties, tiny and huge ones, and -1 for weights that do not compete."""
    values = st.sampled_from([-1.0, 0.0, 1e-30, 1e-4, 0.5, 0.5, 1.0, 3.0, 1e15])
    return torch.tensor(draw(st.lists(values, min_size=1, max_size=30)))


@given(strengths())
def test_lamp_scores_are_the_definition(strength: Tensor) -> None:
    """Lee et al. 2021, equation 4, one weight at a time, with exact sums; of equal ones the first ranks higher."""
    values = strength.tolist()
    scores_ = lamp(strength).tolist()
    for index, value in enumerate(values):
        above = [other for place, other in enumerate(values) if (other, -place) >= (value, -index)]
        total = math.fsum(max(0.0, other) ** 2 for other in above)
        expected = -1.0 if value < 0 else value**2 / total if total else 0.0
        assert scores_[index] == pytest.approx(expected, rel=1e-9, abs=1e-300)
    if max(values) > 0:
        assert max(scores_) == 1.0
        assert scores_.index(1.0) == values.index(max(values))


@given(networks(), densities(), st.integers(0, 9))
def test_lamp_empties_no_layer_and_does_not_see_the_scale_of_one(network: Shapes, density: float, seed: int) -> None:
    assume(budget(size_of(network), density) >= len(network))
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.rand(shape, generator=generator) + 0.1 for name, shape in network.items()}
    shares = ranked(drawn, density, Elementwise(), "lamp")
    assert shares.emptied == ()
    assert sum(shares.ones.values()) == budget(size_of(network), density)
    first = next(iter(network))
    doubled = ranked({**drawn, first: 2.0 * drawn[first]}, density, Elementwise(), "lamp")
    assert doubled == shares  # a power of two: exact in any precision


@given(networks(), densities(), st.integers(0, 9))
def test_erk_ranks_inside_the_layers_and_global_says_which_layers_it_emptied(
    network: Shapes, density: float, seed: int
) -> None:
    assume(budget(size_of(network), density) >= len(network))
    generator = torch.Generator().manual_seed(seed)
    drawn = {
        name: (1.0 + torch.rand(shape, generator=generator)) * 10.0 ** (3 * index)
        for index, (name, shape) in enumerate(network.items())
    }
    by_erk, by_rank = (ranked(drawn, density, Elementwise(), each) for each in ("erk", "global"))
    assert by_erk.ones == erk(network, density)
    assert by_erk.emptied == ()
    assert by_rank.ones == global_(drawn, density)
    kept = budget(size_of(network), density)
    larger = 0  # weights of later layers, which are all larger
    for name in reversed(network):
        assert (name in by_rank.emptied) == (larger >= kept)
        larger += network[name].numel()


@pytest.mark.parametrize("allocation", ["global", "erk", "lamp"])
def test_weights_that_do_not_compete_are_kept_last(allocation: Allocation) -> None:
    drawn = {"a": torch.rand(8, 4, 3, 3), "b": torch.rand(16, 8)}
    competing = select(drawn, erk({name: each.shape for name, each in drawn.items()}, 0.5), Elementwise())
    strength = {name: each.masked_fill(competing[name] == 0, -1.0) for name, each in drawn.items()}
    masks = select(strength, ranked(strength, 0.3, Elementwise(), allocation).ones, Elementwise())
    assert all(not bool(mask[competing[name] == 0].any()) for name, mask in masks.items())


def test_power_zero_is_uniform() -> None:
    network = {"a": torch.Size([8, 4, 3, 3]), "b": torch.Size([16, 8, 1, 1]), "c": torch.Size([16, 16, 3, 3])}
    assert erk(network, 0.3, power=0.0) == uniform(network, 0.3)


@given(st.permutations(range(4)), st.floats(0.02, 1.0))
def test_layer_order_does_not_matter_without_ties(order: list[int], density: float) -> None:
    network = {"a": torch.Size([8, 4, 3, 3]), "b": torch.Size([16, 8]), "c": torch.Size([9, 10, 3, 3])}
    network["d"] = torch.Size([7, 13])
    reordered = {name: network[name] for name in (list(network)[index] for index in order)}
    assert erk(reordered, density) == erk(network, density)


@pytest.mark.parametrize(
    ("density", "dense_layers", "lowest", "macs", "macs_with_stem", "uniform_with_stem"),
    [(0.20, 7, 0.1229, 0.5069, 0.5084, 0.2025), (0.10, 2, 0.0579, 0.2471, 0.2495, 0.1029)],
)
def test_erk_table_of_the_cifar_resnet_18(
    density: float,
    dense_layers: int,
    lowest: float,
    macs: float,
    macs_with_stem: float,
    uniform_with_stem: float,
) -> None:
    """The table was computed independently of this code: 11,157,504 prunable weights, 553.6 M MACs."""
    encoder = ResNetGenerator("resnet-18", width=1)
    encoder.linear = torch.nn.Identity()
    masking.install(encoder)
    latents = masking.latent(encoder)
    network = {name: weight.shape for name, weight in latents.items()}
    assert size_of(network) == 11_157_504
    dense = inference_macs(encoder, (3, 32, 32))
    prunable_macs = sum(dense[name] for name in network)
    assert round(prunable_macs / 1e6, 1) == 553.6
    counts = erk(network, density)
    assert sum(counts.values()) == round(density * 11_157_504)
    assert sum(counts[name] == shape.numel() for name, shape in network.items()) == dense_layers
    layer_densities = {name: counts[name] / shape.numel() for name, shape in network.items()}
    assert round(min(layer_densities.values()), 4) == round(layer_densities["layer4.1.conv2"], 4) == lowest
    drawn = scores.random(latents, torch.Generator().manual_seed(0))
    masking.write(encoder, select(drawn, counts, Elementwise()))
    assert masking.counts(encoder) == counts
    present = effective_macs(encoder, dense)
    assert round(sum(present[name] for name in network) / prunable_macs, 4) == macs
    assert round(sum(present.values()) / sum(dense.values()), 4) == macs_with_stem
    masking.write(encoder, select(drawn, uniform(network, density), Elementwise()))
    present = effective_macs(encoder, dense)
    assert round(sum(present.values()) / sum(dense.values()), 4) == uniform_with_stem
