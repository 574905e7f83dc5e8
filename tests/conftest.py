"""What every test stands on: one thread, deterministic algorithms, known Hypothesis settings."""

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile

import pytest
from hypothesis import Phase, settings
from hypothesis.internal.conjecture import providers

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}  # before torch; inherited by the tests' own processes

# Nothing that a test decodes stays with the user: the tests' own processes inherit this, too.
if "SPARSE_SSL_CACHE" not in os.environ:
    os.environ["SPARSE_SSL_CACHE"] = tempfile.mkdtemp(prefix="sparse-ssl-tests-")
    atexit.register(shutil.rmtree, os.environ["SPARSE_SSL_CACHE"], ignore_errors=True)

# Hundreds of processes import our modules. What Python compiles of them stays beside them, where git ignores it: a
# folder elsewhere would have all of torch and its like compiled once more, half a minute a worker.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A job in the background, as CI may be, is born deaf to Ctrl-C, and so would be the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis would parse all of our modules that a process happens to have for numbers to try: seconds in each process,
# and other examples wherever other tests ran before.
setattr(providers, "_get_local_constants", lambda: providers._local_constants)  # noqa: B010 - a function, which mypy keeps

# No deadlines: a shared machine is slow now and then, and that is no bug of ours.
settings.register_profile("dev", max_examples=25, deadline=None)
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, database=None, print_blob=True)
# A mutant has to fail its test once; the smallest example of it is nobody's business.
MUTANT = (Phase.explicit, Phase.generate)
settings.register_profile("mutant", max_examples=100, deadline=None, derandomize=True, database=None, phases=MUTANT)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what is too much for every run of the tests."""
    parser.addoption(
        "--every-pair", action="store_true", help="walk every framework x method or gate on the virtual device"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Settle torch wherever tests run; a process that only deals them out to others goes without its seconds."""
    if getattr(config.option, "dist", "no") != "no":
        return
    import torch  # noqa: PLC0415 - takes seconds

    from bench.lanes import local  # noqa: PLC0415 - as above
    from tests.forked import Forks  # noqa: PLC0415 - as above

    # Workers start in a moment instead of ten seconds. What is about the start takes the real ones (test_pool.py).
    local.NEW_PROCESSES = Forks  # type: ignore[assignment]  # of a context, the two calls that are made
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)


def pytest_collection_finish() -> None:
    """Let no later collection of garbage look at what is there now: statsmodels asks for one at every correction."""
    gc.collect()
    gc.freeze()
