"""TESScut cubes: each row is a frame of a region, with the FFI's pixels."""

import numpy as np
import pytest
from astropy.io import fits
from realdata import real

from syndiff.errors import ConfigError, ObservationError
from syndiff.ffi.observation import estimate_uncertainty
from syndiff.frames.cutout import read_cutout
from syndiff.layout import Detector
from syndiff.window import Window

N, NY, NX = 5, 6, 8
SIDES = {"column": 101, "row": 51}


def cube(path, *, kind="SPOC", changes=(), columns=None, **place):
    """Write a cube as astrocut does; its first pixel's 1-based place is `column`, `row`."""
    rng = np.random.default_rng(3)
    where = SIDES | place
    flux = rng.normal(120, 3, (N, NY, NX)).astype(np.float32)
    flux[2, 1, 1] = np.nan
    error = np.full_like(flux, 2.0) if kind == "SPOC" else np.zeros_like(flux)
    unit = "e-/s" if kind == "SPOC" else "e-"
    pixels = {"format": f"{NY * NX}E", "dim": f"({NX}, {NY})", "unit": unit}
    table = [
        fits.Column("TIME", "D", array=1683.0 + np.arange(N) * 1800 / 86400),
        fits.Column("TIMECORR", "E", array=np.full(N, 0.004)),
        fits.Column("FLUX", array=flux, **pixels),
        fits.Column("FLUX_ERR", array=error, **pixels),
        fits.Column("QUALITY", "J", array=np.array([0, 32, 0, 1, 0])),
        fits.Column("FFI_FILE", "38A", array=np.array([f"tess{n:013d}-s0014" for n in range(N)])),
    ]
    table = [one for one in table if columns is None or one.name in columns]
    hdu = fits.BinTableHDU.from_columns(table, name="PIXELS")
    number = next((n for n, one in enumerate(table, 1) if one.name == "FLUX"), 0)
    hdu.header[f"1CRV{number}P"], hdu.header[f"2CRV{number}P"] = where["column"], where["row"]
    primary = fits.PrimaryHDU()
    primary.header.update(SECTOR=14, CAMERA=2, CCD=3, FFI_TYPE=kind)
    aperture = fits.ImageHDU(np.ones((NY, NX), np.int32), name="APERTURE")
    aperture.header.update(
        CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=10.0, CRVAL2=20.0, CRPIX1=3.0, CRPIX2=4.0
    )
    aperture.header.update(CDELT1=-0.0058, CDELT2=0.0058, CUNIT1="deg", CUNIT2="deg")
    for key, value in changes:
        for header in (primary.header, hdu.header):
            if value is None:
                header.remove(key, ignore_missing=True)
            else:
                header[key] = value
    fits.HDUList([primary, hdu, aperture]).writeto(path, checksum=True)
    return flux


def test_rows_are_frames_of_the_region(tmp_path):
    path = tmp_path / "cube.fits"
    flux = cube(path)
    found = read_cutout(path)
    assert (len(found), found.detector, found.window) == (
        N,
        Detector(14, 2, 3),
        Window(100, 50, 108, 56),
    )
    frame = found.frame(2)
    np.testing.assert_array_equal(frame.pixels.image, flux[2].astype(float))
    assert frame.pixels.dead[1, 1] > 0
    assert np.nanmax(frame.pixels.uncertainty) == 2.0
    assert not frame.pixels.is_estimated
    assert frame.time.tmid == pytest.approx(1683.0 + 2 * 1800 / 86400, abs=1e-9)
    assert frame.time.tstop - frame.time.tstart == pytest.approx(1800 / 86400)
    assert frame.time.exposure_s == pytest.approx(1425.6)
    assert (frame.time.scale, frame.time.barycorr_d) == ("BTJD", pytest.approx(0.004))
    assert frame.name == "tess0000000000002-s0014"
    assert frame.frame is None
    assert [found.frame(n).quality for n in range(N)] == [0, 32, 0, 1, 0]


