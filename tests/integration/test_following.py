"""Templates that follow FFIs, oversampled ones, and drift: what commands take and refuse."""

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from commands import DETECTOR, PLANES, ROI, invoke, refused, report, same_planes

from syndiff.layout import Layout
from syndiff.window import Window

NAME = "tess{:013d}-s0020-3-3-0165-s_ffic.fits"


def ffi(sky, folder, number, *, hdu=1, remove=(), **cards):
    """A copy of the simulation's FFI under another name, its header changed."""
    path = folder / NAME.format(number)
    shutil.copyfile(sky.ffi, path)
    with fits.open(path, mode="update", memmap=True) as hdus:
        for key in remove:
            del hdus[hdu].header[key]
        for key, change in cards.items():
            header = hdus[hdu].header
            header[key] = change(header[key]) if callable(change) else change
    return path


def moved(by):
    return lambda value: value + by


@pytest.fixture(scope="module")
def ffis(small_sky, tmp_path_factory):
    """FFIs by what is odd about them."""
    folder = tmp_path_factory.mktemp("ffis")
    return {
        "near": ffi(small_sky, folder, 1, CRPIX1=moved(0.25), CRPIX2=moved(-0.4)),
        "other": ffi(small_sky, folder, 2, CRPIX1=moved(-0.1)),
        "far": ffi(small_sky, folder, 3, CRPIX1=moved(2.7)),
        "no WCS": ffi(small_sky, folder, 4, remove=("CTYPE1",)),
        "coarse": ffi(small_sky, folder, 5, DQUALITY=4),
        "stray light": ffi(small_sky, folder, 6, DQUALITY=2048, CRPIX2=moved(0.2)),
    }


def follow(root, *paths, roi=ROI, more=()):
    """The arguments that follow FFIs."""
    return ("downsample", 20, 3, 3, "--data-root", root, "--roi", roi, "--follow", *paths, *more)


def followed_path(root, path, **which):
    layout = Layout.under(str(root), DETECTOR)
    return str(layout.template_following(path.name, **{"roi": ROI, **which}))


def planes(path):
    with fits.open(path) as hdus:
        return {name: np.array(hdus[name].data) for name in PLANES}


def test_every_way_to_name_ffis_makes_the_same(root, ffis):
    one, two = ffis["near"], ffis["other"]
    wanted = [followed_path(root, path) for path in (one, two)]
    where = ("--data-root", root, "--roi", ROI)
    ways = (
        ("downsample", *where, "--follow", one, two, "20", "3", "3"),
        ("downsample", 20, 3, 3, "--follow", one, "--follow", two, *where),
        ("downsample", 20, 3, 3, f"--follow={one}", two, *where),
        ("downsample", 20, 3, 3, *where, "--follow", one, two),
    )
    for k, way in enumerate(ways):
        stage = report(*way)["stages"]["downsample"]
        assert stage["products"] == wanted
        assert stage["skipped"] == (k > 0)


def test_headers_tell_what_is_followed(root, ffis):
    invoke(*follow(root, ffis["near"]))
    path = followed_path(root, ffis["near"])
    header, own = fits.getheader(path), fits.getheader(ffis["near"], 1)
    assert header["FOLLOWS"] == ffis["near"].name
    assert header["FFI"] != header["FOLLOWS"]
    assert header["FFIBEG"] == own["DATE-OBS"]
    assert (header["DX_SHIFT"], header["DY_SHIFT"]) == pytest.approx((0.25, -0.4), abs=1e-8)
    assert header["SHIFTMAX"] == pytest.approx(0.4, abs=1e-8)
    assert header["CRPIX1"] == pytest.approx(own["CRPIX1"] - ROI.x0, abs=1e-9)
    assert header["CD1_2"] == own["CD1_2"]


