import dataclasses
import shutil
from pathlib import Path

import pytest

from bench import sources as module
from bench.config.code import code_of
from bench.config.profiles import PROFILES
from bench.config.run import UNTRAINED
from bench.config.sparsity import SparsitySpec
from bench.evaluation.probes import PROBES
from bench.files import ROOT
from bench.frameworks import FRAMEWORKS
from bench.sources import PACKAGES, Sources, sources, states
from bench.training.optimizers import OPTIMIZERS
from methods import GATES, METHODS


def of_a_run(root: Path = ROOT) -> Sources:
    return sources("simclr", "rigl", optimizer="sgd", probe="lbfgs", root=root)


@pytest.fixture(name="tree")
def fixture_tree(tmp_path: Path) -> Path:
    """Return a copy of the code, to be edited. Each test has its own, as what was read of one is kept."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "splits"))
    return tmp_path


def _edit(path: Path, old: str, new: str) -> None:
    """Replace a text; append, where none is to be replaced."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1) if old else text + new)
    for cached in (module._sources, module._modules, module._tree, module._digest_of, module._imports):
        cached.cache_clear()


def test_a_copy_has_the_same_digest(tree: Path) -> None:
    assert of_a_run(tree) == of_a_run()


CONSTANT = "CONSTANT = 1\n"
# All at once: ``changes`` names each that counts.
INERT_EDITS = [
    ("methods/pruning/rigl.py", '"""', '"""Another docstring. '),
    ("methods/drop_and_grow.py", "import torch", "# a comment\nimport torch"),
    ("bench/views/views.cpp", "#include", "// a comment\n\n#include"),
    ("bench/report/markdown.py", "", CONSTANT),
    ("bench/runs/job.py", "", CONSTANT),  # calls what decides, and writes
    ("bench/runs/pool.py", "", CONSTANT),
    ("bench/config/profiles.py", "", CONSTANT),
    ("bench/data/cifar.py", "", CONSTANT),  # the images have a fingerprint
    ("methods/pruning/granet.py", "", CONSTANT),
    ("methods/gating/dual.py", "", CONSTANT),
    ("bench/frameworks/byol.py", "", CONSTANT),
    ("bench/training/lars.py", "", CONSTANT),
    ("bench/evaluation/sgd_probe.py", "", CONSTANT),
    ("bench/training/optimizers.py", '"sgd": sgd,', '"sgd": sgd,\n    "mine": sgd,'),
    ("methods/__init__.py", '"dense": Dense,', '"dense": Dense,\n    "mine": Dense,'),
]
LIVE_EDITS = (
    "bench/config/run.py",
    "bench/data/dataset.py",
    "bench/evaluation/knn.py",
    "bench/evaluation/lbfgs_probe.py",
    "bench/evaluation/scored.py",
    "bench/evaluation/transfer.py",
    "bench/frameworks/base.py",
    "bench/frameworks/simclr.py",
    "bench/runs/determinism.py",
    "bench/training/loop.py",
    "bench/training/sgd.py",
    "bench/views/pillow.py",
    "bench/views/views.cpp",
    "methods/drop_and_grow.py",
    "methods/masking.py",
    "methods/options.py",
    "methods/pruning/rigl.py",
    "methods/schedule.py",
)


def test_what_changes_no_number_outdates_no_run(tree: Path) -> None:
    before = of_a_run(tree)
    for path, old, new in INERT_EDITS:
        _edit(tree / path, old, new)
    assert of_a_run(tree).changes(before.files) == ()
    assert of_a_run(tree).digest == before.digest


def test_what_can_change_a_number_outdates_its_runs_and_is_named(tree: Path) -> None:
    before = of_a_run(tree)
    for path in LIVE_EDITS:
        _edit(tree / path, "", CONSTANT)
    after = of_a_run(tree)
    assert after.digest != before.digest
    assert after.changes(before.files) == LIVE_EDITS


