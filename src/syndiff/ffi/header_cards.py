"""Checked access to the cards of an FFI's headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from syndiff.errors import ObservationError
from syndiff.storage.checked_cards import CheckedCards

if TYPE_CHECKING:
    from astropy.io.fits import Header

__all__ = ["REMEDY", "HeaderCards", "card_value"]

REMEDY = (
    "use an FFI as MAST delivers it (tess*-s_ffic.fits of SPOC, hlsp_tica_tess_ffi_*_img.fits of "
    "TICA), or download this one again"
)
"""What a user can do about an FFI that can't be used."""


class HeaderCards(CheckedCards):
    """The cards of one FFI.

    Parameters
    ----------
    source : str
        What to call the file.
    headers : Mapping[int, Header]
        Headers by HDU number; the first that holds a card decides.
    """

    error = ObservationError
    remedy = REMEDY
    is_tolerant = True

    def stated_integers(self, keyword: str) -> dict[str, int]:
        """Return every whole number that a card holds, by where it stands.

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
