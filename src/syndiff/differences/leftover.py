"""How much of stars' light a difference leaves: whether template and FFI have one response."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.differences.peaks import find_peaks
from syndiff.kernels.stars import sum_boxes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NOTHING_LEFT", "Leftover", "measure_leftover"]

_STAR_SIGMA = 50.0
# Height of a star over its noise from which a single one tells 0.04 of its norm.


@dataclass(frozen=True)
class Leftover:
    """What is left of stars.

    Parameters
    ----------
    part : float
        Norm of the difference over that of the model in 5 x 5 pixels around a star, noise taken
        out, median of the stars; 0 if there is none.
    stars : int
        How many.
    effective : float
        How many equal stars tell a scale as well: the brightest count most. At least 1.
    """

    part: float
    stars: int
    effective: float = 1.0

    def misses(self, flux_error: float) -> float:
        """Return by which part a scale fitted to these stars may be wrong beyond their noise.

        Parameters
        ----------
        flux_error : float
            Part by which each star's flux in the template errs.

        Returns
        -------
        float
            A response that leaves a part of each star may be wrong by as much in the rest of its
            light; and the stars' own errors, averaged.
        """
        return math.hypot(self.part, flux_error / math.sqrt(self.effective))


NOTHING_LEFT = Leftover(0.0, 0)


def measure_leftover(
    image: NDArray[np.floating],
    model: NDArray[np.floating],
    noise: NDArray[np.floating],
    good: NDArray[np.bool_],
) -> Leftover:
    """Return what a difference leaves of the stars that stand out.

    Parameters
    ----------
    image, model, noise : (ny, nx) float
        Difference, what was subtracted, and the difference's standard deviation.
    good : (ny, nx) bool
        Pixels that count; a star with another one in its box doesn't.

    Returns
    -------
    Leftover
        The median over stars, so that a variable one or a wrong flux doesn't matter.
    """
    known = good & np.isfinite(model)
    if not known.any():
        return NOTHING_LEFT
    peaks = find_peaks(np.where(known, model, np.nan), _STAR_SIGMA * noise, good)
    level = float(np.median(model[known]))
    sums = np.empty((len(peaks), 3))
    sum_boxes(image, model, noise, known, (peaks.row, peaks.column), level, sums)
    left, light, weights = sums[np.isfinite(sums).all(1)].T
    if not left.size:
        return NOTHING_LEFT
    part = math.sqrt(max(0.0, float(np.median(left / light))))
    return Leftover(part, left.size, float(weights.sum() ** 2 / np.square(weights).sum()))
