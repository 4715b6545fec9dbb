"""What a difference image leaves of each star."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import TESS_ZERO_POINT
from syndiff.differences.peaks import find_peaks
from syndiff.kernels.stars import measure_boxes
from syndiff.kernels.widen import widen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.differences.scaled import Difference

__all__ = ["StarResiduals", "find_stars", "measure_residuals"]

_HALF_BOX = 2
_RING = 6
_NEAR_PX = 4.5
_NEAR_PART = 0.1
_FAR_PX = 9.0
_FAR_PART = 5.0
# A neighbour of a tenth of the height so near makes a star one that doesn't stand alone; of 5 times
# the height, twice as far: wings and what is left of them.
_LEAST_SIGMA = 10.0


@dataclass(frozen=True)
class StarResiduals:
    """Stars and what a difference leaves of them; one value a star.

    Parameters
    ----------
    x, y : (n,) float64
        Places in the window, pixels.
    flux : (n,) float64
        Of the model in 5 x 5 pixels over its surroundings, in the image's unit.
    aperture, aperture_error : (n,) float64
        Sum of the difference in those pixels over `flux`, and its standard deviation.
    peak, peak_error : (n,) float64
        Largest magnitude of the difference in any of them over the model's brightest pixel, and
        the noise of one pixel over that.
    isolated, flagged : (n,) bool
        Whether no other star of a tenth of the height lies within 4.5 px, and none of 5 times the
        height within 9 px; whether one of the pixels is flagged or unknown.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    aperture: NDArray[np.float64]
    aperture_error: NDArray[np.float64]
    peak: NDArray[np.float64]
    peak_error: NDArray[np.float64]
    isolated: NDArray[np.bool_]
    flagged: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def mag(self) -> NDArray[np.float64]:
        """TESS magnitudes of the model's fluxes, where the image is in e-/s."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(TESS_ZERO_POINT - 2.5 * np.log10(self.flux))

    def clean(self, bright: float, faint: float) -> NDArray[np.bool_]:
        """Tell which stars of some magnitudes stand alone and are not flagged.

        Parameters
        ----------
        bright, faint : float
            TESS magnitudes.

        Returns
        -------
        (n,) bool
            True for those.
        """
        return np.asarray(self.isolated & ~self.flagged & (self.mag >= bright) & (self.mag < faint))


def find_stars(
    difference: Difference, noise: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the subtracted model has stars.

    Parameters
    ----------
    difference : Difference
        The difference.
    noise : (ny, nx) float64
        Its standard deviation.

    Returns
    -------
    x, y : (n,) float64
        Local maxima that stand out by 10 sigma, the brightest first.
    """
    inside = np.isfinite(noise)
    peaks = find_peaks(difference.model, _LEAST_SIGMA * np.where(inside, noise, 0), inside)
    return peaks.x, peaks.y


def measure_residuals(
    difference: Difference,
    noise: NDArray[np.float64],
    flagged: NDArray[np.bool_],
    stars: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> StarResiduals:
    """Measure what a difference leaves of stars.

    Parameters
    ----------
    difference : Difference
        The difference.
    noise : (ny, nx) float64
        Its standard deviation.
    flagged : (ny, nx) bool
        Pixels that can't be trusted.
    stars : pair of (n,) float64
        x and y of the stars, pixels of the window.

    Returns
    -------
    StarResiduals
        Of the stars whose 13 x 13 pixels lie in the window; the others are left out.
    """
    ny, nx = noise.shape
    x, y = (np.asarray(v, float) for v in stars)
    inside = (x >= _RING) & (x <= nx - 1 - _RING) & (y >= _RING) & (y <= ny - 1 - _RING)
    x, y = x[inside], y[inside]
    pixels = np.rint(y).astype(np.int64), np.rint(x).astype(np.int64)
    measured = np.empty((len(x), 5))
    measure_boxes(difference.image, difference.model, noise, pixels, measured)
    flux, aperture, aperture_error, peak, peak_error = measured.T
    spoilt = widen(flagged | ~np.isfinite(difference.image), _HALF_BOX, _HALF_BOX)
    return StarResiduals(
        x,
        y,
        flux,
        aperture,
        aperture_error,
        peak,
        peak_error,
        isolated=_stand_alone(difference, noise, x, y),
        flagged=spoilt[pixels],
    )


def _stand_alone(
    difference: Difference,
    noise: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Tell at which places there is a maximum of the model, and no other of some height near it.

    Of several places around one maximum, the closest has it: the others stand in its light.
    """
    from scipy.spatial import cKDTree

    inside = np.isfinite(noise)
    peaks = find_peaks(difference.model, np.where(inside, noise, 0), inside)
    if not len(peaks):
        return np.zeros(len(x), np.bool_)
    alone = peaks.alone(_NEAR_PX, _NEAR_PART) & peaks.alone(_FAR_PX, _FAR_PART)
    distance, nearest = cKDTree(np.column_stack([peaks.x, peaks.y])).query(np.column_stack([x, y]))
    closest = np.full(len(peaks), np.inf)
    np.minimum.at(closest, nearest, distance)
    return np.asarray((distance < 1.0) & alone[nearest] & (distance == closest[nearest]))
