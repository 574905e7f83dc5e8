"""The page in a real browser: nothing is cut off at any width, heads sort, light and dark are both readable."""

import json
import shutil
import subprocess
from pathlib import Path
from unittest.mock import patch

import pytest
from matplotlib.figure import Figure

from bench.judging.claims import load_claims
from bench.judging.judge import assemble
from bench.judging.references import load_references
from bench.judging.tolerances import load_tolerances
from bench.report import cost_plot, overlap_plot
from bench.report.html import html
from bench.report.svg import svg
from bench.report.whole import whole
from bench.tables import TABLES
from tests.table_sizes import WITH_SMOKE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)
# The page stands in a frame of the width in question, so that no smallest width of a window matters.
FRAME = """<!doctype html><body style="margin:0"><script>
const frame = document.createElement("iframe");
frame.style = "border:0; width:WIDTHpx; height:900px";
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow, wrong = [];
  const name = each => `${each.tagName}.${each.className} ${each.textContent.trim().slice(0, 40)}`;
  const inside = each => each.closest(".scroll, .drawing");
  for (const each of page.body.querySelectorAll("*")) {
    const box = each.getBoundingClientRect(), style = view.getComputedStyle(each);
    if (!inside(each) && box.right > WIDTH + 1) wrong.push("beyond the page: " + name(each));
    if (each.scrollWidth > each.clientWidth + 1 && style.overflowX === "hidden") wrong.push("cut off: " + name(each));
    if (each.matches("td, th") && each.scrollWidth > each.clientWidth + 1) wrong.push("beyond its cell: " + name(each));
  }
  const boxes = [...page.querySelectorAll(".scroll")];
  for (const box of boxes) {
    box.scrollLeft = 100000;
    const first = box.querySelector("tbody th[scope=row]"), left = box.getBoundingClientRect().left;
    if (Math.abs(first.getBoundingClientRect().left - left) > 2) wrong.push("not sticky: " + name(first));
    if (first.getBoundingClientRect().width > 0.6 * WIDTH) wrong.push("fills the page: " + name(first));
  }
  const table = page.querySelectorAll("table")[1], group = table.querySelector("tbody");
  const place = [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent.startsWith("linear"));
  const column = () => [...group.rows].filter(row => !row.matches(".group"))
    .map(row => parseFloat(row.cells[place].textContent));
  const before = column();
  table.tHead.rows[0].cells[place].querySelector("button").click();
  const up = column();
  table.tHead.rows[0].cells[place].querySelector("button").click();
  const style = view.getComputedStyle(page.body);
  document.body.textContent = "PROBE" + JSON.stringify({
    wrong, before, up, down: column(), width: page.documentElement.scrollWidth,
    pictures: [...page.images].map(each => each.naturalWidth), colours: [style.color, style.backgroundColor],
  }) + "PROBE";
};
frame.srcdoc = PAGE;
document.body.append(frame);
</script></body>"""


@pytest.fixture(scope="module")
def page() -> str:
    """All tables of the smoke size that have references; of drawings of one size, one is drawn: it takes a second."""
    tables = [
        assemble(
            TABLES[name]("smoke", "cifar10"),
            None,
            load_references(name, "smoke", "cifar10"),
            load_tolerances(name, "smoke", "cifar10"),
            load_claims(name),
        )
        for name in WITH_SMOKE
        if load_references(name, "smoke", "cifar10")
    ]
    drawn = dict[tuple[float, ...], bytes]()

    def once(figure: Figure) -> bytes:
        size = tuple(figure.get_size_inches())
        if size not in drawn:
            drawn[size] = svg(figure)
        return drawn[size]

    with patch.object(cost_plot, "svg", once), patch.object(overlap_plot, "svg", once):
        return html(whole(tables))


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian's package chromium)")
@pytest.mark.parametrize("width", [420, 1400])
def test_nothing_is_cut_off_and_heads_sort(page: str, tmp_path: Path, width: int) -> None:
    assert CHROMIUM
    frame = tmp_path / "frame.html"
    quoted = json.dumps(page).replace("</", "<\\/")
    frame.write_text(FRAME.replace("WIDTH", str(width)).replace("PAGE", quoted), encoding="utf-8")
    command = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1500,1000", "--dump-dom"]
    done = subprocess.run([*command, frame.as_uri()], capture_output=True, text=True, check=True, timeout=600)
    found = json.loads(done.stdout.split("PROBE")[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert found["wrong"] == []
    assert found["width"] <= width
    numbers = sorted(each for each in found["before"] if each is not None)
    without = [None] * found["before"].count(None)  # rows without a number come last, whichever way is up
    assert found["up"] == numbers + without
    assert found["down"] == numbers[::-1] + without
    assert found["before"] != found["up"]
    assert len(found["pictures"]) >= 10
    assert min(found["pictures"]) > 100


def test_the_page_needs_no_network_and_knows_the_dark(page: str) -> None:
    assert 'src="http' not in page
    assert "prefers-color-scheme: dark" in page
