"""Tags, payloads and parameters as JSON: `json.dumps` with sorted keys, extended to what `json` refuses."""

from __future__ import annotations

import base64
import collections
import enum
import json
import math
import struct
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_obs._backend import canonical_json, config_hash
from codex_obs.testing import open_run, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codex_obs import Run

DEPTH = 64


def oracle(value: object) -> str:
    """Give the text for what `json` knows, with the keys in order and numbers in words where JSON has none."""
    return json.dumps(in_order(value), ensure_ascii=True, separators=(",", ":"))


def in_order(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return [in_order(inner) for inner in value]
    if isinstance(value, dict):
        # The keys as json makes them, of equal ones the last.
        named = {next(iter(json.loads(json.dumps({key: 0})))): inner for key, inner in value.items()}
        return {key: in_order(named[key]) for key in sorted(named)}
    return value


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
DOUBLES = st.binary(min_size=8, max_size=8).map(lambda data: struct.unpack("<d", data)[0])
LEAVES = st.none() | st.booleans() | st.integers() | st.integers(-(10**400), 10**400) | st.floats() | DOUBLES | TEXT
KEYS = TEXT | st.integers() | st.floats() | st.booleans() | st.none()
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.dictionaries(TEXT, inner, max_size=5)
    ),
    max_leaves=30,
)


@given(VALUES)
def test_what_json_knows_is_written_as_json_dumps_does(value: object) -> None:
    assert canonical_json(value).decode("ascii") == oracle(value)


@given(st.text())
def test_any_text_becomes_valid_json(text: str) -> None:
    # Pairs of surrogates are one character, and lone ones the replacement character.
    expected = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert json.loads(canonical_json(text)) == expected


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    YES = "yes"


@dataclass
class Options:
    depth: int = 3


Point = collections.namedtuple("Point", "x y")  # noqa: PYI024 - the plain one is what libraries use

CASES: list[tuple[object, str]] = [
    ((1, (2,)), "[1,[2]]"),
    (Point(1, 2), "[1,2]"),
    (range(3), "[0,1,2]"),
    (collections.deque([1]), "[1]"),
    ({2, 1}, "[1,2]"),
    (frozenset({"b", "a", "A"}), '["A","a","b"]'),
    ({frozenset({2, 1}), frozenset()}, "[[1,2],[]]"),
    ({"b": 1, "a": 2}.keys(), '["a","b"]'),
    ({"b": 1}.values(), '"dict_values([1])"'),
    (b"\0\xff", '"AP8="'),
    (bytearray(b"abc"), '"YWJj"'),
    (memoryview(b"abcd")[::2], '"YWM="'),
    (PurePosixPath("/a/é"), '"/a/\\u00e9"'),
    (Decimal("0.10"), '"0.10"'),
    (1 + 2j, '"(1+2j)"'),
    (date(2026, 11, 20), '"2026-11-20"'),
    (datetime(2026, 11, 20, tzinfo=UTC), '"2026-11-20 00:00:00+00:00"'),
    (Colour.RED, '"Colour.RED"'),
    (Level.HIGH, "3"),
    (Word.YES, '"yes"'),
    (Options(), '{"depth":3}'),
    (Options, json.dumps(str(Options))),
    (int, "\"<class 'int'>\""),
    (np.float32(0.1), "0.10000000149011612"),
    (np.float64("nan"), '"NaN"'),
    (np.float16("inf"), '"Infinity"'),
    (np.int64(-3), "-3"),
    (np.True_, "true"),
    (np.longdouble(0.5), "0.5"),
    (np.complex64(1j), '"1j"'),
    (np.clongdouble(1j), '"1j"'),
    (np.array([np.clongdouble(1j)]), '["1j"]'),
    (np.str_("é"), '"\\u00e9"'),
    (np.bytes_(b"abc"), '"YWJj"'),
    (np.datetime64("2026-11-20T00:00:00.000000001"), '"2026-11-20T00:00:00.000000001"'),
    (np.array(1.5), "1.5"),
    (np.array([1.5]), "[1.5]"),
    (np.zeros((2, 0)), "[[],[]]"),
    (np.array([[True], [False]]), "[[true],[false]]"),
    (np.array([1, "a", None, {"k": {1}}], dtype=object), '[1,"a",null,{"k":[1]}]'),
    ({2: 0, "b": 1, None: 2, True: 3, 1.5: 4}, '{"1.5":4,"2":0,"b":1,"null":2,"true":3}'),
    ({math.nan: 1, -math.inf: 2}, '{"-Infinity":2,"NaN":1}'),
    ({"1": "text", 1: "number"}, '{"1":"number"}'),
    ({1: "number", "1": "text"}, '{"1":"text"}'),
    ({Level.HIGH: 1, Word.YES: 2, Colour.RED: 3}, '{"3":1,"Colour.RED":3,"yes":2}'),
    ({b"abc": 1, (1, 2): 2, PurePosixPath("p"): 3}, '{"(1, 2)":2,"YWJj":1,"p":3}'),
    ({np.float64(0.5): 1, np.int64(3): 2, np.str_("s"): 3}, '{"0.5":1,"3":2,"s":3}'),
    ({10**30: 1}, '{"1000000000000000000000000000000":1}'),
    ({"\U00010000": 1, "\uffff": 2, "z": 3, "": 4}, '{"":4,"z":3,"\\uffff":2,"\\ud800\\udc00":1}'),
    (MappingProxyType({"b": 1, "a": 2}), '{"a":2,"b":1}'),
    (collections.OrderedDict(b=1, a=2), '{"a":2,"b":1}'),
    (collections.ChainMap({"a": 1}, {"b": 2}), '{"a":1,"b":2}'),
]


