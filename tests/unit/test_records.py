"""Records on disk: what is written is read, and what is wrong is named."""

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pytest

from syndiff.errors import AtlasError
from syndiff.storage.records import (
    RecordError,
    dump_record,
    load_record,
    parse_record,
    plain_content,
)


class Place(NamedTuple):
    row: int
    name: str


@dataclass(frozen=True)
class Part:
    value: float | None
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Other:
    text: str


@dataclass(frozen=True)
class Whole:
    FORMAT: ClassVar[int] = 3

    count: int
    flag: bool
    parts: tuple[Part, ...]
    named: dict[str, Part]
    pair: tuple[float, str]
    places: tuple[Place, ...]
    either: Part | Other
    free: Any


RECORD = Whole(
    count=1,
    flag=True,
    parts=(Part(1.5), Part(None, "b")),
    named={"x": Part(2.0)},
    pair=(0.25, "y"),
    places=(Place(1, "one"), Place(2, "two")),
    either=Other("text"),
    free={"list": [1, "a"]},
)
PLAIN = {
    "format_version": 3,
    "count": 1,
    "flag": True,
    "parts": [{"value": 1.5, "kind": "a"}, {"value": None, "kind": "b"}],
    "named": {"x": {"value": 2.0, "kind": "a"}},
    "pair": [0.25, "y"],
    "places": [[1, "one"], [2, "two"]],
    "either": {"text": "text"},
    "free": {"list": [1, "a"]},
}


def load(content):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return load_record(Whole, text, "here.json", error=AtlasError, remedy="make it again")


@pytest.mark.parametrize("options", [{}, {"indent": 1}, {"sort_keys": True}])
def test_what_is_written_is_read(options):
    text = dump_record(RECORD, **options)
    assert json.loads(text) == PLAIN == plain_content(RECORD)
    assert load(text) == RECORD
    assert parse_record(Whole, PLAIN) == RECORD


def test_numbers_are_as_their_fields_say():
    found = load(PLAIN | {"pair": [1, "y"]})
    assert isinstance(found.pair[0], float)
    with pytest.raises(AtlasError, match=r"count is 1.0, expected an integer"):
        load(PLAIN | {"count": 1.0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": "1"}, "count is '1', expected an integer"),
        ({"count": True}, "count is True, expected an integer"),
        ({"flag": 1}, "flag is 1, expected true or false"),
        ({"pair": [1.0]}, r"pair is \[1.0\], expected a list of 2"),
        ({"pair": [None, "y"]}, r"pair\[0\] is None, expected a number"),
        ({"parts": {}}, r"parts is \{\}, expected a list"),
        ({"parts": [{"value": 1.5}]}, r"parts\[0\] has no 'kind'"),
        ({"parts": [{"value": "x", "kind": "a"}]}, r"parts\[0\]\.value is 'x', expected a number"),
        ({"parts": [{"value": 1, "kind": "c"}]}, r"parts\[0\]\.kind is 'c', expected 'a' or 'b'"),
        ({"named": {"x": 3}}, r"named\.x is 3, expected an object"),
        ({"named": []}, r"named is \[\], expected an object"),
        ({"places": [[1, "one"], [2]]}, r"places\[1\] is \[2\], expected a list of 2"),
        ({"either": {"text": 3}}, r"either\.text is 3, expected a text"),
        ({"more": 1}, "it has 'more', which is not known"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(AtlasError, match=rf"^here.json is damaged \({message}\): make it again$"):
        load(PLAIN | change)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (b'{"count"', "is damaged"),
        (b"[1]", r"is damaged \(it is \[1\], expected an object\)"),
        (b'{"format_version": 3, "count": NaN}', "is damaged .*NaN, which is no number"),
        (b"\xff", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        ({}, r"is damaged \(it has no format_version\)"),
        (PLAIN | {"format_version": 2}, "^here.json has format 2, this version reads 3: make it"),
    ],
)
def test_no_record_at_all(content, message):
    with pytest.raises(AtlasError, match=message):
        load(content)


def test_what_json_cannot_hold_is_not_written():
    with pytest.raises(ValueError, match="JSON compliant"):
        dump_record(Part(float("nan")))
    with pytest.raises(TypeError, match=r"array.*can't be stored as JSON"):
        dump_record(Part(np.zeros(2)))


def test_a_type_that_is_no_record_is_refused():
    with pytest.raises(TypeError, match="no type that records can hold"):
        parse_record(set, [])
    with pytest.raises(RecordError, match="it is 3, expected a text"):
        parse_record(str, 3)
