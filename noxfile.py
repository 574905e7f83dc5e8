"""One session per job a user would name: ``nox`` checks, ``nox -s cifar10_table`` makes the table."""

import hashlib
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2026.10"
nox.options.sessions = ["lint", "types", "tests"]

ROOT = Path(__file__).resolve().parent
ENVIRONMENT_INPUTS = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
DEV_GROUP = nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), "dev")
# worksteal: a few end-to-end tests are a hundred times as long as the rest.
SHARED_OUT = ("--numprocesses=logical", "--maxprocesses=16", "--dist=worksteal")
MUTATION_GROUP = nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), "mutation")


@nox.session(venv_backend="virtualenv", reuse_venv=True, default=False)
def environment(session: nox.Session) -> None:
    """Install everything once, at the stored references' exact versions; later calls need no network."""
    stamp = Path(session.virtualenv.location, "inputs.sha256")
    # The place belongs to it: an editable install of a tree that was moved runs the code of the old place.
    digest = hashlib.sha256(f"{sys.version}\0{ROOT}\0".encode())
    for path in ENVIRONMENT_INPUTS:
        digest.update(path.read_bytes() + b"\0")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == digest.hexdigest():
        session.log("Already installed.")
        return
    session.install("--constraint", "constraints.txt", "--editable", ".", *DEV_GROUP)
    stamp.write_text(digest.hexdigest(), encoding="utf-8")


def python(session: nox.Session, *arguments: str) -> None:
    """Run Python of the environment.

    After Ctrl-C it has a minute to write its checkpoints; nox would kill it after a third of a second.
    """
    executable = session.cache_dir.parent / "environment" / "bin" / "python"
    session.run(executable, *arguments, external=True, interrupt_timeout=60, terminate_timeout=20)


@nox.session(venv_backend="none", requires=["environment"])
def lint(session: nox.Session) -> None:
    """Check style and formatting; ``-- --fix`` repairs what can be."""
    python(session, "-m", "ruff", "check", ".", *session.posargs)
    python(session, "-m", "ruff", "format", ".", *([] if "--fix" in session.posargs else ["--check"]))