@pytest.mark.parametrize("index", range(len(CASES)))
def test_what_json_refuses_has_a_form(index: int) -> None:
    value, expected = CASES[index]
    assert canonical_json(value).decode("ascii") == expected


@pytest.fixture
def run(run_dir: Path) -> Iterator[Run]:
    with open_run(run_dir, fsync="never") as run:
        yield run


def nested(depth: int, leaf: object) -> Any:
    value = leaf
    for _ in range(depth):
        value = [value]
    return value


def test_containers_deeper_than_64_become_null_and_are_counted(run: Run) -> None:
    assert json.loads(canonical_json(nested(DEPTH, 1))) == nested(DEPTH, 1)
    assert json.loads(canonical_json(nested(DEPTH + 1, 1))) == nested(DEPTH, None)
    assert json.loads(canonical_json(nested(5000, 1))) == nested(DEPTH, None)
    # The object of the tags is a level too.
    run.log({"payload": nested(DEPTH + 1, 1)}, step=0, tags={"t": nested(DEPTH, 1), "u": nested(DEPTH - 1, 1)})
    run.flush()
    assert read_rows(run.path)[0]["tags"] == {
        "manifest_id": read_rows(run.path, "metrics_manifest")[0]["manifest_id"],
        "t": nested(DEPTH - 1, None),
        "u": nested(DEPTH - 1, 1),
    }
    assert run.stats()["nodes_nulled"] == 2


def test_what_contains_itself_becomes_null_and_is_counted(run: Run) -> None:
    cyclic: list[object] = [1]
    cyclic.append({"again": cyclic, "twice": (cyclic,)})
    objects = np.empty(2, dtype=object)
    objects[0], objects[1] = objects, 1
    zero = np.empty((), dtype=object)
    zero[()] = {"inside": zero}
    assert canonical_json(cyclic) == b'[1,{"again":null,"twice":[null]}]'
    assert canonical_json(objects) == b"[null,1]"
    assert canonical_json(zero) == b'{"inside":null}'
    tags: dict[str, object] = {"a": 1}
    tags["self"] = tags
    run.log({"payload": cyclic}, step=0, tags=tags)
    run.flush()
    assert read_rows(run.path)[0]["tags"]["self"] is None  # type: ignore[index] # tags are an object
    assert run.stats()["nodes_nulled"] == 3


def test_the_same_container_twice_is_written_twice() -> None:
    shared = [1]
    assert canonical_json([shared, shared, {"a": shared}]) == b'[[1],[1],{"a":[1]}]'


class Broken:
    def __str__(self) -> str:
        raise LookupError


class HalfIterable(collections.UserList[object]):
    def __iter__(self) -> Iterator[object]:
        yield 1
        raise LookupError


def test_what_raises_becomes_null_and_leaves_no_trace() -> None:
    assert canonical_json([1, Broken(), 2]) == b"[1,null,2]"
    assert canonical_json({"a": HalfIterable([1, 2]), "b": [HalfIterable([1])]}) == b'{"a":[1,2],"b":[[1]]}'
    assert canonical_json({Broken(): 1}) == b'{"<Broken>":1}'
    assert canonical_json(Broken()) == b"null"


def test_reserved_tags_of_the_caller_go_and_everything_else_stays(run: Run) -> None:
    reserved = {"manifest_id": 1, "nonfinite": 2, "unreadable": 3}
    run.log({"m": 1, "n": math.nan}, step=0, tags={**reserved, "z": reserved, "a": 1, "nonfinite ": 4})
    run.log({"m": 1}, step=0, tags=reserved)
    run.flush()
    assert [row["tags"] for row in read_rows(run.path)] == [
        {"a": 1, "nonfinite ": 4, "z": reserved},
        {"a": 1, "nonfinite": "NaN", "nonfinite ": 4, "z": reserved},
        {},
    ]


@given(st.binary(max_size=200))
def test_bytes_are_base64(data: bytes) -> None:
    assert json.loads(canonical_json(data)) == base64.b64encode(data).decode()


def test_long_bytes_are_base64_without_a_seam() -> None:
    data = bytes(range(256)) * 1000 + b"x"
    assert json.loads(canonical_json(data)) == base64.b64encode(data).decode()


@given(st.dictionaries(TEXT, LEAVES, max_size=8), st.randoms())
def test_a_hash_depends_on_the_content_and_not_on_the_order(config: dict[str, object], random: Any) -> None:
    items = list(config.items())
    random.shuffle(items)
    assert config_hash(dict(items)) == config_hash(config)
    assert config_hash({**config, "another key": 1}) != config_hash({**config, "another key": 2})
