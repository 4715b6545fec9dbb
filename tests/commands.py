"""The command line, run in this process or in one of its own, and what it leaves on disk."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from typer.testing import CliRunner

from syndiff.commands.app import app
from syndiff.layout import Detector, Layout
from syndiff.window import Window

DETECTOR = Detector(20, 3, 3)
ROI = Window(1001, 1001, 1005, 1005)
"""Well inside the skycells of `small_sky`."""
PLANES = ("FLUX_SUM", "COUNT", "MASK", "UNCERT", "COVERAGE", "DQ", "FAINT", "FAINTERR")


def invoke(*arguments, code=0):
    """Run a command in this process; returns click's result after checking its exit code."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def refused(*arguments, code=1):
    """Run a command that must fail with one line on stderr; returns that line."""
    result = invoke(*arguments, code=code)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("syndiff: error: ")
    return lines[0]


def report(*arguments, code=0):
    """Run a command with --json; returns its report, stages by name."""
    content = json.loads(invoke(*arguments, "--json", code=code).stdout)
    return {**content, "stages": {stage["stage"]: stage for stage in content["stages"]}}


def pipeline(sky, root, *, archive=None, roi=ROI):
    """The arguments of a whole run on a simulated sky."""
    return (
        *("pipeline", sky.ffi, sky.catalogue, "--archive", archive or sky.archive),
        *("--data-root", root, "--roi", roi, "--cores", 1),
    )


def start(*arguments, **environment):
    """Start a command in a process of its own, in its own process group."""
    return subprocess.Popen(
        [sys.executable, "-m", "syndiff", *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=take_interrupts,  # noqa: PLW1509 - it sets a signal only
    )


def take_interrupts():
    """Let a new process take Ctrl-C: what runs in the background ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def template_path(root, *, dx=0.0, dy=0.0, roi=ROI):
    return Path(str(Layout.under(root, DETECTOR).template(dx, dy, roi=roi)))


def read_planes(root, **which):
    """The planes of a template, by name."""
    with fits.open(template_path(root, **which)) as hdus:
        return {name: np.array(hdus[name].data) for name in PLANES}


def read_header(root, **which):
    return fits.getheader(template_path(root, **which), "FLUX_SUM")


def same_planes(first, second):
    """Whether two templates agree in every bit of every plane."""
    return all(first[name].tobytes() == second[name].tobytes() for name in PLANES)


def tree(folder):
    """Every file below a folder and the digest of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }
