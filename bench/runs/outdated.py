"""What other code has made of the runs that are asked for: hours of work, which are not thrown away unasked."""

from dataclasses import dataclass, field

from bench.errors import UsageError
from bench.runs.record import Record


@dataclass(slots=True)
class Outdated:
    """What other code has made of the runs that are asked for.

    Attributes:
        records: of the runs that it finished.
        begun: how many runs it began, and did not finish.
        changed: files of the code that differ from those that made the records.
    """

    records: list[Record] = field(default_factory=list)
    begun: int = 0
    changed: set[str] = field(default_factory=set)

    @property
    def what_changed(self) -> str:
        """The files that differ."""
        return ", ".join(sorted(self.changed)) or "they do not say which files made them"

    def refuse(self) -> None:
        """Refuse to throw hours of work away.

        Raises:
            UsageError: there is any.
        """
        if not self.records and not self.begun:
            return
        origins = [record.provenance for record in self.records]
        seconds = sum(float(str(origin.get("train_seconds", 0.0))) for origin in origins)
        commits = sorted({str(origin.get("git_commit", "unknown"))[:12] for origin in origins})
        made = f" ({self.what_changed}; trained for {seconds / 3600:,.1f} hours)" if self.records else ""
        where = f" (commit {', '.join(commits)})" if commits else ""
        raise UsageError(
            f"other code made {len(self.records)} of the runs{made} and began {self.begun}. Give --redo to make them "
            f"again, where the old ones are kept, or go back to their code{where}."
        )
