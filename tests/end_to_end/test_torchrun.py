"""The ranks of torchrun make one run: told to stop one by one they stop together, and what goes on is the same run."""

from pathlib import Path

from bench.runs.record import Record
from bench.training.checkpoint import State
from bench.training.ranks import of_this_rank
from tests import forked
from tests.end_to_end.torchrun_ranks import CELLS, both


def test_ranks_stop_together_and_resume_bit_by_bit(tmp_path: Path) -> None:
    """One test, because the ranks' start costs more than a run."""
    printed = forked.ranks(both, tmp_path, output=tmp_path / "output")
    said = "".join(path.read_text() for path in (tmp_path / "output").rglob("stderr.log"))
    assert "Warning" not in said  # DDP's, of strides that are any
    assert printed.count("simclr-dual_gate") == 4  # name and folder, twice: rank 0 alone prints
    made = {name: sorted((tmp_path / name / "runs").glob("*/record.json")) for name in ("whole", "resumed")}
    assert len(made["whole"]) == len(CELLS)
    for paths in zip(made["whole"], made["resumed"], strict=True):
        whole, resumed = map(Record.load, paths)
        assert whole.facts == resumed.facts
        assert whole.metrics == resumed.metrics
        assert whole.facts["update_steps"]
        for record in (whole, resumed):
            assert str(record.provenance["env_class"]).endswith("/t1/32-true/ranks2")
            assert record.provenance["device"]["count"] == 2  # type: ignore[index]
        assert {path.name for path in paths[1].parent.iterdir()} == {path.name for path in paths[0].parent.iterdir()}


def test_a_checkpoint_of_two_ranks_goes_on_on_one() -> None:
    each = [{"framework": {"bn.running_mean": rank}, "method": {"rank": rank}} for rank in range(2)]
    state: State = {"framework": {"bn.running_mean": 0, "conv.weight": 7}, "method": {}, "step": 3, "ranks": each}
    mine = of_this_rank(state)
    assert mine["framework"] == {"bn.running_mean": 0, "conv.weight": 7}
    assert (mine["method"], mine["step"]) == ({"rank": 0}, 3)
    alone: State = {"framework": {}, "step": 3}
    assert of_this_rank(alone) is alone
