"""`syndiff difference` on FFIs whose stars are drawn in closed form."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from commands import DETECTOR, invoke, refused, template_path
from differencesky import NOISE, ROI, make_root, stars_of, write_image, write_later, write_scene
from finestars import SCALE

from syndiff.layout import Layout
from syndiff.masks import DataQuality
from syndiff.simulation.ffi import FfiConfig, example_cards

ZERO_POINT = 25 + 2.5 * np.log10(SCALE)


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """Data root, the reference FFI, and the stars; read them, don't write there."""
    root = tmp_path_factory.mktemp("difference") / "data"
    stars = stars_of()
    return root, make_root(root, stars), stars


def run(ffi, root, *options, template=None):
    """Run the command; returns the report's stage and the open image."""
    template = template or template_path(root, roi=ROI)
    result = invoke("difference", ffi, template, "--data-root", root, "--json", *options)
    stage = json.loads(result.stdout)["stages"][0]
    return stage, fits.open(io.BytesIO(Path(stage["products"][0]).read_bytes()))


@pytest.fixture(scope="module")
def subtracted(sky):
    """The reference FFI less its template: the report and the open image."""
    root, reference, _ = sky
    return run(reference, root)


def test_stars_are_gone_and_the_files_are_whole(sky, subtracted):
    root, reference, _ = sky
    stage, hdus = subtracted
    folder = template_path(root, roi=ROI).parent
    stem = f"syndiff_difference_{reference.stem}_1012-1032-1060-1080"
    assert [Path(p) for p in stage["products"]] == [
        folder / f"{stem}{end}" for end in (".fits", "_stars.ecsv", "_stars.png")
    ]
    assert [hdu.name for hdu in hdus[1:]] == [
        "DIFF",
        "UNCERT",
        "MODEL",
        "BACKGROUND",
        "DQ",
        "KERNEL",
    ]
    # The promises: 1 % of a star's flux, 2 % of its peak.
    assert stage["figures"]["aperture residual (worst)"] < 0.01
    assert stage["figures"]["peak residual (worst)"] < 0.02
    header = hdus[0].header
    assert header["ZPAB"] == pytest.approx(ZERO_POINT, abs=2e-3)
    assert header["SCATTER"] == pytest.approx(1, abs=0.1)
    assert header["PLACING"] == "template"
    assert header["UNCSRC"] == "FFI"
    assert header["KERNEL"] == "fitted"


def test_the_planes_add_up_to_the_ffi(sky, subtracted):
    _, reference, _ = sky
    _, hdus = subtracted
    whole = sum(hdus[name].data.astype(float) for name in ("DIFF", "MODEL", "BACKGROUND"))
    image = fits.getdata(reference, 1)[ROI.slices]
    # Rounding of float32 at 1e5 e-/s.
    np.testing.assert_allclose(whole, image, rtol=3e-7, atol=1e-4)
    sigma = fits.getdata(reference, 2)[ROI.slices]
    scale = hdus[0].header["SCALE"]
    np.testing.assert_allclose(hdus["UNCERT"].data, np.hypot(sigma, scale * NOISE), rtol=1e-5)
    # Straps are the detector's own, and light on them is right.
    assert not (hdus["DQ"].data & ~DataQuality.TESS_STRAP).any()


def test_the_header_has_the_ffis_own_wcs(sky, subtracted):
    _, reference, _ = sky
    _, hdus = subtracted
    ours, theirs = hdus["DIFF"].header, fits.getheader(reference, 1)
    assert ours["CRPIX1"] == theirs["CRPIX1"] - ROI.x0
    assert ours["CRPIX2"] == theirs["CRPIX2"] - ROI.y0
    assert ours["A_2_0"] == theirs["A_2_0"]
    assert ours["BUNIT"] == "electron/s"


