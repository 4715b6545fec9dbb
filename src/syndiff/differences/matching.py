"""Match a finely sampled template to an image: a kernel that varies over the field.

The kernel acts on samples half a pixel apart, where a template is sampled well enough to be
shifted, widened and narrowed; only its result is taken at the image's pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.legendre import legvander

from syndiff.differences.clipped_fit import Clipping, Prior, fit_clipped
from syndiff.errors import ConfigError
from syndiff.kernels.convolve import convolve_varying

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "FineModel",
    "KernelFit",
    "Taps",
    "VaryingKernel",
    "fit_kernel",
    "prior_of",
    "terms_of",
]


@dataclass(frozen=True)
class FineModel:
    """A template sampled f times a pixel and axis, around a window of the image.

    Parameters
    ----------
    phases : (f, f, rows, columns) float32
        ``phases[j, i, pad + y, pad + x]`` is the flux in a whole TESS pixel that is centred at
        ``(x + first + i / f, y + first + j / f)``, pixels counted from the window's first; NaN
        where unknown.
    pad_px : int
        Pixels before the window's first and after its last.
    first_px : float
        Where the first phase lies from a pixel's centre.
    """

    phases: NDArray[np.float32]
    pad_px: int
    first_px: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the window."""
        rows, columns = self.phases.shape[2:]
        return rows - 2 * self.pad_px, columns - 2 * self.pad_px


@dataclass(frozen=True)
class Taps:
    """The samples that a kernel reaches.

    Parameters
    ----------
    cells : (m, 4) int64
        Phase in y and x, and pixels in y and x.
    places : (m, 2) float64
        y and x from the pixel's centre, in pixels.
    """

    cells: NDArray[np.int64]
    places: NDArray[np.float64]

    @classmethod
    def within(cls, radius_px: float, model: FineModel) -> Taps:
        """Return the samples within a radius.

        Parameters
        ----------
        radius_px : float
            Radius in pixels, from 1 to the model's padding.
        model : FineModel
            What is sampled.

        Returns
        -------
        Taps
            The samples.

        Raises
        ------
        ConfigError
            If the radius is out of range.
        """
        if not 1 <= radius_px <= model.pad_px:
            raise ConfigError(
                f"kernel radius {radius_px} px is out of range: give 1 to {model.pad_px}"
            )
        fine = model.phases.shape[0]
        whole = np.arange(-model.pad_px, model.pad_px + 1)
        grid = np.meshgrid(np.arange(fine), np.arange(fine), whole, whole, indexing="ij")
        cells = np.stack([axis.ravel() for axis in grid], -1)
        places = cells[:, 2:] + cells[:, :2] / fine + model.first_px
        near = np.hypot(*places.T) <= radius_px + 1e-9
        return cls(cells[near], places[near])

    def from_corner(self, model: FineModel) -> NDArray[np.int64]:
        """Return the samples of the window's first pixel.

        Parameters
        ----------
        model : FineModel
            What is sampled.

        Returns
        -------
        (m, 4) int64
            Phase in y and x, row and column of each.
        """
        return np.asarray(self.cells + np.array([0, 0, model.pad_px, model.pad_px]))

    def still(self) -> VaryingKernel:
        """Return the kernel of `centre`, of those samples alone that it has weights of.

        Returns
        -------
        VaryingKernel
            The same everywhere.
        """
        own = self.centre > 0
        taps = Taps(self.cells[own], self.places[own])
        return VaryingKernel(taps, terms_of(0), self.centre[own][None])

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """Weights that leave an image as it is, but for interpolation between the nearest four."""
        spacing = np.diff(np.unique(self.places[:, 0]))[0]
        return np.asarray(np.clip(1 - np.abs(self.places) / spacing, 0, None).prod(1))


