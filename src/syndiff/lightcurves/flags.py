"""Which frames of a series are not to be trusted: by their headers, and by what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from syndiff.constants import MAD_TO_SIGMA
from syndiff.lightcurves.frame_rows import STAMP_PX
from syndiff.masks import FrameFlag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["count_flags", "find_flags", "name_flags"]

_FILTER = 25
# Frames of a running median: slow changes are no jitter.
_SIGMAS = 6.0
_LEAST_JITTER_PX = 0.03
_LEAST_WIDENING_PX2 = 0.03
_LEAST_SCATTER = 1.2
_NOISY = 1.25
# Noise over that of the quiet half of the frames: a binned point gains little from such a frame.
_COSMIC_PULL = 6.0
_COSMIC_CHI2 = 3.0

_RING_PX = (2.5, 7.5)
_NEAR_PX = 4.0
_SEEN_SIGMAS = 6.0
_SPEEDS = 1.0, 150.0
# Pixels a day: 0.9" to 130" an hour.
_ON_TRACK_PX = 1.0
_LEAST_SEEN = 4
_MOST_SEEN = 400


def find_flags(rows: NDArray[np.void], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the flags of frames.

    Parameters
    ----------
    rows : (n,) structured array
        In the order of time, of one sector, camera and CCD.
    times : (n,) float64
        Days.

    Returns
    -------
    (n,) int64
        `FrameFlag` bits.
    """
    flags = rows["quality"].astype(np.int64)
    fitted = np.isfinite(rows["scale"])
    flags[~fitted] |= int(FrameFlag.NotFitted)
    flags[rows["dead"] > 0] |= int(FrameFlag.DeadPixels)
    flags[rows["saturated"] > 0] |= int(FrameFlag.SaturatedPixels)
    lost = fitted & ~np.isfinite(rows["flux"][:, 0])
    flags[lost & (flags == 0)] |= int(FrameFlag.NotFitted)
    jitter = _jitter(rows)
    for bit, seen in (
        (FrameFlag.Jitter, jitter),
        (FrameFlag.ScatteredLight, _scattered_light(rows)),
        # A smeared star fits no better than one with a cosmic ray.
        (FrameFlag.CosmicRay, _cosmic_ray(rows) & ~jitter),
        (FrameFlag.Asteroid, _asteroid(rows, times)),
    ):
        flags[seen] |= int(bit)
    return flags


def name_flags(value: int) -> str:
    """Return the names of flags, separated by commas.

    Parameters
    ----------
    value : int
        `FrameFlag` bits.

    Returns
    -------
    str
        Empty for 0.

    Examples
    --------
    >>> name_flags(32 + (1 << 21))
    'Desat,CosmicRay'
    """
    return ",".join(bit.name or "" for bit in FrameFlag if value & bit)


def count_flags(flags: NDArray[np.int64]) -> dict[str, int]:
    """Return how many frames have each flag.

    Parameters
    ----------
    flags : (n,) int64
        `FrameFlag` bits.

    Returns
    -------
    dict of str to int
        Names of those that occur.
    """
    counts = {bit.name or "": int(((flags & int(bit)) != 0).sum()) for bit in FrameFlag}
    return {name: count for name, count in counts.items() if count}


