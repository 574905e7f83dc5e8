"""``export``: the trained encoder of a run, for other programs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from bench.commands.place import Out
from bench.files import write_atomically
from bench.runs import find


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the trained encoder of a finished run in a format that other programs read.

    What the file computes is compared with the encoder that was scored: equal to 1e-5 of the largest feature.

    Attributes:
        run: name of the run, the beginning of it, or its folder; `runs` lists names.
        format: safetensors holds the weights; torch-export (.pt2) and onnx hold the whole program. onnx needs
            pip install -e '.[onnx]'.
        to: file to write; encoder.SUFFIX in the run's folder unless given.
        place: where the runs lie.
    """

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    format: Literal["safetensors", "torch-export", "onnx"] = "safetensors"
    to: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: in the run's folder)")] = None
    place: Out = field(default_factory=Out)

    def act(self) -> int:
        """Write the file; return the exit code.

        Raises:
            UsageError: no such run, or packages are missing.
            EncoderFileError: the run kept no encoder.
            ExportError: the format cannot hold it.
        """
        folder = find.named(self.run, self.place.runs_dir)
        from bench.runs.encoder import load_encoder
        from bench.runs.export import SUFFIXES, export

        encoder = load_encoder(folder.path)
        path = self.to or folder.encoder.with_suffix(SUFFIXES[self.format])
        if self.format == "safetensors":
            if path != folder.encoder:
                write_atomically(path, folder.encoder.read_bytes())
            compared = "the file of the record"
        else:
            compared = f"features off by {export(encoder, path, self.format):.0e} of the largest"
        print(f"{path}: {path.stat().st_size:,} bytes, {compared}")
        print(f"takes images normalised with mean {encoder.normalisation.mean}, std {encoder.normalisation.std}")
        return 0
