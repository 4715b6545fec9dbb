"""Light that no source sends: zodiacal, scattered by the Earth, a glint of the Moon, straps."""

from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from syndiff.simulation.ffi import SCIENCE, FfiConfig, zodiacal_light
from syndiff.simulation.series.config import Diffuse
from syndiff.window import Window

__all__ = ["DiffuseLight"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_EARTH = ((0.8, -0.9, 0.9, 0.7), (-0.2, -1.0, 0.6, 0.4))
"""Middle x, y and widths of two broad shapes, the CCD reaching from -1 to 1."""

_GLINT_CENTRE, _GLINT_RADII, _GLINT_WIDTH = (-1.3, 1.2), (1.3, 1.5, 1.7), 0.12
"""Arcs that light up one after the other."""


@dataclass(frozen=True)
class DiffuseLight:
    """Draws it over a window.

    Parameters
    ----------
    ffi : FfiConfig
        How bright zodiacal light is.
    config : Diffuse
        What straps add.
    window : Window
        Science pixels.
    """

    ffi: FfiConfig
    config: Diffuse
    window: Window

    def frame(self, brightness: F64) -> F32:
        """Return a frame's light, straps included.

        Parameters
        ----------
        brightness : (5,) float64
            Of each shape of scattered light, e-/s.

        Returns
        -------
        (ny, nx) float32
            e-/s.
        """
        out = self._zodiacal.copy()
        for value, shape in zip(brightness.tolist(), self._shapes, strict=True):
            if value:
                out += value * shape
        out *= 1 + self.config.strap * self._straps
        return out

    @cached_property
    def source_gain(self) -> F32:
        """Factor on the sources' light in each column, (nx,)."""
        return np.asarray(1 + self.config.strap_stars * self._straps)

    @cached_property
    def _straps(self) -> F32:
        """One in columns with straps beneath, zero in others."""
        text = resources.files("syndiff.data").joinpath("tess_straps.csv").read_text("ascii")
        rows = [line for line in text.splitlines() if line and not line.startswith("#")][1:]
        columns = np.array([int(row) for row in rows]) - 1 + SCIENCE.x0
        inside = np.arange(self.window.x0, self.window.x1)
        return np.isin(inside, columns).astype(np.float32)

    @cached_property
    def _zodiacal(self) -> F32:
        """What is always there."""
        rows, columns = self.window.slices
        columns = slice(columns.start - SCIENCE.x0, columns.stop - SCIENCE.x0)
        return zodiacal_light(self.ffi)[rows, columns].astype(np.float32)

    @cached_property
    def _shapes(self) -> list[F32]:
        """Shapes of scattered light, each with a peak of about one."""
        window, half = self.window, SCIENCE.shape[0] / 2
        x = ((np.arange(window.x0, window.x1) - SCIENCE.x0) / half - 1).astype(np.float32)
        y = ((np.arange(window.y0, window.y1) - SCIENCE.y0) / half - 1).astype(np.float32)[:, None]
        broad = [((x - a) / u) ** 2 + ((y - b) / v) ** 2 for a, b, u, v in _EARTH]
        radius = np.hypot(x - _GLINT_CENTRE[0], y - _GLINT_CENTRE[1])
        arcs = [((radius - r) / _GLINT_WIDTH) ** 2 for r in _GLINT_RADII]
        return [np.exp(-0.5 * exponent) for exponent in (*broad, *arcs)]
