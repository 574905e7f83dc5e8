"""What every test stands on: one thread, deterministic algorithms, known Hypothesis settings."""

import atexit
import os
import shutil
import sys
import tempfile

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}  # before torch; inherited by the tests' own processes

# Nothing that a test decodes stays with the user: the tests' own processes inherit this, too.
if "SPARSE_SSL_CACHE" not in os.environ:
    os.environ["SPARSE_SSL_CACHE"] = tempfile.mkdtemp(prefix="sparse-ssl-tests-")
    atexit.register(shutil.rmtree, os.environ["SPARSE_SSL_CACHE"], ignore_errors=True)

# Where Python may leave no compiled files, hundreds of processes would compile the same modules, each anew.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode, sys.pycache_prefix = False, tempfile.mkdtemp(prefix="sparse-ssl-tests-compiled-")
    atexit.register(shutil.rmtree, sys.pycache_prefix, ignore_errors=True)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import signal

import torch
from hypothesis import Phase, settings

from bench.lanes import local
from tests.forked import Forks

# A job in the background, as CI may be, is born deaf to Ctrl-C, and so would be the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Workers start in a moment instead of ten seconds. What is about the start itself takes the real ones (test_pool.py).
local.NEW_PROCESSES = Forks  # type: ignore[assignment]

torch.set_num_threads(1)
torch.use_deterministic_algorithms(mode=True)

# No deadlines: a shared machine is slow now and then, and that is no bug of ours.
settings.register_profile("dev", max_examples=25, deadline=None)
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, database=None, print_blob=True)
# A mutant has to fail its test once; the smallest example of it is nobody's business.
MUTANT = (Phase.explicit, Phase.generate)
settings.register_profile("mutant", max_examples=100, deadline=None, derandomize=True, database=None, phases=MUTANT)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
