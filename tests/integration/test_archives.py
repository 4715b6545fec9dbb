"""Archives of every kind, and what becomes of a run when they lack files or break."""

import functools
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from commands import (
    invoke,
    pipeline,
    read_header,
    read_planes,
    refused,
    report,
    same_planes,
    template_path,
)
from scipy.ndimage import maximum_filter
from servers import FaultyServer, Page, Status, s3_server

from syndiff.config import BANDS
from syndiff.masks import DataQuality
from syndiff.stacks.archive import stack_path
from syndiff.transport.attempt import ArchiveConfig
from syndiff.window import Window

MIDDLE = "skycell.0001.001"
CORNER = (MIDDLE, "skycell.0002.001")
"""Skycells of two projections that nobody else shares a corner of `WIDE` with."""
WIDE = Window(996, 996, 1012, 1012)


@pytest.fixture(scope="module")
def files(small_sky):
    """The small sky's archive: path -> bytes."""
    root = small_sky.archive
    paths = sorted(path for path in root.rglob("*.fits"))
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


@pytest.fixture
def server(files):
    with FaultyServer(files) as faulty:
        yield faulty


@pytest.fixture(scope="module")
def wide(small_sky, finished, tmp_path_factory):
    """Data root with a template of the whole field."""
    root = shutil.copytree(finished, tmp_path_factory.mktemp("wide") / "data")
    invoke(*pipeline(small_sky, root, roi=WIDE))
    return root


@pytest.fixture
def impatient(monkeypatch):
    """Don't wait for servers as long as users do."""
    quick = functools.partial(ArchiveConfig, retries=1, backoff_s=0.01)
    monkeypatch.setattr("syndiff.stages.run.ArchiveConfig", quick)


def paths_of(*names, bands=BANDS, planes=("image", "variance", "mask")):
    """Files of skycells in an archive."""
    return {stack_path(name, band, plane) for name in names for band in bands for plane in planes}


def without(server, *names, **which):
    """Take files off a server."""
    for path in paths_of(*names, **which):
        del server.files[path]


def atlas_content(root):
    """All arrays of an atlas and the digests of its records, without the writers' random names."""
    atlas = root / "ps1_skycells_zarr" / "skycells.zarr"
    content = {}
    for path in (path for path in atlas.glob("*/*/**/*") if path.is_file()):
        skycell, digest, *parts = path.relative_to(atlas).parts
        if parts == ["complete.json"]:
            content[skycell, digest] = json.loads(path.read_text())["content_digest"]
        elif len(parts) > 2:
            content[skycell, digest, *parts[1:]] = path.read_bytes()
    return content


def states(root, **which):
    """State of each skycell and band in a template's table of inputs."""
    with fits.open(template_path(root, **which)) as hdus:
        return {(row["SKYCELL"], row["BAND"]): row["STATE"] for row in hdus["INPUTS"].data}


class TestKinds:
    """Wherever the files come from, the pixels are the same."""

    def test_http(self, small_sky, server, finished, tmp_path):
        invoke(*pipeline(small_sky, tmp_path, archive=server.url))
        assert same_planes(read_planes(tmp_path), read_planes(finished))
        assert server.hits.total() == len(server.files)

    def test_s3(self, small_sky, files, finished, tmp_path, monkeypatch):
        with s3_server(monkeypatch, "stacks", acl="public-read") as client:
            for path, content in files.items():
                client.put_object(
                    Bucket="stacks", Key=f"rings/{path}", Body=content, ACL="public-read"
                )
            invoke(*pipeline(small_sky, tmp_path, archive="s3://stacks/rings/"))
        assert same_planes(read_planes(tmp_path), read_planes(finished))

    def test_flat_folder(self, small_sky, files, root, tmp_path, finished):
        flat = tmp_path / "flat"
        flat.mkdir()
        for path in files:
            (flat / Path(path).name).symlink_to(small_sky.archive / path)
        local = ("--use-local-files", "--local-data-path", flat, "--overwrite", "--cores", 1)
        stages = report(
            "download", 20, 3, 3, "--data-root", root, "--roi", "1001,1001,1005,1005", *local
        )["stages"]
        assert stages["download"]["counts"]["skycells reduced now"] == 8
        invoke(*pipeline(small_sky, root, archive=flat))
        assert same_planes(read_planes(root), read_planes(finished))


