"""Stars that PS1 saturates and stars that move, through the command, against the truth.

Noise, lost cores, spikes and halos, a catalogue with Gaia's errors, templates at the FFI's epoch.
"""

import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from rendered import check_alike

from benchmarks.stars import bright_plan, residuals, template
from syndiff.layout import Detector, Layout
from syndiff.masks import DataQuality
from syndiff.simulation import simulate

pytestmark = pytest.mark.full

MAGS = (8.0, 12.0)


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    # 5 px apart, skycells of 5 arcmin: as little as holds four stars in both projections
    plan = bright_plan(MAGS, spacing_px=6.0, cell_px=1200)
    return simulate(plan, tmp_path_factory.mktemp("bright"))


@pytest.fixture(scope="module")
def made(sky):
    """Planes of the template with the catalogue, and the root that it lies in."""
    root = sky.directory / "with"
    # few stars for a scale in so small a sky: the true one is given
    options = ("--stars", str(sky.star_catalogue), "--star-scale", "0.39")
    return template(sky, root, *options), root


def test_saturated_stars_are_whole_and_in_place(sky, made):
    for star in residuals(sky, made[0], MAGS):
        # 0.6 % of the relation with Gaia's magnitudes and 0.5 % of theirs, three sigmas; wings
        assert abs(star.flux) < 0.03, star
        assert star.worst < 0.03, star
        # 0.04 mag of the given scale
        assert star.uncertainty == pytest.approx(0.037, abs=0.008)


def test_without_a_catalogue_they_lack_light_and_lag_behind(sky):
    plain = template(sky, sky.directory / "without")
    found = residuals(sky, plain, MAGS)
    assert all(star.flux < -0.8 for star in found if star.tmag == 8.0)
    assert not (plain["DQ"] & (DataQuality.REPLACED_STAR | DataQuality.TESS_SATURATED)).any()
    assert plain["HEADER"]["STARSRC"] == "none"


def test_what_was_replaced_is_listed_flagged_and_in_the_header(sky, made):
    planes, root = made
    layout = Layout.under(str(root), Detector(20, 3, 3))
    table = Table.read(str(layout.replaced_stars), format="ascii.ecsv")
    header = planes["HEADER"]
    assert (header["STARSRC"], header["STARZP"]) == ("file", pytest.approx(0.39))
    assert header["STAREPOC"] == pytest.approx(2020.03, abs=0.01)
    bright = table[table["tmag"] < 12.5]
    assert len(bright) == 4
    assert set(bright["reason"]) == {"saturated"}
    assert header["NSTARREP"] >= 4
    field = sky.config.field
    for star in bright:
        bits = planes["DQ"][round(star["y"]) - field.y0, round(star["x"]) - field.x0]
        assert bits & DataQuality.REPLACED_STAR
        assert bool(bits & DataQuality.HIGH_PROPER_MOTION) == (star["shift_arcsec"] > 0.4)
    # 430 mas a year from PS1 to 2020
    assert np.sort(bright["shift_arcsec"])[-1] == pytest.approx(3.15, abs=0.1)


def test_a_part_of_it_is_the_same(sky, made):
    """A region of its own data root, of fewer skycells, with two workers."""
    part = sky.config.field.grown(-4)
    root = sky.directory / "part"
    words = [sys.executable, "-m", "syndiff", "pipeline", sky.ffi, sky.catalogue, "--archive"]
    words += [sky.archive, "--data-root", root, "--roi", part, "--cores", 2]
    words += ["--stars", sky.star_catalogue, "--star-scale", 0.39]
    subprocess.run([str(w) for w in words], check=True, capture_output=True)
    place = Layout.under(str(root), Detector(20, 3, 3)).template(0.0, 0.0, roi=part)
    inner = np.s_[4:-4, 4:-4]
    with fits.open(str(place)) as hdus:
        names = ("FLUX_SUM", "COUNT", "MASK", "UNCERT", "COVERAGE", "DQ")
        part = {name: np.array(hdus[name].data) for name in names}
    check_alike(part, {name: made[0][name][inner] for name in names})
