"""`syndiff difference --export`: what hotpants and SFFT read, and whether SFFT takes it."""

import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from commands import DETECTOR, invoke, refused, report, template_path, tree
from differencesky import NOISE, ROI, write_image
from finestars import SCALE

from syndiff.masks import DataQuality
from syndiff.simulation.ffi import FfiConfig, example_cards, wcs_of
from syndiff.storage.place import Place
from syndiff.templates.template_file import read_template

SHAPE = ROI.shape
DEAD = (ROI.y0 + 20, ROI.x0 + 30)


@pytest.fixture(scope="module")
def sky(starry, tmp_path_factory):
    """Data root, template, and an FFI with a dead pixel and a new star."""
    root, _, stars = starry
    new = (ROI.x0 + 33.3, ROI.y0 + 12.6, 10 ** (-0.4 * (12 - 20.44)) / SCALE)
    folder = tmp_path_factory.mktemp("ffi")
    path = write_image(folder, FfiConfig(DETECTOR, example_cards()), np.vstack([stars, new]))
    with fits.open(path, mode="update") as hdus:
        hdus[1].data[DEAD] = np.nan
    return root, template_path(root, roi=ROI), path


def export(sky, tool, folder, *options):
    root, template, ffi = sky
    arguments = ("--data-root", root, "--export", tool, "--output", folder, *options)
    stage = report("difference", ffi, template, *arguments)["stages"]["export"]
    return stage, {path.name: path for path in Path(folder).iterdir()}


@pytest.fixture(scope="module")
def hotpants(sky, tmp_path_factory):
    return export(sky, "hotpants", tmp_path_factory.mktemp("out") / "hotpants")


@pytest.fixture(scope="module")
def sfft(sky, tmp_path_factory):
    return export(sky, "sfft", tmp_path_factory.mktemp("out") / "sfft")


def test_hotpants_gets_the_same_pixels_of_both(sky, hotpants):
    _, template, ffi = sky
    stage, files = hotpants
    assert set(files) == {
        *("ffi.fits", "ffi_noise.fits", "template.fits", "template_noise.fits", "mask.fits"),
        "command.sh",
    }
    assert sorted(stage["products"]) == sorted(map(str, files.values()))
    known = fits.getdata(files["mask.fits"]) == 0
    for name, hdu in (("ffi", 1), ("ffi_noise", 2)):
        plane = fits.getdata(files[f"{name}.fits"])
        wanted = fits.getdata(ffi, hdu)[ROI.slices]
        assert plane.shape == SHAPE
        assert np.array_equal(plane[known], wanted[known].astype("f4"))
        assert np.isfinite(plane).all()
    planes, _ = read_template(Place.at(template))
    assert np.array_equal(fits.getdata(files["template.fits"])[known], planes.flux[known])
    assert np.allclose(fits.getdata(files["template_noise.fits"])[known], NOISE, rtol=1e-3)


def test_masks_are_those_of_the_subtraction(hotpants):
    mask = fits.getdata(hotpants[1]["mask.fits"])
    dead = tuple(np.subtract(DEAD, (ROI.y0, ROI.x0)))
    assert mask[dead] == 1
    assert hotpants[0]["counts"]["masked pixels"] == mask.sum() < 30
    assert fits.getdata(hotpants[1]["ffi.fits"])[dead] == 0


def test_flagged_pixels_of_the_template_are_masked(sky, tmp_path):
    root, template, ffi = sky
    spoilt = tmp_path / "template.fits"
    with fits.open(template) as hdus:
        hdus["DQ"].data[3:5, 7] |= int(DataQuality.LEFT_OUT_LIGHT)
        hdus.writeto(spoilt, checksum=True)
    _, files = export((root, spoilt, ffi), "hotpants", tmp_path / "out")
    assert fits.getdata(files["mask.fits"])[3:5, 7].all()


def test_exported_images_know_where_they_look(sky, hotpants):
    header = fits.getheader(hotpants[1]["template.fits"])
    places = wcs_of(example_cards()).all_pix2world([[ROI.x0 + 5, ROI.y0 + 9]], 0)
    x, y = wcs_of(header.tostring("\n")).all_world2pix(places, 0)[0]
    assert (x, y) == pytest.approx((5, 9), abs=1e-4)
    assert header["FFI"] == Path(sky[2]).name
    assert (header["XMIN"], header["YMIN"]) == (ROI.x0, ROI.y0)


