"""How long frameworks train at smoke, and that the cpu size does not follow."""

import pytest

from bench.config.profiles import PROFILES
from bench.config.recipes import first_lessons, smoke
from bench.config.sparsity import SparsitySpec

DENSE = SparsitySpec(method="dense", granularity="-", density=1.0)
LONGER = {"simclr": (600, 0.98), "moco": (800, 0.95), "byol": (1800, 0.98)}


@pytest.mark.parametrize("framework", ["simclr", "moco", "barlow_twins", "byol", "supervised"])
def test_frameworks_that_learn_late_take_more_steps_and_see_smaller_images_in_nearly_all(framework: str) -> None:
    run = PROFILES["smoke"].run(framework, DENSE, "cifar10")
    steps = run.total_steps(12_800)
    assert (steps, run.views.small_fraction) == LONGER.get(framework, (400, 0.85))
    assert run.optimizer.warmup_epochs * 200 == pytest.approx(0.05 * steps)


def test_they_differ_from_the_recipes_of_the_cpu_size_in_length_and_for_byol_in_its_learning_rate() -> None:
    for name, recipe in smoke().items():
        shorter = first_lessons()[name]
        assert (recipe.framework, recipe.views) == (shorter.framework, shorter.views)
        rate = 0.18 if name == "byol" else shorter.optimizer.learning_rate
        assert recipe.optimizer.learning_rate == rate
    for framework in first_lessons():
        run = PROFILES["cpu"].run(framework, DENSE, "cifar10")
        assert (run.optimizer.epochs, run.views.small_fraction) == (2, 0.85)


def test_the_stand_in_has_views_of_one_size() -> None:
    assert PROFILES["smoke"].run("moco", DENSE, "digits").views.small_fraction == 0.0
