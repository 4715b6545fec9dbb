"""Detection of light in a skycell: background levels, a matched filter or SEP."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from syndiff.config import BAND_WEIGHTS, BANDS, DETECTION_SIGMA
from syndiff.constants import MAD_TO_SIGMA
from syndiff.errors import RenderingError
from syndiff.kernels import detect
from syndiff.settings import Settings
from syndiff.stacks.extended import (
    WIDE_CELLS,
    find_extended,
    grow_extended,
    level_beneath,
    mean_around,
)

__all__ = ["CellSums", "Detection", "detect_light"]

MESH_CELLS = 64
"""Mesh of the level, in cells of 1"."""

_FEWEST_SAMPLES = 32
"""Cells below which a mesh cell takes its neighbours' level: the median errs by 0.2 sigma then."""

_THINNED = 128
"""Cells along a side from which levels and scatter are measured on every second to fourth one."""

_NOISE_FREE = 0.1
"""Scatter of signal-to-noise below which an image can't have the noise that its variance states.

Real stacks show 1.4 to 1.8. Rounding and the far wings of stars leave less than this in a
simulation without noise, in which everything that isn't level is light.
"""

_MOST_TURNS = 5
"""Most iterations of level and detection: a crowded field needs them all, an empty one two."""

_SETTLED = 0.94
"""Ratio of the scatter to the last iteration's above which the iteration has converged."""

_SEP_MINAREA = 3
"""Cells that SEP wants connected, so that lone noise peaks don't count."""


@dataclass(frozen=True, eq=False)
class CellSums:
    """One band's sums of 1" cells.

    Parameters
    ----------
    flux : (ncy, ncx) float32
        Flux of contributing pixels.
    variance : (ncy, ncx) float32
        Variance of contributing pixels.
    count : (ncy, ncx) uint8
        Contributing pixels, 0 to 16.
    """

    flux: NDArray[np.float32]
    variance: NDArray[np.float32]
    count: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Detection:
    """Where light is, and the background beneath it.

    Parameters
    ----------
    detected : (ncy, ncx) uint8
        1 where a 1" cell holds light, 2 where that light is extended.
    levels : tuple of (my, mx) float32
        Level per PS1 pixel of each band on the 64" mesh; finite.
    pedestals : tuple of (my, mx) float32
        What undetected light adds to it around extended light, as levels.
    noise_correlation : float
        How much larger the noise of sums is than its variance plane says.
    """

    detected: NDArray[np.uint8]
    levels: tuple[NDArray[np.float32], ...]
    pedestals: tuple[NDArray[np.float32], ...]
    noise_correlation: float


def detect_light(
    sums: dict[str, CellSums],
    *,
    settings: Settings,
    saturated: NDArray[np.bool_] | None = None,
    name: str = "skycell",
) -> Detection:
    """Find the cells that hold light in the weighted sum of the bands.

    Parameters
    ----------
    sums : dict of str to CellSums
        The bands present.
    settings : Settings
        Method.
    saturated : (n8y, n8x) bool, optional
        8" cells in which PS1 saturates: the scattered light of stars is not extended light.
    name : str
        The skycell, for messages.

    Returns
    -------
    Detection
        The cells, the levels beneath them and the noise's correlation.

    Raises
    ------
    RenderingError
        If SEP's buffers overflow.
    """
    sky = _Sky.of(sums)
    sky.settle(DETECTION_SIGMA)
    if sky.threshold:
        sky.widen(DETECTION_SIGMA, saturated)
        if settings.detection == "sep":
            sky.compact = _mark_with_sep(sky, name)
    detected = sky.detected()
    noise = _noise_correlation(sky.residual, sky.variance, detected, sky.scatter)
    return Detection(detected, sky.levels, sky.pedestals(), noise)


