"""What one skycell contributes to a scene: its bands combined, its overlaps shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import BAND_WEIGHTS, BANDS
from syndiff.masks import DataQuality, StackMask
from syndiff.reduction import asinh_decode, variance_decode
from syndiff.replacement import replace_stars
from syndiff.sharing import share_cells, share_lost_cells, share_valid_cells

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from syndiff.config import Background
    from syndiff.reduction import ReducedSkycell
    from syndiff.replacement import Replacement
    from syndiff.sharing import LostCells, Sharing
    from syndiff.skycell_stars import PlacedStars
    from syndiff.tessellation import Skycell

    FloatPlane = NDArray[np.float32]

__all__ = [
    "COARSE_PLANES",
    "CombineConfig",
    "Contribution",
    "combine",
    "contribute_nothing",
    "invalid_bands",
]

COARSE_PLANES = ("variance", "count", "flagged", "full", "missing")
"""Planes on 8" cells: variance of the light; PS1 pixels that contribute, that carry a mask bit,
that a complete sky would have, and that nobody has."""

_TYPICAL_COLOURS = np.array([1.0, 1.32, 1.51, 1.63])
"""Relative flux per unit frequency in r, i, z, y of a star with r-i 0.3, i-z 0.15, z-y 0.08.

An early K dwarf (Tonry et al. 2012, ApJ 750, 99), the most common star at PS1's depth; used only
for a band that a skycell lacks altogether.
"""

_ALL_BANDS = (1 << len(BANDS)) - 1
_WEIGHTS = np.array(BAND_WEIGHTS)


@dataclass(frozen=True)
class CombineConfig:
    """What counts as a skycell's light.

    Parameters
    ----------
    background : {"matched", "sep", "none"}
        ``none`` adds undetected light and the background level to the detected light.
    ignore_mask_bits : int
        PS1 mask bits that the reduction left out.
    star_scale_mag : float, optional
        AB magnitude of the composite less TESS magnitude, for stars that are put back; None to
        measure it.
    """

    background: Background
    ignore_mask_bits: int
    star_scale_mag: float | None = None


@dataclass(frozen=True)
class Contribution:
    """What one skycell adds to a scene.

    Parameters
    ----------
    light : (n2y, n2x) float32
        Light on 2" cells: bands weighted, shared, AB zero point 25.
    coarse : (5, n8y, n8x) float32
        `COARSE_PLANES` on 8" cells.
    flags : (n2y, n2x) uint8
        `DataQuality` bits on 2" cells.
    replacement : Replacement, optional
        The stars that were taken out and put back; None where none was asked for.
    """

    light: FloatPlane
    coarse: FloatPlane
    flags: NDArray[np.uint8]
    replacement: Replacement | None = None


def invalid_bands(valid: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return which bands a skycell has no valid data for, cell by cell.

    Parameters
    ----------
    valid : (n2y, n2x) uint8
        As in `ReducedSkycell`.

    Returns
    -------
    (n2y, n2x) uint8
        Bit b set: less than half of the cell's pixels are valid in band ``config.BANDS[b]``.
    """
    return ~valid & np.uint8(_ALL_BANDS)


