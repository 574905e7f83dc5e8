"""Laws of overlap: I49 to I51."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods.masking import Masks
from methods.overlap import overlap


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Masks, Masks]:
    """Two sets of masks on the same layers; either may be empty, full or equal to the other."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    layers = draw(st.lists(st.integers(1, 30), min_size=1, max_size=4))
    first, second = (
        {
            f"layer{index}": (torch.rand(size, generator=generator) < density).float()
            for index, size in enumerate(layers)
        }
        for density in draw(st.tuples(*[st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])] * 2))
    )
    return first, draw(st.sampled_from([first, second]))


@given(pairs())
def test_overlap_is_symmetric_and_bounded(pair: tuple[Masks, Masks]) -> None:
    first, second = pair
    result = overlap(first, second)
    assert result == overlap(second, first)
    for value in (result.agreement, result.iou, result.containment):
        assert 0.0 <= value <= 1.0
    assert result.chance_corrected <= 1.0


@given(pairs())
def test_overlap_is_one_only_for_equal_masks(pair: tuple[Masks, Masks]) -> None:
    first, second = pair
    result = overlap(first, second)
    equal = all(torch.equal(first[name], second[name]) for name in first)
    assert (result.agreement == 1.0) == equal
    assert (result.iou == 1.0) == equal
    assert (result.chance_corrected == 1.0) == equal


@given(pairs())
def test_agreement_counts_equal_entries_and_complements_agree_nowhere(pair: tuple[Masks, Masks]) -> None:
    first, second = pair
    entries = [(first[name] == second[name]).float() for name in first]
    assert overlap(first, second).agreement == pytest.approx(float(torch.cat(entries).mean()))
    assert overlap(first, {name: 1 - mask for name, mask in first.items()}).agreement == 0.0


def test_values_by_hand() -> None:
    first = {"a": torch.tensor([1.0, 1.0, 0.0, 0.0]), "b": torch.tensor([1.0, 0.0])}
    second = {"a": torch.tensor([1.0, 0.0, 0.0, 0.0]), "b": torch.tensor([1.0, 0.0])}
    result = overlap(first, second)
    assert result.agreement == pytest.approx(5 / 6)
    chance = (4 * (0.5 * 0.25 + 0.5 * 0.75) + 2 * 0.5) / 6
    assert result.chance_corrected == pytest.approx((5 / 6 - chance) / (1 - chance))
    assert result.iou == pytest.approx(2 / 3)
    assert result.containment == 1.0


@pytest.mark.parametrize("density", [0.05, 0.2, 0.5])
def test_independent_masks_agree_at_chance(density: float) -> None:
    generator = torch.Generator().manual_seed(7)
    first, second = ({"a": (torch.rand(400_000, generator=generator) < density).float()} for _ in range(2))
    result = overlap(first, second)
    # Four standard errors of the mean of 400,000 independent positions.
    assert result.agreement == pytest.approx(density**2 + (1 - density) ** 2, abs=4 * 0.5 / 400_000**0.5)
    assert result.chance_corrected == pytest.approx(0.0, abs=0.01)
    assert result.containment == pytest.approx(density, abs=0.02)


@given(pairs())
def test_layers_are_matched_by_name(pair: tuple[Masks, Masks]) -> None:
    first, second = pair
    reordered = {name: second[name] for name in reversed(second)}
    assert overlap(first, reordered) == pytest.approx(overlap(first, second))


def test_masks_of_different_encoders_raise() -> None:
    one = {"a": torch.ones(4)}
    with pytest.raises(ValueError, match=r"different layers: \['a', 'b'\]"):
        overlap(one, {"b": torch.ones(4)})
    with pytest.raises(ValueError, match=r"a: shapes \(4,\) and \(2, 2\) differ"):
        overlap(one, {"a": torch.ones(2, 2)})
