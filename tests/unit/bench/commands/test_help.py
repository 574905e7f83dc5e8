"""Help is quick because nothing heavy is imported for it, and every option can be understood when read alone."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
HEAVY = ("torch", "torchvision", "lightly", "lightning_fabric", "sklearn", "matplotlib", "scipy", "jinja2", "PIL")
COMMANDS = ("", *re.findall(r'subcommand\("([a-z-]+)"\)', (ROOT / "bench/__main__.py").read_text()))
SCRIPT = f"""
import contextlib, io, json, sys
from bench.__main__ import main
helps = dict()
for command in {COMMANDS}:
    sys.argv = ["bench", *command.split(), "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    helps[command] = out.getvalue()
heavy = [name for name in {HEAVY} if name in sys.modules]
print(json.dumps([helps, heavy]))
"""


@pytest.fixture(scope="module")
def found() -> tuple[dict[str, str], list[str]]:
    """Return the help of every command, and what was imported for it that takes long; in a process of its own."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True)
    helps, heavy = json.loads(done.stdout)
    return helps, heavy


@pytest.fixture(params=COMMANDS)
def help_text(request: pytest.FixtureRequest, found: tuple[dict[str, str], list[str]]) -> str:
    return found[0][request.param]


def test_help_imports_nothing_that_takes_long(found: tuple[dict[str, str], list[str]]) -> None:
    assert found[1] == []
    assert all("usage: python -m bench" in text for text in found[0].values())


def test_no_option_shows_pythons_none_or_type(help_text: str) -> None:
    assert "None" not in help_text
    assert not re.search(r"--[a-z-]+ (STR|INT|FLOAT|PATH)\b", help_text)


def test_every_option_is_explained(help_text: str) -> None:
    """Below a long option, or beside it, stand words, and not the default alone."""
    entries = re.findall(r"│ (--[a-z-]+)(.*?)(?=│ --|╰)", help_text, flags=re.DOTALL)
    for option, rest in entries:
        words = re.sub(r"\(default:.*?\)|[│\n]", " ", rest)
        assert len(re.findall(r"[a-z]{2,}", words)) >= 4, option


def test_no_flag_is_on_unless_it_is_given(help_text: str) -> None:
    """A flag whose absence means yes reads as its own contrary beside its explanation."""
    assert "(default: True)" not in help_text
