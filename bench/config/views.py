"""Which views a run sees."""

from dataclasses import dataclass
from typing import Literal, get_args

from bench.config.checks import at_least, named, one_of, within
from bench.errors import RunError

Pipeline = Literal["batched-v1", "lightly"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSpec:
    """Which views.

    Attributes:
        pipeline: ``batched-v1`` (ours, on tensors) or ``lightly`` (Lightly's own transforms, per image).
        recipe: a key of ``bench.views.recipes.RECIPES``, e.g. ``simclr``, ``byol``, ``digits``.
        small_pixels: side that finished views are reduced to in the first steps; 0 leaves all steps at full size.
        small_fraction: share of the optimizer steps, from the first one on, that see reduced views.
        control_pixels: side that the views of a control's first steps are reduced to instead; 0 for all other rows.
            What such steps save is counted against the views that the other rows have then.
        control_fraction: share of the optimizer steps, from the first one on, that see views of that side.
    """

    pipeline: Pipeline
    recipe: str
    small_pixels: int = 0
    small_fraction: float = 0.0
    control_pixels: int = 0
    control_fraction: float = 0.0

    def __post_init__(self) -> None:
        one_of("views", get_args(Pipeline), pipeline=self.pipeline)
        named("views", recipe=self.recipe)
        at_least("views", 0, small_pixels=self.small_pixels, control_pixels=self.control_pixels)
        within("views", 0.0, 1.0, small_fraction=self.small_fraction, control_fraction=self.control_fraction)
        for name, pixels, share in (
            ("small", self.small_pixels, self.small_fraction),
            ("control", self.control_pixels, self.control_fraction),
        ):
            if bool(pixels) is not bool(share):
                raise RunError(
                    f"views.{name}_pixels is {pixels} and {name}_fraction {share}: give both, the size of the first "
                    "views and the share of the steps that see it, or neither."
                )
        if 0 < self.small_pixels <= self.control_pixels:
            raise RunError(
                f"views.control_pixels is {self.control_pixels} and small_pixels {self.small_pixels}: a control saves "
                "by smaller views than the other rows have. Lower control_pixels."
            )

    def pixels_at(self, step: int, total_steps: int, *, as_control: bool = True) -> int:
        """Return the side that the views of a step are reduced to; 0 leaves them whole.

        Args:
            step: counted from 0.
            total_steps: of the run.
            as_control: False: as rows have them that are no control.
        """
        if as_control and step < round(self.control_fraction * total_steps):
            return self.control_pixels
        return self.small_pixels if step < round(self.small_fraction * total_steps) else 0
