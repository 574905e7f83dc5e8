"""``regression`` repeats what is stored: a cell without references has nothing to be compared with."""

import dataclasses

from bench.commands.regression import _with_references
from tests.made_up_tables import made_up_record, made_up_run, made_up_spec

DENSE, SPARSE = made_up_run(), made_up_run("gradual", density=0.1)
SPEC = made_up_spec(DENSE, SPARSE)


def test_cells_without_references_are_left_out_and_named() -> None:
    stored = [made_up_record(dataclasses.replace(DENSE, seed=seed), 50.0) for seed in (0, 1)]
    spec, without = _with_references(SPEC, stored)
    assert spec.cells == (DENSE,)
    assert without == [SPARSE.cell]


def test_a_table_without_any_reference_is_judged_as_it_is() -> None:
    other = made_up_record(made_up_run("set", density=0.1), 50.0)
    assert _with_references(SPEC, [other]) == (SPEC, [])
