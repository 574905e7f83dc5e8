"""A kept encoder in formats that other programs read; what they compute is compared before a file counts as written."""

import copy
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from bench.errors import UsageError, UserError
from bench.training.encoder_file import Encoder

Format = Literal["safetensors", "torch-export", "onnx"]
SUFFIXES: dict[Format, str] = {"safetensors": ".safetensors", "torch-export": ".pt2", "onnx": ".onnx"}
TOLERANCE = 1e-5  # of the largest feature
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_COMPARED = 16  # images; another number than the exporter saw
_BATCH = 4  # images that the exporter sees


class ExportError(UserError):
    """The format cannot hold the encoder, or computes something else."""


def export(encoder: Encoder, path: Path, form: Literal["torch-export", "onnx"]) -> float:
    """Write an encoder; return how far its features on images are off, as a fraction of the largest.

    The exported program takes normalised float32 images ``[N, 3, H, W]``, any N, under the name ``images``, and gives
    ``features``.

    Args:
        encoder: as ``load_encoder`` returns it.
        path: of the file; only written if what it holds computes the same.
        form: of the file.

    Raises:
        UsageError: packages are missing.
        ExportError: the encoder cannot be exported, or the difference exceeds ``TOLERANCE``.
    """
    images = sample(encoder)
    with torch.no_grad():
        expected = encoder(images)
    part = path.with_name(f".{path.name}.part{path.suffix}")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        run = (_torch_export if form == "torch-export" else _onnx)(copy.deepcopy(encoder), images[:_BATCH], part)
        found = run(images)
        off = float((found - expected).abs().max() / expected.abs().max().clamp_min(torch.finfo(torch.float32).tiny))
        if not off <= TOLERANCE:
            raise ExportError(
                f"{path}: the exported encoder's features are off by {off:.1e} of the largest, more than "
                f"{TOLERANCE:.0e}. Use another format."
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return off


def sample(encoder: Encoder) -> Tensor:
    """Return a few handwritten digits of scikit-learn's, normalised, in the size that the encoder was scored on."""
    grey = torch.from_numpy(load_digits().images[:_COMPARED]).float() * (255 / 16)
    sized = functional.interpolate(grey[:, None], size=encoder.pixels, mode="bilinear")
    return encoder.normalise(sized.round().byte().expand(-1, 3, -1, -1))


def _torch_export(encoder: Encoder, images: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    batch = torch.export.Dim("batch", min=1)
    try:
        with torch.no_grad():  # gates switch gradients off on the way, which the exporter could not write down
            program = torch.export.export(encoder, (images,), dynamic_shapes={"images": {0: batch}})
    except Exception as error:  # exporters raise whatever they meet
        raise ExportError(f"torch.export cannot follow this encoder: {_first(error)}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library about itself
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()

    def run(seen: Tensor) -> Tensor:
        with torch.no_grad():
            features: Tensor = loaded(seen)
        return features

    return run


def _onnx(encoder: Encoder, images: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"--format onnx needs {', '.join(missing)}, not installed here: pip install -e '.[onnx]'")
    import onnxruntime  # noqa: PLC0415  # an optional extra

    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter about itself
            torch.onnx.export(
                encoder,
                (images,),
                path,
                input_names=["images"],
                output_names=["features"],
                dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # exporters raise whatever they meet
        raise ExportError(f"ONNX cannot hold this encoder: {_first(error)}. Try --format torch-export.") from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(seen: Tensor) -> Tensor:
        (features,) = session.run(["features"], {"images": seen.contiguous().numpy()})
        return torch.from_numpy(features)

    return run


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
