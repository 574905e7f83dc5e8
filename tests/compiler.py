"""Tests of compiled kernels need a C++ compiler alone: where there is one, a kernel that does not build fails them."""

import pytest

from methods import native

_WHY_NOT = native.missing(native.compiler)
needs_a_compiler = pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)
