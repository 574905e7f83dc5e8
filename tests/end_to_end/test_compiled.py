"""``--compile``: the steps of a run are computed as ``torch.compile`` translates them, and nothing else of it is."""

import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.__main__ import main
from bench.config import overrides
from bench.config.overrides import COMPACT
from bench.errors import RunError
from bench.training import compiled, parts
from bench.training.compiled import Compiled
from methods import GATES, masking
from methods.branches import Branches
from tests.end_to_end.test_training import stop_at
from tests.end_to_end.test_virtual_device import every_pair
from tests.tiny import FRAMEWORKS, dataset_of, gated_run, pretrained, tiny_run

PAIR = ("moco", "synchronized")  # two encoders with masks of their own, and steps that watch gradients


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Deal out the pairs that are tried: a few CPU-seconds each, so one of them unless all are asked for."""
    if "compiled_pair" in metafunc.fixturenames:
        every = [(framework, "dense") for framework in FRAMEWORKS]
        every += [pair for pair in every_pair() if pair[0] == "simclr" and pair[1] != "dense"]
        chosen = [PAIR, *every] if metafunc.config.getoption("--every-pair") else [PAIR]
        metafunc.parametrize("compiled_pair", chosen, ids="-".join)


@pytest.fixture(name="passes")
def fixture_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Translate into the same operations, whose bits are those of no translation; hold the passes that were made."""
    made: list[int] = []

    def counted(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            made.append(1)
            return graph.forward(*args)

        return call

    monkeypatch.setattr(compiled, "HOW", {"backend": counted})
    torch.compiler.reset()  # as a worker does before a run
    return made


# Of what gates hold from the step before, torch asks for gradients where it looks again at what it translated.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_run_takes_its_steps_in_translated_encoders_and_stays_what_it_is_though_interrupted(
    compiled_pair: tuple[str, str], tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    framework, method = compiled_pair
    run = gated_run(framework, method, 1.2, epochs=1) if method in GATES else tiny_run(framework, method, epochs=3)
    watched = list[bool]()
    plain = pretrained(run, tmp_path / "plain")
    assert not passes
    engaged = Compiled.engaged

    def watch(pair: Compiled) -> AbstractContextManager[None]:
        watched.append(any(map(masking.is_watched, pair._forwards)))
        return engaged(pair)

    monkeypatch.setattr(Compiled, "engaged", watch)
    with pytest.raises(KeyboardInterrupt):
        pretrained(run, tmp_path / "compiled", stop_at(2), compiles=True)
    made = pretrained(run, tmp_path / "compiled", compiles=True)
    assert bool(passes) == (False in watched)
    if compiled_pair == PAIR:  # each encoder sees one view; a step that watches gradients is not translated
        assert any(watched)
        assert len(passes) == 2 * watched.count(False)
    assert made.facts == plain.facts
    assert made.masks.keys() == plain.masks.keys()
    assert all(torch.equal(mask, plain.masks[point]) for point, mask in made.masks.items())
    pair, before = made.trained.framework.branches, len(passes)
    for encoder in (pair.online, pair.target, made.encoder):
        encoder(torch.zeros(2, 3, 32, 32))
    assert len(passes) == before
    (named,) = made.trained.environments
    assert named == f"{plain.trained.environments[0]}/compiled"


def test_every_encoder_of_a_process_is_translated(passes: list[int]) -> None:
    """From the ninth on, torch computed them as ever and said nothing: so did runs of one worker."""
    for count in range(1, 13):
        layer = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
        masking.install(layer)
        with Compiled(Branches(layer, layer, tied=True), enabled=True).engaged():
            layer(torch.ones(1, 1, 2, 2))
        assert len(passes) == count


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_what_torch_translates_by_default_is_the_masked_layer_up_to_rounding(tmp_path: Path) -> None:
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU())
    masking.install(layer)
    masking.write(layer, {"1": (torch.rand(4, 4, 3, 3) < 0.5).float()})
    images, branches = torch.randn(2, 3, 8, 8), Branches(layer, layer, tied=True)
    expected = layer(images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
        with Compiled(branches, enabled=True).engaged(), torch.no_grad():  # backwards as long again
            found = layer(images)
    assert any(tmp_path.rglob("*.so"))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_compiled_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = overrides.changed(tiny_run("simclr", "static_uniform", granularity="filter", density=0.25), {COMPACT: "true"})
    with pytest.raises(RunError, match=r"--compile translates the encoder once.*Leave one of the two out"):
        parts.check(run, dataset_of(run, tmp_path / "cache"), compiles=True)
    monkeypatch.setenv("CXX", "no-such-compiler")
    cell = ("run", "simclr/dense/-/d1.00", "--data", "digits", "--compile", "--out", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["bench", *cell])
    assert main() == 2
    assert "--compile: torch.compile needs a C++ compiler, and no-such-compiler is not found" in capsys.readouterr().err
