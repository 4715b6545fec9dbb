"""Every mask bit: those of PS1 stacks and those of our own products.

The only place where bits are numbered.
"""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING

from syndiff.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "UNTRUSTED_POINTING",
    "DataQuality",
    "FfiQuality",
    "FrameFlag",
    "StackMask",
    "format_bits",
    "format_quality",
    "parse_bits",
    "spoilt_pixels",
]


class StackMask(IntFlag):
    """Bits of a PS1 stack's ``.mask.fits``: MSKNAMnn and MSKVALnn cards of the files themselves.

    The archive's documentation agrees: https://outerspace.stsci.edu/display/PANSTARRS, "PS1 Pixel
    flags in Image Table Data".
    """

    DETECTOR = 1
    FLAT = 2
    DARK = 4
    BLANK = 8
    CTE = 16
    SAT = 32
    LOW = 64
    SUSPECT = 128
    CR = 256
    SPIKE = 512
    GHOST = 1024
    STREAK = 2048
    STARCORE = 4096
    CONV_BAD = 8192
    CONV_POOR = 16384
    MARK = 32768


_ALIASES = {
    "BURNTOOL": StackMask.SUSPECT,
    "CROSSTALK": StackMask.STREAK,
    "CONV.BAD": StackMask.CONV_BAD,
    "CONV.POOR": StackMask.CONV_POOR,
}


class DataQuality(IntFlag):
    """Bits of the DQ plane of templates and differences; each is named in the FITS header."""

    NO_COVERAGE = 1
    PARTIAL_COVERAGE = 2
    MISSING_BAND = 4
    LEFT_OUT_LIGHT = 8
    SATURATED_IN_PS1 = 16
    FAILED_SKYCELL = 32
    REPLACED_STAR = 64
    HIGH_PROPER_MOTION = 128
    TESS_STRAP = 256
    TESS_SATURATED = 512
    TESS_BLEED = 1024
    TESS_DEAD = 2048


_LIGHT_IS_RIGHT = DataQuality.REPLACED_STAR | DataQuality.TESS_STRAP
_STOOD_IN = DataQuality.SATURATED_IN_PS1 | DataQuality.REPLACED_STAR


