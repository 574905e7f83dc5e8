"""Checkpoints that survive a kill at any moment, tell a flipped bit, and refuse to continue another run.

The file: a line with the SHA-256 of all that follows; a line of JSON that says whose it is; torch's archive.
"""

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Literal

import torch

from bench import files
from bench.config import code
from bench.config.run import Run
from bench.errors import UserError

State = dict[str, object]

_MAGIC = b"sparse-ssl checkpoint 1 sha256="
_LONGEST_IDENTITY = 1 << 20  # bytes; a line longer than this is no identity


class CheckpointError(UserError):
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
    torch.save(state, stream)
    archive = stream.getvalue()
    torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
    identity = _identity(run, data_fingerprint, env_class)
    payload = json.dumps(identity, sort_keys=True).encode() + b"\n" + archive
    digest = hashlib.sha256(payload).hexdigest().encode()
    files.write_atomically(path, _MAGIC + digest + b"\n" + payload)


def load(path: Path, run: Run, data_fingerprint: str) -> State | None:
    """Return the state, on the CPU, or ``None`` if there is none, or if other code or data wrote it.

    One that another kind of machine wrote is taken: hours of work count more than the run's last bits, which the state
    itself remembers to have come from several environments.

    Raises:
        CheckpointError: the file is damaged, or belongs to another run.
    """
    if not path.exists():
        return None
    identity, archive = _read(path)
    expected = _identity(run, data_fingerprint, identity["env_class"])
    if identity["run"] != expected["run"]:
        raise CheckpointError(
            f"{path}: belongs to another run ({identity['run']}), not to {run.run_id}. "
            "Checkpoints must stay in the folder of their run: move it back or delete it."
        )
    if identity != expected:
        return None
    try:
        state: State = torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise _damaged(path, str(error)) from error
    return state


def why_dropped(path: Path, run: Run, data_fingerprint: str) -> Literal["code", "images"] | None:
    """Return what differs from what wrote a checkpoint, so that its run starts anew; ``None`` if nothing does.

    Only the header is read. Of a damaged one nothing is known here: its run fails, and says why.
    """
    identity = _header(path)
    if identity is None:
        return None
    if identity["source_digest"] != code.code_of(run).digest:
        return "code"
    return None if identity["data_fingerprint"] == data_fingerprint else "images"


def keep_of_other_code(path: Path, run: Run) -> None:
    """Rename a checkpoint that other code wrote: ``checkpoint.code-DIGEST.pt``. That code can go on from it."""
    identity = _header(path)
    if identity is not None and identity["source_digest"] != code.code_of(run).digest:
        path.rename(path.with_name(f"{path.stem}.code-{identity['source_digest']}{path.suffix}"))


def _header(path: Path) -> dict[str, str] | None:
    """Return whose a checkpoint is; ``None`` if there is none, or it is damaged."""
    try:
        with path.open("rb") as file:
            file.readline(len(_MAGIC) + 65)
            return _parsed(file.readline(_LONGEST_IDENTITY), path)
    except (OSError, CheckpointError):
        return None


def owner(path: Path) -> str:
    """Return the canonical text of the run that a checkpoint belongs to, once every byte is known to be as written.

    Raises:
        CheckpointError: a byte is not.
    """
    return _read(path)[0]["run"]


def discard_damaged(path: Path) -> None:
    """Delete a checkpoint that is not, byte for byte, what was written; leave any other one alone."""
    try:
        if path.exists():
            _read(path)
    except CheckpointError:
        path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, str], bytes]:
    """Return the identity and torch's archive, once every byte is known to be as it was written.

    Raises:
        CheckpointError: a byte is not.
    """
    try:
        first, _, payload = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise _damaged(path, str(error)) from error
    if not first.startswith(_MAGIC):
        raise _damaged(path, "it does not begin as one")
    if first != _MAGIC + hashlib.sha256(payload).hexdigest().encode():
        raise _damaged(path, "its SHA-256 is not the one it was written with")
    identity, _, archive = payload.partition(b"\n")
    return _parsed(identity, path), archive


def _parsed(line: bytes, path: Path) -> dict[str, str]:
    """Return the identity that a line of JSON holds.

    Raises:
        CheckpointError: it holds none.
    """
    try:
        identity = json.loads(line)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(identity, dict) or identity.keys() != _FIELDS or set(map(type, identity.values())) != {str}:
        raise _damaged(path, "it does not say whose it is")
    return identity


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: a damaged checkpoint: {why}. Delete this file, or give --restart, and the run starts anew."
    )


_FIELDS = {"run", "source_digest", "env_class", "data_fingerprint"}


def _identity(run: Run, data_fingerprint: str, env_class: str) -> dict[str, str]:
    return {
        "run": run.canonical_text,
        "source_digest": code.code_of(run).digest,
        "env_class": env_class,
        "data_fingerprint": data_fingerprint,
    }
