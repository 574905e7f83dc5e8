"""The one way to a random stream: its place in the run, hashed."""

import hashlib


def stream_seed(*place: str | int) -> int:
    """Return a seed that belongs to one place, e.g. a run's seed and an epoch, and is unlike any other's."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, place)).encode()).digest()[:7], "big")
