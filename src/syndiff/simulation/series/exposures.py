"""One frame of a series: the light of every kind, what particles leave, noise, spoilt pixels."""

import math
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from syndiff.simulation.ffi import (
    E_PER_S_PER_FLUX,
    SCIENCE,
    FfiConfig,
    wcs_of,
    zodiacal_light,
)
from syndiff.simulation.ffi_header import DUTY, FRAME_S, READ_NOISE_E
from syndiff.simulation.series.config import CosmicRays, SeriesConfig
from syndiff.simulation.series.fine_sky import FineSky, draw_fine_sky
from syndiff.simulation.series.frames import PATTERNS, Frames
from syndiff.simulation.series.objects import ObjectLight
from syndiff.simulation.sources import Sources
from syndiff.window import Window

__all__ = ["Exposure", "Exposures"]

F64 = NDArray[np.float64]

_PIXEL_CM2 = (15e-4) ** 2
_LEFT_BY_MITIGATION = 0.02
_TRACK_PX = 6.0
_LIT_PX = 40


@dataclass(frozen=True)
class Exposure:
    """A frame's pixels: what is observed, and what it is made of.

    Parameters
    ----------
    image, uncertainty : (ny, nx) float64
        As the file has them, e-/s.
    sky, changing, background, cosmic : (ny, nx) float64
        Light of sources that don't change, of those that do, of none, and what particles left;
        e-/s, without noise.
    """

    image: F64
    uncertainty: F64
    sky: F64
    changing: F64
    background: F64
    cosmic: F64


@dataclass(frozen=True)
class Exposures:
    """Everything that makes frames of one window.

    Parameters
    ----------
    sources : Sources
        The sky that doesn't change.
    ffi : FfiConfig
        Reference WCS, response, zodiacal light.
    config : SeriesConfig
        The series.
    frames : Frames
        Its frames.
    window : Window
        Pixels to make.
    """

    sources: Sources
    ffi: FfiConfig
    config: SeriesConfig
    frames: Frames
    window: Window

    @cached_property
    def _fine_sky(self) -> FineSky | None:
        """The sky that doesn't change, over the part of the window that it lights."""
        wcs = wcs_of(self.ffi.wcs_cards)
        x, y = wcs.all_world2pix(*self.sources.at(self.ffi.year), 0, tolerance=1e-9, quiet=True)
        near = np.isfinite(x) & np.isfinite(y)
        near[near] = (np.abs(x[near] - 1000) < 9000) & (np.abs(y[near] - 1000) < 9000)
        if not near.any():
            return None
        x, y = x[near], y[near]
        reach = Window(
            math.floor(x.min()) - _LIT_PX,
            math.floor(y.min()) - _LIT_PX,
            math.ceil(x.max()) + _LIT_PX,
            math.ceil(y.max()) + _LIT_PX,
        )
        lit = reach.intersection(self.window)
        if lit is None:
            return None
        f = self.frames
        away = np.abs(np.array(SCIENCE.shape[::-1])) / 2 + 100
        moves = np.abs(f.shift) + np.abs(f.smear[:, :2]) + np.abs(f.matrix) @ away
        return draw_fine_sky(
            self.sources[near],
            self.ffi,
            lit,
            scale=E_PER_S_PER_FLUX,
            moves_px=float(moves.max()),
            blur_px=float(f.blur_px.max()),
        )

    @cached_property
    def _straps(self) -> NDArray[np.bool_]:
        """Which columns of the window have straps beneath, (nx,)."""
        text = resources.files("syndiff.data").joinpath("tess_straps.csv").read_text("ascii")
        rows = [line for line in text.splitlines() if line and not line.startswith("#")][1:]
        columns = np.array([int(row) for row in rows]) - 1 + SCIENCE.x0
        return np.isin(np.arange(self.window.x0, self.window.x1), columns)

    @cached_property
    def _patterns(self) -> F64:
        """Shapes of zodiacal light, then of scattered light, (1 + 5, ny, nx)."""
        window = self.window
        x = ((np.arange(window.x0, window.x1) - SCIENCE.x0) / 1024 - 1)[None, :]
        y = ((np.arange(window.y0, window.y1) - SCIENCE.y0) / 1024 - 1)[:, None]
        zodiacal = zodiacal_light(self.ffi)
        out = np.zeros((1 + PATTERNS, *window.shape))
        inside = window.intersection(SCIENCE)
        if inside is not None:
            rows, columns = inside.slices
            there = inside.x0 - window.x0, inside.y0 - window.y0
            out[0, there[1] : there[1] + inside.shape[0], there[0] : there[0] + inside.shape[1]] = (
                zodiacal[rows, slice(columns.start - SCIENCE.x0, columns.stop - SCIENCE.x0)]
            )
        out[1] = np.exp(-0.5 * (((x - 0.8) / 0.9) ** 2 + ((y + 0.9) / 0.7) ** 2))
        out[2] = np.exp(-0.5 * (((x + 0.2) / 0.6) ** 2 + ((y + 1.0) / 0.4) ** 2))
        radius = np.hypot(x + 1.3, y - 1.2)
        for k in range(3):
            out[3 + k] = np.exp(-0.5 * ((radius - 1.3 - 0.2 * k) / 0.12) ** 2)
        return out

    @cached_property
    def objects(self) -> ObjectLight:
        """What changes or moves."""
        return ObjectLight(self.ffi, self.config.things, self.frames)

    def expose(self, n: int) -> Exposure:
        """Return one frame.

        Parameters
        ----------
        n : int
            Which.

        Returns
        -------
        Exposure
            Its pixels.
        """
        f = self.frames
        rng = np.random.default_rng([self.config.seed, 0xF0, int(f.index[n])])
        gain = 1 + self.config.diffuse.strap_stars * self._straps
        sky, changing = self._sky(n) * gain, self.objects.draw(n, self.window) * gain
        diffuse = np.tensordot(np.append(1.0, f.diffuse[n]), self._patterns, 1)
        background = diffuse * (1 + self.config.diffuse.strap * self._straps)
        light = sky + changing + background
        exposure = float(f.exposure_s[n])
        cosmic = _cosmic_rays(self.config.cosmic_rays, self.window.shape, exposure, rng)
        image = light + cosmic
        if self.ffi.noise:
            image += noise_of(light, exposure) * rng.standard_normal(image.shape)
        uncertainty = noise_of(image, exposure)
        _spoil(image, uncertainty, str(f.event[n]), rng)
        return Exposure(image, uncertainty, sky, changing, background, cosmic)

    def _sky(self, n: int) -> F64:
        """Return the light of what doesn't change."""
        f, out = self.frames, np.zeros(self.window.shape)
        if self._fine_sky is None:
            return out
        lit = self._fine_sky.window
        x0, y0 = lit.x0 - self.window.x0, lit.y0 - self.window.y0
        out[y0 : y0 + lit.shape[0], x0 : x0 + lit.shape[1]] = self._fine_sky.frame(
            f.shift[n], f.matrix[n], f.blur_px[n], f.smear[n]
        )
        return out


