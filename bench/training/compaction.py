"""Training in the smaller network, once no mask can bring a filter back: from which step on, and what a step takes."""

import statistics

from bench.config.run import Run
from bench.errors import RunError
from methods.branches import Branches
from methods.compaction.training import CompactForward
from methods.granularity import parse
from methods.granularity.filter import Filter
from methods.method import SparseMethod

Paces = dict[str, list[float]]
"""``masked`` and ``compact`` -> CPU seconds of such optimizer steps, on views of one size."""

# Steps of one run come one after the other, not in turns: what else the machine does in between is in their ratio.
MASKED_STEPS = 10  # first steps of a run that compute with masks whatever the method: the record compares their time
_WARM = 2  # steps that are not timed: the first ones build kernels
_MOST = 256  # latest steps of each kind whose times are kept
_WAY_OUT = "Leave --compact-training (sparsity.compact_training) out, or choose another cell."


def start_of(run: Run, method: SparseMethod, total_steps: int) -> int | None:
    """Return the first step that a run takes in the smaller network; ``None`` if it shall take none.

    Raises:
        RunError: it shall, but its zeros empty no filter, or its filters may come back.
    """
    if not run.sparsity.compact_training:
        return None
    why = why_not(run, method)
    if why:
        raise RunError(f"{run.cell}: {why} {_WAY_OUT}")
    final = method.final_from(total_steps)
    assert final is not None
    first = max(final, min(MASKED_STEPS, total_steps // 4))
    if first >= total_steps:
        raise RunError(
            f"{run.cell}: compact training would start at step {first} of {total_steps}: masks change until the end. "
            f"{_WAY_OUT}"
        )
    return first


def why_not(run: Run, method: SparseMethod) -> str:
    """Say why a run cannot go on in a smaller network; empty if it can."""
    shapes = run.sparsity.granularity
    if run.sparsity.reduction:
        return "compact training takes out filters, and gates skip activations: every filter stays."
    if method.final_from(1) is None:
        return (
            f"compact training takes out filters that are gone for good, and {run.sparsity.method} has none: it prunes "
            "nothing, or it may bring weights back. Filters are gone for good in static_uniform, and in gradual, "
            "one_shot and group_lasso behind their last update."
        )
    if not isinstance(parse(shapes), Filter):
        return (
            f"compact training takes out whole filters, and zeros of the shape {shapes} empty none for certain: "
            f"nothing would get smaller. Prune filters: {run.framework.name}/{run.sparsity.method}/filter/"
            f"{run.sparsity.point}."
        )
    return ""


class Compaction:
    """Lets both encoders of a pair compute without the filters that are gone, from a step on.

    Args:
        branches: the pair.
        start: the first such step; ``None``: there is none.
    """

    def __init__(self, branches: Branches, start: int | None) -> None:
        self._branches, self._start = branches, start
        self._forwards: tuple[CompactForward, ...] = ()

    def before_forward(self, step: int) -> None:
        """Take the filters out, when it is time."""
        if self._start is None or step < self._start or self._forwards:
            return
        self._forwards = tuple(CompactForward(each) for each in (self._branches.online, self._branches.target))
        for forward in self._forwards:
            forward.engage()

    def release(self) -> None:
        """Let the encoders compute as before; what they hold is that of whole encoders at every moment."""
        for forward in self._forwards:
            forward.release()
        self._forwards = ()

    def timed(self, step: int, seconds: float, paces: Paces) -> None:
        """Note the CPU time of a step that compaction shall be judged by.

        Args:
            step: that was taken.
            seconds: of this process.
            paces: kind of step -> times; changed in place.
        """
        if self._start is not None and step >= _WARM:
            of_kind = paces.setdefault("compact" if step >= self._start else "masked", [])
            of_kind.append(seconds)
            del of_kind[:-_MOST]


def median_paces(paces: Paces) -> dict[str, float]:
    """Return the median CPU time of each kind of step in milliseconds, for a record; empty unless both were taken."""
    if paces.keys() != {"masked", "compact"}:
        return {}
    medians = {kind: 1e3 * statistics.median(of_kind) for kind, of_kind in paces.items()}
    return {f"{kind}_step_cpu_milliseconds": round(median, 3) for kind, median in medians.items()}
