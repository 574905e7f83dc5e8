"""Canonical order and fingerprints do not depend on how the pictures lie on disk."""

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.data.images import canonical, fingerprint
from tests.images_on_disk import pixels_of

PIXELS = pixels_of(6)


@st.composite
def labelled(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Pictures by their number, some of them more than once, with labels."""
    return draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=10))


@given(pairs=labelled(), data=st.data())
def test_order_does_not_depend_on_the_order_found(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    results = [
        canonical(PIXELS[[picture for picture, _ in order]], np.array([label for _, label in order]))
        for order in (pairs, data.draw(st.permutations(pairs)))
    ]
    assert np.array_equal(results[0].images, results[1].images)
    assert np.array_equal(results[0].labels, results[1].labels)
    assert fingerprint(results[0]) == fingerprint(results[1])


@given(pairs=labelled())
def test_order_is_that_of_the_digests_then_the_labels(pairs: list[tuple[int, int]]) -> None:
    pictures = canonical(PIXELS[[picture for picture, _ in pairs]], np.array([label for _, label in pairs]))
    keys = [
        (hashlib.sha256(image.transpose(1, 2, 0).tobytes()).digest(), int(label))
        for image, label in zip(pictures.images, pictures.labels, strict=True)
    ]
    assert keys == sorted(keys)
    assert [key for key, _ in keys] == [row.tobytes() for row in pictures.digests]


@given(pairs=labelled(), row=st.integers(0, 9), bit=st.integers(0, 7), place=st.integers(0, 3071))
def test_fingerprint_sees_every_bit_and_every_label(
    pairs: list[tuple[int, int]], row: int, bit: int, place: int
) -> None:
    row %= len(pairs)
    pixels = PIXELS[[picture for picture, _ in pairs]]
    labels = np.array([label for _, label in pairs])
    before = fingerprint(canonical(pixels, labels))
    relabelled = labels.copy()
    relabelled[row] = 4
    assert fingerprint(canonical(pixels, relabelled)) != before
    pixels[row].reshape(-1)[place] ^= np.uint8(1 << bit)
    assert fingerprint(canonical(pixels, labels)) != before
