"""Positions on the sky, in any usual spelling; what is spelt otherwise may be an object's name."""

from __future__ import annotations

import math
import re
from typing import Any

from syndiff.errors import ConfigError

__all__ = ["is_name", "read_position", "read_target"]

_SPELLINGS = (
    ("\N{MINUS SIGN}\N{EN DASH}", "-"),
    ("\N{DEGREE SIGN}\N{MASCULINE ORDINAL INDICATOR}", "d"),
    ("\N{PRIME}\N{RIGHT SINGLE QUOTATION MARK}", "'"),
    ("\N{DOUBLE PRIME}\N{RIGHT DOUBLE QUOTATION MARK}", '"'),
    ("()[]", " "),
)
_LABEL = re.compile(r"\b(?:r\.?a|dec|j2000(?:\.0)?|icrs)\b\.?\s*[=:]?", re.IGNORECASE)
_DEGREES = re.compile(r"\s*\bdeg(?:rees?)?\b|(?<=\d)\s*deg(?:rees?)?\b", re.IGNORECASE)
_UNIT_APART = re.compile(r"(?<=[\d.])\s+(?=[hdms'\"](?:[\s\d+,.-]|$))", re.IGNORECASE)
_SIGN = re.compile(r"(?<=[\d.\shdms'\"])\s*(?=[+-]\s*[\d.])", re.IGNORECASE)
_DECIMAL = re.compile(r"([+-]?)\s*((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([hd]?)", re.IGNORECASE)
_SEXAGESIMAL = re.compile(
    r"([+-]?)\s*(\d+)\s*([hd:\s])\s*(\d{1,2}(?:\.\d*)?)(?:\s*[m':\s]\s*(\d{1,2}(?:\.\d*)?)?)?"
    r"\s*(?:s|\"|'')?",
    re.IGNORECASE,
)
_FROM_NAME = re.compile(
    r"J\s*(\d\d)(\d\d)(\d\d)\.?(\d*)\s*([+-])(\d\d)(\d\d)(\d\d)\.?(\d*)", re.IGNORECASE
)
# J140312.6+542057 and J14031260+5420570, as catalogues name objects by their places.
_UNIT_LETTERS = re.compile(r"[\dhmsdeg\W_]*")
_LEAST_RA_DEG = -180.0

_REMEDY = "give degrees such as 210.80,54.35, or 14:03:12.6,+54:20:57"


def read_target(value: object) -> tuple[float, float] | str:
    """Return the position that something tells, or the name that it may be.

    Parameters
    ----------
    value : str, astropy.coordinates.SkyCoord or pair
        A position as `read_position` takes it, or an object's name.

    Returns
    -------
    (float, float) or str
        ICRS right ascension (0 to 360) and declination in degrees; or a name, nobody asked yet.

    Raises
    ------
    ConfigError
        If it is neither.

    Examples
    --------
    >>> read_target("14:20:00 +76:30:00")
    (215.0, 76.5)
    >>> read_target("SN  2020xyz")
    'SN 2020xyz'
    """
    try:
        return read_position(value)
    except ConfigError:
        if isinstance(value, str) and is_name(value):
            return " ".join(value.split())
        raise


def is_name(text: str) -> bool:
    """Tell whether text that is no position may be an object's name.

    Parameters
    ----------
    text : str
        What a user gave.

    Returns
    -------
    bool
        False for what holds nothing but numbers and their units, or a comma: a mistyped position.
    """
    text = text.strip()
    if "," in text or not any(letter.isalpha() for letter in text):
        return False
    return text[0].isalpha() or _UNIT_LETTERS.fullmatch(text) is None


def read_position(value: object) -> tuple[float, float]:
    """Return the position that something tells.

    Parameters
    ----------
    value : str, astropy.coordinates.SkyCoord or pair
        Text: right ascension and declination, separated by a comma, a space or the sign of the
        declination; in degrees or sexagesimal (hours and degrees; with ``d`` degrees and degrees),
        or the place in an object's name such as J140312.6+542057. Coordinates of any frame. Or two
        numbers (degrees) or angles.

    Returns
    -------
    (float, float)
        ICRS right ascension (0 to 360) and declination in degrees.

    Raises
    ------
    ConfigError
        If it is no position.

    Examples
    --------
    >>> read_position("210.80 54.35")
    (210.8, 54.35)
    >>> read_position("14h03m12s-00d30m00s")
    (210.8, -0.5)
    """
    try:
        ra, dec = _in_text(value) if isinstance(value, str) else _in_numbers(value)
        _check_range(ra, dec)
    except ValueError as error:
        raise ConfigError(f"target {value!r} is not RA,DEC ({error}): {_REMEDY}") from None
    return ra % 360.0, dec + 0.0


