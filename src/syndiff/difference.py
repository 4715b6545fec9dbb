"""The difference of an FFI and a template: scale and background fitted, arrays in, arrays out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.errors import ConfigError, RenderingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Difference", "DifferenceConfig", "subtract_template"]

TEMPLATE_ZERO_POINT = 25.0
"""AB magnitude of flux 1 in a template."""

_MAD_TO_SIGMA = 1.4826
# Standard deviation over median absolute deviation of a normal distribution.


@dataclass(frozen=True)
class DifferenceConfig:
    """How a template is fitted to an image.

    Parameters
    ----------
    background_order : int
        Total order of the polynomial in x and y that stands for the background.
    clip_sigma : float
        Pixels farther than this many times the scatter from the fit are left out of the next one.
    rounds : int
        Fits at most; fewer where nothing changes any more.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    background_order: int = 2
    clip_sigma: float = 4.0
    rounds: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.background_order <= 10:
            raise ConfigError(f"background_order {self.background_order}: give 0 to 10")
        if not self.clip_sigma >= 2:
            raise ConfigError(f"clip_sigma {self.clip_sigma} must be 2 or more")
        if self.rounds < 1:
            raise ConfigError(f"rounds {self.rounds} must be 1 or more")


@dataclass(frozen=True)
class Difference:
    """An image less a template.

    Parameters
    ----------
    image : (ny, nx) float64
        Image - scale * template - background, in the image's unit; NaN where either is unknown.
    background : (ny, nx) float64
        In the image's unit.
    used : (ny, nx) bool
        Pixels of the last fit.
    scale, scale_error : float
        What flux 1 of the template is in the image, and its standard deviation.
    scatter : float
        Robust standard deviation of ``image / uncertainty`` over `used`: 1 where the uncertainty
        is right and the template subtracts perfectly.
    """

    image: NDArray[np.float64]
    background: NDArray[np.float64]
    used: NDArray[np.bool_]
    scale: float
    scale_error: float
    scatter: float

    @property
    def zero_point(self) -> float:
        """AB magnitude of 1 unit of the image: ``25 + 2.5 log10(scale)``."""
        return TEMPLATE_ZERO_POINT + 2.5 * math.log10(self.scale)

    @property
    def zero_point_error(self) -> float:
        """Standard deviation of `zero_point`, from `scale_error`."""
        return 2.5 / math.log(10) * self.scale_error / self.scale


def subtract_template(
    image: NDArray[np.floating],
    uncertainty: NDArray[np.floating],
    template: NDArray[np.floating],
    *,
    excluded: NDArray[np.bool_] | None = None,
    config: DifferenceConfig | None = None,
) -> Difference:
    """Return an image less a template that is scaled to it, and less a smooth background.

    Parameters
    ----------
    image : (ny, nx) float
        Window of an FFI, any unit; NaN where unknown.
    uncertainty : (ny, nx) float
        Its standard deviation. Only ratios matter to the fit: ones weight all pixels alike.
    template : (ny, nx) float
        The same pixels of a template at AB zero point 25; NaN where unknown.
    excluded : (ny, nx) bool, optional
        More pixels to leave out of the fit, flagged ones for example; they are subtracted too.
    config : DifferenceConfig, optional
        How to fit.

    Returns
    -------
    Difference
        The difference image and what was fitted.

    Raises
    ------
    ConfigError
        If shapes differ.
    RenderingError
        If too few pixels are known, or they don't tell a scale above zero.

    Notes
    -----
    Linear least squares with weights ``uncertainty**-2``: ``image = scale * template + sum of c_jk
    P_j(x) P_k(y)``, P Legendre polynomials over the window. Pixels are clipped by their residual in
    units of the uncertainty, against the median absolute deviation of all. The template is the
    first column of a list: a kernel's images of it would be more columns.
    """
    config = config or DifferenceConfig()
    for name, plane in (("uncertainty", uncertainty), ("template", template)):
        if plane.shape != image.shape:
            raise ConfigError(
                f"{name} has the shape {plane.shape}, the image {image.shape}: give the same pixels"
            )
    good = np.isfinite(image) & np.isfinite(template) & np.isfinite(uncertainty)
    good &= uncertainty > 0
    if excluded is not None:
        good &= ~excluded
    columns = [np.asarray(template, float), *_polynomials(image.shape, config.background_order)]
    fit = _fit_clipped(np.asarray(image, float), uncertainty, columns, good, config)
    scale, error = fit.values[0], fit.errors[0]
    if not (math.isfinite(scale) and scale > 0):
        raise RenderingError(
            f"the template's scale comes out as {scale:g}, it must be above 0: is the template of "
            "the same field as the image?"
        )
    background = sum(
        (v * c for v, c in zip(fit.values[1:], columns[1:], strict=True)), np.zeros(())
    )
    residual = image - scale * columns[0] - background
    return Difference(residual, background, fit.used, scale, error, fit.scatter)


@dataclass(frozen=True)
class _Fit:
    """Coefficients, their errors, the pixels used and the residuals' scatter."""

    values: list[float]
    errors: list[float]
    used: NDArray[np.bool_]
    scatter: float


def _polynomials(shape: tuple[int, ...], order: int) -> Iterator[NDArray[np.float64]]:
    """Yield products of Legendre polynomials up to a total order, each over the whole window."""
    from numpy.polynomial.legendre import legvander

    y, x = (legvander(np.linspace(-1, 1, n), order) for n in shape)
    for total in range(order + 1):
        for j in range(total + 1):
            yield np.outer(y[:, total - j], x[:, j])


def _fit_clipped(
    image: NDArray[np.float64],
    uncertainty: NDArray[np.floating],
    columns: list[NDArray[np.float64]],
    good: NDArray[np.bool_],
    config: DifferenceConfig,
) -> _Fit:
    """Fit columns to an image again and again, without the pixels that stand out."""
    matrix = np.stack([column[good] for column in columns], -1) / uncertainty[good, None]
    target = image[good] / uncertainty[good]
    kept = np.ones(len(target), np.bool_)
    for _ in range(config.rounds):
        values, covariance = _solve(matrix[kept], target[kept])
        pulls = target - matrix @ values
        scatter = _MAD_TO_SIGMA * float(np.median(np.abs(pulls[kept] - np.median(pulls[kept]))))
        before, kept = kept, np.abs(pulls) <= config.clip_sigma * scatter
        if scatter == 0:
            kept = before  # an exact fit has nothing to clip by
        if np.array_equal(kept, before):
            break
    used = np.zeros(good.shape, np.bool_)
    used[good] = before
    errors = scatter * np.sqrt(np.diag(covariance))
    return _Fit(values.tolist(), errors.tolist(), used, scatter)


def _solve(
    matrix: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solve linear least squares; return the coefficients and their covariance."""
    if len(target) < 2 * matrix.shape[1]:
        raise RenderingError(
            f"{len(target)} pixels are known and unflagged, too few to fit {matrix.shape[1]} "
            "numbers: give a larger window or a lower background_order"
        )
    norms = np.linalg.norm(matrix, axis=0)
    if not norms.all():
        raise RenderingError("the template is empty, it has no light to fit: give another window")
    scaled = matrix / norms
    normal = scaled.T @ scaled
    if not np.linalg.cond(normal) < 1e12:
        raise RenderingError(
            "the template can't be told from the background: give a larger window or a lower "
            "background_order"
        )
    inverse = np.linalg.inv(normal)
    values = inverse @ (scaled.T @ target)
    return values / norms, inverse / np.outer(norms, norms)
