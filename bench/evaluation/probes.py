"""The linear probes that a run may be scored by; a probe is a file with a ``Probe``, and a line here."""

from bench.evaluation.lbfgs_probe import LBFGS
from bench.evaluation.probe import Probe
from bench.evaluation.sgd_probe import SGD

PROBES: dict[str, Probe] = {
    "lbfgs": LBFGS,
    "sgd": SGD,
}

__all__ = ["PROBES"]