def _check_range(ra: float, dec: float) -> None:
    if not (math.isfinite(ra) and math.isfinite(dec)):
        raise ValueError("it is not finite")
    if abs(dec) > 90:
        raise ValueError(f"declination {dec:g} is out of -90 to 90 degrees")
    if not _LEAST_RA_DEG <= ra <= 360:
        raise ValueError(f"right ascension {ra:g} is out of 0 to 360 degrees")


def _in_numbers(value: Any) -> tuple[float, float]:  # noqa: ANN401 - whatever the user gave
    """Return the position of coordinates, or of two angles."""
    from astropy.coordinates import SkyCoord
    from astropy.units import UnitsError

    try:
        if isinstance(value, SkyCoord):
            return value.icrs.ra.deg.item(), value.icrs.dec.deg.item()
        ra, dec = value
        if isinstance(ra, str) and isinstance(dec, str):
            return _in_text(f"{ra},{dec}")
        return _degrees(ra), _degrees(dec)
    except (TypeError, AttributeError, UnitsError) as error:
        raise ValueError(" ".join(str(error).split())) from None


def _degrees(value: Any) -> float:  # noqa: ANN401 - whatever the user gave
    """Return an angle in degrees; a bare number is one."""
    if isinstance(value, bool | str):
        raise TypeError(f"{value!r} is no angle")
    return float(value.to_value("deg") if hasattr(value, "unit") else value)


def _in_text(text: str) -> tuple[float, float]:
    """Return the position that text tells; raise ValueError, with the reason, if it tells none."""
    for letters, meant in _SPELLINGS:
        text = text.translate(dict.fromkeys(map(ord, letters), meant))
    text = text.strip()
    if (found := _FROM_NAME.fullmatch(text)) is not None:
        hour, minute, second, tenth, sign, *rest = found.groups()
        degree, arcmin, arcsec, part = rest
        ra = f"{hour}:{minute}:{second}.{tenth}"
        return _angle(ra, is_ra=True), _angle(f"{sign}{degree}:{arcmin}:{arcsec}.{part}")
    text = _UNIT_APART.sub("", _DEGREES.sub("d", _LABEL.sub(" ", text))).strip()
    first, second = _halves(text)
    return _angle(first, is_ra=True), _angle(second)


def _halves(text: str) -> tuple[str, str]:
    """Cut text into right ascension and declination: comma, sign, units, or in the middle."""
    if "," in text or ";" in text:
        parts = re.split("[,;]", text)
        if len(parts) != 2:
            raise ValueError(f"{len(parts)} parts stand between commas, two are wanted")
        return parts[0].strip(), parts[1].strip()
    signs = [found.start() for found in _SIGN.finditer(text) if found.start() > 0]
    if signs:
        return text[: signs[-1]].strip(), text[signs[-1] :].strip()
    words = text.split()
    degrees = [k for k, word in enumerate(words) if k and word.lower().find("d") > 0]
    middle = degrees[0] if len(degrees) == 1 else len(words) // 2
    if len(words) < 2 or (len(words) % 2 and len(degrees) != 1):
        raise ValueError("two parts are wanted, separated by a comma or a space")
    return " ".join(words[:middle]), " ".join(words[middle:])


def _angle(text: str, *, is_ra: bool = False) -> float:
    """Return an angle in degrees; right ascension with minutes is in hours unless it says d."""
    if (found := _DECIMAL.fullmatch(text)) is not None:
        sign, size, unit = found.groups()
        value, is_hours = float(size), unit.lower() == "h"
    elif (found := _SEXAGESIMAL.fullmatch(text)) is not None:
        sign, whole, unit, minutes, seconds = found.groups()
        value = _sixtieths(float(whole), minutes, seconds)
        is_hours = unit.lower() == "h" or (is_ra and unit.lower() != "d")
    else:
        raise ValueError(f"{text!r} is no angle")
    if is_hours and not is_ra:
        raise ValueError(f"declination {text!r} is in hours")
    if is_hours and (sign == "-" or value > 24):
        raise ValueError(f"right ascension {text!r} is out of 0 to 24 hours")
    return math.copysign(value * 15 if is_hours else value, -1 if sign == "-" else 1)


def _sixtieths(whole: float, minutes: str, seconds: str | None) -> float:
    """Return a number with its minutes and seconds."""
    if seconds is not None and "." in minutes:
        raise ValueError(f"minutes {minutes} have a fraction, and seconds follow")
    for name, part in (("minutes", minutes), ("seconds", seconds)):
        if part is not None and float(part) >= 60:
            raise ValueError(f"{name} {part} are 60 or more")
    return whole + float(minutes) / 60 + float(seconds or 0) / 3600
