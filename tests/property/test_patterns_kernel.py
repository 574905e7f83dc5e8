"""I87: the compiled kernel gives PyTorch's N:M masks, or none."""

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from methods.granularity import compiled, transposable
from methods.granularity.n_of_m import NofM
from methods.granularity.patterned import patterned
from methods.native import NoKernelError
from tests.compiler import needs_a_compiler

SIDES = sorted({*compiled.ALONG_INPUTS, *compiled.ALONG_BOTH})


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, NofM]:
    """Draw weights that lie channels-last, often with ties, zeros among them, and a pattern that fits both ways."""
    m = draw(st.sampled_from(SIDES))
    n = draw(st.integers(1, m - 1))
    outputs, inputs, side = m * draw(st.integers(1, 3)), m * draw(st.integers(1, 5)), draw(st.sampled_from([1, 3]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    weight = (2.0 * torch.rand(outputs, side, side, inputs, generator=generator) - 1.0).movedim(-1, 1)
    form = draw(st.sampled_from(["whole", "zero", "any", "wide"]))
    if form in {"whole", "zero"}:
        weight = (weight * {"whole": 3.0, "zero": 0.0}[form]).round()
    return weight.sign() * (64.0 * (weight.abs() - 0.5)).exp() if form == "wide" else weight, NofM(n, m)


def in_pytorch(weight: Tensor, pattern: NofM, *, both: bool) -> Tensor:
    alone = {"": weight.abs()}
    return (transposable.keep_all(alone, pattern.n, pattern.m) if both else pattern.strict(alone))[""]


@needs_a_compiler
@given(cases())
def test_masks_are_pytorchs(case: tuple[Tensor, NofM]) -> None:
    weight, pattern = case
    n, m = pattern.n, pattern.m
    for both, sides in ((False, compiled.ALONG_INPUTS), (True, compiled.ALONG_BOTH)):
        assert compiled.ranks([weight], m, both=both) is (m in sides)
        if m in sides:
            kept = (compiled.along_both if both else compiled.along_inputs)(weight, n, m)
            assert torch.equal(kept, in_pytorch(weight, pattern, both=both))
            assert kept.dtype == torch.bool
            assert kept.movedim(1, -1).is_contiguous()


@needs_a_compiler
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (3, 4, 1, 2), (7, 7, 2, 2)])
def test_weights_that_are_not_finite_are_refused(bad: float, place: tuple[int, ...], *, both: bool) -> None:
    weight = torch.rand(8, 8, 3, 3).to(memory_format=torch.channels_last)
    weight[place] = bad
    with pytest.raises(ValueError, match="a score is not finite"):
        patterned({"": weight}, NofM(2, 4), transposable=both)


@pytest.mark.parametrize("both", [False, True])
def test_other_weights_get_the_same_masks_from_pytorch(*, both: bool) -> None:
    weight = torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    expected = in_pytorch(weight, NofM(2, 4), both=both)
    for other in (weight, weight.to(memory_format=torch.channels_last), weight.double()):
        assert torch.equal(patterned({"": other}, NofM(2, 4), transposable=both)[""], expected)
    assert not compiled.ranks([weight], 4, both=both)
    assert not compiled.ranks([weight.double().to(memory_format=torch.channels_last)], 4, both=both)
    virtual = weight.to("meta", memory_format=torch.channels_last)
    assert not compiled.ranks([virtual], 4, both=both)


def test_layers_that_do_not_fit_stay_dense() -> None:
    strength = {"fits": torch.rand(8, 8, 1, 1), "not": torch.rand(8, 6, 1, 1)}
    masks = patterned(strength, NofM(1, 4), transposable=False)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"fits": 16, "not": 48}


def test_what_is_default_elsewhere_changes_no_mask() -> None:
    """Found by a review: a table made on another device stopped the process."""
    for made in (transposable.choices_of, transposable.ones_of, transposable.stages_of, compiled._tables):
        made.cache_clear()
    compiled.missing.cache_clear()
    weight = torch.rand(8, 8, 3, 3).to(memory_format=torch.channels_last)
    for both in (False, True):
        with torch.device("meta"):
            masks = patterned({"": weight}, NofM(2, 4), transposable=both)
        assert torch.equal(masks[""], in_pytorch(weight, NofM(2, 4), both=both))


