"""Which shapes of weights go together."""

from methods.granularity.base import Granularity
from methods.granularity.block import Block
from methods.granularity.element import Elementwise
from methods.granularity.filter import Filter
from methods.granularity.n_of_m import NofM
from methods.granularity.select import parse, select

__all__ = ["Block", "Elementwise", "Filter", "Granularity", "NofM", "parse", "select"]