def test_an_entry_of_the_registry_is_code(tree: Path) -> None:
    before = of_a_run(tree)
    _edit(tree / "methods/__init__.py", 'partial(Rigl, growth="gradient"', 'partial(Rigl, growth="random"')
    assert of_a_run(tree).changes(before.files) == ("methods[rigl]",)


def test_every_entry_leads_to_the_file_of_its_class() -> None:
    for registry, names in ((METHODS, METHODS), (GATES, GATES)):
        for name in names:
            made_by = getattr(registry[name], "func", registry[name])
            assert f"{made_by.__module__.replace('.', '/')}.py" in sources("simclr", name).files
    for name in FRAMEWORKS:
        assert f"bench/frameworks/{name}.py" in sources(name, "dense").files


def test_a_run_is_made_by_its_own_optimizer_and_probe() -> None:
    files = {f"bench/training/{name}.py" for name in OPTIMIZERS}
    files |= {f"bench/evaluation/{name}_probe.py" for name in PROBES}
    for name in PROFILES:
        run = PROFILES[name].run("simclr", SparsitySpec(method="dense"), "digits")
        own = {f"bench/training/{run.optimizer.name}.py", f"bench/evaluation/{run.evaluation.probe}_probe.py"}
        assert files & code_of(run).files.keys() == own


def test_what_probes_other_images_makes_the_runs_that_do_so_alone() -> None:
    run = PROFILES["paper"].run("simclr", SparsitySpec(method="dense"), "digits")
    assert run.evaluation.probe != "lbfgs"
    elsewhere = dataclasses.replace(run, evaluation=dataclasses.replace(run.evaluation, transfer="cifar100"))
    added = code_of(elsewhere).files.keys() - code_of(run).files.keys()
    assert added == {f"bench/evaluation/{name}.py" for name in ("transfer", "lbfgs_probe", "logistic")}
    assert code_of(run).files.items() <= code_of(elsewhere).files.items()


def test_all_that_a_job_imports_is_code_of_its_run_or_known_to_decide_nothing() -> None:
    """Three modules once lay under no root: numbers of runs that other code had made were believed."""
    writes = {f"bench.runs.{name}" for name in ("context", "folder", "job", "record")} | {"bench.training.encoder_file"}
    modules = {path: name for name, path in module._modules(ROOT).items()}
    hashed = {modules[ROOT / path] for path in sources().files if (ROOT / path) in modules}
    imported = {each.partition(":")[0] for each in module._imports("bench.runs.job", ROOT)} & {*modules.values()}
    assert {each for each in imported if not module._is_inert(each)} <= hashed | writes


def test_the_code_of_all_runs_holds_that_of_each() -> None:
    every = sources().files
    for name in ("synchronized", "dual_gate"):
        assert sources("moco", name).files.items() <= every.items()


def test_an_untrained_run_is_made_by_the_code_of_a_dense_one() -> None:
    dense, untrained = (
        PROFILES["smoke"].run("simclr", SparsitySpec(method=method), "digits") for method in ("dense", UNTRAINED)
    )
    assert code_of(dense) == code_of(untrained)


def test_a_record_without_files_names_no_change() -> None:
    made_by = Sources({"a.py": "1"})
    assert made_by.changes(None) == ()
    assert made_by.changes({"a.py": "2", "b.py": "1"}) == ("a.py", "b.py")


def test_records_of_one_state_of_the_code_have_one_digest_together() -> None:
    shared = {"loop.py": "1"}
    made_by = (shared | {"rigl.py": "1"}, shared | {"set.py": "1"}, {"loop.py": "2"})
    records = [{"sources": each, "source_digest": Sources(each).digest} for each in made_by]
    assert states(records[:2]) == {Sources(shared | {"rigl.py": "1", "set.py": "1"}).digest}
    assert len(states(records)) == 3
    assert states([*records[:1], {"source_digest": "old"}]) == {"old", Sources(made_by[0]).digest}