def test_the_kernel_table_is_the_kernel(subtracted):
    _, hdus = subtracted
    table = hdus["KERNEL"]
    assert table.header["TERM00"] == "0,0"
    assert table.data["WEIGHT"][:, 0].sum() == pytest.approx(hdus[0].header["SCALE"])
    # Light that comes 0.8 * 0.04 + 0.2 * 0.1 px too far right is fetched from as far left.
    weights = table.data["WEIGHT"][:, 0] / hdus[0].header["SCALE"]
    assert weights @ table.data["DX"] == pytest.approx(-0.052, abs=0.005)
    assert weights @ table.data["DY"] == pytest.approx(0.014, abs=0.005)


def test_transients_come_back(sky, tmp_path):
    root, _, stars = sky
    mags = np.array([14.0, 16.0, 18.0])
    places = [(1020.3, 1040.2), (1045.8, 1050.1), (1030.1, 1070.6)]
    flux = 10 ** (-0.4 * (mags - 20.44))
    new = [(x, y, f) for (x, y), f in zip(places, flux, strict=True)]
    _, hdus = run(
        write_later(tmp_path, stars, transients=new), root, "--output", tmp_path / "d.fits"
    )
    for x, y, wanted in new:
        row, column = round(y) - ROI.y0, round(x) - ROI.x0
        box = np.s_[row - 2 : row + 3, column - 2 : column + 3]
        error = np.sqrt((hdus["UNCERT"].data[box] ** 2).sum())
        # 0.3 % of the light is beyond the box.
        assert hdus["DIFF"].data[box].sum() == pytest.approx(
            wanted, abs=3.5 * error + 4e-3 * wanted
        )


@pytest.mark.parametrize("pointing_px", [(0.41, -0.37), (-1.2, 0.8)])
def test_an_ffi_that_points_elsewhere_is_followed(sky, tmp_path, pointing_px):
    root, _, stars = sky
    ffi = write_later(tmp_path, stars, pointing_px=pointing_px)
    stage, hdus = run(ffi, root, "--output", tmp_path / "moved.fits")
    assert hdus[0].header["PLACING"] == "WCS"
    assert "sources moved to where the FFI's own WCS has them" in stage["notes"]
    assert stage["figures"]["aperture residual (worst)"] < 0.01
    assert stage["figures"]["peak residual (worst)"] < 0.02
    assert hdus[0].header["ZPAB"] == pytest.approx(ZERO_POINT, abs=2e-3)
    line = refused(
        *("difference", ffi, template_path(root, roi=ROI), "--data-root", root),
        *("--kernel", "none"),
    )
    assert "has another WCS than" in line
    assert "leave --kernel at its default" in line


def test_a_template_at_an_offset_is_taken_at_its_word(sky, tmp_path):
    root, _, stars = sky
    offset = (0.25, -0.5)
    invoke(
        *("downsample", 20, 3, 3, "--data-root", root, "--roi", ROI),
        *("--multi-offset-array", "0.25,-0.5", "--output-base", tmp_path),
    )
    # The image has moved, its WCS doesn't know.
    image = write_image(
        tmp_path, FfiConfig(DETECTOR, example_cards()), stars + np.array([*offset, 0])
    )
    (template,) = tmp_path.rglob("syndiff_template*.fits")
    stage, hdus = run(image, root, template=template)
    assert (hdus[0].header["DX_SHIFT"], hdus[0].header["DY_SHIFT"]) == offset
    table = hdus["KERNEL"].data
    assert table["WEIGHT"][:, 0] @ table["DX"] / SCALE == pytest.approx(-0.052, abs=0.005)
    assert stage["figures"]["peak residual (worst)"] < 0.02


