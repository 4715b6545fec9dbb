"""Fit a kernel of many free weights to many pixels: normal equations from sums over blocks.

1130 weights and 200,000 pixels make 2.6e11 products. Within a block of the field the polynomials by
which weights vary are nearly constant, so that the sums over its pixels, of 113 x 113 samples,
serve all pairs of polynomials: 100 times fewer. The equations are then right to a few per cent
only, which does for a preconditioner: conjugate gradients find the exact least squares in a few
steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from syndiff.constants import MAD_TO_SIGMA
from syndiff.errors import RenderingError
from syndiff.kernels.normal import project_residuals, weigh_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.differences.clipped_fit import Clipping

__all__ = ["Pixels", "WideFit", "fit_wide"]

_SETTLED = 1.0
# Square of the last step in units of the fit's errors, of all weights together; the next one would
# be a hundredth of that at most.
_MOST_STEPS = 30
_FEW = 1e-4
# Part of the pixels that may come or go without another round.


@dataclass(frozen=True)
class Pixels:
    """The pixels of a fit, those of a block one after the other.

    Parameters
    ----------
    samples : (n, m) float32
        What weights act on, finite.
    products : (n, k) float32
        Values of the polynomials by which weights vary; an even number.
    target, sigma : (n,) float64
        Values and standard deviations.
    starts : (b + 1,) int64
        Where each block begins; the last one's end.
    """

    samples: NDArray[np.float32]
    products: NDArray[np.float32]
    target: NDArray[np.float64]
    sigma: NDArray[np.float64]
    starts: NDArray[np.int64]

    def normal(self) -> NDArray[np.float64]:
        """Return the normal equations' matrix as if polynomials were constant in each block.

        Returns
        -------
        (k * m, k * m) float64
            Of weights (k, m), one row after the other.
        """
        blocks, m, k = len(self.starts) - 1, self.samples.shape[1], self.products.shape[1]
        sums = np.empty((blocks, m, m))
        middles = np.empty((blocks, k))
        for b, (start, stop) in enumerate(zip(self.starts[:-1], self.starts[1:], strict=True)):
            rows = self.samples[start:stop] / self.sigma[start:stop, None]
            np.matmul(rows.T, rows, out=sums[b])
            middles[b] = self.products[start:stop].mean(0, dtype=float)
        pairs = (middles[:, :, None] * middles[:, None, :]).reshape(blocks, k * k)
        whole = (pairs.T @ sums.reshape(blocks, m * m)).reshape(k, k, m, m)
        return np.asarray(whole.transpose(0, 2, 1, 3).reshape(k * m, k * m))

    def left(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what weights leave of the pixels, in units of sigma.

        Parameters
        ----------
        weights : (k, m) float64
            Of each polynomial and sample.

        Returns
        -------
        (n,) float64
            Residuals.
        """
        return self.target / self.sigma - self.seen(weights)

    def seen(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what weights make of the samples, in units of sigma.

        Parameters
        ----------
        weights : (k, m) float64
            Of each polynomial and sample.

        Returns
        -------
        (n,) float64
            Of each pixel.
        """
        out = np.empty(len(self.target))
        weigh_samples(self.samples, self.products, weights.astype(np.float32), out)
        out /= self.sigma
        return out

    def gradient(self, pulls: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return in which direction weights lessen the residuals.

        Parameters
        ----------
        pulls : (n,) float64
            Residuals in units of sigma.
        kept : (n,) bool
            Pixels that count.

        Returns
        -------
        (k, m) float64
            Half the derivative of their sum of squares, downwards.
        """
        out = np.empty((self.products.shape[1], self.samples.shape[1]))
        weighted = np.where(kept, pulls / self.sigma, 0.0)
        project_residuals(self.samples, self.products, weighted, out)
        return out


@dataclass(frozen=True)
class WideFit:
    """What was found.

    Parameters
    ----------
    weights : (k, m) float64
        Of each polynomial and sample; 0 where they were not free.
    used : (n,) bool
        Pixels that counted.
    scatter : float
        Robust standard deviation of their residuals in units of sigma.
    sum_error : float
        Standard deviation of the sum of `summed`, after the scatter that was found: the larger one
        of `scatter` and of the used pixels' rms, or ``least_scatter``.
    """

    weights: NDArray[np.float64]
    used: NDArray[np.bool_]
    scatter: float
    sum_error: float


def fit_wide(
    pixels: Pixels,
    *,
    start: NDArray[np.float64],
    precision: NDArray[np.float64],
    summed: NDArray[np.bool_],
    clipping: Clipping,
) -> WideFit:
    """Fit weights to pixels, again and again without the pixels that stand out.

    Parameters
    ----------
    pixels : Pixels
        What to fit.
    start : (k, m) float64
        What is expected of the weights before; NaN where a weight isn't free.
    precision : (k, m) float64
        Inverse variances of that; 0 where nothing is known.
    summed : (k, m) bool
        Weights whose sum's error is wanted.
    clipping : Clipping
        When to leave a pixel out.

    Returns
    -------
    WideFit
        What was found: the least squares of `fit_clipped`, to 0.01 of its errors.

    Raises
    ------
    RenderingError
        If the pixels are too few or don't tell the weights.

    Notes
    -----
    One approximate matrix serves all rounds, as few pixels are clipped.
    """
    free = np.isfinite(start)
    if len(pixels.target) < 2 * free.sum():
        raise RenderingError(
            f"{len(pixels.target)} pixels are known and unflagged, too few to fit {free.sum()} "
            "numbers: give a larger window, or a scene with saturated stars put back (`stars`)"
        )
    solve = _Solver(pixels.normal()[np.ix_(free.ravel(), free.ravel())], precision[free])
    weights = np.where(free, start, 0.0)
    kept = before = np.ones(len(pixels.target), np.bool_)
    pulls = pixels.left(weights)
    for _ in range(clipping.rounds):
        problem = _Problem(pixels, kept, free, start, precision)
        weights = problem.descend(weights, pulls, solve)
        pulls = pixels.left(weights)
        scatter, within = _clip(pulls, kept, clipping)
        before, kept = kept, within
        if (before != kept).sum() <= _FEW * len(kept):
            break
    kept = before
    rms = math.sqrt(np.square(pulls[kept]).sum() / (kept.sum() - free.sum()))
    chosen = summed[free].astype(float)
    error = max(scatter, rms, clipping.least_scatter) * math.sqrt(chosen @ solve(chosen))
    return WideFit(weights, kept, scatter, error)


def _clip(
    pulls: NDArray[np.float64], kept: NDArray[np.bool_], clipping: Clipping
) -> tuple[float, NDArray[np.bool_]]:
    """Return the scatter of the pixels that count, and which ones are within it."""
    some = pulls[kept]
    scatter = MAD_TO_SIGMA * float(np.median(np.abs(some - np.median(some))))
    return scatter, np.abs(pulls) <= clipping.sigma * max(scatter, clipping.least_scatter)


@dataclass(frozen=True)
class _Problem:
    """Least squares of the pixels that count, with what is known of the weights before."""

    pixels: Pixels
    kept: NDArray[np.bool_]
    free: NDArray[np.bool_]
    start: NDArray[np.float64]
    precision: NDArray[np.float64]

    def descend(
        self, weights: NDArray[np.float64], pulls: NDArray[np.float64], solve: _Solver
    ) -> NDArray[np.float64]:
        """Return the weights of the least squares, by conjugate gradients from some others.

        The approximate equations are their preconditioner: the square
        of what is missing falls to a hundredth or less with each step.
        """
        weights = weights.copy()
        known = self.precision * (np.where(self.free, self.start, 0.0) - weights)
        left = (self.pixels.gradient(pulls, self.kept) + known)[self.free]
        step, along = solve(left), np.zeros(left.size)
        gain = left @ step
        for _ in range(_MOST_STEPS):
            along += step
            curved = self._curvature(along)
            length = gain / (along @ curved)
            weights[self.free] += length * along
            left -= length * curved
            if length * gain < _SETTLED:
                return weights
            step = solve(left)
            before, gain = gain, left @ step
            along *= gain / before
        raise RenderingError(
            "the kernel's fit doesn't settle: is the template of the same field as the FFI?"
        )

    def _curvature(self, along: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the exact normal equations' matrix times a change of the free weights."""
        change = np.zeros(self.free.shape)
        change[self.free] = along
        seen = self.pixels.seen(change)
        return (self.pixels.gradient(seen, self.kept) + self.precision * change)[self.free]


class _Solver:
    """Solves the normal equations for one right-hand side after the other."""

    def __init__(self, normal: NDArray[np.float64], precision: NDArray[np.float64]) -> None:
        normal[np.diag_indices_from(normal)] += precision
        self._norms = np.sqrt(np.diag(normal))
        if not self._norms.all():
            raise RenderingError(
                "the template is empty, it has no light to fit: give another window"
            )
        normal /= np.outer(self._norms, self._norms)
        try:
            self._factor = scipy.linalg.cho_factor(normal, lower=True, overwrite_a=True)
        except scipy.linalg.LinAlgError:
            raise RenderingError(
                "the template can't be told from the background: give a larger window"
            ) from None

    def __call__(self, right: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(scipy.linalg.cho_solve(self._factor, right / self._norms) / self._norms)
