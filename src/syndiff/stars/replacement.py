"""Remove stars that PS1 saturates from a skycell, and insert them where TESS sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from syndiff.errors import RenderingError
from syndiff.kernels.rings import subtract_rings
from syndiff.masks import DataQuality, StackMask
from syndiff.stars.profile import CELL_PX, Stamp, point_source
from syndiff.stars.scale import MIN_CALIBRATORS, StarScale, given_scale, measure_scale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from syndiff.stars.skycell_stars import PlacedStars, ReplacedStar

    Cells = NDArray[np.bool_]
    Floats = NDArray[np.float64]

__all__ = ["MOVED_ARCSEC", "Replacement", "known_cells", "replace_stars"]

CERTAIN_MAG = 12.0
"""Stars brighter than this in T saturate PS1 whatever its mask says: even y does at 12."""

FAINTEST_MAG = 15.5
"""Stars fainter than this in T don't saturate PS1, whatever their flags: gri saturate at 13.5."""

MOVED_ARCSEC = 0.4
"""Motion between PS1 and the FFI from which an unsaturated star is moved: 0.02 TESS pixels, which
leave 2 % of the star's peak in a difference."""

_SATURATED = int(StackMask.SAT | StackMask.STARCORE)
_TRAILS = int(StackMask.SPIKE | StackMask.GHOST)
_OWN_CELLS = 2.0
_GROWTH = 2
_SPIKE_REACH = 2.0
_STILL = 2
_COVER_TURNS = 20
# One covers the next: chains of more than 5 were seen at 4e5 stars a square degree (magnitude 24).
_KEPT_MAG = 18.0
_EIGHT = np.ones((3, 3), np.bool_)


@dataclass(frozen=True, eq=False)
class Replacement:
    """What becomes of a skycell's stars.

    Parameters
    ----------
    added : (n2y, n2x) float32
        Composite light to add, of the whole star, not shared.
    cut : (n2y, n2x) bool
        Cells whose light was taken out.
    known : (n2y, n2x) bool
        Those of them that count as valid data.
    errors : (n, 3) float64
        x, y in PS1 pixels and squared flux error of each star that is put back.
    flags : (n2y, n2x) uint8
        `DataQuality` bits.
    stars : tuple of ReplacedStar
        Those inside the skycell.
    scale : StarScale or None
        What the fluxes rest on; None if none was needed.
    """

    added: NDArray[np.float32]
    cut: Cells
    known: Cells
    errors: Floats
    flags: NDArray[np.uint8]
    stars: tuple[ReplacedStar, ...] = field(default=())
    scale: StarScale | None = None


@dataclass(frozen=True, eq=False)
class _Cores:
    """Stars that PS1 saturates, the cells of their cores, and those of their spikes."""

    stars: NDArray[np.intp]
    core: Cells
    spikes: Cells


def known_cells(
    mask: NDArray[np.uint16], valid: NDArray[np.uint8], stars: PlacedStars
) -> NDArray[np.uint8]:
    """Return the plane `valid` once stars are put back: their cores are known then.

    Parameters
    ----------
    mask : (n2y, n2x) uint16
        As in `ReducedSkycell`.
    valid : (n2y, n2x) uint8
        Likewise.
    stars : PlacedStars
        Stars near the skycell.

    Returns
    -------
    (n2y, n2x) uint8
        Bits of the bands that the skycell has set in the cores too.
    """
    cores = _find_cores(mask, valid, stars)
    return np.where(cores.core, valid | _present(valid), valid).astype(np.uint8)


