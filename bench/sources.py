"""Which code can change a run's numbers: the modules that training and evaluation import, without their prose.

The C++ sources that one of these has compiled come with it.
A run has one framework, one method, one optimizer and one probe. What registers them names all, so the registries are
followed to the run's own entries alone: a new method in a file of its own leaves the runs of others as they are.
What probes other images is code of the runs that do so. ``bench.runs.job`` is none: it calls what is, in a fixed order,
and writes what comes of it; a line more of provenance shall outdate no run.
"""

import ast
import functools
import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.files import ROOT

PACKAGES = ("bench", "methods")
ROOTS = (
    *("bench.data.dataset", "bench.evaluation.scored", "bench.runs.determinism"),
    *("bench.training.loop", "bench.training.parts"),
)
OF_OTHER_IMAGES = "bench.evaluation.transfer"  # a root of the runs whose encoder is probed on other data sets
# Modules that name every framework, every method, every optimizer and every probe in a dictionary.
REGISTRIES = ("bench.frameworks", "methods", "bench.training.optimizers", "bench.evaluation.probes")
# What these do cannot change a number that a run leaves: names, checks and messages, files, locks, and who made it.
# Constants of a run are in its name.
INERT = {
    *("bench.errors", "bench.files", "bench.provenance", "bench.sources", "bench.ticks"),
    *("bench.config.cell", "bench.config.checks", "bench.config.framework"),
    "bench.training.mask_file",
}
# What reads and decodes images: a fingerprint of the images is compared beside the code.
FINGERPRINTED, NOT_FINGERPRINTED = "bench.data.", "bench.data.dataset"
# They compute, or decode what is computed with.
LIBRARIES = ("torch", "torchvision", "lightly", "lightning-fabric", "numpy", "scipy", "scikit-learn", "pillow")


