"""Configurations: what they refuse, and digests that mean the same."""

import math

import numpy as np
import pytest

from syndiff.config import (
    BAND_WEIGHTS,
    BANDS,
    MAX_OFFSET_PX,
    ReductionConfig,
    SceneConfig,
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
    assert digest(ReductionConfig().to_dict()) != digest(ReductionConfig(0).to_dict())
    assert len(digest([])) == 16


def test_digests_stay_the_same_from_version_to_version():
    """An atlas is found again by them."""
    assert digest({"a": 1, "b": "x"}) == "ecf9e98ec0641e23"


def test_digests_refuse_numbers_that_are_none():
    with pytest.raises(ValueError, match="Out of range float values"):
        digest([float("nan")])


def test_defaults_are_those_of_the_documentation():
    assert ReductionConfig().to_dict() == {
        "ignore_mask_bits": 4096,
        "detection": "matched",
        "threshold_sigma": 3.0,
    }
    assert SceneConfig().to_dict() == {
        "psf_sigma_px": 40.0,
        "background": "matched",
        "diffuse_arcsec": 0.0,
        "psf": "gaussian",
        "stars": "none",
        "star_scale_mag": None,
    }


@pytest.mark.parametrize(
    ("background", "detection"), [("matched", "matched"), ("none", "matched"), ("sep", "sep")]
)
def test_background_tells_which_reduction_is_needed(background, detection):
    assert SceneConfig(background=background).detection == detection


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ignore_mask_bits": -1}, "ignore_mask_bits -1 is not 16 bits: give 0 to 65535"),
        ({"ignore_mask_bits": 65536}, "ignore_mask_bits 65536 is not 16 bits"),
        ({"detection": "none"}, "detection 'none' is unknown: give 'matched' or 'sep'"),
        ({"threshold_sigma": 0.0}, r"threshold_sigma 0\.0 must be above 0"),
        ({"threshold_sigma": math.nan}, "threshold_sigma nan must be above 0 and finite"),
        ({"threshold_sigma": math.inf}, "threshold_sigma inf must be above 0 and finite"),
    ],
)
def test_reductions_that_can_not_be_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        ReductionConfig(**values)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_widths_that_can_not_be_are_refused(sigma):
    with pytest.raises(
        ConfigError, match=r"`psf_sigma` .* must be above 0 and finite \(PS1 pixels\)"
    ):
        SceneConfig(sigma)


def test_unknown_backgrounds_are_refused():
    with pytest.raises(ConfigError, match="background 'mean' is unknown: give 'matched', 'sep' or"):
        SceneConfig(background="mean")


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


def test_a_star_scale_is_a_difference_of_magnitudes():
    with pytest.raises(ConfigError, match=r"`star_scale` 25\.0 is no AB less TESS magnitude"):
        SceneConfig(star_scale_mag=25.0)
