"""The run that a cell's name means outside any table."""

import dataclasses

from bench.config.cell import parse_cell
from bench.config.profiles import profile_of
from bench.config.run import Run, SparsitySpec


def run_of_cell(cell: str, *, profile: str, data: str, seed: int = 0) -> Run:
    """Return a cell's run at a profile's size. Gates hold out as many images as their table does.

    Raises:
        RunError: the name has another form, or a part of it is unknown.
    """
    name = parse_cell(cell)
    sparsity = SparsitySpec.at(method=name.method, granularity=name.granularity, point=name.point)
    run = dataclasses.replace(profile_of(profile, data).run(name.framework, sparsity, data), seed=seed)
    if not sparsity.reduction or run.data.held_out_images:
        return run
    from bench.tables import gating

    held_out = gating.SIZES[profile].held_out_images
    return dataclasses.replace(run, data=dataclasses.replace(run.data, held_out_images=held_out))
