"""The names of runs and the texts they hash are pinned: a moved one orphans every stored reference and finished run."""

import json
from pathlib import Path

import pytest

from bench.config.run import Run
from bench.errors import RunError
from bench.judging.references import REFERENCES
from bench.tables import TABLES
from reading import structured

# The name of runs, and the canonical text that it hashes, as they were in November 2026. Recipes have moved since, and
# names have not. Nothing here is ever edited: add a line for a new kind of run, and give a new knob an "off" default.
PINNED = json.loads((Path(__file__).parent / "run_names.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "pinned",
    [pytest.param(run, id=f"{place}:{run['cell']}") for place, runs in PINNED.items() for run in runs],
)
def test_a_run_keeps_its_text_and_its_name(pinned: dict[str, str | int]) -> None:
    text = str(pinned["canonical_text"])
    run = structured(Run, json.loads(text), "a pinned text", RunError)
    assert (run.cell, run.seed) == (pinned["cell"], pinned["seed"])
    assert run.canonical_text == text
    assert run.run_id == pinned["run_id"]


def test_every_stored_reference_is_still_named_by_its_table() -> None:
    """All, not only the pinned: names alone, without reading a reference."""
    for folder in sorted(REFERENCES.glob("*/*/*")):
        name, profile, data = folder.relative_to(REFERENCES).parts
        seeds = range(24)  # as many as the rule of sample sizes allows
        known = {run.run_id for run in TABLES[name](profile, data).runs(seeds)}
        assert {path.stem for path in folder.glob("*.json")} <= known
