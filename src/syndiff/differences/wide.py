"""The difference of a large window, a whole CCD for example: as `match_template`, made for cost.

Where only some pixels are fitted, nothing is gained by passing over every one in double precision
before. So scale and background are guessed from every n-th pixel, planes are float32 as the FFI's
own, and the kernel is fitted by `fit_wide`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.legendre import legvander

from syndiff.differences.matching import KernelFit, Taps, VaryingKernel, prior_of, terms_of
from syndiff.differences.scaled import DifferenceConfig, check_scale, fit_scale
from syndiff.differences.wide_fit import Pixels, fit_wide
from syndiff.kernels.convolve import convolve_cubic
from syndiff.kernels.normal import gather_samples
from syndiff.kernels.widen import widen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.differences.clipped_fit import Clipping
    from syndiff.differences.matching import FineModel

__all__ = ["Guess", "convolve_widely", "fit_kernel_widely", "guess_scale", "reached"]

_BLOCKS = 32
# Along a side: in each the kernel's polynomials are nearly constant.


@dataclass(frozen=True)
class Guess:
    """Roughly what a template is in an image, from some of its pixels.

    Parameters
    ----------
    scale : float
        What flux 1 of the template is in the image.
    background : (ny, nx) float32
        Of all pixels.
    background_order : int
        Total order of its polynomial.
    """

    scale: float
    background: NDArray[np.float32]
    background_order: int


def guess_scale(
    planes: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]],
    good: NDArray[np.bool_],
    config: DifferenceConfig,
    *,
    most: int,
) -> Guess:
    """Return a template's scale and a background, fitted to every n-th row and column.

    Parameters
    ----------
    planes : three (ny, nx) float
        Image, uncertainty and template.
    good : (ny, nx) bool
        Pixels where everything is known.
    config : DifferenceConfig
        How to fit.
    most : int
        Pixels to fit, roughly.

    Returns
    -------
    Guess
        The background of all pixels.

    Raises
    ------
    RenderingError
        If pixels are too few, or tell no scale above zero.
    """
    step = max(1, int((good.size / most) ** 0.5))
    some = np.s_[::step, ::step]
    image, uncertainty, template = (plane[some] for plane in planes)
    fit, order = fit_scale((image, uncertainty, template), good[some], config)
    coefficients = np.zeros((order + 1, order + 1))
    for (j, i), value in zip(terms_of(order), fit.values[1:], strict=True):
        coefficients[j, i] = value
    # Polynomials go from -1 to 1 between the first and the last pixel that was fitted.
    down, across = (
        legvander(2 * np.arange(n) / (step * (k - 1)) - 1, order).astype(np.float32)
        for n, k in zip(good.shape, image.shape, strict=True)
    )
    background = down @ coefficients.astype(np.float32) @ across.T
    return Guess(check_scale(float(fit.values[0])), background, order)


def reached(model: FineModel, taps: Taps) -> NDArray[np.bool_]:
    """Return the pixels around which a kernel finds all of its samples.

    Parameters
    ----------
    model : FineModel
        The samples.
    taps : Taps
        Those of a pixel.

    Returns
    -------
    (ny, nx) bool
        False wherever one of them is unknown, or, at corners, one beside them.
    """
    unknown = np.isnan(sum(plane for row in model.phases for plane in row))
    reach = int(np.abs(taps.cells[:, 2:]).max())
    inside = slice(model.pad_px, -model.pad_px)
    return np.asarray(~widen(unknown, reach, reach)[inside, inside])


def fit_kernel_widely(
    image: NDArray[np.floating],
    sigma: NDArray[np.floating],
    model: FineModel,
    chosen: NDArray[np.bool_],
    *,
    taps: Taps,
    orders: tuple[int, int],
    scale: float,
    clipping: Clipping,
) -> KernelFit:
    """Fit a kernel and a background to the chosen pixels of a large image.

    Parameters
    ----------
    image, sigma, model, chosen, taps, orders, scale, clipping
        As of `fit_kernel`.

    Returns
    -------
    KernelFit
        What was found.

    Raises
    ------
    RenderingError
        If the pixels are too few.
    """
    terms, smooth = terms_of(orders[0]), terms_of(orders[1])
    flat, starts = _in_blocks(chosen)
    target, errors = (plane.ravel()[flat].astype(float) for plane in (image, sigma))
    sampled = _sample(model, taps, flat, max(orders))
    pixels = Pixels(*sampled, target, errors, starts)
    m = len(taps.cells)
    prior = prior_of(taps, terms, len(smooth), scale)
    # A last sample is always 1: its weights are the background's polynomial.
    start = np.full((pixels.products.shape[1], m + 1), np.nan)
    precision, summed = np.zeros(start.shape), np.zeros(start.shape, np.bool_)
    start[: len(terms), :m] = prior.mean[: len(terms) * m].reshape(-1, m)
    precision[: len(terms), :m] = prior.precision[: len(terms) * m].reshape(-1, m)
    start[: len(smooth), m] = 0
    summed[0, :m] = True
    fit = fit_wide(pixels, start=start, precision=precision, summed=summed, clipping=clipping)
    used = np.zeros(image.shape, np.bool_)
    used.flat[flat[fit.used]] = True
    return KernelFit(
        kernel=VaryingKernel(taps, terms, fit.weights[: len(terms), :m]),
        background=_surface(image.shape, fit.weights[: len(smooth), m], orders[1]),
        used=used,
        scale=float(fit.weights[0, :m].sum()),
        scale_error=fit.sum_error,
        scatter=fit.scatter,
    )


def _in_blocks(chosen: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the flat indices of pixels, those of a block together, and where blocks begin."""
    y, x = np.nonzero(chosen)
    down, across = (v * _BLOCKS // n for v, n in zip((y, x), chosen.shape, strict=True))
    block = down * _BLOCKS + across
    order = np.argsort(block, kind="stable")
    starts = np.flatnonzero(np.diff(block[order], prepend=-1, append=-1))
    return np.ravel_multi_index((y[order], x[order]), chosen.shape), starts


def _sample(
    model: FineModel, taps: Taps, flat: NDArray[np.intp], order: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the samples that a kernel reaches from pixels, and the polynomials there."""
    rows, columns = np.divmod(flat, model.shape[1])
    samples = np.empty((len(flat), len(taps.cells) + 1), np.float32)
    gather_samples(model.phases, taps.from_corner(model), rows, columns, samples)
    down, across = (
        legvander(np.linspace(-1, 1, n), order)[places]
        for n, places in zip(model.shape, (rows, columns), strict=True)
    )
    terms = terms_of(order)
    products = np.zeros((len(flat), len(terms) + len(terms) % 2), np.float32)
    products[:, : len(terms)] = down[:, terms[:, 0]] * across[:, terms[:, 1]]
    return samples, products


def _surface(
    shape: tuple[int, ...], values: NDArray[np.float64], order: int
) -> NDArray[np.float32]:
    """Return a polynomial over a window."""
    coefficients = np.zeros((order + 1, order + 1))
    coefficients[tuple(terms_of(order).T)] = values
    down, across = (legvander(np.linspace(-1, 1, n), order) for n in shape)
    return np.asarray((down @ coefficients).astype(np.float32) @ across.T.astype(np.float32))


def convolve_widely(kernel: VaryingKernel, model: FineModel) -> NDArray[np.float32]:
    """Return the convolved model at the window's pixels, as `VaryingKernel.apply` in float32.

    Parameters
    ----------
    kernel : VaryingKernel
        Of order 3 at most.
    model : FineModel
        The samples.

    Returns
    -------
    (ny, nx) float32
        NaN where a sample is unknown.
    """
    cells, weights = kernel.taps.from_corner(model), kernel.weights
    if len(cells) % 2:  # they are taken in pairs
        cells, weights = np.vstack([cells, cells[:1]]), np.pad(weights, ((0, 0), (0, 1)))
    coefficients = np.zeros((len(cells), 4, 4))
    for (j, i), values in zip(kernel.terms, weights, strict=True):
        coefficients[:, j, i] = values
    down, across = (legvander(np.linspace(-1, 1, n), 3).T.copy() for n in model.shape)
    out = np.empty(model.shape, np.float32)
    convolve_cubic(model.phases, cells, coefficients, down, across.astype(np.float32), out)
    return out