@dataclass(eq=False)
class _Sky:
    """State of a skycell while light and background level are separated."""

    sums: dict[str, CellSums]
    variance: NDArray[np.float32]
    """Of the weighted sum of the bands."""
    residual: NDArray[np.float32]
    """That sum above the level."""
    ratio: NDArray[np.float32]
    """Its signal-to-noise."""
    compact: NDArray[np.uint8]
    """1 where the filter of 1" cells finds light."""
    wide: NDArray[np.bool_]
    """Where light is extended, on 8" cells."""
    levels: tuple[NDArray[np.float32], ...]
    scatter: float = np.inf
    """Of the signal-to-noise of cells without detected light."""
    threshold: float = 0.0
    """Signal-to-noise from which a cell holds light; 0: all that isn't level is light."""

    @classmethod
    def of(cls, sums: dict[str, CellSums]) -> "_Sky":
        """Return the state before the first iteration."""
        variance = _combined_variance(sums)
        empty = np.empty_like(variance)
        return cls(
            sums,
            variance,
            empty,
            np.empty_like(variance),
            np.zeros(variance.shape, np.uint8),
            np.zeros([-(-side // WIDE_CELLS) for side in variance.shape], bool),
            tuple(np.zeros(_mesh_shape(variance.shape), np.float32) for _ in sums),
        )

    @property
    def is_thinned(self) -> bool:
        """Whether there are enough cells to measure on a subset."""
        return bool(min(self.variance.shape) >= _THINNED)

    def detected(self) -> NDArray[np.uint8]:
        """Return `Detection.detected`."""
        detected = self.compact.copy()
        detect.mark_wide(self.wide.view(np.uint8), self.variance, detected)
        return detected

    def settle(self, sigmas: float) -> None:
        """Find levels and light by iteration, beginning with no light detected."""
        for turn in range(_MOST_TURNS):
            before = self.scatter
            self.look(sigmas, step=2 if turn else 4)
            if turn and self.scatter > _SETTLED * before:
                return

    def look(self, sigmas: float, *, step: int) -> None:
        """Measure the levels outside of detected light, and detect light above them."""
        detected = self.detected()
        self.levels = tuple(
            _measure_level(
                cells, detected, self.wide, step=step if self.is_thinned else 1, fallback=level
            )
            for cells, level in zip(self.sums.values(), self.levels, strict=True)
        )
        self.residual = _combined_residual(self.sums, self.levels)
        detect.matched_filter(self.residual, self.variance, self.ratio)
        sample = np.s_[::3, ::3] if self.is_thinned else np.s_[:]
        self.scatter = _scatter(self.ratio[sample][detected[sample] == 0], self.scatter)
        self.threshold = sigmas * self.scatter if self.scatter > _NOISE_FREE else 0.0
        self.compact = _mark(self.ratio, self.threshold)

    def widen(self, sigmas: float, saturated: NDArray[np.bool_] | None) -> None:
        """Detect extended light until the level measured around it shows no more of it."""
        seen = np.zeros_like(self.wide)
        for _ in range(_MOST_TURNS):
            seen |= find_extended(self.residual, self.variance, self.detected(), self.compact)
            before = self.wide
            self.wide = grow_extended(seen, before & False if saturated is None else saturated)
            if not (self.wide & ~before).any():
                return
            self.look(sigmas, step=2)

    def pedestals(self) -> tuple[NDArray[np.float32], ...]:
        """Return `Detection.pedestals`."""
        if not self.wide.any():
            return tuple(np.zeros_like(level) for level in self.levels)
        detected = self.detected()
        return tuple(
            _measure_pedestal(cells, detected, level)
            for cells, level in zip(self.sums.values(), self.levels, strict=True)
        )


def _mesh_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the mesh cells that cover `shape` cells of 1"."""
    return -(-shape[0] // MESH_CELLS), -(-shape[1] // MESH_CELLS)


def _weights(bands: dict[str, CellSums]) -> dict[str, np.float32]:
    """Return the weights of the bands present, with unit sum."""
    weights = {band: BAND_WEIGHTS[BANDS.index(band)] for band in bands}
    total = sum(weights.values())
    return {band: np.float32(weight / total) for band, weight in weights.items()}


def _combined_variance(sums: dict[str, CellSums]) -> NDArray[np.float32]:
    """Return the variance of the weighted sum of the bands; 0 where none has data."""
    weights = _weights(sums)
    total = np.zeros_like(next(iter(sums.values())).variance)
    for band, cells in sums.items():
        total += weights[band] ** 2 * cells.variance
    return total


def _combined_residual(
    sums: dict[str, CellSums], levels: tuple[NDArray[np.float32], ...]
) -> NDArray[np.float32]:
    """Return the weighted sum of the bands, each above its own level."""
    weights = _weights(sums)
    total = np.zeros_like(next(iter(sums.values())).flux)
    for (band, cells), level in zip(sums.items(), levels, strict=True):
        detect.add_residual(cells.flux, cells.count, level, weights[band], total)
    return total


def _measure_level(
    cells: CellSums,
    detected: NDArray[np.uint8],
    wide: NDArray[np.bool_],
    *,
    step: int,
    fallback: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return a band's level per PS1 pixel on the 64" mesh: 3x3 medians of medians.

    Medians are of complete cells where `detected` is 0, in every `step`-th row and column. Mesh
    cells with too few take the nearest level, those in extended light (`wide`, 8" cells) the level
    around it; `fallback` is returned if all have too few.
    """
    from scipy.ndimage import distance_transform_edt

    medians, samples = np.empty_like(fallback), np.empty(fallback.shape, np.int32)
    detect.mesh_medians(cells.flux, cells.count, detected, step, _FEWEST_SAMPLES, medians, samples)
    if np.isnan(medians).all():
        return fallback
    nearest = distance_transform_edt(np.isnan(medians), return_distances=False, return_indices=True)
    filled = medians[tuple(nearest)]
    windows = sliding_window_view(np.pad(filled, 1, mode="symmetric"), (3, 3))
    level = np.ascontiguousarray(np.median(windows, axis=(2, 3)), dtype=np.float32)
    return level_beneath(level, medians, samples, wide)


def _measure_pedestal(
    cells: CellSums, detected: NDArray[np.uint8], level: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return a band's mean undetected light around, per PS1 pixel, on the mesh."""
    sums, counts = np.zeros(level.shape), np.zeros(level.shape)
    detect.mesh_sums(cells.flux, cells.count, detected, level, sums, counts)
    return mean_around(sums, counts)


def _scatter(values: NDArray[np.float32], fallback: float) -> float:
    """Return the robust standard deviation (1.4826 MAD) of what isn't NaN."""
    values = values[~np.isnan(values)]
    if values.size < _FEWEST_SAMPLES:
        return fallback
    middle = detect.median(values.copy())
    return MAD_TO_SIGMA * float(detect.median(np.abs(values - middle)))


def _mark(ratio: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """Return the cells around signal-to-noise beyond `threshold`; all that isn't level at 0.

    On both sides: peaks of the noise alone would leave a pedestal of 0.4 times the uncertainty of
    an empty TESS pixel, peaks and troughs together leave none.
    """
    if threshold:
        limit = np.float32(threshold)
        return _grown(((ratio > limit) | (ratio < -limit)).view(np.uint8), ratio, threshold)
    return (np.abs(ratio) > 0).view(np.uint8)


def _grown(
    marked: NDArray[np.uint8], ratio: NDArray[np.float32], threshold: float
) -> NDArray[np.uint8]:
    """Return `marked` grown by one cell, by two around what is twice above the threshold.

    The second ring brings what is kept of a star of magnitude 20.5 from 98.8 to 99.5 %; around
    every marked cell it would bring 99.6 %, for half as many cells again.
    """
    grown = np.empty_like(marked)
    detect.grow(marked & (ratio > np.float32(2 * threshold)).view(np.uint8), grown)
    marked = marked | grown
    detect.grow(marked, grown)
    # cells without data are NaN
    grown &= (~np.isnan(ratio)).view(np.uint8)
    return grown


def _mark_with_sep(sky: _Sky, name: str) -> NDArray[np.uint8]:
    """Return the cells of SEP's segmentation map, grown; raise if SEP's buffers overflow."""
    import sep

    empty = sky.variance <= 0
    sep.set_extract_pixstack(max(sep.get_extract_pixstack(), empty.size))
    sep.set_sub_object_limit(max(sep.get_sub_object_limit(), 65536))
    try:
        _, segments = sep.extract(
            sky.residual,
            sky.threshold,
            var=np.where(empty, np.float32(1), sky.variance),
            mask=empty,
            minarea=_SEP_MINAREA,
            deblend_nthresh=1,
            deblend_cont=1.0,
            clean=False,
            segmentation_map=True,
        )
    except Exception as error:  # sep raises nothing narrower
        raise RenderingError(
            f"{name}: SEP could not extract its light ({error}); "
            "use the reduction 'matched', which has no such limit"
        ) from error
    return _grown((segments > 0).view(np.uint8), sky.ratio, sky.threshold)


def _noise_correlation(
    residual: NDArray[np.float32],
    variance: NDArray[np.float32],
    detected: NDArray[np.uint8],
    fallback: float,
) -> float:
    """Return the noise of large sums over that from their variance; 1 for no noise.

    Measured on undetected 1" cells; `fallback` if there are too few.

    Noise that is correlated over a few pixels only makes sums over n x n pixels ``F(n)`` times
    noisier, with ``F(n)^2 = F^2 - a / n + O(1 / n^2)``. From n = 4 and 8 it follows that
    ``F^2 = 2 F(8)^2 - F(4)^2``: within 2 % for kernels of 2 to 5 pixels, where F(4) is 10 to 17 %
    low. Larger boxes would need no such step, but hold more of the light below the threshold: in a
    crowded field it counts as noise (4 % more at four times the density of high latitudes, 20 % at
    sixteen times).
    """
    sums, variances, lit = (_quartets(plane) for plane in (residual, variance, detected))
    dark = functools.reduce(
        np.logical_and,
        [(is_lit == 0) & (v > 0) for is_lit, v in zip(lit, variances, strict=True)],
    )
    if np.count_nonzero(dark) < _FEWEST_SAMPLES:
        return fallback if _NOISE_FREE < fallback < np.inf else 1.0
    s, v = ([cells[dark] for cells in quartet] for quartet in (sums, variances))
    cells = s[0] / np.sqrt(v[0])
    blocks = (s[0] + s[1] + s[2] + s[3]) / np.sqrt(v[0] + v[1] + v[2] + v[3])
    fine, coarse = _scatter(cells, 1.0), _scatter(blocks, 1.0)
    factor = float(np.sqrt(max(2 * coarse**2 - fine**2, coarse**2)))
    return factor if factor > _NOISE_FREE else 1.0


def _quartets(plane: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the four cells of blocks of 2x2, as a plane each, of every second row of blocks."""
    rows, columns = (size - size % 2 for size in plane.shape)
    return [plane[j:rows:4, i:columns:2] for j in (0, 1) for i in (0, 1)]
