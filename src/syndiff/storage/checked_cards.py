"""FITS headers whose answers are checked: cards that are missing or wrong are errors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from astropy.io.fits import Header

    from syndiff.errors import SyndiffError

__all__ = ["CheckedCards"]


class CheckedCards:
    """Checked access to the cards of one file: every complaint names it.

    A subclass says which error is raised and what a user can do.

    Parameters
    ----------
    source : str
        What to call the file.
    headers : Mapping[int, Header]
        Headers by HDU number; the first that holds a card decides.
    """

    error: ClassVar[type[SyndiffError]]
    remedy: ClassVar[str]
    missing_texts: ClassVar[frozenset[str]] = frozenset()
    """Texts, in small letters, that count as no value."""
    is_tolerant: ClassVar[bool] = False
    """Whether numbers may be written as text, and whole ones with a decimal point."""

    def __init__(self, source: str, headers: Mapping[int, Header]) -> None:
        self.source = source
        self.headers = headers

    def stated(self, keyword: str) -> dict[str, bool | float | str]:
        """Return every value of a card, by its header.

        Parameters
        ----------
        keyword : str
            Keyword of the card.

        Returns
        -------
        dict
            For example ``{"HDU 1": 3}``; cards without a value are left out.

        Raises
        ------
        SyndiffError
            If a card holds what FITS doesn't know, a bare NaN for example.
        """
        from astropy.io.fits import VerifyError

        values: dict[str, bool | float | str] = {}
        for number, header in self.headers.items():
            try:
                value = header.get(keyword)
            except (VerifyError, ValueError):
                self._raise(keyword, "holds what is no FITS value, like a bare NaN", "a value")
            if isinstance(value, str) and value.strip().lower() in self.missing_texts:
                continue
            if value is not None:
                values[f"HDU {number}"] = value.strip() if isinstance(value, str) else value
        return values

    def get(self, keyword: str) -> bool | float | str | None:
        """Return the value of a card.

        Parameters
        ----------
        keyword : str
            Keyword of the card.

        Returns
        -------
        bool, int, float, str or None
            Texts without blanks around them; None where there is no value.

        Raises
        ------
        SyndiffError
            If it holds what FITS doesn't know.
        """
        return next(iter(self.stated(keyword).values()), None)

    def text(self, keyword: str) -> str:
        """Return the text that a card must hold.

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
        SyndiffError
            If there is no text.
        """
        value = self.get(keyword)
        if not isinstance(value, str) or not value:
            self.fail(keyword, "a text")
        return value

    def number(self, keyword: str, default: float | None = None) -> float:
        """Return the finite number that a card must hold.

        Parameters
        ----------
        keyword : str
            Keyword of the card.
        default : float, optional
            The value that the FITS standard itself gives to a missing card.

        Returns
        -------
        float
            The number.

        Raises
        ------
        SyndiffError
            If there is no finite number.
        """
        found = self.get(keyword)
        if found is None and default is not None:
            return default
        value = self._as_number(found)
        if not math.isfinite(value):
            self.fail(keyword, "a finite number")
        return value

    def integer(
        self,
        keyword: str,
        allowed: Sequence[int] | range | None = None,
        default: int | None = None,
    ) -> int:
        """Return the whole number that a card must hold.

        Parameters
        ----------
        keyword : str
            Keyword of the card.
        allowed : sequence of int or range, optional
            The values allowed; any by default.
        default : int, optional
            The value that the FITS standard itself gives to a missing card.

        Returns
        -------
        int
            The number.

        Raises
        ------
        SyndiffError
            If there is no whole number, or none of those allowed.
        """
        found = self.get(keyword)
        if found is None and default is not None:
            return default
        value = self._as_number(found)
        is_whole = value.is_integer() if self.is_tolerant else isinstance(found, int)
        if not (math.isfinite(value) and is_whole):
            self.fail(keyword, "a whole number" if allowed is None else _named(allowed))
        if allowed is not None and int(value) not in allowed:
            self.fail(keyword, _named(allowed))
        return int(value)

    def flag(self, keyword: str) -> bool:
        """Return the yes or no that a card must hold.

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
        SyndiffError
            If there is neither T, F, 1 nor 0.
        """
        value = self.get(keyword)
        if value not in {True, False}:
            self.fail(keyword, "T, F, 1 or 0")
        return bool(value)

    def fail(self, keyword: str, needed: str, found: object = None) -> NoReturn:
        """Complain about the value of a card, or that there is none.

        Parameters
        ----------
        keyword : str
            Keyword of the card.
        needed : str
            What is allowed.
        found : object, optional
            What was made of its value; the value itself by default.

        Raises
        ------
        SyndiffError
            Always.
        """
        value = self.get(keyword) if found is None else found
        self._raise(keyword, "is missing" if value is None else f"is {value!r}", needed)

    def _raise(self, keyword: str, found: str, needed: str) -> NoReturn:
        raise self.error(f"{self.source}: {keyword} {found}, expected {needed}: {self.remedy}")

    def _as_number(self, value: bool | float | str | None) -> float:
        """Return a card's value as a number; NaN where it is none."""
        kinds = int | float | str if self.is_tolerant else int | float
        if isinstance(value, bool) or not isinstance(value, kinds):
            return math.nan
        try:
            return float(value)
        except ValueError:
            return math.nan


def _named(allowed: Sequence[int] | range) -> str:
    """Return words for the values that are allowed in a card."""
    if len(allowed) < 8:
        return " or ".join(map(str, allowed))
    return f"an integer from {allowed[0]} to {allowed[-1]}"
