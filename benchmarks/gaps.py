"""Pixels beside gaps and saturated stars, for docs/places.md: ``python -m benchmarks.gaps``.

Skies without noise whose stacks have many more gaps than real ones, or stars from magnitude 7 on.
A pixel is wrong if it errs by more than 1 % of its true flux and by more than its UNCERT.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.figures import isolated
from benchmarks.stars import template
from syndiff.masks import DataQuality, StackMask
from syndiff.simulation import Simulation, TestStar, plan_simulation, simulate, survey
from syndiff.simulation.ffi import wcs_of
from syndiff.simulation.grid import small_catalogue
from syndiff.simulation.sources import AB_MINUS_TESS_MAG

SIDE_PX = 34
BRIGHT = (7, 8, 9, 10, 11, 12, 12.5, 13, 13.3, 13.6, 7.5, 8.5, 9.5, 10.5, 11.5)
"""TESS magnitudes of the saturated stars."""

_GAPS = 12
_DETECTOR_FLAGS = DataQuality.TESS_STRAP | DataQuality.TESS_SATURATED | DataQuality.TESS_BLEED


def _stars(kind: str, plain) -> tuple[TestStar, ...]:
    """Return saturated stars on a grid among fainter ones, or stars beside gaps."""
    rng, field = np.random.default_rng(12), plain.field
    bright = []
    if kind == "saturated":
        for k, mag in enumerate(BRIGHT):
            j, i = divmod(k, 4)
            x, y = (
                np.array([field.x0 + 8.5 * i, field.y0 + 8.5 * j]) + 4 + rng.uniform(-0.5, 0.5, 2)
            )
            bright.append((x, y, mag + AB_MINUS_TESS_MAG))
    count, mags = (250, (14.9, 16.8)) if bright else (300, (14.2, 17.0))
    low, high = np.array([field.x0, field.y0]) - 2, np.array([field.x1, field.y1]) + 2
    faint = [(*rng.uniform(low, high), rng.uniform(*mags)) for _ in range(count)]
    wcs, given = wcs_of(plain.ffi.wcs_cards), []
    for x, y, mag in (*bright, *faint):
        ra, dec = (float(v) for v in wcs.all_pix2world(x, y, 0))
        given.append(TestStar(ra, dec, float(mag), r_minus_i=float(rng.uniform(0, 0.8))))
    return tuple(given)


def _make(kind: str, folder: Path) -> None:
    """Simulate a sky; gaps are the same in all bands, or others in each."""
    calls = itertools.count()

    def mark(_, mask, lost) -> None:
        cell, band = divmod(next(calls), 4)
        rng = np.random.default_rng([5, cell, band] if kind == "bands" else [5, cell])
        for edge in (np.s_[:3], np.s_[-3:], np.s_[:, :3], np.s_[:, -3:]):
            lost[edge] = True
        for _ in range(_GAPS if kind != "saturated" else 0):
            width = int(rng.choice([2, 4, 8, 16, 40, 100]))
            sides = rng.permutation([width, int(rng.choice([width, 400]))])
            y, x = (int(rng.integers(n)) for n in mask.shape)
            lost[y : y + sides[0], x : x + sides[1]] = True
        mask[lost] |= np.uint16(StackMask.BLANK)

    survey._mark_frame, survey._HALO_AT_CORE = mark, 0.0
    survey._add_spikes = lambda *_: None
    plain = plan_simulation(kind="field", noise=False, size_px=SIDE_PX, seed=11)
    sky = replace(plain.sky, bright_mag=14.5, star_density=1.0, stars=_stars(kind, plain))
    wcs = wcs_of(plain.ffi.wcs_cards)
    cells = tuple(small_catalogue(wcs, plain.field, cell_px=1200, overlap_px=360))
    stack = replace(plain.stack, noise=False, artefacts=True)
    simulate(replace(plain, sky=sky, skycells=cells, stack=stack), folder)


def measure(folder: Path, root: Path, *options: str) -> str:
    """Return a table's cells: wrong pixels, flagged ones, the worst that has no flag."""
    simulation = Simulation.load(folder)
    planes = template(simulation, root, "--background", "none", "--cores", "1", *options)
    truth = simulation.truth()
    error = planes["FLUX_SUM"] - truth
    flagged = planes["DQ"] & ~int(_DETECTOR_FLAGS) != 0
    beyond = np.abs(error) > planes["UNCERT"]
    part = np.abs(error) / truth
    wrong = beyond & (part > 0.01) | ~np.isfinite(error)
    worst = float(np.where(beyond & ~flagged, part, 0).max())
    said = f"{100 * worst:.1f} %" if worst else "under 1 UNCERT"
    return f"{wrong.mean():.2f} | {flagged.mean():.2f} | {said}"


def main() -> None:
    """Print the table."""
    print("| sky | wrong | flagged | worst without a flag |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as work:
        for kind in ("gaps", "bands", "saturated"):
            folder, root = Path(work) / kind, Path(work) / f"{kind}_data"
            isolated(_make, kind, folder)
            print(f"| {kind} | {measure(folder, root)} |", flush=True)
        stars = ("--stars", str(Simulation.load(folder).star_catalogue), "--star-scale", "0.39")
        print(f"| {kind}, put back | {measure(folder, root, *stars)} |")


if __name__ == "__main__":
    main()
