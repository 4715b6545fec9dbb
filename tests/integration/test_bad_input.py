"""Input that can't be used: one clear line, an exit code, and nothing half-made."""

import gzip
import re
import shutil

import pytest
from astropy.io import fits
from commands import invoke, pipeline, refused, tree

MAPPED = ("20", "3", "3")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--multi-offset-array", "0,0,1"), "an odd count"),
        (("--multi-offset-array", ""), "not a number"),
        (("--multi-offset-array", "0,a"), "not a number"),
        (("--multi-offset-array", "0.1,0,0.1001,0"), "more than once"),
        (("--multi-offset-array", "0,0,-0.0,0.0"), "more than once"),
        (("--multi-offset-array", "0,2.5"), "out of range"),
        (("--multi-offset-array", "nan,0"), "out of range"),
        (("--ignore-mask-bits", "16"), "unknown PS1 mask bit '16'"),
        (("--ignore-mask-bits", "12,SATT"), "unknown PS1 mask bit 'SATT'"),
        (("--background", "flat"), "--background: 'flat' is unknown"),
        (("--diffuse", "5"), "diffuse 5.0 is out of range"),
        (("--diffuse", "30", "--background", "none"), "undetected light is all in already"),
        (("--psf-sigma", "0"), "psf-sigma 0.0"),
        (("--psf-sigma", "-40"), "psf-sigma -40.0"),
        (("--psf-sigma", "nan"), "--psf-sigma: nan is not finite"),
        (("--psf-sigma", "inf"), "--psf-sigma: inf is not finite"),
        (("--psf-sigma", "5"), "psf-sigma 5.0 .* too sharp"),
        (("--psf-sigma", "1000"), "psf-sigma 1000.0 .* too wide"),
        (("--roi", "1,2,3"), "four whole numbers"),
        (("--roi", "1.5,2,3,4"), "four whole numbers"),
        (("--roi", "5,5,5,9"), "holds no pixel"),
        (("--roi", "0,0,10,10"), "holds no science pixel"),
        (("--roi", "5000,5000,5010,5010"), "holds no science pixel"),
        (("--target", "0,0"), "is not on sector 20 camera 3 ccd 3"),
        (("--target", "10,"), "is not RA,DEC"),
        (("--target", "10,95"), "is not RA,DEC"),
        (("--target", "nan,nan"), "is not RA,DEC"),
        (("--target", "1,2", "--roi", "1001,1001,1005,1005"), "both given"),
        (("--size", "0"), "--size: 0 is too few"),
        (("--cores", "0"), "--cores: 0 is too few"),
        (("--jobs", "0"), "--jobs: 0 is too few"),
        (("--archive", "ftp://somewhere"), "starts with ftp://"),
        (("--archive", "/does/not/exist"), "does not exist"),
        (("--archive", "https://"), "not the address of a folder"),
        (("--scheduler", "nonsense"), "scheduler 'nonsense' can't be reached"),
    ],
)
def test_unusable_option(small_sky, tmp_path, options, message):
    """Found before any work: exit code 2 and an empty data root."""
    command = [str(a) for a in pipeline(small_sky, tmp_path / "data")]
    if options[0] in {"--roi", "--target"}:
        command = command[: command.index("--roi")] + command[command.index("--roi") + 2 :]
    line = refused(*command, *options, code=2)
    assert re.search(message, line), line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("process", *MAPPED, "--limit", 0), "--limit: 0 is too few"),
        (("process", *MAPPED, "--psf-sigma", 5), "too sharp"),
        (("process", *MAPPED, "--psf-sigma", 1000), "too wide"),
        (("process", 20, 5, 3), "camera 5 is not a TESS camera"),
        (("download", 0, 3, 3), "sector 0 is not a TESS sector"),
        (("download", *MAPPED, "--num-workers", 0), "too few"),
        (("download", *MAPPED, "--use-local-files"), "does not exist"),
        (("downsample", *MAPPED, "--multi-offset-array", "1"), "an odd count"),
        (("downsample", *MAPPED, "--roi", "0,0,10,10"), "holds no science pixel"),
    ],
)
def test_unusable_option_of_a_stage(root, arguments, message):
    before = tree(root)
    line = refused(*arguments, "--data-root", root, code=2)
    assert message in line
    assert tree(root) == before


