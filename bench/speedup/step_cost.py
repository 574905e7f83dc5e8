"""What a step costs: of each sparse method against dense training, and of the training loop against the bare work.

All contestants take turns in one process, on one thread, a round of some steps each; a ratio is of two contestants in
one round, so that a machine that gets slower or faster in between moves both. Dense training is measured twice: how far
its ratio to itself is from 1 says how much of the others is noise.
"""

import contextlib
import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.config.profiles import PROFILES
from bench.config.run import SMALL_IMAGES, Run
from bench.config.sparsity import SparsitySpec
from bench.data.dataset import Dataset, Split
from bench.errors import RunError, UsageError, unknown
from bench.speedup.contestants import Bare, Contestant, Loop, ViewsAlone
from bench.speedup.turns import Ratio, one_thread
from bench.training import parts
from bench.views import recipes
from methods import GATES, METHODS
from methods.works import WORKS

MOST_OF_DENSE = 1.05  # a method's step against the dense one; gates, which compute more than they skip, are excepted
LEAST_OF_BARE = 0.9  # steps of the loop in the time of one bare forward and backward pass and optimizer step
REDUCTION = 1.5  # of gates
DENSE, AGAIN, COMPILED = "dense", "dense, again", ", compiled"
VIEWS, PASSES, BARE = "views alone", "bare: forward, backward", "bare: forward, backward, optimizer"
# The dense run is measured by itself, and the control on smaller images is dense, and differs by its images alone.
MEASURED = tuple(name for name in METHODS if name not in {DENSE, SMALL_IMAGES})
_DATA = "cifar10"
_IMAGES, _SCORED = 2048, 8  # images of noise: their content costs no step
_WARM = 2  # steps that are not timed: the first ones build kernels, and translate


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCosts:
    """What was measured.

    Attributes:
        run: the dense run that all others are variants of.
        steps: optimizer steps of a round.
        seconds: contestant -> CPU seconds of a step, one entry a round.
        views_by: what made the views, and why not the compiled kernel where it did not.
    """

    run: Run
    steps: int
    seconds: Mapping[str, Sequence[float]]
    views_by: str

    @property
    def rounds(self) -> int:
        """How many there are."""
        return len(self.seconds[DENSE])

    def milliseconds(self, name: str) -> float:
        """Return the median of a step."""
        return 1e3 * statistics.median(self.seconds[name])

    def ratio(self, over: str, under: str) -> Ratio:
        """Return the ratio of two contestants' times."""
        return Ratio.of([one / other for one, other in zip(self.seconds[over], self.seconds[under], strict=True)])


