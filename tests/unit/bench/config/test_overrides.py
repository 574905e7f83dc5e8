"""Settings as texts: every one can be changed, read back, and repeated by a command."""

import shlex
from collections.abc import Iterator

import pytest

from bench.commands.cell import run_of_cell
from bench.commands.repeat import command_of
from bench.config import overrides
from bench.config.run import STAND_IN, Run
from bench.errors import RunError
from bench.tables import TABLES
from bench.training.parts import method_for
from tests.table_sizes import SIZES
from tests.tiny import tiny_run

RUN = run_of_cell("simclr/gradual/element/d0.10", profile="smoke", data="cifar10")
SYNCHRONIZED = tiny_run("simclr", "synchronized", gap=0.3)


def every_cell() -> Iterator[Run]:
    for name, profile in SIZES:
        for data in ("cifar10", STAND_IN) if profile == "smoke" else ("cifar10",):
            yield from TABLES[name](profile, data).cells


def test_a_changed_setting_is_there_and_gives_the_run_another_name() -> None:
    changed = overrides.changed(RUN, {"optimizer.learning_rate": "0.1", "encoder.width": "0.25", "seed": "3"})
    assert (changed.optimizer.learning_rate, changed.encoder.width, changed.seed) == (0.1, 0.25, 3)
    assert changed.run_id != RUN.run_id
    assert overrides.differences(RUN, changed) == {
        "optimizer.learning_rate": (0.06, 0.1),
        "encoder.width": (0.125, 0.25),
        "seed": (0, 3),
    }


def test_no_change_is_the_same_run() -> None:
    assert overrides.changed(RUN, {}) == RUN
    same = {key: overrides.text_of(value) for key, value in overrides.settings(RUN).items()}
    own = {key: text for key, text in same.items() if key not in overrides.NAMED_ELSEWHERE}
    assert overrides.changed(RUN, own) == RUN


def test_settings_that_need_one_another_are_changed_together() -> None:
    changed = overrides.changed(RUN, {"optimizer.name": "lars", "optimizer.trust_coefficient": "0.02"})
    assert (changed.optimizer.name, changed.optimizer.trust_coefficient) == ("lars", 0.02)


def test_what_may_be_nothing_reads_none() -> None:
    with_it = overrides.changed(RUN, {"optimizer.name": "lars", "optimizer.trust_coefficient": "0.02"})
    without = overrides.changed(with_it, {"optimizer.name": "sgd", "optimizer.trust_coefficient": "none"})
    assert without == RUN


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimizer.lerning_rate=1", "Did you mean 'optimizer.learning_rate'?"),
        ("learning_rate=1", "Did you mean 'optimizer.learning_rate'?"),
        ("optimizer=1", "setting 'optimizer' is unknown"),
        ("optimizer.epochs=1.5", "'1.5' is not a whole number"),
        ("optimizer.learning_rate=fast", "'fast' is not a finite number"),
        ("optimizer.learning_rate=nan", "'nan' is not a finite number"),
        ("views.pipeline=mine", "'mine' is not one of batched-v1, lightly"),
        ("data.name=cifar100", "named with --data"),
        ("framework.name=byol", "named by the cell's name"),
        ("optimizer.epochs", "reads KEY=VALUE"),
        ("=3", "reads KEY=VALUE"),
        ("optimizer.epochs=", "reads KEY=VALUE"),
    ],
)
def test_a_wrong_setting_is_answered_with_the_rule(assignment: str, message: str) -> None:
    with pytest.raises(RunError, match=r".") as caught:
        overrides.changed(RUN, overrides.collected([assignment]))
    assert message in str(caught.value)


def test_a_setting_given_twice_is_refused() -> None:
    with pytest.raises(RunError, match="given twice, as 1 and as 2"):
        overrides.collected(["optimizer.epochs=1", "optimizer.epochs=2"])


def test_every_run_of_every_table_is_repeated_by_its_command() -> None:
    """The words after --set, put on the profile's run of the cell, are the run itself."""
    for run in every_cell():
        words = shlex.split(command_of(run))
        cell, options = words[4], words[5:]
        named = dict(zip(options[::2], options[1::2], strict=True))
        changes = [value for name, value in zip(options[::2], options[1::2], strict=True) if name == "--set"]
        base = run_of_cell(cell, profile=named["--profile"], data=named["--data"], seed=int(named["--seed"]))
        assert overrides.changed(base, overrides.collected(changes)) == run


def test_a_run_of_a_table_needs_no_more_settings_than_the_table_changes() -> None:
    assert "--set" not in command_of(RUN)
    (cell,) = TABLES["gating"]("cpu", "cifar10").select("simclr/dual_gate/element/t2.25").cells
    assert command_of(cell).endswith("--seed 0 --set data.train_images=19456")


def test_a_parameter_of_the_methods_own_is_set_by_its_name() -> None:
    run = overrides.changed(SYNCHRONIZED, {"sparsity.options.prune_rate": "0.25", "sparsity.options.momentum": "0.9"})
    assert run.sparsity.options == (("momentum", 0.9), ("prune_rate", 0.25))
    again = overrides.changed(run, {"sparsity.options.momentum": "0.5"})
    assert dict(again.sparsity.options) == {"momentum": 0.5, "prune_rate": 0.25}
    assert len({SYNCHRONIZED.run_id, run.run_id, again.run_id}) == 3
    assert overrides.settings(run)["sparsity.options.momentum"] == 0.9
    assert overrides.differences(SYNCHRONIZED, run)["sparsity.options.prune_rate"] == (None, 0.25)
    method_for(run)


def test_the_method_refuses_what_it_does_not_have() -> None:
    with pytest.raises(ValueError, match="synchronized has no parameter 'moment' of its own: it has"):
        method_for(overrides.changed(SYNCHRONIZED, {"sparsity.options.moment": "0.9"}))
    with pytest.raises(RunError, match=r"setting 'sparsity\.option' is unknown"):
        overrides.changed(SYNCHRONIZED, {"sparsity.option": "0.9"})
