"""Missing bands estimated from the others, by the colour of the light in these."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import BAND_WEIGHTS, BANDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F64 = NDArray[np.float64]

__all__ = ["ALL_BANDS", "own_colour", "stand_in_weights"]

ALL_BANDS = (1 << len(BANDS)) - 1
"""The bits of all bands."""

_COLOURS = np.linspace(-0.1, 1.4, 31)
"""r - i of the stars that weights are fitted to: F stars to M5 dwarfs."""

_PER_R_MINUS_I = (-1.0, 0.0, 0.5, 0.767)
"""Brightness in r, i, z, y relative to i, magnitudes for each of r - i: i - z = 0.5 (r - i) and
z - y = 0.267 (r - i) (stellar locus of Tonry et al. 2012, ApJ 750, 99, within 0.05 mag)."""

_NOISE = (1.05, 1.15, 2.4, 5.5)
"""Flux errors of a star in r, i, z, y: a fifth of the depths 23.2, 23.1, 22.3, 21.4."""

_BALANCED_AT_FLUX = 40.0
"""Flux (magnitude 21) of the star for which errors of colour and noise together are least."""


@cache
def stand_in_weights() -> F64:
    """Return weights on the available bands, for every set of missing ones.

    Returns
    -------
    (16, 4) float64
        Row m: weights of r, i, z, y where the bands whose bits are set in m are missing (those
        are 0). Row 0 holds `BAND_WEIGHTS`, and so does the last one, with no band left.

    Notes
    -----
    The composite of stars along the stellar locus as a linear combination of the bands that are
    there, least squares of relative errors, with the noise of a star of magnitude 21 as a penalty.
    It is linear, so that noise does not bias it, and follows the colour of each cell's own light:
    with one band missing it errs by up to 2.3 % (r) or 1.7 % (i, z, y) for r - i from 0 to 1, where
    one mean colour for all stars errs by 11, 5, 9 and 8 %.
    """
    colours = _COLOURS[:, None] * np.array(_PER_R_MINUS_I)
    flux = 10 ** (0.4 * colours)
    flux /= (flux @ np.array(BAND_WEIGHTS))[:, None]
    penalty = np.diag(np.square(np.array(_NOISE) / _BALANCED_AT_FLUX))
    weights = np.zeros((ALL_BANDS + 1, len(BANDS)))
    weights[[0, ALL_BANDS]] = BAND_WEIGHTS
    for missing in range(1, ALL_BANDS):
        there = [band for band in range(len(BANDS)) if not missing >> band & 1]
        some = flux[:, there]
        normal = some.T @ some / len(some) + penalty[np.ix_(there, there)]
        weights[missing, there] = np.linalg.solve(normal, some.mean(axis=0))
    return weights


def own_colour(totals: F64) -> F64:
    """Return by how much weights miss the composite of a skycell's own light.

    Parameters
    ----------
    totals : (4,) float64
        Bright light of the skycell in r, i, z, y where it has them all; 0 if there is none.

    Returns
    -------
    (16,) float64
        For every set of missing bands, the composite over what `stand_in_weights` make of the rest;
        1 where that is not known.
    """
    made = stand_in_weights() @ totals
    known = bool((totals > 0).all())
    out = np.ones(ALL_BANDS + 1)
    if known:
        np.divide(made[0], made, out=out, where=made > 0)
    return out
