"""Checked access to the cards of an FFI's headers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn, cast

from syndiff.errors import ObservationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astropy.io.fits import Header

__all__ = ["REMEDY", "HeaderCards", "card_value"]

REMEDY = (
    "use an FFI as MAST delivers it (tess*-s_ffic.fits of SPOC, hlsp_tica_tess_ffi_*_img.fits of "
    "TICA), or download this one again"
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

    def stated_integers(self, keyword: str) -> dict[str, int]:
        """Return every whole number that `keyword` holds, by where it stands.

        Parameters
        ----------
        keyword : str
            Keyword of the card.

        Returns
        -------
        dict[str, int]
            As `stated` has them.

        Raises
        ------
        ObservationError
            If one of them is no whole number.
        """
        return {
            f"HDU {number}": HeaderCards(self.source, {number: header}).integer(keyword)
            for number, header in self.headers.items()
            if f"HDU {number}" in self.stated(keyword)
        }

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
        """Return the finite number that `keyword` must hold, as a number or as text.

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
        value = _as_number(self.get(keyword))
        if not math.isfinite(value):
            self.fail(keyword, "a finite number")
        return value

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


def card_value(header: Header, keyword: str) -> object:
    """Return the value of a card that need not be there.

    Parameters
    ----------
    header : Header
        The header.
    keyword : str
        Keyword of the card.

    Returns
    -------
    object
        None where there is no value, or what FITS doesn't know.
    """
    from astropy.io.fits import VerifyError

    try:
        return cast("object", header.get(keyword))
    except VerifyError:
        return None


def _as_number(value: object) -> float:
    """Return a card's value as a number; NaN where it is none. Some tools write numbers as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan
