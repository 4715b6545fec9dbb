"""Skies to measure the pipeline on, and the command that makes templates of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits

from syndiff.layout import Layout
from syndiff.simulation import (
    PsfConfig,
    Simulation,
    SimulationConfig,
    TestStar,
    plan_simulation,
    simulate,
)
from syndiff.simulation.ffi import wcs_of
from syndiff.simulation.grid import catalogue_text, skycell_wcs
from syndiff.simulation.run import EXAMPLE_DETECTOR
from syndiff.sky.sharing import sharing_of
from syndiff.sky.tessellation import Tessellation
from syndiff.window import Window

OFFSETS = ((0.0, 0.0), (0.37, -0.21), (-0.5, 0.5))
"""Offsets that every sky is measured at."""

PLACES = {"centre": (1003.5, 1023.5), "corner": (2091.5, 2047.5), "node": (1579.5, 1535.5)}
"""FFI pixels: where four tiles of the CCD meet near its middle, the science window's corner, and
where a measured response's interpolation has its kinks, one pixel beside the corner of four tiles.

The corner is the one farthest from the WCS's reference pixel, where the distortion is largest.
"""

_SEPARATION_PX = 6.0
_STEP_PX = 0.25


@dataclass(frozen=True)
class Sky:
    """A noise-free sky of isolated stars, two projections of skycells meeting in its middle.

    Parameters
    ----------
    place : str
        One of `PLACES`.
    fwhm_arcsec : float
        Seeing of PS1, the same in every band.
    shape : {"moffat", "gaussian"}
        Its profile.
    size_px : int
        Side of the field in TESS pixels.
    psf : {"gaussian", "prf"}
        TESS's response: with ``prf`` its files are made too.
    prf_noise : float
        Noise of these files, in units of what MAST's have.
    """

    place: str = "centre"
    fwhm_arcsec: float = 1.3
    shape: str = "moffat"
    size_px: int = 28
    psf: str = "gaussian"
    prf_noise: float = 0.0

    def __str__(self) -> str:
        response = ", prf" if self.psf == "prf" else ""
        response += ", noisy" if self.prf_noise else ""
        return f'{self.place}, {self.shape} {self.fwhm_arcsec}"{response}'

    @cached_property
    def plan(self) -> SimulationConfig:
        """The simulation without its stars."""
        x, y = PLACES[self.place]
        if self.place == "corner":
            x, y = x - self.size_px / 2, y - self.size_px / 2
        plain = plan_simulation(
            kind="isolated", noise=False, centre_px=(x, y), size_px=self.size_px, psf=self.psf
        )
        psf = PsfConfig((self.fwhm_arcsec,) * 4, self.shape)
        plain = replace(plain, stack=replace(plain.stack, psf=psf))
        if plain.ffi.prf is None:
            return plain
        noisy = replace(plain.ffi.prf, noise=self.prf_noise)
        return replace(plain, ffi=replace(plain.ffi, prf=noisy))

    @cached_property
    def places(self) -> list[tuple[str, float, float]]:
        """Kind and FFI pixel (x, y) of every star."""
        field, rng = self.plan.field, np.random.default_rng(20)
        found: list[tuple[str, float, float]] = []
        for kind, x, y in [*_special_places(self), *_grid(field, rng)]:
            if all(np.hypot(x - u, y - v) >= _SEPARATION_PX for _, u, v in found):
                found.append((kind, float(x), float(y)))
        return found

    @property
    def kinds(self) -> np.ndarray:
        """Kind of every star: tile corner, science corner, border, overlap, grid."""
        return np.array([kind for kind, _, _ in self.places])

    @cached_property
    def config(self) -> SimulationConfig:
        """What to simulate."""
        rng = np.random.default_rng(21)
        x, y = np.array([place[1:] for place in self.places]).T
        ra, dec = wcs_of(self.plan.ffi.wcs_cards).all_pix2world(x, y, 0)
        mags, colours = rng.uniform(14.5, 15.5, len(x)), rng.uniform(0.0, 0.8, len(x))
        rows = np.column_stack([ra, dec, mags, colours]).tolist()
        stars = tuple(TestStar(a, d, m, r_minus_i=c) for a, d, m, c in rows)
        return replace(self.plan, sky=replace(self.plan.sky, stars=stars))

    def make(self, directory: Path) -> Simulation:
        """Return the simulation, made if it is not there."""
        if (directory / "simulation.json").is_file():
            return Simulation.load(directory)
        return simulate(self.config, directory)


def _special_places(sky: Sky) -> list[tuple[str, float, float]]:
    """Return places where something could go wrong, the rarest first."""
    field = sky.plan.field
    x, y, east, most = shares(sky.plan)
    places = []
    if sky.place == "corner":
        places.append(("science corner", field.x1 - 1.2, field.y1 - 0.7))
    else:
        places.append(("tile corner", *PLACES[sky.place]))
    edge = round(2.5 / _STEP_PX)
    above = east > 0.5
    for j, i in np.argwhere(above[1:] != above[:-1]):
        part = (0.5 - east[j, i]) / (east[j + 1, i] - east[j, i])
        if edge <= i < len(x) - edge and edge <= j < len(y) - edge:
            places.append(("border", x[i], y[j] + part * _STEP_PX))
    most = np.where((east < 1e-3) | (east > 1 - 1e-3), most, 1)
    most[:edge] = most[-edge:] = most[:, :edge] = most[:, -edge:] = 1
    # Where four skycells of a projection share the light, then where two do.
    for low, high in ((0.2, 0.27), (0.49, 0.51)):
        for j, i in np.argwhere((most > low) & (most < high)):
            places.append(("overlap", x[i], y[j]))
    return places


def _grid(field: Window, rng: np.random.Generator) -> list[tuple[str, float, float]]:
    x, y = (np.arange(a + 2.5, b - 3, 3.1) for a, b in ((field.x0, field.x1), (field.y0, field.y1)))
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    grid += rng.uniform(-0.5, 0.5, grid.shape)
    return [("grid", u, v) for u, v in grid]


def shares(config: SimulationConfig) -> tuple[np.ndarray, ...]:
    """Return how the skycells share a field.

    Returns
    -------
    x, y : (nx,), (ny,) float64
        FFI pixels.
    east, most : (ny, nx) float64
        Share of the first projection; largest share of one skycell.
    """
    field = config.field
    x, y = (np.arange(a, b, _STEP_PX) for a, b in ((field.x0, field.x1), (field.y0, field.y1)))
    ra, dec = wcs_of(config.ffi.wcs_cards).all_pix2world(*(a.ravel() for a in np.meshgrid(x, y)), 0)
    tessellation = Tessellation.from_csv(catalogue_text(config.skycells).encode())
    east, most = np.zeros(ra.shape), np.zeros(ra.shape)
    for cell in config.skycells:
        u, v = skycell_wcs(cell).all_world2pix(ra, dec, 0)
        inside = (u > -0.5) & (v > -0.5) & (u < cell.nx - 0.5) & (v < cell.ny - 0.5)
        share = np.zeros(ra.shape)
        if inside.any():
            share[inside] = sharing_of(tessellation, cell).weight(u[inside], v[inside])
        east += share * cell.name.startswith("skycell.0001.")
        most = np.maximum(most, share)
    return x, y, east.reshape(len(y), len(x)), most.reshape(len(y), len(x))


@dataclass(frozen=True)
class Run:
    """How the command is run.

    Parameters
    ----------
    psf_sigma : float or None
        PS1 pixels; None for the simulation's measured response.
    background : str
        As the command takes it.
    offsets : tuple of (float, float)
        TESS pixels.
    roi : Window or None
        FFI pixels; None for the full frame.
    cores : int
        Worker processes.
    """

    psf_sigma: float | None = 40.0
    background: str = "none"
    offsets: tuple[tuple[float, float], ...] = OFFSETS
    roi: Window | None = None
    cores: int = 1

    def command(self, simulation: Simulation, root: Path) -> list[str]:
        """Return the arguments of the command."""
        arguments = [sys.executable, "-m", "syndiff", "pipeline"]
        arguments += [str(simulation.ffi), str(simulation.catalogue)]
        options = {
            "--data-root": root,
            "--archive": simulation.archive,
            **self._response(simulation),
            "--background": self.background,
            "--cores": self.cores,
            "--multi-offset-array": ",".join(f"{dx},{dy}" for dx, dy in self.offsets),
        }
        if self.roi is not None:
            options["--roi"] = self.roi
        return arguments + [str(part) for option in options.items() for part in option]

    def _response(self, simulation: Simulation) -> dict[str, object]:
        if self.psf_sigma is None:
            return {"--psf": "prf", "--prf-dir": simulation.prf}
        return {"--psf-sigma": self.psf_sigma}


@dataclass(frozen=True)
class Product:
    """A template file as a reader without syndiff sees it.

    Parameters
    ----------
    header : fits.Header
        Of FLUX_SUM.
    planes : dict of str to (ny, nx) array
        By the names of the extensions.
    """

    header: fits.Header
    planes: dict[str, np.ndarray]

    @classmethod
    def read(cls, path: Path) -> Product:
        """Read a template file."""
        with fits.open(path, checksum=True) as hdus:
            planes = {hdu.name: np.array(hdu.data) for hdu in hdus[1:] if hdu.name != "INPUTS"}
            return cls(hdus["FLUX_SUM"].header.copy(), planes)

    @property
    def flux(self) -> np.ndarray:
        """FLUX_SUM in float64."""
        return self.planes["FLUX_SUM"].astype(float)

    @property
    def window(self) -> Window:
        """Its pixels of the FFI."""
        return Window(*(self.header[key] for key in ("XMIN", "YMIN", "XMAX", "YMAX")))

    def cropped(self, window: Window) -> dict[str, np.ndarray]:
        """Return the planes over a part of its pixels."""
        own = self.window
        rows = slice(window.y0 - own.y0, window.y1 - own.y0)
        columns = slice(window.x0 - own.x0, window.x1 - own.x0)
        return {name: plane[rows, columns] for name, plane in self.planes.items()}


Products = dict[tuple[float, float], Product]


def run_command(simulation: Simulation, root: Path, run: Run) -> Products:
    """Run ``syndiff pipeline`` and read its templates, by offset."""
    done = subprocess.run(
        run.command(simulation, root), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"syndiff ended with {done.returncode}:\n{done.stderr}")
    return read_products(root, run)


def read_products(root: Path, run: Run) -> Products:
    """Read the templates of a run, by offset."""
    layout = Layout.under(str(root), EXAMPLE_DETECTOR)
    return {
        offset: Product.read(Path(str(layout.template(*offset, roi=run.roi))))
        for offset in run.offsets
    }


def interrupt_command(simulation: Simulation, root: Path, run: Run, *, after: str) -> bool:
    """Start the command and kill it, with its workers, once a file matches the pattern `after`.

    Returns
    -------
    bool
        Whether it was killed; False if it ended before.
    """
    with subprocess.Popen(
        run.command(simulation, root),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        while process.poll() is None and next(root.glob(after), None) is None:
            time.sleep(0.01)
        if process.poll() is not None:
            return False
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait() != 0
