"""Light that may be wrong: how much of it a skycell has, and where, for the response to carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import BAND_WEIGHTS
from syndiff.kernels import combine as kernels
from syndiff.kernels.sharing import list_marked
from syndiff.masks import DataQuality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatPlane = NDArray[np.float32]
    Cells = NDArray[np.uint8]

__all__ = [
    "DOUBTS",
    "hidden_light",
    "pieced_light",
    "put_back_light",
    "speckled_light",
    "stood_in_light",
]

DOUBTS = {
    "left_out": DataQuality.LEFT_OUT_LIGHT,
    "stood_in": DataQuality.MISSING_BAND,
    "put_back": DataQuality.REPLACED_STAR,
}
"""Planes of light that may be wrong, on 8" cells, and what flags the pixels that it reaches."""

_HOLE = int(DataQuality.SATURATED_IN_PS1 | DataQuality.LEFT_OUT_LIGHT)

_GROWTH = 10.0
"""Brightness of a cell in a hole over that of the next one towards its rim, at most.

A Moffat profile (beta 3, 1.3") rises by 31, 10, 5 over the 2" to a star's inner, second and third
cell. With 20 a hole of 1 to 3 cells all around its star is taken for 0.7 to 5 times the star.
"""

_DEEPEST = (2, 8)
"""Depth in cells of this growth into a gap, and into a saturated or left-out patch."""

_BRIGHTEST = 1e8
"""A cell of a hole holds no more: magnitude 5. Ten times the light reaches 0.3 px farther."""

_COLOUR_ERRORS = (0.0, 0.06, 0.12, 0.25, 0.0)
"""Part of the light of substituted bands that may be wrong, by the number of missing bands."""

_PIECED_ERROR = 0.06
"""Part of the light of two skycells' cells at a border between them that may be wrong.

A star of 0.8" seeing that a sharp border between grids rotated against each other cuts errs by 9e-2
at worst (1.2e-2 rms).
"""

_SMOOTH_STEP = 0.06
"""Steps of a share from cell to cell that count as smooth: a ramp of 80" has 0.047 over 2"."""

_IN_A_PIXEL = 0.08
"""Part of a star's light in one PS1 pixel, at most: 0.8" seeing; 1.3" have 0.03."""

_FEW_PIXELS = 4
"""Pixels that a 2" cell may lack and count as complete; an 8" cell that lacks more than all of its
cells may has some that don't count."""

_STAR_SIGMAS = 2.0
"""Errors of a star's flux that count."""


def hidden_light(
    total: FloatPlane,
    flags: Cells,
    *,
    nobody: tuple[NDArray[np.int64], NDArray[np.int64]],
    cut: NDArray[np.bool_] | None,
    least: float,
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], FloatPlane]:
    """Estimate the light that holes, saturated and left-out cells of a skycell lack.

    Parameters
    ----------
    total : (n2y, n2x) float32
        Light on 2" cells, not shared.
    flags : (n2y, n2x) uint8
        The skycell's own flags.
    nobody : (row, column) of (n,) int64
        Cells without any band.
    cut : (n2y, n2x) bool, optional
        Cells where stars were put back: nothing is missing there.
    least : float
        Light of a cell on a hole's rim from which the hole may hold more of it.

    Returns
    -------
    cells : (row, column) of (n,) int64
        Cells of holes beside bright light.
    flux : (n,) float32
        Most that each may lack, not shared: what the brightest cell on the rim has, growing inwards
        as a star does.
    """
    hole = np.zeros_like(flags)
    hole[nobody] = _DEEPEST[0]
    hole[(flags & _HOLE) != 0] = _DEEPEST[1]
    if cut is not None:
        hole[cut] = 0
    row, column = np.empty((2, np.count_nonzero(hole)), np.int64)
    guess = np.zeros(total.shape, np.float32)
    if row.size:
        list_marked(hole, row, column)
        limits = least, _GROWTH, _BRIGHTEST
        kernels.guess_lost(hole, (row.copy(), column.copy()), total, limits, guess)
    flux = guess[row, column]
    lacks = flux > 0
    return (row[lacks], column[lacks]), flux[lacks]


