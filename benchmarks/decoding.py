"""Figures of decoding: full-size files of one skycell, plane by plane."""

from __future__ import annotations

import itertools

import numpy as np

from benchmarks import textbook
from benchmarks.figures import Row, measured
from syndiff.stacks.archive import PLANES
from syndiff.stacks.stackfile import open_stackfile

STRIP = 64


def decode_file(data, skycell, band, plane):
    """Decode all rows of a file, a strip at a time, as the reduction does."""
    stack = open_stackfile(data, source="benchmark", plane=plane, band=band, skycell=skycell)
    dtype = np.uint16 if plane == "mask" else np.int16
    out = np.empty((STRIP, skycell.nx), dtype)
    for j0, j1 in itertools.pairwise([*range(0, skycell.ny, STRIP), skycell.ny]):
        stack.rows(j0, j1, out=out[: j1 - j0])


def rows(inputs):
    """Yield a row for each kind of plane."""
    files, skycell = inputs.stack_files(), inputs.skycell
    for plane in PLANES:
        path = files["r", plane]
        data = path.read_bytes()
        decode_file(data, skycell, "r", plane)
        _, ours = measured(decode_file, data, skycell, "r", plane, repeats=3)
        _, twin = measured(textbook.decode, [path], repeats=2)
        speed = skycell.nx * skycell.ny / ours.cpu_s / 1e6
        yield Row(
            f"decode one {plane}",
            ours.cpu_s,
            {">= 4 x astropy": twin.cpu_s >= 4 * ours.cpu_s} if plane == "image" else {},
            textbook=twin.cpu_s,
            note=f"{len(data) / 1e6:.0f} MB, {speed:.0f} Mpx/s; astropy to integers",
        )
