"""Linear least squares over many pixels, again and again without those that stand out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from syndiff.constants import MAD_TO_SIGMA
from syndiff.errors import RenderingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["ClippedFit", "Clipping", "Columns", "Design", "Prior", "fit_clipped"]

_ROWS_AT_ONCE = 1 << 23
# Numbers of the design held at a time, 64 MB.
_WORST_CONDITION = 1e12
_ROUNDING = 1e-10
# Of the largest target: what normal equations leave of an exact fit.


class Design(Protocol):
    """What is fitted: a matrix with one row a pixel, made a few rows at a time."""

    @property
    def pixels(self) -> int:
        """Pixels there are."""

    @property
    def columns(self) -> int:
        """Numbers to fit."""

    def rows(self, pixels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the rows of some pixels.

        Parameters
        ----------
        pixels : (n,) int
            Which.

        Returns
        -------
        (n, columns) float64
            The caller's own.
        """

    def model(self, pixels: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the rows of some pixels times the numbers.

        Parameters
        ----------
        pixels : (n,) int
            Which.
        values : (columns,) float64
            The numbers.

        Returns
        -------
        (n,) float64
            What they make of the pixels.
        """


@dataclass(frozen=True, eq=False)
class Columns:
    """A `Design` that is held as a whole.

    Parameters
    ----------
    matrix : (pixels, columns) float64
        All of it.
    """

    matrix: NDArray[np.float64]

    @property
    def pixels(self) -> int:
        """Pixels there are."""
        return len(self.matrix)

    @property
    def columns(self) -> int:
        """Numbers to fit."""
        return int(self.matrix.shape[1])

    def rows(self, pixels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the rows of some pixels.

        Parameters
        ----------
        pixels : (n,) int
            Which.

        Returns
        -------
        (n, columns) float64
            A copy.
        """
        return self.matrix[pixels]

    def model(self, pixels: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the rows of some pixels times the numbers.

        Parameters
        ----------
        pixels : (n,) int
            Which.
        values : (columns,) float64
            The numbers.

        Returns
        -------
        (n,) float64
            What they make of the pixels.
        """
        return np.asarray(self.matrix[pixels] @ values)


@dataclass(frozen=True)
class Clipping:
    """When to leave a pixel out.

    Parameters
    ----------
    sigma : float
        Pixels farther than this many times the scatter from the fit are left out of the next one.
    rounds : int
        Fits at most; fewer where nothing changes any more.
    least_scatter : float
        In units of the pixels' sigma: a smaller scatter counts as this one. 1 where the sigmas are
        known, so that no pixel within its errors is left out; 0 where only their ratios are.
    """

    sigma: float
    rounds: int
    least_scatter: float = 0.0


@dataclass(frozen=True)
class Prior:
    """What is known of the numbers before: where they lie and how well.

    Parameters
    ----------
    mean : (columns,) float64
        Expected values.
    precision : (columns,) float64
        Inverse variances; 0 where nothing is known.
    """

    mean: NDArray[np.float64]
    precision: NDArray[np.float64]


@dataclass(frozen=True)
class ClippedFit:
    """What a fit found.

    Parameters
    ----------
    values : (columns,) float64
        The numbers.
    covariance : (columns, columns) float64
        Theirs, after the scatter that was found: the larger one of `scatter` and of the used
        pixels' rms, or ``least_scatter``.
    used : (n,) bool
        Pixels of the last fit.
    scatter : float
        Robust standard deviation of the used pixels' residuals in units of their sigma.
    """

    values: NDArray[np.float64]
    covariance: NDArray[np.float64]
    used: NDArray[np.bool_]
    scatter: float


def fit_clipped(
    design: Design,
    target: NDArray[np.float64],
    sigma: NDArray[np.float64],
    *,
    clipping: Clipping,
    prior: Prior | None = None,
) -> ClippedFit:
    """Fit a design to pixels, again and again without the pixels that stand out.

    Parameters
    ----------
    design : Design
        One row a pixel.
    target, sigma : (n,) float64
        The pixels' values and standard deviations, finite, the latter above 0.
    clipping : Clipping
        When to leave a pixel out.
    prior : Prior, optional
        What is known before.

    Returns
    -------
    ClippedFit
        What was found.

    Raises
    ------
    RenderingError
        If the pixels are too few or don't tell the numbers apart.

    Notes
    -----
    Normal equations, summed over runs of rows: the matrix is never held. Pixels are clipped by
    their residual against the median absolute deviation of those used; only rows of pixels that
    come or go are summed again.
    """
    scaled = target / sigma
    kept = np.ones(len(target), np.bool_)
    normal, right = np.zeros((design.columns, design.columns)), np.zeros(design.columns)
    changed = kept
    rounding = _ROUNDING * float(np.abs(scaled).max(initial=0.0))
    for _ in range(clipping.rounds):
        for pixels in _runs(design, changed):
            rows = design.rows(pixels) / sigma[pixels, None]
            # Rows that go are taken out with the sign of their state.
            for sign, which in ((1.0, kept[pixels]), (-1.0, ~kept[pixels])):
                if which.any():
                    part = rows[which]
                    normal += sign * (part.T @ part)
                    right += sign * (part.T @ scaled[pixels[which]])
        values, covariance = _solve(normal, right, int(kept.sum()), prior)
        pulls = scaled - _model(design, values) / sigma
        scatter = MAD_TO_SIGMA * float(np.median(np.abs(pulls[kept] - np.median(pulls[kept]))))
        reach = clipping.sigma * max(scatter, clipping.least_scatter)
        before, kept = kept, np.abs(pulls) <= reach
        if scatter <= rounding:
            kept = before  # an exact fit has nothing to clip by
        changed = kept != before
        if not changed.any():
            break
    rms = float(np.sqrt(np.square(pulls[before]).sum() / (before.sum() - len(values))))
    wider = max(scatter, rms, clipping.least_scatter)
    return ClippedFit(values, wider**2 * covariance, before, scatter)


def _runs(design: Design, wanted: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
    """Yield the wanted pixels in runs that fit into memory."""
    pixels = np.flatnonzero(wanted)
    step = max(1, _ROWS_AT_ONCE // design.columns)
    for start in range(0, len(pixels), step):
        yield pixels[start : start + step]


def _model(design: Design, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the fit makes of all pixels."""
    every = np.ones(design.pixels, np.bool_)
    return np.concatenate([design.model(pixels, values) for pixels in _runs(design, every)])


def _solve(
    normal: NDArray[np.float64], right: NDArray[np.float64], pixels: int, prior: Prior | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solve the normal equations; return the numbers and their covariance at scatter 1."""
    if pixels < 2 * len(right):
        raise RenderingError(
            f"{pixels} pixels are known and unflagged, too few to fit {len(right)} "
            "numbers: give a larger window, or a scene with saturated stars put back (`stars`)"
        )
    if prior is not None:
        normal = normal + np.diag(prior.precision)
        right = right + prior.precision * prior.mean
    norms = np.sqrt(np.diag(normal))
    if not norms.all():
        raise RenderingError("the template is empty, it has no light to fit: give another window")
    scaled = normal / np.outer(norms, norms)
    if prior is None and not np.linalg.cond(scaled) < _WORST_CONDITION:
        raise RenderingError("the template can't be told from the background: give a larger window")
    inverse = np.linalg.inv(scaled)
    return (inverse @ (right / norms)) / norms, inverse / np.outer(norms, norms)
