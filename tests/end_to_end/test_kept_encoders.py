"""What a run keeps of its encoder is what was scored, and what other programs get of it."""

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch

from bench import load_encoder
from bench.evaluation.features import features
from bench.evaluation.scores import scores
from bench.runs import job
from bench.runs.context import Context
from bench.runs.folder import RunFolder
from bench.ticks import silent
from bench.training import parts
from bench.training.encoder_file import EncoderFileError, packed, unpacked
from methods import masking
from tests.strategies import GATE_PAIRS
from tests.tiny import dataset_of, gated_run

RUN = gated_run("simclr", "dual_gate", 1.5, epochs=1)


@pytest.fixture(name="context", scope="module")
def fixture_context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Return where one finished run lies."""
    out = tmp_path_factory.mktemp("out")
    context = Context(runs_dir=out / "runs", data_dir=out / "data", cache_dir=out / "cache")
    job.perform(RUN, context, silent)
    return context


def test_the_kept_encoder_gives_the_records_scores(context: Context) -> None:
    folder = RunFolder.of(context.runs_dir, RUN)
    record = folder.finished()
    assert record is not None
    payload = folder.encoder.read_bytes()
    assert record.provenance["encoder_sha256"] == hashlib.sha256(payload).hexdigest()
    assert record.provenance["encoder_bytes"] == len(payload)
    encoder = load_encoder(folder.path)
    images = dataset_of(RUN, context.cache_dir)
    queries = features(encoder, images.test.images, normalise=encoder.normalise)
    metrics, counts = scores(RUN, images, encoder, queries)
    assert metrics == dict(record.metrics)
    assert {name: record.facts[name] for name in counts} == counts


def test_an_encoder_that_is_not_the_records_is_refused(context: Context, tmp_path: Path) -> None:
    whole, copy = RunFolder.of(context.runs_dir, RUN), RunFolder(tmp_path)
    copy.record.write_bytes(whole.record.read_bytes())
    with pytest.raises(EncoderFileError, match="there is no such file"):
        load_encoder(copy.path)
    payload = bytearray(whole.encoder.read_bytes())
    payload[-1] ^= 1
    copy.encoder.write_bytes(payload)
    with pytest.raises(EncoderFileError, match="is not the encoder that was scored"):
        load_encoder(copy.path)
    assert load_encoder(whole.encoder).run_id == RUN.run_id  # the file alone, for which nobody vouches


@pytest.mark.parametrize(("gate", "tied"), GATE_PAIRS)
def test_the_encoder_of_every_gate_comes_back(gate: str, tmp_path: Path, *, tied: bool) -> None:
    """One never did: its gate refused the pair that it was built in again, so that nobody could load its runs."""
    run = gated_run("simclr" if tied else "moco", gate, 1.5)
    framework, method = parts.framework_for(run), parts.method_for(run)
    method.attach(framework.branches, total_steps=1)
    made = method.export(framework.online)
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(packed(run, made, pixels=32))
    encoder = unpacked(path)
    assert encoder.run_id == run.run_id
    assert masking.weights_digest(encoder.network) == masking.weights_digest(made)


def test_encoders_can_be_left_out(context: Context) -> None:
    folder = RunFolder.of(context.runs_dir, RUN)
    run = dataclasses.replace(RUN, seed=2)
    other = RunFolder.of(context.runs_dir, run)
    other.path.mkdir()
    other.encoder.write_bytes(folder.encoder.read_bytes())  # of an earlier record of this run
    record = job.perform(run, dataclasses.replace(context, keeps_encoders=False), silent)
    assert not other.encoder.exists()
    assert "encoder_sha256" not in record.provenance
    with pytest.raises(EncoderFileError, match="the run kept no encoder"):
        load_encoder(other.path)


def test_a_damaged_checkpoint_is_started_anew_only_when_told(context: Context) -> None:
    run = dataclasses.replace(RUN, seed=1)
    folder = RunFolder.of(context.runs_dir, run)
    folder.path.mkdir()
    folder.checkpoint.write_bytes(b"half of a checkpoi")
    with pytest.raises(Exception, match=r"checkpoint.pt: a damaged checkpoint: .* --restart"):
        job.perform(run, context, silent)
    assert folder.checkpoint.exists()
    job.perform(run, dataclasses.replace(context, restarts=True), silent)
    assert not folder.checkpoint.exists()
    assert torch.is_tensor(next(load_encoder(folder.path).parameters()))
