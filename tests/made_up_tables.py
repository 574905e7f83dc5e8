"""Small made-up tables: what a judge and a report need, without any training."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from bench.config.framework import BYOLSpec, SimCLRSpec
from bench.config.profiles import PROFILES
from bench.config.run import UNTRAINED, DataSpec, EncoderSpec, OptimizerSpec, Run
from bench.config.sparsity import SparsitySpec
from bench.config.views import ViewSpec
from bench.judging.claims import Claim, Claims
from bench.judging.tolerances import Tolerances
from bench.judging.verdict import Margin
from bench.runs.record import Record
from bench.tables.spec import TableSpec

FRAMEWORKS = {
    "simclr": SimCLRSpec(hidden_dim=64, output_dim=128, temperature=0.2),
    "byol": BYOLSpec(hidden_dim=64, output_dim=128, prediction_dim=64, ema_start=0.9, ema_end=1.0),
}
TEST_IMAGES = 100_000  # so that percentages of three decimals are counts
LINEAR = "linear_top1_percent"


def made_up_run(
    method: str = "dense", *, framework: str = "simclr", density: float = 1.0, gap: float = 0.0, seed: int = 0
) -> Run:
    return Run(
        framework=FRAMEWORKS[framework],
        sparsity=SparsitySpec(
            method=method, granularity="-" if density == 1.0 else "element", density=density, gap=gap
        ),
        data=DataSpec(name="cifar10", train_images=5120),
        encoder=EncoderSpec(name="resnet-9", width=0.125),
        views=ViewSpec(pipeline="batched-v1", recipe="simclr"),
        optimizer=OptimizerSpec(
            name="sgd",
            learning_rate=0.06,
            weight_decay=5e-4,
            batch_images=64,
            epochs=0 if method == UNTRAINED else 5,
        ),
        seed=seed,
    )


def made_up_record(
    run: Run,
    linear: float,
    *,
    knn: float = 40.0,
    facts: Mapping[str, object] | None = None,
    provenance: Mapping[str, object] | None = None,
) -> Record:
    """Return a record with every fact the judge reads; ``facts`` and ``provenance`` replace some."""
    kept = round(1000 * run.sparsity.density)
    return Record(
        run=run,
        metrics={LINEAR: linear, "knn_top1_percent": knn},
        facts={
            "data_fingerprint": "feed",
            "dense_macs": 2000,
            "density_encoder": run.sparsity.density + 0.001,
            "density_prunable": run.sparsity.density,
            "kept_per_layer": {"conv1": kept // 4, "conv2": kept - kept // 4},
            "kept_weights": kept,
            "kept_weights_target": kept,
            "knn_protocol": "cosine",
            "linear_protocol": "L-BFGS",
            "loss_digest": f"loss-{run.seed}",
            "macs_ratio": run.sparsity.density,
            "mask_digest": f"mask-{run.seed}",
            "optimizer_steps": 400,
            "output_features": 64,
            "prunable_weights": 1000,
            "samples_seen": 25600,
            "training_macs_ratio": 0.5 + run.sparsity.density / 2,
            "test_images": TEST_IMAGES,
            "train_images": 12_800,
            "knn_correct": round(knn * TEST_IMAGES / 100),
            "linear_correct": round(linear * TEST_IMAGES / 100) if math.isfinite(linear) else 0,
            "update_steps": [120, 130],
            "weights_digest": f"weights-{run.seed}",
            **(facts or {}),
        },
        provenance={
            "data_source": "image folder",
            "env_class": "cpu-a",
            "git_commit": "c0ffee",
            "git_dirty": False,
            "host": "host-a",
            "source_digest": "5eed",
            **(provenance or {}),
        },
    )


def made_up_records(run: Run, values: Sequence[float], *, first_seed: int) -> list[Record]:
    """Return one record per value, seeds counted from ``first_seed``."""
    return [
        made_up_record(dataclasses.replace(run, seed=first_seed + offset), value) for offset, value in enumerate(values)
    ]


def made_up_spec(*cells: Run, profile: str = "smoke") -> TableSpec:
    return TableSpec(name="cifar10", title="A made-up table", profile=profile, data="cifar10", cells=cells)


def made_up_tolerances(delta: float = 3.0, floor: float = 0.3) -> Tolerances:
    margins = {LINEAR: Margin(delta_points=delta, sd_floor_points=floor)}
    return Tolerances(
        judged_metric=LINEAR,
        alpha=0.05,
        equal_spread_alpha=0.01,
        margins={"simclr": margins, "byol": margins},
        reduction_within=0.03,
    )


def made_up_claim(
    name: str = "better",
    *,
    left: str = "*/synchronized/*",
    right: Sequence[str] = ("*/gradual/*",),
    work: str = "A Work",
    least_gain_points: float = 0.0,
    is_primary: bool = True,
    profiles: Sequence[str] = ("cpu", "paper"),
    beside: str = "",
) -> Claim:
    return Claim(
        name=name,
        work=work,
        source="A. Author, 2023",
        source_kind="abstract",
        statement="it is better",
        is_primary=is_primary,
        metric=LINEAR,
        left=left,
        right=tuple(right),
        least_gain_points=least_gain_points,
        profiles=tuple(profiles),
        not_judged={name: "too small" for name in PROFILES if name not in profiles},
        beside=beside,
    )


def made_up_claims(*claims: Claim) -> Claims:
    return Claims(alpha=0.05, claims=claims or (made_up_claim(),))
