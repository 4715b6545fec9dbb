"""Forced photometry: how much light of a point source a difference has at known places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.lightcurves.point_response import HALF_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.lightcurves.frame_fit import FrameFit
    from syndiff.lightcurves.point_response import PointResponse

__all__ = ["APART_PX", "RADIUS_PX", "Measured", "measure", "place_in_frame", "weights_at"]

RADIUS_PX = 4.0
"""Pixels within this of a star tell its flux."""

APART_PX = 5.5
"""Pixels within this of the target take no part in fits: a hundredth of its light at most is
beyond."""

_LEAST_LIGHT = 0.7
# Part of the weight of a star's pixels that must be known.


@dataclass(frozen=True)
class Measured:
    """The flux of one place in one frame.

    Parameters
    ----------
    flux : float
        Electrons per second beyond the template; NaN where too few pixels are known.
    noise, error : float
        Standard deviation by the noise of its pixels alone, and with what the fit errs by.
    chi2 : float
        Of its pixels, per degree of freedom.
    worst : float
        Largest pull of a pixel within 2.5 px of the place.
    """

    flux: float
    noise: float
    error: float
    chi2: float
    worst: float


_UNKNOWN = Measured(np.nan, np.nan, np.nan, np.nan, np.nan)


def place_in_frame(fit: FrameFit, place: tuple[float, float]) -> tuple[float, float]:
    """Return where a place of the reference FFI is in a frame.

    Parameters
    ----------
    fit : FrameFit
        Tells where sources stand.
    place : (float, float)
        x and y, FFI pixels of the reference.

    Returns
    -------
    (float, float)
        x and y, FFI pixels of the frame.
    """
    x, y = place
    at = np.array([x]), np.array([y])
    for _ in range(3):
        dx, dy = fit.displacement(*at)
        at = x + dx, y + dy
    return float(at[0][0]), float(at[1][0])


def weights_at(
    response: PointResponse,
    place: tuple[float, float],
    widening: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> tuple[tuple[slice, slice], NDArray[np.float64], NDArray[np.float64]] | None:
    """Return how a star's flux is summed from the pixels around a place.

    Parameters
    ----------
    response : PointResponse
        The star's light.
    place : (float, float)
        x and y, pixels of the window.
    widening : (3,) float64
        Of the frame's response.
    noise : (ny, nx) float64
        Standard deviation of pixels; NaN where unknown.

    Returns
    -------
    tuple or None
        Rows and columns, each pixel's factor and the star's light of flux 1; None where too few
        pixels are known.
    """
    column, row = (round(v) for v in place)
    ny, nx = noise.shape
    if not (HALF_PX <= column < nx - HALF_PX and HALF_PX <= row < ny - HALF_PX):
        return None
    beside = place[0] - column, place[1] - row
    light = response.stamp(beside, widening)
    box = (
        slice(row - HALF_PX, row + HALF_PX + 1),
        slice(column - HALF_PX, column + HALF_PX + 1),
    )
    steps = np.arange(-HALF_PX, HALF_PX + 1)
    inside = np.hypot(steps - beside[0], (steps - beside[1])[:, None]) <= RADIUS_PX
    known = inside & np.isfinite(noise[box])
    if (light[known] ** 2).sum() < _LEAST_LIGHT * (light[inside] ** 2).sum():
        return None
    factors = np.where(known, light / np.where(known, noise[box], 1.0) ** 2, 0.0)
    return box, factors / (factors * light).sum(), light


def measure(
    fit: FrameFit,
    noise: NDArray[np.float64],
    response: PointResponse,
    place: tuple[float, float],
    *,
    is_apart: bool,
) -> Measured:
    """Measure the flux at a place.

    Parameters
    ----------
    fit : FrameFit
        The frame less its template.
    noise : (ny, nx) float64
        Standard deviation of its pixels; NaN where they can't be trusted.
    response : PointResponse
        Of that place.
    place : (float, float)
        x and y, pixels of the window.
    is_apart : bool
        Whether its pixels took no part in the fit: then the fit's error adds to that of the
        pixels, else it takes away from it.

    Returns
    -------
    Measured
        The flux.
    """
    known = np.where(np.isfinite(fit.residual), noise, np.nan)
    found = weights_at(response, place, fit.widening, known)
    if found is None:
        return _UNKNOWN
    box, factors, light = found
    left, sigma = np.nan_to_num(fit.residual[box]), known[box]
    flux = float((factors * left).sum())
    with np.errstate(invalid="ignore"):
        variance = float(np.nansum((factors * sigma) ** 2))
    taken = np.nan_to_num(fit.columns[:, box[0], box[1]]).reshape(len(fit.columns), -1)
    through = taken @ factors.ravel()
    fitted = float(through @ fit.covariance @ through)
    pulls = np.where(factors > 0, (left - flux * light) / sigma, np.nan)
    steps = np.arange(-HALF_PX, HALF_PX + 1)
    near = np.hypot(steps, steps[:, None]) <= 2.5
    freedom = int(np.isfinite(pulls).sum()) - 1
    return Measured(
        flux=flux,
        noise=variance**0.5,
        error=(variance + (fitted if is_apart else -min(fitted, 0.5 * variance))) ** 0.5,
        chi2=float(np.nansum(pulls**2)) / max(freedom, 1),
        worst=float(np.nanmax(pulls[near], initial=-np.inf)),
    )
