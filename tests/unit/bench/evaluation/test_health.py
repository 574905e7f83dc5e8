import pytest
import torch
from torch import Tensor

from bench.evaluation.health import health


def drawn(images: int, features: int) -> Tensor:
    return torch.randn(images, features, generator=torch.Generator().manual_seed(0))


def rank(features: Tensor) -> float:
    found = health(features)["effective_rank"]
    assert isinstance(found, float)
    return found


def test_directions_that_vary_alike_count_in_full() -> None:
    basis, _ = torch.linalg.qr(drawn(400, 9) - drawn(400, 9).mean(0))
    assert rank(7 + 3 * basis) == pytest.approx(9, abs=0.1)
    assert rank(drawn(4000, 16)) == pytest.approx(16, abs=0.1)


def test_copies_of_one_feature_are_one_direction_whatever_their_scale() -> None:
    one = drawn(100, 1)
    assert rank(torch.cat([one, -2 * one, 0.01 * one + 5], 1)) == pytest.approx(1, abs=1e-2)


def test_a_small_second_direction_counts_in_part() -> None:
    two = drawn(4000, 2) * torch.tensor([1.0, 0.1])
    assert 1.1 < rank(two) < 1.5


def test_constant_features_are_counted_though_rounding_moves_them() -> None:
    features = drawn(50, 8)
    features[:, 2] = 0.0
    features[:, 5] = 3.0 + 1e-6 * drawn(50, 1)[:, 0]
    assert health(features)["constant_features"] == 2
    assert health(features)["output_features"] == 8
    assert health(1e-12 * features)["constant_features"] == 2  # small is not constant


def test_features_that_are_all_constant_have_rank_0() -> None:
    assert health(torch.ones(10, 4)) == {"output_features": 4, "constant_features": 4, "effective_rank": 0.0}
