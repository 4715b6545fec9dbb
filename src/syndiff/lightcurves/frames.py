"""The frames of a series: one FFI's pixels of a field, and what its header says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syndiff.ffi.observation import read_observation
from syndiff.ffi.pixels import read_ffi_pixels
from syndiff.window import Window

if TYPE_CHECKING:
    from syndiff.ffi.frame import Frame
    from syndiff.ffi.pixels import FfiPixels

__all__ = ["FramePixels", "read_frame"]

_MARGIN_ROWS = 8
# Dead pixels are looked for in whole rows of science pixels, so many around the field's.


@dataclass(frozen=True, eq=False)
class FramePixels:
    """A frame's pixels of a field.

    Parameters
    ----------
    name : str
        The FFI's.
    frame : Frame or None
        Its pixel grid; None where it has no WCS of its own.
    start, stop : float
        In days since JD 2457000, TDB.
    is_barycentric : bool
        Whether these are times at the solar system's barycentre, for the CCD's centre (SPOC), or
        at the spacecraft (TICA).
    exposure_s : float
        Time on source.
    quality : int
        Bits of the header.
    pixels : FfiPixels
        Electrons per second.
    """

    name: str
    frame: Frame | None
    start: float
    stop: float
    is_barycentric: bool
    exposure_s: float
    quality: int
    pixels: FfiPixels


def read_frame(path: str, window: Window) -> FramePixels:
    """Read the part of an FFI that a field needs.

    Parameters
    ----------
    path : str
        The FFI.
    window : Window
        FFI pixels of the field.

    Returns
    -------
    FramePixels
        The frame.

    Raises
    ------
    ObservationError
        If it can't be read, or holds no light there.
    """
    observation = read_observation(path)
    science = observation.frame.science
    rows = window.y0 - _MARGIN_ROWS, window.y1 + _MARGIN_ROWS
    searched = Window(science.x0, max(science.y0, rows[0]), science.x1, min(science.y1, rows[1]))
    return FramePixels(
        name=observation.name,
        frame=observation.frame,
        start=observation.tstart,
        stop=observation.tstop,
        is_barycentric=observation.kind == "SPOC",
        exposure_s=observation.exposure_s,
        quality=observation.quality,
        pixels=read_ffi_pixels(observation, window, searched=searched),
    )
