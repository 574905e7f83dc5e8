"""``nox -s mutation``: change the code bit by bit, by mutmut, and see which change no test notices.

Each mutant is tried by the tests that pass through its function, in a fork of a process that has imported everything.
What was tried is kept in ``.nox/mutation-tree``: an interrupted session goes on, and tries no code again that stayed.
"""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / ".nox" / "mutation-tree"
MUTMUT = Path(sys.executable).with_name("mutmut")
# Which tests try the mutants of which code, the first that fits; tests named as arguments instead of these.
TESTS = {
    "methods/": ["tests/property", "tests/unit/methods"],
    "hardware/": ["tests/property", "tests/unit/hardware"],
    "bench/": ["tests/unit/bench", "tests/property/test_judging.py", "tests/property/test_claim_laws.py"],
}
NOTICED = {"killed", "timeout", "segfault", "caught by type check"}


def listed(*command: str) -> list[str]:
    """Return the lines that git answers."""
    done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def changed() -> list[str]:
    """Return the modules that differ from the branch ``main``, or since the last commit."""
    files = {*listed("diff", "--name-only", "main"), *listed("ls-files", "--others", "--exclude-standard")}
    return sorted(file for file in files if file.endswith(".py") and file.startswith(tuple(TESTS)))


def tests_of(modules: Iterable[str]) -> list[str]:
    """Return the folders and files of tests that modules are tried by."""
    starts = {start for start in TESTS for module in modules if module.startswith(start)}
    return sorted({test for start in starts for test in TESTS[start]})


def prepare(modules: Sequence[str], tests: Sequence[str]) -> None:
    """Bring the copy of the tree up to date, and tell mutmut what to do there."""
    present = set(listed("ls-files", "--cached", "--others", "--exclude-standard"))
    for file in sorted(present):
        source, copy = ROOT / file, TREE / file
        if source.is_file() and not (copy.exists() and copy.read_bytes() == source.read_bytes()):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
    settings = {
        "source_paths": sorted({module.split("/")[0] for module in modules}),
        "only_mutate": list(modules),
        "also_copy": ["bench", "methods", "hardware", "reading", "results", "examples", "noxfile.py", "README.md"],
        "pytest_add_cli_args": ["--hypothesis-profile=mutant", "-p", "no:xdist"],
        "pytest_add_cli_args_test_selection": list(tests),
        "timeout_constant": 30.0,  # a busy machine is no infinite loop
        "process_isolation": "forkserver",  # torch's threads do not survive a fork of a process that has trained
    }
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lines = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
    (TREE / "pyproject.toml").write_text(f"{text}\n[tool.mutmut]\n{lines}\n", encoding="utf-8")


def report() -> int:
    """Print the score of each module and every survivor; return the exit code: 1 if there is one."""
    done = subprocess.run([MUTMUT, "results", "--all", "true"], cwd=TREE, capture_output=True, text=True, check=True)
    found = [line.strip().rpartition(": ") for line in done.stdout.splitlines() if ": " in line]
    tried, noticed, survivors = Counter[str](), Counter[str](), list[str]()
    for name, _, status in found:
        module = name.rpartition(".")[0]
        tried[module] += 1
        noticed[module] += status in NOTICED
        if status not in NOTICED:
            survivors.append(name)
            shown = subprocess.run([MUTMUT, "show", name], cwd=TREE, capture_output=True, text=True, check=True)
            print(shown.stdout)  # noqa: T201 - a command prints
    for module, count in sorted(tried.items()):
        print(f"{module}: {noticed[module]} of {count} mutants noticed ({noticed[module] / count:.0%})")  # noqa: T201
    return int(bool(survivors))


def main(arguments: Sequence[str]) -> int:
    """Mutate the modules that are named, or the changed ones; try them by the tests that are named, or by theirs."""
    tests = [each for each in arguments if each.startswith("tests")]
    modules = [each for each in arguments if not each.startswith("tests")] or changed()
    if not modules:
        print("No module differs from main. Name some: nox -s mutation -- methods/schedule.py")  # noqa: T201
        return 0
    unknown = [each for each in modules if not (ROOT / each).is_file() or not each.startswith(tuple(TESTS))]
    if unknown:
        print(f"{', '.join(unknown)}: not a module under {', '.join(TESTS)}.")  # noqa: T201
        return 2
    prepare(modules, tests or tests_of(modules))
    done = subprocess.run([MUTMUT, "run", "--max-children", "2"], cwd=TREE, check=False)
    return done.returncode or report()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
