"""The pixel grid of one full-frame image (FFI): its shape, its science pixels, its WCS."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from syndiff.config import digest
from syndiff.errors import ObservationError
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from astropy.io.fits import Header
    from astropy.wcs import WCS
    from numpy.typing import ArrayLike, NDArray

    from syndiff.layout import Detector

__all__ = ["REMEDY", "Frame", "HeaderCards", "wcs_cards"]

_BORDER_STEP_PX = 16.0
# The strongest SIP terms bend a border of 16 px by 0.01 px (0.2").

_TEXTS = ("CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2", "RADESYS")
_OPTIONAL_NUMBERS = ("LONPOLE", "LATPOLE", "EQUINOX")
_CD = ("CD1_1", "CD1_2", "CD2_1", "CD2_2")
_PC = ("PC1_1", "PC1_2", "PC2_1", "PC2_2")

REMEDY = (
    "use an FFI as MAST delivers it (tess*-s_ffic.fits of SPOC, hlsp_tica_tess_ffi_*_img.fits of "
    "TICA, gzipped or not), or download this one again"
)
"""What a user can do about an FFI that can't be used."""


class HeaderCards:
    """Checked access to the cards of one file: every complaint names it.

    Parameters
    ----------
    source : str
        What to call the file.
    headers : Mapping[int, Header]
        Headers by HDU number; the first that holds a card decides.
    """

    def __init__(self, source: str, headers: Mapping[int, Header]) -> None:
        self.source = source
        self.headers = headers

    def stated(self, keyword: str) -> dict[str, object]:
        """Return every value of `keyword`, by where it stands.

        Parameters
        ----------
        keyword : str
            Keyword of the card.

        Returns
        -------
        dict[str, object]
            For example ``{"HDU 1": 3}``; cards without a value are left out.

        Raises
        ------
        ObservationError
            If a card holds what FITS doesn't know, a bare NaN for example.
        """
        from astropy.io.fits import VerifyError

        values: dict[str, object] = {}
        for number, header in self.headers.items():
            try:
                value = header.get(keyword)
            except VerifyError:
                self._raise(keyword, "holds what is no FITS value, like a bare NaN", "a value")
            if value is not None:
                values[f"HDU {number}"] = value
        return values

    def get(self, keyword: str) -> object:
        """Return the value of `keyword`.

        Parameters
        ----------
        keyword : str
            Keyword of the card.

        Returns
        -------
        object
            A number, text or bool; None where there is no value.
        """
        return next(iter(self.stated(keyword).values()), None)

    def text(self, keyword: str) -> str:
        """Return the text that `keyword` must hold.

        Parameters
        ----------
        keyword : str
            Keyword of the card.

        Returns
        -------
        str
            The text without blanks around it.

        Raises
        ------
        ObservationError
            If there is no text.
        """
        value = self.get(keyword)
        if not isinstance(value, str) or not value.strip():
            self.fail(keyword, "a text")
        return value.strip()

    def number(self, keyword: str) -> float:
        """Return the finite number that `keyword` must hold.

        Parameters
        ----------
        keyword : str
            Keyword of the card.

        Returns
        -------
        float
            The number.

        Raises
        ------
        ObservationError
            If there is no finite number.
        """
        value = self.get(keyword)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(keyword, "a finite number")
        if not math.isfinite(value):
            self.fail(keyword, "a finite number")
        return float(value)

    def integer(self, keyword: str) -> int:
        """Return the whole number that `keyword` must hold.

        Parameters
        ----------
        keyword : str
            Keyword of the card.

        Returns
        -------
        int
            The number.

        Raises
        ------
        ObservationError
            If there is no whole number.
        """
        value = self.number(keyword)
        if not value.is_integer():
            self.fail(keyword, "a whole number")
        return int(value)

    def flag(self, keyword: str) -> bool:
        """Return the yes or no that `keyword` must hold.

        Parameters
        ----------
        keyword : str
            Keyword of the card.

        Returns
        -------
        bool
            Yes or no.

        Raises
        ------
        ObservationError
            If there is neither T, F, 1 nor 0.
        """
        value = self.get(keyword)
        if value not in {True, False}:
            self.fail(keyword, "T, F, 1 or 0")
        return bool(value)

    def fail(self, keyword: str, needed: str) -> NoReturn:
        """Complain about the value of `keyword`, or that there is none.

        Parameters
        ----------
        keyword : str
            Keyword of the card.
        needed : str
            What is allowed.

        Raises
        ------
        ObservationError
            Always.
        """
        value = self.get(keyword)
        self._raise(keyword, "is missing" if value is None else f"is {value!r}", needed)

    def _raise(self, keyword: str, found: str, needed: str) -> NoReturn:
        raise ObservationError(f"{self.source}: {keyword} {found}; it must be {needed}: {REMEDY}")


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
    """

    detector: Detector
    shape: tuple[int, int]
    science: Window
    cards: str

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
        return _build_wcs(self.cards)

    def header(self) -> Header:
        """Return the WCS as a FITS header.

        Returns
        -------
        Header
            A new header of the WCS cards only. ``other.extend(frame.header())`` keeps every digit;
            copying value by value would let astropy shorten numbers to 20 characters.
        """
        from astropy.io.fits import Header

        return Header.fromstring(self.cards, sep="\n")

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

    def footprint(self, margin_px: float = 0.0) -> NDArray[np.float64]:
        """Return the border of the science pixels on the sky.

        Parameters
        ----------
        margin_px : float
            Pixels by which the border is moved outwards.

        Returns
        -------
        (n, 3) ndarray of float64
            Unit vectors of a closed polygon (the first point isn't repeated), along the outer edges
            of the outermost pixels; great circles between them follow the curved border to 0.01 px.
        """
        w = self.science
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


@lru_cache(maxsize=64)
def _build_wcs(cards: str) -> WCS:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    # Nothing to fix in these cards; `fix` would turn a singular matrix into a mere warning.
    wcs = WCS(Header.fromstring(cards, sep="\n"), fix=False)
    wcs.wcs.set()
    return wcs


def wcs_cards(cards: HeaderCards) -> str:
    """Return the cards of a TAN-SIP WCS, checked and in the form that `Frame.cards` has.

    Parameters
    ----------
    cards : HeaderCards
        The image's header, and no other.

    Returns
    -------
    str
        One card a line.

    Raises
    ------
    ObservationError
        If the WCS is missing, is no TAN-SIP, or holds a value that can't be used.
    """
    for keyword, allowed in (("CTYPE1", "RA---TAN-SIP"), ("CTYPE2", "DEC--TAN-SIP")):
        if cards.get(keyword) != allowed:
            cards.fail(keyword, f"{allowed!r} (some FFIs were given no WCS: take another one)")
    for keyword in _present(cards, ("CUNIT1", "CUNIT2")):
        if cards.get(keyword) != "deg":
            cards.fail(keyword, "'deg'")
    lines = [_text_card(key, cards.text(key)) for key in _present(cards, _TEXTS)]
    lines += [_number_card(key, cards.number(key)) for key in _number_keywords(cards)]
    lines += _sip_cards(cards)
    text = "\n".join(lines)
    try:
        _build_wcs(text)
    except ValueError as error:  # astropy's WcsError is one
        reason = str(error).strip().splitlines()[:2][-1]  # wcslib's first names its source file
        raise ObservationError(
            f"{cards.source}: the WCS (CTYPE1 to CD2_2) can't be used, {reason}: {REMEDY}"
        ) from error
    return text


def _present(cards: HeaderCards, keywords: tuple[str, ...]) -> Iterator[str]:
    return (keyword for keyword in keywords if cards.get(keyword) is not None)


def _number_keywords(cards: HeaderCards) -> list[str]:
    """Return the keywords of the linear part: those that must be there and those that may."""
    scaled = any(_present(cards, _PC)) and not any(_present(cards, _CD))
    matrix = ["CDELT1", "CDELT2", *_present(cards, _PC)] if scaled else list(_CD)
    pairs = ["CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"]
    return [*pairs, *matrix, *_present(cards, _OPTIONAL_NUMBERS)]


def _sip_cards(cards: HeaderCards) -> Iterator[str]:
    """Yield the cards of the polynomials that the header has, orders first."""
    for name in ("A", "B", "AP", "BP"):
        required = name in {"A", "B"}
        keyword = f"{name}_ORDER"
        if not required and cards.get(keyword) is None:
            continue
        order = cards.integer(keyword)
        if not 2 <= order <= 9:
            cards.fail(keyword, "from 2 to 9")
        yield f"{keyword:<8}= {order:>20d}"
        for power in range(order + 1):
            terms = (f"{name}_{power}_{q}" for q in range(order + 1 - power))
            yield from (_number_card(key, cards.number(key)) for key in _present(cards, (*terms,)))


def _text_card(keyword: str, value: str) -> str:
    quoted = value.replace("'", "''")
    return f"{keyword:<8}= '{quoted:<8}'"


def _number_card(keyword: str, value: float) -> str:
    text = repr(value).upper()
    if "." not in text:
        text = text.replace("E", ".0E")
    return f"{keyword:<8}= {text:>20}"
