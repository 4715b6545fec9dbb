"""`syndiff lightcurve` on FFIs whose stars are drawn in closed form."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from commands import invoke, refused
from differencesky import write_later

import syndiff
from syndiff.masks import FrameFlag
from syndiff.simulation.ffi import example_wcs

PLACE = (1036.4, 1055.8)
FLUX = {1: 0.0, 2: 200.0, 3: 200.0, 4: 0.0}


@pytest.fixture(scope="module")
def target():
    ra, dec = (float(v) for v in example_wcs().all_pix2world(*PLACE, 0))
    return f"{ra:.7f},{dec:.7f}"


@pytest.fixture(scope="module")
def ffis(starry, tmp_path_factory):
    """Four later FFIs, pointed elsewhere; the second and third hold something new."""
    _, _, stars = starry
    folder = tmp_path_factory.mktemp("ffis")
    for k, flux in FLUX.items():
        write_later(
            folder,
            stars,
            cadences=k,
            pointing_px=(0.1 * k, -0.05 * k),
            seed=k,
            transients=[(*PLACE, flux)],
        )
    return folder


@pytest.fixture(scope="module")
def root(starry, tmp_path_factory):
    """The starry data root; light curves are the only thing that is written there."""
    return starry[0]


def run(target, ffis, root, *options):
    base = ("--ffis", ffis, "--data-root", root, "--cores", 1, "--size", 48, "--stars", "none")
    return json.loads(invoke("lightcurve", target, *base, "--json", *options).stdout)


@pytest.fixture(scope="module")
def report(target, ffis, root):
    return run(target, ffis, root, "--name", "SN 1", "--bin", "1h", "--keep-images")


def product(report, ending):
    return next(Path(p) for p in report["products"] if p.endswith(ending))


def test_the_table_holds_every_frame_and_the_flux_that_was_put_in(report):
    table = Table.read(product(report, "SN_1.ecsv"))
    assert len(table) == len(FLUX)
    flux, true = np.array(table["flux"]), np.array(list(FLUX.values()))
    # The scene's record says sigma 40, its stars are 4 % wider: so much of the flux errs.
    np.testing.assert_allclose(flux, true, atol=4, rtol=0.03)
    np.testing.assert_allclose(table["flux_ujy"] / table["flux"], 0.363078 / 0.0215, rtol=5e-3)
    seen = true > 0
    assert np.isfinite(table["mag_ab"][seen]).all()
    assert np.isnan(table["mag_ab"][~seen]).all()
    np.testing.assert_allclose((table["mag_ab"] - table["mag_tess"])[seen], 0.4)
    np.testing.assert_allclose(np.diff(table["bjd_tdb"]), 1 / 48, rtol=1e-3)
    # TDB is 69.2 s ahead of UTC; 2020 January, ecliptic pole: light comes 3 minutes early or late.
    late = table["bjd_tdb"] - 2400000.5 - table["mjd"]
    assert (np.abs(late * 86400 - 69.2) < 499).all()
    assert (table["quality"] == 0).all()
    assert table.meta["sectors"][0]["frames"] == 4
    assert table.meta["quality_bits"]["Asteroid"] == FrameFlag.Asteroid


def test_the_fits_file_is_what_lightkurve_takes_for_a_light_curve_of_tess(report):
    with fits.open(product(report, "SN_1.fits")) as hdus:
        primary, curve = hdus[0].header, hdus[1]
        # As lightkurve.io.detect tells them.
        assert primary["TELESCOP"].lower() == "tess"
        assert "lightcurve" in primary["CREATOR"].lower()
        assert primary["ORIGIN"] == "syndiff"
        assert {"TIME", "FLUX", "FLUX_ERR", "QUALITY"} <= set(curve.columns.names)
        assert curve.columns["FLUX"].unit == "e-/s"
        assert curve.header["BJDREFI"] == 2457000
        assert curve.header["TIMESYS"] == "TDB"
        assert np.isfinite(curve.data["TIME"]).all()
        assert hdus[2].name == "BINNED_1H"


def test_the_cube_is_a_target_pixel_file(report):
    with fits.open(product(report, "_differences.fits.gz")) as hdus:
        assert "targetpixel" in hdus[0].header["CREATOR"]
        flux = hdus["PIXELS"].data["FLUX"]
        assert flux.shape == (4, 48, 48)
        assert hdus["PIXELS"].columns.names.index("FLUX") == 4
        assert hdus["PIXELS"].header["1CRV5P"] == 1012 + 1
        peak = np.unravel_index(np.nanargmax(flux[1]), flux[1].shape)
        assert np.hypot(peak[1] + 1012 - PLACE[0], peak[0] + 1032 - PLACE[1]) < 1.2


def test_bins_hold_the_frames_within_them(report):
    table = Table.read(product(report, "_1h.ecsv"))
    assert table["frames"].sum() == len(FLUX)
    assert (np.diff(np.floor((table["bjd_tdb"] - 2457000) * 24)) >= 1).all()


def test_a_second_run_measures_nothing_again(target, ffis, root, report):
    rows = {path: path.stat().st_mtime_ns for path in Path(root).rglob("*.row")}
    assert len(rows) == len(FLUX)
    first = min(rows)
    first.write_bytes(first.read_bytes()[:-3])
    again = run(target, ffis, root, "--name", "SN 1", "--bin", "1h", "--keep-images")
    changed = {p for p in Path(root).rglob("*.row") if p.stat().st_mtime_ns != rows[p]}
    # The one that was cut off, as if the run had been stopped in it.
    assert changed == {first}
    assert again == report


def test_a_quiet_part_is_taken_off_and_told(target, ffis, root, report):
    table = Table.read(product(report, "SN_1.ecsv"))
    date = f"{(table['bjd_tdb'][0] + table['bjd_tdb'][1]) / 2:.4f}"
    less = run(target, ffis, root, "--name", "quiet", "--keep-images", "--quiet-before", date)
    told = less["sectors"][0]
    assert told["baseline_frames"] == 1
    assert told["baseline"] == pytest.approx(table["flux"][0], abs=1e-5)
    again = Table.read(product(less, "quiet.ecsv"))
    np.testing.assert_allclose(again["flux"], table["flux"] - table["flux"][0], atol=1e-9)


def test_a_field_gives_the_same_curve(starry, target, ffis, report):
    root, reference, _ = starry
    ra, dec = (float(v) for v in target.split(","))
    field = syndiff.open(reference, data_root=root, cores=1).around((ra, dec), size=48)
    curve = field.light_curve(ffis, (ra, dec), name="SN 1")
    told = Table.read(product(report, "SN_1.ecsv"))
    np.testing.assert_allclose(curve.table["flux"].value, told["flux"])
    series = curve.to_timeseries()
    assert series.time.scale == "tdb"
    assert len(series) == 4
    assert "4 frames, 0 of them flagged" in repr(curve)
    assert len(curve.plot().axes) == 11


def test_what_cannot_be_measured_is_told(target, ffis, root, tmp_path):
    base = ("--data-root", root, "--cores", 1, "--size", 48)
    assert "holds no FFI" in refused("lightcurve", target, "--ffis", tmp_path, *base, code=2)
    assert "none of the FFIs" in refused(
        "lightcurve", target, "--ffis", ffis, *base, "--sector", 21, code=2
    )
    assert "is not on sector 20" in refused("lightcurve", "10,10", "--ffis", ffis, *base, code=2)
    assert "is no width" in refused(
        "lightcurve", target, "--ffis", ffis, *base, "--bin", "soon", code=2
    )
