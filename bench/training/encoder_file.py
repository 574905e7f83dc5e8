"""``encoder.safetensors``: a trained encoder, and in the file's header what it takes to build it again."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from bench.config.run import EncoderSpec, Run
from bench.errors import UserError
from bench.training import encoders
from bench.views.pixels import MEAN, STD
from methods import GATES, masking
from methods.branches import Branches
from methods.compaction import compacted, fused, shaped
from methods.gating.setting import GateSetting, parse_slice

_KEY = "sparse_ssl_encoder"  # one entry: with several, the library's order of them differs from call to call
_FORMAT = 1
_COMPACT_FORMAT = 2  # of a compacted encoder: normalisations melted into convolutions; 1: they stand for themselves


class EncoderFileError(UserError):
    """A file that holds no encoder of ours, or not the one that was scored."""


class Normalisation(NamedTuple):
    """What is taken off, and what it is divided by, per channel of an image with values in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """The gates of an encoder.

    Attributes:
        method: a key of ``methods.GATES``.
        reduction: dense MACs over gated MACs, as it was asked for.
        granularity: ``element``, or the slices of channels that share a gate.
    """

    method: str
    reduction: float
    granularity: str


class Encoder(nn.Module):
    """A trained encoder in evaluation mode: normalised float32 images ``[N, 3, H, W]`` to features ``[N, F]``.

    Attributes:
        network: the encoder that was scored, masks baked in, gates included.
        normalisation: of the images that it was trained on.
        features: F.
        pixels: H and W of the images that it was scored on.
        run_id: of the run that trained it.
    """

    def __init__(
        self, network: nn.Module, *, normalisation: Normalisation, features: int, size: int, run_id: str
    ) -> None:
        super().__init__()
        self.network = network
        self.normalisation = normalisation
        self.features, self.pixels, self.run_id = features, size, run_id
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of normalised images."""
        features: Tensor = self.network(images)
        return features

    def fused(self) -> "Encoder":
        """Return a copy for inference: on a CPU its forward pass is one call of a compiled kernel, elsewhere PyTorch's.

        It computes the same, up to rounding. It pays most where filters are physically gone. Without a C++ compiler
        PyTorch computes, and a warning says why.

        Raises:
            ValueError: it has gates (those skip: ``methods.gating.skipping``), or layers that the kernel does not know.
        """
        return Encoder(
            fused(self.network),
            normalisation=self.normalisation,
            features=self.features,
            size=self.pixels,
            run_id=self.run_id,
        )

    def normalise(self, images: Tensor) -> Tensor:
        """Return uint8 images ``[N, 3, H, W]`` as the encoder wants them: float32, normalised, channels-last."""
        mean, std = (torch.tensor(three, device=images.device)[:, None, None] for three in self.normalisation)
        scaled = images.float().mul_(1 / 255).sub_(mean).div_(std)  # in the order of bench.views.pixels: equal bits
        return scaled.contiguous(memory_format=torch.channels_last)


def packed(run: Run, encoder: nn.Module, *, pixels: int) -> bytes:
    """Return the bytes of the file; the same encoder gives the same bytes.

    Args:
        run: that trained it.
        encoder: as its method exported it.
        pixels: side of the images that it is scored on.
    """
    sparsity = run.sparsity
    gates = GateSpec(method=sparsity.method, reduction=sparsity.reduction, granularity=sparsity.granularity)
    header = {
        "format": _FORMAT,
        "run_id": run.run_id,
        "encoder": dataclasses.asdict(run.encoder),
        "gates": dataclasses.asdict(gates) if sparsity.reduction else None,
        "normalisation": {"mean": MEAN, "std": STD},
        "pixels": pixels,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    return save(tensors, {_KEY: json.dumps(header, sort_keys=True)})


def without_dead_channels(encoder: Encoder) -> Encoder:
    """Return an encoder that computes the same, up to rounding, with filters that are zero physically gone.

    Raises:
        EncoderFileError: it has gates, or layers whose channels nobody here knows to follow.
    """
    try:
        network = compacted(encoder.network)
    except ValueError as error:
        raise EncoderFileError(f"the encoder of {encoder.run_id} cannot be compacted: {error}") from error
    return Encoder(
        network,
        normalisation=encoder.normalisation,
        features=encoder.features,
        size=encoder.pixels,
        run_id=encoder.run_id,
    )


def repacked(path: Path, encoder: Encoder) -> bytes:
    """Return the bytes of the file of a compacted encoder.

    Args:
        path: of the file that it was made of; the header is that one's.
        encoder: what ``without_dead_channels`` made of it.
    """
    header, _ = _read(path)
    tensors = {name: tensor.detach().contiguous() for name, tensor in encoder.network.state_dict().items()}
    return save(tensors, {_KEY: json.dumps(header | {"format": _COMPACT_FORMAT, "is_compact": True}, sort_keys=True)})


def unpacked(path: Path, *, sha256: str | None = None) -> Encoder:
    """Return the encoder in a file, on the CPU.

    Args:
        path: of the file.
        sha256: that the file must have, where it is known.

    Raises:
        EncoderFileError: there is no such file, or it holds something else.
    """
    if not path.exists():
        raise EncoderFileError(
            f"{path}: there is no such file. Runs keep their encoder unless --no-encoders is given: delete the run's "
            "folder and make the run again without that option."
        )
    if sha256 is not None and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise EncoderFileError(
            f"{path}: is not the encoder that was scored: its SHA-256 is not the record's. Delete the folder and make "
            "the run again."
        )
    try:
        header, tensors = _read(path)
        network, features = _built(EncoderSpec(**header["encoder"]), header["gates"] and GateSpec(**header["gates"]))
        if header.get("is_compact"):
            shaped(network, tensors)
        network.load_state_dict(tensors)
        normalisation = Normalisation(*(tuple(header["normalisation"][name]) for name in ("mean", "std")))
        return Encoder(
            network,
            normalisation=normalisation,
            features=features,
            size=header["pixels"],
            run_id=header["run_id"],
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise EncoderFileError(
            f"{path}: not an encoder that this version can build ({error}). Use the version that wrote it."
        ) from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        header = json.loads((file.metadata() or {})[_KEY])
        if header["format"] > _COMPACT_FORMAT:
            raise ValueError(f"its format is {header['format']}, and the newest that is known here {_COMPACT_FORMAT}")
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


def _built(spec: EncoderSpec, gates: GateSpec | None) -> tuple[nn.Module, int]:
    """Return an encoder of these shapes and the length of its features; the weights are to be replaced."""
    with torch.random.fork_rng(devices=[]):
        encoder, features = encoders.build(spec)
        if gates is None:
            return encoder, features
        masking.install(encoder)
        method = GATES[gates.method](
            GateSetting(reduction=gates.reduction, seed=0, slice_channels=parse_slice(gates.granularity))
        )
        # As in training, in a pair that every gate can be in; the target is thrown away.
        target = masking.twin(encoder, own_statistics=False)
        method.attach(Branches(online=encoder, target=target, tied=True), total_steps=1)
        return method.export(encoder), features
