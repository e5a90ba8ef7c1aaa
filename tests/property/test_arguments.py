"""For every argument: what comes out of the JSON is what went in."""

from __future__ import annotations

import datetime
import enum
import json
import math
import pathlib
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gpukit.runtime.arguments import decode_arguments, encode_arguments


class Kind(enum.Enum):
    A = 1
    B = "two"


@dataclass
class Leaf:
    number: float = 0.0
    kind: Kind = Kind.A
    where: pathlib.Path | None = None


@dataclass
class Tree:
    name: str
    leaves: list[Leaf] = field(default_factory=list)
    rest: Any = None


texts = st.text(st.characters(codec=None))
paths = st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1)).map(
    lambda parts: pathlib.Path("/", *parts)
)
leaves = st.builds(Leaf, st.floats(allow_nan=False), st.sampled_from(Kind), st.none() | paths)
hashable = st.one_of(
    st.none(), st.booleans(), st.integers(), texts, st.binary(), st.decimals(allow_nan=False),
    st.floats(allow_nan=False), st.dates(), st.datetimes(), st.timedeltas(), st.uuids(),
    st.sampled_from(Kind), paths,
)  # fmt: skip
values = st.recursive(
    hashable | leaves,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(hashable, inner),
        st.sets(hashable), st.frozensets(hashable),
        st.builds(Tree, texts, st.lists(leaves), inner),
    ),
    max_leaves=20,
)  # fmt: skip


def job(value: Any = None, tree: Tree | None = None, **named: Any) -> None: ...


def _same(a: Any, b: Any) -> bool:
    """Equality that tells 1 from True and from 1.0, at any depth, and the order of mappings."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            _same(x, y) for x, y in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Leaf | Tree):
        return _same(vars(a), vars(b))
    if isinstance(a, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return bool(a == b)


@settings(deadline=None)
@given(values)
def test_round_trip(value: Any) -> None:
    encoded = encode_arguments(job, (value,))
    text = json.dumps(encoded, allow_nan=False, sort_keys=True, ensure_ascii=False).encode()
    assert _same(decode_arguments(job, json.loads(text))["value"], value)


@settings(deadline=None)
@given(st.builds(Tree, texts, st.lists(leaves), values))
def test_round_trip_where_the_type_is_annotated(tree: Tree) -> None:
    text = json.dumps(encode_arguments(job, (), {"tree": tree}), sort_keys=True)
    assert _same(decode_arguments(job, json.loads(text))["tree"], tree)


@settings(deadline=None)
@given(values)
def test_the_encoding_is_a_function_of_the_value(value: Any) -> None:
    once = encode_arguments(job, (value,))
    again = encode_arguments(job, (decode_arguments(job, once)["value"],))
    assert json.dumps(once) == json.dumps(again)


@settings(deadline=None, max_examples=50)
@given(st.datetimes(timezones=st.timezones() | st.just(datetime.timezone.utc)))
def test_times_with_zones(when: datetime.datetime) -> None:
    got = decode_arguments(job, json.loads(json.dumps(encode_arguments(job, (when,)))))["value"]
    assert got.utcoffset() == when.utcoffset()
    assert got.replace(tzinfo=None) == when.replace(tzinfo=None)
    assert (got.fold, got.tzname()) == (when.fold, when.tzname())
