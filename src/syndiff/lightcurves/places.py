"""Where else to measure: places without a source, and stars that stand alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.differences.peaks import find_peaks
from syndiff.lightcurves.point_response import HALF_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Comparison", "choose_places"]

MOST_BLANK = 24
"""Places without a source: their fluxes tell errors to 1 % of 5,000 frames."""

MOST_STARS = 12

_APART_PX = 4.0
# Of each other: their pixels' noise is then nearly independent.
_FROM_TARGET_PX = 9.0
_STAR_SIGMA = 8.0
_WHOLE_PX = 5
# Usable pixels keep 3 px away from spoilt ones already.
_ALONE_PX = 4.5
_ALONE_PART = 0.3


@dataclass(frozen=True, eq=False)
class Comparison:
    """Places measured as the target is; x and y are pixels of the window.

    Parameters
    ----------
    blank : (n, 2) float64
        Without a source.
    stars : (m, 2) float64
        Where stars stand.
    star_flux : (m,) float64
        Their light in the template, in the template's unit.
    """

    blank: NDArray[np.float64]
    stars: NDArray[np.float64]
    star_flux: NDArray[np.float64]


def choose_places(
    model: NDArray[np.float64],
    noise: NDArray[np.float64],
    usable: NDArray[np.bool_],
    target: tuple[float, float],
    peak_light: float,
) -> Comparison:
    """Choose places for comparison in a field.

    Parameters
    ----------
    model, noise : (ny, nx) float64
        The template as a frame has it, and the frame's noise.
    usable : (ny, nx) bool
        Pixels whose light is right.
    target : (float, float)
        x and y in the window; places keep away from it.
    peak_light : float
        Part of a star's light in the pixel that it is centred on.

    Returns
    -------
    Comparison
        Blank places where the template has least light (the darkest half of the field at most),
        and stars of all magnitudes.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    ny, nx = model.shape
    y, x = np.mgrid[:ny, :nx]
    margin = HALF_PX + 1
    inside = (x >= margin) & (x < nx - margin) & (y >= margin) & (y < ny - margin)
    inside &= np.hypot(x - target[0], y - target[1]) > _FROM_TARGET_PX
    whole = minimum_filter(usable, size=_WHOLE_PX)
    free = inside & whole & np.isfinite(model)
    brightest = maximum_filter(np.where(np.isfinite(model), model, np.inf), size=5)
    level = float(np.median(model[free])) if free.any() else 0.0
    blank = _apart(np.where(free & (model <= level), brightest, np.inf), MOST_BLANK)
    peaks = find_peaks(model, _STAR_SIGMA * noise, free)
    alone = peaks.alone(_ALONE_PX, _ALONE_PART)
    stars = np.column_stack([peaks.x, peaks.y])[alone]
    flux = peaks.height[alone] / peak_light
    chosen = np.unique(np.linspace(0, len(flux) - 1, min(MOST_STARS, len(flux))).astype(int))
    return Comparison(blank, stars[chosen], flux[chosen])


def _apart(light: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Return the darkest places, one after another, each apart from those before."""
    found: list[tuple[float, float]] = []
    ny, nx = light.shape
    y, x = np.mgrid[:ny, :nx]
    left = light.copy()
    while len(found) < most and np.isfinite(left).any():
        row, column = np.unravel_index(int(np.argmin(left)), left.shape)
        found.append((float(column), float(row)))
        left[np.hypot(x - column, y - row) < _APART_PX] = np.inf
    return np.reshape(np.array(found, float), (-1, 2))
