"""What a user can mend: these errors end a command with exit code 2 and one line; any other one is a bug of ours."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """The message says where, what, the rule and the way out."""


class UsageError(UserError):
    """The command cannot be carried out as asked."""


class RunError(UserError, ValueError):
    """Settings of a run that are impossible, contradict each other, or that nothing can be built from."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message about a name that is none of the known ones, with the nearest one where something is near.

    Args:
        what: what the name is of, and where needed where it stands, e.g. ``table`` or ``cell a/b/-/d1.00: method``.
        name: as it was given.
        known: what it may be.
    """
    there = list(known)
    near = difflib.get_close_matches(name, there, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return f"{what} {name!r} is unknown.{meant} Choose from {', '.join(there)}."
