"""What no program could beat on this machine: memory, disk and network."""

from __future__ import annotations

import numpy as np

from benchmarks.figures import Row, measured

CCD_SKYCELLS = 1017
NETWORKS = (100e6, 1e9)


def floor_rows(inputs):
    """Yield the floor of one skycell: decoding, memory, network."""
    skycell = inputs.skycell
    pixels = 8 * skycell.nx * skycell.ny
    source = np.ones(pixels // 4, np.int16)
    target = np.zeros_like(source)
    _, copy = measured(np.copyto, target, source, repeats=3)
    bandwidth = 2 * source.nbytes / copy.cpu_s
    yield Row(
        "floor: read each decoded value once",
        pixels * 2 / bandwidth,
        note=f"{pixels * 2 / 1e6:.0f} MB at {bandwidth / 1e9:.1f} GB/s, measured by a copy",
    )
    size = sum(path.stat().st_size for path in inputs.stack_files().values())
    for speed in NETWORKS:
        yield Row(
            f"floor: network at {speed / 1e6:.0f} MB/s",
            size / speed,
            note=f"{size / 1e6:.0f} MB; a CCD {CCD_SKYCELLS * size / speed / 3600:.2g} h",
        )