@pytest.mark.parametrize("arguments", [("process", "x", 3, 3), ("pipeline",), ("fly",)])
def test_unusable_command_line(arguments):
    result = invoke(*arguments, code=2)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def catalogue_with(small_sky, path, edit):
    lines = small_sky.catalogue.read_text().splitlines()
    path.write_text("\n".join(edit(lines)) + "\n")
    return path


def in_first_row(column, value):
    """Return an edit that changes one value of the first skycell."""

    def edit(lines):
        values = lines[1].split(",")
        values[lines[0].split(",").index(column)] = value
        return [lines[0], ",".join(values), *lines[2:]]

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: [], "is empty"),
        (lambda lines: lines[:1], "lists no skycell"),
        (lambda lines: [*lines, lines[1]], "is there twice"),
        (lambda lines: [line.rpartition(",")[0] for line in lines[:1]] + lines[1:], "values where"),
        (in_first_row("NAME", "../../x"), "'../../x' is not a skycell name"),
        (in_first_row("CRVAL1", "nan"), "'nan' is not a finite number"),
        (in_first_row("CDELT1", "0.0001"), "are not square pixels of 0.25 arcsec"),
        (in_first_row("NAXIS1", "0"), "is not a size"),
        (lambda lines: ["\0\0"], "columns NAME"),
    ],
)
def test_unusable_catalogue(small_sky, tmp_path, edit, message):
    catalogue = catalogue_with(small_sky, tmp_path / "cells.csv", edit)
    command = (
        "mapping",
        small_sky.ffi,
        "--data-root",
        tmp_path / "data",
        "--roi",
        "1001,1001,1005,1005",
    )
    line = refused(*command, "--skycell-wcs-csv", catalogue)
    assert message in line
    assert "cells.csv" in line
    assert not (tmp_path / "data").exists()


def test_missing_catalogue(small_sky, tmp_path):
    line = refused(
        "mapping", small_sky.ffi, "--data-root", tmp_path / "data", "--skycell-wcs-csv", "no.csv"
    )
    assert "the skycell catalogue no.csv is not there" in line
    assert not (tmp_path / "data").exists()


def without_wcs(path):
    with fits.open(path, mode="update") as hdus:
        for keyword in ("CTYPE1", "CRVAL1", "CD1_1"):
            hdus[1].header.remove(keyword, ignore_missing=True)


def truncated(path):
    path.write_bytes(path.read_bytes()[:1_000_000])


def truncated_gzip(path):
    path.write_bytes(gzip.compress(path.read_bytes()[:6000])[:-9])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "there is no such file"),
        (truncated, "truncated|less than"),
        (truncated_gzip, "gzip"),
        (without_wcs, "CTYPE1|CRVAL1"),
        (lambda path: path.write_text("hello"), "is not a FITS file"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
    ],
)
def test_unusable_ffi(small_sky, tmp_path, spoil, message):
    ffi = shutil.copy(small_sky.ffi, tmp_path)
    from pathlib import Path

    spoil(Path(ffi))
    line = refused("pipeline", ffi, small_sky.catalogue, "--data-root", tmp_path / "data")
    assert re.search(message, line), line
    assert small_sky.ffi.name in line
    assert not (tmp_path / "data").exists()


class TestUnwritable:
    """A data root that can't be written is noticed before any work."""

    def test_a_file_where_the_folder_should_be(self, small_sky, tmp_path):
        (tmp_path / "data").write_text("mine")
        line = refused(*pipeline(small_sky, tmp_path / "data"))
        assert "can't" in line
        assert (tmp_path / "data").read_text() == "mine"

    @pytest.mark.parametrize(
        "folder", ["mapping_output", "ps1_skycells_zarr", "convolved_results", "templates"]
    )
    def test_a_file_where_a_part_should_be(self, small_sky, tmp_path, folder):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / folder).write_text("mine")
        line = refused(*pipeline(small_sky, tmp_path / "data"))
        assert "can't" in line
        assert folder in line
        # Nothing is made before the place is found wanting
        assert list(tree(tmp_path / "data")) == [folder]

    def test_a_folder_that_nobody_can_write(self, small_sky):
        line = refused(*pipeline(small_sky, "/proc/syndiff"))
        assert "/proc/syndiff" in line

    def test_part_given_elsewhere(self, root, tmp_path):
        (tmp_path / "file").write_text("mine")
        line = refused(
            "downsample",
            "--data-root",
            root,
            "--output-base",
            tmp_path / "file",
            "--roi",
            "1001,1001,1005,1005",
        )
        assert "can't" in line
