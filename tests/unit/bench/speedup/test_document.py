"""`results/accelerator.md` is what the code says, whole; its pictures are the same bytes each time."""

import matplotlib as mpl
import pytest

from bench.speedup import validation
from bench.speedup.document import DOCUMENT, FOLDER, document
from bench.speedup.plots import PLOTS
from hardware.comparison import is_prunable


def test_the_document_is_what_is_generated() -> None:
    """After a wanted change: `python -m bench accelerator --document`."""
    assert DOCUMENT.read_text(encoding="utf-8") == document()


CONSTRAINTS = DOCUMENT.parents[1] / "constraints.txt"


@pytest.mark.parametrize("name", PLOTS)
def test_every_picture_is_stored_as_it_is_drawn_and_shown(name: str) -> None:
    assert f"({FOLDER}/{name}.svg)" in DOCUMENT.read_text(encoding="utf-8")
    stored, drawn = (DOCUMENT.parent / FOLDER / f"{name}.svg").read_bytes(), PLOTS[name].svg()
    assert drawn == PLOTS[name].svg()  # the same bytes each time
    assert stored.startswith(b"<?xml")
    if f"matplotlib=={mpl.__version__}\n" in CONSTRAINTS.read_text():  # others draw the same with other strokes
        assert drawn == stored


def test_every_closed_form_agrees_on_every_layer() -> None:
    found = list(validation.agreements())
    assert len(found) == 7
    assert all(item.equal == item.layers >= 19 and item.ours == item.theirs for item in found)


@pytest.mark.parametrize("name", [validation.SHARED, validation.FOLLOWING])
def test_the_limits_are_those_of_the_derivation(name: str) -> None:
    """hardware/README.md, section 8, columns with a target as dense as the online encoder."""
    place = 0 if name == validation.SHARED else 2
    assert validation.limits(1e-9, 1e-9)[place] == pytest.approx(2.997 if place == 0 else 3.997, abs=0.0005)
    assert validation.limits(0.1, 0.1)[place] == pytest.approx(2.50 if place == 0 else 3.08, abs=0.005)
    assert all(map(is_prunable, validation.encoder(name)[1:]))


def test_no_published_figure_is_tuned_for() -> None:
    """The sets hold mixtures on both sides of what was published, or none."""
    fewer = [row for _, row in validation.mixtures() if validation.near(row.macs_reduction, validation.PUBLISHED_FLOPS)]
    assert min(row.speed_up for row in fewer) < validation.PUBLISHED_LATENCY < max(row.speed_up for row in fewer)
