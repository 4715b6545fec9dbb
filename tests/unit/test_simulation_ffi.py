"""Simulated FFIs: layouts, light, pointing, and headers from anywhere."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from syndiff.errors import ConfigError, MissingInputError, ObservationError
from syndiff.ffi.observation import read_observation
from syndiff.layout import Detector
from syndiff.simulation.ffi import (
    E_PER_S_PER_FLUX,
    FfiConfig,
    Transient,
    example_cards,
    example_wcs,
    ffi_name,
    header_cards,
    shifted,
    tesswcs_cards,
    wcs_of,
    write_ffi,
)
from syndiff.simulation.sky import Cap, SkyConfig, TestStar, make_sources

DETECTOR = Detector(20, 3, 3)
QUIET = FfiConfig(DETECTOR, example_cards(), noise=False, sky_e_per_s=0.0)
FAR = Cap((0.0, 0.0, -1.0), 0.1)


def sky_at(x, y, **more):
    ra, dec = example_wcs().all_pix2world(x, y, 0)
    star = TestStar(float(ra), float(dec), 12.0, **more)
    return make_sources(SkyConfig(0.0, 0.0, stars=(star,)), FAR)


def stamp_of(path, x, y, hdu=1):
    image = fits.getdata(path, hdu).astype(float)[y - 12 : y + 13, x - 12 : x + 13]
    rows, columns = np.mgrid[y - 12 : y + 13, x - 12 : x + 13]
    total = image.sum()
    return total, (image * columns).sum() / total, (image * rows).sum() / total


def test_spoc_layout(tmp_path):
    path = write_ffi(sky_at(1000.0, 1000.0), FfiConfig(DETECTOR, example_cards()), tmp_path, seed=1)
    assert path.name == ffi_name(FfiConfig(DETECTOR, example_cards()))
    with fits.open(path) as hdus:
        assert [hdu.shape for hdu in hdus] == [(), (2078, 2136), (2078, 2136)]
        header = hdus[1].header
        assert hdus[0].header["SECTOR"] == 20
        assert header["EXTNAME"] == "CAMERA.CCD 3.3 cal"
        assert hdus[1].data.dtype == np.dtype(">f4")
        assert header["CD1_1"] == example_wcs().wcs.cd[0, 0]
        # Collateral pixels see no light.
        assert abs(np.median(hdus[1].data[:, :44])) < 1
    observation = read_observation(path)
    assert observation.frame.detector == DETECTOR
    assert observation.kind == "SPOC"
    assert observation.exposure_s == pytest.approx(1425.6)


def test_noise_is_what_the_uncertainty_says(tmp_path):
    noisy, quiet = (FfiConfig(DETECTOR, example_cards(), noise=on) for on in (True, False))
    noisy_path = write_ffi(sky_at(1000.0, 1000.0), noisy, tmp_path / "a", seed=1)
    quiet_path = write_ffi(sky_at(1000.0, 1000.0), quiet, tmp_path / "b", seed=1)
    pull = (fits.getdata(noisy_path, 1) - fits.getdata(quiet_path, 1)) / fits.getdata(noisy_path, 2)
    # 4.4 million pixels: 3e-4 is one standard deviation.
    assert pull.std() == pytest.approx(1, abs=2e-3)
    assert pull.mean() == pytest.approx(0, abs=3e-3)


def test_star_has_its_magnitude_and_place(tmp_path):
    sources = sky_at(1000.3, 900.4)
    config = replace(QUIET, psf_sigma_px=80.0)
    total, x, y = stamp_of(write_ffi(sources, config, tmp_path, seed=1), 1000, 900)
    # float32 pixels; the WCS's curvature moves centroids by 2e-5 px.
    assert total == pytest.approx(10 ** (-0.4 * (sources.tess_mag[0] - 20.44)), rel=1e-5)
    assert total == pytest.approx(E_PER_S_PER_FLUX * sources.composite_flux[0], rel=1e-5)
    assert (x, y) == pytest.approx((1000.3, 900.4), abs=2e-4)


def test_scale_is_that_of_a_real_ffi():
    # Sector 20, camera 3, CCD 3: 0.02149 e-/s per unit of flux was measured.
    assert pytest.approx(0.02149, rel=0.01) == E_PER_S_PER_FLUX


def test_pointing_moves_stars_and_the_header_knows(tmp_path):
    config = replace(QUIET, psf_sigma_px=80.0, pointing_px=(0.4, -0.3), jitter_px=(0.2, 0.1))
    path = write_ffi(sky_at(1000.3, 900.4), config, tmp_path, seed=1)
    _, x, y = stamp_of(path, 1000, 900)
    assert (x, y) == pytest.approx((1000.9, 900.2), abs=2e-4)
    sources = sky_at(1000.3, 900.4)
    wcs = wcs_of(fits.getheader(path, 1).tostring(sep="\n"))
    expected = wcs.all_world2pix(sources.ra[0], sources.dec[0], 0)
    assert [float(v) for v in expected] == pytest.approx([1000.7, 900.1], abs=1e-3)


def test_stars_have_moved_since_ps1(tmp_path):
    # 30 arcsec a year to the north for 7.3 years.
    sources = sky_at(1000.0, 900.0, pm_mas_per_year=(0.0, 30000.0))
    path = write_ffi(sources, replace(QUIET, psf_sigma_px=80.0), tmp_path, seed=1)
    ra, dec = sources.at(QUIET.year)
    expected = [float(v) for v in example_wcs().all_world2pix(ra[0], dec[0], 0)]
    assert np.hypot(expected[0] - 1000, expected[1] - 900) > 8
    _, x, y = stamp_of(path, round(expected[0]), round(expected[1]))
    assert (x, y) == pytest.approx(expected, abs=2e-3)


def test_transient_shines_only_where_it_is(tmp_path):
    ra, dec = (float(v) for v in example_wcs().all_pix2world(1200.0, 700.0, 0))
    config = replace(QUIET, psf_sigma_px=80.0, transients=(Transient(ra, dec, 13.0),))
    path = write_ffi(sky_at(1000.3, 900.4), config, tmp_path, seed=1)
    total, x, y = stamp_of(path, 1200, 700)
    assert total == pytest.approx(10 ** (-0.4 * (13.0 - 20.44)), rel=1e-5)
    assert (x, y) == pytest.approx((1200.0, 700.0), abs=2e-4)


def test_tica_layout(tmp_path):
    config = replace(QUIET, kind="TICA", is_gzipped=True)
    path = write_ffi(sky_at(1000.3, 900.4), config, tmp_path, seed=1)
    assert path.name.startswith("hlsp_tica_tess_ffi_s0020-o1-")
    assert path.name.endswith("-cam3-ccd3_tess_v01_img.fits.gz")
    observation = read_observation(path)
    assert (observation.kind, observation.bunit) == ("TICA", "electrons")
    spoc = write_ffi(sky_at(1000.3, 900.4), QUIET, tmp_path, seed=1)
    ratio = stamp_of(path, 1000, 900, hdu=0)[0] / stamp_of(spoc, 1000, 900)[0]
    assert ratio == pytest.approx(1425.6, rel=1e-6)


@pytest.mark.parametrize(("sector", "cadence"), [(1, 1800), (26, 1800), (27, 600), (56, 200)])
def test_cadence_follows_the_sector(sector, cadence):
    assert FfiConfig(Detector(sector, 1, 1), example_cards()).cadence_s == cadence


def test_later_ffi_has_another_name():
    later = shifted(QUIET, cadences=3, pointing_px=(0.1, 0.2))
    assert ffi_name(later) != ffi_name(QUIET)
    assert (later.start_time - QUIET.start_time).total_seconds() == 5400
    assert later.pointing_px == (0.1, 0.2)


def test_given_start_is_in_the_name():
    config = replace(QUIET, start="2020-01-10T12:34:56")
    assert ffi_name(config) == "tess2020010123456-s0020-3-3-0000-s_ffic.fits"


def test_wcs_comes_from_any_header(tmp_path):
    lines = tmp_path / "lines.hdr"
    lines.write_text(example_cards())
    blocks = tmp_path / "blocks.hdr"
    blocks.write_text(fits.Header.fromstring(example_cards(), sep="\n").tostring())
    ffi = write_ffi(sky_at(1000.3, 900.4), replace(QUIET, is_gzipped=True), tmp_path, seed=1)
    expected = example_wcs().all_pix2world(100, 200, 0)
    for path in (lines, blocks, ffi):
        sky = wcs_of(header_cards(path)).all_pix2world(100, 200, 0)
        np.testing.assert_allclose(sky, expected, rtol=1e-14)


def test_tesswcs_knows_the_example():
    pytest.importorskip("tesswcs")
    x, y = np.array([44.0, 1000.0, 2091.0]), np.array([0.0, 1000.0, 2047.0])
    ours, theirs = example_wcs(), wcs_of(tesswcs_cards(DETECTOR))
    np.testing.assert_allclose(
        ours.all_pix2world(x, y, 0), theirs.all_pix2world(x, y, 0), rtol=1e-13
    )


def test_unknown_sector_is_refused():
    pytest.importorskip("tesswcs")
    with pytest.raises(ConfigError, match=r"has no WCS of sector 999: give a header file"):
        tesswcs_cards(Detector(999, 1, 1))


def test_missing_tesswcs_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tesswcs", None)
    with pytest.raises(MissingInputError, match=r"needs the package tesswcs: pip install"):
        tesswcs_cards(DETECTOR)


def test_missing_header_file_is_named(tmp_path):
    with pytest.raises(ObservationError, match=r"header file .*nowhere.hdr can't be read"):
        header_cards(tmp_path / "nowhere.hdr")


def test_header_without_wcs_is_refused(tmp_path):
    (tmp_path / "bare.hdr").write_text("SECTOR  =                   20\n")
    with pytest.raises(ObservationError, match=r"bare.hdr has no celestial WCS"):
        header_cards(tmp_path / "bare.hdr")


def test_broken_fits_file_is_refused(tmp_path):
    (tmp_path / "broken.fits.gz").write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(ObservationError, match=r"broken.fits.gz can't be read as FITS"):
        header_cards(tmp_path / "broken.fits.gz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "QLP"}, r"kind 'QLP' is unknown: give 'SPOC' or 'TICA'"),
        ({"sky_e_per_s": -1.0}, r"sky_e_per_s -1.0 must not be negative"),
        ({"start": "tomorrow"}, r"start 'tomorrow' is no date: give ISO 8601"),
    ],
)
def test_bad_ffi_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        FfiConfig(DETECTOR, example_cards(), **arguments)
