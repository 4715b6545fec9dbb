"""Archives in other forms, of mixed files, with absurd pixels, through the command."""

import itertools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from commands import invoke, pipeline, read_planes, refused, report, same_planes
from stackarchives import (
    as_floats,
    as_linear_floats,
    files_of,
    gzip_inside,
    gzipped,
    renamed_by_fpack,
    set_cards,
    unpacked,
    unpacked_into_primary,
    with_pixel,
)

STEM = "0001/001/rings.v3.skycell.0001.001.stk"
"""Of a skycell under the region of interest."""


@pytest.fixture
def archive(small_sky, tmp_path):
    """A copy of the small sky's archive."""
    return Path(shutil.copytree(small_sky.archive, tmp_path / "archive"))


def test_every_form_at_once(small_sky, archive, finished, tmp_path):
    """Side by side, each file in another form: the pixels are the same."""
    forms = (gzipped, gzip_inside, renamed_by_fpack, unpacked, unpacked_into_primary)
    for path, change in zip(files_of(archive), itertools.cycle(forms), strict=False):
        place = archive / path.name
        path.rename(place)
        change(place)
    invoke(*pipeline(small_sky, tmp_path / "data", archive=archive))
    assert same_planes(read_planes(tmp_path / "data"), read_planes(finished))


def test_values_instead_of_codes(small_sky, archive, finished, tmp_path):
    for path in files_of(archive / "0001" / "001"):
        (as_floats if ".stk.r" in path.name else as_linear_floats)(path)
    invoke(*pipeline(small_sky, tmp_path / "data", archive=archive))
    found, planes = read_planes(tmp_path / "data"), read_planes(finished)
    # as much again as the survey's own steps take
    limit = 1e-4 * planes["FLUX_SUM"].max()
    np.testing.assert_allclose(found["FLUX_SUM"], planes["FLUX_SUM"], rtol=0, atol=limit)
    np.testing.assert_array_equal(found["COUNT"], planes["COUNT"])
    np.testing.assert_array_equal(found["MASK"], planes["MASK"])


def test_a_damaged_local_file(small_sky, archive, tmp_path):
    path = archive / f"{STEM}.r.unconv.fits"
    gzip_inside(path)
    path.write_bytes(path.read_bytes()[:-2000])
    line = refused(*pipeline(small_sky, tmp_path / "data", archive=archive))
    assert "1 of 8 skycells failed" in line
    assert f"{path} is truncated: its" in line
    assert "attempt" not in line


def test_files_under_other_names(small_sky, archive, tmp_path):
    for path in files_of(archive):
        path.rename(path.with_name(f"cutout_{path.name}"))
    line = refused(*pipeline(small_sky, tmp_path / "data", archive=archive))
    assert "it holds FITS files such as 0001/000/cutout_rings.v3.skycell.0001.000.stk.i" in line
    assert "rings.v3.skycell.PPPP.CCC.stk.B.unconv.fits (.gz or .fz may follow" in line


def test_a_folder_without_files(small_sky, tmp_path):
    (tmp_path / "nothing").mkdir()
    line = refused(*pipeline(small_sky, tmp_path / "data", archive=tmp_path / "nothing"))
    assert "the folder holds no FITS file" in line


def test_mixed_files(small_sky, archive, finished, tmp_path):
    """Refused; with the option the image's exposure time counts, and every run says so."""
    path = archive / f"{STEM}.r.unconv.wt.fits"
    set_cards(path, EXPTIME=fits.getheader(path, 1)["EXPTIME"] / 2)
    root = tmp_path / "data"
    command = pipeline(small_sky, root, archive=archive)
    line = refused(*command)
    assert "1 of 8 skycells failed" in line
    assert "skycell.0001.001 band r: EXPTIME is" in line
    assert "--allow-mixed" in line
    for _ in range(2):
        notes = report(*command, "--allow-mixed")["stages"]["download"]["notes"]
        assert any("skycell.0001.001 band r: EXPTIME is" in note for note in notes)
    assert same_planes(read_planes(root), read_planes(finished))
    line = refused(*command)
    assert "was reduced with --allow-mixed from files that contradict each other" in line


def test_another_skycells_mask_and_its_kept_planes(small_sky, archive, tmp_path):
    mask = f"{STEM}.r.unconv.mask.fits"
    shutil.copy(
        small_sky.archive / "0001/000/rings.v3.skycell.0001.000.stk.r.unconv.mask.fits",
        archive / mask,
    )
    command = (*pipeline(small_sky, tmp_path / "data", archive=archive), "--keep-raw")
    wanted = "skycell.0001.001 band r: mask with SKYCELL 'skycell.0001.000', expected"
    content = report(*command, "--allow-mixed")
    assert any(wanted in note for note in content["stages"]["download"]["notes"])
    assert "SKYCELL is 'skycell.0001.000'" in refused(*command, "--ignore-mask-bits", "")


def test_absurd_pixels(small_sky, archive, finished, tmp_path):
    """They are gone, told, and nothing else is changed by more than coding anew does."""
    with_pixel(archive / f"{STEM}.r.unconv.fits", 1e7, (400, 400))
    with_pixel(archive / f"{STEM}.z.unconv.fits", -1e6, (430, 400))
    with_pixel(archive / f"{STEM}.i.unconv.wt.fits", 1e9, (400, 430))
    content = report(*pipeline(small_sky, tmp_path / "data", archive=archive))
    wanted = "left out for values that PS1 can't have: 3 pixels (skycell.0001.001: 3)"
    assert wanted in content["stages"]["download"]["notes"]
    found, planes = read_planes(tmp_path / "data"), read_planes(finished)
    limit = 1e-4 * planes["FLUX_SUM"].max()
    np.testing.assert_allclose(found["FLUX_SUM"], planes["FLUX_SUM"], rtol=0, atol=limit)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"BSOFTEN": 1e20}, "pixels have values that PS1 can't have .*BSOFTEN"),
        ({"EXPTIME": 1e-9}, "EXPTIME is 1e-09, expected 0.1 to 1e.07 s"),
    ],
)
def test_absurd_scalings(small_sky, archive, tmp_path, cards, message):
    set_cards(archive / f"{STEM}.r.unconv.fits", **cards)
    line = refused(*pipeline(small_sky, tmp_path / "data", archive=archive))
    assert "skycell.0001.001" in line
    assert re.search(message, line), line
