"""A sky that GalSim draws twice: as PS1's pixels and as what TESS sees of them.

Only the writer of PS1's file format is the simulator's. Light profiles, WCS (GalSim's own reader of
FITS headers, not astropy's), seeing, pixels, response and integration over pixels are GalSim's.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits

from benchmarks.skies import PLACES
from syndiff.config import BAND_WEIGHTS, BANDS
from syndiff.simulation import FfiConfig, Simulation, SimulationConfig, SkyConfig, plan_simulation
from syndiff.simulation.ffi import write_ffi
from syndiff.simulation.grid import write_catalogue
from syndiff.simulation.run import PS1_EPOCH_YEAR
from syndiff.simulation.sky import Cap, make_sources
from syndiff.simulation.sources import write_sources
from syndiff.simulation.stack_writer import StackHeader, choose_scaling, encode, write_stack_plane
from syndiff.sky.tessellation import Skycell
from syndiff.window import Window

ACCURACY = galsim.GSParams(
    folding_threshold=1e-5,
    maxk_threshold=1e-6,
    kvalue_accuracy=1e-6,
    xvalue_accuracy=1e-8,
    minimum_fft_size=32,
    maximum_fft_size=16384,
)
"""GalSim's own errors: 1e-5 of the light folded back, 1e-6 of the spectrum cut off.

With 1e-7 and transforms of 256 a star's truth changes by 1e-8 of its peak.
"""

REACH_PX = 6
"""TESS pixels around an object that are drawn and compared: 13 x 13."""

_PS1_HALF_PX = 180
# 45": a Moffat profile (beta 3) of 1.3" has 7e-7 of its light outside.
_NOISE = 0.1
_EXPTIME_S = 600.0


@dataclass(frozen=True)
class Thing:
    """A star or galaxy.

    Parameters
    ----------
    x, y : float
        FFI pixel at offset (0, 0).
    flux : tuple of float
        In r, i, z, y at zero point 25.
    sersic : float
        Sersic index; 0 for a star.
    radius_arcsec : float
        Half-light radius; light ends at eight of them.
    axis_ratio, angle_deg : float
        Shape, in GalSim's sense of angles on the sky.
    """

    x: float
    y: float
    flux: tuple[float, ...]
    sersic: float = 0.0
    radius_arcsec: float = 0.0
    axis_ratio: float = 1.0
    angle_deg: float = 0.0

    def light(self, seeing: galsim.GSObject) -> galsim.GSObject:
        """Return its profile of unit flux on the sky, seeing included."""
        if not self.sersic:
            return seeing
        galaxy = galsim.Sersic(
            self.sersic,
            half_light_radius=self.radius_arcsec,
            trunc=8 * self.radius_arcsec,
            gsparams=ACCURACY,
        )
        shape = galsim.Shear(q=self.axis_ratio, beta=self.angle_deg * galsim.degrees)
        return galsim.Convolve(galaxy.shear(shape), seeing, gsparams=ACCURACY)


@dataclass(frozen=True)
class Seeing:
    """PS1's seeing.

    Parameters
    ----------
    shape : {"moffat", "gaussian"}
        Moffat profiles have beta = 3.
    fwhm_arcsec : tuple of float
        One a band, r, i, z, y.
    """

    shape: str = "moffat"
    fwhm_arcsec: tuple[float, ...] = (1.3, 1.2, 1.1, 1.0)

    def profile(self, band: int) -> galsim.GSObject:
        """Return one band's profile."""
        fwhm = self.fwhm_arcsec[band]
        if self.shape == "gaussian":
            return galsim.Gaussian(fwhm=fwhm, gsparams=ACCURACY)
        return galsim.Moffat(beta=3, fwhm=fwhm, gsparams=ACCURACY)


