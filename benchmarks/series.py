"""Cost of the differences of many FFIs of a whole CCD, and what they leave of stars.

`python -m benchmarks.series FOLDER [--frames N] [--sfft]`: a scene of 200,000 stars drawn in closed
form stands in for PS1, FFIs with a lopsided response that varies over the field, an uneven sky,
noise, and a pointing of their own. With `--sfft`, one of them by SFFT too, on the template of its
own pointing (``pip install sfft`` first).
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from pathlib import Path

import numba
import numpy as np
from astropy.io import fits

from syndiff.differences.products import read_difference
from syndiff.ffi.tiles import EDGE_PX, TileGrid
from syndiff.layout import Detector, Layout
from syndiff.pipeline import run_difference, run_stages
from syndiff.scenes.metadata import (
    GaussianRecord,
    SceneMetadata,
    SceneOrigin,
    TileRow,
    write_scene_metadata,
)
from syndiff.scenes.scene import SceneStrip
from syndiff.scenes.store import SceneStore
from syndiff.settings import Settings
from syndiff.simulation.ffi import SCIENCE, FfiConfig, example_cards, shifted, write_ffi
from syndiff.simulation.sky import Cap, SkyConfig, make_sources
from syndiff.sky.mapping_files import read_mapping
from syndiff.stages.run import Run
from syndiff.window import Window

DETECTOR = Detector(20, 3, 3)
SCALE = 0.0215
"""e-/s of template flux 1."""
TEMPLATE_SIGMA_PX = 0.5


@numba.njit
def _in_pixel(distance, sigma):
    low, high = (distance - 0.5) / (sigma * 2**0.5), (distance + 0.5) / (sigma * 2**0.5)
    return 0.5 * (math.erf(high) - math.erf(low))


@numba.njit
def draw(stars, parts, first, step, out):
    """Add stars (x, y, flux), each of parts (weight, dx, dy, sigma), to samples of an image."""
    rows, columns = out.shape
    for n in range(stars.shape[0]):
        for weight, dx, dy, sigma in parts[n]:
            x, y, reach = stars[n, 0] + dx, stars[n, 1] + dy, 6.5 * sigma + 0.5
            i0 = max(0, int((x - reach - first[0]) / step))
            i1 = min(columns, int((x + reach - first[0]) / step) + 2)
            j0 = max(0, int((y - reach - first[1]) / step))
            j1 = min(rows, int((y + reach - first[1]) / step) + 2)
            if i1 <= i0 or j1 <= j0:
                continue
            across = np.array([_in_pixel(first[0] + i * step - x, sigma) for i in range(i0, i1)])
            for j in range(j0, j1):
                row = stars[n, 2] * weight * _in_pixel(first[1] + j * step - y, sigma)
                for i in range(i0, i1):
                    out[j, i] += row * across[i - i0]


def make_stars(rng):
    """Stars to T = 17, one a hundred pixels brighter than T = 14, none above T = 9."""
    around = SCIENCE.grown(10)
    count = rng.poisson(around.shape[0] * around.shape[1] * 0.01 * 10**0.66)
    mags = 17 + np.log10(rng.random(count)) / 0.22
    mags = mags[mags > 9]
    x, y = (
        rng.uniform(*edges, len(mags)) for edges in ((around.x0, around.x1), (around.y0, around.y1))
    )
    return np.column_stack([x, y, 10 ** (-0.4 * (mags - 20.44)) / SCALE])


def response(stars, breath):
    """A core and wings that vary over the field; `breath` is the frame's own change of focus."""
    x, y = ((stars[:, k] - 1024) / 1024 for k in (0, 1))
    one = np.ones(len(stars))
    core = (0.8 * one, 0.04 + 0.05 * x, -0.03 + 0.05 * y**2, 0.52 + breath + 0.03 * x * y)
    wings = (0.2 * one, 0.1 * one, 0.05 * one, 0.75 + 0.05 * x)
    return np.stack([np.stack(part, -1) for part in (core, wings)], 1)


def make_root(folder, stars):
    """Mapping, scene and template; returns the template and the reference FFI's settings."""
    config = FfiConfig(DETECTOR, example_cards())
    reference = write_frame(folder, config, stars, 0.0, 0)[0]
    settings = Settings(data_root=str(folder / "data"))
    run = Run(str(reference), settings)
    run_stages(run, "mapping")
    _write_scene(run.layout, stars)
    run_stages(Run(DETECTOR, settings), "downsample")
    (template,) = (folder / "data").rglob("syndiff_template*.fits")
    return str(template), settings


