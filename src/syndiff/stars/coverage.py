"""Whether a star table is of the field that it is given for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from syndiff.errors import ConfigError
from syndiff.sky.pixelmap import sky_to_pixel
from syndiff.stars.gaia import MARGIN_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.ffi.observation import Frame
    from syndiff.stars.catalogue import StarCatalogue
    from syndiff.window import Window

    Floats = NDArray[np.float64]

__all__ = ["check_coverage"]

logger = logging.getLogger(__name__)

_STARS_A_BLOCK = 12.0
"""On average; of as many none is seen in one block of 160,000 by chance."""
_MOST_BLOCKS = 16


def check_coverage(stars: StarCatalogue, frame: Frame, window: Window | None, source: str) -> None:
    """Say what a star table lacks of a field.

    Parameters
    ----------
    stars : StarCatalogue
        The table's stars.
    frame : Frame
        The FFI's pixel grid.
    window : Window, optional
        Region of interest; None for the whole CCD.
    source : str
        Where the table is from, for messages.

    Raises
    ------
    ConfigError
        If no star is on the CCD or near it.

    Notes
    -----
    A warning says that none is near the region, though some are on the CCD, and that some blocks
    of the region hold none where the others hold 12 and more: a search that was too small.
    """
    ra, dec = stars.ra, stars.dec
    x, y = _pixels(frame, ra, dec)
    if not _near(x, y, frame.science).any():
        raise ConfigError(
            f"no star of {source} is in the field: {_range(ra, dec)}, and the centre of "
            f"{frame.detector} is {_centre(frame)}{_guess(frame, ra, dec)}: give a table of this "
            "field, or `stars` none"
        )
    region = window or frame.science
    if not _near(x, y, region).any():
        logger.warning(
            "no star of %s is in the field: it has stars on %s, and none within %d pixels of %s",
            source,
            frame.detector,
            round(MARGIN_PX),
            region,
        )
        return
    empty = _empty_part(x, y, region)
    if empty:
        logger.warning(
            "%s has no stars in %.0f %% of the field %s, and many in the rest: bright stars stay "
            "as PS1 has them there. Give a table of the whole field",
            source,
            100 * empty,
            region,
        )


def _near(x: Floats, y: Floats, window: Window) -> NDArray[np.bool_]:
    """Tell which places can matter to a window."""
    across = (x > window.x0 - MARGIN_PX) & (x < window.x1 + MARGIN_PX)
    return across & (y > window.y0 - MARGIN_PX) & (y < window.y1 + MARGIN_PX)


def _pixels(frame: Frame, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
    """Return pixels, NaN far from the CCD, where the WCS's polynomial may lead back onto it."""
    x, y = sky_to_pixel(frame, ra, dec)
    science = frame.science
    x_edge = np.array([science.x0, science.x1, science.x0, science.x1], np.float64)
    y_edge = np.array([science.y0, science.y0, science.y1, science.y1], np.float64)
    corners = _directions(*frame.pixel_to_sky(x_edge, y_edge))
    middle = corners.mean(axis=0) / np.linalg.norm(corners.mean(axis=0))
    far = _directions(ra, dec) @ middle < np.cos(1.2 * np.arccos((corners @ middle).min()))
    return np.where(far, np.nan, x), np.where(far, np.nan, y)


def _directions(ra_deg: Floats, dec_deg: Floats) -> Floats:
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], -1)


def _empty_part(x: Floats, y: Floats, window: Window) -> float:
    """Return the part of a window without stars, if chance doesn't explain it."""
    inside = (x >= window.x0) & (x < window.x1) & (y >= window.y0) & (y < window.y1)
    blocks = min(int(np.sqrt(inside.sum() / _STARS_A_BLOCK)), _MOST_BLOCKS)
    if blocks < 2:
        return 0.0
    edges = [
        np.linspace(low, high, blocks + 1)
        for low, high in ((window.x0, window.x1), (window.y0, window.y1))
    ]
    counts = np.histogram2d(x[inside], y[inside], bins=edges)[0]
    return float((counts == 0).mean())


def _range(ra: Floats, dec: Floats) -> str:
    """Return the region of a table's stars, in words."""
    shifted = (ra + 180) % 360 - 180
    east = ra if np.ptp(ra) <= np.ptp(shifted) else shifted
    return (
        f"its RA runs from {east.min():.3f} to {east.max():.3f}, its Dec from {dec.min():.3f} to "
        f"{dec.max():.3f} degrees"
    )


def _centre(frame: Frame) -> str:
    science = frame.science
    x, y = (science.x0 + science.x1) / 2, (science.y0 + science.y1) / 2
    ra, dec = frame.pixel_to_sky(np.array([x]), np.array([y]))
    return f"RA {ra[0]:.3f}, Dec {dec[0]:.3f}"


def _guess(frame: Frame, ra: Floats, dec: Floats) -> str:
    """Return what would bring stars into the field, in words."""
    for meaning, (east, north) in {
        "if its RA is in hours (tell the unit h)": (15 * ra, dec),
        "if its RA and Dec are in radians (tell the unit rad)": (np.degrees(ra), np.degrees(dec)),
        "if its RA and Dec are exchanged": (dec, ra),
    }.items():
        if (np.abs(north) <= 90).all() and _near(*_pixels(frame, east, north), frame.science).any():
            return f"; its stars would be in it {meaning}"
    return ""
