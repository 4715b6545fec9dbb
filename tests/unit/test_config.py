"""Configurations: what they refuse, and digests that mean the same."""

import math

import numpy as np
import pytest

from syndiff.config import (
    BAND_WEIGHTS,
    BANDS,
    MAX_OFFSET_PX,
    digest,
    parse_offsets,
)
from syndiff.errors import ConfigError


def test_band_weights_sum_to_one():
    assert len(BANDS) == len(BAND_WEIGHTS)
    assert math.fsum(BAND_WEIGHTS) == pytest.approx(1, abs=1e-15)


def test_digests_depend_on_content_only():
    assert digest({"a": 1, "b": [1.5, None]}) == digest({"b": [1.5, None], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest([])) == 16


def test_digests_stay_the_same_from_version_to_version():
    """An atlas is found again by them."""
    assert digest({"a": 1, "b": "x"}) == "ecf9e98ec0641e23"


def test_digests_refuse_numbers_that_are_none():
    with pytest.raises(ValueError, match="Out of range float values"):
        digest([float("nan")])


def test_offsets_are_pairs_in_the_order_given():
    assert parse_offsets("0.0,0.0, 0.5,-0.25") == ((0.0, 0.0), (0.5, -0.25))
    ((dx, dy),) = parse_offsets("-0.0,-2")
    assert math.copysign(1, dx) == 1
    assert dy == -MAX_OFFSET_PX


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' holds something that is not a number"),
        ("1,b", 'not a number: give dx,dy,dx,dy,... such as "0.0,0.0,0.5,0.0"'),
        ("0,0,1", "holds 3 numbers, an odd count: give pairs"),
        ("0,2.001", r"offset 2\.001 is out of range: offsets are TESS pixels from -2\.0 to 2\.0"),
        ("nan,0", "offset nan is out of range"),
        (
            "0,0,0,0",
            r"dx\+0\.000_dy\+0\.000 is there more than once: offsets must differ by 0\.001",
        ),
        ("0.0004,0,-0.0004,0", r"dx\+0\.000_dy\+0\.000 is there more than once"),
    ],
)
def test_other_offsets_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_offsets(text)


def test_many_offsets_are_read_quickly():
    grid = np.arange(-1, 1, 0.02)
    text = ",".join(f"{x:.3f},{y:.3f}" for x in grid for y in grid)
    assert len(parse_offsets(text)) == 10_000