def noise_of(light: F64, exposure_s: float) -> F64:
    """Return the standard deviation of photons and readings.

    Parameters
    ----------
    light : (ny, nx) float64
        e-/s.
    exposure_s : float
        Time on source.

    Returns
    -------
    (ny, nx) float64
        e-/s.
    """
    # 20 % of the readings go to the mitigation of cosmic rays.
    read_variance = 0.8 * exposure_s / DUTY / FRAME_S * READ_NOISE_E**2
    return np.asarray(np.sqrt(np.maximum(light, 0) * exposure_s + read_variance) / exposure_s)


def _cosmic_rays(
    config: CosmicRays, shape: tuple[int, int], exposure_s: float, rng: np.random.Generator
) -> F64:
    """Return what particles leave, e-/s."""
    out = np.zeros(shape)
    left = _LEFT_BY_MITIGATION if config.mitigated else 1.0
    hits = rng.poisson(left * config.per_cm2_s * _PIXEL_CM2 * out.size * exposure_s)
    if not hits:
        return out
    start = rng.uniform(-0.5, np.array(shape) - 0.5, (hits, 2))
    angle, length = rng.uniform(0, 2 * np.pi, hits), rng.exponential(_TRACK_PX / 4, hits)
    charge = config.electrons * np.exp(rng.normal(0, 0.8, hits))
    steps = np.minimum(np.ceil(length) + 1, 2 * _TRACK_PX).astype(int)
    which = np.repeat(np.arange(hits), steps)
    along = np.arange(len(which)) - np.repeat(np.cumsum(steps) - steps, steps)
    direction = np.stack([np.sin(angle), np.cos(angle)], -1)
    place = np.rint(start[which] + along[:, None] * direction[which]).astype(int)
    inside = ((place >= 0) & (place < np.array(shape))).all(1)
    np.add.at(out, tuple(place[inside].T), charge[which[inside]] / exposure_s)
    return out


def _spoil(image: F64, uncertainty: F64, event: str, rng: np.random.Generator) -> None:
    """Take from a frame what its event takes."""
    if event == "zero":
        image[:], uncertainty[:] = 0, 0
    elif event == "nan":
        image[:], uncertainty[:] = np.nan, np.nan
    elif event == "nan_pixels":
        ny = image.shape[0]
        first, count = rng.integers(ny), max(1, int(ny * rng.uniform(0.05, 0.3)))
        image[first : first + count], uncertainty[first : first + count] = np.nan, np.nan
