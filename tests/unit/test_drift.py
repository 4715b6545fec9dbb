"""Drift tables, and the offsets that stand for many FFIs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from smallsky import ccd_frame, turned

from syndiff.errors import ConfigError
from syndiff.ffi.observation import Observation
from syndiff.plots import draw_drift
from syndiff.pointing.drift import find_drift, group_offsets
from syndiff.pointing.following import Candidate

TOLERANCE = 0.02


def seen(k, **moved):
    """An FFI of sector 20, camera 3, CCD 3, half an hour after another."""
    frame = turned(ccd_frame(20, 3, 3), **moved)
    name = f"tess{k:013d}-s0020-3-3-0165-s_ffic.fits"
    start = 1842 + k / 48
    dates = "2020-01-01T00:00:00", "2020-01-01T00:30:00"
    observation = Observation(
        Path(name), frame, "SPOC", 1, *dates, start, start + 1 / 48, 1425.6, 0, "electrons/s"
    )
    return Candidate(name, observation, "")


@pytest.fixture(scope="module")
def drift():
    candidates = [
        seen(0),
        seen(1, crpix=(0.005, -0.004)),
        seen(2, crpix=(0.1, 0.2)),
        seen(3, roll_arcsec=30),
        Candidate("lost.fits", None, "lost.fits: CTYPE1 is missing"),
        seen(4, crpix=(0.11, 0.19)),
        seen(5, crpix=(3, 0)),
        replace(seen(6), reason="DQUALITY 4 (COARSE_POINT)"),
        seen(7, crpix=(4, 0), roll_arcsec=30),
    ]
    frame = candidates[0].observation.frame
    return find_drift(candidates, frame, candidates[0].name, tolerance_px=TOLERANCE)


def test_every_ffi_has_its_row(drift):
    shifts = [row.shift for row in drift.rows]
    assert [shift is None for shift in shifts] == [0, 0, 0, 0, 1, 0, 0, 1, 0]
    assert (shifts[1].dx, shifts[1].dy) == pytest.approx((0.005, -0.004), abs=1e-6)
    assert abs(shifts[3].roll_arcsec) == pytest.approx(30, rel=0.05)
    assert [row.group for row in drift.rows] == [0, 0, 1, -1, -1, 1, -1, -1, -1]
    assert drift.rows[4].note == "lost.fits: CTYPE1 is missing"
    assert "use `follow`" in drift.rows[3].note
    assert "up to 3.00 px, a scene reaches 2 px" in drift.rows[6].note
    assert "COARSE_POINT" in drift.rows[7].note
    assert "a scene of its own" in drift.rows[8].note  # --follow would refuse it


def test_every_note_names_its_ffi_those_without_a_shift_first(drift):
    assert [(note.startswith("lost.fits"), "COARSE_POINT" in note) for note in drift.notes[:2]] == [
        (True, False),
        (False, True),
    ]
    assert len(drift.notes) == 5
    for note in drift.notes:
        assert sum(row.ffi in note for row in drift.rows) == 1


def test_offsets_are_written_as_the_command_takes_them(drift):
    assert drift.offsets == ((0.002, -0.002), (0.105, 0.195))
    assert drift.offset_array == "0.002,-0.002,0.105,0.195"
    for row in drift.rows:
        if row.group >= 0:
            assert row.worst_px <= TOLERANCE


def test_table_is_read_back(drift, tmp_path):
    path = tmp_path / "drift.ecsv"
    path.write_bytes(drift.table())
    table = Table.read(path)
    assert list(table["ffi"]) == [row.ffi for row in drift.rows]
    assert table["dx"].unit == "pix"
    assert table["dx"][2] == pytest.approx(0.1, abs=1e-6)
    assert np.isnan(table["dx"][4])
    assert table.meta["multi_offset_array"] == drift.offset_array
    assert table.meta["reference"] == drift.rows[0].ffi


def test_plot_is_a_picture(drift):
    assert draw_drift(drift).startswith(b"\x89PNG")


@given(
    points=st.lists(st.tuples(*[st.floats(-2.2, 2.2)] * 2, *[st.floats(0, 0.06)] * 2), max_size=40)
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_every_field_that_allows_it_is_near_its_offset(points):
    boxes = np.array([(x, x + w, y, y + h) for x, y, w, h in points]).reshape(-1, 4)
    offsets, groups = group_offsets(boxes, TOLERANCE)
    assert len(offsets) <= len(points)
    for box, group in zip(boxes, groups, strict=True):
        wide = max(box[1] - box[0], box[3] - box[2]) > 2 * TOLERANCE + 1e-9
        if group >= 0:
            # offsets are rounded to 0.001
            assert np.abs(box - np.repeat(offsets[group], 2)).max() <= TOLERANCE + 6e-4
            assert not wide
        else:
            assert wide or np.abs(box).max() > 2 - 1e-9


def test_as_few_offsets_as_there_are_clusters():
    rng = np.random.default_rng(1)
    centres = np.array([(0, 0), (0.1, 0.1), (0.3, -0.2), (-0.5, 0.4)])
    places = np.repeat(centres, 50, axis=0) + rng.uniform(-0.018, 0.018, (200, 2))
    boxes = np.repeat(places, 2, axis=1)
    offsets, groups = group_offsets(boxes, TOLERANCE)
    assert len(offsets) == 4
    assert (np.bincount(groups) == 50).all()


def test_nothing_known_gives_no_offsets():
    offsets, groups = group_offsets(np.full((2, 4), np.nan), TOLERANCE)
    assert offsets == ()
    assert list(groups) == [-1, -1]
    assert group_offsets(np.empty((0, 4)), TOLERANCE)[0] == ()


@pytest.mark.parametrize("tolerance", [0.0, -1.0, np.nan, 0.0009])
def test_tolerance_must_be_one(tolerance):
    with pytest.raises(ConfigError, match=r"tolerance .* px: give 0.001 or more"):
        find_drift([], ccd_frame(20, 3, 3), "a.fits", tolerance_px=tolerance)