@dataclass(frozen=True)
class GalsimSky:
    """Stars or galaxies on the skycells of a plan.

    Parameters
    ----------
    plan : SimulationConfig
        FFI, skycells and field; its own sky plays no part.
    things : tuple of Thing
        What shines.
    seeing : Seeing
        Of PS1.
    """

    plan: SimulationConfig
    things: tuple[Thing, ...]
    seeing: Seeing

    @cached_property
    def wcs(self) -> galsim.GSFitsWCS:
        """GalSim's reading of the FFI's WCS; its pixels count from 1."""
        return galsim.GSFitsWCS(header=fits.Header.fromstring(self.plan.ffi.wcs_cards, sep="\n"))

    @cached_property
    def places(self) -> list[galsim.CelestialCoord]:
        """Where things are on the sky."""
        return [self.wcs.toWorld(galsim.PositionD(t.x + 1, t.y + 1)) for t in self.things]

    def seen_by(self, ffi: FfiConfig) -> GalsimSky:
        """Return the same sky on another FFI's pixels."""
        there = replace(self, plan=replace(self.plan, ffi=ffi))
        at = [there.wcs.toImage(place) for place in self.places]
        things = [replace(t, x=p.x - 1, y=p.y - 1) for t, p in zip(self.things, at, strict=True)]
        return replace(there, things=tuple(things))

    def make(self, directory: Path) -> Simulation:
        """Write the FFI, the catalogue of skycells and the archive."""
        empty = SkyConfig(star_density=0.0, galaxy_density=0.0)
        simulation = Simulation(directory, replace(self.plan, sky=empty))
        nothing = make_sources(empty, Cap((1.0, 0.0, 0.0), 0.01))
        directory.mkdir(parents=True, exist_ok=True)
        write_sources(nothing, simulation.stars)
        write_catalogue(self.plan.skycells, simulation.catalogue)
        write_ffi(nothing, replace(self.plan.ffi, noise=False), directory, seed=1)
        for cell in self.plan.skycells:
            for band in range(len(BANDS)):
                _write(simulation.archive, cell, band, self.draw_skycell(cell, band))
        return simulation

    def draw_skycell(self, cell: Skycell, band: int) -> np.ndarray:
        """Return (ny, nx) light of a skycell, as GalSim draws it."""
        image = galsim.ImageD(cell.nx, cell.ny, wcs=skycell_wcs(cell))
        seeing = self.seeing.profile(band)
        for thing, place in zip(self.things, self.places, strict=True):
            centre = image.wcs.toImage(place)
            i, j = round(centre.x), round(centre.y)
            reach = _PS1_HALF_PX
            stamp = galsim.BoundsI(i - reach, i + reach, j - reach, j + reach) & image.bounds
            if not stamp.isDefined():
                continue
            drawn = galsim.ImageD(galsim.BoundsI(i - reach, i + reach, j - reach, j + reach))
            (thing.light(seeing) * thing.flux[band]).drawImage(
                drawn, wcs=image.wcs.local(centre), center=centre
            )
            image[stamp] += drawn[stamp]
        return image.array

    def truth(
        self, k: int, psf_sigma: float, offset: tuple[float, float], *, parts: int = 1
    ) -> np.ndarray:
        """Return 13 x 13 pixels of one thing as TESS sees it, around its nearest pixel.

        Every pixel is drawn by itself, as `parts` x `parts` smaller ones, with the Jacobian that
        the WCS has there: a response in true angle, and pixels of their true size. Within a part
        the WCS is straight: with one part that leaves 1e-5 of peak in a corner of the CCD (the
        gradient of the pixels' size times that of the light, over 12), with two a quarter of it.
        """
        thing, place = self.things[k], self.places[k]
        response = galsim.Gaussian(sigma=psf_sigma * 0.25, gsparams=ACCURACY)
        bands = [
            thing.light(self.seeing.profile(band)) * (thing.flux[band] * weight)
            for band, weight in enumerate(BAND_WEIGHTS)
        ]
        seen = galsim.Convolve(galsim.Add(bands), self._ps1_pixel(place), response)
        seen = seen.withGSParams(ACCURACY)
        steps = (np.arange(parts) + 0.5) / parts - 0.5
        middle = round(thing.x + offset[0]), round(thing.y + offset[1])
        out = np.zeros((2 * REACH_PX + 1,) * 2)
        for j, i in np.ndindex(out.shape):
            x, y = middle[0] + i - REACH_PX - offset[0], middle[1] + j - REACH_PX - offset[1]
            for dx, dy in itertools.product(steps, steps):
                at = galsim.PositionD(x + 1 + dx, y + 1 + dy)
                out[j, i] += self._pixel(seen, place, at, 1 / parts)
        return out

    def _ps1_pixel(self, place: galsim.CelestialCoord) -> galsim.GSObject:
        """Return a PS1 pixel on the sky; the two grids turn it by 5 degrees: 1e-9 of a template."""
        wcs = skycell_wcs(self.plan.skycells[0])
        return wcs.local(wcs.toImage(place)).toWorld(galsim.Pixel(1.0, gsparams=ACCURACY))

    def _pixel(
        self, seen: galsim.GSObject, place: galsim.CelestialCoord, at: galsim.PositionD, size: float
    ) -> float:
        """Return the light in a part of a TESS pixel, `size` pixels wide."""
        there = self._seen_from(place, at)
        # Not wcs.local(at): that is turned to the north of `at`, which near a pole is not place's.
        steps = galsim.PositionD(size / 2, 0), galsim.PositionD(0, size / 2)
        sides = [self._seen_from(place, at + h) - self._seen_from(place, at - h) for h in steps]
        scale = galsim.JacobianWCS(sides[0].x, sides[1].x, sides[0].y, sides[1].y)
        image = galsim.ImageD(1, 1)
        seen.shift(-there).drawImage(image, wcs=scale, center=image.true_center)
        return float(image.array[0, 0])

    def _seen_from(self, place: galsim.CelestialCoord, at: galsim.PositionD) -> galsim.PositionD:
        """Return where a pixel looks, arcsec in the plane that touches the sky at a place."""
        u, v = place.project(self.wcs.toWorld(at))
        return galsim.PositionD(u / galsim.arcsec, v / galsim.arcsec)


