"""Which values a pixel of a PS1 stack can have at all."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from syndiff.errors import RenderingError
from syndiff.masks import StackMask

__all__ = ["LEAST_FLUX", "MOST_FLUX", "MOST_VARIANCE", "PixelValues", "check_absurd"]

MOST_FLUX = 1e5
"""Flux (zero point 25) that no pixel exceeds.

The camera's 16-bit converter ends at 65,535 counts, so in the shortest exposures (30 s) of the
least sensitive band (y, zero point 23.3 for 1 count/s) a full pixel is 1.0e4; in g, r, i and z it
is 2e3 to 4e3. 1e5 leaves a factor of ten for clouds (a magnitude), flat fields and the warping's
overshoot. Saturated cores, which the survey blanks or flags, end far below it too.
"""

LEAST_FLUX = -2e3
"""Flux that no pixel falls short of.

Counts can't be negative, so without its sky a pixel has no less than minus the sky (100 in the
brightest nights); beside a full pixel the kernel of the warping, Lanczos of order 3, rings by less
than a tenth of it, 1e3 in y.
"""

MOST_VARIANCE = 1e5
"""Variance that no pixel exceeds.

The sky's is 0.003 to 1; the photons of a pixel of `MOST_FLUX` in one exposure of 30 s make 3e3.
"""

_MOST_ABSURD = 0.01
"""Part of a band's pixels that may be absurd; if there are more, its calibration must be wrong."""

_ABSURD, _NO_DATA = np.uint8(1), np.uint8(2)


@dataclass(frozen=True, eq=False)
class PixelValues:
    """What the disk values of one band's image and variance mean.

    Parameters
    ----------
    image, variance : (65536,) float32
        Value of each bit pattern, NaN where it means no data or can't be.
    kinds : tuple of (65536,) uint8
        Of both: 1 where a value is absurd, 2 where there is no data, else 0.
    fine : tuple of (int, int)
        Of both: range of DN that are not absurd.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    kinds: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    fine: tuple[tuple[int, int], tuple[int, int]]

    @classmethod
    def of(cls, image: NDArray[np.float32], variance: NDArray[np.float32]) -> Self:
        """Tell plausible values from absurd ones.

        Parameters
        ----------
        image, variance : (65536,) float32
            Value of each bit pattern, NaN where it means no data.

        Returns
        -------
        PixelValues
            New tables.
        """
        absurd = (
            (image < LEAST_FLUX) | (image > MOST_FLUX),
            (variance <= 0) | (variance > MOST_VARIANCE),
        )
        nan = np.float32(np.nan)
        kinds = (_kinds(image, absurd[0]), _kinds(variance, absurd[1]))
        return cls(
            np.where(absurd[0], nan, image),
            np.where(absurd[1], nan, variance),
            kinds,
            (_fine_range(kinds[0]), _fine_range(kinds[1])),
        )

    def blank_absurd(
        self, image: NDArray[np.uint16], variance: NDArray[np.uint16], bits: NDArray[np.uint16]
    ) -> int:
        """Flag a strip's absurd pixels as blank, and count them.

        Parameters
        ----------
        image, variance : (k, nx) uint16
            Bit patterns.
        bits : (k, nx) uint16
            Mask bits; BLANK is set where a value is absurd.

        Returns
        -------
        int
            Pixels that would have counted otherwise.
        """
        # Next to no strip has one, and to look up every pixel takes as long as to decode it.
        planes = (image.view(np.int16), variance.view(np.int16))
        if not any(map(_may_hold_absurd, planes, self.fine)):
            return 0
        kind = self.kinds[0][image] | self.kinds[1][variance]
        absurd = (kind == _ABSURD) & ((bits & np.uint16(StackMask.BLANK)) == 0)
        count = int(np.count_nonzero(absurd))
        if count:
            bits[absurd] |= np.uint16(StackMask.BLANK)
        return count


def _kinds(table: NDArray[np.float32], absurd: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(absurd, _ABSURD, np.where(np.isnan(table), _NO_DATA, np.uint8(0)))


def _fine_range(kinds: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the least and the greatest DN that is not absurd; an empty range if they are mixed.

    A scaling that rises or falls steadily has its absurd values at the ends.
    """
    # in the order of DN
    absurd = np.roll(kinds, 32768) == _ABSURD
    fine = np.flatnonzero(~absurd)
    low, high = (int(fine[0]), int(fine[-1])) if fine.size else (1, 0)
    if absurd[low:high].any() or not fine.size:
        return 32767, -32768
    return low - 32768, high - 32768


def _may_hold_absurd(dn: NDArray[np.int16], fine: tuple[int, int]) -> bool:
    low, high = fine
    if low > -32768 and dn.min() < low:
        return True
    return bool(high < 32767 and dn.max() > high)


def check_absurd(count: int, usable: int, exptime_s: float, name: str) -> None:
    """Raise where so many pixels are absurd that they are not what is wrong.

    Parameters
    ----------
    count : int
        Absurd pixels of a band.
    usable : int
        Its other pixels with data.
    exptime_s : float
        Exposure time that its fluxes were made with.
    name : str
        Skycell and band.

    Raises
    ------
    RenderingError
        If they are more than a hundredth.
    """
    if count > _MOST_ABSURD * (count + usable):
        raise RenderingError(
            f"{name}: {count} of {count + usable} pixels have values that PS1 can't have (flux "
            f"from {LEAST_FLUX:g} to {MOST_FLUX:g} at zero point 25, variance above 0 up to "
            f"{MOST_VARIANCE:g}): the scaling in the header of the image or of its variance is "
            f"wrong (EXPTIME is {exptime_s:g} s; check it, BZERO, BSCALE, BOFFSET and BSOFTEN), or "
            "the variance file is none"
        )
