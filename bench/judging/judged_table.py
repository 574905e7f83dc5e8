"""A judged table as a value: everything that a report prints."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from scipy import stats

from bench.judging.claim_judge import JudgedClaim
from bench.judging.contrast import Contrast
from bench.judging.power import Design, Power
from bench.judging.statistics import pooled_spread
from bench.judging.tolerances import Tolerances
from bench.judging.verdict import Judgement, Verdict
from bench.runs.record import METRICS, Record
from bench.tables.spec import TableSpec

SHOWN_FACTS = ("density_prunable", "density_encoder", "macs_ratio", "training_macs_ratio")
REDUCTIONS = ("reduction", "reduction_target")  # of MACs, per branch
TRANSFERS = ("cifar10", "cifar100", "digits")  # data sets that some table's encoders are probed on
TRANSFER_FACTS = tuple(f"transfer_{name}_percent" for name in TRANSFERS)
# Of the final masks, where the branches have two: how alike they are beyond chance, and which share of the sparser one
# lies in the other.
OVERLAP, CONTAINMENT = "branch_overlap", "branch_containment"
HEALTH_FACTS = ("constant_features", "effective_rank", "emptiest_layer_weights", "emptied_layers")
COMPACT_SHARE = "compact_macs_ratio"  # MACs of the smaller network that training went on in
STEP_SHARE = "compact_step_share"  # CPU time of a step in it, as a fraction of a step with masks of the same run
TRAIN_SECONDS = "train_cpu_seconds"
GATE_FACTS = (  # of cells with gates
    "reduction_asked",
    *REDUCTIONS,
    "gate_agreement",
    "gate_agreement_by_chance",
    *(f"{metric}_target" for metric in METRICS),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """The runs of one cell in one metric: seed -> percent."""

    values: Mapping[int, float]

    @property
    def n(self) -> int:
        """How many runs."""
        return len(self.values)

    @property
    def mean(self) -> float | None:
        """Their mean; None without runs."""
        return math.fsum(self.values.values()) / self.n if self.n else None

    @property
    def sd(self) -> float | None:
        """Their standard deviation with ``n - 1``; None below two runs."""
        return pooled_spread([list(self.values.values())]).sd if self.n > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean by Student's t; None below two runs."""
        if self.mean is None or self.sd is None:
            return None
        half = float(stats.t.isf(0.025, self.n - 1)) * self.sd / math.sqrt(self.n)
        return self.mean - half, self.mean + half


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One cell of the table, judged.

    Attributes:
        cell: its name.
        new: metric -> fresh runs.
        references: metric -> our own earlier runs, kept in ``results/references``.
        facts: densities, ratios and what gates did, as means over the runs; None where there is no run, or no gate.
        half_width: of the 95 % interval of the shown runs' mean in the judged metric, by the spread of the framework.
        versus_dense: the shown runs beside those of the framework's dense row; None for that row, and without runs.
        versus_untrained: fresh runs and references together beside those of the untrained row; None for that row.
        missed: how many of the shown runs did not reach the reduction of MACs that was asked for, in some branch.
        judgement: verdict and reason.
    """

    cell: str
    new: Mapping[str, Sample]
    references: Mapping[str, Sample]
    facts: Mapping[str, float | None]
    half_width: float | None
    versus_dense: Contrast | None
    versus_untrained: Contrast | None
    missed: int
    judgement: Judgement

    def difference(self, metric: str) -> float | None:
        """Return mean new minus mean of the references, in percentage points; None where a side is empty."""
        new, old = self.new[metric].mean, self.references[metric].mean
        return None if new is None or old is None else new - old


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTable:
    """Everything a report prints.

    Attributes:
        spec: the requested cells.
        rows: in the order of the cells.
        claims: judged relations; their verdicts do not touch the exit code.
        tolerances: what counted as the same.
        design: what the verdicts rest on; None where no cell could be compared.
        power: what the verdicts are worth; None without a design.
        records: what the rows were made of.
        shows_references: nothing was run: the rows are the references, and nothing is judged but the claims.
        repetitions: how many records repeat a reference and were compared bit by bit.
        notes: lines to print below.
        banner: a warning to print above and inside; empty for none.
        wall_seconds: of making the table; None where nothing was run.
    """

    spec: TableSpec
    rows: tuple[Row, ...]
    claims: tuple[JudgedClaim, ...]
    tolerances: Tolerances
    design: Design | None
    power: Power | None
    records: tuple[Record, ...]
    shows_references: bool
    repetitions: int
    notes: tuple[str, ...]
    banner: str
    wall_seconds: float | None

    def shown(self, row: Row) -> Sample:
        """Return a row's runs in the judged metric: the fresh ones, or the references where only these are shown."""
        return (row.references if self.shows_references else row.new)[self.tolerances.judged_metric]

    def command(self, row: Row) -> str:
        """Return what makes a row again: its fresh runs, or the first of its references, compared bit by bit."""
        spec, cell = self.spec, shlex.quote(row.cell)
        if self.shows_references:
            return f"python -m bench regression {spec.name} --profile {spec.profile} --data {spec.data} --cells {cell}"
        settings = "".join(f" --set {shlex.quote(each)}" for each in spec.settings)
        settings += f" --match {spec.match}" if spec.match else ""
        seeds = max(1, self.shown(row).n)
        return (
            f"python -m bench table {spec.name} --profile {spec.profile} --data {spec.data} --cells {cell} "
            f"--seeds {seeds}{settings}"
        )

    @property
    def not_above_untrained(self) -> tuple[Row, ...]:
        """The trained rows that are not surely better than an encoder which took no step.

        One-sided, each row for itself at the level ``alpha``: a row is named here unless it is shown to be better.
        """
        known = ((row, row.versus_untrained) for row in self.rows)
        return tuple(row for row, found in known if found and found.comparison.exceeds_p(0.0) >= self.tolerances.alpha)

    @property
    def control_missed(self) -> tuple[str, ...]:
        """The cells whose planted loss the judge would not call DEVIATES."""
        return self.power.control_missed if self.power else ()

    @property
    def has_gates(self) -> bool:
        """Whether some cell gates activations."""
        return any(row.facts["reduction"] is not None for row in self.rows)

    def exit_code(self, *, strict: bool = False) -> int:
        """Return 0 if some cell was judged and none DEVIATES, FAILED or NOT_RUN, or if references are shown; else 1.

        Runs with other settings than the table's have no references, and own images no tolerances: none of their
        cells need be judged.

        Args:
            strict: INCONCLUSIVE cells and a blind judge (a missed positive control) fail too.
        """
        if self.shows_references:
            return int(not self.records)
        verdicts = {row.judgement.verdict for row in self.rows}
        bad = {Verdict.DEVIATES, Verdict.FAILED, Verdict.NOT_RUN} | ({Verdict.INCONCLUSIVE} if strict else set())
        is_blind = strict and bool(self.control_missed)
        can_judge = self.tolerances.is_set and not self.spec.settings
        judged_none = can_judge and not any(verdict.is_judged for verdict in verdicts)
        return int(bool(verdicts & bad) or is_blind or judged_none)