@nox.session(venv_backend="none", requires=["environment"])
def types(session: nox.Session) -> None:
    """Check types, strictly, of code and tests."""
    python(session, "-m", "mypy", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def tests(session: nox.Session) -> None:
    """Run all tests; ``-- tests/unit -k masks`` runs some."""
    python(session, "-m", "pytest", *SHARED_OUT, *session.posargs)


def tests_elsewhere(session: nox.Session) -> None:
    """Run the tests on a newer Python, in an environment of its own; ``-- tests/unit`` runs some."""
    session.install("--constraint", "constraints.txt", "--editable", ".", *DEV_GROUP)
    session.run("python", "-m", "pytest", *SHARED_OUT, *session.posargs)


for newer in ("3.12", "3.13"):
    nox.session(
        tests_elsewhere, name=f"tests-{newer}", python=newer, venv_backend="virtualenv", reuse_venv=True, default=False
    )


@nox.session(venv_backend="virtualenv", reuse_venv=True, default=False)
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest versions that pyproject.toml allows; ``-- tests/unit`` runs some."""
    session.install("uv")
    oldest = ("--resolution", "lowest-direct", "--group", "dev", "--editable", ".")
    session.run("uv", "pip", "install", "--python", session.virtualenv.location, *oldest)
    session.run("python", "-m", "pytest", *SHARED_OUT, *session.posargs)


@nox.session(venv_backend="virtualenv", reuse_venv=True, default=False)
def constraints(session: nox.Session) -> None:
    """Renew constraints.txt: the newest versions that pyproject.toml allows. Then record the references anew."""
    session.install("uv")
    path = ROOT / "constraints.txt"
    comment = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    asked = ("pyproject.toml", "--group", "dev", "--python-version", "3.11")
    plainly = ("--quiet", "--upgrade", "--no-header", "--no-annotate")
    pins = session.run("uv", "pip", "compile", *asked, *plainly, silent=True)
    assert isinstance(pins, str)
    path.write_text("\n".join(comment) + "\n" + pins, encoding="utf-8")


@nox.session(venv_backend="none", requires=["environment"], default=False)
def faults(session: nox.Session) -> None:
    """Kill commands, fill disks and damage files for 20 minutes; ``-- --minutes N``, ``--seed S``."""
    python(session, "-m", "tests.faults", *session.posargs)


@nox.session(venv_backend="virtualenv", reuse_venv=True, requires=["environment"], default=False)
def mutation(session: nox.Session) -> None:
    """Mutate the changed modules, or those after ``--``, and list what no test notices. Goes on where it was stopped.

    The tool has an environment of its own, which sees the packages of the shared one.
    """
    session.install(*MUTATION_GROUP)
    (packages,) = (session.cache_dir.parent / "environment" / "lib").glob("python*/site-packages")
    session.run("python", "tests/mutation.py", *session.posargs, env={"PYTHONPATH": str(packages)})


@nox.session(venv_backend="none", requires=["environment"])
def cifar10_table(session: nox.Session) -> None:
    """Train, evaluate, judge and print the CIFAR-10 table."""
    python(session, "-m", "bench", "table", "cifar10", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def cifar100_table(session: nox.Session) -> None:
    """Train, evaluate, judge and print the table of sparse weights on CIFAR-100."""
    python(session, "-m", "bench", "table", "cifar100", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def structured_table(session: nox.Session) -> None:
    """Train, evaluate, judge and print the table of structured sparsity: granularity x method x framework."""
    python(session, "-m", "bench", "table", "structured", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def nm_table(session: nox.Session) -> None:
    """Train, evaluate, judge and print the table of N:M sparsity: pattern x method."""
    python(session, "-m", "bench", "table", "nm", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def transfer_table(session: nox.Session) -> None:
    """Train, evaluate, judge and print the table of transfer: encoders probed on CIFAR-100 and on digits as well."""
    python(session, "-m", "bench", "table", "transfer", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def asymmetry_table(session: nox.Session) -> None:
    """Train, evaluate, judge and print the table of unequal branches: which is sparser, and by how much."""
    python(session, "-m", "bench", "table", "asymmetry", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def gating_table(session: nox.Session) -> None:
    """Train, evaluate, judge and print the table of gated activations, with its pictures."""
    python(session, "-m", "bench", "table", "gating", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def imagenet100_table(session: nox.Session) -> None:
    """Train, evaluate, judge and print the table of ImageNet-100: weights and gates, with ``--profile gpu``."""
    python(session, "-m", "bench", "table", "imagenet100", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def gate_speed(session: nox.Session) -> None:
    """Measure what really skipping a gated layer gains here, beside what it saves in MACs."""
    python(session, "-m", "bench", "gate-speed", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def bench_step(session: nox.Session) -> None:
    """Measure a training step of each method against dense, and the training loop against the bare work in it."""
    python(session, "-m", "bench", "bench-step", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def gpu_check(session: nox.Session) -> None:
    """Check what a GPU computes here and measure how fast: views, steps, short runs of all. Under ten minutes."""
    python(session, "-m", "bench", "gpu-check", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def real_speed_table(session: nox.Session) -> None:
    """Measure what every kind of zeros buys here, in inference and in a training step, beside modelled. Minutes."""
    python(session, "-m", "bench", "real-speed", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def accelerator_table(session: nox.Session) -> None:
    """Say what the masks of runs, and random ones, buy when training on modelled accelerators. Seconds."""
    python(session, "-m", "bench", "accelerator", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def report(session: nox.Session) -> None:
    """Write everything that is known as one page, out/report.html: claims first. Trains nothing."""
    python(session, "-m", "bench", "report", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def regression(session: nox.Session) -> None:
    """Rerun a few stored references and compare exactly."""
    python(session, "-m", "bench", "regression", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def record(session: nox.Session) -> None:
    """Make the stored references of a table anew, of CIFAR-10's unless ``--`` names another; say why in the commit."""
    python(session, "-m", "bench", "record", *session.posargs)
