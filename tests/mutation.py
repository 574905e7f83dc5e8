"""``nox -s mutation``: change the code bit by bit, by mutmut, and see which change no test notices.

Each mutant is tried by the tests that pass through its function, in a fork of a process that has imported everything.
What was tried is kept in ``.nox/mutation-tree``: an interrupted session goes on, and tries no code again that stayed.
With ``--sample N``, N mutants drawn at random of all that the modules have: a whole package's score, with its interval.
"""

import argparse
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from statsmodels.stats.proportion import proportion_confint

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / ".nox" / "mutation-tree"
MUTMUT = Path(sys.executable).with_name("mutmut")
# Which tests try the mutants of which code, the first that fits; tests named as arguments instead of these.
TESTS = {
    "methods/": ["tests/property", "tests/unit/methods"],
    "hardware/": ["tests/property/test_hardware_*.py", "tests/unit/hardware", "tests/end_to_end/test_hardware_cli.py"],
    "bench/judging/": [
        "tests/unit/bench/judging",
        "tests/property/test_judging.py",
        "tests/property/test_claim_laws.py",
    ],
    "bench/evaluation/": ["tests/unit/bench/evaluation"],
    "bench/training/": [
        "tests/unit/bench/training",
        "tests/property/test_lars.py",
        "tests/property/test_narrow.py",
        "tests/property/test_stages.py",  # of the learning rate
        "tests/end_to_end/test_training.py",
        "tests/end_to_end/test_compact_training.py",
    ],
    "bench/": ["tests/unit/bench"],
}
UNTRIED = "not checked"
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
    starts = {next(start for start in TESTS if module.startswith(start)) for module in modules}
    patterns = {pattern for start in starts for pattern in TESTS[start]}
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern))


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


def mutmut(*command: str) -> str:
    """Return what mutmut answers."""
    return subprocess.run([MUTMUT, *command], cwd=TREE, capture_output=True, text=True, check=True).stdout


def statuses() -> dict[str, str]:
    """Return what is known of each mutant, by its name."""
    lines = (line.strip().rpartition(": ") for line in mutmut("results", "--all", "true").splitlines() if ": " in line)
    return {name: status for name, _, status in lines}


def drawn(names: Iterable[str], count: int, seed: int) -> list[str]:
    """Return a random sample of mutants; a larger one of the same seed holds the smaller."""
    found = sorted(names)
    random.Random(seed).shuffle(found)
    return found[:count]


def run(*names: str) -> int:
    """Try the mutants of these names, or all that were not tried yet; return mutmut's exit code."""
    return subprocess.run([MUTMUT, "run", "--max-children", "2", *names], cwd=TREE, check=False).returncode


def report(names: Iterable[str], *, is_sample: bool) -> int:
    """Print every survivor, the score of each module and that of all; return the exit code: 1 if one survived."""
    known = statuses()
    tried, noticed = Counter[str](), Counter[str]()
    for name in names:
        module, status = name.rpartition(".")[0], known[name]
        tried[module] += 1
        noticed[module] += status in NOTICED
        if status not in NOTICED:
            print(status, mutmut("show", name), sep="\n")
    for module, count in sorted(tried.items()):
        print(f"{module}: {noticed[module]} of {count} mutants noticed ({noticed[module] / count:.0%})")
    score = f"all: {noticed.total()} of {tried.total()} mutants noticed"
    if is_sample:
        low, high = proportion_confint(noticed.total(), tried.total(), method="wilson")
        score += f" ({noticed.total() / tried.total():.0%}; 95 % interval {low:.0%} to {high:.0%})"
    print(score)
    return int(noticed.total() < tried.total())


def positive(text: str) -> int:
    """Return a number of at least 1.

    Raises:
        ValueError: it is none.
    """
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def modules_of(place: str) -> list[str]:
    """Return the modules of a folder, or the module itself; none where there is no such."""
    starts = place.startswith(tuple(TESTS)) or f"{place}/" in TESTS
    return [file for file in listed("ls-files", place) if file.endswith(".py")] if starts else []


def main() -> int:
    """Mutate the modules that are named, or the changed ones; try them by the tests that are named, or by theirs."""
    parser = argparse.ArgumentParser(prog="nox -s mutation --", description=__doc__)
    parser.add_argument("places", nargs="*", help="modules or folders to mutate, and tests to try the mutants by")
    parser.add_argument("--sample", type=positive, metavar="N", help="try N mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    asked = parser.parse_args()
    tests = [each for each in asked.places if each.startswith("tests")]
    places = [each for each in asked.places if not each.startswith("tests")]
    unknown = [each for each in places if not modules_of(each)]
    if unknown:
        print(f"{', '.join(unknown)}: no module under {', '.join(TESTS)}.")
        return 2
    modules = sorted({module for place in places for module in modules_of(place)}) if places else changed()
    if not modules:
        print("No module differs from main. Name some: nox -s mutation -- methods/schedule.py")
        return 0
    prepare(modules, tests or tests_of(modules))
    if asked.sample is None:
        return run() or report([name for name, status in statuses().items() if status != UNTRIED], is_sample=False)
    # Mutants are made, and the tests of each function found, before a name is looked up that none has.
    made = subprocess.run([MUTMUT, "run", "none, for now"], cwd=TREE, capture_output=True, text=True, check=False)
    known = statuses()
    if not known:
        print(made.stdout, made.stderr, "There are no mutants, or their tests fail without them.", sep="\n")
        return 2
    sample = drawn(known, asked.sample, asked.seed)
    todo = [name for name in sample if known[name] == UNTRIED]
    return (run(*todo) if todo else 0) or report(sample, is_sample=True)


if __name__ == "__main__":
    sys.exit(main())
