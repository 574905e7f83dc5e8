"""The verdicts of all claims, computed anew from raw files by other code than the suite's.

Nothing of ``bench`` is imported: records and claims are the dictionaries that their JSON and TOML files hold. The
spread comes from an ordinary least-squares fit with one mean per cell, Holm's correction from statsmodels.
"""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests

Raw = Mapping[str, Any]


def cell_of(record: Raw) -> str:
    """Return the cell that the settings of a record's file name."""
    sparsity: dict[str, Any] = {"granularity": "-", "density": 1.0, "gap": 0.0, "reduction": 0.0} | dict(
        record["run"]["sparsity"]
    )
    point = f"d{sparsity['density']:.2f}"
    if sparsity["reduction"]:
        point = f"t{sparsity['reduction']:.2f}"
    elif sparsity["gap"]:
        point += f"{'+' if sparsity['gap'] > 0 else '-'}g{abs(sparsity['gap']):.2f}"
    return f"{record['run']['framework']['name']}/{sparsity['method']}/{sparsity['granularity']}/{point}"


def _is_sound(record: Raw, within: float) -> bool:
    facts = record["facts"]
    asked = facts.get("reduction_asked")
    if asked is None:
        return True
    measured = [facts["reduction"]] + [each for each in (facts["reduction_target"],) if each != 1.0]
    return not facts.get("gates_leak") and all(abs(each - asked) <= within * asked for each in measured)


def _frame(records: Iterable[Raw], metric: str, within: float) -> dict[str, dict[int, float]]:
    frame: dict[str, dict[int, float]] = {}
    for record in records:
        if _is_sound(record, within):
            frame.setdefault(cell_of(record), {})[int(record["run"]["seed"])] = float(record["metrics"][metric])
    return frame


def _pairs(claim: Raw, cells: Sequence[str]) -> list[tuple[str, str]]:
    def matching(pattern: str, framework: str) -> list[str]:
        return [
            cell for cell in cells if cell.split("/")[0] == framework and re.match(fnmatch.translate(pattern), cell)
        ]

    pairs = []
    for framework in sorted({cell.split("/")[0] for cell in cells} - {claim.get("beside")}):
        for left in matching(claim["left"], framework):
            for pattern in claim["right"]:
                rivals = matching(pattern, framework)
                if not rivals:
                    return []
                pairs += [(left, right) for right in rivals if right != left]
    return sorted(set(pairs)) if all(set(_beside(claim, pair)) <= set(cells) for pair in pairs) else []


def _beside(claim: Raw, pair: Sequence[str]) -> list[str]:
    """Return the cells of the framework whose own difference is taken off a pair's."""
    return ["/".join([claim["beside"], *cell.split("/")[1:]]) for cell in pair] if claim.get("beside") else []


def _error_variance(frame: Mapping[str, Mapping[int, float]], framework: str) -> tuple[float, float]:
    """Return the residual variance of a model with one mean per cell, and its degrees of freedom."""
    cells = [cell for cell in sorted(frame) if cell.split("/")[0] == framework]
    rows = [(index, value) for index, cell in enumerate(cells) for value in frame[cell].values()]
    design = np.zeros((len(rows), len(cells)))
    design[np.arange(len(rows)), [index for index, _ in rows]] = 1.0
    fit = OLS([value for _, value in rows], design[:, design.any(axis=0)]).fit()
    return float(fit.mse_resid) if fit.df_resid else 0.0, float(fit.df_resid)


def _p_values(claim: Raw, frame: Mapping[str, Mapping[int, float]], cells: Sequence[str]) -> tuple[float, float] | None:
    """Return the p-values of "it does not hold" and of "it does not fall short"; None where it cannot be judged."""
    above, below = [], []
    errors: dict[str, tuple[float, float]] = {}
    for pair in _pairs(claim, cells):
        signs = dict(zip([*pair, *_beside(claim, pair)], (1, -1, -1, 1), strict=False))
        shared = sorted(set.intersection(*(set(frame.get(cell, {})) for cell in signs)))
        if not shared:
            return None
        frameworks = {cell.split("/")[0] for cell in signs}
        for framework in frameworks - set(errors):
            errors[framework] = _error_variance(frame, framework)
        degrees = min(errors[framework][1] for framework in frameworks)
        if not degrees:
            return None
        # A difference has two means; each mean has the variance of its framework's runs over their number.
        variance = sum(errors[cell.split("/")[0]][0] / len(shared) for cell in signs)
        gains = np.array([sum(sign * frame[cell][seed] for cell, sign in signs.items()) for seed in shared])
        excess, error = gains.mean() - claim["least_gain_points"], np.sqrt(variance)
        if error < 1e-9:
            above.append(0.0 if excess > 1e-9 else 1.0)
            below.append(0.0 if excess < -1e-9 else 1.0)
        else:
            above.append(float(stats.t(degrees).sf(excess / error)))
            below.append(float(stats.t(degrees).cdf(excess / error)))
    return (max(above), min(1.0, len(below) * min(below))) if above else None


def _is_beneath(claim: Raw, frame: Mapping[str, Mapping[int, float]], cells: Sequence[str]) -> bool:
    means = {cell: np.mean(list(runs.values())) for cell, runs in frame.items() if runs}
    floors = [cell for cell in frame if cell.split("/")[1] == "untrained" and cell in means]
    for cell in {each for pair in _pairs(claim, cells) for each in [*pair, *_beside(claim, pair)]}:
        own = [floor for floor in floors if floor.split("/")[0] == cell.split("/")[0]]
        if floors and means[cell] < means[(own or floors)[0]] - 1e-12:
            return True
    return False


def opinions(
    records: Sequence[Raw], document: Raw, profile: str, cells: Sequence[str], within: float = 0.03
) -> dict[str, tuple[str, float]]:
    """Return claim -> verdict, and how near the call was: the relative distance of a p-value from alpha.

    Args:
        records: what the files of the table's runs hold.
        document: what the file of its claims holds.
        profile: of the runs.
        cells: of the whole table.
        within: relative; how near to the asked-for reduction gates must have come.
    """
    frames = {claim["name"]: _frame(records, claim["metric"], within) for claim in document["claim"]}
    found = {
        claim["name"]: _p_values(claim, frames[claim["name"]], cells) if profile in claim["profiles"] else None
        for claim in document["claim"]
    }
    others = [each["name"] for each in document["claim"] if not each["is_primary"] and profile in each["profiles"]]
    if others:  # those without runs take their place, with p = 1
        raw = [found[name] or (1.0, 1.0) for name in others]
        sides = [multipletests([each[side] for each in raw], method="holm")[1] for side in (0, 1)]
        corrected = {name: (float(a), float(b)) for name, a, b in zip(others, *sides, strict=True)}
    else:
        corrected = {}
    corrected = {name: corrected.get(name, each) for name, each in found.items() if each}
    alpha, verdicts = document["alpha"], {}
    for claim in document["claim"]:
        name = claim["name"]
        if name not in corrected:
            verdicts[name] = ("NOT_JUDGED", 1.0)
            continue
        holds, fails = corrected[name]
        verdict = "REPRODUCED" if holds < alpha else "DEVIATES" if fails < alpha else "INCONCLUSIVE"
        if verdict == "REPRODUCED" and _is_beneath(claim, frames[name], cells):
            verdict = "INCONCLUSIVE"
        verdicts[name] = (verdict, min(abs(p - alpha) / alpha for p in corrected[name]))
    return verdicts
