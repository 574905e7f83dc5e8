"""What a user can mend."""


class UsageError(Exception):
    """The command cannot be carried out as asked: exit code 2."""