@dataclass(frozen=True, slots=True)
class Sources:
    """The code of a run.

    Attributes:
        files: path of a module from the project's root, or the name of a library -> 12 hex digits, or its version.
    """

    files: Mapping[str, str]

    @property
    def digest(self) -> str:
        """16 hex digits over all."""
        text = "".join(f"{name}={digest}\0" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def changes(self, made_by: object) -> tuple[str, ...]:
        """Return what differs from the ``files`` that a record holds; nothing where it holds none."""
        if not isinstance(made_by, Mapping):
            return ()
        names = {*self.files, *made_by}
        return tuple(sorted(name for name in names if self.files.get(name) != made_by.get(name)))


def states(provenances: Iterable[Mapping[str, object]]) -> frozenset[str]:
    """Return a digest for each state of the code that made records: one, where no file of theirs differs."""
    whole: dict[str, str] = {}
    alone, of_many, agree = set[str](), set[str](), True
    for each in provenances:
        files, digest = each.get("sources"), str(each.get("source_digest", "unknown"))
        if isinstance(files, Mapping):
            agree &= all(whole.setdefault(name, made_by) == made_by for name, made_by in files.items())
            of_many.add(digest)
        else:  # a record of before the files were kept
            alone.add(digest)
    together = {Sources(whole).digest} if whole else set()
    return frozenset(alone | (together if agree else of_many))


def sources(
    framework: str | None = None,
    method: str | None = None,
    *,
    optimizer: str | None = None,
    probe: str | None = None,
    transfers: bool = True,
    root: Path = ROOT,
) -> Sources:
    """Return the code that a run of these parts is made by; of all parts of a kind, unless one is named.

    Args:
        framework: a key of ``bench.frameworks.FRAMEWORKS``.
        method: a key of ``methods.METHODS`` or ``methods.GATES``.
        optimizer: a key of ``bench.training.optimizers.OPTIMIZERS``.
        probe: a key of ``bench.evaluation.probes.PROBES``.
        transfers: whether it is probed on other data sets, too.
        root: holds the packages.
    """
    roots = (*ROOTS, OF_OTHER_IMAGES) if transfers else ROOTS
    return _sources((framework, method, optimizer, probe), roots, root)


@functools.cache
def _sources(keys: tuple[str | None, ...], roots: tuple[str, ...], root: Path) -> Sources:
    modules = _modules(root)
    wanted = dict(zip(REGISTRIES, keys, strict=True))
    registries = {name: _Registry(_tree(modules[name])) for name in REGISTRIES}
    todo, seen = [*roots], set[str]()
    files = dict(_versions())
    for name, registry in registries.items():
        entries = registry.entries(wanted[name])
        files |= {f"{name}[{key}]": _digest(value) for key, value in entries}
        used = {each for _, value in entries for each in _names(value)} | registry.names_elsewhere
        todo += [f"{registry.origins[each]}:{each}" for each in used if each in registry.origins]
        files[_relative(modules[name], root)] = _digest(registry.rest)
    while todo:
        module, _, taken = todo.pop().partition(":")
        if module in registries:  # followed to where the name that is taken of it comes from
            origin = registries[module].origins.get(taken)
            todo += [f"{origin}:{taken}"] if origin else []
        elif module in modules and module not in seen and not _is_inert(module):
            seen.add(module)
            files[_relative(modules[module], root)] = _digest_of(modules[module])
            files |= {_relative(path, root): _digest_of_compiled(path) for path in _compiled(modules[module])}
            todo += _imports(module, root)
    return Sources(files)


class _Registry:
    """A module that only imports, and names what it imports in dictionaries.

    Attributes:
        origins: name -> the module that it is imported from.
        rest: the module without its imports, its dictionaries and ``__all__``.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.origins = {
            alias.asname or alias.name: str(node.module)
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assigned = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
        self._dictionaries = [node.value for node in assigned if isinstance(node.value, ast.Dict)]
        dropped = [node for node in assigned if isinstance(node.value, ast.Dict) or "__all__" in _names(node)]
        left = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom) and node not in dropped]
        self.rest = ast.Module(body=left, type_ignores=[])

    def entries(self, key: str | None) -> list[tuple[str, ast.expr]]:
        """Return the entries of one key, or all."""
        return [
            (str(name.value), value)
            for found in self._dictionaries
            for name, value in zip(found.keys, found.values, strict=True)
            if isinstance(name, ast.Constant) and key in {None, name.value}
        ]

    @property
    def names_elsewhere(self) -> set[str]:
        """The names that the rest of the module needs."""
        return _names(self.rest)


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _is_inert(module: str) -> bool:
    return module in INERT or (module.startswith(FINGERPRINTED) and module != NOT_FINGERPRINTED)


@functools.cache
def _imports(module: str, root: Path) -> tuple[str, ...]:
    """Return what a module imports: ``module:name``; without a name where it imports the module itself."""
    modules, found = _modules(root), []
    for node in _statements(_tree(modules[module]).body):
        if isinstance(node, ast.Import):
            found += [f"{alias.name}:" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append(f"{whole}:" if whole in modules else f"{node.module}:{alias.name}")
    return tuple(found)


@functools.cache
def _versions() -> Mapping[str, str]:
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


@functools.cache
def _modules(root: Path) -> Mapping[str, Path]:
    """Return all our modules by name."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


@functools.cache
def _tree(path: Path) -> ast.Module:
    """Return a module as it is parsed, so without comments and layout, and without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in (tree, *_statements(tree.body)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _is_text(node.body):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements and those inside them; expressions, of which there are ten times as many, are passed by."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(node, part, ()))
        for part in ("handlers", "cases"):
            for branch in getattr(node, part, ()):
                yield from _statements(branch.body)


def _is_text(body: list[ast.stmt]) -> bool:
    first = body[0] if body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


@functools.cache
def _digest_of(path: Path) -> str:
    return _digest(_tree(path))


def _digest(tree: ast.AST) -> str:
    return hashlib.sha256(ast.dump(tree, annotate_fields=False).encode()).hexdigest()[:12]


def _compiled(path: Path) -> Iterator[Path]:
    """Yield the C++ sources that a module's constants name; they lie beside it."""
    for statement in _tree(path).body:
        for node in ast.walk(statement) if isinstance(statement, ast.Assign) else ():
            if isinstance(node, ast.Constant) and str(node.value).endswith((".cpp", ".h")):
                yield path.with_name(str(node.value))


def _digest_of_compiled(path: Path) -> str:
    text = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:12]


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