def test_hotpants_is_told_what_is_valid(hotpants):
    mark, line = hotpants[1]["command.sh"].read_text().splitlines()[1:]
    assert mark.startswith("# Written by syndiff")
    words = shlex.split(line)
    options = dict(zip(words[1::2], words[2::2], strict=False))
    assert words[0] == "hotpants"
    assert options["-outim"] == "diff.fits"
    known = fits.getdata(hotpants[1]["mask.fits"]) == 0
    for which, name in (("i", "ffi"), ("t", "template")):
        plane = fits.getdata(hotpants[1][f"{name}.fits"])[known]
        assert float(options[f"-{which}l"]) < plane.min()
        assert float(options[f"-{which}u"]) > plane.max()
    named = [word for word in words if word.endswith(".fits") and not word.startswith("diff")]
    assert set(named) <= set(hotpants[1])
    assert (options["-nsx"], options["-ko"]) == ("3", "0")


def test_sfft_gets_a_masked_pair_without_gaps(sfft):
    stage, files = sfft
    assert any("python command.py" in note for note in stage["notes"])
    planes = {name: fits.getdata(path) for name, path in files.items() if name.endswith(".fits")}
    assert all(np.isfinite(plane).all() for plane in planes.values())
    masked = planes["mask.fits"] == 1
    # As far around a dead pixel as it spoils a fit.
    assert masked[17:24, 27:34].all()
    for name in ("ffi", "template"):
        same = planes[f"{name}_masked.fits"] == planes[f"{name}.fits"]
        assert same[~masked].all()
    assert (planes["template_masked.fits"][masked] == 0).all()
    # No light of stars: the sky, which slopes by 5 e-/s.
    assert np.ptp(planes["ffi_masked.fits"][masked]) < 8
    assert abs(np.median(planes["ffi_masked.fits"][masked]) - 100) < 5


@pytest.mark.skipif(find_spec("sfft") is None, reason="sfft is not installed: syndiff[compare]")
def test_sfft_takes_the_pair_and_finds_what_is_new(sfft):
    folder = sfft[1]["command.py"].parent
    done = subprocess.run(
        [sys.executable, "command.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    left = fits.getdata(folder / "diff.fits")
    image = fits.getdata(folder / "ffi.fits")
    masked = fits.getdata(folder / "mask.fits") == 1
    inner = np.zeros(SHAPE, bool)
    inner[5:-5, 5:-5] = True
    new = np.zeros(SHAPE, bool)
    new[8:18, 28:39] = True
    still = inner & ~masked & ~new
    assert np.std(left[still]) < 0.2 * np.std(image[still])
    y, x = np.unravel_index(np.argmax(np.where(inner & ~masked, left, -np.inf)), SHAPE)
    assert abs(x - 33.3) <= 1
    assert abs(y - 12.6) <= 1


def test_an_export_goes_beside_the_template_and_again(sky, tmp_path):
    root, template, ffi = sky
    copy = tmp_path / "template.fits"
    copy.write_bytes(template.read_bytes())
    before = tree(tmp_path)
    arguments = ("difference", ffi, copy, "--data-root", root, "--export", "hotpants")
    done = invoke(*arguments)
    folder = tmp_path / f"syndiff_hotpants_{Path(ffi).stem}_1012-1032-1060-1080"
    assert f"in {folder}: sh command.sh" in done.stdout
    first = tree(folder)
    (folder / "diff.fits").write_bytes(b"hotpants's")
    invoke(*arguments)
    assert tree(folder).items() >= first.items()
    assert tree(tmp_path)["template.fits"] == before["template.fits"]


def test_a_folder_with_other_files_is_left_alone(sky, tmp_path):
    (tmp_path / "ffi.fits").write_bytes(b"somebody's")
    root, template, ffi = sky
    arguments = ("--data-root", root, "--export", "sfft", "--output", tmp_path)
    line = refused("difference", ffi, template, *arguments)
    assert "holds ffi.fits and no export of syndiff: nothing is written there" in line
    assert (tmp_path / "ffi.fits").read_bytes() == b"somebody's"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--export", "zogy"), "export 'zogy' is unknown: give 'hotpants' or 'sfft'"),
        (("--export", "sfft", "--kernel", "some"), "'some' is unknown"),
    ],
)
def test_what_is_unknown_is_refused(sky, options, message):
    root, template, ffi = sky
    line = refused("difference", ffi, template, "--data-root", root, *options, code=2)
    assert message in line


def test_without_a_kernel_the_template_is_taken_as_it_is(sky, tmp_path, hotpants):
    _, template, ffi = sky
    # No data root, so no scene.
    _, files = export((tmp_path, template, ffi), "hotpants", tmp_path / "out", "--kernel", "none")
    for name in ("template.fits", "mask.fits"):
        assert files[name].read_bytes() == hotpants[1][name].read_bytes()
