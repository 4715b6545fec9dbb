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

_LINEAR = ("0_0", "1_0", "0_1")
# Powers of SIP terms that bend nothing.

_PIXEL_ARCSEC = (15.0, 27.0)
# TESS's are 18.9 to 21.2.

_WITHOUT_SIP = (
    "Without them pixels lie up to 69 px (in the worst CCDs 154) from where they are on the sky"
)


@lru_cache(maxsize=64)
def build_wcs(cards: str) -> WCS:
    """Return the WCS of cards, made once for each process; not to be changed.

    Parameters
    ----------
    cards : str
        As `wcs_cards` returns them.

    Returns
    -------
    WCS
        Of astropy.
    """
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
    _check_kind(cards)
    _check_system(cards)
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
    _check_scale(cards.source, text)
    return text


def _check_kind(cards: HeaderCards) -> None:
    """Raise unless the WCS is a TAN projection with SIP distortion, and both in name and in terms.

    Without its distortion a WCS of TESS errs by dozens of pixels, and nothing later would notice.
    """
    orders = list(_present(cards, ("A_ORDER", "B_ORDER")))
    for keyword, allowed in (("CTYPE1", "RA---TAN-SIP"), ("CTYPE2", "DEC--TAN-SIP")):
        found = cards.get(keyword)
        if found is None:
            cards.fail(keyword, f"{allowed!r} (some FFIs were given no WCS: take another one)")
        if found == allowed:
            continue
        if found != allowed.removesuffix("-SIP"):
            cards.fail(keyword, f"{allowed!r}, the projection of TESS's FFIs")
        if orders:
            cards.fail(
                keyword,
                f"{allowed!r} beside SIP terms ({', '.join(orders)}), which tools apply or ignore "
                "without it: put the suffix -SIP back",
            )
        cards.fail(
            keyword,
            f"{allowed!r} with the terms A_ORDER, A_2_0, ... and B_ORDER, B_2_0, ...; this header "
            f"has none. {_WITHOUT_SIP}",
        )


def _check_system(cards: HeaderCards) -> None:
    """Raise for units and coordinates other than those of the sky's catalogues."""
    for keyword in _present(cards, ("CUNIT1", "CUNIT2")):
        if cards.get(keyword) != "deg":
            cards.fail(keyword, "'deg'")
    # FK5 at J2000 is ICRS to 0.03".
    if cards.get("RADESYS") not in {None, "ICRS", "FK5"}:
        cards.fail("RADESYS", "'ICRS'")
    if cards.get("EQUINOX") is not None and cards.number("EQUINOX") != 2000:
        cards.fail("EQUINOX", "2000")


def _check_scale(source: str, text: str) -> None:
    """Raise where pixels are not as large as TESS's."""
    sides = np.linalg.svd(build_wcs(text).pixel_scale_matrix, compute_uv=False) * 3600
    least, most = _PIXEL_ARCSEC
    if not (least <= sides.min() and sides.max() <= most):
        raise ObservationError(
            f"{source}: the WCS has pixels of {sides[0]:.4g} x {sides[1]:.4g} arcsec, TESS's are "
            f"about 20: its matrix (CD1_1 to CD2_2, or CDELT and PC) is wrong: {REMEDY}"
        )


def _present(cards: HeaderCards, keywords: tuple[str, ...]) -> Iterator[str]:
    return (keyword for keyword in keywords if cards.get(keyword) is not None)


def _number_keywords(cards: HeaderCards) -> list[str]:
    """Return the keywords of the linear part: those that must be there and those that may."""
    cd, pc = (next(_present(cards, keywords), None) for keywords in (_CD, _PC))
    if cd and pc:
        cards.fail(pc, f"absent where {cd} is there: they are two ways to say one thing")
    matrix = ["CDELT1", "CDELT2", *_PC] if pc else list(_CD)
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
        powers = [(p, q) for p in range(order + 1) for q in range(order + 1 - p)]
        terms = list(_present(cards, tuple(f"{name}_{p}_{q}" for p, q in powers)))
        curved = [key for key in terms if key not in {f"{name}_{end}" for end in _LINEAR}]
        if required and not any(cards.number(key) for key in curved):
            cards.fail(
                keyword,
                f"the order of terms {name}_2_0, ..., and all of these are missing or zero. "
                f"{_WITHOUT_SIP}",
            )
        yield f"{keyword:<8}= {order:>20d}"
        yield from (_number_card(key, cards.number(key)) for key in terms)


def _text_card(keyword: str, value: str) -> str:
    quoted = value.replace("'", "''")
    return f"{keyword:<8}= '{quoted:<8}'"


def _number_card(keyword: str, value: float) -> str:
    text = repr(value).upper()
    if "." not in text:
        text = text.replace("E", ".0E")
    return f"{keyword:<8}= {text:>20}"
