"""Classes, counts and sizes of a run come from its data."""

import pytest

from bench.config.framework import SupervisedSpec
from bench.config.profiles import PROFILES
from bench.config.sparsity import SparsitySpec
from bench.data.fit import fitted, remarks
from bench.data.known import KNOWN, Content, known_content
from bench.tables import TABLES
from tests.table_sizes import WITH_SMOKE

DENSE = SparsitySpec(method="dense")
FEW = Content(classes=3, train_images=300)


def outputs(table: str, data: str, content: Content | None = None) -> set[int]:
    cells = TABLES[table]("smoke", data, content).cells
    return {run.framework.output_dim for run in cells if isinstance(run.framework, SupervisedSpec)}


def test_a_classifier_has_an_output_per_class() -> None:
    assert outputs("cifar10", "cifar10") == {10}
    assert outputs("cifar10", "cifar100") == {100}
    assert outputs("cifar10", "mine", FEW) == {3}


@pytest.mark.parametrize("name", ["cifar10", "digits"])
@pytest.mark.parametrize("table", WITH_SMOKE)
def test_the_profiles_own_data_sets_change_nothing(table: str, name: str) -> None:
    built = TABLES[table].build("smoke", name)
    assert TABLES[table]("smoke", name) == built
    content = known_content(name)
    assert content is not None
    assert remarks(built.cells[0].data, content) == ()


def test_own_images_are_resized_and_all_of_few_are_used_and_it_is_said() -> None:
    run = PROFILES["smoke"].run("simclr", DENSE, "mine")
    data = fitted(run, FEW).data
    assert (data.image_size, data.train_images) == (32, 0)
    assert fitted(run, Content(classes=3, train_images=13_000)).data.train_images == run.data.train_images
    size, count = remarks(run.data, FEW)
    assert "mine: images are made 32 x 32 pixels" in size
    assert "300 train images, fewer than the profile's 12,800: all are used" in count


def test_known_data_sets_say_what_they_hold() -> None:
    for name, known in KNOWN.items():
        content = known_content(name)
        assert content is not None
        assert (content.classes, content.train_images) == (known.classes, known.train_images)
    assert known_content("mine") is None
