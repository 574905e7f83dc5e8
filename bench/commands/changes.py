"""Options for other settings than the profile's."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from bench.config.overrides import COMPACT, Changes, changed, collected
from bench.config.run import Run


@dataclass(frozen=True, kw_only=True)
class OtherSettings:
    """Settings other than the profile's.

    Attributes:
        settings: change one setting of a run, e.g. optimizer.learning_rate=0.1, sparsity.end_fraction=0.5,
            encoder.width=0.25, views.recipe=simclr, data.train_images=1000; repeat it for more. `show RUN` lists
            them all. Such runs have names of their own, and no stored reference.
        evaluate_on: score on validation images, so that test images play no part in tuning: the last 5,000 of the
            train split, which are then not trained on. The same as --set data.evaluate_on=validation.
        compact_training: train on without computing filters that were pruned and cannot come back: the same up to
            rounding, with fewer MACs, and in less time where layers are wide. For filters of static_uniform, gradual,
            one_shot and group_lasso; other rows of a table stay as they are. The same as
            --set sparsity.compact_training=true.
    """

    settings: UseAppendAction[Annotated[tuple[str, ...], arg(name="set", metavar="KEY=VALUE")]] = ()
    evaluate_on: Annotated[
        Literal["test", "validation"] | None,
        arg(metavar="{test,validation}", help_behavior_hint="(default: test)"),
    ] = None

    compact_training: bool = False

    @property
    def changes(self) -> Changes:
        """The settings by key.

        Raises:
            RunError: one has another form, or a key appears twice.
        """
        scored = (f"data.evaluate_on={self.evaluate_on}",) if self.evaluate_on else ()
        compact = (f"{COMPACT}=true",) if self.compact_training else ()
        return collected((*self.settings, *scored, *compact))

    def applied(self, run: Run) -> Run:
        """Return the run with these settings.

        Raises:
            RunError: there is no such setting, or the value does not suit it.
        """
        return changed(run, self.changes)
