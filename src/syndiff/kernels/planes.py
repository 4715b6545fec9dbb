"""Passes over the planes of a template: made from what a scene's samples tell, and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from syndiff.kernels.compile import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Limits", "Sampled", "finish_noise", "finish_planes", "tally_pixels"]


class Sampled(NamedTuple):
    """A scene's values at pixels, all (ny, nx); light, noise and coverage are modified."""

    flux: NDArray[np.float32]
    variance: NDArray[np.float32]
    counted: NDArray[np.float32]
    flagged: NDArray[np.float32]
    coverage: NDArray[np.float32]
    faint: NDArray[np.float32]
    faint_error: NDArray[np.float32]


class Limits(NamedTuple):
    """Coverages below which a pixel is flagged, and the flags."""

    full: np.float32
    least: np.float32
    partial: np.int32
    nothing: np.int32


@njit(cache=True, nogil=True)
def finish_planes(
    sampled: Sampled,
    area: NDArray[np.float32],
    flags: NDArray[np.uint8],
    limits: Limits,
    out: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]],
) -> None:
    """Convert a scene's values at pixels to a template's planes.

    Parameters
    ----------
    sampled : Sampled
        Flux is multiplied by the area, variance becomes a standard deviation and so is it, faint
        light and its error are too; all are NaN where the coverage is below ``limits.least``.
        Coverage is clipped to 0 and 1.
    area : (ny, nx) float32
        Each pixel's area relative to the scene's.
    flags : (ny, nx) uint8
        The scene's flags.
    limits : Limits
        What coverage raises which flag.
    out : three (ny, nx) int32
        Set: counts and flagged counts, rounded half to even; flags.

    Notes
    -----
    A row after another, so that it stays in the cache; in loops over few arrays, of which the
    compiler makes vectors.
    """
    for j in range(area.shape[0]):
        covered, share = sampled.coverage[j], area[j]
        _flag_coverage(covered, flags[j], limits, out[2][j])
        _scale(sampled.flux[j], share, covered, limits.least)
        deviation = sampled.variance[j]
        for i in range(share.size):
            deviation[i] = np.sqrt(deviation[i])
        _scale(deviation, share, covered, limits.least)
        _scale(sampled.faint[j], share, covered, limits.least)
        _scale(sampled.faint_error[j], share, covered, limits.least)
        _round(sampled.counted[j], share, out[0][j])
        _round(sampled.flagged[j], share, out[1][j])


@njit(cache=True, nogil=True)
def finish_noise(
    sampled: tuple[NDArray[np.float32], NDArray[np.float32]],
    area: NDArray[np.float32],
    flags: NDArray[np.uint8],
    limits: Limits,
    out: tuple[NDArray[np.float32], NDArray[np.int32]],
) -> None:
    """Turn the noise that a scene tells of pixels into a template's, as `finish_planes` does.

    Parameters
    ----------
    sampled : two (ny, nx) float32
        Variance and coverage; the latter is clipped to 0 and 1.
    area, flags, limits
        As of `finish_planes`.
    out : (ny, nx) float32, (ny, nx) int32
        Set: standard deviations, NaN where the coverage is below ``limits.least``; flags.
    """
    variance, coverage = sampled
    for j in range(area.shape[0]):
        _flag_coverage(coverage[j], flags[j], limits, out[1][j])
        deviation = out[0][j]
        for i in range(deviation.size):
            deviation[i] = np.sqrt(variance[j, i])
        _scale(deviation, area[j], coverage[j], limits.least)


@njit(cache=True, nogil=True)
def _flag_coverage(
    coverage: NDArray[np.float32],
    flags: NDArray[np.uint8],
    limits: Limits,
    out: NDArray[np.int32],
) -> None:
    """Clip the coverage of a row and raise flags where it is low."""
    full, least, partial, nothing = limits
    for i in range(out.size):
        coverage[i] = min(max(coverage[i], np.float32(0)), np.float32(1))
    for i in range(out.size):
        low = partial if coverage[i] < full else np.int32(0)
        none = nothing if coverage[i] < least else np.int32(0)
        out[i] = np.int32(flags[i]) | low | none


@njit(cache=True, nogil=True)
def _scale(
    values: NDArray[np.float32],
    share: NDArray[np.float32],
    coverage: NDArray[np.float32],
    least: np.float32,
) -> None:
    """Multiply a row by shares; NaN where the coverage is low."""
    for i in range(values.size):
        values[i] = values[i] * share[i] if coverage[i] >= least else np.float32(np.nan)


@njit(cache=True, nogil=True)
def _round(values: NDArray[np.float32], share: NDArray[np.float32], out: NDArray[np.int32]) -> None:
    """Set a row to the rounded products of values and shares."""
    for i in range(out.size):
        out[i] = np.int32(np.rint(values[i] * share[i]))


@njit(cache=True, nogil=True)
def tally_pixels(
    flux: NDArray[np.float32],
    quality: NDArray[np.int32],
    inside: tuple[int, int, int, int],
    pixels: NDArray[np.int64],
) -> int:
    """Count the pixels that have each set of flags, and those that have a flux.

    Parameters
    ----------
    flux : (ny, nx) float32
        NaN where there is none.
    quality : (ny, nx) int32
        Flags, each below ``pixels.size``.
    inside : (int, int, int, int)
        First and one past the last row and column that are looked at.
    pixels : (n,) int64
        Added to.

    Returns
    -------
    int
        Pixels with a finite flux.
    """
    top, bottom, left, right = inside
    finite = 0
    for j in range(top, bottom):
        row, flags = flux[j], quality[j]
        for i in range(left, right):
            finite += np.isfinite(row[i])
        # Runs of equal flags, each counted when it ends.
        last, length = 0, 0
        for i in range(left, right):
            # Neighbours have the same flags mostly: a number that only grows needs no memory.
            if flags[i] != last:
                pixels[last] += length
                last, length = flags[i], 0
            length += 1
        pixels[last] += length
    return finite