def test_a_changed_ffi_is_followed_again(root, small_sky, tmp_path):
    path = ffi(small_sky, tmp_path, 8, CRPIX1=moved(0.1))
    invoke(*follow(root, path))
    assert report(*follow(root, path))["stages"]["downsample"]["skipped"]
    ffi(small_sky, tmp_path, 8, CRPIX1=moved(0.11))
    assert not report(*follow(root, path))["stages"]["downsample"]["skipped"]
    assert fits.getheader(followed_path(root, path))["DX_SHIFT"] == pytest.approx(0.11)


def test_a_part_is_the_part_of_the_whole(root, ffis):
    part = Window(1002, 1001, 1005, 1004)
    invoke(*follow(root, ffis["near"]))
    invoke(*follow(root, ffis["near"], roi=part))
    whole = planes(followed_path(root, ffis["near"]))
    cut = {name: plane[0:3, 1:4] for name, plane in whole.items()}
    assert same_planes(planes(followed_path(root, ffis["near"], roi=part)), cut)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("far", "by up to 2.70 px from the scene's reference FFI, a scene reaches 2 px"),
        ("no WCS", "CTYPE1 is missing, expected 'RA---TAN-SIP'"),
        ("coarse", "DQUALITY 4 (COARSE_POINT): its WCS may not give its true pointing"),
    ],
)
def test_what_can_not_be_followed_is_told_and_the_rest_made(root, ffis, odd, message):
    done = invoke(*follow(root, ffis[odd], ffis["near"]), code=1)
    assert message in done.stdout
    assert "FFIs not followed 1" in done.stdout
    assert "1 of the FFIs can't be followed" in done.stderr
    assert ffis[odd].name in done.stderr
    assert planes(followed_path(root, ffis["near"]))
    partial = report(*follow(root, ffis[odd], ffis["near"], more=("--allow-partial",)), code=3)
    assert partial["partial"]
    assert partial["stages"]["downsample"]["counts"]["FFIs not followed"] == 1
    line = refused(*follow(root, ffis[odd]))
    assert "no FFI can be followed" in line
    assert message in line


def test_flags_that_say_nothing_of_the_pointing_are_told(root, ffis):
    done = invoke(*follow(root, ffis["stray light"]))
    assert "DQUALITY 2048 (STRAY_LIGHT)" in done.stdout
    assert fits.getheader(followed_path(root, ffis["stray light"]))["FFIQUAL"] == 2048


def test_stars_that_do_not_tell_a_shift_are_no_guess(root, ffis):
    """Four by four pixels."""
    line = refused(*follow(root, ffis["near"], more=("--refine",)))
    assert "no square of 32 px has stars that measure a shift" in line


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--multi-offset-array", "0.1,0.1"), "--follow and --multi-offset-array are both given"),
        (("--oversample", "9"), "oversample 9: give 1 to 8"),
        (("--oversample", "0"), "--oversample: 0 is too few: give 1 or more"),
    ],
)
def test_usage(root, ffis, more, message):
    assert message in refused(*follow(root, ffis["near"], more=more), code=2)


def test_refining_needs_something_to_follow(root):
    line = refused("downsample", 20, 3, 3, "--data-root", root, "--refine", code=2)
    assert "--refine is for FFIs that are followed" in line


def test_twice_the_same_ffi(root, ffis):
    line = refused(*follow(root, ffis["near"], ffis["near"]), code=2)
    assert "is given more than once" in line


def test_another_detector(root, small_sky, tmp_path):
    path = tmp_path / "tess0000000000009-s0020-3-4-0165-s_ffic.fits"
    ffi(small_sky, tmp_path, 9, CCD=4).rename(path)
    fits.setval(path, "CCD", value=4, ext=0)
    line = refused(*follow(root, path), code=2)
    assert "is of sector 20 camera 3 ccd 4, not of sector 20 camera 3 ccd 3" in line


def test_an_oversampled_full_frame_is_too_much(small_sky, root):
    line = refused("downsample", "--data-root", root, "--oversample", 8, code=2)
    assert "284 million samples, 80 million are allowed: give a smaller --roi" in line