def replace_stars(
    light: NDArray[np.float32],
    composite: NDArray[np.float32],
    *,
    mask: NDArray[np.uint16],
    valid: NDArray[np.uint8],
    stars: PlacedStars,
    scale_mag: float | None,
) -> Replacement:
    """Take saturated stars out of a skycell's light and say what to put back.

    Parameters
    ----------
    light : (4, n2y, n2x) float32
        Light of each band; modified: cores and spikes become nothing, wings are subtracted.
    composite : (n2y, n2x) float32
        The bands' weighted sum before that, missing bands estimated from the others.
    mask, valid : (n2y, n2x) uint16, uint8
        As in `ReducedSkycell`.
    stars : PlacedStars
        Stars near the skycell, at both epochs.
    scale_mag : float, optional
        AB magnitude of the composite less T; None to measure it.

    Returns
    -------
    Replacement
        What to add, and where.

    Raises
    ------
    RenderingError
        If stars are to be put back and too few are there to measure their scale on.

    Notes
    -----
    Saturated: T < 12, or T < 15.5 with SAT or STARCORE within a cell of its place. Its core is the
    connected patch of those bits and of lost cells, two cells more all around. The wings are the
    median of each ring, 2" wide, less that of the last one: neighbours fill less than half of a
    ring and stay. Catalogue stars whose place is in a core, or brighter than T = 18 and beside one,
    are put back with it. Stars that only moved keep the flux that PS1 measured: a point source of
    it is moved.
    """
    cores = _find_cores(mask, valid, stars)
    cut, covered = _cover(cores, stars)
    moving = _moving(mask, valid, cut, np.union1d(cores.stars, covered), stars)
    added, flags = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.uint8)
    if not (cores.stars.size or moving.size):
        return Replacement(added, cut, cores.core, np.zeros((0, 3)), flags)
    usable = ((mask & _SATURATED) == 0) & ((~valid & _present(valid)) == 0)
    scale = _scale(composite, usable, stars, scale_mag, needed=cores.stars)
    light[:, cut] = 0
    for k in cores.stars:
        _subtract_wings(light, cut, stars, int(k))
    flags[cut] |= np.uint8(DataQuality.REPLACED_STAR)
    put = np.concatenate([cores.stars, covered])
    flux, error = scale.flux(stars.tmag[put], stars.colour[put], stars.tmag_error[put])
    _put((added, flags), stars, put, flux, scale)
    listed = [
        stars.record(int(k), flux=float(f), error=float(e), reason=reason)
        for k, f, e, reason in zip(
            put,
            flux,
            error,
            ["saturated"] * cores.stars.size + ["covered"] * covered.size,
            strict=True,
        )
        if stars.is_inside[k]
    ]
    listed += _move((added, flags), composite, stars, moving, scale)
    errors = np.stack([stars.x_then[put], stars.y_then[put], error**2], -1)
    return Replacement(added, cut, cores.core, errors, flags, tuple(listed), scale)


def _present(valid: NDArray[np.uint8]) -> np.uint8:
    """Return the bits of the bands that the skycell has anywhere."""
    return np.uint8(np.bitwise_or.reduce(valid, axis=None) if valid.size else 0)


