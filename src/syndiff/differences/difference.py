"""The difference of an FFI and a template: scale and background fitted, arrays in, arrays out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.differences.clipped_fit import Clipping, fit_clipped
from syndiff.errors import ConfigError, RenderingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from syndiff.differences.matching import VaryingKernel

__all__ = ["Difference", "DifferenceConfig", "check_scale", "subtract_template"]

TEMPLATE_ZERO_POINT = 25.0
"""AB magnitude of flux 1 in a template."""


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
    model : (ny, nx) float64
        The template as it was subtracted, in the image's unit.
    background : (ny, nx) float64
        In the image's unit.
    used : (ny, nx) bool
        Pixels of the last fit.
    scale, scale_error : float
        What flux 1 of the template is in the image, and its standard deviation.
    scatter : float
        Robust standard deviation of ``image / uncertainty`` over `used`: 1 where the uncertainty
        is right and the template subtracts perfectly.
    kernel : VaryingKernel or None
        What the template was convolved with, in the image's unit; its sum is the scale.
    stars : int
        How many stars told the kernel.
    """

    image: NDArray[np.float64]
    model: NDArray[np.float64]
    background: NDArray[np.float64]
    used: NDArray[np.bool_]
    scale: float
    scale_error: float
    scatter: float
    kernel: VaryingKernel | None = None
    stars: int = 0

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
    units of the uncertainty, against the median absolute deviation of all. `match_template` of
    `matched_difference` fits a kernel besides.
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
    fit = fit_clipped(
        _Columns(np.stack([column[good] for column in columns], -1)),
        image[good].astype(float),
        uncertainty[good].astype(float),
        clipping=Clipping(config.clip_sigma, config.rounds),
    )
    scale, error = float(fit.values[0]), math.sqrt(fit.covariance[0, 0])
    check_scale(scale)
    background = sum(
        (v * c for v, c in zip(fit.values[1:], columns[1:], strict=True)), np.zeros(())
    )
    model = scale * columns[0]
    residual = image - model - background
    used = np.zeros(good.shape, np.bool_)
    used[good] = fit.used
    return Difference(residual, model, background, used, scale, error, fit.scatter)


def check_scale(scale: float) -> float:
    """Return a scale after making sure that it can be one.

    Parameters
    ----------
    scale : float
        What flux 1 of a template is in an image.

    Returns
    -------
    float
        The same.

    Raises
    ------
    RenderingError
        If it is not above 0.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise RenderingError(
            f"the template's scale comes out as {scale:g}, it must be above 0: is the template of "
            "the same field as the image?"
        )
    return scale


@dataclass(frozen=True)
class _Columns:
    """A design that is held as a whole."""

    matrix: NDArray[np.float64]

    @property
    def pixels(self) -> int:
        return len(self.matrix)

    @property
    def columns(self) -> int:
        return int(self.matrix.shape[1])

    def rows(self, pixels: NDArray[np.intp]) -> NDArray[np.float64]:
        return self.matrix[pixels]

    def model(self, pixels: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.matrix[pixels] @ values)


def _polynomials(shape: tuple[int, ...], order: int) -> Iterator[NDArray[np.float64]]:
    """Yield products of Legendre polynomials up to a total order, each over the whole window."""
    from numpy.polynomial.legendre import legvander

    y, x = (legvander(np.linspace(-1, 1, n), order) for n in shape)
    for total in range(order + 1):
        for j in range(total + 1):
            yield np.outer(y[:, total - j], x[:, j])