def _apart(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return values less their running median, and the robust spread of these."""
    from scipy.ndimage import median_filter

    known = np.isfinite(values)
    apart = np.zeros(values.shape)
    if known.sum() < 5:
        return apart, np.inf
    some = values[known]
    apart[known] = some - median_filter(some, min(_FILTER, some.size), mode="nearest")
    return apart, MAD_TO_SIGMA * float(np.median(np.abs(apart[known])))


def _jitter(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """Tell which frames the spacecraft was not steady in: shifted, smeared, or not to be fitted."""
    seen = np.zeros(len(rows), np.bool_)
    for k in (0, 1):
        apart, sigma = _apart(rows["shift"][:, k])
        seen |= np.abs(apart) > max(_SIGMAS * sigma, _LEAST_JITTER_PX)
    apart, sigma = _apart(rows["widening"][:, 0] + rows["widening"][:, 2])
    seen |= apart > max(_SIGMAS * sigma, _LEAST_WIDENING_PX2)
    apart, sigma = _apart(rows["scatter"])
    return np.asarray(seen | (apart > max(_SIGMAS * sigma, _LEAST_SCATTER - 1)), np.bool_)


def _scattered_light(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    noise = rows["sky_noise"]
    known: NDArray[np.bool_] = np.isfinite(noise)
    if not known.any():
        return known
    quiet = float(np.median(np.sort(noise[known])[: max(1, int(known.sum()) // 2)]))
    return np.asarray(np.nan_to_num(noise) > _NOISY * quiet)


def _cosmic_ray(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """Tell in which frames a pixel near the target stands out of those around and before."""
    worst, _ = _apart(rows["worst"][:, 0])
    chi2, sigma = _apart(rows["chi2"][:, 0])
    return np.asarray((worst > _COSMIC_PULL) | (chi2 > max(8 * sigma, _COSMIC_CHI2)))


def _asteroid(rows: NDArray[np.void], times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell in which frames something that moves is near the target.

    What stands out beside the target and not a day before or after, in four frames or more along a
    straight line, is on its way; where that line passes the target, it can't be seen itself.
    """
    flagged = np.zeros(len(rows), np.bool_)
    seen = np.array(list(_seen_beside(rows, times)))
    if not _LEAST_SEEN <= len(seen) <= _MOST_SEEN:
        return flagged
    for track, first, last in _tracks(seen):
        at = track[0] + np.outer(times, track[1])
        during = (times >= first) & (times <= last)
        flagged |= during & (np.hypot(*at.T) <= _NEAR_PX)
    return flagged


def _seen_beside(
    rows: NDArray[np.void], times: NDArray[np.float64]
) -> Iterator[tuple[float, float, float]]:
    """Yield time, x and y from the target of what stands out in a frame's difference."""
    from scipy.ndimage import gaussian_filter

    steps = np.arange(STAMP_PX) - STAMP_PX // 2
    distance = np.hypot(steps, steps[:, None])
    ring = (distance >= _RING_PX[0]) & (distance <= _RING_PX[1])
    stamps = rows["stamps"][:, 2].astype(float)
    day = np.floor(np.nan_to_num(times)).astype(int)
    for number in np.unique(day):
        mine = np.flatnonzero((day == number) & np.isfinite(stamps).any(axis=(1, 2)))
        if len(mine) < 5:
            continue
        light = gaussian_filter(np.nan_to_num(stamps[mine]), (0, 0.7, 0.7))
        light -= np.median(light, axis=0)
        # Beside bright stars more than noise changes.
        varying = MAD_TO_SIGMA * np.median(np.abs(light), axis=0)
        noise = MAD_TO_SIGMA * np.median(np.abs(light[:, ring]), axis=1)
        for k, image, sigma in zip(mine, light, noise, strict=True):
            pull = np.where(ring, image, -np.inf) / np.maximum(np.maximum(varying, sigma), 1e-12)
            row, column = np.unravel_index(int(np.argmax(pull)), pull.shape)
            if pull[row, column] > _SEEN_SIGMAS:
                yield float(times[k]), float(steps[column]), float(steps[row])


def _tracks(
    seen: NDArray[np.float64],
) -> Iterator[tuple[tuple[NDArray[np.float64], NDArray[np.float64]], float, float]]:
    """Yield straight lines that four or more detections lie on: place at time 0, speed, times."""
    left = seen
    while len(left) >= _LEAST_SEEN:
        best = np.zeros(len(left), np.bool_)
        for i, start in enumerate(left):
            ends = left[i + 1 :]
            for end in ends[(ends[:, 0] > start[0]) & (ends[:, 0] < start[0] + 1)]:
                speed = (end[1:] - start[1:]) / (end[0] - start[0])
                if not _SPEEDS[0] <= np.hypot(*speed) <= _SPEEDS[1]:
                    continue
                away = left[:, 1:] - start[1:] - np.outer(left[:, 0] - start[0], speed)
                on = (np.hypot(*away.T) <= _ON_TRACK_PX) & (np.abs(left[:, 0] - start[0]) < 1.5)
                if on.sum() > best.sum():
                    best = on
        if best.sum() < _LEAST_SEEN:
            return
        mine = left[best]
        middle = mine[:, 0].mean()
        terms = np.column_stack([np.ones(len(mine)), mine[:, 0] - middle])
        (at, speed), *_ = np.linalg.lstsq(terms, mine[:, 1:], rcond=None)
        margin = 3.0 / max(float(np.hypot(*speed)), 1e-6)
        yield (at - speed * middle, speed), mine[:, 0].min() - margin, mine[:, 0].max() + margin
        left = left[~best]
