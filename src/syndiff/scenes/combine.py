"""What one skycell contributes to a scene: its bands combined, its overlaps shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import BAND_WEIGHTS, BANDS
from syndiff.kernels import combine as kernels
from syndiff.masks import DataQuality, StackMask
from syndiff.scenes.doubt import (
    DOUBTS,
    hidden_light,
    pieced_light,
    put_back_light,
    speckled_light,
    stood_in_light,
)
from syndiff.scenes.standing_in import ALL_BANDS, own_colour, stand_in_weights
from syndiff.scenes.undetected import counted_variance, left_out_light, smooth_faint_light
from syndiff.sky.sharing import share_cells, share_lost_cells, share_valid_cells
from syndiff.stacks.coding import asinh_decode, asinh_table
from syndiff.stars.replacement import replace_stars

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from syndiff.settings import Settings
    from syndiff.sky.sharing import LostCells, Sharing
    from syndiff.sky.tessellation import Skycell
    from syndiff.stacks.reduction import ReducedSkycell
    from syndiff.stars.replacement import Replacement
    from syndiff.stars.skycell_stars import PlacedStars

    FloatPlane = NDArray[np.float32]

__all__ = [
    "COARSE_PLANES",
    "Contribution",
    "combine",
    "contribute_nothing",
    "invalid_bands",
]

COARSE_PLANES = (
    *("variance", "count", "flagged", "full", "missing", "faint", "faint_error"),
    *DOUBTS,
)
"""Planes on 8" cells: variance of the light; PS1 pixels that contribute, that carry a mask bit,
that a complete sky would have, and that no skycell has; light that is left out, and its error;
light that may be wrong."""

_WEIGHTS = np.array(BAND_WEIGHTS)

_BRIGHT_SIGMAS = 20.0
"""Signal-to-noise of the cells whose colour is measured."""

_RIM_SIGMAS = 10.0
"""Signal-to-noise of cells on a hole's rim above which the hole may hold more light."""


@dataclass(frozen=True)
class Contribution:
    """What one skycell adds to a scene.

    Parameters
    ----------
    light : (n2y, n2x) float32
        Light on 2" cells: bands weighted, shared, AB zero point 25.
    coarse : (10, n8y, n8x) float32
        `COARSE_PLANES` on 8" cells.
    flags : (n2y, n2x) uint8
        `DataQuality` bits on 2" cells.
    replacement : Replacement, optional
        The stars that were taken out and put back; None where none was asked for.
    star_errors : (n, 3) float64, optional
        x, y in PS1 pixels and squared flux error, shared, of each star that is put back.
    """

    light: FloatPlane
    coarse: FloatPlane
    flags: NDArray[np.uint8]
    replacement: Replacement | None = None
    star_errors: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class _PlaneLight:
    """Light on 2" cells, band by band."""

    planes: FloatPlane
    """(4, n2y, n2x); zero where a band is absent."""

    def weigh(
        self, invalid: NDArray[np.uint8], least: float
    ) -> tuple[FloatPlane, NDArray[np.float64]]:
        """Return the bands' weighted sum, and the bright light of each band.

        Bright is more than `least` with all bands there. In float32: a matrix product would go
        through float64.
        """
        total, sums = np.empty(invalid.shape, np.float32), np.zeros(len(BANDS))
        kernels.weigh_bands(self.planes, _WEIGHTS.astype(np.float32), total)
        kernels.sum_bright(total, invalid, least, self.planes, sums)
        return total, sums

    def at(self, row: NDArray[np.int64], column: NDArray[np.int64]) -> FloatPlane:
        """Return the light of some cells, (4, n) float32."""
        return self.planes[:, row, column]


@dataclass(frozen=True, eq=False)
class _CodeLight:
    """The same, not decoded: the planes are large, and few cells are looked at again."""

    codes: kernels.CodedLight

    def weigh(
        self, invalid: NDArray[np.uint8], least: float
    ) -> tuple[FloatPlane, NDArray[np.float64]]:
        """Return what `_PlaneLight.weigh` does."""
        total, sums = np.empty(invalid.shape, np.float32), np.zeros(len(BANDS))
        weights = _WEIGHTS.astype(np.float32)
        kernels.weigh_codes(self.codes, weights, invalid, least, total, sums)
        return total, sums

    def at(self, row: NDArray[np.int64], column: NDArray[np.int64]) -> FloatPlane:
        """Return the light of some cells, (4, n) float32."""
        out = np.empty((len(BANDS), row.size), np.float32)
        kernels.decode_cells(self.codes, row, column, out)
        return out