def test_the_pipeline_oversamples_too(small_sky, root):
    where = ("--data-root", root, "--roi", ROI, "--archive", small_sky.archive, "--cores", 1)
    more = ("--oversample", 2, "--multi-offset-array", "0.25,0.0")
    invoke("pipeline", small_sky.ffi, small_sky.catalogue, *where, *more)
    path = str(Layout.under(str(root), DETECTOR).template(0.25, 0.0, roi=ROI, oversample=2))
    assert path.endswith("_1001-1001-1005-1005_os2.fits")
    assert {plane.shape for plane in planes(path).values()} == {(8, 8)}
    header = fits.getheader(path, "FLUX_SUM")
    window = tuple(header[key] for key in ("XMIN", "YMIN", "XMAX", "YMAX", "OVERSAMP"))
    assert window == (1001, 1001, 1005, 1005, 2)


def test_drift_is_tabulated(root, ffis, tmp_path):
    names = ("near", "other", "far", "no WCS", "stray light")
    paths = [ffis[name] for name in names]
    done = invoke("drift", *paths, "--data-root", root, "--output", tmp_path)
    assert '--multi-offset-array "' in done.stdout
    assert "CTYPE1 is missing" in done.stdout
    assert f"{ffis['far'].name}: the sky is displaced by up to 2.70 px" in done.stdout
    table = Table.read(tmp_path / "syndiff_drift_s0020_3_3.ecsv")
    np.testing.assert_allclose(table["dx"], [0.25, -0.1, 2.7, np.nan, 0], atol=1e-6)
    assert list(table["flags"])[-1] == "STRAY_LIGHT"
    assert list(table["group"] >= 0) == [True, True, False, False, True]
    # against the data root's reference, whose FFI is not among these
    assert table.meta["reference"] == fits.getheader(next(iter(root.rglob("*dx*.fits"))))["FFI"]
    assert (tmp_path / "syndiff_drift_s0020_3_3.png").read_bytes().startswith(b"\x89PNG")
    offsets = table.meta["multi_offset_array"]
    where = ("--data-root", root, "--roi", ROI)
    invoke("downsample", 20, 3, 3, *where, "--multi-offset-array", offsets)


def test_drift_against_a_given_or_the_first_ffi(ffis, tmp_path):
    first = json.loads(
        invoke("drift", ffis["near"], ffis["other"], "--data-root", tmp_path, "--json").stdout
    )
    assert first["reference"] == ffis["near"].name
    assert first["rows"][1]["shift"]["dx"] == pytest.approx(-0.35, abs=1e-6)
    assert first["products"][0].startswith(str(tmp_path / "drift" / "sector_0020"))
    given = json.loads(
        invoke(
            *("drift", ffis["near"], "--reference", ffis["other"]),
            *("--data-root", tmp_path, "--json"),
        ).stdout
    )
    assert given["rows"][0]["shift"]["dx"] == pytest.approx(0.35, abs=1e-6)


def test_a_reference_that_may_look_elsewhere(small_sky, ffis, tmp_path):
    where = ("--data-root", tmp_path)
    line = refused("drift", ffis["near"], "--reference", ffis["coarse"], *where)
    assert "DQUALITY 4 (COARSE_POINT): its WCS may not give its true pointing" in line
    assert "give another --reference" in line
    assert not list(tmp_path.iterdir())
    catalogue = ("--skycell-wcs-csv", small_sky.catalogue, "--roi", ROI)
    done = invoke("mapping", ffis["coarse"], *catalogue, *where)
    assert "DQUALITY 4 (COARSE_POINT): its WCS may not give its true pointing" in done.stdout
    elsewhere = ("--data-root", tmp_path / "near")
    assert "its WCS may" not in invoke("mapping", ffis["near"], *catalogue, *elsewhere).stdout


def test_drift_of_nothing_that_can_be_read(ffis, tmp_path):
    line = refused("drift", ffis["no WCS"], "--data-root", tmp_path)
    assert "none of 1 FFIs has a pointing that can be used" in line
