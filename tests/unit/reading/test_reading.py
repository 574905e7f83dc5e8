import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reading import read_json, read_toml, structured


class Refused(Exception):  # noqa: N818
    pass


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Inner:
    count: int
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count is {self.count}; it must be at least 0.")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    is_on: bool
    kind: Literal["a", "b"]
    inner: Inner
    many: tuple[Inner, ...]
    texts: tuple[str, ...]
    by_name: Mapping[str, float]
    perhaps: float | None = None
    pairs: tuple[tuple[str, float | str], ...] = ()
    colour: Colour = Colour.RED


GOOD = {
    "name": "x",
    "is_on": True,
    "kind": "a",
    "inner": {"count": 1},
    "many": [{"count": 2, "share": 1}],
    "texts": ["p", "q"],
    "by_name": {"p": 1, "q": 0.5},
}


def test_plain_entries_become_values() -> None:
    inner = Inner(count=1)
    assert structured(Outer, GOOD | {"pairs": [["p", 1], ["q", "r"]], "colour": "blue"}, "here", Refused) == Outer(
        name="x",
        is_on=True,
        kind="a",
        inner=inner,
        many=(Inner(count=2, share=1.0),),
        texts=("p", "q"),
        by_name={"p": 1.0, "q": 0.5},
        pairs=(("p", 1), ("q", "r")),
        colour=Colour.BLUE,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "here: name is ''; it must be a text that is not empty"),
        ({"name": 3}, "name is 3; it must be a text"),
        ({"is_on": 1}, "is_on is 1; it must be true or false"),
        ({"kind": "c"}, "kind is 'c'; it must be one of a, b"),
        ({"inner": {"count": 1.0}}, "inner.count is 1.0; it must be an integer"),
        ({"inner": {"count": True}}, "inner.count is True; it must be an integer"),
        ({"inner": {"count": "1"}}, "inner.count is '1'; it must be an integer"),
        ({"inner": {"count": 1, "share": float("nan")}}, "inner.share is nan; it must be a number, and finite"),
        ({"inner": {"count": -1}}, "inner: count is -1; it must be at least 0"),
        ({"inner": []}, r"inner is \[\]; it must be a table"),
        (
            {"inner": {"count": 1, "shade": 1}},
            "inner has unknown entries shade. Remove.*; there are count",
        ),
        ({"inner": {"count": 1, "share": 10**400}}, "inner.share is 10000.*; it must be a number, and finite"),
        ({"colour": "green"}, "colour is 'green'; it must be one of red, blue"),
        ({"colour": ["red"]}, r"colour is \['red'\]; it must be one of red, blue"),
        ({"inner": {}}, "inner.count is missing"),
        ({"many": {"count": 1}}, r"many is .*; it must be an array of tables, \[\[...\]\]"),
        ({"many": [{"count": 1}, {"count": "2"}]}, r"many\[1\].count is '2'; it must be an integer"),
        ({"texts": "pq"}, "texts is 'pq'; it must be a list"),
        ({"texts": ["p", 1]}, r"texts\[1\] is 1; it must be a text"),
        ({"by_name": {"p": "1"}}, r"by_name\[p\] is '1'; it must be a number"),
        ({"perhaps": "1"}, "perhaps is '1'; it must be a number"),
        ({"pairs": [["p"]]}, r"pairs\[0\] is \['p'\]; it must be a list of 2"),
        ({"pairs": [["p", True]]}, r"pairs\[0\] is True; it must be a number, and finite or a text"),
        ({"shade": 1, "texts": 1}, "texts is 1.* unknown entries shade"),
    ],
)
def test_a_slip_names_its_place_its_value_and_the_rule(changes: dict[str, object], message: str) -> None:
    with pytest.raises(Refused, match=message):
        structured(Outer, GOOD | changes, "here", Refused)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(key=st.sampled_from(list(GOOD)), entry=plain)
def test_any_entry_is_a_value_or_refused(key: str, entry: object) -> None:
    try:
        structured(Outer, GOOD | {key: entry}, "here", Refused)
    except Refused as error:
        assert str(error).startswith(f"here: {key}")  # noqa: PT017


@given(payload=st.binary(max_size=40) | st.text(alphabet="[]{}=\"'.,:0e9-naif", max_size=20).map(str.encode))
def test_any_bytes_are_a_value_or_refused(tmp_path_factory: pytest.TempPathFactory, payload: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(payload)
    with pytest.raises(Refused, match="file"):
        read_toml(Outer, path, Refused)
    try:
        read_json(path)
    except ValueError as error:
        assert type(error) is ValueError  # noqa: PT017


@pytest.mark.parametrize("text", ["[" * 100_000, "NaN", "-Infinity", "1e999", "{", '{"a": 1, "a": 2}', "\ufeff{}"])
def test_json_that_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(ValueError, match=r"."):
        read_json(tmp_path / "file")
