"""The difference of an FFI and a template: scale and background fitted, arrays in, arrays out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from syndiff.constants import ZERO_POINT
from syndiff.differences.background import BEARABLE_VARIANCE, order_told, polynomials
from syndiff.differences.clipped_fit import Clipping, Columns, fit_clipped
from syndiff.differences.leftover import NOTHING_LEFT, Leftover
from syndiff.errors import ConfigError, RenderingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.differences.clipped_fit import ClippedFit
    from syndiff.differences.matching import VaryingKernel

__all__ = [
    "MOST_LEFT",
    "MOST_SCATTER",
    "Difference",
    "DifferenceConfig",
    "Doubt",
    "check_scale",
    "fit_scale",
    "subtract_template",
]

"""AB magnitude of flux 1 in a template."""

MOST_SCATTER = 1.3
"""Scatter in units of the uncertainty from which on something else than noise is left."""

MOST_LEFT = 0.07
"""Part of a star's norm that a response leaves at most if it fits: those of MAST leave 0.02 to 0.05
of real stars, Gaussians that are too sharp or too wide by a fifth 0.10."""

Doubt = Literal["response", "scatter"]

_CLEARLY_LESS = 0.8
# Scatter of a higher background's fit over that of a lower one, which is then not enough.
_LEAST_PIXELS = 25
# Less don't tell a level to a fifth of a pixel's noise.


@dataclass(frozen=True)
class DifferenceConfig:
    """How a template is fitted to an image.

    Parameters
    ----------
    background_order : int
        Total order, at most, of the polynomial in x and y that stands for the background; less
        where the pixels don't tell it.
    clip_sigma : float
        Pixels farther than this many times the scatter from the fit are left out of the next one.
    rounds : int
        Fits at most; fewer where nothing changes any more.
    least_scatter : float
        In units of the uncertainty: a smaller scatter counts as this one. 1 where the uncertainty
        is known, 0 where only its ratios are.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    background_order: int = 2
    clip_sigma: float = 4.0
    rounds: int = 20
    least_scatter: float = 0.0

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
    image : (ny, nx) float
        Image - scale * template - background, in the image's unit; NaN where either is unknown.
    model : (ny, nx) float
        The template as it was subtracted, in the image's unit.
    background : (ny, nx) float
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
    background_order : int
        Total order of the polynomial in `background`.
    leftover : Leftover
        What is left of stars.
    """

    image: NDArray[np.floating]
    model: NDArray[np.floating]
    background: NDArray[np.floating]
    used: NDArray[np.bool_]
    scale: float
    scale_error: float
    scatter: float
    kernel: VaryingKernel | None = None
    stars: int = 0
    background_order: int = 0
    leftover: Leftover = NOTHING_LEFT

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """What speaks against the fit: stars that are left, a scatter above the noise."""
        found: list[Doubt] = []
        if self.leftover.part > MOST_LEFT:
            found.append("response")
        if self.scatter > MOST_SCATTER:
            found.append("scatter")
        return tuple(found)

    @property
    def zero_point(self) -> float:
        """AB magnitude of 1 unit of the image: ``25 + 2.5 log10(scale)``."""
        return ZERO_POINT + 2.5 * math.log10(self.scale)

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
    P_j(x) P_k(y)``, P Legendre polynomials over the window, of the largest order that the good
    pixels tell to a fifth of a pixel's noise everywhere (`order_told`); of a higher one if that
    lowers the scatter by a fifth and is told to 0.7 of a pixel's noise. Pixels are clipped by their
    residual in units of the uncertainty, against the median absolute deviation of all.
    `match_template` of `differences.matched` fits a kernel besides.

    Examples
    --------
    >>> import numpy as np
    >>> from syndiff import subtract_template
    >>> template = np.random.default_rng(1).gamma(1.0, 1000.0, (32, 32))
    >>> image = 0.0217 * template + 150.0
    >>> difference = subtract_template(image, np.ones_like(image), template)
    >>> round(difference.scale, 4), round(difference.zero_point, 2)
    (0.0217, 20.84)
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
    fit, order = fit_scale((image, uncertainty, template), good, config)
    columns = [np.asarray(template, float), *polynomials(image.shape, order)]
    scale, error = float(fit.values[0]), math.sqrt(fit.covariance[0, 0])
    check_scale(scale)
    background = sum(
        (v * c for v, c in zip(fit.values[1:], columns[1:], strict=True)), np.zeros(())
    )
    model = scale * columns[0]
    residual = image - model - background
    used = np.zeros(good.shape, np.bool_)
    used[good] = fit.used
    return Difference(
        residual, model, background, used, scale, error, fit.scatter, background_order=order
    )


def fit_scale(
    planes: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]],
    good: NDArray[np.bool_],
    config: DifferenceConfig,
) -> tuple[ClippedFit, int]:
    """Fit a template's scale and a background, as `subtract_template` does.

    Parameters
    ----------
    planes : three (ny, nx) float
        Image, uncertainty and template.
    good : (ny, nx) bool
        Pixels to fit; everything is known there.
    config : DifferenceConfig
        How to fit.

    Returns
    -------
    fit : ClippedFit
        The scale, then the background's coefficients in the order of `polynomials`.
    order : int
        Of the background.

    Raises
    ------
    RenderingError
        If the pixels are too few.
    """
    if good.sum() < _LEAST_PIXELS:
        raise RenderingError(
            f"{good.sum()} pixels are known and unflagged, too few to tell scale and background "
            f"({_LEAST_PIXELS} are needed): give the template of a larger region, or of a scene "
            "with saturated stars put back (`stars`)"
        )
    image, _, template = planes
    wanted = np.isfinite(image) & np.isfinite(template)
    most = config.background_order
    order = order_told(good, wanted, most)
    fit = _fit(planes, good, order, config)
    for higher in range(order + 1, order_told(good, wanted, most, BEARABLE_VARIANCE) + 1):
        other = _fit(planes, good, higher, config)
        if other.scatter < _CLEARLY_LESS * fit.scatter:
            order, fit = higher, other
    return fit, order


def _fit(
    planes: tuple[NDArray[np.floating], ...],
    good: NDArray[np.bool_],
    order: int,
    config: DifferenceConfig,
) -> ClippedFit:
    """Fit scale and a background of some order to the good pixels."""
    image, uncertainty, template = (plane[good].astype(float) for plane in planes)
    smooth = polynomials(good.shape, order)[:, good]
    return fit_clipped(
        Columns(np.stack([template, *smooth], -1)),
        image,
        uncertainty,
        clipping=Clipping(config.clip_sigma, config.rounds, config.least_scatter),
    )


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
