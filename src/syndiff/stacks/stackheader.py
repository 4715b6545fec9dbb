"""What the header of a PS1 stack plane says, checked before a pixel is read.

Nothing numeric is ever assumed: what a plane needs and its header lacks is an error.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from syndiff.constants import ZERO_POINT
from syndiff.stacks.cards import Cards

if TYPE_CHECKING:
    from syndiff.sky.tessellation import Skycell

__all__ = ["BLANK", "Expected", "Plane", "Scaling", "StackHeader", "read_grid", "read_stackheader"]

Plane = Literal["image", "variance", "mask"]

BLANK = 32767
"""The DN of a pixel without data in every image and variance plane."""

ASINH_MAG = 2.5 / math.log(10.0)
"""1.0857362: the survey's asinh scaling is in magnitudes of base-10 logarithms."""

WCS_TOLERANCE_PX = 0.01

_EXPTIME_S = (0.1, 1e7)
"""Range of exposure times that make sense: a stack has at least one input, of 30 s or more."""

LINEAR = "LINEAR"
"""Card of a plane of floating-point values without asinh scaling, once they are coded."""

MIXED_OPTION = "`allow_mixed`"
"""Lets files of one stack contradict each other."""


@dataclass(frozen=True)
class Expected:
    """What one plane file should be.

    Parameters
    ----------
    source : str
        URL or path, for messages.
    plane : {"image", "variance", "mask"}
        Which of the three files of a band.
    band : str
        One letter.
    skycell : Skycell
        The pixel grid that the file must have.
    allow_mixed : bool
        Whether a variance or mask may say that it is of another skycell or band than the image.
    """

    source: str
    plane: Plane
    band: str
    skycell: "Skycell"
    allow_mixed: bool = False


@dataclass(frozen=True)
class Scaling:
    """The relation of DN to linear values in an image or variance plane.

    Parameters
    ----------
    bzero, bscale : float
        ``v = bzero + bscale * DN``.
    asinh : (float, float), optional
        BOFFSET and BSOFTEN; without them v is the linear value itself.

    Notes
    -----
    ``linear = BOFFSET + 2 BSOFTEN sinh(v / 1.0857362)``: Waters et al. 2020, ApJS 251, 4;
    the cards' own comments say the same.
    """

    bzero: float
    bscale: float
    asinh: tuple[float, float] | None

    def linear(self, dn: NDArray[np.int16]) -> NDArray[np.float64]:
        """Return the linear values of DN.

        Parameters
        ----------
        dn : int16 array
            Raw values; not modified.

        Returns
        -------
        float64 array of the same shape
            Counts (image) or counts squared (variance); infinite beyond float64. `BLANK` is not
            treated apart.
        """
        value = self.bzero + self.bscale * dn.astype(np.float64)
        if self.asinh is None:
            return value
        boffset, bsoften = self.asinh
        with np.errstate(over="ignore"):
            return boffset + 2.0 * bsoften * np.sinh(value / ASINH_MAG)


@dataclass(frozen=True)
class StackHeader:
    """What is needed of the header of one plane.

    Parameters
    ----------
    plane : {"image", "variance", "mask"}
        Which of the three files of a band.
    band : str
        One letter.
    shape : (int, int)
        (ny, nx) PS1 pixels.
    exptime_s : float
        Sum of the inputs' exposure times, in seconds; NaN for a mask that doesn't say.
    mjd_obs : float or None
        Time of exposure (MJD), where the header says.
    scaling : Scaling or None
        None for a mask.
    is_linear : bool
        Whether the file's values had no asinh scaling; False for a mask.
    contradictions : tuple of str
        What it says of itself that is not the image's, where that is allowed.
    """

    plane: Plane
    band: str
    shape: tuple[int, int]
    exptime_s: float
    mjd_obs: float | None
    scaling: Scaling | None
    is_linear: bool
    contradictions: tuple[str, ...] = ()


