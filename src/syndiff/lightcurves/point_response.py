"""What the pixels of a frame record of a point source: the scene's response through a kernel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from syndiff.scenes.prf import PS1_VARIANCE_PX2, gaussian_transfer, sky_jacobian

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.differences.matching import VaryingKernel
    from syndiff.ffi.frame import Frame
    from syndiff.scenes.prf import Response
    from syndiff.window import Window

__all__ = ["HALF_PX", "PointResponse"]

HALF_PX = 5
"""Pixels of a stamp on either side of its middle."""

_SIZE_PX = 16
_SAMPLES_PER_PX = 4
# Spectra of scenes end at 2 cycles per pixel; light ends 8 px from a star, a stamp 5 px from it.
# Larger products would go to several threads of BLAS, which take ten times as long.


class PointResponse:
    """The response at one place of the field, unit light, as the steady kernel leaves it.

    Parameters
    ----------
    frame : Frame
        Pixel grid of the FFI that the scene was made for.
    response : Response
        What the scene was made with.
    kernel : VaryingKernel
        The steady kernel, of sum 1 here.
    window : Window
        FFI pixels of the field.
    place : (float, float)
        x and y, FFI pixels of `frame`.

    Notes
    -----
    A point source in a scene is what PS1 sees of it, its mean seeing and pixel, through the
    response. The spectrum of that times the kernel's gives the light at any distance from pixels'
    centres, exactly; a variance v that the response gains multiplies it by 1 - 2 pi^2 k v k.
    """

    def __init__(
        self,
        frame: Frame,
        response: Response,
        kernel: VaryingKernel,
        window: Window,
        place: tuple[float, float],
    ) -> None:
        x, y = place
        k = np.asarray(np.fft.fftfreq(_SIZE_PX * _SAMPLES_PER_PX, 1 / _SAMPLES_PER_PX), float)
        jacobian = sky_jacobian(frame, x, y)
        seeing = gaussian_transfer(PS1_VARIANCE_PX2 * jacobian @ jacobian.T, k, k)
        light = response.transfer(place, response.patch(x, y), jacobian, k, k) * seeing
        low_y, low_x = (
            np.array([2 * (v - low) / max(high - low - 1, 1) - 1])
            for v, low, high in ((y, window.y0, window.y1), (x, window.x0, window.x1))
        )
        weights = kernel.at(low_y, low_x)[0]
        # A tap takes light from its place: light goes the other way.
        down, across = (np.exp(2j * math.pi * k[:, None] * v) for v in kernel.taps.places.T)
        acting = (down * weights) @ across.T
        self._spectrum = light * acting / weights.sum()
        self._k = k

    def stamp(
        self, beside: tuple[float, float], widening: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the light in pixels around a star.

        Parameters
        ----------
        beside : (float, float)
            x and y of the star from the middle of the stamp.
        widening : (3,) float64
            Variance that the frame's response has gained: xx, xy, yy, square pixels.

        Returns
        -------
        (11, 11) float64
            Sums to less than 1 by what lies outside.
        """
        k, (xx, xy, yy) = self._k, widening
        square = xx * k**2 + yy * k[:, None] ** 2 + 2 * xy * k * k[:, None]
        spectrum = self._spectrum * (1 - 2 * math.pi**2 * square)
        pixels = np.arange(-HALF_PX, HALF_PX + 1)
        across, down = (
            np.exp(2j * math.pi * (pixels[:, None] - v) * k) / len(k) * _SAMPLES_PER_PX
            for v in beside
        )
        return np.asarray((down @ spectrum @ across.T).real)
