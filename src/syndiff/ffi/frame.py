"""The pixel grid of one full-frame image (FFI): its shape, its science pixels, its WCS."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import digest
from syndiff.errors import ObservationError
from syndiff.ffi.header_cards import REMEDY, HeaderCards
from syndiff.ffi.wcs_cards import build_wcs, wcs_cards
from syndiff.window import Window

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS
    from numpy.typing import ArrayLike, NDArray

    from syndiff.layout import Detector

__all__ = ["Frame"]

_BORDER_STEP_PX = 16.0
# The strongest SIP terms bend a border of 16 px by 0.01 px (0.2").


@dataclass(frozen=True)
class Frame:
    """The pixel grid of one FFI: small, hashable, safe to send to workers.

    Parameters
    ----------
    detector : Detector
        Sector, camera and CCD.
    shape : tuple[int, int]
        Rows and columns of the array.
    science : Window
        The pixels that see the sky, 0-based.
    cards : str
        FITS cards of the celestial WCS with its SIP terms and nothing else, one a line, without
        comments; numbers in the shortest form that reads back as the same double.

    Raises
    ------
    ObservationError
        If the science window doesn't lie in the array.

    Examples
    --------
    >>> import syndiff
    >>> frame = syndiff.open(20, 3, 3, data_root="data").frame
    >>> frame.shape, frame.science.shape
    ((2078, 2136), (2048, 2048))
    >>> ra, dec = frame.pixel_to_sky(1000, 1020)
    >>> round(float(ra), 2), round(float(dec), 2)
    (215.91, 76.2)
    """

    detector: Detector
    shape: tuple[int, int]
    science: Window
    cards: str = field(repr=False)

    def __post_init__(self) -> None:
        ny, nx = self.shape
        if not Window(0, 0, nx, ny).contains(self.science):
            raise ObservationError(
                f"{self.detector}: the science window {self.science} (x0,y0,x1,y1) doesn't lie in "
                f"the array of {nx} x {ny} pixels: {REMEDY}"
            )

    @classmethod
    def from_header(
        cls, header: Header, detector: Detector, shape: tuple[int, int], science: Window
    ) -> Frame:
        """Return the frame whose WCS stands in `header`.

        Parameters
        ----------
        header : Header
            A header with a TAN-SIP WCS; cards that are no part of it are ignored.
        detector : Detector
            Sector, camera and CCD.
        shape : tuple[int, int]
            Rows and columns of the array.
        science : Window
            The pixels that see the sky.

        Returns
        -------
        Frame
            The frame; equal to the one whose `header` was written.

        Raises
        ------
        ObservationError
            If the WCS is missing, is no TAN-SIP, or holds a value that can't be used.
        """
        return cls(detector, shape, science, wcs_cards(HeaderCards(str(detector), {0: header})))

    @property
    def wcs(self) -> WCS:
        """The WCS, made once for each process; not to be changed.

        Only its forward direction is exact: the inverse polynomials (AP, BP) of FFI headers err by
        up to several pixels.
        """
        return build_wcs(self.cards)

    def header(self) -> Header:
        """Return the WCS as a FITS header.

        Returns
        -------
        Header
            A new header of the WCS cards only. ``other.extend(frame.header())`` keeps every digit;
            copying value by value would let astropy shorten numbers to 20 characters.
        """
        from astropy.io.fits import Header

        # In an HDU without pixels WCSAXES alone tells how many axes the others are of.
        axes = "WCSAXES =                    2 / number of WCS axes"
        return Header.fromstring(f"{axes}\n{self.cards}", sep="\n")

    @property
    def digest(self) -> str:
        """Short digest of detector, shape, science window and WCS; not of any file name."""
        d, w = self.detector, self.science
        grid = [d.sector, d.camera, d.ccd, *self.shape, w.x0, w.y0, w.x1, w.y1]
        return digest({"grid": grid, "cards": self.cards})

    def pixel_to_sky(
        self, x: ArrayLike, y: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where pixel positions lie on the sky.

        Parameters
        ----------
        x, y : array_like
            Columns and rows, 0-based, integer = centre; any shapes that broadcast.

        Returns
        -------
        ra, dec : ndarray of float64
            Degrees, ICRS, of the broadcast shape; RA in 0..360.
        """
        ra, dec = self.wcs.all_pix2world(np.asarray(x, float), np.asarray(y, float), 0)
        return np.asarray(ra, np.float64), np.asarray(dec, np.float64)

    def footprint(
        self, margin_px: float = 0.0, window: Window | None = None
    ) -> NDArray[np.float64]:
        """Return the border of the science pixels, or of a part of them, on the sky.

        Parameters
        ----------
        margin_px : float
            Pixels by which the border is moved outwards.
        window : Window, optional
            The part; None for all.

        Returns
        -------
        (n, 3) ndarray of float64
            Unit vectors of a closed polygon (the first point isn't repeated), along the outer edges
            of the outermost pixels; great circles between them follow the curved border to 0.01 px.
        """
        w = window or self.science
        left, right = w.x0 - 0.5 - margin_px, w.x1 - 0.5 + margin_px
        low, high = w.y0 - 0.5 - margin_px, w.y1 - 0.5 + margin_px
        corners = [(left, low), (right, low), (right, high), (left, high)]
        sides = zip(corners, corners[1:] + corners[:1], strict=True)
        x, y = np.concatenate([_points_between(start, end) for start, end in sides]).T
        ra, dec = np.deg2rad(self.pixel_to_sky(x, y))
        return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _points_between(start: tuple[float, float], end: tuple[float, float]) -> NDArray[np.float64]:
    """Return points from `start` to before `end`, at most a border step apart."""
    steps = math.ceil(math.dist(start, end) / _BORDER_STEP_PX)
    fraction = np.arange(steps)[:, np.newaxis] / steps
    return np.asarray(start) * (1 - fraction) + np.asarray(end) * fraction
