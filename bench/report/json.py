"""The report for programs: every run's number, nothing rounded."""

import dataclasses
import json

from bench.judging.claim_judge import JudgedClaim
from bench.judging.contrast import Contrast
from bench.judging.judged_table import JudgedTable, Row, Sample
from bench.judging.verdict import Judgement

SCHEMA = 2


def payload(table: JudgedTable) -> str:
    """Return the judged table as JSON with sorted keys and a final newline."""
    design, power = table.design, table.power
    body = {
        "schema": SCHEMA,
        "table": table.spec.name,
        "title": table.spec.title,
        "profile": table.spec.profile,
        "data": table.spec.data,
        "banner": table.banner,
        "exit_code": table.exit_code(),
        "wall_seconds": table.wall_seconds,
        "tolerances": dataclasses.asdict(table.tolerances),
        "rows": [_row(row) for row in table.rows],
        "claims": [_claim(item) for item in table.claims],
        "worth": None
        if design is None or power is None
        else {
            "pools": design.pools,
            "sd_points": {cell: item.spread.sd for cell, item in design.comparisons.items()},
            "degrees": {cell: item.spread.degrees for cell, item in design.comparisons.items()},
            "detectable_shift_points": dict(power.detectable_shifts),
            "false_deviates_probability": power.false_deviates,
            "reproduced_probability": power.reproduced,
            "positive_control_missed": list(table.control_missed),
        },
        "repetitions": table.repetitions,
        "provenance": {record.run_id: dict(record.provenance) for record in table.records},
        "notes": list(table.notes),
    }
    return json.dumps(body, sort_keys=True, indent=1, allow_nan=False) + "\n"


def _row(row: Row) -> dict[str, object]:
    return {
        "cell": row.cell,
        "new": {metric: _sample(sample) for metric, sample in row.new.items()},
        "references": {metric: _sample(sample) for metric, sample in row.references.items()},
        "difference_points": {metric: row.difference(metric) for metric in row.new},
        "half_width_points": row.half_width,
        "versus_dense": _contrast(row.versus_dense),
        "versus_untrained": _contrast(row.versus_untrained),
        "facts": dict(row.facts),
        "judgement": _judgement(row.judgement),
    }


def _contrast(found: Contrast | None) -> dict[str, object] | None:
    if found is None:
        return None
    low, high = found.comparison.interval()
    return {
        "base": found.base,
        "difference_points": found.comparison.difference,
        "interval_points": [low, high],
        "exceeds_p": found.comparison.exceeds_p(0.0),
        "n": found.comparison.new_runs,
        "base_n": found.comparison.reference_runs,
        "is_paired": found.is_paired,
    }


def _sample(sample: Sample) -> dict[str, object]:
    values = {str(seed): value for seed, value in sample.values.items()}
    return {
        "values": values,
        "n": sample.n,
        "mean": sample.mean,
        "sd": sample.sd,
        "interval": sample.interval,
    }


def _claim(item: JudgedClaim) -> dict[str, object]:
    pairs = [
        {
            "left": pair.left,
            "right": pair.right,
            "beside": list(pair.beside),
            "difference_points": pair.comparison.difference,
            "error_points": pair.comparison.error,
            "n": pair.comparison.new_runs,
        }
        for pair in item.pairs
    ]
    return dataclasses.asdict(item.claim) | {"pairs": pairs, "judgement": _judgement(item.judgement)}


def _judgement(judgement: Judgement) -> dict[str, str]:
    return {"verdict": judgement.verdict.value, "reason": judgement.reason}
