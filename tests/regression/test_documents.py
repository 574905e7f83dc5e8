"""What code and documents cite lies in the repository."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = {"reading", "bench", "methods", "hardware", "results", "tests", "examples"}
LISTED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
TEXTS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in LISTED
    if Path(name).suffix in {".py", ".md", ".toml"} and "references" not in name and (ROOT / name).exists()
}
MADE = re.compile(r"out/|TABLE|NAME|RUN_ID|PROFILE")  # what commands write, and patterns


def test_documents_that_are_cited_exist() -> None:
    for name, text in TEXTS.items():
        for cited in set() if name.startswith("tests/") else set(re.findall(r"[\w.-]+/[\w./-]+\.md\b", text)):
            assert MADE.search(cited) or (ROOT / cited).exists(), f"{name} cites {cited}"


def test_deviations_that_code_cites_have_a_heading_each() -> None:
    headings = re.findall(r"^## (\d+)\. ", TEXTS["results/deviations.md"], re.MULTILINE)
    assert [int(number) for number in headings] == list(range(1, len(headings) + 1))
    for name, text in TEXTS.items():
        for first, last in re.findall(r"\bdeviations? (\d+)(?: to (\d+))?", text):
            assert int(last or first) <= len(headings), f"{name} cites deviation {last or first}"


def test_every_deviation_says_what_the_paper_does_what_we_do_and_why() -> None:
    for part in re.split(r"^## ", TEXTS["results/deviations.md"], flags=re.MULTILINE)[1:]:
        places = [part.find(word) for word in ("*Paper.*", "*Here.*", "*Why.*")]
        assert -1 < places[0] < places[1] < places[2], part.splitlines()[0]


def test_laws_that_tests_name_are_written_down() -> None:
    laws = set(re.findall(r"\*\*([IH]\d+)\*\*", TEXTS["tests/property/LAWS.md"]))
    for name, text in TEXTS.items():
        if name.startswith("tests/property/test_"):
            named = set(re.findall(r"\b[IH]\d{1,2}\b", text.partition('"""')[2].partition('"""')[0]))
            assert named <= laws, f"{name} names {named - laws}"


def test_paths_in_documents_exist() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "results/README.md", "hardware/README.md"):
        for path in re.findall(r"`([\w.]+/[\w./-]*)`", TEXTS[name]):
            is_ours = path.partition("/")[0] in FOLDERS
            assert not is_ours or MADE.search(path) or (ROOT / path).exists(), f"{name}: {path}"
