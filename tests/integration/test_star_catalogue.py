"""A star catalogue through the commands: files, headers, resuming, and what is wrong with it."""

import gzip
import io
import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table, vstack
from commands import DETECTOR, ROI, invoke, read_header, refused, report, template_path
from tapserver import tap_service

from syndiff.layout import Layout
from syndiff.masks import DataQuality
from syndiff.simulation.ffi import wcs_of

SHARED = (20, 3, 3, "--roi", ROI)


@pytest.fixture(scope="module")
def catalogue(small_sky, tmp_path_factory):
    """The sky's stars and a bright one that the archive knows nothing of, in the middle of ROI."""
    stars = Table.read(small_sky.star_catalogue, format="ascii.ecsv")
    ra, dec = wcs_of(small_sky.config.ffi.wcs_cards).all_pix2world(1003.0, 1003.0, 0)
    stars.add_row([10**9, float(ra), float(dec), 0.0, 0.0, 6.0, 6.4, 5.4])
    path = tmp_path_factory.mktemp("stars") / "stars.ecsv"
    stars.write(path, format="ascii.ecsv")
    return path


def process(root, *options):
    return report("process", *SHARED, "--data-root", root, "--cores", 1, *options)


def test_a_catalogue_puts_its_stars_into_the_template(root, catalogue):
    options = ("--stars", catalogue, "--star-scale", 0.39)
    assert process(root, *options)["stages"]["process"]["counts"]["tiles rendered"] > 0
    layout = Layout.under(str(root), DETECTOR)
    listed = Table.read(str(layout.replaced_stars), format="ascii.ecsv")
    star = listed[listed["identity"] == 10**9][0]
    assert (star["x"], star["y"]) == pytest.approx((1003.0, 1003.0), abs=1e-3)
    # T of G = 6, BP-RP = 1 is 5.48243
    assert star["flux"] == pytest.approx(10 ** (0.4 * (25 - 5.48243 - 0.39)), rel=1e-4)
    invoke("downsample", *SHARED, "--data-root", root)
    header = read_header(root)
    assert (header["STARSRC"], header["STARZP"]) == ("file", 0.39)
    assert header["NSTARREP"] >= 1
    with fits.open(template_path(root)) as hdus:
        flux, quality = hdus["FLUX_SUM"].data, hdus["DQ"].data
    assert quality[2, 2] & DataQuality.REPLACED_STAR
    assert quality[2, 2] & DataQuality.TESS_SATURATED
    # a fifth of the star in its middle pixel, at sigma 40
    assert 0.2 * star["flux"] < flux[2, 2] < 0.6 * star["flux"]


def test_the_same_stars_are_not_rendered_again_and_others_are(root, catalogue):
    options = ("--stars", catalogue, "--star-scale", 0.39)
    process(root, *options)
    assert process(root, *options)["stages"]["process"]["skipped"]
    fewer = Table.read(catalogue, format="ascii.ecsv")[:-1]
    fewer.write(root / "fewer.ecsv", format="ascii.ecsv")
    again = process(root, "--stars", root / "fewer.ecsv", "--star-scale", 0.39)
    assert not again["stages"]["process"]["skipped"]
    metadata = json.loads(Layout.under(str(root), DETECTOR).cell_metadata.read())
    assert 10**9 not in [star["identity"] for star in metadata["stars"]["replaced"]]


def test_what_is_wrong_with_a_user_s_table_changes_no_light(root, catalogue):
    """Rows twice, gaps spelt as numbers, galaxies, packed text: the stars of the clean table."""
    process(root, "--stars", catalogue, "--star-scale", 0.39)
    stored = Layout.under(str(root), DETECTOR).star_catalogue.read()
    table = Table.read(catalogue, format="ascii.ecsv").filled(-999.0)
    table["ref_epoch"], table["objType"] = 2016.0, np.full(len(table), "STAR", "U8")
    table = vstack([table, table[-40:], table[-1:], table[-2:], table[-3:]])
    table["phot_g_mean_mag"][-2:], table["ra"][-4:-2] = [99.999, 0.0], -999.0
    table["objType"][-5:-4], table["source_id"][-6:] = "EXTENDED", np.arange(6) + 10**10
    text = io.StringIO()
    table.write(text, format="ascii.csv")
    dirty = root / "dirty.csv.gz"
    dirty.write_bytes(gzip.compress(text.getvalue().encode()))
    result = invoke(
        *("process", *SHARED, "--data-root", root, "--cores", 1),
        *("--stars", dirty, "--star-scale", 0.39),
    )
    assert Layout.under(str(root), DETECTOR).star_catalogue.read() == stored
    told = " ".join(result.stderr.split())
    assert "2 without a position" in told
    assert "2 without a magnitude" in told


def test_a_table_of_another_place_is_told(root, catalogue):
    table = Table.read(catalogue, format="ascii.ecsv")
    table["dec"] -= 60.0
    elsewhere, damaged = root / "elsewhere.ecsv", root / "damaged.ecsv.gz"
    table.write(elsewhere, format="ascii.ecsv")
    message = refused("process", *SHARED, "--data-root", root, "--stars", elsewhere, code=2)
    assert "elsewhere.ecsv is in the field: its RA runs from" in message
    damaged.write_bytes(gzip.compress(elsewhere.read_bytes())[:-3000])
    message = refused("process", *SHARED, "--data-root", root, "--stars", damaged, code=2)
    assert "its gzip is damaged or cut short" in message


def test_stars_from_a_service_are_the_same_as_from_a_file(root, catalogue):
    table = Table.read(catalogue, format="ascii.ecsv")
    table["ref_epoch"] = 2016.0
    options = ("--stars", catalogue, "--star-scale", 0.39)
    process(root, *options)
    layout = Layout.under(str(root), DETECTOR)
    stored = layout.star_catalogue.read()
    with tap_service(table) as service:
        options = ("--stars", "gaia", "--gaia-url", service.url, "--star-scale", 0.39)
        process(root, *options)
        asked = service.requests
        process(root, *options, "--overwrite")
        assert service.requests == asked
    assert layout.star_catalogue.read() == stored


def test_too_few_stars_to_measure_on(root, catalogue):
    message = refused("process", *SHARED, "--data-root", root, "--cores", 1, "--stars", catalogue)
    assert "isolated, unsaturated catalogue stars" in message
    assert "--star-scale" in message


def test_a_catalogue_that_is_not_there(root, small_sky):
    missing = root / "nothing.fits"
    message = refused("process", *SHARED, "--data-root", root, "--stars", missing, code=2)
    assert "nothing.fits is not there: give a file, 'gaia' or 'none'" in message
    message = refused(
        *("pipeline", small_sky.ffi, "--data-root", root, "--archive", small_sky.archive),
        *("--stars", missing),
        code=2,
    )
    assert "is not there" in message
