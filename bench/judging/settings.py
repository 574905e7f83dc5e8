"""Hand-written settings, read so that a slip of the pen is an error and never a default."""

from collections.abc import Mapping

from bench.errors import UserError


class SettingsError(UserError):
    """A file of settings that says something unknown, too little, or something impossible."""


class Reader:
    """Takes the entries of one TOML table out, each once and by type; ``close`` demands that none is left.

    Attributes:
        where: names the table in errors.
    """

    def __init__(self, where: str, entries: Mapping[str, object]) -> None:
        self.where = where
        self._left = dict(entries)

    def text(self, key: str) -> str:
        """Return a string that is not empty."""
        value = self._take(key)
        if not isinstance(value, str) or not value.strip():
            raise SettingsError(f"{self.where}: {key} is {value!r}; it must be a text.")
        return value

    def number(self, key: str) -> float:
        """Return an integer or a float as a float."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SettingsError(f"{self.where}: {key} is {value!r}; it must be a number.")
        return float(value)

    def level(self, key: str) -> float:
        """Return a probability in (0, 0.5)."""
        value = self.number(key)
        if not 0.0 < value < 0.5:
            raise SettingsError(f"{self.where}: {key} is {value}; it must lie in (0, 0.5).")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self._take(key)
        if not isinstance(value, bool):
            raise SettingsError(f"{self.where}: {key} is {value!r}; it must be true or false.")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, which may be empty."""
        value = self._take(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise SettingsError(f"{self.where}: {key} is {value!r}; it must be a list of texts.")
        return tuple(value)

    def tables(self, key: str) -> list[Mapping[str, object]]:
        """Return an array of tables that is not empty."""
        value = self._take(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise SettingsError(f"{self.where}: {key} must be an array of tables, [[{key}]].")
        return value

    def table(self, key: str) -> Mapping[str, object]:
        """Return a table, which may be empty."""
        value = self._take(key)
        if not isinstance(value, dict):
            raise SettingsError(f"{self.where}: {key} is {value!r}; it must be a table.")
        return value

    def close(self) -> None:
        """Demand that every entry was taken."""
        if self._left:
            raise SettingsError(
                f"{self.where}: unknown entries {', '.join(sorted(self._left))}. Remove or correct them."
            )

    def _take(self, key: str) -> object:
        if key not in self._left:
            raise SettingsError(f"{self.where}: {key} is missing. Add it; nothing has a default here.")
        return self._left.pop(key)
