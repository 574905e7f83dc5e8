"""``export``: the trained encoder of a run, for other programs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from bench.commands.place import Out
from bench.errors import UsageError
from bench.files import write_atomically
from bench.runs import find

if TYPE_CHECKING:
    from bench.training.encoder_file import Encoder


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the trained encoder of a finished run in a format that other programs read.

    What the file computes is compared with the encoder that was scored: equal to 1e-5 of the largest feature.

    Attributes:
        run: name of the run, the beginning of it, or its folder; `runs` lists names.
        format: safetensors holds the weights; torch-export (.pt2) and onnx hold the whole program. onnx needs
            pip install -e '.[onnx]'.
        compact: leave out filters that are zero or that nothing reads, and say what that gains here.
        to: file to write; encoder.SUFFIX in the run's folder unless given, encoder-compact.SUFFIX with --compact.
        place: where the runs lie.
    """

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    format: Literal["safetensors", "torch-export", "onnx"] = "safetensors"
    compact: bool = False
    to: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: in the run's folder)")] = None
    place: Out = field(default_factory=Out)

    def act(self) -> int:
        """Write the file; return the exit code.

        Raises:
            UsageError: no such run, packages are missing, or the scored encoder would be overwritten.
            EncoderFileError: the run kept no encoder, or one that cannot be compacted.
            CompactionError: the compacted encoder computes something else.
            ExportError: the format cannot hold it.
        """
        folder = find.named(self.run, self.place.runs_dir)
        from bench.runs.encoder import load_encoder
        from bench.runs.export import SUFFIXES, export
        from bench.training.encoder_file import repacked

        encoder = load_encoder(folder.path)
        suffix, name = SUFFIXES[self.format], folder.encoder.stem
        path = self.to or folder.encoder.with_name(f"{name}{'-compact' if self.compact else ''}{suffix}")
        said: list[str] = []
        # By the file, not by its name: --out may be relative, --to a link.
        is_scored = path.resolve() == folder.encoder.resolve()
        if is_scored and (self.compact or self.format != "safetensors"):
            raise UsageError(f"--to {path}: the encoder that was scored would be lost. Name another file.")
        if self.compact:
            encoder, said = self._compacted(encoder)
        if self.compact and self.format == "safetensors":
            write_atomically(path, repacked(folder.encoder, encoder))
            compared = f"with zeros {folder.encoder.stat().st_size:,} bytes"
        elif self.format == "safetensors":
            if not is_scored:
                write_atomically(path, folder.encoder.read_bytes())
            compared = "the file of the record"
        else:
            compared = f"features off by {export(encoder, path, self.format):.0e} of the largest"
        print(f"{path}: {path.stat().st_size:,} bytes, {compared}")
        print(*said, sep="\n", end="\n" if said else "")
        print(f"takes images normalised with mean {encoder.normalisation.mean}, std {encoder.normalisation.std}")
        return 0

    def _compacted(self, encoder: "Encoder") -> "tuple[Encoder, list[str]]":
        """Return the encoder without its zero filters, and what is said about it."""
        from bench.speedup import compact
        from bench.training.encoder_file import without_dead_channels

        small = without_dead_channels(encoder)
        found = compact.gain(encoder, small)
        return small, [f"features off by {found.off:.0e} of the largest", *compact.lines(found)]
