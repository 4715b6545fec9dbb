"""Workers of every kind, and a data root on S3: the same template in every bit."""

import contextlib
import subprocess
import sys

from commands import (
    DETECTOR,
    ROI,
    invoke,
    pipeline,
    refused,
    report,
    template_path,
)
from servers import s3_server

from syndiff.layout import Layout


def with_cores(command, cores):
    """The arguments of a run with another number of worker processes."""
    return [*command[: command.index("--cores")], "--cores", cores]


@contextlib.contextmanager
def dask_cluster(workers):
    """A scheduler and workers in processes of their own; yields its address."""
    python = (sys.executable, "-m", "distributed.cli.dask_scheduler")
    quiet = {"stdout": subprocess.DEVNULL, "text": True}
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
    scheduler = subprocess.Popen([*python, *options], stderr=subprocess.PIPE, **quiet)
    processes = [scheduler]
    try:
        address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at:" in line)
        for _ in range(workers):
            worker = (sys.executable, "-m", "distributed.cli.dask_worker", address)
            options = ("--nthreads", "1", "--no-nanny", "--no-dashboard")
            processes.append(
                subprocess.Popen([*worker, *options], stderr=subprocess.DEVNULL, **quiet)
            )
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=20)
        scheduler.stderr.close()


def test_two_worker_processes(small_sky, finished, tmp_path):
    invoke(*with_cores(pipeline(small_sky, tmp_path), 2))
    assert template_path(tmp_path).read_bytes() == template_path(finished).read_bytes()


def test_running_scheduler(small_sky, finished, tmp_path):
    with dask_cluster(workers=2) as address:
        invoke(*pipeline(small_sky, tmp_path), "--scheduler", address)
    assert template_path(tmp_path).read_bytes() == template_path(finished).read_bytes()


def test_data_root_on_s3(small_sky, finished, monkeypatch):
    root = "s3://bucket/some/prefix"
    with s3_server(monkeypatch, "bucket"):
        stages = report(*pipeline(small_sky, root))["stages"]
        place = Layout.under(root, DETECTOR).template(0, 0, roi=ROI)
        assert stages["downsample"]["products"] == [str(place)]
        assert place.read() == template_path(finished).read_bytes()
        again = report(*pipeline(small_sky, root))["stages"]
        assert all(stage["skipped"] for stage in again.values())


def test_bucket_that_is_not_there(small_sky, monkeypatch):
    with s3_server(monkeypatch, "bucket"):
        line = refused(*pipeline(small_sky, "s3://no-such-bucket/x"))
    assert "can't write s3://no-such-bucket/x" in line


def test_url_without_a_bucket(small_sky):
    line = refused(*pipeline(small_sky, "s3://"), code=2)
    assert "'s3://' names no bucket" in line