def skycell_wcs(cell: Skycell) -> galsim.GSFitsWCS:
    """Return GalSim's reading of a skycell's WCS; its pixels count from 1."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    for axis in (0, 1):
        header[f"CRVAL{axis + 1}"] = cell.crval[axis]
        header[f"CRPIX{axis + 1}"] = cell.crpix[axis]
        for other in (0, 1):
            header[f"CD{axis + 1}_{other + 1}"] = cell.cdelt[axis] * cell.pc[2 * axis + other]
    return galsim.GSFitsWCS(header=header)


def _write(archive: Path, cell: Skycell, band: int, light: np.ndarray) -> None:
    """Write one band of a skycell without noise, in the archive's format."""
    name = BANDS[band]
    header = StackHeader(
        skycell=cell,
        band=name,
        exposures_s=(_EXPTIME_S / 10,) * 10,
        rejected=(),
        mjd_obs=(PS1_EPOCH_YEAR - 2000) * 365.25 + 51544.5,
        gain=1.0,
        saturation=2e6,
        serial=3_000_000 + band,
    )
    noise = _NOISE * _EXPTIME_S
    counts = light * _EXPTIME_S
    variance = np.maximum(counts, 0) + noise**2
    _, projection, number = cell.name.split(".")
    stem = archive / projection / number / f"rings.v3.{cell.name}.stk.{name}.unconv"
    for suffix, values, width, offset in (
        ("", counts, noise, 0.044 * noise),
        (".wt", variance, noise**2, 0.0),
    ):
        limits = float(values.min()), float(values.max())
        scaling = choose_scaling(limits, noise=width, offset=offset, clip_brightest=False)
        path = stem.with_name(f"{stem.name}{suffix}.fits")
        write_stack_plane(path, encode(values, scaling), header, scaling)
    mask = np.zeros(light.shape, np.uint16)
    write_stack_plane(stem.with_name(f"{stem.name}.mask.fits"), mask, header)


def expected(
    sky: GalsimSky,
    window: Window,
    *,
    psf_sigma: float,
    offset: tuple[float, float],
    parts: int = 1,
) -> np.ndarray:
    """Return what TESS sees of a sky in the pixels of a window."""
    wide = window.grown(2 * REACH_PX + 1)
    out = np.zeros(wide.shape)
    for k, thing in enumerate(sky.things):
        i, j = round(thing.x + offset[0]) - wide.x0, round(thing.y + offset[1]) - wide.y0
        box = np.s_[j - REACH_PX : j + REACH_PX + 1, i - REACH_PX : i + REACH_PX + 1]
        out[box] += sky.truth(k, psf_sigma, offset, parts=parts)
    edge = 2 * REACH_PX + 1
    return out[edge:-edge, edge:-edge]


def plan_at(place: str, size_px: int) -> SimulationConfig:
    """Return the plan of a small field in two projections, at one of `PLACES`."""
    x, y = PLACES[place]
    if place == "corner":
        x, y = x - size_px / 2, y - size_px / 2
    return plan_simulation(noise=False, centre_px=(x, y), size_px=size_px)


FLUX = (9000.0, 12000.0, 15000.0, 17000.0)
"""Of the mixture's brightest star: magnitude 14.7."""


def mixture(field: Window) -> tuple[Thing, ...]:
    """Return two stars and two galaxies, of indices 1 and 4, for a field of 16 x 16 pixels."""
    x, y = field.x0, field.y0
    faint = tuple(0.6 * value for value in reversed(FLUX))
    return (
        Thing(x + 3.2, y + 3.1, FLUX),
        Thing(x + 11.6, y + 4.3, faint, 1.0, 1.6, 0.5, 30.0),
        Thing(x + 4.4, y + 11.5, faint, 4.0, 1.2, 0.7, -50.0),
        Thing(x + 11.9, y + 11.8, faint),
    )