def _cells(stars: PlacedStars) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of the cells that hold the stars at PS1's epoch."""
    row, column = (((v + 0.5) // CELL_PX).astype(np.int64) for v in (stars.y, stars.x))
    return row, column


def _cell(stars: PlacedStars, k: int) -> tuple[int, int]:
    """Return row and column of the cell that holds one of them."""
    return int((stars.y[k] + 0.5) // CELL_PX), int((stars.x[k] + 0.5) // CELL_PX)


def _near(plane: Cells, row: int, column: int, reach: int) -> Cells:
    """Return the square of a plane around a cell; empty outside."""
    rows = slice(max(0, row - reach), max(0, row + reach + 1))
    return plane[rows, max(0, column - reach) : max(0, column + reach + 1)]


def _find_cores(mask: NDArray[np.uint16], valid: NDArray[np.uint8], stars: PlacedStars) -> _Cores:
    """Find saturated stars and the cells that they affect, from the mask and the lost cells."""
    saturated = (mask & _SATURATED) != 0
    bright = np.flatnonzero(stars.tmag < FAINTEST_MAG).tolist()
    chosen = np.array([k for k in bright if _is_saturated(stars, k, saturated)], np.intp)
    core, spikes = np.zeros(mask.shape, np.bool_), np.zeros(mask.shape, np.bool_)
    if chosen.size:
        lost = (~valid & _present(valid)) != 0
        patches, _ = ndimage.label(saturated | lost, _EIGHT)
        trails, _ = ndimage.label(saturated | ((mask & _TRAILS) != 0), _EIGHT)
        for k in chosen:
            window, distance = _disc(stars, int(k), mask.shape, _SPIKE_REACH)
            reach = stars.radius_px[k] / CELL_PX
            own = distance <= _OWN_CELLS
            near = distance <= _OWN_CELLS + 1
            patch = own | (_connected(patches[window], near) & (distance <= reach))
            core[window] |= patch
            grown = _grow(patch, _GROWTH + 1)
            spikes[window] |= _connected(trails[window], grown) & (distance <= _SPIKE_REACH * reach)
        core = _grow(core, _GROWTH)
        spikes = _grow(spikes, 1) & ~core
    return _Cores(chosen, core, spikes)


def _is_saturated(stars: PlacedStars, k: int, saturated: Cells) -> bool:
    """Tell whether PS1 saturates a star, by its brightness and the flags at its place."""
    if stars.tmag[k] < CERTAIN_MAG:
        return True
    return bool(_near(saturated, *_cell(stars, k), 1).any())


def _disc(
    stars: PlacedStars, k: int, shape: tuple[int, ...], factor: float
) -> tuple[tuple[slice, slice], Floats]:
    """Return the window around a star's disc, and each cell's distance from it in cells."""
    column, row = ((v[k] + 0.5) / CELL_PX - 0.5 for v in (stars.x, stars.y))
    reach = factor * stars.radius_px[k] / CELL_PX + 1
    slices = []
    for place, size in ((row, shape[0]), (column, shape[1])):
        low, high = int(np.floor(place - reach)), int(np.ceil(place + reach)) + 1
        slices.append(slice(min(max(0, low), size), min(max(0, high), size)))
    y, x = (np.arange(s.start, s.stop) for s in slices)
    return (slices[0], slices[1]), np.hypot(y[:, None] - row, x - column)


def _reach_cells(stars: PlacedStars, k: int) -> int:
    """Return how many cells from its own a star's disc can reach."""
    return int(stars.radius_px[k] / CELL_PX) + 1


def _connected(patches: NDArray[np.int32], near: Cells) -> Cells:
    """Return the cells of the patches that some of the near cells belong to."""
    found = np.zeros(patches.shape, np.bool_)
    # Usually one or two: comparing costs less than sorting all of them.
    for label in set(patches[near].tolist()) - {0}:
        found |= patches == label
    return found


def _grow(cells: Cells, steps: int) -> Cells:
    """Return cells grown by some steps, diagonal ones included."""
    grown = cells.copy()
    for _ in range(steps):
        before = grown.copy()
        grown[1:] |= before[:-1]
        grown[:-1] |= before[1:]
        before = grown.copy()
        grown[:, 1:] |= before[:, :-1]
        grown[:, :-1] |= before[:, 1:]
    return grown


def _cover(cores: _Cores, stars: PlacedStars) -> tuple[Cells, NDArray[np.intp]]:
    """Return the cells to empty, and the stars, not saturated themselves, that go with them.

    A star whose place is in a core, or whose light is in part beneath one, goes with all its light.
    Of one that only a spike crosses, the spike's own light is little: it stays as it is.
    """
    cut = cores.core.copy()
    left = np.setdiff1d(np.flatnonzero(stars.is_inside), cores.stars)
    covered: list[int] = []
    rows, columns = _cells(stars)
    for _ in range(_COVER_TURNS):
        # Beside the cut, as much as half of a star's light is beneath it.
        beside = _grow(cut, 1)[rows[left], columns[left]] & (stars.tmag[left] < _KEPT_MAG)
        hit = cut[rows[left], columns[left]] | beside
        if not hit.any():
            break
        found, left = left[hit].tolist(), left[~hit]
        covered += found
        for k in found:
            window, distance = _disc(stars, k, cut.shape, 1.0)
            cut[window] |= distance <= stars.radius_px[k] / CELL_PX
    spikes = cores.spikes.copy()
    for k in left[stars.tmag[left] < _KEPT_MAG] if spikes.any() else ():
        if not _near(spikes, *_cell(stars, int(k)), _reach_cells(stars, int(k))).any():
            continue
        window, distance = _disc(stars, int(k), cut.shape, 1.0)
        spikes[window] &= distance > stars.radius_px[k] / CELL_PX
    return cut | spikes, np.array(sorted(covered), np.intp)


def _moving(
    mask: NDArray[np.uint16],
    valid: NDArray[np.uint8],
    cut: Cells,
    taken: NDArray[np.intp],
    stars: PlacedStars,
) -> NDArray[np.intp]:
    """Return unsaturated stars that moved, where all cells around them are good."""
    spoilt = cut | ((mask & _SATURATED) != 0) | ((~valid & _present(valid)) != 0)
    moved = stars.is_inside & (stars.shift_arcsec > MOVED_ARCSEC)
    left = np.setdiff1d(np.flatnonzero(moved), taken)
    return np.array(
        [k for k in left if not _near(spoilt, *_cell(stars, int(k)), _STILL).any()], np.intp
    )


def _scale(
    composite: NDArray[np.float32],
    usable: Cells,
    stars: PlacedStars,
    scale_mag: float | None,
    *,
    needed: NDArray[np.intp],
) -> StarScale:
    """Return the scale, or say what to do where it can't be measured."""
    measured = measure_scale(
        composite,
        usable,
        places=(stars.x, stars.y),
        tmag=stars.tmag,
        colour=np.where(stars.tmag_error < 0.1, stars.colour, np.nan),
    )
    if scale_mag is not None:
        given = given_scale(scale_mag)
        if measured is None:
            return given
        return StarScale(
            given.offset_mag,
            given.error_mag,
            given.slope,
            given.pivot,
            measured.scatter_mag,
            0,
            measured.seeing_px2,
        )
    if measured is None and needed.size:
        raise RenderingError(
            f"{stars.skycell} has fewer than {MIN_CALIBRATORS} isolated, unsaturated catalogue "
            f"stars of T 14.5 to 17, so the flux of its {needed.size} saturated stars can't be "
            "scaled: give `star_scale` (AB less TESS magnitude, 0.36 to 0.44), a catalogue that "
            "reaches T 17, or `stars` none"
        )
    return measured or given_scale(0.4)


def _subtract_wings(light: NDArray[np.float32], cut: Cells, stars: PlacedStars, k: int) -> None:
    """Subtract the median of each ring around a star, less that of the last one, until it fades."""
    window, distance = _disc(stars, k, cut.shape, 1.0)
    rings = np.where(cut[window], -1, distance.astype(np.int64))
    last = int(stars.radius_px[k] / CELL_PX)
    subtract_rings(light, rings, (window[0].start, window[1].start), last)


def _put(
    planes: tuple[NDArray[np.float32], NDArray[np.uint8]],
    stars: PlacedStars,
    chosen: NDArray[np.intp],
    flux: Floats,
    scale: StarScale,
) -> None:
    """Add point sources to planes of light and flags."""
    added, flags = planes
    for k, f in zip(chosen.tolist(), flux.tolist(), strict=True):
        stamp = point_source(stars.x_then[k], stars.y_then[k], scale.seeing_px2)
        _add(added, stamp, f)
        bits = DataQuality.REPLACED_STAR
        if stars.shift_arcsec[k] > MOVED_ARCSEC:
            bits |= DataQuality.HIGH_PROPER_MOTION
        _flag(flags, stamp, bits)


def _add(plane: NDArray[np.float32], stamp: Stamp, flux: float) -> None:
    where, part = stamp.inside((plane.shape[0], plane.shape[1]))
    plane[where] += (flux * part).astype(np.float32)


def _flag(flags: NDArray[np.uint8], stamp: Stamp, bits: int) -> None:
    where, part = stamp.inside((flags.shape[0], flags.shape[1]))
    flags[where] |= np.where(part > 1e-3, bits, 0).astype(np.uint8)


def _move(
    planes: tuple[NDArray[np.float32], NDArray[np.uint8]],
    composite: NDArray[np.float32],
    stars: PlacedStars,
    chosen: NDArray[np.intp],
    scale: StarScale,
) -> Iterator[ReplacedStar]:
    """Move point sources of the flux that PS1 measured."""
    for k in chosen.tolist():
        now = point_source(stars.x[k], stars.y[k], scale.seeing_px2)
        where, part = now.inside(composite.shape)
        if not part.size:
            continue
        patch = composite[where].astype(np.float64)
        # Least squares of a star on a level: the moments of both.
        shape = part - part.mean()
        flux = float((shape * patch).sum() / (shape**2).sum())
        if flux <= 0:
            continue
        then = point_source(stars.x_then[k], stars.y_then[k], scale.seeing_px2)
        _add(planes[0], now, -flux)
        _add(planes[0], then, flux)
        for stamp in (now, then):
            _flag(planes[1], stamp, DataQuality.HIGH_PROPER_MOTION)
        yield stars.record(k, flux=flux, error=0.0, reason="moved")