@pytest.fixture(name="_unknown")
def fixture_unknown() -> Iterator[None]:
    """Nothing is known of the kernel yet, and what a test finds is forgotten after it."""
    compiled.missing.cache_clear()
    yield
    compiled.missing.cache_clear()


@pytest.mark.usefixtures("_unknown")
def test_without_a_compiler_pytorch_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise NoKernelError("no C++ compiler")

    monkeypatch.setattr(compiled, "library", none)
    assert compiled.missing() == "no C++ compiler"
    weight = torch.rand(8, 8, 3, 3).to(memory_format=torch.channels_last)
    for both in (False, True):
        assert not compiled.ranks([weight], 4, both=both)
        masks = patterned({"": weight}, NofM(2, 4), transposable=both)
        assert torch.equal(masks[""], in_pytorch(weight, NofM(2, 4), both=both))


@needs_a_compiler
@pytest.mark.usefixtures("_unknown")
@pytest.mark.filterwarnings("ignore:N.M masks are made by PyTorch")
def test_a_kernel_that_was_built_without_infinities_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by a review: some compilers do so unless they are told otherwise."""
    monkeypatch.setattr(compiled, "check_finite", lambda _: None)
    assert "other N:M masks" in compiled.missing()


@needs_a_compiler
@pytest.mark.usefixtures("_unknown")
@pytest.mark.parametrize("name", ["along_inputs", "along_both"])
def test_a_kernel_of_other_masks_makes_none_and_its_compiler_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = getattr(compiled, name)

    def other(weight: Tensor, n: int, m: int) -> Tensor:
        kept: Tensor = ours(weight, n, m)
        kept[-1, -1, -1, -1] ^= True
        return kept

    monkeypatch.setattr(compiled, name, other)
    with pytest.warns(UserWarning, match=r"slower: the kernel that .*\+\+ built makes other N:M masks than PyTorch\."):
        assert "other N:M masks" in compiled.missing()
    weight = torch.rand(8, 8, 3, 3).to(memory_format=torch.channels_last)
    for both in (False, True):
        masks = patterned({"": weight}, NofM(2, 4), transposable=both)
        assert torch.equal(masks[""], in_pytorch(weight, NofM(2, 4), both=both))


PATTERNS = [(n, m) for m in compiled.ALONG_BOTH for n in range(1, m)]


@given(st.data(), st.sampled_from(PATTERNS))
def test_of_equal_sums_the_first_mask_stays(data: st.DataObject, pattern: tuple[int, int]) -> None:
    n, m = pattern
    scores = data.draw(st.lists(st.lists(st.integers(-1, 1), min_size=m, max_size=m), min_size=m, max_size=m))
    masks = (
        rows
        for rows in itertools.product(itertools.combinations(range(m), n), repeat=m)
        if all(sum(place in row for row in rows) == n for place in range(m))
    )
    first = max(masks, key=lambda rows: sum(scores[row][place] for row in range(m) for place in rows[row]))
    kept = transposable.keep(torch.tensor(scores, dtype=torch.float32), n, m)
    assert kept.tolist() == [[place in row for place in range(m)] for row in first]


@given(st.integers(0, 10_000), st.sampled_from(PATTERNS))
def test_masks_are_whole_where_sums_are_infinite(seed: int, pattern: tuple[int, int]) -> None:
    """Found by a review: such a sum and the one of a choice that leaves no mask were NaN, which ranked highest."""
    n, m = pattern
    score = (0.5 + 0.5 * torch.rand(m, m, generator=torch.Generator().manual_seed(seed))).double()
    kept = transposable.keep(torch.finfo(torch.float64).max * score, n, m)
    assert kept.sum(0).tolist() == kept.sum(1).tolist() == [n] * m