def read_stackheader(cards: Cards, expected: Expected) -> StackHeader:
    """Check the header of a plane and return what it says.

    Parameters
    ----------
    cards : Cards
        The image's header; of a compressed one the table's own, with its Z keywords.
    expected : Expected
        What the file should be.

    Returns
    -------
    StackHeader
        The checked values.

    Raises
    ------
    WrongFileError
        If a keyword is missing or wrong; names the source, the keyword, its value and what was
        expected.
    """
    cards.integer("ZBITPIX" if cards.get("ZIMAGE") is True else "BITPIX", [16])
    shape = read_grid(cards, expected)
    contradictions = tuple(_contradictions(cards, expected))
    mjd_obs = cards.get("MJD-OBS")
    scaling = _scaling(cards, expected.plane)
    return StackHeader(
        plane=expected.plane,
        band=expected.band,
        shape=shape,
        exptime_s=_exptime(cards, expected.plane),
        mjd_obs=None if mjd_obs is None else cards.number("MJD-OBS"),
        scaling=scaling,
        is_linear=scaling is not None and (scaling.asinh is None or cards.get(LINEAR) is True),
        contradictions=contradictions,
    )


def read_grid(cards: Cards, expected: Expected) -> tuple[int, int]:
    """Check the size of a plane.

    Parameters
    ----------
    cards : Cards
        As for `read_stackheader`.
    expected : Expected
        What the file should be.

    Returns
    -------
    tuple of int
        (ny, nx).

    Raises
    ------
    WrongFileError
        If it is not the skycell's.
    """
    z = "Z" if cards.get("ZIMAGE") is True else ""
    cards.integer(f"{z}NAXIS", [2])
    nx = cards.integer(f"{z}NAXIS1", [expected.skycell.nx])
    return cards.integer(f"{z}NAXIS2", [expected.skycell.ny]), nx


def _contradictions(cards: Cards, expected: Expected) -> Iterator[str]:
    """Yield what a plane says against being the one expected; raise unless that is allowed.

    The image decides what its stack is, so it is never allowed to contradict.
    """
    is_image = expected.plane == "image"
    for key, found, wanted in _differences(cards, expected):
        if is_image:
            cards.fail(key, wanted, found)
        if not expected.allow_mixed:
            cards.fail(
                key,
                f"{wanted} as in the image, of which this should be the {expected.plane} "
                f"({MIXED_OPTION} takes it nevertheless)",
                found,
            )
        yield f"{expected.plane} with {key} {found!r}, expected {wanted}"


def _differences(cards: Cards, expected: Expected) -> Iterator[tuple[str, object, str]]:
    """Yield keyword, value and what was expected of every card of another skycell or band."""
    name = cards.get("SKYCELL")
    if name is not None and name != expected.skycell.name:
        yield "SKYCELL", name, repr(expected.skycell.name)
    key = "FPA.FILTERID" if cards.get("FPA.FILTERID") is not None else "FPA.FILTER"
    filter_id = cards.get(key)
    if filter_id is not None and str(filter_id)[0] != expected.band:
        yield key, filter_id, f"band {expected.band!r}"
    zero_point = cards.get("FPA.ZP")
    if zero_point is not None and not math.isclose(cards.number("FPA.ZP"), ZERO_POINT):
        yield "FPA.ZP", zero_point, str(ZERO_POINT)
    yield from _wcs_differences(cards, expected.skycell)


def _exptime(cards: Cards, plane: Plane) -> float:
    if plane == "mask" and cards.get("EXPTIME") is None:
        return math.nan
    exptime = cards.number("EXPTIME")
    if not _EXPTIME_S[0] <= exptime <= _EXPTIME_S[1]:
        cards.fail("EXPTIME", f"{_EXPTIME_S[0]:g} to {_EXPTIME_S[1]:g} s")
    return exptime


