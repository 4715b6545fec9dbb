"""What stars and transients leave in a difference, from stacks to table: ``docs/difference.md``.

``python -m benchmarks.endtoend FOLDER`` simulates a noisy sky whose bright stars saturate PS1 and
FFIs of it through two responses that the templates don't have, makes templates with and
without a star catalogue, runs ``syndiff difference`` on them and prints the tables. What is
in the folder is not made again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from syndiff.layout import Layout
from syndiff.simulation import Simulation, SimulationConfig, TestStar, plan_simulation, simulate
from syndiff.simulation.ffi import FfiConfig, Transient, ffi_name, shifted, wcs_of, write_ffi
from syndiff.simulation.grid import small_catalogue
from syndiff.simulation.prf import PrfConfig, write_prf_files
from syndiff.simulation.run import EXAMPLE_DETECTOR
from syndiff.simulation.sources import AB_MINUS_TESS_MAG
from syndiff.window import Window

F64 = NDArray[np.float64]

MAGS = (9.0, 10.0, 11.0, 12.0, 12.5, 13.0, 13.5, 14.0)
"""TESS magnitudes of the stars that are measured, three of each."""

EACH = 3
TRANSIENTS = tuple(14.0 + 4.0 * k / 11 for k in range(12))
"""TESS magnitudes of the transients."""

SPACING_PX = 10.0
ACROSS = 6
JITTER_PX = (0.07, -0.05)
CORRELATED = (
    sum(np.exp(-((i - j) ** 2) / (4 * 0.6**2)) for i in range(5) for j in range(5)) ** 2 / 25
)
"""Variance of a sum of 5 x 5 pixels of a template over the sum of their variances, 3.5: the noise
of the stacks and the faint light that is left out go through a response of sigma 0.6 px."""

SEEDS = 5
"""FFIs of each response: noise differs, the sky doesn't."""


def plan() -> SimulationConfig:
    """Return the field: places 10 px apart, three calibrators beside each."""
    size = round(ACROSS * SPACING_PX) + 4
    plain = plan_simulation(kind="field", noise=True, size_px=size, seed=21)
    wcs, field = wcs_of(plain.ffi.wcs_cards), plain.field
    rng = np.random.default_rng(22)
    spots = [(i, j) for j in range(ACROSS) for i in range(ACROSS)]
    rng.shuffle(spots)
    mags = [mag for mag in MAGS for _ in range(EACH)]
    stars: list[tuple[float, float, float]] = []
    transients = []
    for k, (i, j) in enumerate(spots):
        x = field.x0 + 2 + SPACING_PX * (i + 0.5) + rng.uniform(-0.5, 0.5)
        y = field.y0 + 2 + SPACING_PX * (j + 0.5) + rng.uniform(-0.5, 0.5)
        if k < len(mags):
            stars.append((x, y, mags[k]))
        else:
            ra, dec = (float(v) for v in wcs.all_pix2world(x, y, 0))
            transients.append(Transient(ra, dec, TRANSIENTS[k - len(mags)]))
        stars += [
            (x + dx * SPACING_PX / 2, y + dy * SPACING_PX / 2, rng.uniform(15.0, 16.5))
            for dx, dy in ((1, 0), (0, 1), (1, 1))
        ]
    stars += _calibrators_around(field, rng)
    given = []
    for x, y, tmag in stars:
        ra, dec = (float(v) for v in wcs.all_pix2world(x, y, 0))
        colour = float(rng.uniform(0.0, 0.8))
        given.append(TestStar(ra, dec, tmag + AB_MINUS_TESS_MAG, r_minus_i=colour))
    sky = replace(plain.sky, bright_mag=15.5, stars=tuple(given))
    cells = tuple(small_catalogue(wcs, field, cell_px=2000, overlap_px=480))
    ffi = replace(plain.ffi, psf_sigma_px=44.0, jitter_px=JITTER_PX, transients=tuple(transients))
    return replace(plain, sky=sky, skycells=cells, ffi=ffi)


def _calibrators_around(
    field: Window, rng: np.random.Generator
) -> list[tuple[float, float, float]]:
    """Return x, y, T of stars outside the field: its outer skycells need a scale as well."""
    reach, step = 50.0, SPACING_PX / 2
    places = [
        (x, y)
        for x in np.arange(field.x0 - reach, field.x1 + reach, step)
        for y in np.arange(field.y0 - reach, field.y1 + reach, step)
        if not (field.x0 - 2 < x < field.x1 + 2 and field.y0 - 2 < y < field.y1 + 2)
    ]
    return [(float(x), float(y), float(rng.uniform(15.0, 16.5))) for x, y in places]


@dataclass(frozen=True)
class Seen:
    """A response of TESS, and the sky through it without noise: what is steady, and parts of it.

    Planes are of the field, e-/s; `variance` is that of the noise without the transients.
    """

    name: str
    file: Path
    steady: F64
    variance: F64
    measured: F64
    transients: F64


