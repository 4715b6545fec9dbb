"""Measure templates against GalSim; prints the table of docs/independent.md.

Run with ``python -m benchmarks.independent`` at the repository's root; it takes some minutes.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.galsim_sky import FLUX, GalsimSky, Seeing, Thing, expected, mixture, plan_at
from benchmarks.skies import Run, run_command

SIGMAS = (40.0, 60.0)
SEEINGS = (Seeing("gaussian", (0.8,) * 4), Seeing("moffat"))


def sky_at(place: str, seeing: Seeing) -> GalsimSky:
    """Return stars and galaxies; in the corner one star stands on the last science pixels."""
    plan = plan_at(place, 16)
    things = mixture(plan.field)
    if place == "corner":
        things = (*things[:3], Thing(plan.field.x1 - 1.2, plan.field.y1 - 0.7, FLUX))
    return GalsimSky(plan, things, seeing)


def main() -> None:
    """Print the table."""
    names = ("place", "seeing", "sigma", "dx", "dy", "rms", "largest", "total")
    lines = [names, ("---",) * len(names)]
    for place, seeing in itertools.product(("centre", "corner"), SEEINGS):
        with tempfile.TemporaryDirectory() as folder:
            lines += _measure(place, seeing, Path(folder))
    sys.stdout.writelines("| " + " | ".join(line) + " |\n" for line in lines)


def _measure(place: str, seeing: Seeing, folder: Path) -> list[tuple[str, ...]]:
    sky = sky_at(place, seeing)
    simulation = sky.make(folder / "sky")
    lines = []
    for psf_sigma in SIGMAS:
        run = replace(Run(roi=sky.plan.field), psf_sigma=psf_sigma)
        for offset, product in run_command(simulation, folder / "data", run).items():
            truth = expected(sky, product.window, psf_sigma=psf_sigma, offset=offset)
            residual = (product.flux - truth) / truth.max()
            errors = (
                np.sqrt((residual**2).mean()),
                abs(residual).max(),
                product.flux.sum() / truth.sum() - 1,
            )
            where = (place, seeing.shape, f"{psf_sigma:g}", *(f"{v:g}" for v in offset))
            lines.append((*where, *(f"{value:.1e}" for value in errors)))
    return lines


if __name__ == "__main__":
    main()
