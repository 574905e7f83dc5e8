"""A report as one HTML file: its style, a few lines of script that sort, and its pictures are inside."""

import base64
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from bench.report.grid import Grid
from bench.report.page import Page

WEB = Path(__file__).with_name("web")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A picture inside the file.

    Attributes:
        name: of its file, without suffix.
        title: what it shows; read out where it cannot be seen.
        content: an SVG, or a PNG.
    """

    name: str
    title: str
    content: bytes

    @property
    def is_svg(self) -> bool:
        """Whether it is a drawing of lines, which may be turned light on dark."""
        return not self.content.startswith(b"\x89PNG")

    @property
    def uri(self) -> str:
        """The picture as an address that needs no network. Apart from the page, as ids of drawings repeat."""
        kind = "svg+xml" if self.is_svg else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table and what is drawn of it."""

    page: Page
    drawings: tuple[Drawing, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that one file shows.

    Attributes:
        title: of the file.
        lead: its first line.
        claims: of all tables together, above them; None where the one table shows its own.
        claim_reasons: (claim, verdict and reason) pairs.
        sections: a table each.
        drawings: of the modelled machines.
    """

    title: str
    lead: str
    sections: tuple[Section, ...]
    claims: Grid | None = None
    claim_reasons: tuple[tuple[str, str], ...] = ()
    drawings: tuple[Drawing, ...] = ()


def page_html(page: Page, drawings: tuple[Drawing, ...] = ()) -> str:
    """Return a single table as a whole document."""
    return html(Report(title=page.title, lead=page.lead, sections=(Section(page=page, drawings=drawings),)))


def html(report: Report) -> str:
    """Return the report as a whole document; every value is escaped."""
    style, script = (Markup((WEB / name).read_text(encoding="utf-8")) for name in ("style.css", "sort.js"))  # noqa: S704
    return _ENVIRONMENT.get_template("report.html").render(report=report, style=style, script=script)


def _breakable(name: str) -> Markup:
    """Let a long name break after its slashes, and after the underscores of a method."""
    return Markup("/<wbr>").join(Markup("_<wbr>").join(map(escape, part.split("_"))) for part in name.split("/"))


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(WEB),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters["breakable"] = _breakable