class TestAbsent:
    """What the archive answers not to have: no error, but told."""

    def test_one_band_everywhere(self, small_sky, server, finished, tmp_path):
        # Flux of the y band is stood in for by the colours of the light around.
        names = {
            Path(path).name.split(".stk")[0].removeprefix("rings.v3.") for path in server.files
        }
        without(server, *names, bands="y")
        result = invoke(*pipeline(small_sky, tmp_path, archive=server.url))
        text = " ".join(result.stdout.split())
        assert f"{MIDDLE}: no y band" in text
        assert "MISSING_BAND 100 %" in text
        planes, full = read_planes(tmp_path), read_planes(finished)
        assert (planes["DQ"] & DataQuality.MISSING_BAND).all()
        assert states(tmp_path)[MIDDLE, "y"] == "absent"
        # y carries 13.5 % of the weight and more of red light; colours vary by star (5 %).
        # Without y, the noisiest band, more of this field's faint stars and galaxies is detected.
        assert 0.95 < planes["FLUX_SUM"].sum() / full["FLUX_SUM"].sum() < 1.1

    def test_one_band_of_a_corner(self, small_sky, server, wide, tmp_path):
        without(server, *CORNER, bands="y")
        invoke(*pipeline(small_sky, tmp_path, archive=server.url, roi=WIDE))
        planes, full = read_planes(tmp_path, roi=WIDE), read_planes(wide, roi=WIDE)
        lacking = (planes["DQ"] & DataQuality.MISSING_BAND) != 0
        assert 0.1 < lacking.mean() < 0.6
        seen = np.isfinite(full["FLUX_SUM"])
        ratio = planes["FLUX_SUM"][seen].sum() / full["FLUX_SUM"][seen].sum()
        assert ratio == pytest.approx(1, abs=0.03)
        # A star's light reaches 2 pixels; beyond, nothing knows of the lost band.
        far = ~maximum_filter(lacking, 7) & seen
        assert far.any()
        np.testing.assert_allclose(planes["FLUX_SUM"][far], full["FLUX_SUM"][far], rtol=1e-3)

    def test_whole_skycells(self, small_sky, server, wide, tmp_path):
        without(server, *CORNER)
        content = report(*pipeline(small_sky, tmp_path, archive=server.url, roi=WIDE))
        download, downsample = (content["stages"][name] for name in ("download", "downsample"))
        assert download["counts"]["absent"] == 2
        assert f"absent in the archive: {MIDDLE}" in download["notes"]
        assert f"made without {MIDDLE}: absent" in downsample["notes"]
        assert not content["partial"]
        planes, full = read_planes(tmp_path, roi=WIDE), read_planes(wide, roi=WIDE)
        uncovered = planes["COVERAGE"] < 0.5
        assert (uncovered & (full["COVERAGE"] > 0.99)).any()
        assert (np.isnan(planes["FLUX_SUM"]) == uncovered).all()
        assert ((planes["DQ"] & DataQuality.NO_COVERAGE != 0) == uncovered).all()
        assert downsample["figures"]["coverage"] == pytest.approx(1 - uncovered.mean(), abs=1e-6)
        # Neighbours fill in where they overlap: away from the hole nothing is changed by much.
        near = maximum_filter(planes["COVERAGE"] < full["COVERAGE"] - 1e-6, 5)
        away = ~near & np.isfinite(full["FLUX_SUM"])
        assert away.any()
        np.testing.assert_allclose(planes["FLUX_SUM"][away], full["FLUX_SUM"][away], rtol=0.02)
        header = read_header(tmp_path, roi=WIDE)
        assert (header["NABSENT"], header["PARTIAL"]) == (2, False)

    def test_everything(self, small_sky, tmp_path, files):
        with FaultyServer({}) as server:
            line = refused(*pipeline(small_sky, tmp_path, archive=server.url))
        assert "has none of the 8 skycells" in line
        assert "check --archive" in line
        assert not list(tmp_path.rglob("syndiff_template*"))

    def test_it_is_asked_again_elsewhere(self, small_sky, server, finished, tmp_path):
        without(server, MIDDLE)
        command = pipeline(small_sky, tmp_path, archive=server.url)
        invoke(*command)
        asked = server.hits.total()
        assert report(*command)["stages"]["download"]["skipped"]
        assert server.hits.total() == asked
        invoke(*pipeline(small_sky, tmp_path))
        assert same_planes(read_planes(tmp_path), read_planes(finished))


