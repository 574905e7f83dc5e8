"""``data``: which images are there."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import arg

from bench.commands.place import OutAndData


@dataclass(frozen=True, kw_only=True)
class Data:
    """Say which data sets are found where, and whether they are verified; download what is missing if asked.

    Attributes:
        download: fetch this data set into the data directory.
        place: where to look.
    """

    download: Annotated[
        Literal["cifar10", "cifar100"] | None,
        arg(metavar="{cifar10,cifar100}", help_behavior_hint="(default: fetch nothing)"),
    ] = None
    place: OutAndData = field(default_factory=OutAndData)

    def act(self) -> int:
        """Print what is found where; return the exit code.

        Raises:
            DataError: it could not be fetched.
        """
        from bench.data import find, read

        folder = self.place.images_dir
        if self.download is not None:
            find.download(self.download, folder)
        print(f"data directory: {folder} (set SPARSE_SSL_DATA or --data-dir to change it)")
        for found in read.survey(folder, self.place.cache_dir):
            state = "verified" if found.verified else "not verified" if found.is_usable else "unusable"
            print(f"{found.name:12} {found.kind:10} {state:12} {found.note}")
        return 0
