"""Who may import whom."""

import ast
import graphlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {"methods": {"torch"}, "hardware": {"numpy"}, "reading": {"cattrs"}}  # bench: what pyproject.toml names
INSIDE = {
    "reading": {"reading"},
    "methods": {"methods"},
    "hardware": {"hardware", "reading"},
    "bench": {"bench", "methods", "hardware", "reading"},
}
# What method files share. They never import each other: a method is told by one file and this.
SHARED = {
    *("method", "history", "branches", "setting", "masking", "granularity", "allocation", "schedule", "scores"),
    *("exchange", "newcomers", "overlap", "macs", "draws", "drop_and_grow", "normalisation", "stages", "native"),
}
SHARED_BY_GATES = {
    *("control", "setting", "layer", "gate", "convolution", "measure", "residual", "winners", "mask_unit", "masked"),
    *("pixels", "channel_unit", "deciding_unit", "compiled", "open_conv", "quick_mask", "windows", "tables"),
    *("partition", "rows", "quick_rows"),
}  # skipping and known: no method needs them
# The rooms of bench, from the ground up: the story of one cell. A room imports from itself or an earlier one, and no
# module in a circle.
ROOMS = (
    {"errors", "files", "streams", "ticks"},
    {"sources"},
    {"provenance"},
    {"config"},
    {"data"},
    {"views"},
    {"frameworks"},
    {"training"},
    {"evaluation"},
    {"runs", "lanes"},
    {"tables"},
    {"judging"},
    {"report"},
    {"speedup"},
    {"commands"},
    {"__main__"},
)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for name in INSIDE for path in sorted((ROOT / name).rglob("*.py"))}


def imported(module: str) -> set[str]:
    """Return what a module imports: our modules by their full name, others by their package's."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide the direction. Write the full name."
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (whole & set(MODULES)) or {str(node.module)}
    return {name if name in MODULES else name.partition(".")[0] for name in names}


def floor(module: str) -> int:
    room = module.split(".")[1]
    places = [index for index, rooms in enumerate(ROOMS) if room in rooms]
    assert places, f"bench.{room} has no place in ROOMS of this test. Give it one."
    return places[0]


@pytest.mark.parametrize("module", MODULES)
def test_packages_import_only_what_they_may(module: str) -> None:
    package = module.partition(".")[0]
    ours = {name for name in imported(module) if name.partition(".")[0] in {*INSIDE, "tests"}}
    assert {name.partition(".")[0] for name in ours} <= INSIDE[package]
    if package in OUTSIDE:
        assert imported(module) - ours <= OUTSIDE[package] | sys.stdlib_module_names


def test_method_files_never_import_each_other() -> None:
    for module in MODULES:
        if module.startswith(("methods.pruning.", "methods.gating.")):
            ours = {name for name in imported(module) if name.startswith("methods.")}
            shared = {f"methods.{noun}" for noun in SHARED} | {f"methods.gating.{noun}" for noun in SHARED_BY_GATES}
            others = {name for name in ours if not name.startswith(tuple(sorted(shared)))}
            assert not others, f"{module} imports {others}"


def test_imports_run_one_way() -> None:
    graphlib.TopologicalSorter({module: imported(module) for module in MODULES}).prepare()  # raises on a circle
    for module in MODULES:
        if module.startswith("bench."):
            later = {name for name in imported(module) if name.startswith("bench.") and floor(name) > floor(module)}
            assert not later, f"{module} imports {later}, which stand above it"
