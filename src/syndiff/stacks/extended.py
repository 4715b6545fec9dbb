"""Light spread too thinly for the filter of 1" cells: found on coarser scales, grown to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from syndiff.constants import MAD_TO_SIGMA
from syndiff.kernels import detect

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Plane = NDArray[np.float32]
    Marks = NDArray[np.bool_]

_T = TypeVar("_T", bound=np.generic)

__all__ = ["WIDE_CELLS", "find_extended", "grow_extended", "level_beneath", "mean_around"]

WIDE_CELLS = 8
"""Cells of 1" along a side of the cells in which extended light is marked: those of 8" that
undetected light and variance are kept on."""

_BLOCK_CELLS = 4
"""Cells of 1" along a side of the blocks of the finest scale."""

_SIGMAS = {4: 4.0, 8: 4.0, 16: 4.0, 32: 5.0}
"""Side of the blocks of each scale, in cells of 1", and signal-to-noise from which undetected light
in them counts.

In units of the scatter among a skycell's own blocks, so that a ripple of the sky raises the
threshold. At 4 nothing is marked in a skycell of empty sky, with a ripple of 28 mag per
square arcsec a block or two; at 3.5 the ripple that comes in scatters templates by 8 % more.
"""

_SOLID_BLOCKS = 3
"""Blocks of 4" along a side of a square all of which the filter of 1" cells detects, for what is
there to count as extended: a star has to be of magnitude 14 for it."""

_CROWDED = 0.5
"""Part of the sky under detected light above which too little background is left to measure."""

_GROWTH = 2.5
"""Radius to which light is kept, over that to which it is seen.

What is seen of a de Vaucouleurs or exponential profile ends at some 27 mag per square arcsec; it
falls to 30, a twentieth of the scatter of a TESS pixel, at 2.4 and 1.7 times the radius.
"""

_NEAR_MIDDLE = 0.3
"""Distance of a saturated star from the middle of what is seen, over its radius, that makes it the
star's own halo, which TESS does not see."""

_SOFT = 0.1
"""Part of a mesh cell that extended light covers from which its level comes from around it."""

_LEVEL_WIDTH, _MEAN_WIDTH = 1.5, 2.0
"""Standard deviations of the Gaussians that weigh mesh cells around: of 40 square arcmin, the mean
is known to half a unit in a TESS pixel."""