def see(simulation: Simulation, name: str, config: FfiConfig, folder: Path) -> Seen:
    """Draw the sky through a response."""
    quiet = replace(config, noise=False)
    stars = simulation.sources[np.arange(EACH * len(MAGS)) * 4]
    parts = {
        "steady": (simulation.sources, replace(quiet, transients=())),
        "measured": (stars, replace(quiet, transients=(), sky_e_per_s=0.0)),
        "transients": (simulation.sources[:0], replace(quiet, sky_e_per_s=0.0)),
    }
    images, variance = {}, np.zeros(0)
    for part, (sources, how) in parts.items():
        path = folder / name / part / ffi_name(how)
        if not path.exists():
            write_ffi(sources, how, path.parent, seed=0)
        with fits.open(path) as hdus:
            images[part] = hdus[1].data[simulation.config.field.slices].astype(float)
            if part == "steady":
                file, variance = path, hdus[2].data[simulation.config.field.slices].astype(float)
    return Seen(name, file, images["steady"], variance**2, images["measured"], images["transients"])


def noisy(seen: Seen, simulation: Simulation, seed: int) -> Path:
    """Write an FFI with noise: the field's pixels, all others as in the steady one."""
    later = shifted(simulation.config.ffi, cadences=10 + seed, pointing_px=(0.0, 0.0))
    path = seen.file.parents[1] / ffi_name(later)
    if not path.exists():
        rng = np.random.default_rng([23, seed])
        variance = seen.variance + seen.transients / later.exposure_s
        image = seen.steady + seen.transients
        image += np.sqrt(variance) * rng.standard_normal(image.shape)
        with fits.open(seen.file) as hdus:
            for k, plane in ((1, image), (2, np.sqrt(variance))):
                hdus[k].data[simulation.config.field.slices] = plane
            hdus.writeto(path, checksum=True)
    return path


def template(simulation: Simulation, root: Path, *options: str) -> Path:
    """Run the pipeline in a data root unless it has a template; return the template."""
    field = simulation.config.field
    oversample = int(options[options.index("--oversample") + 1]) if "--oversample" in options else 1
    layout = Layout.under(str(root), EXAMPLE_DETECTOR)
    place = Path(str(layout.template(0.0, 0.0, roi=field, oversample=oversample)))
    if not place.exists():
        # The atlas serves all of them.
        made = next(root.parent.glob("*/ps1_skycells_zarr"), None)
        if made is not None and not root.exists():
            for name in ("ps1_skycells_zarr", "mapping_output"):
                shutil.copytree(made.parent / name, root / name)
        words = ["pipeline", simulation.ffi, simulation.catalogue, "--archive", simulation.archive]
        run(*words, "--data-root", root, "--roi", field, "--cores", 1, *options)
    return place


def run(*words: object) -> None:
    """Run a command of syndiff."""
    command = [sys.executable, "-m", "syndiff", *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"syndiff ended with {done.returncode}:\n{done.stderr}")


@dataclass(frozen=True)
class Case:
    """A template and the FFIs that it is subtracted from."""

    title: str
    seen: str
    root: str
    options: tuple[str, ...]
    source: str = "scene"


def cases(simulation: Simulation) -> list[Case]:
    """Return what is compared."""
    prf = ("--psf", "prf", "--prf-dir", str(simulation.directory / "prf"))
    stars = ("--stars", str(simulation.star_catalogue))
    fine = ("--oversample", "4")
    return [
        Case("Gaussian on Gaussian, no catalogue", "gaussian", "gaussian-none", ()),
        Case("Gaussian on Gaussian", "gaussian", "gaussian", stars),
        Case("the same, `--oversample 4`", "gaussian", "gaussian-4", (*stars, *fine), "template"),
        Case("Gaussian on PRF", "prf", "gaussian", stars),
        Case("PRF on PRF, no catalogue", "prf", "prf-none", prf),
        Case("PRF on PRF", "prf", "prf", (*prf, *stars)),
    ]


@dataclass(frozen=True)
class Left:
    """What a difference leaves: parts of stars' fluxes and peaks, and pulls of transients."""

    tmag: F64
    aperture: F64
    peak: F64
    transient_mag: F64
    bias: F64
    pull: F64
    correlated: F64
    """The same pulls with errors in which the template's part is the same over a response."""


def boxes(simulation: Simulation, places: F64) -> list[tuple[slice, slice]]:
    """Return the 5 x 5 pixels of the field around (ra, dec)."""
    config = simulation.config
    x, y = wcs_of(config.ffi.wcs_cards).all_world2pix(*places.T, 0)
    rows = np.rint(y + JITTER_PX[1]).astype(int) - config.field.y0
    columns = np.rint(x + JITTER_PX[0]).astype(int) - config.field.x0
    return [np.s_[j - 2 : j + 3, i - 2 : i + 3] for j, i in zip(rows, columns, strict=True)]


