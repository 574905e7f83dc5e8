"""Runs of several stages: train, prune, train again; one run, whose learning rate starts anew at each."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of a run after its first.

    Attributes:
        start_step: the first optimizer step of the stage.
        rate: the learning rate at that step, as a fraction of the run's peak; it falls along a cosine to the next
            stage.

    Raises:
        ValueError: the step comes before the run, or the rate is not positive.
    """

    start_step: int
    rate: float

    def __post_init__(self) -> None:
        if self.start_step < 0 or self.rate <= 0.0:
            raise ValueError(f"{self}: a stage starts at a step from 0 on, at a rate above 0.")
