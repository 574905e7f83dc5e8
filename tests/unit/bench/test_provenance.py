import importlib.metadata
import platform
from pathlib import Path

import pytest
import torch

from bench import provenance
from bench.provenance import cpu, env_class, is_same_class
from bench.sources import LIBRARIES

OLD = "x86_64/AMD EPYC/torch2.14.1/torchvision0.29.1/lightly1.6.0/t1/32-true"
NEW = (
    "x86_64/AMD EPYC/AVX2/onednn-default/torch2.14.1/torchvision0.29.1/lightly1.6.0/lightning-fabric2.6.6/numpy2.4.6/"
    "scipy1.17.1/scikit-learn1.9.1/pillow13.0.0/t1/32-true"
)


@pytest.fixture(autouse=True)
def the_machine_of_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_cpu_model", lambda: "AMD EPYC")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


def _here(capability: str = "AVX2", threads: int = 1) -> str:
    return env_class(processor=cpu(capability), threads=threads, precision="32-true")


def test_a_class_that_names_no_instructions_is_like_no_other() -> None:
    """Runs of one such class, of machines with and without AVX-512, differed in every bit of their weights."""
    assert _here() == NEW
    assert is_same_class(_here(), NEW)
    assert not is_same_class(_here(), OLD)
    assert not is_same_class(OLD, OLD)


def test_what_changes_bits_is_another_class(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        _here("DEFAULT"),
        _here("AVX512"),
        _here(threads=2),
        env_class(processor="H100", threads=1, precision="x"),
    ]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "sse41")
    others.append(_here())
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
    assert _here() == NEW
    version = importlib.metadata.version
    for name in LIBRARIES:
        with monkeypatch.context() as patched:
            patched.setattr(importlib.metadata, "version", lambda each, name=name: version(each) + "0" * (each == name))
            provenance._versions.cache_clear()
            others.append(_here())
    provenance._versions.cache_clear()
    for other in others:
        assert not is_same_class(other, NEW)
    assert len({*others}) == len(others)


def test_an_unknown_class_is_like_no_other() -> None:
    assert not is_same_class(None, None)


def test_a_record_of_a_gpu_names_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the driver's tool says; nothing on a CPU. Nor is it in the class: the driver rounds nothing."""
    here = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H100")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.device(here)["driver"] == "unknown"
    tool = tmp_path / "nvidia-smi"
    for script, driver in (("echo 570.133.20; echo 570.133.20", "570.133.20"), ("exit 9", "unknown")):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        assert provenance.device(here)["driver"] == driver
    assert "driver" not in provenance.device(torch.device("cpu"))
