"""Settings as texts, as far as they are a method's own."""

import pytest

from bench.config.overrides import changed, differences, settings
from bench.errors import RunError
from bench.training.parts import method_for
from tests.tiny import tiny_run

RUN = tiny_run("simclr", "synchronized", gap=0.3)


def test_a_parameter_of_the_methods_own_is_set_by_its_name() -> None:
    run = changed(RUN, {"sparsity.options.prune_rate": "0.25", "sparsity.options.momentum": "0.9"})
    assert run.sparsity.options == (("momentum", 0.9), ("prune_rate", 0.25))
    again = changed(run, {"sparsity.options.momentum": "0.5"})
    assert dict(again.sparsity.options) == {"momentum": 0.5, "prune_rate": 0.25}
    assert len({RUN.run_id, run.run_id, again.run_id}) == 3
    assert settings(run)["sparsity.options.momentum"] == 0.9
    assert differences(RUN, run)["sparsity.options.prune_rate"] == (None, 0.25)
    method_for(run)


def test_the_method_refuses_what_it_does_not_have() -> None:
    with pytest.raises(ValueError, match="synchronized has no parameter 'moment' of its own: it has"):
        method_for(changed(RUN, {"sparsity.options.moment": "0.9"}))
    with pytest.raises(RunError, match=r"setting 'sparsity\.option' is unknown"):
        changed(RUN, {"sparsity.option": "0.9"})
