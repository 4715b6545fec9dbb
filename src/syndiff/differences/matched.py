"""The difference of an FFI and a template that is convolved with a kernel fitted to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from syndiff.constants import MAD_TO_SIGMA
from syndiff.differences.clipped_fit import Clipping
from syndiff.differences.matching import Taps, VaryingKernel, fit_kernel, terms_of
from syndiff.differences.mesh import mesh_background
from syndiff.differences.peaks import find_peaks
from syndiff.differences.scaled import (
    Difference,
    DifferenceConfig,
    check_scale,
    subtract_template,
)
from syndiff.differences.wide import (
    convolve_widely,
    fit_kernel_widely,
    guess_scale,
    reached,
)
from syndiff.errors import ConfigError, RenderingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.differences.matching import FineModel
    from syndiff.differences.peaks import Peaks

__all__ = ["MatchConfig", "match_template", "refine_background"]


@dataclass(frozen=True)
class MatchConfig:
    """How a kernel is fitted to an image.

    Parameters
    ----------
    radius_px : float
        Reach of the kernel in pixels.
    background_order : int
        Total order, at most, of the polynomial that is fitted with the kernel as background.
    mesh_px : int
        Boxes whose median refines the background afterwards, where four or more fit into the
        window.
    flux_error : float
        Part of its flux by which a star may be wrong in the template: colour, variability.
    clip_sigma : float
        Pixels farther than this many times the scatter from the fit are left out of the next one.
    rounds : int
        Fits at most.
    max_pixels : int
        Of larger windows so many pixels around stars are fitted.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    radius_px: float = 3.0
    background_order: int = 2
    mesh_px: int = 64
    flux_error: float = 0.01
    clip_sigma: float = 4.0
    rounds: int = 4
    max_pixels: int = 200_000

    def __post_init__(self) -> None:
        _ = self.of_scale
        for name, least, most in (
            ("radius_px", 1, 6),
            ("mesh_px", 16, 2048),
            ("flux_error", 0, 0.2),
            ("max_pixels", 1000, 2_000_000),
        ):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"{name} {getattr(self, name)}: give {least} to {most}")

    @property
    def of_scale(self) -> DifferenceConfig:
        """How scale and background are fitted before."""
        return DifferenceConfig(self.background_order, self.clip_sigma, self.rounds)


_MIN_STARS = 5
_STAR_SIGMA = 30.0
# Signal to noise of a star's brightest pixel from which it says something about a kernel.
_KERNEL_ORDERS = ((1000, 1000, 3), (160, 400, 2), (40, 100, 1), (_MIN_STARS, 0, 0))
# Stars and pixels along a side from which a kernel may vary with this order.


def match_template(
    image: NDArray[np.floating],
    uncertainty: NDArray[np.floating],
    model: FineModel,
    *,
    template_uncertainty: NDArray[np.floating],
    excluded: NDArray[np.bool_],
    config: MatchConfig | None = None,
) -> Difference:
    """Return an image less a template that is convolved to match it, and less a background.

    Parameters
    ----------
    image : (ny, nx) float
        Window of an FFI, any unit; NaN where unknown.
    uncertainty : (ny, nx) float
        Its standard deviation.
    model : FineModel
        The template, finely sampled around the same pixels.
    template_uncertainty : (ny, nx) float
        The template's standard deviation in its own unit; NaN where it has no coverage.
    excluded : (ny, nx) bool
        Pixels to leave out of the fit; they are subtracted too.
    config : MatchConfig, optional
        How to fit.

    Returns
    -------
    Difference
        The difference image and what was fitted; image and model are NaN where the template has no
        coverage, as what shines there would pass for new.

    Raises
    ------
    ConfigError
        If shapes differ.
    RenderingError
        If there are too few stars or pixels, or they don't tell a scale above zero.

    Notes
    -----
    A fit of scale and background tells roughly what is light, and its residual over large boxes
    what of the background no polynomial follows; then `fit_kernel`, over all pixels
    or, in a large window, over those around the brightest stars of each part of it. Each pixel's
    weight is the inverse of the variance of image and template together, and of `flux_error` times
    its light: bright stars differ from any template by more than their noise. The kernel varies
    with an order that stars and window allow.
    """
    config = config or MatchConfig()
    # Of more pixels only some are fitted, and passing over all of them is what costs.
    is_wide = image.size > config.max_pixels
    if is_wide:
        image, uncertainty = (np.asarray(plane, np.float32) for plane in (image, uncertainty))
    given = _Given(image, uncertainty, model, template_uncertainty, excluded)
    taps = Taps.within(config.radius_px, model)
    rough = _guess_widely(given, taps, config) if is_wide else _guess(given, taps, config)
    stars = find_peaks(rough.light, _STAR_SIGMA * rough.noise, rough.good)
    sigma = np.hypot(rough.noise, config.flux_error * np.maximum(rough.light, 0))
    uneven = mesh_background(np.where(rough.good, rough.residual, np.nan), config.mesh_px)
    fit = (fit_kernel_widely if is_wide else fit_kernel)(
        image - uneven,
        sigma,
        model,
        _around_stars(stars, rough.good, config),
        taps=taps,
        orders=(_kernel_order(stars, rough.good), rough.background_order),
        scale=rough.scale,
        clipping=Clipping(config.clip_sigma, config.rounds, least_scatter=1.0),
    )
    convolved = convolve_widely(fit.kernel, model) if is_wide else fit.kernel.apply(model)
    convolved[~np.isfinite(template_uncertainty)] = np.nan
    found = Difference(
        image=image - convolved - fit.background - uneven,
        model=convolved,
        background=fit.background + uneven,
        used=fit.used,
        scale=check_scale(fit.scale),
        scale_error=fit.scale_error,
        scatter=fit.scatter,
        kernel=fit.kernel,
        stars=len(stars),
        background_order=rough.background_order,
    )
    return refine_background(found, rough.noise, excluded=~rough.good, mesh_px=config.mesh_px)


