"""Rows of a star table that are one star: found by number, place and brightness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from syndiff.constants import GAIA_YEAR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.stars.catalogue import StarCatalogue

__all__ = ["further_entries"]

SAME_NUMBER_ARCSEC = 2.0
"""Two rows of one number are a star this close: at epochs apart and without a motion it is off."""

NO_NUMBER_ARCSEC, NO_NUMBER_MAG = 0.5, 0.3
"""Rows without numbers are a star within both: two catalogues agree so well, pairs seldom do."""

RESOLVED_ARCSEC, RESOLVED_MAG = 0.18, 0.5
"""Different numbers are a star all the same this close: Gaia DR3 lists no pair below 0.18"."""

UNRESOLVED_ARCSEC, UNRESOLVED_MAG = 2.0, 2.0
"""A row without a Gaia source is the same star as a row nearby with one: 2MASS resolves no pair
closer than 2" with such a difference."""


def further_entries(
    stars: StarCatalogue, *, numbered: NDArray[np.bool_], in_gaia: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Tell which rows are further entries of a star that another row lists.

    Parameters
    ----------
    stars : StarCatalogue
        The rows.
    numbered : (n,) bool
        Whether `identity` is a catalogue's number.
    in_gaia : (n,) bool, optional
        Of a table that joins catalogues: whether the row has a Gaia source.

    Returns
    -------
    (n,) bool
        True for rows to leave out. Of each star the row with a Gaia source is kept, then that with
        the better known magnitude, then the brighter; the same whatever the order of the rows.
    """
    known = np.ones(len(stars), np.bool_) if in_gaia is None else in_gaia
    pairs = _pairs(stars, SAME_NUMBER_ARCSEC if in_gaia is None else UNRESOLVED_ARCSEC)
    if not pairs.size:
        return np.zeros(len(stars), np.bool_)
    first, second = pairs.T
    apart = _separation_arcsec(stars, first, second)
    differ = np.abs(stars.tmag[first] - stars.tmag[second])
    both = numbered[first] & numbered[second]
    equal = both & (stars.identity[first] == stars.identity[second])
    same = equal & (apart < SAME_NUMBER_ARCSEC)
    same |= ~both & (apart < NO_NUMBER_ARCSEC) & (differ < NO_NUMBER_MAG)
    same |= both & (apart < RESOLVED_ARCSEC) & (differ < RESOLVED_MAG)
    one_known = known[first] != known[second]
    same |= one_known & (apart < UNRESOLVED_ARCSEC) & (differ < UNRESOLVED_MAG)
    order = np.lexsort((stars.ra, stars.identity, stars.tmag, stars.tmag_error, ~known))
    rank = np.empty(len(stars), np.int64)
    rank[order] = np.arange(len(stars))
    return _worse(pairs[same], rank)


def _pairs(stars: StarCatalogue, arcsec: float) -> NDArray[np.intp]:
    """Return pairs of rows, (m, 2), that are no farther apart."""
    tree = cKDTree(_directions(stars))
    return np.asarray(
        tree.query_pairs(np.radians(arcsec / 3600), output_type="ndarray"), np.intp
    ).reshape(-1, 2)


def _directions(stars: StarCatalogue) -> NDArray[np.float64]:
    ra, dec = (np.radians(v) for v in stars.at(GAIA_YEAR))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], -1)


def _separation_arcsec(
    stars: StarCatalogue, first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float64]:
    places = _directions(stars)
    return np.asarray(np.degrees(np.linalg.norm(places[first] - places[second], axis=-1)) * 3600)


def _worse(pairs: NDArray[np.intp], rank: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the rows that a better row, which stays itself, makes needless."""
    gone = np.zeros(rank.size, np.bool_)
    better = np.where(rank[pairs[:, 0]] < rank[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    worse = pairs.sum(axis=1) - better
    for k in np.argsort(rank[better], kind="stable").tolist():
        if not gone[better[k]]:
            gone[worse[k]] = True
    return gone
