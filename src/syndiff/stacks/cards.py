"""A FITS header whose answers are checked: keywords that are missing or wrong are errors."""

import math
from collections.abc import Sequence
from typing import Any, NoReturn

from astropy.io import fits

from syndiff.errors import WrongFileError

__all__ = ["Cards"]

CARD_LENGTH = 80


class Cards:
    """A header whose answers are checked; the survey's 'NaN' strings count as missing.

    Parameters
    ----------
    text : str
        The cards, separated by newlines; blanks at their ends may be left out.
    source : str
        URL or path, for messages.
    """

    def __init__(self, text: str, source: str) -> None:
        cards = (line.ljust(CARD_LENGTH) for line in text.split("\n"))
        self.header = fits.Header.fromstring("".join(cards))
        self.source = source

    def fail(self, key: str, value: object, expected: object) -> NoReturn:
        """Raise the error that a value deserves.

        Parameters
        ----------
        key : str
            Keyword.
        value : object
            What the header holds; None if it holds nothing.
        expected : object
            What it should hold.

        Raises
        ------
        WrongFileError
            Always.
        """
        found = "is missing" if value is None else f"is {value!r}"
        raise WrongFileError(
            f"{self.source}: {key} {found}, expected {expected}: give the right file, or fetch it "
            "again"
        )

    def find(self, key: str) -> Any:  # noqa: ANN401
        """Return a card's value, stripped; None where it is missing, empty or 'NaN'.

        Parameters
        ----------
        key : str
            Keyword.

        Returns
        -------
        str, bool, int, float or None
            The value.

        Raises
        ------
        WrongFileError
            If the card can't be parsed.
        """
        try:
            value = self.header.get(key)
        except (fits.VerifyError, ValueError):
            self.fail(key, "unreadable", "a FITS card")
        if isinstance(value, str):
            value = value.strip()
            return None if value.lower() in {"", "nan"} else value
        return None if isinstance(value, fits.card.Undefined) else value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number.

        Parameters
        ----------
        key : str
            Keyword.
        default : float, optional
            The value that the FITS standard itself gives to a missing card.

        Returns
        -------
        float
            The value.

        Raises
        ------
        WrongFileError
            If it is missing or no finite number.
        """
        value = self.find(key)
        if value is None and default is not None:
            return default
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            self.fail(key, value, "a finite number")
        return float(value)

    def integer(self, key: str, allowed: Sequence[int] | range, default: int | None = None) -> int:
        """Return an integer among those allowed.

        Parameters
        ----------
        key : str
            Keyword.
        allowed : sequence of int or range
            What may stand there.
        default : int, optional
            The value that the FITS standard itself gives to a missing card.

        Returns
        -------
        int
            The value.

        Raises
        ------
        WrongFileError
            If it is missing, no integer or not allowed.
        """
        value = self.find(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
            names = " or ".join(map(str, allowed)) if len(allowed) < 8 else ""
            self.fail(key, value, names or f"an integer from {allowed[0]} to {allowed[-1]}")
        return value

    def match(self, key: str, expected: object, *, required: bool = True) -> None:
        """Check that a card holds one certain value.

        Parameters
        ----------
        key : str
            Keyword.
        expected : object
            The value.
        required : bool
            Whether the card must be there.

        Raises
        ------
        WrongFileError
            If it holds another value, or is missing though required.
        """
        value = self.find(key)
        if value != expected and (required or value is not None):
            self.fail(key, value, repr(expected))
