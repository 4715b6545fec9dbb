"""Figures of a whole CCD: mapping, scene and templates from 1000 reduced skycells."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

from benchmarks import stronger
from benchmarks.figures import Row, cpu_seconds, isolated, measured
from benchmarks.onecell import reduced_skycell, stronger_costs, textbook_costs
from syndiff.ffi.tiles import MARGIN_PX
from syndiff.settings import Settings
from syndiff.sky.mapping import Reference, map_frame
from syndiff.sky.mapping_files import write_mapping, write_skycell_map
from syndiff.stages.downsample import downsample_stage
from syndiff.stages.process import process_stage
from syndiff.stages.run import Run
from syndiff.window import Window

OFFSETS = tuple((round(0.1 * k, 3), round(-0.07 * k, 3)) for k in range(10))
SAMPLE = 40
"""Skycell maps that are written; the rest is scaled."""

QUICK = Window(44, 896, 2092, 1152)
"""An eighth of the CCD."""


def run_mapping(inputs):
    """Map the CCD; return the number of skycells and costs of the list and of the maps."""
    days = "2020-01-01T00:00:00Z", "2020-01-01T00:30:00Z"
    reference = Reference("benchmark.fits", "SPOC", *days)
    arguments = {"margin_px": MARGIN_PX, "reference": reference}
    mapping, cost = measured(
        functools.partial(map_frame, inputs.frame, inputs.tessellation, **arguments)
    )
    _, written = measured(write_mapping, mapping, inputs.layout)
    science = [m.skycell for m in mapping.members if m.role == "science"]
    some = science[:: math.ceil(len(science) / SAMPLE)]
    place = inputs.layout.skycell_map(some[0].name)
    write_skycell_map(some[0], inputs.frame, place)

    def write():
        for skycell in some:
            write_skycell_map(skycell, inputs.frame, inputs.layout.skycell_map(skycell.name))

    _, maps = measured(write)
    sizes = [len(inputs.layout.skycell_map(cell.name).read()) for cell in some]
    return len(science), cost.cpu_s + written.cpu_s, maps.cpu_s / len(some), max(sizes)


def run_scene(inputs, roi):
    """Render and sample; return the costs of scene, ten offsets and one more."""
    layout, seconds = inputs.layout, []
    roots = {"data_root": layout.data_root, "atlas": layout.atlas_root}
    settings = Settings(**roots, roi=roi, offsets=OFFSETS, overwrite=True)
    small = replace(settings, roi=Window(1000, 1000, 1010, 1010), offsets=OFFSETS[:1])
    run = Run(layout.detector, small)
    process_stage(run)
    downsample_stage(run)
    run = run.asked(settings, lambda *_: seconds.append(cpu_seconds()))
    _, scene = measured(functools.partial(process_stage, run))
    seconds.clear()
    _, ten = measured(functools.partial(downsample_stage, run))
    convolved = sum(size for _, size in inputs.layout.scene.walk())
    # The first one gets memory for all; the others show what one more takes in the same run.
    return scene, ten, (seconds[-1] - seconds[1]) / (len(OFFSETS) - 1), convolved


def rows(inputs, *, quick=False):
    """Yield the CCD's rows."""
    (count, listed, each, largest), cost = isolated(run_mapping, inputs)
    twin, _ = textbook_costs(inputs)
    strong, _ = stronger_costs(inputs)
    yield Row(
        "mapping of a CCD",
        listed + count * each,
        {"maps <= 1 MB each": largest <= 1e6},
        textbook=count * twin["map"],
        stronger=count * strong["pixmap"],
        peak_gb=cost.peak_gb,
        note=f"{listed:.2f} s to find and share, {1e3 * each:.0f} ms a map ({SAMPLE} written, "
        f"scaled to {count}), {largest / 1e6:.2f} MB at most; twins without files",
    )
    inputs.fill_atlas(reduced_skycell(inputs)[0])
    roi = QUICK if quick else None
    part = "an eighth of the CCD, scaled" if quick else "1057 skycells"
    scale = 8 if quick else 1
    (scene, ten, one, size), cost = isolated(run_scene, inputs, roi)
    frame_fft = measured(_strong_convolution, inputs)[1].cpu_s
    yield Row(
        "scene and 10 offsets",
        scale * (scene.cpu_s + ten.cpu_s),
        {
            "<= 60 core-s": scale * (scene.cpu_s + ten.cpu_s) <= 60,
            "<= 1.5 GB": cost.peak_gb <= 1.5,
        },
        textbook=count * (twin["convolve"] + twin["map"] + 10 * twin["bin"]),
        stronger=count * sum(strong.values()) + frame_fft,
        peak_gb=cost.peak_gb,
        note=f"{part}: scene {scale * scene.cpu_s:.1f} s, offsets {scale * ten.cpu_s:.1f} s; "
        f"scene {scale * size / 1e6:.0f} MB on disk; stronger twin: light only, one offset",
    )
    yield Row(
        "one more offset",
        scale * one,
        {"<= 0.5 core-s": scale * one <= 0.5},
        textbook=count * twin["bin"],
        peak_gb=cost.peak_gb,
        note="eight planes, FITS with checksums, mean of nine after the first; textbook: light "
        "only, positions kept",
    )


def _strong_convolution(inputs):
    import numpy as np

    side = stronger.SAMPLES_PER_PX
    light = np.zeros([side * n // 4 for n in inputs.frame.science.shape], np.float32)
    for _ in range(16):
        stronger.convolve(light, sigma_px=side / 2)
