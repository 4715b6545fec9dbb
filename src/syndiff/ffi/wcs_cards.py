"""The WCS of an FFI as cards: what it must have, and in what form it is kept."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from syndiff.errors import ObservationError
from syndiff.ffi.header_cards import REMEDY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astropy.wcs import WCS

    from syndiff.ffi.header_cards import HeaderCards

__all__ = ["build_wcs", "wcs_cards"]

_TEXTS = ("CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2", "RADESYS")
_OPTIONAL_NUMBERS = ("LONPOLE", "LATPOLE", "EQUINOX")
_CD = ("CD1_1", "CD1_2", "CD2_1", "CD2_2")
_PC = ("PC1_1", "PC1_2", "PC2_1", "PC2_2")


@lru_cache(maxsize=64)
def build_wcs(cards: str) -> WCS:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    # Nothing to fix in these cards; `fix` would turn a singular matrix into a mere warning.
    wcs = WCS(Header.fromstring(cards, sep="\n"), fix=False)
    wcs.wcs.set()
    return wcs


def wcs_cards(cards: HeaderCards) -> str:
    """Return the cards of a TAN-SIP WCS, checked and in the form that `Frame.cards` has.

    Parameters
    ----------
    cards : HeaderCards
        The image's header, and no other.

    Returns
    -------
    str
        One card a line.

    Raises
    ------
    ObservationError
        If the WCS is missing, is no TAN-SIP, or holds a value that can't be used.
    """
    for keyword, allowed in (("CTYPE1", "RA---TAN-SIP"), ("CTYPE2", "DEC--TAN-SIP")):
        if cards.get(keyword) != allowed:
            cards.fail(keyword, f"{allowed!r} (some FFIs were given no WCS: take another one)")
    for keyword in _present(cards, ("CUNIT1", "CUNIT2")):
        if cards.get(keyword) != "deg":
            cards.fail(keyword, "'deg'")
    lines = [_text_card(key, cards.text(key)) for key in _present(cards, _TEXTS)]
    lines += [_number_card(key, cards.number(key)) for key in _number_keywords(cards)]
    lines += _sip_cards(cards)
    text = "\n".join(lines)
    try:
        build_wcs(text)
    except ValueError as error:  # astropy's WcsError is one
        reason = str(error).strip().splitlines()[:2][-1]  # wcslib's first names its source file
        raise ObservationError(
            f"{cards.source}: the WCS (CTYPE1 to CD2_2) can't be used, {reason}: {REMEDY}"
        ) from error
    return text


def _present(cards: HeaderCards, keywords: tuple[str, ...]) -> Iterator[str]:
    return (keyword for keyword in keywords if cards.get(keyword) is not None)


def _number_keywords(cards: HeaderCards) -> list[str]:
    """Return the keywords of the linear part: those that must be there and those that may."""
    scaled = any(_present(cards, _PC)) and not any(_present(cards, _CD))
    matrix = ["CDELT1", "CDELT2", *_present(cards, _PC)] if scaled else list(_CD)
    pairs = ["CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"]
    return [*pairs, *matrix, *_present(cards, _OPTIONAL_NUMBERS)]


def _sip_cards(cards: HeaderCards) -> Iterator[str]:
    """Yield the cards of the polynomials that the header has, orders first."""
    for name in ("A", "B", "AP", "BP"):
        required = name in {"A", "B"}
        keyword = f"{name}_ORDER"
        if not required and cards.get(keyword) is None:
            continue
        order = cards.integer(keyword)
        if not 2 <= order <= 9:
            cards.fail(keyword, "from 2 to 9")
        yield f"{keyword:<8}= {order:>20d}"
        for power in range(order + 1):
            terms = (f"{name}_{power}_{q}" for q in range(order + 1 - power))
            yield from (_number_card(key, cards.number(key)) for key in _present(cards, (*terms,)))


def _text_card(keyword: str, value: str) -> str:
    quoted = value.replace("'", "''")
    return f"{keyword:<8}= '{quoted:<8}'"


def _number_card(keyword: str, value: float) -> str:
    text = repr(value).upper()
    if "." not in text:
        text = text.replace("E", ".0E")
    return f"{keyword:<8}= {text:>20}"
