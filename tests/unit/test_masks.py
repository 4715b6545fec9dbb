"""Mask bits by number and by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.errors import ConfigError
from syndiff.masks import DataQuality, StackMask, format_bits, parse_bits


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 4096),
        ("12,SAT", 4096 | 32),
        (" starcore , 5 ", 4096 | 32),
        ("", 0),
        (" , ", 0),
        ("0,15", 1 | 32768),
        ("BURNTOOL,CROSSTALK", 128 | 2048),
        ("CONV.BAD,conv.poor", 8192 | 16384),
        ("12,12,STARCORE", 4096),
    ],
)
def test_bits_are_read(text, value):
    assert parse_bits(text) == value


@pytest.mark.parametrize("text", ["16", "-1", "1.5", "SATURATED", "12;5", "0x10"])
def test_unknown_bits_are_refused(text):
    with pytest.raises(ConfigError, match=r"unknown PS1 mask bit '.*': give bit numbers 0 to 15"):
        parse_bits(text)
    with pytest.raises(ConfigError, match=r"DETECTOR, FLAT, .*, BURNTOOL, "):
        parse_bits(f"12,{text}")


@given(st.integers(0, 0xFFFF))
def test_names_stand_for_their_bits(value):
    assert parse_bits(format_bits(value)) == value


@pytest.mark.parametrize("mask", [StackMask, DataQuality])
def test_bits_are_single_and_different(mask):
    values = [bit.value for bit in mask]
    assert all(value.bit_count() == 1 for value in values)
    assert len(set(values)) == len(mask.__members__)


def test_flags_fit_the_planes_that_hold_them():
    """16 bits in PS1's masks, 8 in the scene's flags; TESS's own are in templates only."""
    assert sum(StackMask) == 0xFFFF
    assert max(bit for bit in DataQuality if not bit.name.startswith("TESS_")) <= 255
