"""The kernel is built once, where there is a compiler; where there is none, the reason is said."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from methods.gating import compiled
from tests.compiler import needs_a_compiler


@pytest.fixture(autouse=True)
def fixture_own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is built yet, and what a test finds is forgotten after it."""
    monkeypatch.setenv("SPARSE_SSL_CACHE", str(tmp_path / "cache"))
    compiled.library.cache_clear()
    yield
    compiled.library.cache_clear()


def compiler(folder: Path, text: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_without_a_compiler_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/no/such/compiler")
    assert compiled.missing() == "no C++ compiler: /no/such/compiler not found (CXX may name one)"
    with pytest.raises(compiled.NoKernelError, match="no C"):
        compiled.library()


def test_what_a_compiler_complains_of_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = compiler(tmp_path, "echo warning: so; echo 'pixels.cpp:1: error: no such thing' >&2; exit 1")
    monkeypatch.setenv("CXX", broken)
    assert compiled.missing() == f"{broken} gave no kernel that runs: pixels.cpp:1: error: no such thing"


def test_a_library_that_does_not_load_is_no_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = 'for last; do :; done; case "$last" in *.so) echo nothing > "$last";; esac'
    monkeypatch.setenv("CXX", compiler(tmp_path, writes))
    assert "gave no kernel that runs" in compiled.missing()


def test_without_a_place_to_keep_them_there_are_no_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPARSE_SSL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless(path: Path) -> Path:
        raise RuntimeError(f"Could not determine home directory of {path}.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    monkeypatch.setenv("CXX", compiler(tmp_path, "exit 0"))
    assert compiled.missing().endswith("gave no kernel that runs: Could not determine home directory of ~/.cache.")


@needs_a_compiler
def test_what_was_built_is_taken_again(tmp_path: Path) -> None:
    assert int(compiled.library().width()) in {16, 32}
    (built,) = (tmp_path / "cache/compiled").iterdir()
    made = built.stat()
    compiled.library.cache_clear()
    assert compiled.missing() == ""
    assert [path.stat() for path in (tmp_path / "cache/compiled").iterdir()] == [made]


def test_another_processor_is_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that machines share: what one has instructions for, the other may not run."""
    predefines = 'case "$*" in *-dM*) cat "$0.macros"; exit;; esac; for last; do :; done; echo nothing > "$last"'
    named = compiler(tmp_path, predefines)
    monkeypatch.setenv("CXX", named)
    for macros in ("#define __AVX2__ 1", "#define __AVX512F__ 1"):
        Path(f"{named}.macros").write_text(macros)
        compiled.missing()
    assert len(list((tmp_path / "cache/compiled").iterdir())) == 2
