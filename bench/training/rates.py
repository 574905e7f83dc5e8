"""The learning rate over the steps of a run, of one stage or of several."""

from collections.abc import Sequence

from lightly.utils.scheduler import CosineWarmupScheduler, cosine_warmup_schedule
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from methods.stages import Stage


def scheduler_for(optimizer: Optimizer, stages: Sequence[Stage], *, warmup_steps: int, total_steps: int) -> LRScheduler:
    """Return the schedule: a linear warm-up and a cosine to 0.001 of the peak; then the same without warm-up per stage.

    Args:
        optimizer: whose learning rate is the peak.
        stages: that follow the first one, by their steps; none for most methods.
        warmup_steps: of the first stage.
        total_steps: of the run.
    """
    if not stages:
        whole: LRScheduler = CosineWarmupScheduler(
            optimizer, warmup_epochs=warmup_steps, max_epochs=max(1, total_steps)
        )
        return whole
    return LambdaLR(optimizer, lambda step: factor(step, stages, warmup_steps=warmup_steps, total_steps=total_steps))


def factor(step: int, stages: Sequence[Stage], *, warmup_steps: int, total_steps: int) -> float:
    """Return the learning rate at a step as a fraction of the peak."""
    started = [Stage(start_step=0, rate=1.0), *(stage for stage in stages if stage.start_step <= step)]
    stage = started[-1]
    end = min((other.start_step for other in stages if other.start_step > step), default=total_steps)
    scale: float = cosine_warmup_schedule(
        step=step - stage.start_step,
        max_steps=max(1, end - stage.start_step),
        start_value=1.0,
        end_value=0.001,
        warmup_steps=min(warmup_steps, end) if stage is started[0] else 0,
        warmup_start_value=0.0,
    )
    return stage.rate * scale
