"""NT-Xent without masks is Lightly's, on one rank and as one of several."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightly.loss import NTXentLoss
from lightly.utils import dist
from torch import Tensor

from bench.frameworks.ntxent import NTXent, without_itself


def embeddings(count: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 5, generator=generator).requires_grad_() for _ in range(2)]


def agree(*, gather: bool, count: int, seed: int) -> None:
    ours, theirs = embeddings(count, seed), embeddings(count, seed)
    loss = NTXent(temperature=0.2, gather_distributed=gather).without_masks(*ours)
    expected = NTXentLoss(temperature=0.2, gather_distributed=gather)(*theirs)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@given(st.integers(2, 9), st.integers(0, 9))
def test_it_is_lightlys(count: int, seed: int) -> None:
    agree(gather=False, count=count, seed=seed)


@pytest.mark.parametrize("rank", range(3))
def test_it_is_lightlys_as_one_of_three_ranks(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def gathered(own: Tensor) -> tuple[Tensor, ...]:
        others = [embeddings(len(own), 10 + each)[0].detach() for each in range(3)]
        return tuple(own if each == rank else others[each] for each in range(3))

    monkeypatch.setattr(dist, "world_size", lambda: 3)
    monkeypatch.setattr(dist, "rank", lambda: rank)
    monkeypatch.setattr(dist, "gather", gathered)
    agree(gather=True, count=4, seed=0)


@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 5))
def test_what_is_left_out_is_the_diagonal_and_the_rest_keeps_its_order(count: int, left: int, right: int) -> None:
    whole = torch.arange(count * (left + count + right)).view(count, -1)
    itself = torch.eye(count, whole.shape[1], dtype=torch.bool).roll(left, dims=1)
    assert torch.equal(without_itself(whole, left), whole[~itself].view(count, -1))
