"""Which sparse method a run has, and at which point."""

from dataclasses import dataclass

from bench.config.cell import Point, parse_point
from bench.config.checks import at_least, fraction, named, within
from bench.errors import RunError


@dataclass(frozen=True, slots=True, kw_only=True)
class SparsitySpec:
    """Which sparse method, at which point. Fractions are of the run's optimizer steps.

    Attributes:
        reduction: dense MACs over gated MACs, for methods that gate activations; 0 for those that do not.
        options: parameters of the method's own and their values, sorted by name; only those that differ from its
            defaults.
        compact_training: once no mask can bring a filter back, train on without computing those that are gone: the
            same up to rounding, with fewer MACs.
    """

    method: str
    granularity: str = "-"
    density: float = 1.0
    gap: float = 0.0
    start_fraction: float = 0.30
    end_fraction: float = 0.68
    period_fraction: float = 1 / 40
    reduction: float = 0.0
    options: tuple[tuple[str, float | str], ...] = ()
    compact_training: bool = False

    def __post_init__(self) -> None:
        named("sparsity", method=self.method, granularity=self.granularity)
        object.__setattr__(self, "options", tuple((name, value) for name, value in self.options))  # lists, from JSON
        names = [name for name, _ in self.options]
        if names != sorted(set(names)):
            raise RunError(f"sparsity.options names {names}: name each once, in alphabetical order.")
        fraction("sparsity", density=self.density, period_fraction=self.period_fraction)
        within("sparsity", -1.0, 1.0, gap=self.gap)
        within("sparsity", 0.0, 1.0, start_fraction=self.start_fraction, end_fraction=self.end_fraction)
        if self.density + self.gap <= 0.0:
            raise RunError(
                f"sparsity.gap is {self.gap} at density {self.density}: the target would keep nothing. Its density is "
                "their sum, which must be above 0."
            )
        if self.start_fraction > self.end_fraction:
            raise RunError(
                f"sparsity.start_fraction is {self.start_fraction} and end_fraction {self.end_fraction}: the start "
                "must not exceed the end."
            )
        if self.reduction:
            at_least("sparsity", 1, reduction=self.reduction)
            if self.density != 1.0 or self.gap:
                raise RunError(
                    f"sparsity.reduction is {self.reduction}, with density {self.density} and gap {self.gap}: gates "
                    "skip activations; all weights stay. Leave density and gap out."
                )

    @classmethod
    def at(cls, *, method: str, granularity: str, point: str) -> "SparsitySpec":
        """Return a method at the point that a cell's name gives, e.g. ``d0.10+g0.30`` or ``t2.25``.

        Raises:
            RunError: no point has that name.
        """
        chosen = parse_point(point)
        return cls(
            method=method,
            granularity=granularity,
            density=chosen.density,
            gap=chosen.gap,
            reduction=chosen.reduction,
        )

    @property
    def point(self) -> str:
        """The last part of a cell's name: ``d0.10``, ``d0.10+g0.30`` with a density gap, ``t2.25`` with gates."""
        return str(Point(density=self.density, gap=self.gap, reduction=self.reduction))
