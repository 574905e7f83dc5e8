"""Experiments: data, frameworks, training, evaluation, records, verdicts and tables."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.runs.encoder import load_encoder

__all__ = ["load_encoder"]


def __getattr__(name: str) -> Any:
    """Import what users call when they ask for it: ``import bench`` alone stays light."""
    if name == "load_encoder":
        from bench.runs.encoder import load_encoder  # noqa: PLC0415

        return load_encoder
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
