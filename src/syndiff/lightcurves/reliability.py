"""How far errors can be believed: blank places and stars, measured as the target is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.constants import MAD_TO_SIGMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Reliability", "judge"]

_OUTLYING = 5.0
_LIKE_MAG = 1.5
_LEAST_STARS = 3
_LEAST_FRAMES = 5


@dataclass(frozen=True)
class Reliability:
    """What blank places and stars of the same frames say of errors.

    Parameters
    ----------
    places : int
        Blank places.
    mean, mean_error : float
        Their mean flux, e-/s, and its standard deviation by how they differ.
    spread : float
        By how much the places' own mean fluxes differ, noise taken out, e-/s: how far a constant of
        the template may be wrong at any place.
    chi2 : float
        Of their fluxes about their means by the errors, per degree of freedom.
    scatter : float
        Standard deviation about the means over what the pixels' noise allows.
    stars : int
        Stars like the target at its brightest.
    star_spread : float
        Part of their flux by which they scatter beyond their errors, median.
    star_left : float
        Part of their flux that is left of them on average, root mean square.
    """

    places: int
    mean: float
    mean_error: float
    spread: float
    chi2: float
    scatter: float
    stars: int
    star_spread: float
    star_left: float

    @property
    def factor(self) -> float:
        """By which errors of fluxes near zero are multiplied; at least 1."""
        return float(np.sqrt(max(1.0, self.chi2))) if np.isfinite(self.chi2) else 1.0

    def error(self, flux: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return errors that hold what places and stars show.

        Parameters
        ----------
        flux, error : (n,) float64
            Fluxes and their errors as fitted.

        Returns
        -------
        (n,) float64
            ``sqrt((factor * error)**2 + (star_spread * flux)**2)``.
        """
        part = self.star_spread if np.isfinite(self.star_spread) else 0.0
        return np.hypot(self.factor * error, part * np.maximum(flux, 0))


def judge(
    rows: NDArray[np.void],
    good: NDArray[np.bool_],
    *,
    blank: int,
    star_flux: NDArray[np.float64],
) -> Reliability:
    """Return what blank places and stars say of errors.

    Parameters
    ----------
    rows : (n,) structured array
        Frames: the target, then blank places, then stars.
    good : (n,) bool
        Frames without flags.
    blank : int
        How many blank places.
    star_flux : (m,) float64
        The stars' fluxes in the template, in e-/s.

    Returns
    -------
    Reliability
        NaN where there are too few places or frames.
    """
    some = rows[good]
    flux, error, noise = (some[name] for name in ("flux", "error", "noise"))
    peak = np.nanpercentile(flux[:, 0], 95) if len(some) else 0.0
    own = [_about_mean(flux[:, k], error[:, k], noise[:, k]) for k in range(1, 1 + blank)]
    told = [found for found in own if found is not None]
    several = len(told) > 1
    means = np.array([found.mean for found in told])
    freedom = max(sum(len(found.pulls) - 1 for found in told), 1)
    squares = {
        name: sum(float((getattr(found, name) ** 2).sum()) for found in told)
        for name in ("pulls", "left", "noise")
    }
    pixels = max(sum(len(found.pulls) for found in told), 1)
    own_variance = float(np.mean([found.error**2 for found in told])) if told else np.nan
    stars = [
        _about_mean(flux[:, k], error[:, k], noise[:, k]) for k in range(1 + blank, flux.shape[1])
    ]
    spread, left_part, count = _like_stars(stars, star_flux, float(peak))
    several = len(means) > 1
    return Reliability(
        places=len(told),
        mean=float(means.mean()) if told else np.nan,
        mean_error=float(means.std(ddof=1) / np.sqrt(len(means))) if several else np.nan,
        spread=float(np.sqrt(max(means.var(ddof=1) - own_variance, 0))) if several else np.nan,
        chi2=squares["pulls"] / freedom if told else np.nan,
        scatter=(squares["left"] / freedom / (squares["noise"] / pixels)) ** 0.5
        if told
        else np.nan,
        stars=count,
        star_spread=spread,
        star_left=left_part,
    )


@dataclass(frozen=True, eq=False)
class _Constant:
    """One place's fluxes about their mean, as pulls and as they are, and their pixels' noise."""

    mean: float
    error: float
    typical: float
    pulls: NDArray[np.float64]
    left: NDArray[np.float64]
    noise: NDArray[np.float64]


def _about_mean(
    flux: NDArray[np.float64], error: NDArray[np.float64], noise: NDArray[np.float64]
) -> _Constant | None:
    """Return the fluxes that are not struck by something, about their weighted mean."""
    used = np.isfinite(flux) & np.isfinite(error)
    if used.sum() < _LEAST_FRAMES:
        return None
    apart = (flux - np.median(flux[used])) / error
    wide = MAD_TO_SIGMA * float(np.median(np.abs(apart[used])))
    used &= np.abs(np.where(used, apart, 0)) <= _OUTLYING * max(wide, 1.0)
    weight = error[used] ** -2.0
    mean = float((flux[used] * weight).sum() / weight.sum())
    left = flux[used] - mean
    return _Constant(
        mean=mean,
        error=float(weight.sum() ** -0.5),
        typical=float(np.median(error[used])),
        pulls=left / error[used],
        left=left,
        noise=noise[used],
    )


def _like_stars(
    stars: list[_Constant | None], star_flux: NDArray[np.float64], peak: float
) -> tuple[float, float, int]:
    """Return excess scatter and what is left of stars like the target, and their number."""
    apart = np.abs(2.5 * np.log10(np.maximum(star_flux, 1e-3) / max(peak, 1.0)))
    order = np.argsort(apart)[: max(_LEAST_STARS, int((apart <= _LIKE_MAG).sum()))]
    excess, left = [], []
    for k in order:
        found = stars[k]
        if found is not None:
            more = max(float((found.pulls**2).mean()) - 1, 0)
            excess.append(np.sqrt(more) * found.typical / star_flux[k])
            left.append(found.mean / star_flux[k])
    if not excess:
        return np.nan, np.nan, 0
    return float(np.median(excess)), float(np.sqrt(np.mean(np.square(left)))), len(excess)
