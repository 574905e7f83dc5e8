import importlib.metadata
import platform
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import provenance
from bench.provenance import cpu, env_class, is_same_class
from bench.sources import LIBRARIES
from bench.training.parts import env_class_for
from tests.tiny import tiny_run

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


def test_what_a_gpu_computes_with_is_in_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten bits of TF32 round otherwise than float32 in convolutions, and nothing else in a run's name tells them."""
    run, classes = tiny_run("simclr", "dense"), list[str]()

    def take(ranks: int = 1) -> None:
        fabric: Any = types.SimpleNamespace(device=torch.device("cuda", 0), world_size=ranks)
        classes.append(env_class_for(run, fabric))

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92000)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    take()
    assert "/NVIDIA H100/cuda13.0/cudnn92000/tf32/" in classes[0]
    take(ranks=2)
    monkeypatch.setattr(torch.version, "cuda", "13.1")
    take()
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92100)
    take()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    take()
    with torch.backends.cudnn.flags(allow_tf32=False):
        take()
    assert len({*classes}) == 6


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