@pytest.mark.usefixtures("impatient")
class TestFailed:
    """What is there and could not be had: an error, or flagged when asked for."""

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda server, path: server.files.pop(path), "has the r image but not its mask"),
            (lambda server, path: server.faults[path].extend([Status(503)] * 9), "503"),
            (lambda server, path: server.faults[path].extend([Status(403)] * 9), "denied"),
            (lambda server, path: server.faults[path].extend([Page()] * 9), "FITS"),
            (
                lambda server, path: server.files.update({path: server.files[path][:-2880]}),
                "mask",
            ),
        ],
        ids=["missing", "unavailable", "denied", "web page", "cut short"],
    )
    def test_a_mask(self, small_sky, server, tmp_path, spoil, message):
        spoil(server, stack_path(MIDDLE, "r", "mask"))
        line = refused(*pipeline(small_sky, tmp_path, archive=server.url))
        assert "1 of 8 skycells failed" in line
        assert MIDDLE in line
        assert message in line
        assert not list(tmp_path.rglob("syndiff_template*"))

    def test_partial_template_and_its_repair(self, small_sky, server, wide, tmp_path):
        lost = [stack_path(name, "r", "mask") for name in CORNER]
        contents = [server.files.pop(path) for path in lost]
        command = pipeline(small_sky, tmp_path, archive=server.url, roi=WIDE)
        result = invoke(*command, "--allow-partial", code=3)
        assert f"failed: {MIDDLE}" in result.stdout
        assert "partial" in result.stderr
        planes, header = read_planes(tmp_path, roi=WIDE), read_header(tmp_path, roi=WIDE)
        failed = (planes["DQ"] & DataQuality.FAILED_SKYCELL) != 0
        assert failed[planes["COVERAGE"] < 0.5].any()
        assert not failed.all()
        assert (header["PARTIAL"], header["NFAILED"]) == (True, 2)
        assert states(tmp_path, roi=WIDE)[MIDDLE, "r"] == "failed"
        # What was made on purpose stays refused without the purpose.
        for name in ("process", "downsample"):
            where = (20, 3, 3, "--data-root", tmp_path, "--roi", WIDE)
            assert "--allow-partial" in refused(name, *where)
        server.files |= dict(zip(lost, contents, strict=True))
        before = server.hits.copy()
        invoke(*command)
        assert set(server.hits - before) == paths_of(*CORNER)
        assert same_planes(read_planes(tmp_path, roi=WIDE), read_planes(wide, roi=WIDE))

    def test_server_that_dies(self, small_sky, server, finished, tmp_path):
        """The run ends soon with what arrived, and goes on from there."""
        paths = sorted(server.files)
        broken = paths[len(paths) // 2 :]
        for path in broken:
            server.faults[path] = [Status(500)] * 2
        start = time.monotonic()
        line = refused(*pipeline(small_sky, tmp_path, archive=server.url))
        assert "4 of 8 skycells failed" in line or "failed for 4 skycells in a row" in line
        assert time.monotonic() - start < 20
        server.faults.clear()
        before = server.hits.copy()
        invoke(*pipeline(small_sky, tmp_path, archive=server.url))
        # What the run that gave up was still busy with ends in its own time: what it reduces then
        # need not be asked for again, and what it had not yet reduced must be.
        asked = set(server.hits - before)
        assert asked & set(broken)
        assert not asked & set(paths[: len(paths) // 4])
        assert same_planes(read_planes(tmp_path), read_planes(finished))

    def test_nobody_answers(self, small_sky, tmp_path):
        with FaultyServer({}) as server:
            url = server.url
        line = refused(*pipeline(small_sky, tmp_path, archive=url))
        assert "failed for 4 skycells in a row" in line
        assert url in line

    def test_failed_everywhere_is_no_partial_result(self, small_sky, server, tmp_path):
        for path in list(server.files):
            if path.endswith(".mask.fits"):
                del server.files[path]
        line = refused(*pipeline(small_sky, tmp_path, archive=server.url), "--allow-partial")
        assert "8 of 8 skycells failed" in line


class TestKeptFiles:
    def test_a_run_without_network_from_them(self, small_sky, server, tmp_path):
        """Bytes, names, folders are the archive's; the atlas made of them is bitwise the same."""
        first, second = tmp_path / "first", tmp_path / "second"
        content = report(*pipeline(small_sky, first, archive=server.url), "--keep-raw")
        kept = first / "ps1_stack_files"
        assert any(f"kept in {kept}" in note for note in content["stages"]["download"]["notes"])
        files = {str(path.relative_to(kept)): path for path in kept.rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in files.items()} == server.files
        asked = server.hits.total()
        invoke(*pipeline(small_sky, second, archive=kept))
        assert server.hits.total() == asked
        assert atlas_content(second) == atlas_content(first)
        assert same_planes(read_planes(second), read_planes(first))

    def test_reduced_again_without_the_server(self, small_sky, server, tmp_path):
        command = pipeline(small_sky, tmp_path, archive=server.url)
        invoke(*command, "--keep-raw")
        asked = server.hits.total()
        bits = ("--ignore-mask-bits", "12,SAT")
        stages = report(*command, *bits)["stages"]
        assert stages["download"]["counts"]["skycells reduced now"] == 8
        assert server.hits.total() == asked
        assert read_header(tmp_path)["LEFTOUT"] == "SAT,STARCORE"
        invoke(*pipeline(small_sky, tmp_path / "fetched"), *bits)
        assert same_planes(read_planes(tmp_path), read_planes(tmp_path / "fetched"))

    def test_what_is_lost_of_them_is_fetched_again(self, small_sky, server, tmp_path):
        """Also for skycells that are in the atlas already; what is whole is not fetched again."""
        command = (*pipeline(small_sky, tmp_path, archive=server.url), "--keep-raw")
        invoke(*command)
        folder = tmp_path / "ps1_stack_files" / "0001" / "001"
        lost = next(folder.glob("*.i.unconv.fits"))
        content = lost.read_bytes()
        lost.unlink()
        asked = server.hits.total()
        stages = report(*command)["stages"]
        assert server.hits.total() == asked + 12
        assert lost.read_bytes() == content
        assert not stages["download"]["skipped"]
        assert report(*command)["stages"]["download"]["skipped"]
        assert server.hits.total() == asked + 12

    def test_planes_of_an_earlier_version_are_told(self, small_sky, finished, tmp_path):
        root = tmp_path / "data"
        shutil.copytree(finished, root)
        old = root / "ps1_skycells_zarr/raw.zarr/skycell.0001.001/r/complete.json"
        old.parent.mkdir(parents=True)
        old.write_text("{}")
        notes = report(*pipeline(small_sky, root))["stages"]["download"]["notes"]
        (line,) = (note for note in notes if "raw.zarr" in note)
        assert "earlier version" in line
        assert "remove it" in line
