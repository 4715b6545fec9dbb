"""Values given by users, in any usual form, converted to the one form that settings hold.

Every function takes its own results too, so that settings can be made from settings.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Callable, Iterable
from typing import Any

from syndiff.config import PS1_PIXEL_ARCSEC, check_offsets, parse_offsets
from syndiff.errors import ConfigError
from syndiff.masks import StackMask, format_bits, parse_bits
from syndiff.positions import read_target
from syndiff.window import Window

__all__ = [
    "Converter",
    "angle",
    "at_least_one",
    "bits",
    "choice",
    "number",
    "offsets",
    "place",
    "places",
    "ps1_pixels",
    "switch",
    "target",
    "window",
]

Converter = Callable[[Any], Any]
"""Takes what a user gives and returns what a setting holds, or raises ConfigError."""


def place(value: object) -> str:
    """Return a path or URL as text.

    Parameters
    ----------
    value : str, os.PathLike or Place
        Path or URL.

    Returns
    -------
    str
        The path or URL.

    Raises
    ------
    ConfigError
        If it is none, or empty.
    """
    if isinstance(value, str | os.PathLike):
        text = os.fsdecode(value)
    else:
        from syndiff.storage.place import Place

        if not isinstance(value, Place):
            raise ConfigError(f"{value!r} is no path or URL: give text or a pathlib.Path")
        text = str(value)
    if not text.strip():
        raise ConfigError(f"{text!r} is empty: give a path or URL")
    return text


def places(value: object) -> tuple[str, ...]:
    """Return paths or URLs; one alone will do.

    Parameters
    ----------
    value : str, os.PathLike or iterable of them
        The paths.

    Returns
    -------
    tuple of str
        In the order given.
    """
    if isinstance(value, str | os.PathLike) or not isinstance(value, Iterable):
        return (place(value),)
    return tuple(place(one) for one in value)


def at_least_one(value: object) -> int:
    """Return a whole number from 1.

    Parameters
    ----------
    value : int
        Of Python or NumPy.

    Returns
    -------
    int
        The number.

    Raises
    ------
    ConfigError
        If it is none, or below 1.
    """
    try:
        count = operator.index(value)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        count = None
    if count is None or isinstance(value, bool):
        raise ConfigError(f"{value!r} is no whole number")
    if count < 1:
        raise ConfigError(f"{count} is too few: give 1 or more")
    return count


def number(value: object) -> float:
    """Return a finite number.

    Parameters
    ----------
    value : float
        Of Python or NumPy.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ConfigError
        If it is none, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigError(f"{value!r} is no number")
    if not math.isfinite(value):
        raise ConfigError(f"{value} is not finite: give a number")
    return float(value)


def angle(value: object) -> float:
    """Return an angle in arcsec.

    Parameters
    ----------
    value : float or astropy.units.Quantity
        Arcsec, or an angle with its unit.

    Returns
    -------
    float
        Arcsec.

    Raises
    ------
    ConfigError
        If it is no angle.
    """
    if hasattr(value, "unit"):
        from astropy import units

        try:
            return number(float(units.Quantity(value).to_value("arcsec")))
        except (TypeError, units.UnitConversionError) as error:
            raise ConfigError(f"{value} is no angle ({error}): give arcsec") from None
    return number(value)


def ps1_pixels(value: object) -> float:
    """Return a length in PS1 pixels of 0.25".

    Parameters
    ----------
    value : float or astropy.units.Quantity
        PS1 pixels, or an angle with its unit.

    Returns
    -------
    float
        PS1 pixels.
    """
    return angle(value) / PS1_PIXEL_ARCSEC if hasattr(value, "unit") else number(value)


def switch(value: object) -> bool:
    """Return whether something is to be done.

    Parameters
    ----------
    value : bool
        True or False.

    Returns
    -------
    bool
        The same.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{value!r} is neither True nor False")
    return value


def choice(*names: str) -> Converter:
    """Return what takes one of a few names.

    Parameters
    ----------
    *names : str
        The names.

    Returns
    -------
    callable
        From the value given to the name.
    """

    def one_of(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            known = ", ".join(map(repr, names[:-1])) + f" or {names[-1]!r}"
            raise ConfigError(f"{value!r} is unknown: give {known}")
        return value

    return one_of


def window(value: object) -> Window:
    """Return a rectangle of FFI pixels.

    Parameters
    ----------
    value : Window, str or sequence of int
        ``x0,y0,x1,y1`` as text or numbers: 0-based, half-open.

    Returns
    -------
    Window
        The rectangle.

    Raises
    ------
    ConfigError
        If it is none, or holds no pixel.
    """
    if isinstance(value, Window):
        return value
    if isinstance(value, str):
        return Window.parse(value)
    try:
        x0, y0, x1, y1 = map(operator.index, value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise ConfigError(
            f"region of interest {value!r} is not x0, y0, x1, y1: give four whole numbers (FFI "
            "array pixels, 0-based, half-open)"
        ) from None
    return Window(x0, y0, x1, y1)


def target(value: object) -> tuple[float, float] | str:
    """Return a position on the sky, or a name that stands for one.

    Parameters
    ----------
    value : str, astropy.coordinates.SkyCoord or pair
        Right ascension and declination as text, as coordinates of any frame, or as two numbers
        (degrees) or angles; or an object's name.

    Returns
    -------
    (float, float) or str
        ICRS right ascension and declination in degrees; or the name, nobody asked yet.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    return read_target(value)


def offsets(value: object) -> tuple[tuple[float, float], ...]:
    """Return offsets of templates.

    Parameters
    ----------
    value : str or iterable of pairs
        ``dx,dy,dx,dy,...`` as text, or pairs of numbers; TESS pixels.

    Returns
    -------
    tuple of (float, float)
        In the order given, without negative zeros.

    Raises
    ------
    ConfigError
        If they are no offsets.
    """
    if isinstance(value, str):
        return parse_offsets(value)
    try:
        pairs = tuple((float(dx) + 0.0, float(dy) + 0.0) for dx, dy in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ConfigError(
            f"{value!r} holds no pairs: give offsets such as [(0, 0), (0.5, 0)] (TESS pixels)"
        ) from None
    return check_offsets(pairs)


def bits(value: object) -> tuple[str, ...]:
    """Return the names of PS1 mask bits.

    Parameters
    ----------
    value : str, int, StackMask or iterable of them
        Numbers (0 to 15) or names; text may hold several, separated by commas.

    Returns
    -------
    tuple of str
        The names, in the order of the bits.

    Raises
    ------
    ConfigError
        If there is no such bit.
    """
    given = [value] if isinstance(value, str | int) or not isinstance(value, Iterable) else value
    text = ",".join(format_bits(one) if isinstance(one, StackMask) else str(one) for one in given)
    return tuple(name for name in format_bits(parse_bits(text)).split(",") if name)