def find_extended(
    residual: Plane, variance: Plane, detected: NDArray[np.uint8], compact: NDArray[np.uint8]
) -> Marks:
    """Return where there is extended light.

    Parameters
    ----------
    residual, variance : (ncy, ncx) float32
        Sums of 1" cells above the level.
    detected : (ncy, ncx) uint8
        Not zero where light is already accounted for.
    compact : (ncy, ncx) uint8
        Not zero where the filter of 1" cells detects.

    Returns
    -------
    (n8y, n8x) bool
        True in 8" cells that hold more than the noise of undetected light, on scales of 4" to 32",
        or a part of an area that is solid with detected light.
    """
    from scipy.ndimage import binary_opening

    shape = tuple(-(-side // WIDE_CELLS) for side in residual.shape)
    if np.count_nonzero(compact) > _CROWDED * np.count_nonzero(variance > 0):
        return np.zeros(shape, bool)
    blocks = [-(-side // _BLOCK_CELLS) for side in residual.shape]
    flux, noise = np.zeros(blocks, np.float32), np.zeros(blocks, np.float32)
    marked = np.zeros(blocks, np.uint8)
    detect.sum_dark(residual, variance, detected, flux, noise)
    detect.count_marked(compact, marked)
    solid = binary_opening(marked == _BLOCK_CELLS**2, np.ones((_SOLID_BLOCKS, _SOLID_BLOCKS)))
    found = _paired(solid, np.logical_or)
    for side, sigmas in _SIGMAS.items():
        if side > _BLOCK_CELLS:
            flux, noise = _paired(flux, np.add), _paired(noise, np.add)
        stands_out = _beyond(flux, noise, sigmas)
        if side < WIDE_CELLS:
            stands_out = _paired(stands_out, np.logical_or)
        found |= _repeated(stands_out, max(side // WIDE_CELLS, 1), shape)
    return found


def _beyond(flux: Plane, noise: Plane, sigmas: float) -> Marks:
    """Return the blocks whose signal-to-noise is an outlier among the others."""
    ratio = np.empty_like(flux)
    detect.matched_filter(flux, noise, ratio)
    known = ratio[~np.isnan(ratio)]
    if not known.size:
        return np.zeros(flux.shape, bool)
    middle = detect.median(known.copy())
    scatter = MAD_TO_SIGMA * detect.median(np.abs(known - middle))
    return np.asarray(ratio > middle + np.float32(sigmas) * scatter)


def _paired(
    plane: NDArray[_T], join: Callable[[NDArray[_T], NDArray[_T]], NDArray[_T]]
) -> NDArray[_T]:
    """Return blocks of 2x2 of a plane, joined."""
    even = np.pad(plane, [(0, side % 2) for side in plane.shape])
    rows = join(even[::2], even[1::2])
    return join(rows[:, ::2], rows[:, 1::2])


def _repeated(marks: Marks, times: int, shape: tuple[int, ...]) -> Marks:
    """Return blocks spread over the smaller cells that they hold."""
    return np.repeat(np.repeat(marks, times, 0), times, 1)[: shape[0], : shape[1]]


def grow_extended(seen: Marks, saturated: Marks) -> Marks:
    """Return extended light with the wings in which it is not seen.

    Parameters
    ----------
    seen : (n8y, n8x) bool
        Where it is seen.
    saturated : (n8y, n8x) bool
        Where PS1 saturates.

    Returns
    -------
    (n8y, n8x) bool
        Each connected part, its holes filled, and all around it to `_GROWTH` times its radius; not
        what a saturated star scatters around itself.
    """
    from scipy.ndimage import binary_fill_holes, distance_transform_edt, label

    filled = binary_fill_holes(seen)
    parts, _ = label(filled, np.ones((3, 3)))
    radius = np.sqrt(np.bincount(parts.ravel())[1:] / np.pi)
    is_kept = ~_are_halos(parts, radius, saturated)
    # one map of distances for all parts of about a size
    sizes = np.ceil(2 * np.log2(radius)).astype(int)
    grown = np.zeros_like(seen)
    for size in np.unique(sizes[is_kept]):
        chosen = is_kept & (sizes == size)
        reach = (_GROWTH - 1) * radius[chosen].max()
        grown |= distance_transform_edt(~np.concatenate([[False], chosen])[parts]) <= reach
    return grown


def _are_halos(parts: NDArray[np.int32], radius: NDArray[np.float64], saturated: Marks) -> Marks:
    """Tell which parts have a saturated star in their middle."""
    from scipy.ndimage import center_of_mass

    found = np.zeros(radius.size, bool)
    row, column = np.nonzero(saturated & (parts > 0))
    number = parts[row, column]
    for one in np.unique(number):
        y, x = center_of_mass(parts == one)
        there = number == one
        distance = np.hypot(row[there] - y, column[there] - x).min()
        # a star in a cell's corner is 0.7 from the cell's middle
        found[one - 1] = distance <= _NEAR_MIDDLE * radius[one - 1] + 0.7
    return found


def level_beneath(level: Plane, medians: Plane, samples: NDArray[np.int32], wide: Marks) -> Plane:
    """Return a level interpolated beneath extended light from around it.

    Parameters
    ----------
    level : (my, mx) float32
        Level on the 64" mesh.
    medians : (my, mx) float32
        Of its cells without detected light; NaN where they are too few.
    samples : (my, mx) int32
        Of how many.
    wide : (n8y, n8x) bool
        Where extended light is.

    Returns
    -------
    (my, mx) float32
        `level`, but where extended light covers a tenth of a mesh cell or more the mean of the
        medians around, by their samples, as near as there are enough.
    """
    soft = _covered(wide, level.shape) > _SOFT
    known = ~np.isnan(medians)
    if not soft.any() or not known.any():
        return level
    weights = np.where(known, samples, 0) / max(int(samples.max()), 1)
    smooth = _smoothed(np.where(known, medians, 0) * weights, weights, _LEVEL_WIDTH)
    return np.where(soft, smooth, level).astype(np.float32)


def _covered(wide: Marks, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return which part of each 64" mesh cell is marked."""
    cells = 8
    padded = np.pad(
        wide, [(0, cells * n - side) for n, side in zip(shape, wide.shape, strict=True)], "edge"
    )
    return np.asarray(padded.reshape(shape[0], cells, shape[1], cells).mean(axis=(1, 3)))


_ENOUGH = 0.25
"""Part of the weights around a mesh cell that must be there."""


def _smoothed(
    values: NDArray[np.float64], weights: NDArray[np.float64], width: float
) -> NDArray[np.float64]:
    """Return weighted sums over weights, of Gaussians that are wider where it takes it."""
    from scipy.ndimage import gaussian_filter

    out = np.full(values.shape, values.sum() / weights.sum())
    lacking = np.ones(values.shape, bool)
    while lacking.any() and width < 2 * max(values.shape):
        total, there, whole = (
            gaussian_filter(plane, width, mode="constant")
            for plane in (values, weights, np.ones(values.shape))
        )
        enough = lacking & (there >= _ENOUGH * whole)
        out[enough] = total[enough] / there[enough]
        lacking &= ~enough
        width *= 2
    return out


def mean_around(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> Plane:
    """Return the mean of undetected light around, per PS1 pixel.

    Parameters
    ----------
    sums, counts : (my, mx) float64
        Light above the level and pixels of the dark cells of each 64" mesh cell.

    Returns
    -------
    (my, mx) float32
        Of all within some `_MEAN_WIDTH`, or as far as it takes; 0 if there are no pixels.
    """
    most = counts.max()
    if not most:
        return np.zeros(sums.shape, np.float32)
    return np.asarray(_smoothed(sums, counts / most, _MEAN_WIDTH) / most, np.float32)