@dataclass(frozen=True)
class VaryingKernel:
    """A kernel whose weights are polynomials over a window.

    Parameters
    ----------
    taps : Taps
        Where its weights lie.
    terms : (k, 2) int64
        Orders in y and x of each product of Legendre polynomials; the first is constant.
    weights : (k, m) float64
        Of each term and tap.
    """

    taps: Taps
    terms: NDArray[np.int64]
    weights: NDArray[np.float64]

    def at(self, y: NDArray[np.floating], x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the weights at some places.

        Parameters
        ----------
        y, x : (n,) float
            Places in the window, each from -1 (its first pixel) to 1 (its last).

        Returns
        -------
        (n, m) float64
            Weights of the taps.
        """
        return np.asarray(_products((y, x), self.terms) @ self.weights)

    def sums(self) -> NDArray[np.float64]:
        """Return the sum of the weights at 5 x 5 places over the window.

        Returns
        -------
        (25,) float64
            The scale there.
        """
        y, x = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5), indexing="ij")
        return np.asarray(self.at(y.ravel(), x.ravel()).sum(1))

    def apply(self, model: FineModel) -> NDArray[np.float64]:
        """Return the convolved model at the window's pixels.

        Parameters
        ----------
        model : FineModel
            The samples.

        Returns
        -------
        (ny, nx) float64
            NaN where a sample is unknown.
        """
        order = int(self.terms.max())
        coefficients = np.zeros((len(self.taps.cells), order + 1, order + 1))
        for (j, i), weights in zip(self.terms, self.weights, strict=True):
            coefficients[:, j, i] = weights
        down, across = (legvander(_axis(n), order).T.copy() for n in model.shape)
        out = np.empty(model.shape)
        cells = self.taps.from_corner(model)
        convolve_varying(model.phases, cells, coefficients, down, across, out)
        return out


@dataclass(frozen=True)
class KernelFit:
    """A kernel and a background fitted to an image.

    Parameters
    ----------
    kernel : VaryingKernel
        In the image's unit.
    background : (ny, nx) float
        In the image's unit.
    used : (ny, nx) bool
        Pixels of the last fit.
    scale, scale_error : float
        Sum of the kernel, mean over the field, and its standard deviation.
    scatter : float
        Robust standard deviation of the residuals in units of `sigma`.
    """

    kernel: VaryingKernel
    background: NDArray[np.floating]
    used: NDArray[np.bool_]
    scale: float
    scale_error: float
    scatter: float


def fit_kernel(
    image: NDArray[np.float64],
    sigma: NDArray[np.float64],
    model: FineModel,
    chosen: NDArray[np.bool_],
    *,
    taps: Taps,
    orders: tuple[int, int],
    scale: float,
    clipping: Clipping,
) -> KernelFit:
    """Fit a kernel and a background to the chosen pixels of an image.

    Parameters
    ----------
    image, sigma : (ny, nx) float64
        Pixels and their standard deviations.
    model : FineModel
        The template around the same pixels.
    chosen : (ny, nx) bool
        Pixels to fit; everything is known there.
    taps : Taps
        The kernel's samples.
    orders : (int, int)
        Total orders of the polynomials of the kernel's weights and of the background.
    scale : float
        Roughly the kernel's sum: how wide its prior is.
    clipping : Clipping
        When to leave a pixel out.

    Returns
    -------
    KernelFit
        What was found.

    Raises
    ------
    RenderingError
        If the pixels are too few.

    Notes
    -----
    Linear least squares (Alard & Lupton 1998, ApJ 503, 325; weights free in every sample as Bramich
    2008, MNRAS 386, L77). A template says next to nothing of its kernel's finest structure; there a
    normal prior holds the weights at those of no kernel: its standard deviation is 0.3 of the
    scale in the middle, falling outwards, and smaller for variation over the field.
    """
    terms, smooth = terms_of(orders[0]), terms_of(orders[1])
    design = _Design(model, taps, terms, smooth, np.flatnonzero(chosen))
    known = prior_of(taps, terms, len(smooth), scale)
    flat = np.flatnonzero(chosen)
    fit = fit_clipped(
        design, image.ravel()[flat], sigma.ravel()[flat], clipping=clipping, prior=known
    )
    m = len(taps.cells)
    weights = fit.values[: m * len(terms)].reshape(len(terms), m)
    down, across = (legvander(_axis(n), orders[1]) for n in model.shape)
    background = np.zeros(model.shape)
    for (j, i), value in zip(smooth, fit.values[m * len(terms) :], strict=True):
        background += value * np.outer(down[:, j], across[:, i])
    used = np.zeros(image.shape, np.bool_)
    used.flat[flat[fit.used]] = True
    return KernelFit(
        kernel=VaryingKernel(taps, terms, weights),
        background=background,
        used=used,
        scale=float(weights[0].sum()),
        scale_error=math.sqrt(fit.covariance[:m, :m].sum()),
        scatter=fit.scatter,
    )


@dataclass(frozen=True)
class _Design:
    """Samples around pixels, times polynomials; and the background's polynomials."""

    fine_model: FineModel
    taps: Taps
    terms: NDArray[np.int64]
    smooth: NDArray[np.int64]
    flat: NDArray[np.intp]

    @property
    def pixels(self) -> int:
        return len(self.flat)

    @property
    def columns(self) -> int:
        return len(self.terms) * len(self.taps.cells) + len(self.smooth)

    def rows(self, pixels: NDArray[np.intp]) -> NDArray[np.float64]:
        samples, places = self._samples(pixels)
        # The kernel's weight of tap m is sum_t c[t, m] P_t(x, y): the unknown c[t, m] multiplies
        # the product of polynomial t at the pixel and the sample under the tap.
        products = _products(places, self.terms)
        varied = products[:, :, None] * samples[:, None, :]
        return np.hstack(
            [varied.reshape(len(pixels), -1), _products(places, self.smooth)], dtype=np.float64
        )

    def model(self, pixels: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
        samples, places = self._samples(pixels)
        # As `rows(pixels) @ values`, without the rows: a hundred numbers a pixel, not thousands.
        size = samples.shape[1] * len(self.terms)
        weights = _products(places, self.terms) @ values[:size].reshape(len(self.terms), -1)
        smooth = _products(places, self.smooth) @ values[size:]
        return np.asarray(np.einsum("nm,nm->n", weights, samples) + smooth)

    def _samples(
        self, pixels: NDArray[np.intp]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float64]]]:
        """Return the samples that the kernel reaches, (n, m), and the pixels' places, -1 to 1."""
        y, x = np.divmod(self.flat[pixels], self.fine_model.shape[1])
        phases, pad = self.fine_model.phases, self.fine_model.pad_px
        # The samples as one line of numbers: where a tap's lies from pixel (0, 0), and how far on
        # the pixel is, add up. [phase y, phase x, row, column] with `pad` pixels before the first.
        fine, _, height, width = phases.shape
        phase_y, phase_x, down, across = self.taps.cells.T
        steps = ((phase_y * fine + phase_x) * height + down + pad) * width + across + pad
        samples = phases.ravel()[(y * width + x)[:, None] + steps]
        return samples, [_axis(n)[v] for n, v in zip(self.fine_model.shape, (y, x), strict=True)]