@pytest.mark.parametrize(("oversample", "limit"), [(2, 0.02), (4, 0.02)])
def test_an_oversampled_template_needs_no_scene(sky, tmp_path, oversample, limit):
    root, reference, _ = sky
    invoke(
        *("downsample", 20, 3, 3, "--data-root", root, "--roi", ROI),
        *("--oversample", oversample, "--output-base", tmp_path),
    )
    (template,) = tmp_path.rglob("syndiff_template*.fits")
    stage, hdus = run(reference, tmp_path / "elsewhere", template=template)
    assert hdus[0].header["PLACING"] == "template"
    assert stage["figures"]["aperture residual (worst)"] < 0.01
    assert stage["figures"]["peak residual (worst)"] < limit
    assert hdus[0].header["ZPAB"] == pytest.approx(ZERO_POINT, abs=2e-3)
    # Samples end at the window's border, and a kernel reaches 3 px.
    assert np.isnan(hdus["DIFF"].data[:3]).all()
    assert np.isfinite(hdus["DIFF"].data[6:-6, 6:-6]).all()
    line = refused("difference", reference, template, "--kernel", "none")
    assert f"has {oversample} samples per pixel, they are subtracted through a kernel only" in line


def test_other_numbers_of_samples_are_refused(sky, tmp_path):
    root, reference, _ = sky
    invoke(
        *("downsample", 20, 3, 3, "--data-root", root, "--roi", ROI),
        *("--oversample", 3, "--output-base", tmp_path),
    )
    (template,) = tmp_path.rglob("syndiff_template*.fits")
    line = refused("difference", reference, template)
    assert "a template of 3 samples per pixel can't be convolved here" in line


def test_a_template_that_follows_the_ffi(sky, tmp_path):
    root, _, stars = sky
    ffi = write_later(tmp_path, stars, cadences=3, pointing_px=(0.3, -0.6))
    invoke(
        *("downsample", 20, 3, 3, "--data-root", root, "--roi", ROI),
        *("--follow", ffi, "--output-base", tmp_path),
    )
    (template,) = tmp_path.rglob("syndiff_template*.fits")
    stage, hdus = run(ffi, root, template=template)
    assert hdus[0].header["PLACING"] == "template"
    assert stage["figures"]["peak residual (worst)"] < 0.02
    table = hdus["KERNEL"].data
    assert table["WEIGHT"][:, 0] @ table["DX"] / SCALE == pytest.approx(-0.052, abs=0.005)
    _, plain = run(ffi, root, "--kernel", "none", template=template)
    assert plain[0].header["ZPAB"] == pytest.approx(ZERO_POINT, abs=0.1)


def test_a_template_that_the_ffis_stars_refined_is_taken_as_it_is(sky, tmp_path):
    root, _, stars = sky
    # The light stands elsewhere than the WCS says.
    ffi = write_later(tmp_path, stars + np.array([0.2, -0.15, 0]), cadences=5)
    invoke(
        *("downsample", 20, 3, 3, "--data-root", root, "--roi", ROI),
        *("--follow", ffi, "--refine", "--output-base", tmp_path),
    )
    (template,) = tmp_path.rglob("syndiff_template*.fits")
    stage, hdus = run(ffi, root, template=template)
    assert hdus[0].header["PLACING"] == "template"
    assert stage["figures"]["peak residual (worst)"] < 0.02
    # What the lopsided response looks like to a fit of shifts is in the template too.
    table = hdus["KERNEL"].data
    assert table["WEIGHT"][:, 0] @ table["DX"] / SCALE == pytest.approx(0, abs=0.02)
    assert table["WEIGHT"][:, 0] @ table["DY"] / SCALE == pytest.approx(0, abs=0.02)
    _, plain = run(ffi, root, "--kernel", "none", template=template)
    assert plain[0].header["PLACING"] == "template"


def test_without_a_kernel(sky, tmp_path):
    root, reference, _ = sky
    stage, hdus = run(
        reference,
        tmp_path / "nowhere",
        "--kernel",
        "none",
        "--output",
        tmp_path / "d.fits",
        template=template_path(root, roi=ROI),
    )
    assert hdus[0].header["KERNEL"] == "none"
    assert "KERNEL" not in [hdu.name for hdu in hdus[1:]]
    # The responses differ: that is what the kernel is for.
    assert stage["figures"]["peak residual (worst)"] > 0.02
    assert not any("no isolated star" in note for note in stage["notes"])


