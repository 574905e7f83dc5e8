"""Every sparse cell fits the encoder of its table: no row of a small size can break when its run begins."""

import pytest

from bench.tables import TABLES
from bench.training import parts
from methods import masking
from methods.gating.layer import gated
from tests.table_sizes import SIZES

FITTING = set[tuple[object, ...]]()


@pytest.mark.parametrize("data", ["cifar10", "digits"])
@pytest.mark.parametrize(("name", "profile"), [size for size in SIZES if size[1] in {"smoke", "cpu"}])
def test_every_method_fits_its_encoder(name: str, profile: str, data: str) -> None:
    """Slices of four channels did not fit an encoder of width 1/8, and the row was never run."""
    for run in TABLES[name](profile, data).cells:
        kind = run.framework.name, run.sparsity.method, run.sparsity.granularity, run.encoder
        if kind in FITTING:  # in another table, or at another point of this one
            continue
        branches = parts.framework_for(run).branches
        parts.method_for(run).attach(branches, 100)
        assert gated(branches.online) if run.sparsity.reduction else masking.read(branches.online), run.cell
        FITTING.add(kind)
