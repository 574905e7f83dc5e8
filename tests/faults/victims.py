"""Files that the suite leaves and reads again, and who reads each: what is damaged is refused, or says the same."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from bench.config.run import DataSpec
from bench.data import dataset
from bench.errors import UserError
from bench.judging.claims import CLAIMS, load_claims
from bench.judging.references import load_reference
from bench.judging.tolerances import TOLERANCES, load_tolerances
from bench.runs import job
from bench.runs.context import Context
from bench.runs.folder import RunFolder
from bench.runs.record import Record
from bench.runs.soundness import faults
from bench.ticks import silent
from bench.training import checkpoint
from bench.training.encoder_file import unpacked
from tests.images_on_disk import write_folder
from tests.tiny import tiny_run

RUN = tiny_run("byol", "synchronized", gap=0.3, epochs=2)
MINE = DataSpec(name="mine", train_images=0)


class Believed(Exception):  # noqa: N818 - it is not an error of the one who raises it
    """A damaged file was taken for a whole one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A file, and who reads it.

    Attributes:
        path: of the file.
        read: returns what it says, comparable by ``==``; raises ``UserError`` where it is refused.
        is_sealed: whether its content is under a sum; any other file may say something else when it is edited.
        names: what stands in the refusal; the file's name unless said otherwise.
        whole: the file's bytes before any damage, and what they say.
    """

    path: Path
    read: Callable[[], object]
    is_sealed: bool = True
    names: str = ""
    whole: tuple[bytes, object] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "whole", (self.path.read_bytes(), self.read()))

    def after(self, damaged: bytes) -> str:
        """Put a damaged file in the place of the whole one, have it read, put the whole one back; say what happened.

        Returns:
            ``refused``, ``the same``, or for what is not under a sum ``taken``.

        Raises:
            Believed: it says something else, or is refused without its name.
        """
        content, said = self.whole
        self.path.write_bytes(damaged)
        try:
            now = self.read()
        except UserError as error:
            if (self.names or self.path.name) not in str(error):
                raise Believed(f"{self.path.name} is refused, but not by its name: {error}") from error
            return "refused"
        finally:
            self.path.write_bytes(content)
        if now == said:
            return "the same"
        if self.is_sealed:
            raise Believed(f"{self.path.name} says something else, and is believed")
        return "taken"


def victims(folder: Path) -> dict[str, Victim]:
    """Return a file of every kind, made under ``folder``; it takes some seconds."""
    home = RunFolder.of(folder / "runs", RUN)
    job.perform(RUN, Context(runs_dir=folder / "runs", data_dir=folder, cache_dir=folder / "cache"), silent)
    record = Record.load(home.record)
    state: checkpoint.State = {"step": 3, "weights": torch.arange(6.0), "nested": {"masks": [torch.ones(2, 2)]}}
    checkpoint.save(home.checkpoint, RUN, "feed", "cpu", state)
    reference = folder / RUN.data.name / f"{RUN.run_id}.json"
    reference.parent.mkdir()
    reference.write_bytes(home.record.read_bytes())
    claims, tolerances = (folder / "settings" / path.name for path in (CLAIMS / "structured.toml", TOLERANCES))
    claims.parent.mkdir()
    claims.write_bytes((CLAIMS / claims.name).read_bytes())
    tolerances.write_bytes(TOLERANCES.read_bytes())
    kept, changing = folder / "kept", folder / "changing"  # a picture that changes takes the decoded ones with it
    for each in (kept, changing):
        write_folder(each / MINE.name)
        dataset.load(MINE, each, each / "cache")
    (pixels,) = kept.glob("cache/*/*/train-images.npy")

    def decoded() -> object:
        return dataset.load(MINE, kept, kept / "cache").fingerprint

    def sound() -> object:
        for path, fault in faults(home.path):
            raise UserError(f"{path}: {fault}")
        return None

    return {
        "record": Victim(path=home.record, read=lambda: Record.load(home.record)),
        "masks": Victim(path=home.masks, read=sound),
        "encoder": Victim(path=home.encoder, read=lambda: _weights(home.encoder, record)),
        "checkpoint": Victim(
            path=home.checkpoint, read=lambda: _comparable(checkpoint.load(home.checkpoint, RUN, "feed"))
        ),
        "reference": Victim(path=reference, read=lambda: load_reference(reference)),
        "claims": Victim(path=claims, read=lambda: load_claims("structured", claims.parent), is_sealed=False),
        "tolerances": Victim(
            path=tolerances, read=lambda: load_tolerances("cifar10", "smoke", "cifar10", tolerances), is_sealed=False
        ),
        "decoded images": Victim(path=pixels, read=decoded),
        "header of decoded images": Victim(path=pixels.with_name("header.json"), read=decoded),
        "picture": Victim(
            path=next((changing / MINE.name / "train").glob("*/*")),
            read=lambda: dataset.load(MINE, changing, changing / "cache").fingerprint,
            is_sealed=False,
        ),
    }


def _weights(path: Path, record: Record) -> object:
    return _comparable(unpacked(path, sha256=str(record.provenance["encoder_sha256"])).state_dict())


def _comparable(value: object) -> object:
    """Return nested tensors as something that ``==`` compares."""
    if isinstance(value, Tensor):
        return (tuple(value.shape), hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest())
    if isinstance(value, Mapping):
        return {name: _comparable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_comparable(each) for each in value]
    return value
