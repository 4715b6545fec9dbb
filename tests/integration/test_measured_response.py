"""TESS's measured response by the command: from a server or a folder, kept, changed, missing."""

from dataclasses import replace

import numpy as np
import pytest
from commands import (
    ROI,
    invoke,
    pipeline,
    read_header,
    read_planes,
    refused,
    report,
    same_planes,
    tree,
)
from prffiles import FOLDER, STEM, USUAL, prf_grid, prf_tree
from servers import FaultyServer

CCD = ("20", "3", "3")


def process(root, *options):
    return ("process", *CCD, "--data-root", root, "--roi", ROI, "--cores", 1, *options)


def downsample(root):
    return ("downsample", *CCD, "--data-root", root, "--roi", ROI)


@pytest.fixture
def files(tmp_path):
    return prf_tree(tmp_path / "prf")


def test_from_a_server_once_and_from_a_folder_alike(root, files, finished):
    paths = (path for path in files.rglob("*.fits"))
    content = {path.relative_to(files).as_posix(): path.read_bytes() for path in paths}
    with FaultyServer(content) as server:
        online = process(root, "--psf", "prf", "--prf-dir", server.url)
        invoke(*online)
        asked = server.hits.total()
        assert asked >= 25
        assert report(*online)["stages"]["process"]["skipped"]
        assert server.hits.total() == asked
    invoke(*downsample(root))
    header, planes = read_header(root), read_planes(root)
    assert (header["PSFMODEL"], header["PRFSET"]) == ("prf", STEM)
    assert header["PRFDIR"] == f"{server.url}{FOLDER}"
    assert header["PRFDIG"] == prf_grid().digest
    assert not np.allclose(planes["FLUX_SUM"], read_planes(finished)["FLUX_SUM"], rtol=0.01)
    # The same files elsewhere: the scene is what it was.
    again = report(*process(root, "--psf", "prf", "--prf-dir", files))
    assert again["stages"]["process"]["skipped"]
    invoke(*process(root))
    invoke(*downsample(root))
    assert read_header(root)["PSFMODEL"] == "gaussian"
    assert same_planes(read_planes(root), read_planes(finished))


def test_other_files_make_another_scene(root, files, tmp_path):
    invoke(*process(root, "--psf", "prf", "--prf-dir", files))
    other = prf_tree(tmp_path / "other", replace(USUAL, core_px=0.65, noise=1.0))
    content = report(*process(root, "--psf", "prf", "--prf-dir", other))
    assert not content["stages"]["process"]["skipped"]
    invoke(*downsample(root))
    header = read_header(root)
    assert header["PRFCUT"] == 1.5
    assert 5e-3 < header["PRFLOST"] < 4e-2  # noise as in MAST's files, left out and told


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--psf", "airy"), 2, "--psf: 'airy' is unknown: give 'gaussian' or 'prf'"),
        (("--psf", "prf", "--prf-dir", "ftp://x/y"), 2, "give an https:// or s3:// URL"),
        (("--psf", "prf", "--prf-dir", "nowhere"), 2, "give --prf-dir a folder"),
        (("--psf", "prf", "--prf-dir", "empty"), 1, "no pixel response files of sector 20"),
    ],
)
def test_what_cannot_be_had_is_told_before_any_work(
    small_sky, tmp_path, monkeypatch, options, code, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    line = refused(*pipeline(small_sky, "data"), *options, code=code)
    assert message in line
    assert not (tmp_path / "data").exists()


def test_a_missing_file_stops_the_stage_and_leaves_the_scene(root, files):
    (files / FOLDER / f"{STEM}-row1025-col1069.fits").unlink()
    before = tree(root)
    line = refused(*process(root, "--psf", "prf", "--prf-dir", files))
    assert "1 of 25 pixel response files are missing" in line
    assert "row1025-col1069.fits" in line
    assert "they come from https://archive.stsci.edu/missions/tess/models/prf_fitsfiles" in line
    assert tree(root) == before
