"""Stack planes that hold values rather than the survey's 16-bit codes, coded like these."""

import io
import math
import zlib
from typing import Any, NoReturn

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from syndiff.constants import MAD_TO_SIGMA
from syndiff.errors import WrongFileError
from syndiff.stacks.cards import Cards
from syndiff.stacks.fitstiles import StoredImage
from syndiff.stacks.plausible import LEAST_FLUX, MOST_FLUX, MOST_VARIANCE
from syndiff.stacks.stackheader import (
    ASINH_MAG,
    BLANK,
    LINEAR,
    Expected,
    read_grid,
)

__all__ = ["code_values", "is_coded"]

_ROWS = 256
"""Rows coded at a time."""

_BEYOND = 1.1
"""Range of the codes beyond plausible values: values there are reported as absurd, not as NaN."""


def is_coded(image: StoredImage) -> bool:
    """Tell whether an image's pixels are 16-bit codes, as the survey stores them.

    Parameters
    ----------
    image : StoredImage
        The image.

    Returns
    -------
    bool
        False for floating-point or wider values.
    """
    z = "Z" if image.cards.get("ZIMAGE") is True else ""
    return bool(image.cards.get(f"{z}BITPIX") == 16)


def code_values(image: StoredImage, expected: Expected) -> tuple[Cards, NDArray[Any]]:
    """Return values as the survey would have coded them.

    Parameters
    ----------
    image : StoredImage
        An image of floating-point values, or of integers that are not 16 bits.
    expected : Expected
        What the file should be.

    Returns
    -------
    cards : Cards
        The header with the cards of the codes.
    array : (ny, nx) int16 or uint16
        DN of an image or variance, NaN as `BLANK`; or the bits of a mask.

    Raises
    ------
    WrongFileError
        If it isn't the skycell's size, the values can't be decoded, or it isn't clear what they
        mean.

    Notes
    -----
    Values with BOFFSET and BSOFTEN are those of which the survey's BZERO + BSCALE DN is one; others
    are linear and get an asinh scaling of their own. 65,534 steps from the least to the greatest
    make each as fine as the survey's.
    """
    shape = read_grid(image.cards, expected)
    values = _values(image)
    if values.shape != shape:
        raise WrongFileError(f"{image.source}: its pixels have shape {values.shape}, not {shape}")
    if expected.plane == "mask":
        return _coded(image.cards, {"BZERO": 32768.0, "BSCALE": 1.0}), _bits(values, image.source)
    asinh, cards = _asinh(image.cards, values), {}
    if image.cards.get("BOFFSET") is None:
        cards = {"BOFFSET": asinh[0], "BSOFTEN": asinh[1], LINEAR: True}
    codes, scaling = _codes(values, asinh, _limits(image.cards, expected, asinh), bool(cards))
    return _coded(image.cards, cards | scaling | {"BLANK": BLANK}), codes


def _values(image: StoredImage) -> NDArray[Any]:
    """Return the pixels' values."""
    for key, trivial in (("BZERO", 0), ("BSCALE", 1)):
        is_float = str(image.cards.get("BITPIX")).startswith("-")
        if is_float and image.cards.get(key) not in {None, trivial}:
            # Whoever unpacked the file may have applied them or not.
            image.cards.fail(key, f"{trivial} for floating-point pixels")
    try:
        with fits.open(io.BytesIO(image.octets.data)) as hdus:
            values = hdus[image.index].data
    except (LookupError, OSError, RuntimeError, TypeError, ValueError, zlib.error) as error:
        _refuse(image.source, f"its pixels can't be decoded ({error}): fetch the file again")
    return np.asarray(values)


def _bits(values: NDArray[Any], source: str) -> NDArray[np.uint16]:
    """Return whole numbers as mask bits."""
    bits = np.empty(values.shape, np.uint16)
    with np.errstate(invalid="ignore"):
        bits[...] = values
    if not np.array_equal(bits, values):
        _refuse(source, "a mask of whole numbers from 0 to 65535 is expected, others are there")
    return bits


def _asinh(cards: Cards, values: NDArray[Any]) -> tuple[float, float]:
    """Return BOFFSET and BSOFTEN: the header's, or for linear values some as the survey's."""
    if cards.get("BOFFSET") is not None or cards.get("BSOFTEN") is not None:
        boffset, bsoften = cards.number("BOFFSET"), cards.number("BSOFTEN")
        if bsoften <= 0:
            cards.fail("BSOFTEN", "more than 0")
        return boffset, bsoften
    sample = values[::7, ::7]
    sample = sample[np.isfinite(sample)].astype(np.float64)
    if not sample.size:
        return 0.0, 1.0
    middle = float(np.median(sample))
    noise = MAD_TO_SIGMA * float(np.median(np.abs(sample - middle)))
    return middle, noise or max(1e-6 * abs(middle), 1e-6)


def _limits(cards: Cards, expected: Expected, asinh: tuple[float, float]) -> tuple[float, float]:
    """Return the asinh values within which pixels are plausible, and a little beyond."""
    exptime = cards.number("EXPTIME")
    if expected.plane == "image":
        linear = [_BEYOND * flux * exptime for flux in (LEAST_FLUX, MOST_FLUX)]
    else:
        linear = [-MOST_VARIANCE * exptime**2, _BEYOND * MOST_VARIANCE * exptime**2]
    low, high = (ASINH_MAG * math.asinh((value - asinh[0]) / (2 * asinh[1])) for value in linear)
    return low, high


def _codes(
    values: NDArray[Any],
    asinh: tuple[float, float],
    limits: tuple[float, float],
    is_linear: bool,
) -> tuple[NDArray[np.int16], dict[str, object]]:
    """Return codes, and the cards that say how they count."""

    def scaled(j: int) -> NDArray[np.float64]:
        rows = values[j : j + _ROWS].astype(np.float64)
        if is_linear:
            rows = ASINH_MAG * np.arcsinh((rows - asinh[0]) / (2 * asinh[1]))
        return np.clip(rows, *limits)

    starts = range(0, len(values), _ROWS)
    ends = [end for j in starts for end in _ends(scaled(j))]
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    bscale = max((high - low) / 65534, 1e-9)
    bzero = low + 32768 * bscale
    codes = np.empty(values.shape, np.int16)
    for j in starts:
        rows = (scaled(j) - bzero) / bscale
        codes[j : j + _ROWS] = np.where(np.isnan(rows), BLANK, np.rint(rows)).astype(np.int16)
    return codes, {"BZERO": bzero, "BSCALE": bscale}


def _ends(rows: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the least and the greatest number; none where there are only NaN."""
    some = rows[~np.isnan(rows)]
    return (float(some.min()), float(some.max())) if some.size else ()


def _coded(cards: Cards, changes: dict[str, object]) -> Cards:
    """Return a header with the cards of 16-bit codes."""
    header = cards.header.copy()
    z = "Z" if cards.get("ZIMAGE") is True else ""
    for key, value in {f"{z}BITPIX": 16, **changes}.items():
        header[key] = value
    header.remove("ZBLANK", ignore_missing=True)
    # With the digits that a file would have.
    return Cards(fits.Header.fromstring(header.tostring()), cards.source)


def _refuse(source: str, reason: str) -> NoReturn:
    raise WrongFileError(f"{source}: {reason}") from None
