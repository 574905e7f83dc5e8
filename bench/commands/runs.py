"""``runs``: what lies under a folder of results."""

import fnmatch
from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from bench.commands.place import Out
from bench.commands.result import aligned
from bench.config import overrides
from bench.config.run import Run
from bench.errors import UsageError, unknown
from bench.runs.course import heard
from bench.runs.find import FoundRun, State, every
from bench.runs.record import Record

_NOTHING = "-"
_METRICS = {"linear": "linear_top1_percent", "kNN": "knn_top1_percent"}


@dataclass(frozen=True, kw_only=True)
class Runs:
    """List the runs that lie under --out, the oldest first: results, time, and how far each has come.

    Attributes:
        where: only finished runs with this setting, e.g. optimizer.learning_rate=0.1, data.name=cifar10, seed=100 or
            cell='simclr/*'; a text may be a pattern. Repeat it for more.
        place: where the runs lie.
    """

    where: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="KEY=VALUE")]] = ()
    place: Out = field(default_factory=Out)

    def act(self) -> int:
        """Print them; return the exit code.

        Raises:
            RecordError: a record cannot be read.
            UsageError: no run has such a setting.
        """
        wanted = overrides.collected(self.where)
        rows = [["cell", "seed", *_METRICS, "when", "state", "run"]]
        unfinished = 0
        for found in every(self.place.runs_dir):
            if found.state is State.FINISHED:
                record = Record.load(found.folder.record)
                settings = _settings(record.run)
                if all(_matches(settings, key, text) for key, text in wanted.items()):
                    results = [f"{record.metrics[name]:.2f}" for name in _METRICS.values()]
                    rows.append([settings["cell"], settings["seed"], *results, *_ends(found)])
            elif wanted:
                unfinished += 1
            else:
                rows.append([*[_NOTHING] * (2 + len(_METRICS)), *_ends(found)])
        if len(rows) == 1:
            print(f"no run in {self.place.runs_dir}{' has these settings' if wanted else ''}")
        else:
            print(*aligned(rows), sep="\n")
        if unfinished:
            print(f"{unfinished} runs are not finished, and are not looked at with --where")
        return 0


def _settings(run: Run) -> dict[str, str]:
    values = {key: overrides.text_of(value) for key, value in overrides.settings(run).items()}
    return {"cell": run.cell, **values}


def _ends(found: FoundRun) -> list[str]:
    stand = heard(found.folder.progress) if found.state is State.UNDER_WAY else None
    return [f"{found.when:%Y-%m-%d %H:%M}", f"{found.state.value}{f', {stand}' if stand else ''}", found.run_id]


def _matches(settings: dict[str, str], key: str, text: str) -> bool:
    """Return whether a setting is as asked for: equal as a number, or as a text or a pattern."""
    if key not in settings:
        raise UsageError(unknown("setting", key, settings))
    value = settings[key]
    try:
        return float(value) == float(text)
    except ValueError:
        return fnmatch.fnmatchcase(value, text)
