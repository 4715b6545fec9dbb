"""One frame of a series: the light of every kind, what particles leave, noise, spoilt pixels."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from syndiff.constants import FRAME_CYCLE_S
from syndiff.simulation.ffi import E_PER_S_PER_FLUX, SCIENCE, FfiConfig
from syndiff.simulation.ffi_header import DUTY, READ_NOISE_E
from syndiff.simulation.series.config import SeriesConfig
from syndiff.simulation.series.diffuse import DiffuseLight
from syndiff.simulation.series.fine_sky import FineSky, draw_fine_sky
from syndiff.simulation.series.frames import Frames
from syndiff.simulation.series.objects import ObjectLight
from syndiff.simulation.series.particles import cosmic_rays
from syndiff.simulation.sources import Sources
from syndiff.window import Window

__all__ = ["Exposure", "Exposures", "noise_of"]

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Exposure:
    """A frame's pixels: what is observed, and what it is made of.

    Parameters
    ----------
    image, uncertainty : (ny, nx) float32
        As the file has them, e-/s.
    sky, changing, background, cosmic : (ny, nx) float32
        Light of sources that don't change, of those that do, of none, and what particles left;
        e-/s, without noise.
    """

    image: F32
    uncertainty: F32
    sky: F32
    changing: F32
    background: F32
    cosmic: F32


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
        Science pixels to make.
    """

    sources: Sources
    ffi: FfiConfig
    config: SeriesConfig
    frames: Frames
    window: Window

    @cached_property
    def _fine_sky(self) -> FineSky | None:
        """The sky that doesn't change; None if none of it shines here."""
        f = self.frames
        away = np.array(SCIENCE.shape[::-1]) / 2 + 100
        moves = np.abs(f.shift) + np.abs(f.smear[:, :2]) + np.abs(f.matrix) @ away
        return draw_fine_sky(
            self.sources,
            self.ffi,
            self.window,
            scale=E_PER_S_PER_FLUX,
            moves_px=float(moves.max()),
            blur_px=float(f.blur_px.max()),
        )

    @cached_property
    def _diffuse(self) -> DiffuseLight:
        """Light of no source."""
        return DiffuseLight(self.ffi, self.config.diffuse, self.window)

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
        f, gain = self.frames, self._diffuse.source_gain
        rng = np.random.default_rng([self.config.seed, 0xF0, int(f.index[n])])
        exposure_s = float(f.exposure_s[n])
        sky, changing = self._sky(n) * gain, self.objects.draw(n, self.window) * gain
        background = self._diffuse.frame(f.diffuse[n])
        light = sky + changing + background
        cosmic = cosmic_rays(self.config.cosmic_rays, light.shape, exposure_s, rng)
        image = light + cosmic
        if self.ffi.noise:
            noise = rng.standard_normal(image.shape, np.float32)
            image += noise_of(light, exposure_s) * noise
        uncertainty = noise_of(image, exposure_s)
        _spoil(image, uncertainty, str(f.event[n]), rng)
        return Exposure(image, uncertainty, sky, changing, background, cosmic)

    def _sky(self, n: int) -> F32:
        """Return the light of what doesn't change."""
        f, out = self.frames, np.zeros(self.window.shape, np.float32)
        if self._fine_sky is None:
            return out
        lit = self._fine_sky.window
        x0, y0 = lit.x0 - self.window.x0, lit.y0 - self.window.y0
        out[y0 : y0 + lit.shape[0], x0 : x0 + lit.shape[1]] = self._fine_sky.frame(
            f.shift[n], f.matrix[n], f.blur_px[n], f.smear[n]
        )
        return out


def noise_of(light: F32, exposure_s: float) -> F32:
    """Return the standard deviation of photons and readings.

    Parameters
    ----------
    light : (ny, nx) float32
        e-/s.
    exposure_s : float
        Time on source.

    Returns
    -------
    (ny, nx) float32
        e-/s.
    """
    # 20 % of the readings go to the mitigation of cosmic rays.
    read_variance = 0.8 * exposure_s / DUTY / FRAME_CYCLE_S * READ_NOISE_E**2
    variance = np.maximum(light, 0)
    variance *= 1 / exposure_s
    variance += read_variance / exposure_s**2
    return np.sqrt(variance, out=variance)


def _spoil(image: F32, uncertainty: F32, event: str, rng: np.random.Generator) -> None:
    """Take from a frame what its event takes."""
    if event == "zero":
        image[:], uncertainty[:] = 0, 0
    elif event == "nan":
        image[:], uncertainty[:] = np.nan, np.nan
    elif event == "nan_pixels":
        ny = image.shape[0]
        first, count = rng.integers(ny), max(1, int(ny * rng.uniform(0.05, 0.3)))
        image[first : first + count], uncertainty[first : first + count] = np.nan, np.nan
