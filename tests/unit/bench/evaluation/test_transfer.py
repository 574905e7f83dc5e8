import dataclasses
from pathlib import Path

import pytest

from bench.config.run import DataSpec, EvaluationSpec
from bench.errors import RunError
from bench.evaluation.features import features
from bench.evaluation.lbfgs_probe import linear_probe
from bench.evaluation.transfer import data_of, transferred
from bench.runs import job
from bench.runs.context import Context
from bench.tables import TABLES
from bench.ticks import silent
from bench.training import encoders
from bench.views.recipes import normalise
from tests.images_on_disk import write_folder
from tests.tiny import dataset_of, tiny_run


def probed(*names: str) -> EvaluationSpec:
    return EvaluationSpec(transfer="+".join(names))


def test_it_is_the_linear_probe_of_the_frozen_features(tmp_path: Path) -> None:
    run = tiny_run("simclr", "dense")
    digits, (encoder, _) = dataset_of(run, tmp_path), encoders.build(run.encoder)
    found = transferred(encoder, {"digits": digits})
    bank, queries = (features(encoder, split.seen, normalise=normalise) for split in (digits.train, digits.test))
    correct = linear_probe(bank, digits.train.labels, queries, digits.test.labels)
    assert found["transfer_digits_correct"] == correct
    assert found["transfer_digits_images"] == len(queries)
    assert found["transfer_digits_percent"] == 100 * correct / len(queries)
    assert transferred(encoder, {}) == {}


def test_as_many_images_as_the_encoder_learnt_from_or_all() -> None:
    run = dataclasses.replace(
        tiny_run("simclr", "dense"),
        data=DataSpec(name="cifar10", train_images=12_800),
        evaluation=probed("cifar100", "digits", "mine"),
    )
    assert data_of(run) == {
        "cifar100": DataSpec(name="cifar100", train_images=12_800),
        "digits": DataSpec(name="digits", train_images=0),
        "mine": DataSpec(name="mine", train_images=12_800),
    }


def test_a_run_records_what_its_encoder_knows_of_other_images(tmp_path: Path) -> None:
    """Of its own images it knows as much as its linear score says; those in a folder are others."""
    write_folder(tmp_path / "mine", train=96)
    run = dataclasses.replace(tiny_run("simclr", "dense", epochs=1), evaluation=probed("digits", "mine"))
    context = Context(runs_dir=tmp_path / "runs", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    made = job.perform(run, context, silent)
    assert made.facts["transfer_digits_percent"] == made.metrics["linear_top1_percent"]
    assert made.facts["transfer_mine_images"] != made.facts["test_images"]
    assert made.facts["transfer_mine_fingerprint"] != made.facts["data_fingerprint"]


def test_a_data_set_is_named_once() -> None:
    with pytest.raises(RunError, match="name each data set once"):
        probed("digits", "digits")
    with pytest.raises(RunError, match="it must be a name"):
        probed("digits", "")


def test_the_table_probes_every_encoder_on_other_images_than_its_own() -> None:
    for run in TABLES["transfer"]("smoke", "cifar10").cells:
        assert run.evaluation.transfers == ("cifar100", "digits")
    assert not any(run.evaluation.transfers for run in TABLES["transfer"]("smoke", "digits").cells)
