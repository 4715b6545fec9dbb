"""What users can tell a run, checked before any work."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from syndiff.errors import ConfigError
from syndiff.layout import Detector
from syndiff.masks import StackMask
from syndiff.settings import Settings
from syndiff.storage.place import Place
from syndiff.window import Window

DETECTOR = Detector(20, 3, 3)


def test_defaults_are_those_of_the_documentation():
    settings = Settings()
    assert settings.data_root == "data"
    assert (settings.cores, settings.jobs) == (8, 60)
    assert settings.ignore_mask_bits == ("STARCORE",)
    assert (settings.psf_sigma, settings.background) == (40.0, "matched")
    assert settings.offsets == ((0.0, 0.0),)
    assert settings.archive.startswith("https://")
    optional = ["mapping", "atlas", "convolved", "templates", "catalogue", "scheduler", "roi"]
    assert all(getattr(settings, name) is None for name in [*optional, "target", "limit"])


def test_what_products_depend_on_is_told_as_it_always_was():
    """Other keys or values, and whatever was made before counts as made with other settings."""
    assert Settings().reduction.to_dict() == {
        "ignore_mask_bits": 4096,
        "detection": "matched",
        "threshold_sigma": 3.0,
    }
    assert Settings().scene("unused").to_dict() == {
        "psf_sigma_px": 40.0,
        "background": "matched",
        "diffuse_arcsec": 0.0,
        "psf": "gaussian",
        "stars": "none",
        "star_scale_mag": None,
    }
    measured = Settings(psf="prf", stars="a/b.csv", star_scale=0.4, psf_sigma=50.0).scene("0a")
    assert measured.to_dict() == {
        "prf_digest": "0a",
        "background": "matched",
        "diffuse_arcsec": 0.0,
        "psf": "prf",
        "stars": "file",
        "star_scale_mag": 0.4,
    }


def test_bits_and_background_tell_which_reduction_is_needed():
    assert Settings(ignore_mask_bits="SAT,0", background="sep").reduction.to_dict() == {
        "ignore_mask_bits": 33,
        "detection": "sep",
        "threshold_sigma": 3.0,
    }
    assert Settings(ignore_mask_bits="", background="none").reduction.detection == "matched"


def test_places_are_handed_on(tmp_path):
    settings = Settings(data_root=str(tmp_path), templates="s3://bucket/t")
    layout = settings.layout(DETECTOR)
    assert str(layout.templates) == f"s3://bucket/t/{DETECTOR.folder}"
    assert str(layout.mapping) == f"{tmp_path}/mapping_output/{DETECTOR.folder}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"offsets": "1"}, "an odd count"),
        ({"offsets": "0,3"}, r"`offsets`: offset 3\.0 is out of range"),
        ({"ignore_mask_bits": "99"}, "unknown PS1 mask bit '99'"),
        (
            {"background": "mean"},
            r"`background`: 'mean' is unknown: give 'matched', 'sep'",
        ),
        (
            {"diffuse": 5.0},
            r"`diffuse` 5\.0 is out of range: give 0 \(none\) or a width of 8",
        ),
        ({"diffuse": float("nan")}, r"`diffuse`: nan is not finite"),
        ({"diffuse": 60.0, "background": "none"}, r"`diffuse` 60\.0 with `background` 'none'"),
        ({"psf_sigma": -1.0}, r"`psf_sigma` -1\.0 must be above 0"),
        ({"psf_sigma": 0.0}, r"`psf_sigma` 0\.0 must be above 0"),
        ({"psf_sigma": float("inf")}, "`psf_sigma`: inf is not finite"),
        ({"star_scale": 25.0}, r"`star_scale` 25\.0 is no AB less TESS magnitude"),
        ({"kernel": "sharp"}, "`kernel`: 'sharp' is unknown: give 'fitted' or 'none'"),
        ({"jobs": 0}, "`jobs`: 0 is too few: give 1 or more"),
        ({"cores": -2}, "`cores`: -2 is too few: give 1 or more"),
        ({"size": 0, "target": "1,2"}, "`size`: 0 is too few: give 1 or more"),
        ({"limit": 0}, "`limit`: 0 is too few: give 1 or more"),
        ({"oversample": 0}, "`oversample`: 0 is too few"),
        ({"oversample": 9}, "`oversample` 9: give 1 to 8"),
        ({"refine": True}, "`refine` is for FFIs that are followed: give them with `follow`"),
        ({"follow": ("a",), "offsets": "0,1"}, "`follow` and `offsets` are both given"),
        ({"roi": "1,2,3"}, "region of interest '1,2,3' is not x0,y0,x1,y1"),
        ({"roi": "5,5,5,6"}, "`roi`: window 5,5,5,6 holds no pixel"),
        ({"roi": (1, 2, 3)}, r"`roi`: region of interest \(1, 2, 3\) is not x0, y0, x1, y1"),
        ({"roi": (0.5, 0, 4, 4)}, r"`roi`: region of interest \(0\.5, 0, 4, 4\) is not"),
        ({"roi": "0,0,4,4", "target": (1, 2)}, "`roi` and `target` are both given"),
        ({"size": 32}, "`size` 32 is the side of a square around `target`: give that too"),
        ({"target": "10,here"}, "`target`: target '10,here' is not RA,DEC"),
        ({"target": (10, 95)}, r"`target`: target \(10, 95\) is not RA,DEC"),
        ({"offsets": [(0, 0, 0)]}, r"`offsets`: \[\(0, 0, 0\)\] holds no pairs"),
        ({"offsets": []}, "`offsets`: there is no offset"),
        ({"cores": "4"}, "`cores`: '4' is no whole number"),
        ({"cores": True}, "`cores`: True is no whole number"),
        ({"cores": 2.0}, r"`cores`: 2\.0 is no whole number"),
        ({"psf_sigma": "40"}, "`psf_sigma`: '40' is no number"),
        ({"psf_sigma": 3 * u.s}, r"`psf_sigma`: 3\.0 s is no angle"),
        ({"overwrite": "no"}, "`overwrite`: 'no' is neither True nor False"),
        ({"data_root": 5}, "`data_root`: 5 is no path or URL"),
        ({"archive": None}, "`archive`: None is no path or URL"),
        ({"data_root": " "}, "`data_root`: ' ' is empty"),
    ],
)
def test_bad_values_are_refused_before_any_work(values, message):
    with pytest.raises(ConfigError, match=message):
        Settings(**values)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("archive", Path("a") / "b", "a/b"),
        ("data_root", Place.at("/a/b"), "/a/b"),
        ("roi", Window(1, 2, 3, 4), Window(1, 2, 3, 4)),
        ("roi", [1, np.int64(2), 3, 4], Window(1, 2, 3, 4)),
        ("roi", "1,2,3,4", Window(1, 2, 3, 4)),
        ("target", "14:20:00,+76:30:00", (215.0, 76.5)),
        ("target", "14:20:00 +76:30:00", (215.0, 76.5)),
        ("target", "14 20 00 +76 30 00", (215.0, 76.5)),
        ("target", "14h20m00s +76d30m00s", (215.0, 76.5)),
        ("target", "215 76.5", (215.0, 76.5)),
        ("target", (215, 76.5), (215.0, 76.5)),
        ("target", (215 * u.deg, 76.5 * u.deg), (215.0, 76.5)),
        ("target", SkyCoord(215, 76.5, unit="deg"), (215.0, 76.5)),
        ("offsets", [(0, 0), (0.5, -0.0)], ((0.0, 0.0), (0.5, 0.0))),
        ("offsets", np.zeros((1, 2)), ((0.0, 0.0),)),
        ("ignore_mask_bits", 12, ("STARCORE",)),
        ("ignore_mask_bits", ["SAT", 12], ("SAT", "STARCORE")),
        ("ignore_mask_bits", StackMask.SAT | StackMask.STARCORE, ("SAT", "STARCORE")),
        ("ignore_mask_bits", (), ()),
        ("psf_sigma", 10 * u.arcsec, 40.0),
        ("psf_sigma", np.float32(40), 40.0),
        ("diffuse", 0.5 * u.arcmin, 30.0),
        ("follow", Path("a.fits"), ("a.fits",)),
        ("follow", ["a.fits", Path("b.fits")], ("a.fits", "b.fits")),
    ],
)
def test_values_come_in_any_usual_form(name, value, wanted):
    settings = Settings(**{name: value})
    held = getattr(settings, name)
    assert held == (pytest.approx(wanted) if name == "target" else wanted)
    assert getattr(replace(settings), name) == held  # what a setting holds is such a form too


def test_every_setting_is_documented():
    for field in fields(Settings):
        assert f"{field.name}" in Settings.__doc__.split("----------")[1], field.name
