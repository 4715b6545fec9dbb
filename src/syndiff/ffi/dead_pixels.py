"""Pixels of an FFI that hold no light: unknown, exactly zero, stuck at one value, absurd."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from syndiff.constants import FRAME_S, FULL_WELL_E
from syndiff.errors import ObservationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DeadPixel", "check_alive", "count_dead", "describe_dead", "find_dead"]

FULL_PIXEL_E_PER_S = FULL_WELL_E / FRAME_S
"""Flux in a pixel at which it is full; reached at T = 6.8."""

NEARLY_FULL = 0.8
"""Part of a full pixel from which it is no longer linear enough."""

_MOST_E_PER_S = 10 * FULL_PIXEL_E_PER_S
_LEAST_E_PER_S = -0.01 * FULL_PIXEL_E_PER_S
# Nothing TESS records lies beyond; a subtracted sky leaves some -100 e-/s at worst.

_LEAST_ALIKE = 3
_CHANCE = 1e-3
_CROWDING = 6.0
# Neighbours that agree by chance with probability p are joined in groups of n about
# (_CROWDING p)^(n - 1) times as often as there are pixels (normal noise in steps of its size).
_FEW = 0.01
_COARSEST = 0.3
# Part of all steps between neighbours that are of one size; from here on chance joins everything.
_COARSE = 1e-3
# Neighbours that agree more often than this are whole numbers, or quantised (fpack).


class DeadPixel(IntEnum):
    """Why a pixel holds no light; 0 where it does."""

    ALIVE = 0
    UNKNOWN = 1
    ZERO = 2
    CONSTANT = 3
    ABSURD = 4
    NO_UNCERTAINTY = 5


_WORDS = {
    DeadPixel.UNKNOWN: "NaN or infinite",
    DeadPixel.ZERO: "exactly zero",
    DeadPixel.CONSTANT: "stuck at one value",
    DeadPixel.ABSURD: "beyond what a pixel can hold",
    DeadPixel.NO_UNCERTAINTY: "without an uncertainty above zero",
}


def find_dead(
    image: NDArray[np.floating], uncertainty: NDArray[np.floating] | None = None
) -> NDArray[np.uint8]:
    """Return which pixels hold no light, and why.

    Parameters
    ----------
    image : (ny, nx) float
        Science pixels of an FFI, electrons per second. All of them, where there is a choice: how
        often neighbours agree by chance is told by the image itself.
    uncertainty : (ny, nx) float, optional
        Their standard deviation.

    Returns
    -------
    (ny, nx) uint8
        `DeadPixel` values.

    Notes
    -----
    Zeros are dead unless the image is quantised and straddles zero. Groups of pixels that are
    joined side by side and hold the same value are dead if chance makes less than 0.001 of their
    size in an image like this: 3 pixels of a float image, 11 of one that fpack has quantised by a
    16th of its noise, 24 by a 4th. Coarser steps tell nothing.
    Pixels near their full well do not count: a saturated plateau may be level.
    """
    known = np.isfinite(image)
    compared = known & (image < NEARLY_FULL * FULL_PIXEL_E_PER_S)
    alike, chance = _groups(image, compared)
    codes = np.zeros(image.shape, np.uint8)
    codes[alike] = DeadPixel.CONSTANT
    straddles = chance > _COARSE and bool((image[known] < 0).mean() > 0.01)
    codes[(image == 0) & (alike | (not straddles))] = DeadPixel.ZERO
    codes[known & ((image > _MOST_E_PER_S) | (image < _LEAST_E_PER_S))] = DeadPixel.ABSURD
    codes[~known] = DeadPixel.UNKNOWN
    if uncertainty is not None:
        with np.errstate(invalid="ignore"):
            told = np.isfinite(uncertainty) & (uncertainty > 0)
        codes[~told & (codes == DeadPixel.ALIVE)] = DeadPixel.NO_UNCERTAINTY
    return codes


def _groups(
    image: NDArray[np.floating], compared: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], float]:
    """Return the pixels in groups of one value too large for chance, and how often two agree."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    alike = np.zeros(image.shape, np.bool_)
    values = image[compared]
    if values.size and values.min() == values.max():
        return compared, 0.0
    number = np.arange(image.size, dtype=np.int32).reshape(image.shape)
    pairs = [
        (number[first][same], number[second][same])
        for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:]))
        for same in [(image[first] == image[second]) & compared[first] & compared[second]]
    ]
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    if not first.size:
        return alike, 0.0
    if first.size > _FEW * values.size and _has_coarse_steps(image, compared):
        return alike, 1.0
    members, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    edges = np.ones(first.size, np.bool_), (places[: first.size], places[first.size :])
    graph = coo_array(edges, shape=(members.size, members.size))
    labels = connected_components(graph, directed=False)[1]
    sizes = np.bincount(labels)
    alone = int(compared.sum()) - members.size
    twos = int((sizes == 2).sum()) / max(1, alone)
    chance = twos / 2 * (1 + twos)
    alike.ravel()[members[sizes[labels] >= _least_size(chance, int(compared.sum()))]] = True
    return alike, chance