def spoilt_pixels(flags: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return where flags mark the flux as unreliable, so that nothing should be measured there.

    Every flag counts except those of straps and of replaced stars; a star that PS1 saturates is
    reliable where it has been replaced.

    Parameters
    ----------
    flags : int32 array
        `DataQuality` bits, as the DQ plane of a template or difference holds them.

    Returns
    -------
    bool array
        True where the flux is unreliable.

    Examples
    --------
    >>> import numpy as np
    >>> spoilt_pixels(np.array([0, 16, 16 + 64, 256, 2])).tolist()
    [False, True, False, False, True]
    """
    saturated = DataQuality.SATURATED_IN_PS1
    others: NDArray[np.bool_] = (flags & ~int(_LIGHT_IS_RIGHT | saturated)) != 0
    left: NDArray[np.bool_] = (flags & int(_STOOD_IN)) == int(saturated)
    return others | left


class FfiQuality(IntFlag):
    """Bits of an FFI's DQUALITY card.

    They are those of all SPOC products: TESS Science Data Products Description Document,
    EXP-TESS-ARC-ICD-0014 Rev F (2020), section 9, table 32. Its names, where ours say less: 256,
    discontinuity corrected between this cadence and the next; 2048, stray light from Earth or Moon,
    as predicted; 4096, scattered light exclude; 16384, bad calibration exclude.
    """

    ATTITUDE_TWEAK = 1
    SAFE_MODE = 2
    COARSE_POINT = 4
    EARTH_POINT = 8
    ARGABRIGHTENING = 16
    DESATURATION = 32
    APERTURE_COSMIC = 64
    MANUAL_EXCLUDE = 128
    DISCONTINUITY = 256
    IMPULSIVE_OUTLIER = 512
    COLLATERAL_COSMIC = 1024
    STRAY_LIGHT = 2048
    SCATTERED_LIGHT = 4096
    PLANET_SEARCH_EXCLUDE = 8192
    BAD_CALIBRATION = 16384
    INSUFFICIENT_TARGETS = 32768


UNTRUSTED_POINTING = (
    FfiQuality.ATTITUDE_TWEAK
    | FfiQuality.SAFE_MODE
    | FfiQuality.COARSE_POINT
    | FfiQuality.EARTH_POINT
    | FfiQuality.DESATURATION
    | FfiQuality.MANUAL_EXCLUDE
    | FfiQuality.DISCONTINUITY
    | FfiQuality.BAD_CALIBRATION
    | FfiQuality.INSUFFICIENT_TARGETS
)
"""Bits with which an FFI's WCS may not give its true pointing; all others affect flux only.

``MANUAL_EXCLUDE`` is set for any anomaly. ``BAD_CALIBRATION`` is set where light saturates the
detector (from sector 68; https://heasarc.gsfc.nasa.gov/docs/tess/telescope_information.html) and
``INSUFFICIENT_TARGETS`` where too few stars are fit to be corrected; a WCS is fitted to stars too.
"""


class FrameFlag(IntFlag):
    """Bits of QUALITY in a light curve: those of SPOC's header, then what pixels show.

    The first sixteen have lightkurve's names (`lightkurve.utils.TessQualityFlags`) and its numbers,
    which are those of `FfiQuality`.
    """

    AttitudeTweak = 1
    SafeMode = 2
    CoarsePoint = 4
    EarthPoint = 8
    Argabrightening = 16
    Desat = 32
    ApertureCosmic = 64
    ManualExclude = 128
    Discontinuity = 256
    ImpulsiveOutlier = 512
    CollateralCosmic = 1024
    Straylight = 2048
    Straylight2 = 4096
    PlanetSearchExclude = 8192
    BadCalibrationExclude = 16384
    InsufficientTargets = 32768
    NotFitted = 1 << 16
    DeadPixels = 1 << 17
    SaturatedPixels = 1 << 18
    Jitter = 1 << 19
    ScatteredLight = 1 << 20
    CosmicRay = 1 << 21
    Asteroid = 1 << 22


def format_quality(value: int) -> str:
    """Return the names of the flags in an FFI's DQUALITY, separated by commas.

    Parameters
    ----------
    value : int
        A combination of `FfiQuality` bits; other bits are added up and given as a number.

    Returns
    -------
    str
        For example ``"COARSE_POINT,STRAY_LIGHT"``; empty for 0.

    Examples
    --------
    >>> format_quality(2052)
    'COARSE_POINT,STRAY_LIGHT'
    >>> format_quality(65540)
    'COARSE_POINT,65536'
    """
    names = [bit.name or "" for bit in FfiQuality if value & bit]
    unnamed = value & ~sum(FfiQuality)
    return ",".join([*names, str(unnamed)] if unnamed else names)


def parse_bits(text: str) -> int:
    """Turn a list of PS1 mask bits into their combined value.

    Parameters
    ----------
    text : str
        Bit numbers (0 to 15) or names, separated by commas, e.g. ``"12,SAT"``.
        An empty text means no bit.

    Returns
    -------
    int
        The combined value, e.g. 4128.

    Raises
    ------
    ConfigError
        If a number is out of range or a name is unknown.

    Examples
    --------
    >>> parse_bits("12,SAT")
    4128
    >>> parse_bits("")
    0
    """
    value = 0
    for item in (part.strip() for part in text.split(",")):
        if not item:
            continue
        if item.isdecimal() and int(item) <= 15:
            value |= 1 << int(item)
            continue
        name = item.upper()
        if name in _ALIASES:
            value |= _ALIASES[name]
        elif name in StackMask.__members__:
            value |= StackMask[name]
        else:
            known = ", ".join([*StackMask.__members__, *_ALIASES])
            raise ConfigError(
                f"unknown PS1 mask bit {item!r}: give bit numbers 0 to 15 or names among {known}"
            )
    return int(value)


def format_bits(value: int) -> str:
    """Return the names of the PS1 mask bits in `value`, separated by commas.

    Parameters
    ----------
    value : int
        A combination of `StackMask` bits.

    Returns
    -------
    str
        For example ``"SAT,STARCORE"``; empty for 0.

    Examples
    --------
    >>> format_bits(4128)
    'SAT,STARCORE'
    """
    return ",".join(bit.name or "" for bit in StackMask if value & bit)
