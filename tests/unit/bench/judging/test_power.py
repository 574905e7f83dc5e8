import numpy as np
import pytest

from bench.judging.power import Design
from bench.judging.statistics import Comparison, Spread
from bench.judging.verdict import Margin, Verdict, judge_together

CELLS = ("a", "b", "c", "d")


def _design(*, is_pooled: bool = True, sd: float = 1.0, delta: float = 1.5, new: int = 1) -> Design:
    spread = Spread(sd, len(CELLS) * (new + 5 - 2) if is_pooled else new + 5 - 2)
    comparison = Comparison(difference=0.0, spread=spread, new_runs=new, reference_runs=5)
    return Design(
        comparisons=dict.fromkeys(CELLS, comparison),
        margins=dict.fromkeys(CELLS, Margin(delta_points=delta)),
        alpha=0.05,
        pools=dict.fromkeys(CELLS, "one") if is_pooled else {cell: cell for cell in CELLS},
    )


def _simulated(design: Design, shift: float, draws: int = 2500) -> list[dict[str, Verdict]]:
    """Draw whole tables as the design says, cell "a" shifted, and judge them."""
    generator = np.random.default_rng(7)
    tables = []
    for _ in range(draws):
        common = generator.chisquare(design.comparisons["a"].spread.degrees)
        cells = {}
        for cell, item in design.comparisons.items():
            degrees = item.spread.degrees
            square = common if design.pools[cell] == "one" else generator.chisquare(degrees)
            cells[cell] = Comparison(
                difference=generator.normal(shift if cell == "a" else 0.0, item.error),
                spread=Spread(item.spread.sd * (square / degrees) ** 0.5, degrees),
                new_runs=item.new_runs,
                reference_runs=item.reference_runs,
            )
        judged = judge_together(cells, design.margins, alpha=design.alpha)
        tables.append({cell: judgement.verdict for cell, judgement in judged.items()})
    return tables


@pytest.mark.parametrize("is_pooled", [True, False])
def test_false_alarms_and_power_agree_with_simulation(is_pooled: bool) -> None:  # noqa: FBT001
    design = _design(is_pooled=is_pooled, new=3)
    tables = _simulated(design, 0.0)
    alarms = np.mean([Verdict.DEVIATES in table.values() for table in tables])
    assert design.false_deviates() == pytest.approx(alarms, abs=0.01)
    reproduced = np.mean([table["a"] is Verdict.REPRODUCED for table in tables])
    assert design.power_reproduced() == pytest.approx(reproduced, abs=0.025)


def test_the_detectable_shift_is_detected_with_80_percent() -> None:
    design = _design()
    tables = _simulated(design, -design.detectable_shifts(str)["a"])
    assert np.mean([table["a"] is Verdict.DEVIATES for table in tables]) == pytest.approx(0.8, abs=0.025)


def test_false_alarms_stay_below_alpha_in_each_direction() -> None:
    assert _design(delta=1e-9).false_deviates() == pytest.approx(0.1, abs=0.01)
    assert _design(delta=6.0).false_deviates() < 1e-4


def test_more_runs_see_more() -> None:
    assert _design(new=5).detectable_shifts(str)["a"] < _design(new=1).detectable_shifts(str)["a"]
    assert _design(new=5).power_reproduced() > _design(new=1).power_reproduced()


def test_a_planted_loss_is_called_deviates() -> None:
    assert _design(delta=3.0, sd=1.0).control_missed() == ()


def test_a_blind_judge_is_found_out() -> None:
    """Two degrees of freedom and a corrected level cannot see 3 sd beyond a tiny margin."""
    spread = Spread(1.0, 2)
    comparison = Comparison(difference=0.0, spread=spread, new_runs=1, reference_runs=3)
    design = Design(
        comparisons=dict.fromkeys(CELLS, comparison),
        margins=dict.fromkeys(CELLS, Margin(delta_points=0.01)),
        alpha=0.05,
        pools={cell: cell for cell in CELLS},
    )
    assert design.control_missed() == CELLS


def test_a_loss_is_planted_in_one_cell_at_a_time() -> None:
    """A second loss would lower what Holm asks of the weaker cell, and hide that nobody sees the first alone."""
    spreads = {"weak": Spread(1.0, 4), "strong": Spread(1.0, 1000)}
    design = Design(
        comparisons={
            cell: Comparison(difference=0.0, spread=spread, new_runs=1, reference_runs=3)
            for cell, spread in spreads.items()
        },
        margins=dict.fromkeys(spreads, Margin(delta_points=0.01)),
        alpha=0.05,
        pools={cell: cell for cell in spreads},
    )
    assert design.control_missed() == ("weak",)


def test_without_spread_only_the_margin_counts() -> None:
    design = _design(sd=0.0)
    assert design.false_deviates() == 0.0
    assert design.power_reproduced() == 1.0
    assert design.detectable_shifts(lambda _: "all") == {"all": pytest.approx(1.5)}