def invalid_bands(valid: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return which bands a skycell has no valid data for, cell by cell.

    Parameters
    ----------
    valid : (n2y, n2x) uint8
        As in `ReducedSkycell`.

    Returns
    -------
    (n2y, n2x) uint8
        Bit b set: pixels of the cell lack data in band ``config.BANDS[b]``, more than a few.
    """
    return ~valid & np.uint8(ALL_BANDS)


def combine(
    reduced: ReducedSkycell,
    *,
    skycell: Skycell,
    sharing: Sharing,
    holes: Mapping[str, NDArray[np.uint8] | int],
    settings: Settings,
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
    settings : Settings
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
    light = _light_of(reduced, settings, with_stars=stars is not None)
    flags = _own_flags(reduced, settings.left_out_bits)
    invalid = invalid_bands(reduced.valid)
    put = None
    if stars is not None and isinstance(light, _PlaneLight):
        put = _replace(light.planes, reduced, stars, settings)
        _accept(put, reduced.bands, invalid, flags)
    noise_flux = _cell_noise(reduced)
    total, bright = light.weigh(invalid, _BRIGHT_SIGMAS * noise_flux)
    lacking = {**holes, skycell.name: invalid} if invalid.any() else holes
    share, lost = share_lost_cells(sharing, _lit(total, flags, put), lacking)
    bits = _lost_bits(invalid, lost)
    hidden, hidden_flux = hidden_light(
        total,
        flags,
        nobody=(lost.row[bits == ALL_BANDS], lost.column[bits == ALL_BANDS]),
        cut=None if put is None else put.cut,
        least=_RIM_SIGMAS * noise_flux,
    )
    flags[hidden] |= np.uint8(DataQuality.LEFT_OUT_LIGHT)
    coarse = _Coarse.where_all_is_there(sharing, _full_counts(skycell))
    # Flags are cleared next where the plain share is 0; a lost cell may get a share of its own.
    own_flags = flags[lost.row, lost.column]
    kernels.take_share(share, total, flags)
    if lost.row.size:
        flags[lost.row, lost.column] = _flags_of_lost(own_flags, bits, lost)
        there = light.at(lost.row, lost.column)
        _share_anew(lost, (there, bits), _stand_ins(reduced, bright), share, total, coarse=coarse)
    coarse.doubts[0] += _coarse_sums(hidden, share[hidden] * hidden_flux, coarse.full.shape)
    coarse.doubts[0] += speckled_light(total, _lost_pixels(reduced, coarse.full), coarse.shares)
    planes = _coarse_planes(reduced, coarse, settings)
    if put is None:
        return Contribution(total, planes, flags, None, None)
    total += share * put.added
    planes[[0, 4]] *= _to_coarse(np.stack([~put.cut, ~put.known]))
    errors = _share_errors(put, share)
    planes[-1] = put_back_light(errors, coarse.full.shape)
    return Contribution(total, planes, flags, put, errors)


@dataclass(frozen=True, eq=False)
class _Coarse:
    """What is summed up on 8" cells while a skycell's light is shared; all but `full` change."""

    full: FloatPlane
    """(n8y, n8x) PS1 pixels in each cell."""
    plain: FloatPlane
    """(n8y, n8x) the skycell's share if all skycells had valid data."""
    shares: FloatPlane
    """(4, n8y, n8x) its share of each band."""
    noise: FloatPlane
    """(n8y, n8x) variance over that of the usual weights on the bands."""
    doubts: FloatPlane
    """(len(DOUBTS), n8y, n8x) light that may be wrong."""

    @classmethod
    def where_all_is_there(cls, sharing: Sharing, full: FloatPlane) -> _Coarse:
        """Return the state if no skycell lacked data: the same share in every band."""
        plain = _at_coarse_centres(sharing, full.shape)
        shares = np.stack([plain] * len(BANDS))
        doubts = np.zeros((len(DOUBTS), *full.shape), np.float32)
        return cls(full, plain, shares, np.ones_like(plain), doubts)


def _accept(
    put: Replacement,
    bands: tuple[str, ...],
    invalid: NDArray[np.uint8],
    flags: NDArray[np.uint8],
) -> None:
    """Record stars that are put back: data are valid there, and no light is left out."""
    invalid[put.known] &= ~_bits_of(bands)
    flags[put.cut] &= ~np.uint8(DataQuality.LEFT_OUT_LIGHT)
    flags |= put.flags


def _share_anew(
    lost: LostCells,
    found: tuple[FloatPlane, NDArray[np.uint8]],
    stand_ins: tuple[FloatPlane, FloatPlane],
    share: FloatPlane,
    total: FloatPlane,
    *,
    coarse: _Coarse,
) -> None:
    """Give lost cells their shares, band by band; `share`, `total` and `coarse` are modified.

    `found` is their light by band, and the bands they lack; `stand_ins` is from `_stand_ins`.
    """
    (there, bits), (weights, more_noise) = found, stand_ins
    kernels.stand_in(lost.row, lost.column, there, lost.shares, bits, weights, total)
    changes = lost.shares - share[lost.row, lost.column]
    # On 8" cells plain shares are taken at centres: what lost 2" cells change is added to that.
    coarse.shares[:] += _coarse_changes(lost, changes, total.shape)
    coarse.noise[:] += _coarse_changes(lost, more_noise[None, bits] - 1, total.shape)[0]
    _doubt_lost(coarse.doubts, lost, (there, changes, bits), total)
    # Stars are put back with all bands: the part of bands that others have here is theirs.
    share[lost.row, lost.column] = np.tensordot(_WEIGHTS, lost.shares, axes=1)


def _flags_of_lost(
    own: NDArray[np.uint8], bits: NDArray[np.uint8], lost: LostCells
) -> NDArray[np.uint8]:
    """Return the flags of cells that lack bands: their own, and MISSING_BAND."""
    some = (bits > 0) & (bits < ALL_BANDS)
    raised = own | np.uint8(DataQuality.MISSING_BAND) * some
    return np.where((lost.shares > 0).any(axis=0), raised, np.uint8(0))


def _doubt_lost(
    doubts: FloatPlane,
    lost: LostCells,
    found: tuple[FloatPlane, FloatPlane, NDArray[np.uint8]],
    total: FloatPlane,
) -> None:
    """Add the light of lost cells that may be wrong: pieced together, or of substituted bands.

    `found` is their light by band, by how much their shares changed, and the bands they lack.
    """
    there, changes, bits = found
    cells, weights = (lost.row, lost.column), _WEIGHTS.astype(np.float32)
    light, change = (np.tensordot(weights, planes, axes=1) for planes in (there, changes))
    pieced = pieced_light(light, cells, change, total.shape)
    doubts[0] += _coarse_sums(cells, pieced, doubts.shape[1:])
    stood_in = stood_in_light(total[cells], bits)
    doubts[1] += _coarse_sums(cells, stood_in, doubts.shape[1:])


def _lost_bits(invalid: NDArray[np.uint8], lost: LostCells) -> NDArray[np.uint8]:
    """Return the bands of each lost cell that this skycell lacks and has a share of."""
    missing = _has_bits(invalid[lost.row, lost.column]) & (lost.shares > 0)
    return np.asarray(np.packbits(missing, axis=0, bitorder="little")[0], np.uint8)


def _lit(total: FloatPlane, flags: NDArray[np.uint8], put: Replacement | None) -> NDArray[np.uint8]:
    """Return 1 for the cells that add anything, 0 for others."""
    lit = np.empty_like(flags)
    kernels.mark_lit(total, flags, lit)
    if put is not None:
        lit |= put.added != 0
    return lit


def _share_errors(put: Replacement, share: FloatPlane) -> NDArray[np.float64]:
    """Return the skycell's part of the squared errors of its stars' flux.

    A star's error is the same wherever its light goes and in every skycell that shows it: its
    square is shared as the light is, not as noise.
    """
    cell = np.floor((put.errors[:, :2] + 0.5) / 8).astype(int)
    column, row = cell.T
    inside = (row >= 0) & (row < share.shape[0]) & (column >= 0) & (column < share.shape[1])
    x, y, square = put.errors[inside].T
    shared = np.stack([x, y, square * share[row[inside], column[inside]]], -1)
    return np.asarray(shared[shared[:, 2] > 0], np.float64)


def _bits_of(bands: tuple[str, ...]) -> np.uint8:
    """Return the bits of bands in validity planes."""
    return np.uint8(sum(1 << BANDS.index(band) for band in bands))


def _replace(
    light: FloatPlane, reduced: ReducedSkycell, stars: PlacedStars, settings: Settings
) -> Replacement:
    """Take saturated stars out of the bands' light, which is modified, and find what to put."""
    absent = ALL_BANDS & ~int(_bits_of(reduced.bands))
    weights = stand_in_weights()[absent].astype(np.float32)
    return replace_stars(
        light,
        np.tensordot(weights, light, axes=1),
        mask=reduced.mask,
        valid=reduced.valid,
        stars=stars,
        scale_mag=settings.star_scale,
    )


def _coarse_changes(lost: LostCells, changes: FloatPlane, shape: tuple[int, ...]) -> FloatPlane:
    """Return changes (k, n8y, n8x) of means over 8" cells from those (k, n) of lost 2" cells.

    `shape` is that of the grid of 2" cells.
    """
    coarse = -(-shape[0] // 4), -(-shape[1] // 4)
    sides = [
        np.diff(np.minimum(4 * np.arange(n + 1), side))
        for n, side in zip(coarse, shape, strict=True)
    ]
    summed = _coarse_sums((lost.row, lost.column), changes, coarse)
    return np.asarray(summed / np.outer(*sides), np.float32)


def _coarse_sums(
    cells: tuple[NDArray[np.int64], NDArray[np.int64]], values: FloatPlane, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return sums over 8" cells, (..., n8y, n8x), of values (..., n) of some 2" cells."""
    planes = np.ascontiguousarray(np.atleast_2d(values))
    summed = np.zeros((len(planes), *shape))
    kernels.sum_changes(*cells, planes, summed)
    return summed.reshape(*values.shape[:-1], *shape)


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
        Whether the data exist but were not obtained; flagged then.

    Returns
    -------
    Contribution
        No light; the pixels that no skycell has, and flags.
    """
    shape = -(-skycell.ny // 8), -(-skycell.nx // 8)
    nobody = {**holes, skycell.name: ALL_BANDS}
    shares = np.stack(share_valid_cells(sharing, np.ones(shape, bool), nobody))
    full = _full_counts(skycell)
    coarse = np.zeros((len(COARSE_PLANES), *full.shape), np.float32)
    coarse[3] = _at_coarse_centres(sharing, full.shape) * full
    coarse[4] = np.tensordot(_WEIGHTS, _to_coarse(shares), axes=1) * full
    flags = np.zeros(shape, np.uint8)
    if failed:
        flags[(shares > 0).any(axis=0)] = DataQuality.FAILED_SKYCELL
    return Contribution(np.zeros(shape, np.float32), coarse, flags)


def _light_of(
    reduced: ReducedSkycell, settings: Settings, *, with_stars: bool
) -> _CodeLight | _PlaneLight:
    """Return the light of a skycell: as codes, unless something is to be added or taken out."""
    bands = np.array([BANDS.index(band) for band in reduced.bands], np.int64)
    with_faint = settings.background == "none" or bool(settings.diffuse)
    if not with_faint and not with_stars:
        patterns = np.ascontiguousarray(reduced.light.transpose(1, 2, 0)).view(np.uint16)
        tables = np.stack([asinh_table(sigma) for sigma in reduced.light_sigma])
        return _CodeLight(kernels.CodedLight(patterns, tables, bands))
    planes = np.zeros((len(BANDS), *reduced.light.shape[1:]), np.float32)
    for k, band in enumerate(bands):
        asinh_decode(reduced.light[k], reduced.light_sigma[k], out=planes[band])
        if with_faint:
            planes[band] += _spread(_faint_light(reduced, k, settings), planes.shape[1:])
    return _PlaneLight(planes)


def _faint_light(reduced: ReducedSkycell, k: int, settings: Settings) -> FloatPlane:
    """Return what one band adds to the detected light, on 8" cells."""
    faint = asinh_decode(reduced.faint[k], reduced.faint_sigma[k])
    count = reduced.count[k]
    if settings.background != "none":
        return smooth_faint_light(faint, count, settings.diffuse)
    rows, columns = faint.shape
    level = np.repeat(np.repeat(reduced.level[k], 8, 0), 8, 1)[:rows, :columns]
    return np.asarray(faint + level * count, np.float32)


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
    flags = np.empty(reduced.mask.shape, np.uint8)
    bits = np.array([StackMask.SAT, ignore_mask_bits], np.uint16)
    raised = np.array([DataQuality.SATURATED_IN_PS1, DataQuality.LEFT_OUT_LIGHT], np.uint8)
    kernels.raise_flags(reduced.mask, reduced.left_out_count, bits, raised, flags)
    return flags


def _has_bits(bits: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Unpack the bit of each band, (4, ny, nx)."""
    return np.stack([(bits >> band) & 1 == 1 for band in range(len(BANDS))])


def _cell_noise(reduced: ReducedSkycell) -> float:
    """Return the noise of the light of a 2" cell."""
    weights = np.array([BAND_WEIGHTS[BANDS.index(band)] for band in reduced.bands])
    return float(np.sqrt((weights**2) @ (reduced.light_sigma**2)))


def _stand_ins(
    reduced: ReducedSkycell, bright: NDArray[np.float64]
) -> tuple[FloatPlane, FloatPlane]:
    """Return weights (4, 16) on each band for each set of missing ones, and their effect on noise.

    The latter, (16,), is the variance over that with the usual weights on the same bands. `bright`
    is the skycell's bright light (4,) in each band, where it has all.
    """
    weights = stand_in_weights() * own_colour(bright)[:, None]
    variance = np.zeros(len(BANDS))
    for k, band in enumerate(reduced.bands):
        variance[BANDS.index(band)] = np.median(reduced.variances[k].sum(axis=0))
    usual = np.where(stand_in_weights() != 0, _WEIGHTS, 0) ** 2 @ variance
    noise = np.ones(len(weights))
    np.divide(weights**2 @ variance, usual, out=noise, where=usual > 0)
    return np.ascontiguousarray(weights.T, np.float32), noise.astype(np.float32)


def _full_counts(skycell: Skycell) -> FloatPlane:
    """Return how many PS1 pixels of the skycell each 8" cell holds."""
    sides = [
        np.diff(np.minimum(np.arange(0, n + 32, 32), n))[: -(-n // 32)]
        for n in (skycell.ny, skycell.nx)
    ]
    return np.outer(*sides).astype(np.float32)


def _lost_pixels(reduced: ReducedSkycell, full: FloatPlane) -> FloatPlane:
    """Return how many pixels of each 8" cell each band that the skycell has lacks, (4, ...)."""
    lost = np.zeros((len(BANDS), *full.shape), np.float32)
    for k, band in enumerate(reduced.bands):
        lost[BANDS.index(band)] = full - reduced.count[k] - reduced.left_out_count[k]
    return lost


def _at_coarse_centres(sharing: Sharing, shape: tuple[int, ...]) -> FloatPlane:
    """Return the overlap weight at the centres of 8" cells."""
    return share_cells(sharing, np.ones(shape, bool), cell_px=32)


def _to_coarse(planes: NDArray[np.bool_] | FloatPlane) -> FloatPlane:
    """Average planes of 2" cells over 8" cells."""
    bands, ny, nx = planes.shape
    padded = np.pad(planes, [(0, 0), (0, -ny % 4), (0, -nx % 4)], mode="edge")
    blocks = padded.reshape(bands, (ny + 3) // 4, 4, (nx + 3) // 4, 4)
    return np.asarray(blocks.mean(axis=(2, 4)), np.float32)


def _coarse_planes(reduced: ReducedSkycell, coarse: _Coarse, settings: Settings) -> FloatPlane:
    """Return `COARSE_PLANES` of a skycell."""
    full, shares = coarse.full, coarse.shares
    planes = np.zeros((len(COARSE_PLANES), *full.shape), np.float32)
    valid = np.zeros((len(BANDS), *full.shape), np.float32)
    counted = counted_variance(reduced, settings.background, settings.diffuse)
    detected, undetected = counted[0], np.float32(counted[1])
    for k, band in enumerate(reduced.bands):
        b = BANDS.index(band)
        taken = np.float32(_WEIGHTS[b]) * shares[b]
        variance = reduced.variances[k]
        # Skycells at a point were made from the same exposures: shares of their variance add up.
        noise = np.float32((_WEIGHTS[b] * reduced.noise_correlation) ** 2) * shares[b]
        planes[0] += noise * (detected * variance[0] + undetected * variance[1])
        planes[1] += taken * reduced.count[k]
        planes[2] += taken * reduced.flagged[k]
        valid[b] = reduced.count[k]
    planes[0] *= coarse.noise
    planes[3] = coarse.plain * full
    for weight, share, count in zip(_WEIGHTS, shares, valid, strict=True):
        planes[4] += np.float32(weight) * share * (full - count)
    left_out = left_out_light(reduced, settings.background, settings.diffuse)
    planes[5:7] = coarse.plain * left_out
    planes[-len(DOUBTS) :] = coarse.doubts
    return planes
