"""Checked access to the cards of a PS1 stack's header."""

from astropy.io import fits

from syndiff.constants import CARD_LENGTH
from syndiff.errors import WrongFileError
from syndiff.storage.checked_cards import CheckedCards

__all__ = ["Cards"]


class Cards(CheckedCards):
    """The header of one plane; the survey's 'NaN' texts count as missing.

    Parameters
    ----------
    text : str
        The cards, separated by newlines; blanks at their ends may be left out.
    source : str
        URL or path, for messages.
    """

    error = WrongFileError
    remedy = "give the right file, or fetch it again"
    missing_texts = frozenset({"", "nan"})

    def __init__(self, text: str, source: str) -> None:
        cards = (line.ljust(CARD_LENGTH) for line in text.split("\n"))
        self.header = fits.Header.fromstring("".join(cards))
        super().__init__(source, {0: self.header})