def test_tica_is_turned_into_electrons_per_second(sky, tmp_path):
    root, _, stars = sky
    config = replace(FfiConfig(DETECTOR, example_cards()), kind="TICA")
    stage, hdus = run(write_image(tmp_path, config, stars), root, "--output", tmp_path / "d.fits")
    assert hdus[0].header["UNCSRC"] == "estimated"
    assert hdus[0].header["ZPAB"] == pytest.approx(ZERO_POINT, abs=2e-3)
    assert hdus[0].header["SCATTER"] == pytest.approx(1, abs=0.15)
    assert any("has no uncertainty: it is estimated" in note for note in stage["notes"])


def test_compressed_ffi_without_uncertainty(sky, subtracted, tmp_path):
    """The noise is estimated, and pixels are rounded to a fraction of it: both are told."""
    root, reference, _ = sky
    with fits.open(reference) as hdus:
        tiled = fits.CompImageHDU(
            hdus[1].data, hdus[1].header, compression_type="RICE_1", quantize_level=16
        )
        fits.HDUList([hdus[0], tiled]).writeto(tmp_path / f"{reference.name}.fz")
    path = tmp_path / f"{reference.name}.fz"
    stage, hdus = run(path, root, "--output", tmp_path / "d.fits")
    assert hdus[0].header["UNCSRC"] == "estimated"
    assert hdus[0].header["ZPAB"] == pytest.approx(ZERO_POINT, abs=2e-3)
    assert hdus[0].header["SCATTER"] == pytest.approx(1, abs=0.15)
    _, expected = subtracted
    clean = (hdus["DQ"].data == 0) & (expected["DQ"].data == 0)
    off = (hdus["DIFF"].data - expected["DIFF"].data)[clean] / expected["UNCERT"].data[clean]
    assert np.std(off) < 0.1
    assert any("has no uncertainty: it is estimated" in note for note in stage["notes"])
    assert any("rounded to steps of up to" in note for note in stage["notes"])


def test_stars_of_ones_own(sky, tmp_path):
    root, reference, stars = sky
    from syndiff.ffi.observation import read_observation

    frame = read_observation(reference).frame
    bright = stars[np.argsort(-stars[:, 2])[:30]]
    ra, dec = frame.pixel_to_sky(bright[:, 0], bright[:, 1])
    mine = Table({"ra": ra, "dec": dec, "T": 20.44 - 2.5 * np.log10(SCALE * bright[:, 2])})
    for name, value in (("pmra", 0.0), ("pmdec", 0.0), ("epoch", 2020.0)):
        mine[name] = value
    mine.write(tmp_path / "mine.csv")
    stage, _ = run(
        reference, root, "--stars", tmp_path / "mine.csv", "--output", tmp_path / "d.fits"
    )
    table = Table.read(stage["products"][1], format="ascii.ecsv")
    assert 0 < len(table) <= 30
    for row in table:
        assert np.hypot(bright[:, 0] - row["x"], bright[:, 1] - row["y"]).min() < 2e-3
    assert table.meta["ffi"] == reference.name
    alone = table[table["isolated"]]
    wanted = [bright[np.hypot(*(bright[:, :2] - [r["x"], r["y"]]).T).argmin(), 2] for r in alone]
    mags = 20.44 - 2.5 * np.log10(SCALE * np.array(wanted))
    # Neighbours to a tenth of the height, and the crowd below.
    assert np.abs(alone["mag"] - mags).max() < 0.2


def test_a_catalogue_without_a_star_here_is_told_of(sky, tmp_path):
    root, reference, _ = sky
    elsewhere = {"ra": [10.0], "dec": [-20.0], "T": [9.0], "pmra": [0.0], "pmdec": [0.0]}
    Table({**elsewhere, "epoch": [2016.0]}).write(tmp_path / "elsewhere.csv")
    stage, _ = run(
        *(reference, root, "--kernel", "none", "--stars", tmp_path / "elsewhere.csv"),
        *("--output", tmp_path / "d.fits"),
    )
    assert stage["counts"]["stars measured"] == 0
    assert any("no isolated star without flags" in note for note in stage["notes"])


