"""No margin may be so wide that an untrained encoder passes for a trained one."""

import functools
import math

import pytest

from bench.config.run import UNTRAINED
from bench.judging.claims import load_claims
from bench.judging.contrast import DENSE
from bench.judging.judge import assemble
from bench.judging.judged_table import JudgedTable
from bench.judging.references import REFERENCES, load_references
from bench.judging.statistics import MOST_SEEDS, Comparison
from bench.judging.tolerances import load_tolerances
from bench.tables import TABLES
from tests.unrecorded import is_unrecorded

FRAMEWORKS = [
    (name, profile, data, cell.partition("/")[0])
    for name, profile, data in (path.parts[-3:] for path in sorted(REFERENCES.glob("*/*/*")))
    for cell in TABLES[name](profile, data).names
    if f"/{DENSE}/" in cell and not is_unrecorded((name, profile, data), cell)
]


@functools.cache
def _table(name: str, profile: str, data: str) -> JudgedTable:
    key = (name, profile, data)
    return assemble(TABLES[name](profile, data), None, load_references(*key), load_tolerances(*key), load_claims(name))


@pytest.mark.parametrize(("name", "profile", "data", "framework"), FRAMEWORKS)
def test_no_margin_takes_an_untrained_encoder_for_a_dense_one(
    name: str, profile: str, data: str, framework: str
) -> None:
    """However many fresh runs there are: their mean is that of the untrained row, their number the most one may ask."""
    table = _table(name, profile, data)
    (dense,) = (row for row in table.rows if row.cell.startswith(f"{framework}/{DENSE}/"))
    assert dense.versus_untrained, f"{dense.cell} or the row {UNTRAINED} has no reference"
    swapped = Comparison(
        difference=-dense.versus_untrained.comparison.difference,
        spread=dense.versus_untrained.comparison.spread,
        new_runs=MOST_SEEDS,
        reference_runs=dense.references[table.tolerances.judged_metric].n,
    )
    assert math.isfinite(swapped.difference)
    margin = table.tolerances.margin(framework).delta_points
    assert swapped.equivalence_p(margin) >= table.tolerances.alpha
