"""Where gates were on, drawn."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

Arrays = Mapping[str, npt.NDArray[np.uint8]]


def gate_maps(arrays: Arrays, title: str) -> bytes:
    """Return a PNG: test images, and below them the fraction of gates on at each pixel, per layer and branch.

    Args:
        arrays: of one run's ``masks.npz``: ``gates/images`` ``[N, 3, H, W]`` and ``gates/BRANCH/LAYER`` ``[N, h, w]``.
        title: of the picture.
    """
    images = arrays["gates/images"].transpose(0, 2, 3, 1)
    names = [name for name in arrays if name.startswith("gates/") and name != "gates/images"]
    layers = list(dict.fromkeys(name.split("/")[2] for name in names))
    rows = [f"gates/{branch}/{layer}" for layer in _spread(layers) for branch in ("online", "target")]
    figure = Figure(figsize=(1.25 * len(images) + 2.2, 1.25 * (len(rows) + 1) + 0.5), layout="constrained")
    panels = figure.subplots(len(rows) + 1, len(images), squeeze=False)
    for column, image in enumerate(images):
        panels[0, column].imshow(image)
    most = max(float(arrays[name].max()) for name in rows) / 255  # of the scale: structured gates seldom reach 1
    for row, name in enumerate(rows, start=1):
        for column, each in enumerate(arrays[name]):
            drawn = panels[row, column].imshow(each / 255, vmin=0, vmax=most or 1.0, cmap="viridis")
        _, branch, layer = name.split("/")
        panels[row, 0].set_ylabel(f"{layer}\n{branch}", rotation=0, ha="right", va="center", fontsize="small")
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    figure.colorbar(drawn, ax=panels[1:, :], label="fraction of gates on", shrink=0.5)
    figure.suptitle(title, fontsize="medium")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90, bbox_inches="tight", metadata={"Software": None})
    return stream.getvalue()


def _spread(layers: Sequence[str]) -> list[str]:
    """Return at most four layers, from the first to the last."""
    return [layers[round(index * (len(layers) - 1) / 3)] for index in range(4)] if len(layers) > 4 else list(layers)


__all__ = ["gate_maps"]
