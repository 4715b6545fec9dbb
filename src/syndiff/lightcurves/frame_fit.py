"""A frame less its template: scale, shift, width and background, the kernel being steady."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.differences.background import polynomials
from syndiff.differences.clipped_fit import Clipping, Columns, Prior, fit_clipped
from syndiff.lightcurves.steady import MODEL_COLUMNS, moved_by

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.differences.clipped_fit import ClippedFit
    from syndiff.lightcurves.steady import SteadyScene
    from syndiff.sky.displacement import Displacement

__all__ = ["FrameFit", "Steadiness", "fit_frame"]

FLUX_ERROR = 0.01
"""Part of its flux by which a star may be wrong in the template: colour, variability."""

_CLIPPING = Clipping(sigma=4.0, rounds=5, least_scatter=1.0)
_SETTLED_PX = 2e-3
_ROUNDS = 5
_MOST_SHIFT_PX = 1.0
# Beyond it stars are taken for one another.
_LEAST_GAIN = 9.0
# Of chi squared for each term more of the background; ln(pixels) by the Bayesian criterion.
_BACKGROUND_ORDERS = 2
# How far beyond its usual order a background may go: scattered light has edges.


@dataclass(frozen=True, eq=False)
class Steadiness:
    """What is known of a frame's scale, shift and width before: those of the series.

    Parameters
    ----------
    mean, sigma : (6,) float64
        Scale, shift in x and y (px), added variance xx, xy, yy (square px): expected value and how
        far frames are from it.
    """

    mean: NDArray[np.float64]
    sigma: NDArray[np.float64]

    @classmethod
    def loose(cls, scale: float) -> Steadiness:
        """Return what is known before any frame was looked at.

        Parameters
        ----------
        scale : float
            Roughly, of the template.

        Returns
        -------
        Steadiness
            Wide enough for any frame that can be used.
        """
        sigma = np.array([0.5 * scale, 0.3, 0.3, 0.3, 0.2, 0.3])
        return cls(np.array([scale, 0.0, 0.0, 0.0, 0.0, 0.0]), sigma)

    def prior(self, shift: NDArray[np.float64], columns: int) -> Prior:
        """Return it for the numbers that are fitted: scale, and scale times the others.

        Parameters
        ----------
        shift : (2,) float64
            What the columns were moved by already.
        columns : int
            How many numbers are fitted.

        Returns
        -------
        Prior
            Nothing is known of the background, or next to it.
        """
        scale = self.mean[0]
        mean, precision = np.zeros(columns), np.full(columns, 1e-12)
        left = self.mean.copy()
        left[1:3] -= shift
        mean[:MODEL_COLUMNS] = np.concatenate([[scale], scale * left[1:]])
        widths = np.concatenate([[self.sigma[0]], scale * self.sigma[1:]])
        precision[:MODEL_COLUMNS] = widths**-2.0
        return Prior(mean, precision)


@dataclass(frozen=True, eq=False)
class FrameFit:
    """A frame less its template and its background.

    Parameters
    ----------
    residual, model, background : (ny, nx) float64
        In electrons per second; NaN where unknown.
    used : (ny, nx) bool
        Pixels of the fit.
    scale, scale_error : float
        What flux 1 of the template is in the frame, and its standard deviation.
    shift, shift_error : (2,) float64
        By which stars stand elsewhere than the frame's WCS has them, px.
    widening, widening_error : (3,) float64
        Variance that the response has beyond the steady one: xx, xy, yy, square px.
    scatter : float
        Robust standard deviation of the used pixels in units of their expected one.
    columns : (n, ny, nx) float64
        What was fitted.
    covariance : (n, n) float64
        Of the columns' factors, by the noise of the pixels.
    displacement : Displacement
        Where sources stand, shift included.
    """

    residual: NDArray[np.float64]
    model: NDArray[np.float64]
    background: NDArray[np.float64]
    used: NDArray[np.bool_]
    scale: float
    scale_error: float
    shift: NDArray[np.float64]
    shift_error: NDArray[np.float64]
    widening: NDArray[np.float64]
    widening_error: NDArray[np.float64]
    scatter: float
    columns: NDArray[np.float64]
    covariance: NDArray[np.float64]
    displacement: Displacement


def fit_frame(
    image: NDArray[np.float64],
    noise: NDArray[np.float64],
    usable: NDArray[np.bool_],
    *,
    scene: SteadyScene,
    displacement: Displacement,
    steadiness: Steadiness,
    background: NDArray[np.float64],
    order: int,
    flux_error: NDArray[np.float64],
) -> FrameFit:
    """Fit a template that a steady kernel is in, and a background, to a frame.

    Parameters
    ----------
    image, noise : (ny, nx) float64
        The frame's pixels and their standard deviation; NaN where unknown.
    usable : (ny, nx) bool
        Pixels that may take part.
    scene : SteadyScene
        The template.
    displacement : Displacement
        By the frame's WCS.
    steadiness : Steadiness
        What is known of scale, shift and width before.
    background : (m, ny, nx) float64
        Planes that are part of it besides the polynomial: straps.
    order : int
        Total order of the polynomial; up to 2 more where the frame clearly has it.
    flux_error : (ny, nx) float64
        Part of its light by which each pixel may be wrong in the template.

    Returns
    -------
    FrameFit
        What was found.

    Raises
    ------
    RenderingError
        If the pixels are too few.

    Notes
    -----
    Linear least squares of ``s (M + dx M_x + dy M_y + v_xx M_xx / 2 + v_xy M_xy + v_yy M_yy / 2) +
    b``, M sampled anew where the stars stand until the shift settles. Each pixel's variance is that
    of its noise and of `flux_error` times its light.
    """
    shift = np.zeros(2)
    problem = _Problem(image, noise, usable, steadiness, flux_error)
    for _ in range(_ROUNDS):
        where = moved_by(displacement, (shift[0], shift[1]))
        light = scene.columns(where)
        columns = np.concatenate([light, polynomials(image.shape, order), background])
        fit, used, sigma = problem.solve(columns, shift)
        step = fit.values[1:3] / fit.values[0]
        # The columns are straight for small steps only.
        if np.abs(step).max() < _SETTLED_PX or np.abs(shift + step).max() > _MOST_SHIFT_PX:
            break
        shift = shift + step
    for higher in range(order + 1, order + 1 + _BACKGROUND_ORDERS):
        more = np.concatenate([light, polynomials(image.shape, higher), background])
        other, other_used, other_sigma = problem.solve(more, shift)
        gain = problem.misfit(columns, fit, used, sigma) - problem.misfit(more, other, used, sigma)
        if not gain > _LEAST_GAIN * (len(more) - len(columns)):
            break
        columns, fit, used, sigma = more, other, other_used, other_sigma
    return problem.finish(columns, fit, (used, sigma), shift, where)


@dataclass(frozen=True, eq=False)
class _Problem:
    """A frame, and what is known of it before."""

    image: NDArray[np.float64]
    noise: NDArray[np.float64]
    usable: NDArray[np.bool_]
    steadiness: Steadiness
    flux_error: NDArray[np.float64]

    def solve(
        self, columns: NDArray[np.float64], shift: NDArray[np.float64]
    ) -> tuple[ClippedFit, NDArray[np.bool_], NDArray[np.float64]]:
        """Fit columns to the frame; return which pixels took part and all pixels' sigma."""
        light = np.maximum(self.steadiness.mean[0] * columns[0], 0)
        sigma = np.hypot(self.noise, self.flux_error * light)
        good = self.usable & np.isfinite(self.image) & np.isfinite(sigma) & (sigma > 0)
        good &= np.isfinite(columns).all(axis=0)
        fit = fit_clipped(
            Columns(np.ascontiguousarray(columns[:, good].T)),
            self.image[good],
            sigma[good],
            clipping=_CLIPPING,
            prior=self.steadiness.prior(shift, len(columns)),
        )
        used = np.zeros(good.shape, np.bool_)
        used[good] = fit.used
        return fit, used, sigma

    def misfit(
        self,
        columns: NDArray[np.float64],
        fit: ClippedFit,
        used: NDArray[np.bool_],
        sigma: NDArray[np.float64],
    ) -> float:
        """Return chi squared of some pixels."""
        pulls = (self.image[used] - fit.values @ columns[:, used]) / sigma[used]
        return float((pulls**2).sum())

    def finish(
        self,
        columns: NDArray[np.float64],
        fit: ClippedFit,
        told: tuple[NDArray[np.bool_], NDArray[np.float64]],
        shift: NDArray[np.float64],
        displacement: Displacement,
    ) -> FrameFit:
        """Return what the factors mean."""
        used, sigma = told
        covariance = self._covariance(columns, used, sigma, shift)
        model = np.tensordot(fit.values[:MODEL_COLUMNS], columns[:MODEL_COLUMNS], 1)
        smooth = np.tensordot(fit.values[MODEL_COLUMNS:], columns[MODEL_COLUMNS:], 1)
        scale = float(fit.values[0])
        errors = np.sqrt(np.diag(covariance)) / abs(scale)
        found = fit.values / scale
        return FrameFit(
            residual=self.image - model - smooth,
            model=model,
            background=smooth,
            used=used,
            scale=scale,
            scale_error=math.sqrt(covariance[0, 0]),
            shift=shift + found[1:3],
            shift_error=errors[1:3],
            widening=found[3:MODEL_COLUMNS],
            widening_error=errors[3:MODEL_COLUMNS],
            scatter=fit.scatter,
            columns=columns,
            covariance=covariance,
            displacement=displacement,
        )

    def _covariance(
        self,
        columns: NDArray[np.float64],
        used: NDArray[np.bool_],
        sigma: NDArray[np.float64],
        shift: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the factors' covariance by noise and prior, whatever the weights were.

        What stars' fluxes are wrong by is the same in every frame: it is no noise.
        """
        rows = columns[:, used] / sigma[used]
        precision = np.diag(self.steadiness.prior(shift, len(columns)).precision)
        inverse = np.linalg.inv(rows @ rows.T + precision)
        noisy = rows * (self.noise[used] / sigma[used])
        return np.asarray(inverse @ (noisy @ noisy.T + precision) @ inverse)
