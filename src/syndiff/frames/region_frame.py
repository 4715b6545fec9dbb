"""One frame of a region: its pixels, when it was taken, and where it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from syndiff.errors import ConfigError
from syndiff.ffi.observation import read_observation
from syndiff.ffi.pixels import read_ffi_pixels
from syndiff.window import Window

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.wcs import WCS

    from syndiff.ffi.frame import Frame
    from syndiff.ffi.observation import Observation
    from syndiff.ffi.pixels import FfiPixels
    from syndiff.layout import Detector

__all__ = ["FrameTime", "RegionFrame", "read_frame", "searched_window"]

_MARGIN_ROWS = 4
"""Rows above and below a region that are read too: groups of three stuck pixels lie in them."""


@dataclass(frozen=True)
class FrameTime:
    """When a frame was taken.

    Parameters
    ----------
    tstart, tstop : float
        Start and end in days since JD 2457000.
    scale : {"BTJD", "TJD"}
        Whether they hold at the solar system's barycentre, for the middle of the CCD (SPOC), or at
        the spacecraft (TICA).
    barycorr_d : float or None
        Days by which BTJD is later than at the spacecraft; None where it isn't stated.
    exposure_s : float
        Time on source in seconds.
    """

    tstart: float
    tstop: float
    scale: Literal["BTJD", "TJD"]
    barycorr_d: float | None
    exposure_s: float

    @property
    def tmid(self) -> float:
        """Middle of the exposure."""
        return (self.tstart + self.tstop) / 2


@dataclass(frozen=True)
class RegionFrame:
    """A region's pixels in one frame.

    Parameters
    ----------
    name : str
        Name of the FFI.
    source : str
        The file that it was read from.
    detector : Detector
        Sector, camera and CCD.
    window : Window
        FFI pixels that it holds.
    pixels : FfiPixels
        Image and uncertainty in electrons per second, which pixels are dead and saturated.
    time : FrameTime
        When it was taken.
    quality : int
        Bits of SPOC's DQUALITY, 0 for a good image.
    frame : Frame or None
        The whole FFI's pixel grid with its WCS; None where the file has none of this frame.
    cut_wcs : WCS or None
        Of a cutout, one for all of its frames, in pixels of the window; None for an FFI.
    """

    name: str
    source: str
    detector: Detector
    window: Window
    pixels: FfiPixels
    time: FrameTime
    quality: int
    frame: Frame | None
    cut_wcs: WCS | None = None


def searched_window(science: Window, window: Window) -> Window:
    """Return the science pixels that are read for a region.

    Parameters
    ----------
    science : Window
        The pixels that see the sky.
    window : Window
        The region.

    Returns
    -------
    Window
        Whole rows of science pixels, a few more than the region's: dead pixels are looked for among
        them, so that they are the same for a whole FFI and for one held in part.

    Raises
    ------
    ConfigError
        If the region doesn't lie in the science pixels.
    """
    if not science.contains(window):
        raise ConfigError(
            f"region {window} (x0,y0,x1,y1) doesn't lie in the science pixels {science} of the FFI"
        )
    y0, y1 = window.y0 - _MARGIN_ROWS, window.y1 + _MARGIN_ROWS
    return Window(science.x0, max(science.y0, y0), science.x1, min(science.y1, y1))


def read_frame(path: str | Path, window: Window) -> RegionFrame:
    """Return a region's pixels in an FFI.

    Parameters
    ----------
    path : str or Path
        An FFI, or what `fetch_frames` kept of it. Of a plain file only headers and rows are read.
    window : Window
        Science pixels wanted.

    Returns
    -------
    RegionFrame
        Bitwise the same from the whole FFI and from what was kept of it.

    Raises
    ------
    ObservationError
        If the FFI can't be read, or all pixels of the region are dead.
    ConfigError
        If the region doesn't lie in the science pixels.
    """
    observation = read_observation(path)
    searched = searched_window(observation.frame.science, window)
    return RegionFrame(
        name=observation.name,
        source=str(observation.path),
        detector=observation.frame.detector,
        window=window,
        pixels=read_ffi_pixels(observation, window, searched=searched),
        time=time_of(observation),
        quality=observation.quality,
        frame=observation.frame,
    )


def time_of(observation: Observation) -> FrameTime:
    """Return when an FFI was taken.

    Parameters
    ----------
    observation : Observation
        The FFI.

    Returns
    -------
    FrameTime
        As its header says.
    """
    return FrameTime(
        observation.tstart,
        observation.tstop,
        "TJD" if observation.kind == "TICA" else "BTJD",
        observation.barycorr_d,
        observation.exposure_s,
    )
