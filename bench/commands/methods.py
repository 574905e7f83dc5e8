"""``methods``: what the parts of a cell's name may be, and where each method comes from."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Methods:
    """List the sparse methods and the gates: work, year, source, what they skip, and tables; frameworks and tables."""

    def act(self) -> int:
        """Print the registries; return the exit code."""
        from bench.frameworks import FRAMEWORKS
        from bench.report.grid import NOTHING, Column, grid
        from bench.report.text import alone
        from bench.tables import TABLES
        from bench.tables.membership import memberships
        from methods import GATES, METHODS
        from methods.works import WORKS

        tables = memberships()
        columns: tuple[Column[str], ...] = (
            Column(title="method", show=str),
            Column(title="work", show=lambda name: WORKS[name].title),
            Column(title="year", show=lambda name: str(WORKS[name].year or NOTHING), is_number=True),
            Column(title="skips", show=lambda name: ", ".join(WORKS[name].skips) or NOTHING),
            Column(title="shapes", show=lambda name: ", ".join(WORKS[name].shapes)),
            Column(title="tables", show=lambda name: ", ".join(tables.get(name, ())) or NOTHING),
            Column(title="source", show=lambda name: WORKS[name].source or NOTHING),
        )
        for title, registry in (("Methods that prune weights", METHODS), ("Methods that gate activations", GATES)):
            print(alone(grid(title, columns, [name for name in registry if name in WORKS]), sys.stdout))
        print(
            "skips: of the output (forward), the input's gradient (backward) and the weights' gradient (weights), what"
        )
        print("leaves out masked weights or closed gates, as training MACs are counted. shapes: examples.")
        print("frameworks: " + ", ".join(FRAMEWORKS))
        print("tables:     " + ", ".join(TABLES))
        return 0
