"""Which GPUs there are for workers to see."""

import os


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; none without CUDA."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(name.strip() for name in named.split(",") if name.strip())
    import torch  # noqa: PLC0415  # seconds, and only where a GPU is asked for

    return tuple(map(str, range(torch.cuda.device_count())))
