"""Templates at odd places of the sky against GalSim: ``python -m benchmarks.places``.

RA 0, near the pole and at it, at the southern edge of PS1's data: the survey's own skycells, cut to
what surrounds the field, so that a projection's own plane, its neighbours and their overlaps are
those of RINGS.V3 while stacks stay small.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.galsim_sky import FLUX, GalsimSky, Seeing, Thing, expected
from benchmarks.skies import Product
from syndiff.layout import Detector, Layout
from syndiff.simulation import Simulation, SimulationConfig, plan_simulation
from syndiff.simulation.ffi import wcs_of
from syndiff.simulation.grid import skycell_wcs
from syndiff.sky.tessellation import Skycell, Tessellation
from syndiff.window import Window

_AROUND_PX = 7
"""TESS pixels around the field that skycells show: more than the response reaches."""


@dataclass(frozen=True)
class Place:
    """A place on the sky.

    Parameters
    ----------
    name : str
        What is odd about it.
    detector : Detector
        A CCD that sees it.
    target : (float, float)
        RA and Dec, degrees.
    size_px : int
        Side of the field.
    least_dec : float
        Skycells whose tangent point lies south of it are not in the archive.
    """

    name: str
    detector: Detector
    target: tuple[float, float]
    size_px: int = 10
    least_dec: float = -90.0

    def plan(self, *, is_cut: bool = True) -> SimulationConfig:
        """Return the plan of its field, with RINGS.V3's skycells, cut or whole."""
        plain = plan_simulation(
            noise=False,
            detector=self.detector,
            target=self.target,
            size_px=self.size_px,
            skycells=[next(iter(Tessellation.rings_v3()))],
        )
        cells = _around(plain)
        if is_cut:
            cells = [found for c in cells if (found := _cut(c, plain)) is not None]
        return replace(plain, skycells=tuple(cells))

    def sky(self, *, is_cut: bool = True) -> GalsimSky:
        """Return stars on the field, one in its middle."""
        plan = self.plan(is_cut=is_cut)
        half = self.size_px / 2
        at = [(half - 0.6, half - 0.3), (2.2, 2.7), (self.size_px - 3.4, 2.4)]
        things = tuple(Thing(plan.field.x0 + x, plan.field.y0 + y, FLUX) for x, y in at)
        return GalsimSky(plan, things, Seeing("moffat"))

    def make(self, sky: GalsimSky, directory: Path) -> Simulation:
        """Write a sky's archive, without what lies beyond the edge of the survey's data."""
        simulation = sky.make(directory)
        for cell in sky.plan.skycells:
            if cell.crval[1] < self.least_dec:
                _, projection, number = cell.name.split(".")
                shutil.rmtree(simulation.archive / projection / number)
        return simulation


PLACES = (
    Place("RA 0", Detector(17, 2, 3), (0.0, 40.0)),
    Place("dec 89.3", Detector(25, 4, 1), (120.0, 89.3)),
    Place("pole", Detector(79, 4, 1), (0.1, 89.99999)),
    Place("edge of the data", Detector(2, 2, 3), (10.0, -32.012), least_dec=-31.0),
)


def _edge(field: Window, margin: float) -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(field.x0 - margin, field.x1 - 1 + margin, 9)
    y = np.linspace(field.y0 - margin, field.y1 - 1 + margin, 9)
    return tuple(v.ravel() for v in np.meshgrid(x, y))


def _around(plan: SimulationConfig) -> list[Skycell]:
    """Return the survey's skycells that hold something of a field and its surroundings."""
    ra, dec = wcs_of(plan.ffi.wcs_cards).all_pix2world(*_edge(plan.field, _AROUND_PX), 0)
    a, d = np.radians(ra), np.radians(dec)
    towards = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], -1)
    ring = towards.reshape(9, 9, 3)
    border = np.concatenate([ring[0], ring[1:, -1], ring[-1, -2::-1], ring[-2:0:-1, 0]])
    return Tessellation.rings_v3().covering(border)


def _cut(cell: Skycell, plan: SimulationConfig) -> Skycell | None:
    """Return what surrounds the field of a skycell, on the same pixels; None if nothing does."""
    sky = wcs_of(plan.ffi.wcs_cards).all_pix2world(*_edge(plan.field, _AROUND_PX), 0)
    u, v = skycell_wcs(cell).all_world2pix(*sky, 0)
    x0, y0 = max(0, int(u.min())), max(0, int(v.min()))
    x1, y1 = min(cell.nx, int(u.max()) + 2), min(cell.ny, int(v.max()) + 2)
    if x1 - x0 < 8 or y1 - y0 < 8:
        return None
    crpix = cell.crpix[0] - x0, cell.crpix[1] - y0
    return replace(cell, nx=x1 - x0, ny=y1 - y0, crpix=crpix)


def compare(
    sky: GalsimSky, simulation: Simulation, root: Path, *options: str
) -> tuple[Product, np.ndarray]:
    """Run the command on a sky and return its template and GalSim's truth."""
    from typer.testing import CliRunner

    from syndiff.commands.app import app

    words = ["pipeline", simulation.ffi, simulation.catalogue, "--archive", simulation.archive]
    words += ["--data-root", root, "--roi", sky.plan.field, "--background", "none", *options]
    done = CliRunner().invoke(app, [str(word) for word in (*words, "--cores", 1)])
    if done.exit_code:
        raise RuntimeError(f"syndiff ended with {done.exit_code}:\n{done.output}")
    layout = Layout.under(str(root), sky.plan.ffi.detector)
    product = Product.read(Path(str(layout.template(0.0, 0.0, roi=sky.plan.field))))
    return product, expected(sky, product.window, psf_sigma=40.0, offset=(0.0, 0.0))


def main() -> None:
    """Print the table of docs/accuracy.md."""
    rows = [("place", "skycells", "projections", "covered", "rms", "largest", "flux")]
    rows.append(("---",) * len(rows[0]))
    for place in PLACES:
        with tempfile.TemporaryDirectory() as folder:
            sky = place.sky()
            product, truth = compare(
                sky, place.make(sky, Path(folder, "sky")), Path(folder, "data")
            )
        whole = product.planes["COVERAGE"] == 1
        error = ((product.flux - truth) / truth.max())[whole]
        total = product.flux[whole].sum() / truth[whole].sum() - 1
        figures = np.sqrt((error**2).mean()), abs(error).max(), abs(total)
        cells = {cell.projection_cell for cell in sky.plan.skycells}
        numbers = f"{len(sky.plan.skycells)}", f"{len(cells)}", f"{whole.mean():.2f}"
        rows.append((place.name, *numbers, *(f"{v:.1e}" for v in figures)))
    sys.stdout.writelines("| " + " | ".join(row) + " |\n" for row in rows)


if __name__ == "__main__":
    main()
