"""The run that a cell's name means outside any table."""

import dataclasses

from bench.config.cell import parse_cell
from bench.config.profiles import profile_of
from bench.config.run import Run
from bench.config.sparsity import SparsitySpec


def run_of_cell(cell: str, *, profile: str, data: str, seed: int = 0, encoder: str = "") -> Run:
    """Return a cell's run at a profile's size. Gates hold out as many images as their table does.

    Args:
        cell: its name.
        profile: a key of the profiles.
        data: the data set's name.
        seed: of the run.
        encoder: that will take the place of the profile's, whose recipe is then the one published for it, if any.

    Raises:
        RunError: the name has another form, or a part of it is unknown.
    """
    name = parse_cell(cell)
    sparsity = SparsitySpec.at(method=name.method, granularity=name.granularity, point=name.point)
    run = dataclasses.replace(profile_of(profile, data, encoder).run(name.framework, sparsity, data), seed=seed)
    if not sparsity.reduction or run.data.held_out_images:
        return run
    from bench.tables import gating

    held_out = gating.SIZES[profile].held_out_images
    return dataclasses.replace(run, data=dataclasses.replace(run.data, held_out_images=held_out))