def _has_coarse_steps(image: NDArray[np.floating], compared: NDArray[np.bool_]) -> bool:
    """Tell whether neighbours that differ mostly do so by one step, so that many agree too."""
    both = compared[:, :-1] & compared[:, 1:]
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.abs(np.diff(image, axis=1)[both])
    steps = steps[steps > 0][:: max(1, steps.size // 100_000)]
    if steps.size < 100:
        return False
    # Rounded, as steps of floats differ in their last digits.
    counts = np.unique(np.rint(100 * steps / np.median(steps)), return_counts=True)[1]
    return bool(counts.max() > _COARSEST * steps.size)


def _least_size(chance: float, pixels: int) -> float:
    """Return how many equal neighbours chance doesn't make, of so many pixels."""
    joined = _CROWDING * chance
    if joined >= 0.5:
        return math.inf
    if joined == 0:
        return _LEAST_ALIKE
    return max(_LEAST_ALIKE, math.ceil(1 + math.log(pixels / _CHANCE) / -math.log(joined)))


def count_dead(codes: NDArray[np.uint8]) -> dict[DeadPixel, int]:
    """Return how many pixels are dead, by reason.

    Parameters
    ----------
    codes : (ny, nx) uint8
        `DeadPixel` values.

    Returns
    -------
    dict
        Reasons that occur, the most frequent first.
    """
    counts = np.bincount(codes.ravel(), minlength=len(DeadPixel))
    reasons = sorted((reason for reason in _WORDS if counts[reason]), key=lambda r: -counts[r])
    return {reason: int(counts[reason]) for reason in reasons}


def describe_dead(codes: NDArray[np.uint8]) -> str:
    """Return how many pixels are dead and why, in words.

    Parameters
    ----------
    codes : (ny, nx) uint8
        `DeadPixel` values.

    Returns
    -------
    str
        Empty if all are alive; for example ``"64 of 256 pixels are dead (64 exactly zero)"``.
    """
    counts = count_dead(codes)
    if not counts:
        return ""
    reasons = ", ".join(f"{count:,} {_WORDS[reason]}" for reason, count in counts.items())
    return f"{sum(counts.values()):,} of {codes.size:,} pixels are dead ({reasons})"


def check_alive(codes: NDArray[np.uint8], source: str, pixels: str, remedy: str) -> None:
    """Raise if no pixel holds light.

    Parameters
    ----------
    codes : (ny, nx) uint8
        `DeadPixel` values.
    source : str
        What to call the FFI.
    pixels : str
        What to call the pixels, ``"science pixels"`` for example.
    remedy : str
        What to do.

    Raises
    ------
    ObservationError
        If all are dead.
    """
    if not codes.all():
        return
    counts = count_dead(codes)
    (reason, *others) = counts
    if not others:
        found = f"all {codes.size:,} {pixels} are {_WORDS[reason]}"
    else:
        found = f"none of its {pixels} holds light, {describe_dead(codes)}"
    raise ObservationError(f"{source}: {found}: {remedy}")
