"""How every drawing becomes a file: the same figure gives the same bytes, and its text stays text."""

import io

import matplotlib as mpl
from matplotlib.figure import Figure


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG."""
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "sparse-ssl-bench", "svg.fonttype": "none"}):  # else ids are random
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