def _write_scene(layout: Layout, stars):
    around = TileGrid(SCIENCE).pixels(Window(0, 0, *TileGrid(SCIENCE).shape[::-1])).grown(EDGE_PX)
    rows, columns = around.shape
    flux = np.zeros((4 * rows, 4 * columns), np.float32)
    parts = np.tile([1.0, 0.0, 0.0, TEMPLATE_SIGMA_PX], (len(stars), 1, 1))
    draw(stars, parts, (float(around.x0), float(around.y0)), 0.25, flux)
    aux = np.zeros((6, 2 * rows, 2 * columns), np.float32)
    aux[0], aux[1], aux[3] = 4.0, 1600, 1
    strip = SceneStrip(flux, aux, np.zeros(aux.shape[1:], np.uint8))
    settings = Settings(background="none", ignore_mask_bits="")
    config = settings.scene("").to_dict()
    origin = SceneOrigin(
        software="syndiff",
        sector=DETECTOR.sector,
        camera=DETECTOR.camera,
        ccd=DETECTOR.ccd,
        ffi="reference.fits",
        frame_digest="",
        config=config,
        reduction=settings.reduction,
        response=GaussianRecord("gaussian", 40.0, 6, 8, 3.6),
    )
    store = SceneStore(layout.scene, SCIENCE)
    store.create("0123456789abcdef", origin)
    down, across = TileGrid(SCIENCE).shape
    for row in range(down):
        y = slice(row * 64, row * 64 + 64 + 2 * EDGE_PX)
        part = SceneStrip(
            flux[4 * y.start : 4 * y.stop],
            aux[:, 2 * y.start : 2 * y.stop],
            strip.flags[2 * y.start : 2 * y.stop],
        )
        store.write(row, range(across), part, np.full(across, 7, np.uint64))
    names = tuple(member.skycell.name for member in read_mapping(layout).members)
    pairs = ((row, column) for row in range(down) for column in range(across))
    content = SceneMetadata(
        **vars(origin),
        digest="0123456789abcdef",
        parts=(names,),
        tiles=tuple(TileRow(row, column, f"{7:016x}", 0) for row, column in pairs),
        mapped=len(names),
        stars=None,
        skycells=(),
        windows=((SCIENCE.x0, SCIENCE.y0, SCIENCE.x1, SCIENCE.y1),),
    )
    write_scene_metadata(layout, content)


def write_frame(folder, config, stars, breath, seed):
    """Write an FFI; returns its path, the noise-free light of its stars, and its noise."""
    nothing = make_sources(SkyConfig(star_density=0, galaxy_density=0), Cap((1.0, 0, 0), 1))
    path = write_ffi(nothing, config, folder, seed=1)
    moved = stars + np.array([*config.pointing_px, 0.0])
    light = np.zeros(SCIENCE.shape)
    draw(moved, response(moved, breath), (float(SCIENCE.x0), float(SCIENCE.y0)), 1.0, light)
    light *= SCALE
    y, x = np.mgrid[: SCIENCE.shape[0], : SCIENCE.shape[1]] / 2048
    sky = 100 + 30 * np.sin(3 * x) * np.cos(2 * y) + 3 * x
    noise = np.sqrt((light + sky) * 1440 + 70_000) / 1440
    rng = np.random.default_rng(seed)
    with fits.open(path, mode="update") as hdus:
        hdus[1].data[SCIENCE.slices] = light + sky + noise * rng.standard_normal(noise.shape)
        hdus[2].data[SCIENCE.slices] = noise
    return path, light, sky, noise


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def left_of(difference, light, noise, flagged):
    """What is left in 5 x 5 px of isolated stars T 9-14, and of empty sky, by the truth."""
    from scipy.ndimage import maximum_filter, uniform_filter

    peaks = (light == maximum_filter(light, 19)) & (light > 30 * noise) & ~flagged
    known = uniform_filter(np.isfinite(difference).astype(float), 5) > 0.999
    alone, difference = peaks & known, np.nan_to_num(difference)
    alone[:8] = alone[-8:] = alone[:, :8] = alone[:, -8:] = False
    flux, left = (25 * uniform_filter(plane, 5)[alone] for plane in (light, difference))
    error = np.sqrt(25 * uniform_filter(noise**2, 5)[alone])
    bright = flux > 10 ** (-0.4 * (14 - 20.44))
    empty = (light < 0.05 * noise) & known & ~flagged
    near = (light > 5 * noise) & known & ~flagged
    return {
        "stars": int(bright.sum()),
        "aperture residual, median": float(np.median(np.abs(left / flux)[bright])),
        "of it noise": 0.6745 * float(np.median((error / flux)[bright])),
        "rms / noise, empty sky": float(np.std((difference / noise)[empty])),
        "rms / noise, stars": float(np.std((difference / noise)[near])),
        "robust, stars": 1.4826 * float(np.median(np.abs((difference / noise)[near]))),
    }


