"""The pixels of an FFI in electrons per second: noise, full wells, dead ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.ffi.dead_pixels import FULL_PIXEL_E_PER_S, NEARLY_FULL, check_alive, find_dead
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


def read_ffi_pixels(
    observation: Observation, window: Window, *, searched: Window | None = None
) -> FfiPixels:
    """Return the pixels of an FFI in electrons per second.

    Parameters
    ----------
    observation : Observation
        The FFI.
    window : Window
        Science pixels wanted.
    searched : Window, optional
        The science pixels around it among which dead ones are looked for; None for all of them.

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
    By default dead pixels are looked for among all science pixels, so that they don't depend on the
    window.
    """
    from scipy.ndimage import binary_dilation

    unit = observation.per_second()
    is_estimated = observation.uncertainty_source == "estimated"
    counts = observation.read_image(searched)
    sigma = observation.read_uncertainty(counts, searched)
    # All of the frame was read, or the pixels that are searched.
    inside = _within(window, searched)
    looked_at = _within(searched or observation.frame.science, searched)
    codes = find_dead(counts[looked_at] * np.float32(unit), sigma[looked_at])
    name = observation.name
    check_alive(codes, name, "science pixels", "give another FFI")
    whole = np.zeros(counts.shape, np.uint8)
    whole[looked_at] = codes
    dead = whole[inside]
    another = "give another FFI, or the template of another region"
    check_alive(dead, name, f"pixels of the window {window}", another)
    image, noise = (
        np.where(dead == 0, plane[inside] * np.float64(unit), np.nan) for plane in (counts, sigma)
    )
    full = image >= NEARLY_FULL * FULL_PIXEL_E_PER_S
    # Charge of a full pixel runs along its column.
    full = binary_dilation(binary_dilation(full, np.ones((3, 3))), np.ones((5, 1)))
    return FfiPixels(image, noise, full, dead, is_estimated)


def _within(window: Window, area: Window | None) -> tuple[slice, slice]:
    """Return the slices of a window in the array of an area's pixels; None for all of a frame."""
    x0, y0 = (area.x0, area.y0) if area else (0, 0)
    return slice(window.y0 - y0, window.y1 - y0), slice(window.x0 - x0, window.x1 - x0)


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