def _scaling(cards: Cards, plane: Plane) -> Scaling | None:
    if plane == "mask":
        # 16 unsigned bits have no other form in FITS.
        if cards.number("BZERO") != 32768:
            cards.fail("BZERO", "32768, as a mask has")
        if cards.number("BSCALE", 1.0) != 1:
            cards.fail("BSCALE", "1, as a mask has")
        return None
    blanks = [key for key in ("BLANK", "ZBLANK") if cards.get(key) is not None]
    for key in blanks or ["BLANK"]:
        cards.integer(key, [BLANK])
    scaling = Scaling(cards.number("BZERO"), cards.number("BSCALE"), _asinh(cards))
    if scaling.bscale == 0:
        cards.fail("BSCALE", "another value than 0")
    ends = scaling.linear(np.array([-32768, BLANK - 1], np.int16))
    if not (np.abs(ends) < np.finfo(np.float32).max).all():
        cards.fail("BSCALE", f"values within float32 (BZERO {scaling.bzero})")
    return scaling


def _asinh(cards: Cards) -> tuple[float, float] | None:
    if cards.get("BOFFSET") is None and cards.get("BSOFTEN") is None:
        return None
    boffset, bsoften = cards.number("BOFFSET"), cards.number("BSOFTEN")
    if bsoften <= 0:
        cards.fail("BSOFTEN", "more than 0")
    return boffset, bsoften


def _wcs_differences(cards: Cards, skycell: "Skycell") -> Iterator[tuple[str, object, str]]:
    """Yield the cards that displace some pixel by more than the tolerance."""
    for key, projection in (("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN")):
        if cards.get(key) != projection:
            yield key, cards.get(key), repr(projection)
    scale = [abs(value) for value in skycell.cdelt]
    reach = max(
        math.hypot(x - skycell.crpix[0], y - skycell.crpix[1])
        for x in (0.5, skycell.nx + 0.5)
        for y in (0.5, skycell.ny + 0.5)
    )
    # How far (px) one degree moves some pixel: right ascension shifts the tangent point and, near
    # the pole, rotates the grid around it.
    dec = math.radians(skycell.crval[1])
    turn = math.radians(1.0) * abs(math.sin(dec)) * reach
    px_per_deg = (max(math.cos(dec) / scale[0], turn), 1.0 / scale[1])
    for i in (0, 1):
        crval = cards.number(f"CRVAL{i + 1}")
        error = math.remainder(crval - skycell.crval[i], 360.0) * px_per_deg[i]
        yield from _shift(f"CRVAL{i + 1}", (crval, skycell.crval[i]), error)
        crpix = cards.number(f"CRPIX{i + 1}")
        yield from _shift(f"CRPIX{i + 1}", (crpix, skycell.crpix[i]), crpix - skycell.crpix[i])
    # Only the products CDELT x PC matter: a catalogue may have its minus sign in CDELT1.
    for k, (key, default) in enumerate(_matrix_keys(cards)):
        found = cards.number(f"CDELT{k // 2 + 1}") * cards.number(key, default)
        value = skycell.cdelt[k // 2] * skycell.pc[k]
        error = (found - value) / scale[k // 2] * reach
        yield from _shift(f"CDELT{k // 2 + 1} * {key}", (found, value), error)


def _matrix_keys(cards: Cards) -> Iterator[tuple[str, float]]:
    """Yield the names of the PC matrix's cards, and what the standard takes for a missing one."""
    form = "PC{:03d}{:03d}" if "PC001001" in cards.header else "PC{}_{}"
    for i in (1, 2):
        for j in (1, 2):
            yield form.format(i, j), float(i == j)


def _shift(key: str, values: Sequence[float], error_px: float) -> Iterator[tuple[str, object, str]]:
    """Yield a card that moves some pixel by more than the tolerance."""
    found, expected = values
    if abs(error_px) > WCS_TOLERANCE_PX:
        yield key, found, f"{expected!r} within {WCS_TOLERANCE_PX} px"
