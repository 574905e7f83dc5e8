"""Checkpoints that survive a kill at any moment and refuse to continue another run."""

import io
import pickle
from pathlib import Path

import torch

from bench import files, provenance
from bench.config.run import Run

State = dict[str, object]


class CheckpointError(Exception):
    """A checkpoint that cannot be read, or that belongs to another run."""


def save(path: Path, run: Run, data_fingerprint: str, env_class: str, state: State) -> None:
    """Write a checkpoint atomically; the bytes are read back before the older file is replaced.

    Args:
        path: the file.
        run: the run it belongs to.
        data_fingerprint: of the images it was trained on.
        env_class: of the environment it was trained in.
        state: nested dictionaries and lists of tensors, numbers and strings: all that ``weights_only`` reads.
    """
    stream = io.BytesIO()
    torch.save({"identity": _identity(run, data_fingerprint, env_class), "state": state}, stream)
    payload = stream.getvalue()
    torch.load(io.BytesIO(payload), weights_only=True)
    files.write_atomically(path, payload)


def load(path: Path, run: Run, data_fingerprint: str, env_class: str) -> State | None:
    """Return the state, or ``None`` if there is none, or if other code, data or environment wrote it.

    Raises:
        CheckpointError: the file is unreadable, or belongs to another run.
    """
    if not path.exists():
        return None
    identity, state = _read(path)
    expected = _identity(run, data_fingerprint, env_class)
    if identity["run"] != expected["run"]:
        raise CheckpointError(
            f"{path}: belongs to another run ({identity['run']}), not to {run.run_id}. "
            "Checkpoints must stay in the folder of their run: move it back or delete it."
        )
    return state if identity == expected else None


def is_of_other_code(path: Path) -> bool:
    """Return whether a checkpoint is there that other code wrote, so that its run starts anew.

    Tensors stay on the disk. Of an unreadable one nothing is known here: its run fails, and says why.
    """
    try:
        return path.exists() and _read(path, mmap=True)[0]["source_digest"] != provenance.source_digest()
    except CheckpointError:
        return False


def _read(path: Path, *, mmap: bool = False) -> tuple[dict[str, str], State]:
    """Return identity and state.

    Raises:
        CheckpointError: the file is unreadable.
    """
    try:
        body = torch.load(path, weights_only=True, mmap=mmap)
        return body["identity"], body["state"]
    except (
        OSError,
        RuntimeError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise CheckpointError(
            f"{path}: not a readable checkpoint ({error}). Delete it; the run then starts anew."
        ) from error


def _identity(run: Run, data_fingerprint: str, env_class: str) -> dict[str, str]:
    return {
        "run": run.canonical_text,
        "source_digest": provenance.source_digest(),
        "env_class": env_class,
        "data_fingerprint": data_fingerprint,
    }