def subtract(simulation: Simulation, case: Case, seen: Seen, ffi: Path, place: Path) -> Left:
    """Run ``syndiff difference`` and compare what it leaves with the truth."""
    out = place.parent / f"{case.seen}_{ffi.stem}_difference.fits"
    root = place.parents[4] if case.source == "scene" else "nowhere"
    if not out.exists():
        run("difference", ffi, place, "--data-root", root, "--output", out)
    with fits.open(out) as hdus:
        image, noise = (np.array(hdus[k].data) for k in ("DIFF", "UNCERT"))
    stars = simulation.config.sky.stars[: 4 * EACH * len(MAGS) : 4]
    found = boxes(simulation, np.array([(s.ra_deg, s.dec_deg) for s in stars]))
    own = [seen.measured[box] for box in found]
    new = simulation.config.ffi.transients
    beside = boxes(simulation, np.array([(t.ra_deg, t.dec_deg) for t in new]))
    bias = np.array([image[box].sum() - seen.transients[box].sum() for box in beside])
    own_noise = fits.getdata(ffi, 2)[simulation.config.field.slices] ** 2
    parts = [(own_noise[box].sum(), (noise[box] ** 2).sum()) for box in beside]
    errors = np.sqrt([(total, read + CORRELATED * (total - read)) for read, total in parts])
    return Left(
        tmag=np.repeat(MAGS, EACH),
        aperture=np.array([image[b].sum() / o.sum() for b, o in zip(found, own, strict=True)]),
        peak=np.array([np.abs(image[b]).max() / o.max() for b, o in zip(found, own, strict=True)]),
        transient_mag=np.array([t.tess_mag for t in new]),
        bias=bias,
        pull=bias / errors[:, 0],
        correlated=bias / errors[:, 1],
    )


def cell_of_stars(mag: float, found: list[Left]) -> str:
    """Return what is left of a magnitude's stars: aperture, peak, medians (worst), in percent."""
    chosen = found[0].tmag == mag
    aperture, peak = (
        100 * np.abs([getattr(left, name)[chosen] for left in found])
        for name in ("aperture", "peak")
    )
    text = ", ".join(f"{np.nanmedian(v):.2f} ({np.nanmax(v):.2f})" for v in (aperture, peak))
    fails = np.nanmax(aperture) > 1 or np.nanmax(peak) > 2
    return f"**{text}**" if fails else text


def row_of_transients(title: str, found: list[Left]) -> str:
    """Return a row: the pulls' mean and scatter, within one sky and of its mean, and the bias."""
    pulls, parts, correlated = (
        np.array([getattr(left, name) for left in found]) for name in ("pull", "bias", "correlated")
    )
    known = np.isfinite(pulls).all(axis=0)
    mags = found[0].transient_mag[known]
    pulls, correlated = pulls[:, known], correlated[:, known]
    parts = parts[:, known] / 10 ** (-0.4 * (mags - 20.44))
    cells = [
        title,
        f"{known.sum()} x {len(found)}",
        f"{100 * parts[:, mags < 16].mean():+.2f} %",
        f"{pulls.mean():+.2f}",
        f"{pulls.std():.2f}",
        f"{np.sqrt(pulls.var(axis=0, ddof=1).mean()):.2f}",
        f"{correlated.std():.2f}",
        f"{np.abs(correlated).max():.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main(folder: Path) -> None:
    """Simulate, run, and print the tables."""
    is_made = (folder / "sky" / "simulation.json").exists()
    simulation = Simulation.load(folder / "sky") if is_made else simulate(plan(), folder / "sky")
    write_prf_files(PrfConfig(), EXAMPLE_DETECTOR, simulation.prf)
    responses = {
        "gaussian": simulation.config.ffi,
        "prf": replace(simulation.config.ffi, prf=PrfConfig()),
    }
    seen = {k: see(simulation, k, how, folder / "ffi") for k, how in responses.items()}
    left = {}
    for case in cases(simulation):
        place = template(simulation, folder / case.root, *case.options)
        sky = seen[case.seen]
        left[case.title] = [
            subtract(simulation, case, sky, noisy(sky, simulation, k), place) for k in range(SEEDS)
        ]
    print(f"| T | {' | '.join(left)} |", "| --- " * (len(left) + 1) + "|", sep="\n")
    for mag in MAGS:
        print(f"| {mag:.1f} | {' | '.join(cell_of_stars(mag, found) for found in left.values())} |")
    names = "case, places x FFIs, bias T < 16, mean pull, scatter, of noise, correlated, worst"
    print(f"\n| {names.replace(', ', ' | ')} |")
    print("| --- " * 8 + "|")
    for title, found in left.items():
        print(row_of_transients(title, found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
