"""The trained encoder that a run left."""

from pathlib import Path

from bench.runs.folder import RunFolder
from bench.runs.record import Record
from bench.training.encoder_file import Encoder, EncoderFileError, unpacked


def load_encoder(run: str | Path) -> Encoder:
    """Return the encoder of a finished run, in evaluation mode, on the CPU; it computes what was scored, bit for bit.

    Its ``normalisation`` says what it wants of images: ``encoder(encoder.normalise(images))`` takes uint8
    ``[N, 3, H, W]``.

    Args:
        run: the run's folder, ``OUT/runs/RUN_ID``, whose record then vouches for the file; or an encoder's file alone.

    Raises:
        EncoderFileError: there is no encoder, or not the one that the record names.
        RecordError: there is no readable record.
    """
    path = Path(run)
    if path.suffix == ".safetensors":
        return unpacked(path)
    folder = RunFolder(path)
    sha256 = Record.load(folder.record).provenance.get("encoder_sha256")
    if sha256 is None:
        raise EncoderFileError(
            f"{path}: the run kept no encoder: it was made with --no-encoders, or by code that kept none. Delete the "
            "folder and make the run again."
        )
    return unpacked(folder.encoder, sha256=str(sha256))
