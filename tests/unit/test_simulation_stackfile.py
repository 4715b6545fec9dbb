"""Simulated stack files: what an independent reader (astropy) makes of them."""

import numpy as np
import pytest
from astropy.io import fits

from syndiff.simulation.stack_writer import (
    POGSON,
    StackHeader,
    choose_scaling,
    encode,
    write_stack_plane,
)
from syndiff.sky.tessellation import Skycell

CELL = Skycell(
    name="skycell.0001.012",
    nx=70,
    ny=41,
    crval=(216.0, 76.0),
    crpix=(-1000.5, 200.0),
    cdelt=(6.94444461259988e-05, 6.94444461259988e-05),
    pc=(-1.0, 0.0, 0.0, 1.0),
)
HEADER = StackHeader(CELL, "i", (45.0, 45.0, 30.0), (1,), 56201.5, 1.02, 1.2e6, 4363018)
NOISE = 80.0


@pytest.fixture
def counts():
    rng = np.random.default_rng(2)
    values = rng.normal(0, NOISE, (CELL.ny, CELL.nx))
    values[20, 30:36] = [1e3, 1e4, 1e5, 1e6, 3e6, 4e6]
    values[:3] = np.nan
    return values


def written(path, counts, *, clip_brightest=False):
    limits = float(np.nanmin(counts)), float(np.nanmax(counts))
    scaling = choose_scaling(limits, noise=NOISE, offset=3.5, clip_brightest=clip_brightest)
    write_stack_plane(path, encode(counts.copy(), scaling), HEADER, scaling)
    return scaling


def test_astropy_reads_back_the_counts(counts, tmp_path):
    path = tmp_path / "a" / "stack.fits"
    scaling = written(path, counts)
    values = fits.getdata(path, 1)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(values), np.isnan(counts))
    linear = scaling.boffset + 2 * scaling.bsoften * np.sinh(values.astype(float) / POGSON)
    # Half a step of the scaling, relative to bright pixels and to the softening for faint ones;
    # float32 adds 1e-6.
    half = 0.5 * scaling.bscale / POGSON
    limit = half * np.hypot(2 * scaling.bsoften, counts - scaling.boffset) * 1.01 + 1e-3
    assert np.nanmax(np.abs(linear - counts) / limit) < 1


def test_header_is_that_of_the_archive(counts, tmp_path):
    path = tmp_path / "stack.fits"
    scaling = written(path, counts)
    with fits.open(path, disable_image_compression=True) as hdus:
        primary, header = hdus[0].header, hdus[1].header
    assert (primary["NAXIS"], header["XTENSION"], header["ZCMPTYPE"]) == (0, "BINTABLE", "RICE_1")
    assert (header["ZTILE1"], header["ZTILE2"], header["ZVAL1"], header["ZVAL2"]) == (70, 1, 32, 2)
    assert header["BLANK"] == header["ZBLANK"] == 32767
    stored = tuple(header[key] for key in ("BZERO", "BSCALE", "BOFFSET", "BSOFTEN"))
    assert stored == (scaling.bzero, scaling.bscale, scaling.boffset, scaling.bsoften)
    assert header["EXPTIME"] == 120.0  # the rejected input counts
    assert (header["SCL_0000"] > 0, header["SCL_0001"]) == (True, 0.0)
    assert header["PC001001"] == -1.0
    assert header["CDELT1"] > 0
    assert not {"RADESYS", "EQUINOX"} & set(header)
    assert header["FPA.ZP"] == 25.0
    assert header["FPA.FOCUS"].strip() == "NaN"
    assert header["FPA.FILTERID"].strip() == "i.00000"
    assert header["CRPIX1"] == -1000.5


def test_zero_flux_falls_on_a_whole_number(tmp_path):
    counts = np.zeros((CELL.ny, CELL.nx))
    scaling = written(tmp_path / "stack.fits", counts)
    values = fits.getdata(tmp_path / "stack.fits", 1).astype(float)
    linear = scaling.boffset + 2 * scaling.bsoften * np.sinh(values / POGSON)
    # float32 of astropy's values is all that is left; the step is 3e-2 counts.
    np.testing.assert_allclose(linear, 0, atol=1e-4)


def test_brightest_pixel_can_be_lost(counts, tmp_path):
    counts[20, 35] = 1e9
    written(tmp_path / "kept.fits", counts)
    written(tmp_path / "lost.fits", counts, clip_brightest=True)
    assert not np.isnan(fits.getdata(tmp_path / "kept.fits", 1)[20, 35])
    lost = np.isnan(fits.getdata(tmp_path / "lost.fits", 1))
    assert lost[20, 35]
    assert lost[3:].sum() == 1


def test_mask_keeps_all_sixteen_bits(tmp_path):
    mask = np.random.default_rng(4).integers(0, 65536, (CELL.ny, CELL.nx)).astype(np.uint16)
    path = tmp_path / "mask.fits"
    write_stack_plane(path, mask, HEADER)
    np.testing.assert_array_equal(fits.getdata(path, 1), mask)
    with fits.open(path, disable_image_compression=True) as hdus:
        header = hdus[1].header
    assert (header["ZCMPTYPE"], header["BZERO"], header["BSCALE"]) == ("GZIP_1", 32768.0, 1.0)
    names = {header[f"MSKNAM{i:02d}"]: header[f"MSKVAL{i:02d}"] for i in range(header["MSKNUM"])}
    assert (names["STARCORE"], names["SAT"], names["BLANK"]) == (4096, 32, 8)
    assert "BOFFSET" not in header


def test_files_are_whole_fits_blocks(counts, tmp_path):
    written(tmp_path / "stack.fits", counts)
    assert (tmp_path / "stack.fits").stat().st_size % 2880 == 0
    with fits.open(tmp_path / "stack.fits", disable_image_compression=True) as hdus:
        hdus.verify("exception")
        assert len(hdus) == 2
