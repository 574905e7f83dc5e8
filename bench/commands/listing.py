"""``data``, ``methods`` and ``gate-speed``: what is there."""

from dataclasses import dataclass
from typing import Literal

from bench.commands.place import Place, Places
from bench.data import find, read
from bench.frameworks import FRAMEWORKS
from bench.speedup import gate_speed
from bench.tables import TABLES
from methods import GATES, METHODS


def show_data(place: Place, *, download: str | None) -> int:
    """Print what is found where; fetch a data set first if asked."""
    if download is not None:
        find.download(download, place.data_dir)
    print(f"data directory: {place.data_dir} (set SPARSE_SSL_DATA or --data-dir to change it)")
    for found in read.survey(place.data_dir, place.context.cache_dir):
        state = "verified" if found.verified else "not verified" if found.is_usable else "unusable"
        print(f"{found.name:12} {found.kind:10} {state:12} {found.note}")
    return 0


def show_gate_speed(slice_channels: int) -> int:
    """Print how long a gated layer takes when it really skips, beside what it saves in MACs."""
    print(*gate_speed.lines(gate_speed.timings(slice_channels)), sep="\n")
    return 0


def show_methods() -> int:
    """Print the registries."""
    print("methods:    " + ", ".join(METHODS))
    print("gates:      " + ", ".join(GATES))
    print("frameworks: " + ", ".join(FRAMEWORKS))
    print("tables:     " + ", ".join(TABLES))
    return 0


@dataclass(frozen=True, kw_only=True)
class Data(Places):
    """Say which data sets are found where, and whether they are verified; download what is missing if asked.

    Attributes:
        download: fetch this data set into the data directory.
    """

    download: Literal["cifar10", "cifar100"] | None = None

    def act(self) -> int:
        """Return the exit code."""
        return show_data(self.place, download=self.download)


@dataclass(frozen=True, kw_only=True)
class Methods:
    """List the sparse methods and the frameworks."""

    def act(self) -> int:
        """Return the exit code."""
        return show_methods()


@dataclass(frozen=True, kw_only=True)
class GateSpeed:
    """Time gated layers of ResNet-18's shapes: dense, masked as in training, and really skipping.

    Attributes:
        slice_channels: output channels that share a gate; at most 16, a quarter of the narrowest layer.
    """

    slice_channels: int = 16

    def act(self) -> int:
        """Return the exit code."""
        return show_gate_speed(self.slice_channels)
