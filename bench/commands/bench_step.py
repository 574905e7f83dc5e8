"""``bench-step``: what a training step costs, sparse against dense, and the loop against the bare work in it."""

import sys
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from bench.commands.place import ProfileName


@dataclass(frozen=True, kw_only=True)
class BenchStep:
    """Measure what a training step costs: each sparse method against dense, and the loop against the bare work in it.

    Everything takes turns in one process, on one thread, on images of noise. Targets: a method that prunes weights
    costs at most 1.05 of dense training, bare forward, backward and optimizer step at least 0.9 of it.

    Attributes:
        framework: which framework trains.
        methods: sparse methods and gates to measure; all that prune weights unless some are named.
        profile: size of encoder, batches and views.
        rounds: how often each has its turn; intervals need at least 6.
        compile: measure dense training and each method also as --compile of other commands trains them.
        steps: optimizer steps of a turn; as many as lie between two mask updates unless a number is given.
    """

    framework: Annotated[str, arg(metavar="FRAMEWORK")] = "simclr"
    methods: Annotated[
        tuple[str, ...], arg(metavar="METHOD ...", help_behavior_hint="(default: all that prune weights)")
    ] = ()
    profile: ProfileName = "smoke"
    rounds: Annotated[int, arg(metavar="NUMBER")] = 9
    compile: bool = False
    steps: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="(default: a mask update apart)")] = None

    def act(self) -> int:
        """Print medians with intervals; return the exit code, 0 also where a target is missed: times are no verdict.

        Raises:
            RunError: no such framework or method.
            UsageError: there are no rounds or no steps.
        """
        from bench.speedup import step_cost

        costs = step_cost.measured(
            self.framework,
            self.methods,
            profile=self.profile,
            rounds=self.rounds,
            steps=self.steps,
            compiles=self.compile,
            tell=lambda line: print(line, file=sys.stderr),
        )
        print(*step_cost.lines(costs), sep="\n")
        return 0