@dataclass(frozen=True)
class _Given:
    """What is subtracted from what, as of `match_template`."""

    image: NDArray[np.floating]
    uncertainty: NDArray[np.floating]
    model: FineModel
    template_uncertainty: NDArray[np.floating]
    excluded: NDArray[np.bool_]

    def noise(self, scale: float) -> NDArray[np.floating]:
        return np.asarray(np.hypot(self.uncertainty, scale * self.template_uncertainty))


@dataclass(frozen=True)
class _Rough:
    """What scale and background alone tell: light, what is left, noise, and which pixels count."""

    scale: float
    background_order: int
    light: NDArray[np.floating]
    residual: NDArray[np.floating]
    noise: NDArray[np.floating]
    good: NDArray[np.bool_]


def _guess(given: _Given, taps: Taps, config: MatchConfig) -> _Rough:
    """Fit scale and background to all pixels."""
    model = given.model
    still = VaryingKernel(taps, terms_of(0), taps.centre[None]).apply(model)
    good = ~given.excluded & np.isfinite(given.template_uncertainty)
    rough = subtract_template(
        given.image, given.uncertainty, still, excluded=~good, config=config.of_scale
    )
    noise = given.noise(rough.scale)
    good &= np.isfinite(noise) & (noise > 0) & np.isfinite(rough.image)
    return _Rough(rough.scale, rough.background_order, rough.model, rough.image, noise, good)


def _guess_widely(given: _Given, taps: Taps, config: MatchConfig) -> _Rough:
    """Fit scale and background to some pixels of a large window."""
    model = given.model
    still = convolve_widely(taps.still(), model)
    good = ~given.excluded & reached(model, taps) & np.isfinite(given.image)
    good &= np.isfinite(given.template_uncertainty) & (given.uncertainty > 0)
    planes = given.image, given.uncertainty, still
    guess = guess_scale(planes, good, config.of_scale, most=config.max_pixels)
    light = np.float32(guess.scale) * still
    residual = given.image - light - guess.background
    noise = given.noise(guess.scale)
    return _Rough(guess.scale, guess.background_order, light, residual, noise, good)


def refine_background(
    difference: Difference,
    noise: NDArray[np.floating],
    *,
    excluded: NDArray[np.bool_],
    mesh_px: int,
) -> Difference:
    """Return a difference whose background follows what is left of it over large boxes.

    Parameters
    ----------
    difference : Difference
        The difference.
    noise : (ny, nx) float
        Its standard deviation.
    excluded : (ny, nx) bool
        Pixels that don't count.
    mesh_px : int
        Side of the boxes.

    Returns
    -------
    Difference
        With the scatter of the pixels that count, in units of their noise.
    """
    good = ~excluded & np.isfinite(difference.image) & (noise > 0)
    more = mesh_background(np.where(good, difference.image, np.nan), mesh_px)
    image = difference.image - more
    pulls = image[good] / noise[good]
    return replace(
        difference,
        image=image,
        background=difference.background + more,
        scatter=MAD_TO_SIGMA * float(np.median(np.abs(pulls - np.median(pulls)))),
    )


def _kernel_order(stars: Peaks, good: NDArray[np.bool_]) -> int:
    """Return the order of the kernel's variation that stars and window allow."""
    lines = [np.flatnonzero(good.any(axis)) for axis in (0, 1)]
    side = min(int(np.ptp(line)) + 1 if line.size else 0 for line in lines)
    for least_stars, least_side, order in _KERNEL_ORDERS:
        if len(stars) >= least_stars and side >= least_side:
            return order
    raise RenderingError(
        f"too few unflagged stars stand out by {_STAR_SIGMA:g} sigma: {len(stars)}, a kernel needs "
        f"{_MIN_STARS}: give the template of a larger region (64 x 64 px mostly hold enough), or "
        "`kernel` none for scale and background only"
    )


def _around_stars(stars: Peaks, good: NDArray[np.bool_], config: MatchConfig) -> NDArray[np.bool_]:
    """Return the pixels to fit: all, or those around the brightest stars of each part."""
    if good.sum() <= config.max_pixels:
        return good
    reach = math.ceil(config.radius_px) + 2
    quota = config.max_pixels / (2 * reach + 1) ** 2
    parts = math.ceil(math.sqrt(quota / 6))
    down, across = (
        v * parts // n for v, n in zip((stars.row, stars.column), good.shape, strict=True)
    )
    number = down * parts + across
    # Stars come the brightest first: the rank within a part is how many came before.
    order = np.argsort(number, kind="stable")
    first = np.searchsorted(number[order], np.arange(parts**2))
    rank = np.empty(len(stars), np.int64)
    rank[order] = np.arange(len(stars)) - first[number[order]]
    some = stars[rank < max(1, math.floor(quota / parts**2))]
    chosen = np.zeros(good.shape, np.bool_)
    for y, x in zip(some.row.tolist(), some.column.tolist(), strict=True):
        chosen[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = True
    return chosen & good
