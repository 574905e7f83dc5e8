"""Scores: magnitudes, their running means, random draws."""

import pytest
import torch
from torch import nn

from methods import masking, scores
from methods.scores import EmaMagnitude
from tests.strategies import PRUNABLE, masked_encoder


def test_magnitudes_are_detached_absolute_values() -> None:
    weight = nn.Parameter(torch.tensor([-2.0, 0.0, 3.0]))
    result = scores.magnitude({"a": weight})["a"]
    assert result.tolist() == [2.0, 0.0, 3.0]
    assert not result.requires_grad
    assert scores.gradient_magnitude({"a": torch.tensor([-1.0])})["a"].tolist() == [1.0]


def test_averages_start_at_the_magnitude_and_follow_the_formula() -> None:
    weights = {"a": torch.tensor([1.0, -4.0])}
    average = EmaMagnitude(weights, momentum=0.75)
    assert average.scores["a"].tolist() == [1.0, 4.0]
    weights["a"].copy_(torch.tensor([-3.0, 0.0]))
    average.update(weights)
    assert average.scores["a"].tolist() == [1.5, 3.0]
    average.update(weights)
    assert average.scores["a"].tolist() == [1.875, 2.25]


def test_there_is_one_average_per_prunable_layer_and_none_aliases_a_weight() -> None:
    encoder = masked_encoder()
    latents = masking.latent(encoder)
    average = EmaMagnitude(latents, momentum=0.9)
    assert tuple(average.scores) == PRUNABLE
    before = {name: mean.clone() for name, mean in average.scores.items()}
    with torch.no_grad():
        for latent in latents.values():
            latent.zero_()
    assert all(torch.equal(mean, before[name]) for name, mean in average.scores.items())
    assert not any(mean.requires_grad for mean in average.scores.values())


def test_averages_live_where_the_weights_live() -> None:
    weights = {"a": torch.ones(3, device="meta", dtype=torch.float64)}
    average = EmaMagnitude(weights, momentum=0.9)
    average.update(weights)
    assert average.scores["a"].device.type == "meta"
    assert average.scores["a"].dtype == torch.float64
    drawn = scores.random(weights, torch.Generator().manual_seed(0))
    assert drawn["a"].device.type == "meta"


def test_single_averages_start_anew_at_the_present_magnitude() -> None:
    weights = {"a": torch.tensor([1.0, -4.0]), "b": torch.ones(2)}
    average = EmaMagnitude(weights, momentum=0.75)
    average.restart({"a": torch.tensor([-3.0, 9.0]), "b": torch.zeros(2)}, {"a": torch.tensor([1.0, 0.0])})
    assert average.scores["a"].tolist() == [3.0, 4.0]
    assert average.scores["b"].tolist() == [1.0, 1.0]


def test_averages_come_back_from_their_state() -> None:
    weights = {"a": torch.rand(4), "b": torch.rand(2, 2)}
    average, other = (EmaMagnitude(weights, momentum=0.9) for _ in range(2))
    average.update({name: 2 * weight for name, weight in weights.items()})
    state = average.state_dict()
    other.load_state_dict(state)
    average.update(weights)
    other.update(weights)
    assert all(torch.equal(average.scores[name], other.scores[name]) for name in weights)
    with pytest.raises(ValueError, match="the saved magnitudes are for"):
        other.load_state_dict({"a": state["a"]})
    with pytest.raises(ValueError, match="the saved magnitudes are for"):
        other.load_state_dict({"a": state["a"], "b": torch.zeros(4)})


@pytest.mark.parametrize("momentum", [1.0, -0.1, 1.5])
def test_a_momentum_outside_its_range_raises(momentum: float) -> None:
    with pytest.raises(ValueError, match="is outside"):
        EmaMagnitude({}, momentum=momentum)


def test_random_scores_depend_on_their_generator_alone() -> None:
    weights = {"a": torch.zeros(5), "b": torch.zeros(3, 2)}
    torch.manual_seed(0)
    first = scores.random(weights, torch.Generator().manual_seed(4))
    torch.manual_seed(1)
    second = scores.random(weights, torch.Generator().manual_seed(4))
    assert all(torch.equal(first[name], second[name]) for name in weights)
    assert first["b"].shape == (3, 2)
    other = scores.random(weights, torch.Generator().manual_seed(5))
    assert not torch.equal(first["a"], other["a"])
