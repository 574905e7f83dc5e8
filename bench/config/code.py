"""Which code makes a run."""

from bench.config.run import UNTRAINED, Run
from bench.sources import Sources, sources


def code_of(run: Run) -> Sources:
    """Return the code that can change the numbers of a run: of its own parts, and of what all share."""
    method = "dense" if run.sparsity.method == UNTRAINED else run.sparsity.method
    return sources(
        run.framework.name,
        method,
        optimizer=run.optimizer.name,
        probe=run.evaluation.probe,
        transfers=bool(run.evaluation.transfers),
    )
