"""Which tables a method stands in."""

from collections.abc import Mapping

from bench.tables import TABLES


def memberships() -> Mapping[str, tuple[str, ...]]:
    """Return, per method, the tables with a row of it; with the profiles, where not all of the table have one.

    For example ``("cifar10", "structured (cpu, paper)")``. Methods without a row are left out.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for name, table in TABLES.items():
        for profile in table.profiles:
            for method in dict.fromkeys(run.sparsity.method for run in table(profile, table.data).cells):
                found.setdefault(method, {}).setdefault(name, []).append(profile)
    return {
        method: tuple(
            name if len(profiles) == len(TABLES[name].profiles) else f"{name} ({', '.join(profiles)})"
            for name, profiles in tables.items()
        )
        for method, tables in found.items()
    }
