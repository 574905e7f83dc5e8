"""The summary of a job in the form that code hosts show: Markdown, appended to the file that they name."""

import os
from collections.abc import Sequence
from pathlib import Path

from bench.report.markdown import markdown
from bench.report.page import Page

VARIABLE = "GITHUB_STEP_SUMMARY"  # GitHub's name for it; Gitea's and Forgejo's runners set it too


def append(page: Page, lines: Sequence[str]) -> Path | None:
    """Append a report, and some lines below its title, to the job's summary; return the file, None outside a job.

    Raises:
        OSError: the file cannot be written.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    title, _, rest = markdown(page).partition("\n\n")
    path = Path(named)
    with path.open("a", encoding="utf-8") as stream:
        stream.write("\n\n".join([title, *lines, rest]) + "\n")
    return path
