"""A method's own parameters, as a command line or a script names them."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar, cast

Option = float | str
Asked = TypeVar("Asked")
Built = TypeVar("Built")


def build(
    registry: Mapping[str, Callable[[Asked], Built]],
    key: str,
    asked: Asked,
    options: Iterable[tuple[str, Option]] = (),
) -> Built:
    """Return the method at ``key`` of ``METHODS`` or ``GATES``, with some of its own parameters set.

    A parameter of its own is a keyword-only argument that the entry of the registry leaves open. What the entry sets
    is what the key stands for, and cannot be set again.

    Args:
        registry: ``METHODS`` or ``GATES``.
        key: of it.
        asked: the setting.
        options: names and values, each name once.

    Raises:
        ValueError: a name is unknown or given twice, or a value has the wrong type; or as the method itself.
    """
    factory, given = registry[key], dict[str, Option]()
    own = parameters(factory)
    for name, value in options:
        if name not in own:
            there = f"it has {', '.join(own)}" if own else "it has none"
            raise ValueError(f"{key} has no parameter {name!r} of its own: {there}.")
        if name in given:
            raise ValueError(f"{key}: parameter {name!r} is given twice.")
        given[name] = _typed(key, name, value, own[name])
    return cast("Callable[..., Built]", factory)(asked, **given)


def parameters(factory: Callable[..., object]) -> dict[str, Option]:
    """Return the own parameters of an entry of a registry, with their defaults."""
    fixed = factory.keywords if isinstance(factory, partial) else {}
    return {
        name: parameter.default
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in fixed
    }


def _typed(key: str, name: str, value: Option, default: Option) -> Option:
    kind = type(default)
    if isinstance(value, str) != isinstance(default, str) or kind(value) != value:  # 2.5 is no whole number
        raise ValueError(f"{key}: parameter {name!r} is a {kind.__name__} such as {default!r}, not {value!r}.")
    return kind(value)


__all__ = ["Option", "build", "parameters"]
