"""Whole runs in this process count the MACs of each kind of encoder once."""

from collections.abc import Iterator

import pytest

from tests.strategies import counted_once


@pytest.fixture(autouse=True, scope="module")
def counting() -> Iterator[None]:
    with counted_once():
        yield
