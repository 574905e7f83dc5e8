"""Laws I35 and I47: masks are equal on all ranks after every update, whatever the ranks' seeds and data."""

import json
from pathlib import Path

from methods import METHODS
from tests import forked
from tests.strategies import FIXED
from tests.unit.methods.two_ranks import main


def test_masks_are_equal_on_all_ranks(tmp_path: Path) -> None:
    """One test, because the ranks' start costs more than the steps."""
    forked.ranks(main, tmp_path, output=tmp_path / "output")
    one, other = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert {key.partition(" ")[0] for key in one} - {"mutation"} == set(METHODS)
    for key in one.keys() - {"mutation"}:
        first, second = one[key], other[key]
        assert first == second, key
        assert (len(set(first)) > 1) == (key.partition(" ")[0] not in FIXED), key
    # Without reducing the dense gradient masks differ.
    first, second = one["mutation"], other["mutation"]
    assert first[0] == second[0]
    assert first != second
