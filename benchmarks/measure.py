"""How far a template is from the truth: star by star, and in sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from astropy.wcs import WCS
from scipy.optimize import least_squares

from benchmarks.skies import Product
from syndiff.simulation import Simulation
from syndiff.simulation.ffi import wcs_of
from syndiff.simulation.sources import Sources
from syndiff.window import Window

Draw = Callable[[Window, Sources], np.ndarray]

_CORE_PX = 2
_REACH_PX = 6


@dataclass(frozen=True)
class StarErrors:
    """Errors of stars, one value each, over the pixels nearer to it than to other stars.

    Parameters
    ----------
    rms : (n,) float64
        Root mean square of (template - truth) / peak over 5 x 5 pixels.
    largest : (n,) float64
        Largest of \\|template - truth\\| / peak over 13 x 13 pixels.
    flux : (n,) float64
        Template's flux over the truth's, minus 1, over 13 x 13 pixels.
    shift_px : (n,) float64
        Distance between the first moments of template and truth over 13 x 13 pixels.
    star : (n,) float64
        Index among the simulation's stars.
    """

    rms: np.ndarray
    largest: np.ndarray
    flux: np.ndarray
    shift_px: np.ndarray
    star: np.ndarray

    def __getitem__(self, index) -> StarErrors:
        return StarErrors(*(getattr(self, field.name)[index] for field in fields(self)))

    @classmethod
    def joined(cls, parts) -> StarErrors:
        """Return the errors of several measurements as one."""
        return cls(
            *(np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(cls))
        )


@dataclass(frozen=True)
class Accuracy:
    """Errors of a template.

    Parameters
    ----------
    stars : StarErrors
        One value for each of the simulation's stars that fall on the template.
    total : float
        Sum of the template over that of the truth, minus 1.
    blank : int
        Pixels without a value although COVERAGE is at least 0.5.
    """

    stars: StarErrors
    total: float
    blank: int


def measure(
    product: Product,
    simulation: Simulation,
    *,
    psf_sigma: float | None,
    offset: tuple[float, float],
    draw: Draw | None = None,
) -> Accuracy:
    """Compare a template with the truth.

    Parameters
    ----------
    product : Product
        The template.
    simulation : Simulation
        What it was made of.
    psf_sigma : float or None
        Its response, PS1 pixels; None for the simulation's measured response.
    offset : (float, float)
        Its offset, TESS pixels.
    draw : callable, optional
        What to compare with instead of the simulation's truth: the image of sources in a window.

    Returns
    -------
    Accuracy
        The errors.
    """
    window, flux = product.window, product.flux

    def true(window: Window, sources: Sources) -> np.ndarray:
        if draw is not None:
            return draw(window, sources)
        return simulation.truth(window, psf_sigma_px=psf_sigma, offset=offset, sources=sources)

    truth = true(window, simulation.sources)
    residual = flux - truth
    x, y = star_pixels(simulation, offset)
    rows = []
    for k in range(len(x)):
        stamp = _stamp(x[k], y[k], window)
        if stamp is None:
            continue
        own = true(stamp, simulation.sources[k : k + 1])
        errors = residual[
            stamp.y0 - window.y0 : stamp.y1 - window.y0, stamp.x0 - window.x0 : stamp.x1 - window.x0
        ]
        mine = _nearest(k, x, y, stamp)
        rows.append([*_star_errors(errors * mine, own, (x[k], y[k]), stamp), k])
    return Accuracy(
        StarErrors(*np.array(rows).T),
        float(np.nansum(residual) / truth[np.isfinite(residual)].sum()),
        int((np.isnan(flux) & (product.planes["COVERAGE"] >= 0.5)).sum()),
    )


def star_pixels(simulation: Simulation, offset: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """Return FFI pixels (x, y) of the given stars, moved by an offset."""
    stars = simulation.config.sky.stars
    sky = [star.ra_deg for star in stars], [star.dec_deg for star in stars]
    x, y = wcs_of(simulation.config.ffi.wcs_cards).all_world2pix(*sky, 0, tolerance=1e-7)
    return x + offset[0], y + offset[1]


def _stamp(x: float, y: float, window: Window) -> Window | None:
    """Return the 13 x 13 pixels around a star that a window holds; None if it lacks the middle."""
    i, j = round(x), round(y)
    if Window(i, j, i + 1, j + 1).intersection(window) is None:
        return None
    size = 2 * _REACH_PX + 1
    x0, y0 = i - _REACH_PX, j - _REACH_PX
    return Window(x0, y0, x0 + size, y0 + size).intersection(window)


def _nearest(k: int, x: np.ndarray, y: np.ndarray, stamp: Window) -> np.ndarray:
    """Tell which pixels are nearer to star k than to any other."""
    rows, columns = np.mgrid[stamp.y0 : stamp.y1, stamp.x0 : stamp.x1]
    distance = np.hypot(columns - x[:, None, None], rows - y[:, None, None])
    return distance.argmin(axis=0) == k


def _star_errors(
    residual: np.ndarray, own: np.ndarray, place: tuple[float, float], stamp: Window
) -> tuple[float, ...]:
    """Return rms, largest, flux and shift of one star; NaN pixels are errors by themselves."""
    x = np.arange(stamp.x0, stamp.x1) - round(place[0])
    y = (np.arange(stamp.y0, stamp.y1) - round(place[1]))[:, None]
    peak, seen = own.max(), own + residual
    core = (abs(x) <= _CORE_PX) & (abs(y) <= _CORE_PX)
    shift = [(k * seen).sum() / seen.sum() - (k * own).sum() / own.sum() for k in (x, y)]
    return (
        float(np.sqrt((residual[core] ** 2).mean()) / peak),
        float(abs(residual).max() / peak),
        float(residual.sum() / own.sum()),
        float(np.hypot(*shift)),
    )


def position_errors(product: Product, simulation: Simulation) -> np.ndarray:
    """Return how far stars lie from where the template's own WCS puts them, in TESS pixels.

    A pixel-integrated Gaussian of any width and orientation is fitted to 9 x 9 pixels around the
    place that the header's WCS gives for the star's catalogue position.

    Returns
    -------
    (n,) float64
        For stars with 9 x 9 pixels on the template.
    """
    wcs, window, flux = WCS(product.header), product.window, product.flux
    stars = simulation.config.sky.stars
    x, y = wcs.all_world2pix(
        [star.ra_deg for star in stars], [star.dec_deg for star in stars], 0, tolerance=1e-7
    )
    others = [np.sort(np.hypot(x - a, y - b))[1] for a, b in zip(x, y, strict=True)]
    errors = []
    for a, b, nearest in zip(x, y, others, strict=True):
        i, j = round(a), round(b)
        if nearest < 6 or not (4 <= i < window.shape[1] - 4 and 4 <= j < window.shape[0] - 4):
            continue
        fitted = _fit_gaussian(flux[j - 4 : j + 5, i - 4 : i + 5], (a - i, b - j))
        errors.append(np.hypot(fitted[0] - (a - i), fitted[1] - (b - j)))
    return np.array(errors)


def _fit_gaussian(stamp: np.ndarray, start: tuple[float, float]) -> tuple[float, float]:
    """Return the centre of the pixel-integrated Gaussian that fits best, from the middle pixel."""
    half = stamp.shape[0] // 2
    nodes, weights = np.polynomial.legendre.leggauss(6)
    fine = (np.arange(-half, half + 1)[:, None] + nodes / 2).ravel()
    u, v = np.meshgrid(fine, fine)
    size = stamp.shape[0]

    def model(p: np.ndarray) -> np.ndarray:
        du, dv = u - p[0], v - p[1]
        values = np.exp(-0.5 * (p[3] * du**2 + 2 * p[4] * du * dv + p[5] * dv**2))
        pixels = values.reshape(size, 6, size, 6)
        return p[2] * np.einsum("aibj,i,j->ab", pixels, weights / 2, weights / 2)

    scale = stamp.max()
    fit = least_squares(
        lambda p: (model(p) - stamp / scale).ravel(), [*start, 1.5, 4.0, 0.0, 4.0], xtol=1e-12
    )
    return float(fit.x[0]), float(fit.x[1])