def measured(
    framework: str,
    names: Sequence[str],
    *,
    profile: str,
    rounds: int,
    steps: int | None,
    compiles: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> StepCosts:
    """Let dense training, methods and the bare work take turns.

    Args:
        framework: which one trains.
        names: keys of ``METHODS`` and ``GATES``; none: all of ``MEASURED`` that the framework can have.
        profile: the size.
        rounds: how often each has its turn.
        steps: of a turn; ``None``: as many as lie between two mask updates, so that a turn has one.
        compiles: whether dense training and each method are measured once more, with compiled encoders.
        tell: called with a line of progress before every round.

    Raises:
        RunError: no such framework or method.
        UsageError: there are no rounds or no steps.
    """
    if rounds < 1 or (steps is not None and steps < 1):
        raise UsageError(f"--rounds {rounds} --steps {steps}: both must be at least 1.")
    base = PROFILES[profile].run(framework, SparsitySpec(method="dense"), _DATA)
    total = base.total_steps(base.data.train_images or 50_000)
    turn = steps or max(1, round(base.sparsity.period_fraction * total))
    base = _with_steps(base, max(total, _WARM + rounds * turn + 1))
    with tempfile.TemporaryDirectory() as folder, _as_runs_do(), contextlib.ExitStack() as stack:
        contestants: dict[str, Contestant] = {}
        for name, contestant in _contestants(base, names or suited(base, tell), Path(folder), compiles=compiles):
            stack.callback(contestant.close)
            contestants[name] = contestant
            contestant.take(_WARM)
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        order = [*contestants]
        for number in range(rounds):
            tell(f"round {number + 1} of {rounds}, {turn} steps each")
            for name in order:
                seconds[name].append(contestants[name].take(turn))
            order = [*order[1:], order[0]]
    return StepCosts(run=base, steps=turn, seconds=seconds, views_by=_views_by(base))


def lines(costs: StepCosts) -> list[str]:
    """Return both tables as text."""
    run = costs.run
    methods = [name for name in costs.seconds if name not in {DENSE, AGAIN, VIEWS, PASSES, BARE}]
    width = max(map(len, costs.seconds))
    head = (
        f"{run.framework.name}, {run.encoder.name} x {run.encoder.width:g}, batches of {run.optimizer.batch_images}; "
        f"{costs.rounds} rounds of {costs.steps} steps, one thread, CPU time"
    )
    found = [head, "", f"{'training':{width}}  ms a step  against dense         interval"]
    for name in (DENSE, AGAIN, *methods):
        ratio = costs.ratio(name, DENSE)
        most = None if name.removesuffix(COMPILED) in {DENSE, AGAIN, *GATES} else MOST_OF_DENSE
        found.append(f"{_row(name, width, costs, ratio)}{_missed(ratio.median, most=most)}")
    found += [
        f"At most {MOST_OF_DENSE:g} is wanted of methods that prune weights. Noise: {AGAIN} against {DENSE}.",
        "",
        f"{'part':{width}}  ms a step  its time to the loop's   interval",
    ]
    for name in (VIEWS, PASSES, BARE):
        ratio = costs.ratio(name, DENSE)
        least = LEAST_OF_BARE if name == BARE else None
        found.append(f"{_row(name, width, costs, ratio)}{_missed(ratio.median, least=least)}")
    both = Ratio.of(
        [
            (views + bare) / whole
            for views, bare, whole in zip(*(costs.seconds[name] for name in (VIEWS, BARE, DENSE)), strict=True)
        ]
    )
    found.append(f"With its views, {both.median:.3f} ({both.low:.3f} to {both.high:.3f}) of the loop is bare work.")
    found.append(f"Views are made by {costs.views_by}.")
    found.append(f"At least {LEAST_OF_BARE:g} is wanted of '{BARE}': the loop then costs little beside it.")
    return found


def _row(name: str, width: int, costs: StepCosts, ratio: Ratio) -> str:
    return (
        f"{name:{width}}  {costs.milliseconds(name):9.2f}  {ratio.median:13.3f}  {ratio.low:8.3f} to {ratio.high:.3f}"
    )


def _missed(value: float, *, most: float | None = None, least: float | None = None) -> str:
    return "  missed" if (most is not None and value > most) or (least is not None and value < least) else ""


def _contestants(base: Run, names: Sequence[str], folder: Path, *, compiles: bool) -> Iterator[tuple[str, Contestant]]:
    runs = {name: _variant(base, name) for name in names if name != DENSE}
    for name, run in {DENSE: base, AGAIN: base, **runs}.items():
        yield name, Loop(run, noise(run), folder)
    for name, run in {DENSE: base, **runs}.items() if compiles else ():
        yield f"{name}{COMPILED}", Loop(run, noise(run), folder, compiles=True)
    yield VIEWS, ViewsAlone(base, noise(base))
    yield PASSES, Bare(base, noise(base), has_optimizer=False)
    yield BARE, Bare(base, noise(base), has_optimizer=True)


def suited(base: Run, tell: Callable[[str], None]) -> list[str]:
    """Return the methods of ``MEASURED`` that the dense run's framework can have; of others, tell why it cannot."""
    found = []
    for name in MEASURED:
        try:
            _variant(base, name)
        except RunError as error:
            tell(f"left out: {error}")
        else:
            found.append(name)
    return found


def _variant(base: Run, name: str) -> Run:
    """Return the dense run under a method, one that changes its masks from the first step on where it has a ramp.

    Raises:
        RunError: no such method, or none of the settings tried suits it.
    """
    if name in GATES:
        gated = dataclasses.replace(base.sparsity, method=name, granularity="element", reduction=REDUCTION)
        data = dataclasses.replace(base.data, held_out_images=base.optimizer.batch_images)
        return dataclasses.replace(base, sparsity=gated, data=data)
    if name not in METHODS:
        raise RunError(unknown("method", name, [*METHODS, *GATES]))
    refused: Exception | None = None
    for sparsity in _points(name, base.sparsity):
        run = dataclasses.replace(base, sparsity=sparsity)
        try:
            parts.method_for(run).attach(parts.framework_for(run).branches, base.optimizer.steps)
        except ValueError as error:  # some have no ramp, or other densities
            refused = error
        else:
            return run
    raise RunError(f"{name}: no setting that was tried suits it. The last one said: {refused}")


def _points(name: str, dense: SparsitySpec) -> Iterator[SparsitySpec]:
    shapes = WORKS[name].shapes[0] if name in WORKS else "element"
    kept, _, of = shapes.partition(":")
    # The last two are those of methods that keep one branch dense: the online encoder, or the target.
    points = ((int(kept) / int(of), 0.0),) if of else ((0.1, 0.0), (0.5, 0.0), (1.0, -0.9), (0.5, 0.5))
    for density, gap in points:
        for start in (0.0, dense.start_fraction):
            point = dataclasses.replace(dense, density=density, gap=gap, start_fraction=start)
            yield dataclasses.replace(point, method=name, granularity=shapes)


def _with_steps(run: Run, steps: int) -> Run:
    return dataclasses.replace(run, optimizer=dataclasses.replace(run.optimizer, steps=steps))


def _views_by(run: Run) -> str:
    images = noise(run).train.images
    views = recipes.build(run.views, seed=run.seed, images=len(images), side=images.shape[-1])
    return views.maker(images.device)


def noise(run: Run) -> Dataset:
    """Return images of noise in the size of the run's."""
    held_out, batch = run.data.held_out_images, run.optimizer.batch_images * run.optimizer.accumulate_batches
    splits = [_split(images, run) for images in (max(_IMAGES, batch), _SCORED, held_out)]
    return Dataset(
        name=_DATA,
        classes=tuple("0123456789"),
        train=splits[0],
        test=splits[1],
        held_out=splits[2],
        fingerprint="",
        source="noise",
        verified=False,
    )


def _split(images: int, run: Run) -> Split:
    generator, side = torch.Generator().manual_seed(images), run.data.image_size or 32
    return Split(
        images=torch.randint(0, 256, (images, 3, side, side), dtype=torch.uint8, generator=generator),
        labels=torch.randint(0, 10, (images,), generator=generator),
        crop_size=run.data.crop_size,
    )


@contextlib.contextmanager
def _as_runs_do() -> Iterator[None]:
    """Compute as runs do: on one thread, with deterministic algorithms."""
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # torch has no stub of it
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch has no stub of it
    try:
        with one_thread():
            yield
    finally:
        torch.use_deterministic_algorithms(mode=is_deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]  # torch has no stub of it