def run_sfft(folder, ffi, template, saturated):
    """The difference by SFFT 1.7's recipe of docs/difference.md, and its cost."""
    from sfft.CustomizedPacket import Customized_Packet

    science = fits.getdata(ffi, 1)[SCIENCE.slices].astype(float)
    light = SCALE * np.nan_to_num(template)
    names = [str(folder / f"{n}.fits") for n in ("ref", "sci", "ref_masked", "sci_masked", "diff")]
    sky = np.median(science)
    for name, plane in zip(names, (light, science - sky, light, science - sky), strict=False):
        masked = np.where(saturated, 0, plane) if "masked" in name else plane
        fits.writeto(name, masked.T.T.astype(float), overwrite=True)
    start = cpu_seconds()
    Customized_Packet.CP(
        *names[:4], ForceConv="REF", GKerHW=4, KerPolyOrder=2, BGPolyOrder=2, ConstPhotRatio=True,
        FITS_DIFF=names[4], BACKEND_4SUBTRACT="Numpy", NUM_CPU_THREADS_4SUBTRACT=1,
    )  # fmt: skip
    return fits.getdata(names[4]), cpu_seconds() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--options", default="", help="name=value,... of settings")
    parser.add_argument("--sfft", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    stars = make_stars(np.random.default_rng(1))
    template, settings = make_root(given.folder, stars)
    base = FfiConfig(DETECTOR, example_cards())
    frames = []
    for k in range(1, given.frames + 1):
        config = shifted(base, cadences=k, pointing_px=(0.05 * k, -0.03 * k))
        frames.append(write_frame(given.folder, config, stars, 0.005 * k, k))
    seconds = []
    options = dict(pair.split("=") for pair in given.options.split(",") if pair)
    asked = Settings(
        data_root=settings.data_root, output=str(given.folder / "out"), overwrite=True, **options
    )
    start = time.process_time()
    run_difference(
        [str(frame[0]) for frame in frames], template, asked,
        progress=lambda *_: seconds.append(cpu_seconds()),
    )  # fmt: skip
    print(f"{len(stars)} stars; core-s from frame to frame: {np.diff(seconds).round(2)}")
    print(f"whole run {time.process_time() - start:.1f} core-s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    out = sorted((given.folder / "out").glob("*.fits"))
    print(f"{sum(p.stat().st_size for p in out) / len(out) / 1e6:.1f} MB a difference")
    last = SCIENCE.slices
    for path, (_, light, _, noise) in list(zip(out, frames, strict=True))[-1:]:
        planes, header = read_difference(path.read_bytes(), path.name)
        bad = planes["DQ"][last] & 512 != 0
        found = left_of(planes["DIFF"][last].astype(float), light, noise, bad)
        print(f"{header['FFI']}: {found}; SCATTER {header['SCATTER']:.3f}")
    if given.sfft:
        run = Run(DETECTOR, Settings(data_root=settings.data_root, follow=(str(frames[-1][0]),)))
        run_stages(run, "downsample")
        (own,) = (p for p in (given.folder / "data").rglob("syndiff*.fits") if "ffic" in p.name)
        flux = fits.getdata(own, "FLUX_SUM")[last]
        image, cost = run_sfft(given.folder, frames[-1][0], flux, bad)
        found = left_of(image.astype(float), frames[-1][1], frames[-1][3], bad)
        print(f"SFFT: {cost:.0f} core-s, {found}")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