def stood_in_light(light: FloatPlane, bits: Cells) -> FloatPlane:
    """Return how much of the light of substituted bands may be wrong.

    Parameters
    ----------
    light : (n,) float32
        Light of cells.
    bits : (n,) uint8
        The bands that each lacks.

    Returns
    -------
    (n,) float32
        The part that is uncertain because of the light's colour.
    """
    missing = np.unpackbits(bits[:, None], axis=1).sum(axis=1)
    return np.asarray(np.abs(light) * np.array(_COLOUR_ERRORS, np.float32)[missing])


def pieced_light(
    light: FloatPlane,
    cells: tuple[NDArray[np.int64], NDArray[np.int64]],
    changes: FloatPlane,
    shape: tuple[int, ...],
) -> FloatPlane:
    """Return how much light may be wrong where a skycell's share steps beside a hole.

    Parameters
    ----------
    light : (n,) float32
        Light of the cells, not shared.
    cells : (row, column) of (n,) int64
        Where some skycell lacks data.
    changes : (n,) float32
        By how much this one's share differs for that from the smooth one.
    shape : tuple of int
        2" cells of the skycell.

    Returns
    -------
    (n,) float32
        Part of the light of the cells on the inner side of such steps.
    """
    if not np.abs(changes).max(initial=0.0) > _SMOOTH_STEP:
        return np.zeros_like(light)
    plane = np.zeros((shape[0] + 2, shape[1] + 2), np.float32)
    row, column = cells[0] + 1, cells[1] + 1
    plane[row, column] = changes
    sides = ((-1, 0), (1, 0), (0, -1), (0, 1))
    steps = np.max([np.abs(plane[row + j, column + i] - changes) for j, i in sides], axis=0)
    return np.asarray(_PIECED_ERROR * np.abs(light) * (steps > _SMOOTH_STEP) * steps, np.float32)


def speckled_light(total: FloatPlane, missing: FloatPlane, shares: FloatPlane) -> FloatPlane:
    """Return how much light may be wrong for single pixels that are lost in cells that count.

    Parameters
    ----------
    total : (n2y, n2x) float32
        Light on 2" cells.
    missing : (4, n8y, n8x) float32
        Pixels of 8" cells that each band lacks.
    shares : (4, n8y, n8x) float32
        The skycell's shares.

    Returns
    -------
    (n8y, n8x) float32
        What so many of the brightest pixels of a star hold of the light of a cell.
    """
    is_speckled = (missing > 0) & (missing <= 16 * _FEW_PIXELS)
    row, column = np.nonzero(is_speckled.any(axis=0))
    out = np.zeros(missing.shape[1:], np.float32)
    rows = np.minimum(4 * row[:, None] + np.arange(4), total.shape[0] - 1)
    columns = np.minimum(4 * column[:, None] + np.arange(4), total.shape[1] - 1)
    light = total[rows[:, :, None], columns[:, None]].clip(0).sum(axis=(1, 2))
    few = (np.minimum(missing, _FEW_PIXELS) * shares * is_speckled)[:, row, column]
    weights = np.array(BAND_WEIGHTS, np.float32)
    out[row, column] = _IN_A_PIXEL * (weights @ few) * light
    return out


def put_back_light(errors: NDArray[np.float64], shape: tuple[int, int]) -> FloatPlane:
    """Return how much of the light of stars that are put back may be wrong.

    Parameters
    ----------
    errors : (n, 3) float64
        x, y in PS1 pixels and squared flux error of each, inside the skycell.
    shape : (int, int)
        8" cells.

    Returns
    -------
    (n8y, n8x) float32
        Two standard deviations, at their places.
    """
    out = np.zeros(shape, np.float32)
    column, row = ((errors[:, :2] + 0.5) // 32).astype(np.int64).T
    np.add.at(out, (row, column), _STAR_SIGMAS * np.sqrt(errors[:, 2]).astype(np.float32))
    return out