def test_a_part_of_the_cube_is_the_same_pixels_and_sky(tmp_path):
    path = tmp_path / "cube.fits"
    flux = cube(path)
    found = read_cutout(path)
    part = found.frame(0, Window(103, 52, 106, 55))
    np.testing.assert_array_equal(part.pixels.image, flux[0, 2:5, 3:6])
    whole = found.frame(0).cut_wcs.pixel_to_world_values(3, 2)
    np.testing.assert_allclose(part.cut_wcs.pixel_to_world_values(0, 0), whole, rtol=1e-12)
    with pytest.raises(ConfigError, match=r"holds the FFI pixels 100,50,108,56 .* not all of 99,"):
        found.frame(0, Window(99, 52, 106, 55))


def test_what_lies_beside_the_science_pixels_is_left_out(tmp_path):
    path = tmp_path / "cube.fits"
    flux = cube(path, column=43, row=-1)
    found = read_cutout(path)
    assert found.window == Window(44, 0, 50, 4)
    np.testing.assert_array_equal(found.frame(0).pixels.image, flux[0, 2:, 2:])
    centre = found.frame(0).cut_wcs.pixel_to_world_values(0, 1)
    np.testing.assert_allclose(centre, (10.0, 20.0), atol=1e-9)


def test_tica_counts_become_rates_with_estimated_noise(tmp_path):
    path = tmp_path / "cube.fits"
    flux = cube(path, kind="TICA")
    frame = read_cutout(path).frame(1)
    np.testing.assert_allclose(frame.pixels.image, flux[1] / 1425.6, rtol=1e-6)
    expected = estimate_uncertainty(flux[1], 1 / 1425.6, 1425.6) / 1425.6
    np.testing.assert_allclose(frame.pixels.uncertainty, expected, rtol=1e-5)
    assert frame.pixels.is_estimated
    assert (frame.quality, frame.time.scale) == (128, "TJD")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"columns": {"TIME", "FLUX", "FLUX_ERR"}},
            "is no TESScut cube, it has no table with TIME",
        ),
        ({"changes": [("1CRV3P", None)]}, r"doesn't tell where on the CCD it lies \(1CRV3P"),
        ({"changes": [("CAMERA", 7)]}, "camera 7 is not a TESS camera"),
        ({"changes": [("SECTOR", None)]}, "SECTOR is missing"),
        ({"column": 3000}, "holds no science pixels"),
    ],
)
def test_what_is_no_cube_is_told(tmp_path, options, message):
    path = tmp_path / "cube.fits"
    cube(path, **options)
    with pytest.raises(ObservationError, match=message):
        read_cutout(path)


def test_other_files_and_none_are_told(tmp_path):
    path = tmp_path / "text.fits"
    path.write_text("no FITS file at all")
    with pytest.raises(ObservationError, match=r"text.fits can't be read"):
        read_cutout(path)
    with pytest.raises(ObservationError, match="there is no such file"):
        read_cutout(tmp_path / "nowhere.fits")


def test_the_place_of_a_real_cube_is_where_its_stars_are():
    """Its WCS and that of the CCD by tesswcs, which errs by 0.1 px, agree on its first pixel."""
    tesswcs = pytest.importorskip("tesswcs")
    found = read_cutout(real("tesscut/tess-s0001-4-2_84.291190_-80.469170_6x6_astrocut.fits"))
    assert (len(found), found.detector) == (50, Detector(1, 4, 2))
    sky = found.wcs.all_pix2world([0.0], [0.0], 0)
    x, y = tesswcs.WCS.from_sector(1, 4, 2).all_world2pix(*sky, 0)
    assert (x[0], y[0]) == pytest.approx((found.window.x0, found.window.y0), abs=0.3)
    frame = found.frame(0)
    assert frame.time.exposure_s == pytest.approx(1425.6, abs=0.1)
    assert frame.time.barycorr_d == pytest.approx(7.55e-4, abs=1e-6)
    assert np.isfinite(frame.pixels.image).all()
