"""What changes or moves in a series: its light and place in each frame, and how it is drawn."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from syndiff.simulation.ffi import FfiConfig, wcs_of
from syndiff.simulation.prf import add_gaussians
from syndiff.simulation.series.config import Asteroid, Changing
from syndiff.simulation.series.fine_sky import gaussians_of, smear_steps
from syndiff.simulation.series.frames import Frames
from syndiff.simulation.series.motion import earth_barycentric
from syndiff.simulation.sources import Sources, unit_vectors
from syndiff.window import Window

__all__ = ["ObjectLight", "Objects"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_REACH_PX = 20
"""Farther than the response's halo shines."""

_TRAIL_STEPS = 5
"""Places along which an asteroid's light is spread in an exposure."""


@dataclass(frozen=True)
class Objects:
    """What changes or moves, frame by frame.

    Parameters
    ----------
    name : (k,) str
        Names.
    kind : (k,) str
        ``changing`` or ``asteroid``.
    ra, dec : (k,) float64
        Positions, degrees; of an asteroid at its time.
    flux : (n, k) float64
        Mean over the exposure, e-/s.
    x, y : (n, k) float64
        Where they stand at the middle of each exposure, FFI pixels, smears left out.
    bjd : (n, k) float64
        Middle of the exposure at the solar system's barycentre as seen from there: TDB, days since
        JD 2457000.
    """

    name: NDArray[np.str_]
    kind: NDArray[np.str_]
    ra: F64
    dec: F64
    flux: F64
    x: F64
    y: F64
    bjd: F64


@dataclass(frozen=True)
class ObjectLight:
    """Draws what changes or moves.

    Parameters
    ----------
    ffi : FfiConfig
        Reference WCS and response.
    things : tuple of Changing or Asteroid
        What there is.
    frames : Frames
        The series.
    """

    ffi: FfiConfig
    things: tuple[Changing | Asteroid, ...]
    frames: Frames

    @cached_property
    def truth(self) -> Objects:
        """Light and place of each in each frame."""
        f, things = self.frames, self.things
        ra = np.array([thing.ra_deg for thing in things], np.float64)
        dec = np.array([thing.dec_deg for thing in things], np.float64)
        towards = unit_vectors(ra, dec).reshape(-1, 3).T
        start, stop = (t[:, None] + earth_barycentric(t)[0] @ towards for t in (f.start, f.stop))
        flux, place = np.empty(start.shape), np.empty((*start.shape, 2))
        for k, thing in enumerate(things):
            flux[:, k] = thing.curve.mean(start[:, k], stop[:, k])
            sky = thing.at((f.start + f.stop) / 2)
            place[:, k] = self._moved(*sky, np.arange(len(f)))
        kinds = ["asteroid" if isinstance(thing, Asteroid) else "changing" for thing in things]
        return Objects(
            name=np.array([thing.name for thing in things], np.str_),
            kind=np.array(kinds, np.str_),
            ra=ra,
            dec=dec,
            flux=flux,
            x=place[:, :, 0],
            y=place[:, :, 1],
            bjd=(start + stop) / 2,
        )

    def _reference(self, ra: F64, dec: F64) -> F64:
        """Return where the reference WCS puts positions, (n, 2)."""
        wcs = wcs_of(self.ffi.wcs_cards)
        return np.stack(wcs.all_world2pix(ra, dec, 0, tolerance=1e-9, quiet=True), -1)

    def _moved(self, ra: F64, dec: F64, n: NDArray[np.int64]) -> F64:
        """Return where positions stand in frames, one each, (n, 2)."""
        places, f = self._reference(ra, dec), self.frames
        away = places - (np.array(wcs_of(self.ffi.wcs_cards).wcs.crpix) - 1)
        return np.asarray(places + f.shift[n] + np.einsum("nij,nj->ni", f.matrix[n], away))

    @cached_property
    def _shapes(self) -> list[F64]:
        """The Gaussians of each for a flux of one, about its own place."""
        still, wcs = np.zeros(1), wcs_of(self.ffi.wcs_cards)
        out = []
        for thing in self.things:
            ra, dec = np.array([thing.ra_deg]), np.array([thing.dec_deg])
            point = Sources(
                *(ra, dec, still, still, np.ones((1, 4)), np.zeros(1, np.int64)),
                *(still, np.ones(1), still),
            )
            place = self._reference(ra, dec)
            shape = np.concatenate(list(gaussians_of(point, place, wcs, self.ffi)))
            shape[:, :2] -= place
            out.append(shape)
        return out

    def draw(self, n: int, window: Window) -> F32:
        """Return a frame's light from what changes or moves.

        Parameters
        ----------
        n : int
            Which frame.
        window : Window
            Pixels to draw.

        Returns
        -------
        (ny, nx) float32
            e-/s.
        """
        out = np.zeros(window.shape, np.float32)
        for k, thing in enumerate(self.things):
            steps = list(_steps(self._trail(thing, n), self.frames.smear[n]))
            places = np.array([place for _, place in steps])
            low, high = np.floor(places.min(0)), np.ceil(places.max(0))
            around = Window(*map(int, (*low, *(high + 1)))).grown(_REACH_PX).intersection(window)
            if around is None or not self.truth.flux[n, k]:
                continue
            image = np.zeros(around.shape)
            for share, place in steps:
                add_gaussians(image, self._blobs(k, n, share, place - [around.x0, around.y0]))
            x0, y0 = around.x0 - window.x0, around.y0 - window.y0
            out[y0 : y0 + around.shape[0], x0 : x0 + around.shape[1]] += image
        return out

    def _blobs(self, k: int, n: int, share: float, place: F64) -> F64:
        """Return the Gaussians of a share of something's light in a frame."""
        blobs = self._shapes[k].copy()
        blobs[:, :2] += place
        blobs[:, 2] *= self.truth.flux[n, k] * share
        blobs[:, [3, 5]] += self.frames.blur_px[n] ** 2
        return blobs

    def _trail(self, thing: Changing | Asteroid, n: int) -> F64:
        """Return where something stands during an exposure, (k, 2)."""
        steps = _TRAIL_STEPS if isinstance(thing, Asteroid) else 1
        f = self.frames
        moments = f.start[n] + (f.stop[n] - f.start[n]) * (np.arange(steps) + 0.5) / steps
        return self._moved(*thing.at(moments), np.full(steps, n))


def _steps(places: F64, smear: F64) -> Iterator[tuple[float, F64]]:
    """Yield shares of an exposure and places in them."""
    for place in places:
        for share, step in smear_steps(smear):
            if share > 0:
                yield share / len(places), place + step
