"""Checked access to the cards of a PS1 stack's header."""

from astropy.io import fits

from syndiff.errors import WrongFileError
from syndiff.storage.checked_cards import CheckedCards

__all__ = ["Cards"]


class Cards(CheckedCards):
    """The header of one plane; the survey's 'NaN' texts count as missing.

    Parameters
    ----------
    header : Header
        The header.
    source : str
        URL or path, for messages.
    """

    error = WrongFileError
    remedy = "give the right file, or fetch it again"
    missing_texts = frozenset({"", "nan"})

    def __init__(self, header: fits.Header, source: str) -> None:
        self.header = header
        super().__init__(source, {0: header})
