"""The pixels of an FFI in electrons per second: noise, full wells, dead ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.ffi.dead_pixels import FULL_PIXEL_E_PER_S, NEARLY_FULL, check_alive, find_dead
from syndiff.kernels.widen import widen
from syndiff.masks import DataQuality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.ffi.observation import Observation
    from syndiff.window import Window

__all__ = ["FfiPixels", "check_frame", "read_ffi_pixels"]


@dataclass(frozen=True)
class FfiPixels:
    """Pixels of an FFI in electrons per second.

    Parameters
    ----------
    image, uncertainty : (ny, nx) float64
        Flux and its standard deviation; NaN where the pixel is dead.
    saturated : (ny, nx) bool
        Pixels at or near their full well, and those around them.
    dead : (ny, nx) uint8
        `DeadPixel` values: why a pixel holds no light, 0 where it does.
    is_estimated : bool
        Whether the uncertainty is reckoned from the image because the FFI has none (TICA).
    """

    image: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    saturated: NDArray[np.bool_]
    dead: NDArray[np.uint8]
    is_estimated: bool

    def flags(self) -> NDArray[np.int32]:
        """Return what the FFI itself says of its pixels.

        Returns
        -------
        (ny, nx) int32
            `DataQuality` bits of dead and of saturated pixels.
        """
        flags = np.zeros(self.dead.shape, np.int32)
        flags[self.dead > 0] |= np.int32(DataQuality.TESS_DEAD)
        flags[self.saturated] |= np.int32(DataQuality.TESS_SATURATED)
        return flags


def read_ffi_pixels(observation: Observation, window: Window) -> FfiPixels:
    """Return the pixels of an FFI in electrons per second.

    Parameters
    ----------
    observation : Observation
        The FFI.
    window : Window
        Science pixels wanted.

    Returns
    -------
    FfiPixels
        The pixels.

    Raises
    ------
    ObservationError
        If they can't be read, or all of them are dead.

    Notes
    -----
    Dead pixels are looked for among all science pixels, so that they don't depend on the window.
    """
    unit = observation.per_second()
    is_estimated = observation.uncertainty_source == "estimated"
    science = observation.frame.science
    counts = observation.read_image()
    sigma = observation.read_uncertainty(counts)
    codes = find_dead(counts[science.slices] * np.float32(unit), sigma[science.slices])
    name = observation.name
    check_alive(codes, name, "science pixels", "give another FFI")
    whole = np.zeros(counts.shape, np.uint8)
    whole[science.slices] = codes
    dead = whole[window.slices]
    another = "give another FFI, or the template of another region"
    check_alive(dead, name, f"pixels of the window {window}", another)
    image, noise = (
        np.where(dead == 0, plane[window.slices] * np.float64(unit), np.nan)
        for plane in (counts, sigma)
    )
    full = image >= NEARLY_FULL * FULL_PIXEL_E_PER_S
    # Charge of a full pixel runs along its column.
    full = widen(full, 3, 1)
    return FfiPixels(image, noise, full, dead, is_estimated)


def check_frame(observation: Observation) -> NDArray[np.uint8]:
    """Return which science pixels of an FFI are dead, after making sure that some are not.

    Parameters
    ----------
    observation : Observation
        The FFI.

    Returns
    -------
    (ny, nx) uint8
        `DeadPixel` values of the science pixels; the uncertainty takes no part.

    Raises
    ------
    ObservationError
        If the image can't be read, or all of its science pixels are dead.
    """
    counts = observation.read_image()[observation.frame.science.slices]
    codes = find_dead(counts * np.float32(observation.per_second()))
    check_alive(codes, observation.name, "science pixels", "give another FFI")
    return codes
