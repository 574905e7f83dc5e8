"""The examples run as they stand."""

import runpy
from pathlib import Path

import pytest
from torch.nn import Conv2d
from torch.nn.utils import parametrize

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_methods_work_in_a_loop_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    made = runpy.run_path(str(EXAMPLES / "own_loop.py"))
    assert capsys.readouterr().out == "density 0.1000 after mask updates at steps (1, 2, 3, 4)\n"
    assert "bench" not in (EXAMPLES / "own_loop.py").read_text()
    convolutions = [module for module in made["pruned"].modules() if isinstance(module, Conv2d)]
    assert not any(parametrize.is_parametrized(module) for module in convolutions)
    weights = [module.weight for module in convolutions[1:]]
    assert sum(int(weight.count_nonzero()) for weight in weights) == made["kept"]
    assert made["kept"] == round(0.10 * sum(weight.numel() for weight in weights))
