"""The option that takes the cells of one claim."""

from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from bench.tables.spec import TableSpec

ClaimName = Annotated[str | None, arg(metavar="CLAIM", help_behavior_hint="(default: all cells)")]


def claimed(spec: "TableSpec", name: str | None) -> "TableSpec":
    """Return the table with only the cells that a claim compares, and the untrained ones of their frameworks.

    Raises:
        UsageError: there is no such claim about the table, or the table lacks some of its cells.
    """
    if name is None:
        return spec
    from bench.judging.book import compared
    from bench.judging.claims import load_claims

    claims = {claim.name: claim for claim in load_claims(spec.name).claims}
    if name not in claims:
        raise UsageError(unknown(f"table {spec.name}: claim", name, claims))
    found = compared(claims[name], spec.cells)
    if not found:
        raise UsageError(
            f"table {spec.name} at {spec.profile}: not all cells that {name} compares are there. Choose another "
            "profile, or leave out --cells."
        )
    return spec.only({run.cell for run in found})