def combine(
    reduced: ReducedSkycell,
    *,
    skycell: Skycell,
    sharing: Sharing,
    holes: Mapping[str, NDArray[np.uint8] | int],
    config: CombineConfig,
    stars: PlacedStars | None = None,
) -> Contribution:
    """Combine the bands of a skycell and take its share of the overlaps.

    Parameters
    ----------
    reduced : ReducedSkycell
        The skycell as the atlas holds it.
    skycell : Skycell
        Its geometry.
    sharing : Sharing
        How it shares the sky with its neighbours.
    holes : mapping of str to (n2y, n2x) uint8 or int
        For each neighbour that lacks valid data somewhere, `invalid_bands` of it; 15 for a
        neighbour that is absent. Where a neighbour has no data, this skycell takes its share.
    config : CombineConfig
        What counts as light.
    stars : PlacedStars, optional
        Catalogue stars near the skycell: those that PS1 saturates are put right.

    Returns
    -------
    Contribution
        Light, variance, counts and flags.

    Raises
    ------
    RenderingError
        If stars can't be put back.
    """
    light = _band_light(reduced, config.background)
    flags = _own_flags(reduced, config.ignore_mask_bits)
    invalid = invalid_bands(reduced.valid)
    put = _replace(light, reduced, stars, config) if stars is not None else None
    if put is not None:
        invalid[put.known] &= ~_bits_of(reduced.bands)
        # What was left out there is put back.
        flags[put.cut] &= ~np.uint8(DataQuality.LEFT_OUT_LIGHT)
        flags |= put.flags
    total = _weighted_sum(light)
    lacking = {**holes, skycell.name: invalid} if invalid.any() else holes
    share, lost = share_lost_cells(sharing, _lit(total, flags, put), lacking)
    own_flags = flags[lost.row, lost.column]
    total *= share
    flags[share == 0] = 0

    full = _full_counts(skycell)
    plain = _at_coarse_centres(sharing, full.shape)
    shares = np.stack([plain] * len(BANDS))
    if lost.row.size:
        bits = invalid[lost.row, lost.column]
        missing = _has_bits(bits) & (lost.shares > 0)
        there = light[:, lost.row, lost.column] * lost.shares
        colours = _colours(light) if missing.any() else _TYPICAL_COLOURS
        standing_in = _standing_in(missing, colours)
        total[lost.row, lost.column] = _weighted_sum(there) * standing_in
        own_flags[missing.any(axis=0) & ~missing.all(axis=0)] |= np.uint8(DataQuality.MISSING_BAND)
        own_flags[~(lost.shares > 0).any(axis=0)] = 0
        flags[lost.row, lost.column] = own_flags
        changes = lost.shares - share[lost.row, lost.column]
        shares += _coarse_changes(lost, changes, flags.shape)
    coarse = _coarse_planes(reduced, shares, full)
    if lost.row.size:
        coarse[0] *= 1 + _coarse_changes(lost, standing_in[None] ** 2 - 1, flags.shape)[0]
    if put is not None:
        # Stars are put back whole: bands that others have here are the others' part of them.
        share[lost.row, lost.column] = np.tensordot(_WEIGHTS, lost.shares, axes=1)
        total += share * put.added
        _put_coarse(coarse, put, np.tensordot(_WEIGHTS, shares, axes=1))
    coarse[3] = plain * full
    return Contribution(total, coarse, flags, put)


def _lit(total: FloatPlane, flags: NDArray[np.uint8], put: Replacement | None) -> NDArray[np.bool_]:
    """Return the cells that add anything."""
    lit: NDArray[np.bool_] = (total != 0) | (flags != 0)
    return lit if put is None else lit | (put.added != 0)


def _put_coarse(coarse: FloatPlane, put: Replacement, share: NDArray[np.float64]) -> None:
    """Take the noise of what was cut out, and what is known again out of what is missing.

    The error of a star's flux is the same wherever its light goes and in every skycell that shows
    it: its square is shared as the light is, not as noise.
    """
    kept = _to_coarse(np.stack([~put.cut, ~put.known]))
    coarse[0] = coarse[0] * kept[0] + share * put.variance
    coarse[4] *= kept[1]


def _bits_of(bands: tuple[str, ...]) -> np.uint8:
    """Return the bits of bands in validity planes."""
    return np.uint8(sum(1 << BANDS.index(band) for band in bands))


def _replace(
    light: FloatPlane, reduced: ReducedSkycell, stars: PlacedStars, config: CombineConfig
) -> Replacement:
    """Take saturated stars out of the bands' light, which is modified, and find what to put."""
    absent = np.array([[band not in reduced.bands] for band in BANDS])
    standing_in = _standing_in(absent, _colours(light)) if absent.any() else np.ones(1, np.float32)
    return replace_stars(
        light,
        _weighted_sum(light) * standing_in,
        mask=reduced.mask,
        valid=reduced.valid,
        stars=stars,
        scale_mag=config.star_scale_mag,
    )


