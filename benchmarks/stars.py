"""Residuals of bright and moving stars, with and without a catalogue: ``docs/stars-accuracy.md``.

``python -m benchmarks.stars > docs/stars-accuracy.md`` simulates a noisy sky whose bright stars
saturate PS1, runs the real command with ``--stars none`` and ``--stars FILE`` and compares both
templates with the truth at the FFI's epoch.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits

from syndiff.layout import Layout
from syndiff.simulation import Simulation, SimulationConfig, TestStar, plan_simulation, simulate
from syndiff.simulation.ffi import wcs_of
from syndiff.simulation.grid import small_catalogue
from syndiff.simulation.run import EXAMPLE_DETECTOR
from syndiff.simulation.sources import AB_MINUS_TESS_MAG

MAGS = (7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 12.5, 13.0, 13.3, 13.6, 14.0, 15.0)
"""TESS magnitudes of the stars that are measured, each twice: still and moving."""

MOTION_MAS = (350.0, -250.0)
"""Proper motion of the moving ones: 3.1" between PS1 and the FFI, 0.15 TESS pixels."""

_SPACING_PX = 7.0
_CALIBRATORS = (14.6, 16.4)


@dataclass(frozen=True)
class StarResidual:
    """One star in a template against the truth, as parts of the star's flux or peak."""

    tmag: float
    moves: bool
    flux: float
    worst: float
    uncertainty: float


def bright_plan(
    mags: tuple[float, ...] = MAGS, *, spacing_px: float = _SPACING_PX, cell_px: int = 2000
) -> SimulationConfig:
    """Return a field with stars of given T, still and moving, and fainter ones between them."""
    across = int(np.ceil(np.sqrt(2 * len(mags))))
    size = round(across * spacing_px) + 4
    plain = plan_simulation(kind="field", noise=True, size_px=size, seed=11)
    wcs, field = wcs_of(plain.ffi.wcs_cards), plain.field
    rng = np.random.default_rng(12)
    spots = [(i, j) for j in range(across) for i in range(across)]
    stars = []
    for k, (i, j) in enumerate(spots):
        x, y = (
            v + 2 + spacing_px * (n + 0.5) + rng.uniform(-0.5, 0.5)
            for v, n in ((field.x0, i), (field.y0, j))
        )
        tmag = mags[k // 2] if k < 2 * len(mags) else rng.uniform(*_CALIBRATORS)
        motion = MOTION_MAS if k % 2 and k < 2 * len(mags) else (0.0, 0.0)
        stars.append((x, y, tmag, motion))
        # between four of them, for the scale
        stars.append((x + spacing_px / 2, y + spacing_px / 2, rng.uniform(*_CALIBRATORS), (0, 0)))
    given = []
    for x, y, tmag, motion in stars:
        ra, dec = (float(v) for v in wcs.all_pix2world(x, y, 0))
        colour = float(rng.uniform(0.0, 0.8))
        mag = float(tmag) + AB_MINUS_TESS_MAG
        given.append(TestStar(ra, dec, mag, r_minus_i=colour, pm_mas_per_year=motion))
    sky = replace(plain.sky, bright_mag=14.5, star_density=2.0, stars=tuple(given))
    cells = tuple(small_catalogue(wcs, field, cell_px=cell_px, overlap_px=480))
    return replace(plain, sky=sky, skycells=cells)


def template(simulation: Simulation, root: Path, *options: str) -> dict[str, np.ndarray]:
    """Run the command and return the planes of its template."""
    field = simulation.config.field
    words = [sys.executable, "-m", "syndiff", "pipeline", simulation.ffi, simulation.catalogue]
    words += ["--archive", simulation.archive, "--data-root", root, "--roi", field, *options]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"syndiff ended with {done.returncode}:\n{done.stderr}")
    place = Layout.under(str(root), EXAMPLE_DETECTOR).template(0.0, 0.0, roi=field)
    with fits.open(str(place)) as hdus:
        planes = {hdu.name: np.array(hdu.data) for hdu in hdus[1:7]}
        planes["HEADER"] = hdus["FLUX_SUM"].header.copy()
    return planes


def residuals(
    simulation: Simulation, planes: dict[str, np.ndarray], mags: tuple[float, ...] = MAGS
) -> list[StarResidual]:
    """Return how far the measured stars are from the truth at the FFI's epoch."""
    year, field = simulation.config.ffi.year, simulation.config.field
    truth = simulation.truth(year=year)
    found = []
    given = simulation.sources[np.arange(0, 4 * len(mags), 2)]
    x, y = wcs_of(simulation.config.ffi.wcs_cards).all_world2pix(*given.at(year), 0)
    for k in range(2 * len(mags)):
        i, j = round(float(x[k])) - field.x0, round(float(y[k])) - field.y0
        box = np.s_[j - 2 : j + 3, i - 2 : i + 3]
        own = simulation.truth(year=year, sources=given[k : k + 1])[box]
        difference = planes["FLUX_SUM"][box] - truth[box]
        found.append(
            StarResidual(
                tmag=mags[k // 2],
                moves=bool(k % 2),
                flux=float(np.nansum(difference) / own.sum()),
                worst=float(np.nanmax(np.abs(difference)) / own.max()),
                uncertainty=float(planes["UNCERT"][j, i] / own.max()),
            )
        )
    return found


def _row(without: StarResidual, put: StarResidual) -> str:
    cells = [
        f"{put.tmag:.1f}",
        "yes" if put.moves else "",
        *(f"{100 * v:+.2f}" for v in (without.flux, put.flux)),
        *(f"{100 * v:.2f}" for v in (without.worst, put.worst, put.uncertainty)),
    ]
    return f"| {' | '.join(cells)} |"


def page(without: list[StarResidual], put: list[StarResidual], header: fits.Header) -> str:
    """Return the docs' page."""
    rows = "\n".join(_row(*pair) for pair in zip(without, put, strict=True))
    speed = float(np.hypot(*MOTION_MAS))
    return f"""# Bright stars: what is left

Made by `python -m benchmarks.stars > docs/stars-accuracy.md`.

A noisy sky whose bright stars saturate PS1 (clipped and lost cores, spikes, a halo of half a
percent), made into templates by `syndiff pipeline` with `--stars none` and with a catalogue that
has Gaia's errors; both against the truth at the FFI's epoch. Stars that move do so by
{speed:.0f} mas a year, 0.15 TESS pixels between PS1 and the FFI. *flux*: of (template - truth) over
5 x 5 pixels, in percent of the star's flux; *largest*: of any of those pixels, in percent of the
star's peak; *UNCERT*: of its middle pixel. Faint light that PS1 does not detect and `matched`
leaves out is part of *flux*: it is what is left of the faintest.

Scale measured: AB - T = {header["STARZP"]:.4f} +- {header["STARZPER"]:.4f} (true:
{AB_MINUS_TESS_MAG}), on {header["STARNCAL"]} stars in all skycells, which scatter by
{header["STARSCAT"]:.4f} mag.

| T | moves | flux, none | flux, put back | largest, none | largest, put back | UNCERT |
| --- | --- | --- | --- | --- | --- | --- |
{rows}
"""


def main() -> None:
    """Simulate, run, and print the page."""
    with tempfile.TemporaryDirectory() as folder:
        simulation = simulate(bright_plan(), Path(folder, "sky"))
        root = Path(folder, "data")
        without = residuals(simulation, template(simulation, root))
        planes = template(simulation, root, "--stars", str(simulation.star_catalogue))
        print(page(without, residuals(simulation, planes), planes["HEADER"]))


if __name__ == "__main__":
    main()