def test_saturated_pixels_are_flagged(sky, tmp_path):
    root, _, stars = sky
    image = write_later(tmp_path, stars, cadences=2)
    with fits.open(image, mode="update") as hdus:
        hdus[1].data[1050:1056, 1030] = 1.1e5
        hdus[1].header["DQUALITY"] = 2052
    stage, hdus = run(image, root, "--output", tmp_path / "d.fits")
    flagged = (hdus["DQ"].data & 512) != 0
    # One pixel beside, three along the column.
    rows, columns = np.nonzero(flagged)
    assert (rows.min(), rows.max()) == (1050 - 3 - ROI.y0, 1055 + 3 - ROI.y0)
    assert (columns.min(), columns.max()) == (1029 - ROI.x0, 1031 - ROI.x0)
    assert hdus[0].header["ZPAB"] == pytest.approx(ZERO_POINT, abs=2e-3)
    assert any("DQUALITY 2052 (COARSE_POINT,STRAY_LIGHT)" in note for note in stage["notes"])


def test_stars_put_in_place_of_saturated_ones_count(sky, tmp_path):
    root, reference, stars = sky
    given = template_path(root, roi=ROI)
    saturated, put = DataQuality.SATURATED_IN_PS1, DataQuality.REPLACED_STAR
    tables = []
    for k, bits in enumerate((saturated, saturated | put)):
        with fits.open(given) as hdus:
            for x, y in stars[np.argsort(-stars[:, 2])[:30], :2]:
                row, column = round(y) - ROI.y0, round(x) - ROI.x0
                if row > 0 and column > 0:
                    hdus["DQ"].data[row - 1 : row + 2, column - 1 : column + 2] |= int(bits)
            hdus.writeto(tmp_path / f"template{k}.fits", checksum=True)
        stage, _ = run(
            *(reference, root, "--output", tmp_path / f"d{k}.fits"),
            template=tmp_path / f"template{k}.fits",
        )
        tables.append(Table.read(stage["products"][1], format="ascii.ecsv"))
    lost, back = tables
    # Of the 30 some lie in the window, and away from its border.
    assert lost["flagged"].sum() >= 5
    assert not back["flagged"].any()


def test_a_scene_that_is_not_there(sky, tmp_path):
    root, reference, _ = sky
    line = refused(
        *("difference", reference, template_path(root, roi=ROI)),
        *("--data-root", tmp_path / "nowhere"),
    )
    assert "a kernel acts on the scene that" in line
    assert "pass --kernel none for scale and background only" in line


def test_a_scene_of_other_light(sky, tmp_path):
    root, reference, stars = sky
    copy = shutil.copytree(root, tmp_path / "data")
    write_scene(Layout.under(str(copy), DETECTOR), stars[::2], digest="fedcba9876543210")
    line = refused("difference", reference, template_path(copy, roi=ROI), "--data-root", copy)
    assert "was sampled from another scene (SCENEDIG" in line
    assert "make the template again with `syndiff downsample 20 3 3`" in line


def test_a_template_of_another_ccd(sky, tmp_path):
    root, reference, _ = sky
    other = shutil.copy(template_path(root, roi=ROI), tmp_path / "other.fits")
    with fits.open(other, mode="update") as hdus:
        hdus["FLUX_SUM"].header["CAMERA"] = 1
    with fits.open(other, mode="update", checksum=True) as hdus:
        hdus["FLUX_SUM"].add_checksum()
    line = refused("difference", reference, other, "--data-root", root, code=2)
    assert "is of sector 20 camera 1 ccd 3, the FFI of sector 20 camera 3 ccd 3" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kernel", "wide"), "kernel 'wide' is unknown: give 'fitted' or 'none'"),
        (("--output", "d.png"), "output 'd.png' must end in .fits"),
        (("--stars", "nothing.csv"), "star catalogue nothing.csv is not there"),
    ],
)
def test_bad_options(sky, options, message):
    root, reference, _ = sky
    template = template_path(root, roi=ROI)
    line = refused("difference", reference, template, "--data-root", root, *options, code=2)
    assert message in line