def _coarse_changes(lost: LostCells, changes: FloatPlane, shape: tuple[int, ...]) -> FloatPlane:
    """Return by how much means over 8" cells change where lost 2" cells do.

    Parameters
    ----------
    lost : LostCells
        The cells.
    changes : (k, n) float32
        Their changes.
    shape : tuple of int
        Of the grid of 2" cells.

    Returns
    -------
    (k, n8y, n8x) float32
        Changes of the means.
    """
    coarse = -(-shape[0] // 4), -(-shape[1] // 4)
    place = np.ravel_multi_index((lost.row // 4, lost.column // 4), coarse)
    summed = [np.bincount(place, change, minlength=coarse[0] * coarse[1]) for change in changes]
    sides = [
        np.diff(np.minimum(4 * np.arange(n + 1), side))
        for n, side in zip(coarse, shape, strict=True)
    ]
    return np.asarray(np.reshape(summed, (-1, *coarse)) / np.outer(*sides), np.float32)


def contribute_nothing(
    skycell: Skycell,
    *,
    sharing: Sharing,
    holes: Mapping[str, NDArray[np.uint8] | int],
    failed: bool,
) -> Contribution:
    """Return what a skycell without data adds: what is missing because of it.

    Parameters
    ----------
    skycell : Skycell
        Its geometry.
    sharing : Sharing
        How it shares the sky with its neighbours.
    holes : mapping of str to (n2y, n2x) uint8 or int
        As in `combine`.
    failed : bool
        Whether the data exist but could not be had; flagged then.

    Returns
    -------
    Contribution
        No light; the pixels that nobody has, and flags.
    """
    shape = -(-skycell.ny // 8), -(-skycell.nx // 8)
    nobody = {**holes, skycell.name: _ALL_BANDS}
    shares = np.stack(share_valid_cells(sharing, np.ones(shape, bool), nobody))
    full = _full_counts(skycell)
    coarse = np.zeros((len(COARSE_PLANES), *full.shape), np.float32)
    coarse[3] = _at_coarse_centres(sharing, full.shape) * full
    coarse[4] = np.tensordot(_WEIGHTS, _to_coarse(shares), axes=1) * full
    flags = np.zeros(shape, np.uint8)
    if failed:
        flags[(shares > 0).any(axis=0)] = DataQuality.FAILED_SKYCELL
    return Contribution(np.zeros(shape, np.float32), coarse, flags)


def _band_light(reduced: ReducedSkycell, background: Background) -> FloatPlane:
    """Return light on 2" cells of the four bands, zero where a band is absent."""
    light = np.zeros((len(BANDS), *reduced.light.shape[1:]), np.float32)
    for k, band in enumerate(reduced.bands):
        plane = light[BANDS.index(band)]
        plane[:] = asinh_decode(reduced.light[k], reduced.light_sigma[k])
        if background == "none":
            faint = asinh_decode(reduced.faint[k], reduced.faint_sigma[k])
            rows, columns = faint.shape
            level = np.repeat(np.repeat(reduced.level[k], 8, 0), 8, 1)[:rows, :columns]
            plane += _spread(faint + level * reduced.count[k], plane.shape)
    return light


def _weighted_sum(light: FloatPlane) -> FloatPlane:
    """Return the bands' sum, in float32: a matrix product would go through float64."""
    total = np.zeros(light.shape[1:], np.float32)
    for weight, plane in zip(_WEIGHTS, light, strict=True):
        total += np.float32(weight) * plane
    return total


def _spread(coarse: FloatPlane, shape: tuple[int, ...]) -> FloatPlane:
    """Spread 8" sums over 2" cells, blurred as the B-spline decimation blurs the rest.

    1/8, 3/4, 1/8 has the variance of the quadratic B-spline, a quarter of a cell squared.
    """
    fine = np.repeat(np.repeat(coarse / 16, 4, 0), 4, 1)
    for axis in (0, 1):
        padded = np.pad(fine, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        n = fine.shape[axis]
        before, middle, after = (np.take(padded, range(k, k + n), axis) for k in range(3))
        fine = 0.125 * before + 0.75 * middle + 0.125 * after
    return np.asarray(fine[: shape[0], : shape[1]], np.float32)


def _own_flags(reduced: ReducedSkycell, ignore_mask_bits: int) -> NDArray[np.uint8]:
    """Return the flags that a skycell's own mask raises."""
    flags = np.zeros(reduced.mask.shape, np.uint8)
    flags[(reduced.mask & StackMask.SAT) != 0] |= np.uint8(DataQuality.SATURATED_IN_PS1)
    rows, columns = reduced.mask.shape
    left_out: NDArray[np.bool_] = np.asarray(reduced.left_out_count.sum(axis=0) > 0, bool)
    fine = np.repeat(np.repeat(left_out, 4, 0), 4, 1)[:rows, :columns]
    flags[fine & ((reduced.mask & ignore_mask_bits) != 0)] |= np.uint8(DataQuality.LEFT_OUT_LIGHT)
    return flags


def _has_bits(bits: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Unpack the bit of each band, (4, ny, nx)."""
    return np.stack([(bits >> band) & 1 == 1 for band in range(len(BANDS))])


def _colours(light: FloatPlane) -> NDArray[np.float64]:
    """Return the relative flux of each band, measured on the skycell's own light."""
    totals = light.sum(axis=(1, 2), dtype=np.float64)
    known = totals > 0
    if not known.any():
        return _TYPICAL_COLOURS
    scale = totals[known].sum() / _TYPICAL_COLOURS[known].sum()
    return np.asarray(np.where(known, totals, scale * _TYPICAL_COLOURS), np.float64)


def _standing_in(missing: NDArray[np.bool_], colours: NDArray[np.float64]) -> FloatPlane:
    """Return what the bands that are there are multiplied by to stand for those that nobody has.

    By the colour of the light around; where every band is missing there is nothing to multiply.
    """
    expected = _WEIGHTS * colours
    known = np.tensordot(expected, ~missing, axes=1)
    factor: NDArray[np.float64] = np.ones_like(known)
    np.divide(expected.sum(), known, out=factor, where=known > 0)
    return factor.astype(np.float32)


def _full_counts(skycell: Skycell) -> FloatPlane:
    """Return how many PS1 pixels of the skycell each 8" cell holds."""
    sides = [
        np.diff(np.minimum(np.arange(0, n + 32, 32), n))[: -(-n // 32)]
        for n in (skycell.ny, skycell.nx)
    ]
    return np.outer(*sides).astype(np.float32)


def _at_coarse_centres(sharing: Sharing, shape: tuple[int, ...]) -> FloatPlane:
    """Return the overlap weight at the centres of 8" cells."""
    return share_cells(sharing, np.ones(shape, bool), cell_px=32)


def _to_coarse(planes: NDArray[np.bool_] | FloatPlane) -> FloatPlane:
    """Average planes of 2" cells over 8" cells."""
    bands, ny, nx = planes.shape
    padded = np.pad(planes, [(0, 0), (0, -ny % 4), (0, -nx % 4)], mode="edge")
    blocks = padded.reshape(bands, (ny + 3) // 4, 4, (nx + 3) // 4, 4)
    return np.asarray(blocks.mean(axis=(2, 4)), np.float32)


def _coarse_planes(reduced: ReducedSkycell, shares: FloatPlane, full: FloatPlane) -> FloatPlane:
    """Return `COARSE_PLANES` of a skycell, all but the complete counts."""
    planes = np.zeros((len(COARSE_PLANES), *full.shape), np.float32)
    counted = np.zeros((len(BANDS), *full.shape), np.float32)
    for k, band in enumerate(reduced.bands):
        b = BANDS.index(band)
        taken = np.float32(_WEIGHTS[b]) * shares[b]
        variance = variance_decode(reduced.variance[k], reduced.variance_sigma[k])
        # Undetected light that is left out is unknown to this precision too.
        noise = taken * np.float32(reduced.noise_correlation)
        planes[0] += noise**2 * variance.sum(axis=0)
        planes[1] += taken * reduced.count[k]
        planes[2] += taken * reduced.flagged[k]
        counted[b] = reduced.count[k]
    planes[4] = np.einsum("b,bji,bji->ji", _WEIGHTS, shares, full - counted)
    return planes
