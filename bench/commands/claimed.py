"""The option that takes the cells of one claim."""

from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from bench.tables.spec import TableSpec

ClaimName = Annotated[str | None, arg(metavar="CLAIM", help_behavior_hint="(default: all cells)")]


def claimed(spec: "TableSpec", name: str | None, match: str = "density") -> "TableSpec":
    """Return the table with only the cells that a claim compares, and the untrained ones of their frameworks.

    Args:
        spec: the table, before its rows are brought to an equal cost.
        name: of a claim of a work, or of one of ours.
        match: what rows will have in common.

    Raises:
        UsageError: there is no such claim about the table, the table lacks some of its cells, or the claim is about
            another cost.
    """
    if name is None:
        return spec
    from bench.judging.book import compared
    from bench.judging.claims import load_claims, load_own_claims

    own = load_own_claims(spec.name)
    claims = {claim.name: claim for claim in (*load_claims(spec.name).claims, *(own.claims if own else ()))}
    if name not in claims:
        raise UsageError(unknown(f"table {spec.name}: claim", name, claims))
    cost = claims[name].match
    if cost not in {"", match}:
        raise UsageError(f"claim {name} is about rows at equal {cost}: give --match {cost}.")
    found = compared(claims[name], spec.cells)
    if not found:
        raise UsageError(
            f"table {spec.name} at {spec.profile}: not all cells that {name} compares are there. Choose another "
            "profile, or leave out --cells."
        )
    return spec.only({run.cell for run in found})