_PRIOR_WIDTH = 0.3
_PRIOR_REACH_PX = 0.8
_PRIOR_FLOOR = 1e-4
_PRIOR_VARIATION = 0.3
# Five stars can't tell the outermost weights: free to 0.003, they left rings of 6 times UNCERT
# around bright stars of a field of 64 px, with these a sixth of the pixels beyond 5 times UNCERT.


def prior_of(taps: Taps, terms: NDArray[np.int64], smooth: int, scale: float) -> Prior:
    """Return what is known of the weights before; nothing of the background.

    Parameters
    ----------
    taps : Taps
        The kernel's samples.
    terms : (k, 2) int64
        Products of polynomials by which weights vary.
    smooth : int
        Numbers of the background.
    scale : float
        Roughly the kernel's sum.

    Returns
    -------
    Prior
        Of (k, m) weights, a term after the other, then of the background's numbers.
    """
    # Normal, around the kernel that leaves the template as it is: scale in the middle, 0 elsewhere.
    distance = np.hypot(*taps.places.T)
    width = _PRIOR_WIDTH * np.exp(-0.5 * (distance / _PRIOR_REACH_PX) ** 2) + _PRIOR_FLOOR
    widths = np.outer(np.where(terms.sum(1) == 0, 1.0, _PRIOR_VARIATION), width).ravel() * scale
    mean = np.zeros(widths.size + smooth)
    mean[: len(width)] = scale * taps.centre
    return Prior(mean, np.concatenate([widths**-2.0, np.zeros(smooth)]))


def terms_of(order: int) -> NDArray[np.int64]:
    """Return the orders in y and x of all products up to a total order, the constant first.

    Parameters
    ----------
    order : int
        The total order.

    Returns
    -------
    (k, 2) int64
        Those of a lower order are the first ones.
    """
    pairs = [(total - k, k) for total in range(order + 1) for k in range(total + 1)]
    return np.array(pairs, np.int64)


def _axis(n: int) -> NDArray[np.float64]:
    """Return the places of n pixels, from -1 to 1."""
    return np.linspace(-1, 1, n)


def _products(
    places: Sequence[NDArray[np.floating]], terms: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return (n, k) products of Legendre polynomials."""
    order = int(terms.max())
    down, across = (legvander(v, order) for v in places)
    return np.asarray(down[:, terms[:, 0]] * across[:, terms[:, 1]])
