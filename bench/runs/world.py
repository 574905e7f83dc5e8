"""How many processes make a run together, as whoever started them says."""

import dataclasses
import os
from dataclasses import dataclass

from bench.runs.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The ranks that this process is one of, as torchrun tells it.

    Attributes:
        size: ranks in all.
        rank: this one's place among all.
        local_size: ranks on this machine.
    """

    size: int = 1
    rank: int = 0
    local_size: int = 1

    @classmethod
    def of_environment(cls) -> "World":
        """Return what the environment says; one rank where it says nothing."""
        names = {"size": "WORLD_SIZE", "rank": "RANK", "local_size": "LOCAL_WORLD_SIZE"}
        return cls(**{name: int(os.environ[variable]) for name, variable in names.items() if variable in os.environ})

    def context(self, context: Context) -> Context:
        """Return what each rank is told: how many they are."""
        return dataclasses.replace(context, devices=self.local_size, nodes=self.size // self.local_size)
