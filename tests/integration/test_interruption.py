"""Runs that are stopped, and runs at the same time: what is there afterwards is whole."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from commands import (
    ROI,
    invoke,
    pipeline,
    read_planes,
    report,
    same_planes,
    start,
    template_path,
)
from servers import FaultyServer, Stall

from syndiff.stacks.archive import stack_path
from syndiff.window import Window

CCD = ("20", "3", "3")


@pytest.fixture
def server(small_sky):
    root = small_sky.archive
    paths = sorted(root.rglob("*.fits"))
    with FaultyServer({str(p.relative_to(root)): p.read_bytes() for p in paths}) as faulty:
        yield faulty


def wait_for(condition, *, seconds=60):
    """Wait until something is true of a run in another process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("how", "cores"),
    [
        ("SIGINT", 1),
        ("SIGKILL", 1),
        pytest.param("SIGINT", 2, marks=pytest.mark.full),
        pytest.param("SIGTERM", 1, marks=pytest.mark.full),
    ],
)
def test_download_goes_on_where_it_was_stopped(small_sky, server, finished, tmp_path, how, cores):
    """The server falls silent in the middle, the user gives up, and comes back later."""
    silent = {
        stack_path(name, band, plane)
        for name in ("skycell.0002.010", "skycell.0002.011")
        for plane in ("image", "variance", "mask")
        for band in "rizy"
    }
    for path in silent:
        server.faults[path] = [Stall()] * 99
    command = list(pipeline(small_sky, tmp_path, archive=server.url))
    command[-1] = cores
    process = start(*command)
    atlas = tmp_path / "ps1_skycells_zarr" / "skycells.zarr"
    wait_for(lambda: len(list(atlas.glob("*/*/complete.json"))) == 6)
    os.killpg(process.pid, signal.Signals[how])
    stopped = time.monotonic()
    output, errors = process.communicate(timeout=30)
    assert time.monotonic() - stopped < 15
    assert output == ""
    assert "Traceback" not in errors
    if how == "SIGINT":
        assert process.returncode == 130
        assert errors.splitlines()[-1].startswith("syndiff: interrupted; the same command goes on")
    assert not list(tmp_path.rglob("syndiff_template*"))
    server.faults.clear()
    before = server.hits.copy()
    stages = report(*pipeline(small_sky, tmp_path, archive=server.url))["stages"]
    assert set(server.hits - before) == silent
    assert stages["mapping"]["skipped"]
    assert template_path(tmp_path).read_bytes() != b""
    assert same_planes(read_planes(tmp_path), read_planes(finished))


@pytest.mark.parametrize(
    "seconds", [0.05, *(pytest.param(s, marks=pytest.mark.full) for s in (0.0, 0.15, 0.3))]
)
def test_process_goes_on_where_it_was_killed(root, finished, seconds):
    """Killed while it writes the scene, at several moments."""
    options = ("--data-root", root, "--roi", ROI, "--cores", 1)
    shutil.rmtree(root / "convolved_results")
    process = start("process", *CCD, *options)
    wait_for((root / "convolved_results").exists)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    invoke("process", *CCD, *options)
    invoke("downsample", *CCD, *options[:-2], "--overwrite")
    assert template_path(root).read_bytes() == template_path(finished).read_bytes()


class TestTogether:
    """Two runs in two processes at the same time."""

    def test_same_command_twice(self, small_sky, finished, tmp_path):
        command = pipeline(small_sky, tmp_path)
        runs = [start(*command), start(*command)]
        for run in runs:
            _, errors = run.communicate(timeout=120)
            assert run.returncode == 0, errors
        assert template_path(tmp_path).read_bytes() == template_path(finished).read_bytes()
        atlas = tmp_path / "ps1_skycells_zarr" / "skycells.zarr"
        assert len(list(atlas.glob("*/*/complete.json"))) == 8
        # Whoever lost the race left nothing behind: one folder of planes a skycell.
        assert len(list(atlas.glob("*/*/*/zarr.json"))) == 8

    def test_two_regions_in_one_row_of_tiles(self, small_sky, finished, tmp_path):
        other = Window(ROI.x0 + 6, ROI.y0, ROI.x1 + 6, ROI.y1)
        runs = [start(*pipeline(small_sky, tmp_path, roi=roi)) for roi in (ROI, other)]
        for run in runs:
            _, errors = run.communicate(timeout=120)
            assert run.returncode == 0, errors
        assert same_planes(read_planes(tmp_path), read_planes(finished))
        for roi in (ROI, other):
            stages = report(*pipeline(small_sky, tmp_path, roi=roi))["stages"]
            assert all(stage["skipped"] for stage in stages.values())

    @pytest.mark.full
    def test_one_atlas_for_two_data_roots(self, small_sky, finished, tmp_path):
        atlas = tmp_path / "atlas"
        roots = [tmp_path / "one", tmp_path / "two"]
        for root in roots:
            invoke("mapping", small_sky.ffi, "--skycell-wcs-csv", small_sky.catalogue,
                   "--data-root", root, "--roi", ROI, "--max-workers", 1)  # fmt: skip
        shared = ("--zarr-output-dir", atlas, "--archive", small_sky.archive, "--cores", 1)
        runs = [
            start("download", *CCD, "--data-root", root, "--roi", ROI, *shared) for root in roots
        ]
        for run in runs:
            _, errors = run.communicate(timeout=120)
            assert run.returncode == 0, errors
        assert len(list((atlas / "skycells.zarr").glob("*/*/*/zarr.json"))) == 8


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
from syndiff.commands.app import run
run()
"""


@pytest.mark.parametrize(
    "limit_bytes",
    [60_000, *(pytest.param(n, marks=pytest.mark.full) for n in (2_000, 12_000, 90_000))],
)
def test_full_disk(small_sky, finished, tmp_path, limit_bytes):
    """Files beyond a size can't be written: as on a full disk, at one stage after the other."""
    command = [str(argument) for argument in pipeline(small_sky, tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(limit_bytes), *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("syndiff: error: ")
    assert "can't write" in lines[0]
    assert not list(tmp_path.rglob("syndiff_template*"))
    assert max(path.stat().st_size for path in tmp_path.rglob("*")) <= max(limit_bytes, 4096)
    invoke(*command)
    assert template_path(tmp_path).read_bytes() == template_path(finished).read_bytes()
