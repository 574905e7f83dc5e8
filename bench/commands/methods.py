"""``methods``: what the parts of a cell's name may be."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Methods:
    """List the sparse methods, the gates, the frameworks and the tables."""

    def act(self) -> int:
        """Print the registries; return the exit code."""
        from bench.frameworks import FRAMEWORKS
        from bench.tables import TABLES
        from methods import GATES, METHODS

        print("methods:    " + ", ".join(METHODS))
        print("gates:      " + ", ".join(GATES))
        print("frameworks: " + ", ".join(FRAMEWORKS))
        print("tables:     " + ", ".join(TABLES))
        return 0
