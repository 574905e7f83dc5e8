"""Cells of recorded tables whose references are still to be recorded: NO_REFERENCE in the table."""

import fnmatch

# Whoever records a cell takes its pattern out.
UNRECORDED: dict[str, tuple[str, ...]] = {
    "cifar10/cpu/cifar10": (
        "*/dense/*",
        "*/dense_small_images/*",
        "*/synchronized/element/d0.02",
        "*/2:4/*",
        "supervised/*",
        "*/gradual_erk/*",
        "*/synchronized_erk/*",
    ),
    "gating/cpu/cifar10": (
        "*/t1.50",
        "*/dual_gate_averaged/*",
        "*/single_gate/*",
        "*/ungated_target/*",
        "*/unified_gate/*",
    ),
    "asymmetry/cpu/cifar10": ("*/synchronized/*", "*/sdclr/*", "*/gradual_early/*"),
    "cifar100/cpu/cifar100": (
        "*/dense/*",
        "*/dense_small_images/*",
        "*/d0.02*",
        "*/synchronized/element/d0.10",
        "supervised/*",
        "*/gradual_erk/*",
        "*/synchronized_erk/*",
    ),
    "nm/cpu/cifar10": (
        "*/1:4/*",
        "*/srigl/*",
        "*_transposable/*",
    ),
    "structured/cpu/cifar10": ("*/dense/*", "*/element/*"),
}


def is_unrecorded(place: tuple[str, str, str], cell: str) -> bool:
    """Return whether a cell of (table, profile, data) has no references yet."""
    return any(fnmatch.fnmatch(cell, glob) for glob in UNRECORDED.get("/".join(place), ()))
