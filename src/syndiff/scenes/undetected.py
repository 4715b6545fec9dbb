"""Undetected light: its part in the uncertainty of templates, and its smoothed estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import BAND_WEIGHTS, BANDS
from syndiff.constants import MAD_TO_SIGMA
from syndiff.stacks.coding import asinh_decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.config import Background
    from syndiff.stacks.reduction import ReducedSkycell

    FloatPlane = NDArray[np.float32]

__all__ = ["counted_variance", "left_out_light", "smooth_faint_light"]

CELL_ARCSEC = 8.0
"""Cells that undetected light is kept on."""

_PEAKS = {"matched": 0.165, "sep": 0.015}
"""Part of the variance of undetected noise that stays in: its peaks and troughs are detected.

From stacks that hold nothing but noise, correlated as PS1's is, on the scale of a TESS pixel
(threshold 3 sigma).
"""

_NOISE_AREA = {"matched": 0.022, "sep": 0.002}
"""Part of such stacks that is detected."""

_CONFUSION = {"matched": (0.35, 1.0), "sep": (0.42, 0.5)}
"""Factor and power: variance of light that is left out over that of the noise, by the part of the
sky that holds detected light. The more sources are detected, the more are just not; `sep` leaves
out brighter galaxies too, of which there are as many behind any number of stars.

Fitted, as `_FRINGES` is, to templates less the truth of simulated skies of 1e4 and 1e5 stars per
square degree (docs/faint-light.md shows how well it does there and at 1e6). It can't be had from
the scatter of what is undetected: a source is undetected where the noise makes it fainter, so that
their sum scatters little more than the noise alone.
"""

_FRINGES = {"matched": 0.5, "sep": 0.3}
"""Variance of what is cut off around detected light, over that of the noise under it."""

_LEVEL_NOISE = 0.16
"""Variance of the error of the level over a TESS pixel, over that of the pixel's noise.

Undetected light is what is above the level, so that smoothing it brings the level's error in; where
undetected light is left out or the level put back, it cancels. Fitted as the others are.
"""

_BOX_CELLS = 9
"""Side of the boxes that smooth `left_out_light`: two are as wide as a Gaussian of 29"."""

_RESPONSE_VARIANCE = 10.0**2 + 21.0**2 / 12
"""Of the usual response, square arcsec: a Gaussian of sigma 40 PS1 pixels, and the TESS pixel."""


def counted_variance(
    reduced: ReducedSkycell, background: Background, diffuse_arcsec: float = 0.0
) -> tuple[FloatPlane, float]:
    """Return how much of the variance of pixels a template's uncertainty counts.

    Parameters
    ----------
    reduced : ReducedSkycell
        A skycell.
    background : {"matched", "sep", "none"}
        What counts as light.
    diffuse_arcsec : float
        Width of the Gaussian by which undetected light is smoothed before it is added; 0: it is
        left out.

    Returns
    -------
    detected : (n8y, n8x) float32
        Factor on the variance of detected pixels; 1 where everything is in.
    undetected : float
        On that of undetected ones. They hold the scatter of the light that is left out, and of
        noise what is in.

    Notes
    -----
    The mean of the light that is left out is no scatter and not in it. With undetected light
    smoothed by a Gaussian of variance D^2, and the response R^2, noise on the scale of a pixel
    returns by ``R^2 / (R^2 + D^2)`` in variance, and of the light's own scatter
    ``1 - 4 R^2 / (2 R^2 + D^2) + R^2 / (R^2 + D^2)`` is left: integrals of the squared transforms.
    """
    detected = np.ones(reduced.count.shape[1:], np.float32)
    if background == "none":
        return detected, 1.0
    whole = _whole(reduced)
    detected[~whole] += _FRINGES[background]
    sources = max(0.0, _detected_area(reduced, whole) - _NOISE_AREA[background])
    back, left = _smoothed_parts(diffuse_arcsec)
    peaks = _PEAKS[background]
    factor, power = _CONFUSION[background]
    undetected = peaks + (1 - peaks) * back + factor * sources**power * left
    return detected, undetected


def _whole(reduced: ReducedSkycell) -> NDArray[np.bool_]:
    """Return the 8" cells amidst others of which all is detected, as in extended light."""
    from scipy.ndimage import binary_opening

    undetected = reduced.variances[:, 1].any(axis=0)
    return np.asarray(binary_opening(~undetected & reduced.count.any(axis=0), np.ones((3, 3))))


def _smoothed_parts(diffuse_arcsec: float) -> tuple[float, float]:
    """Return what smoothing brings in of the noise, and leaves out of the light."""
    if not diffuse_arcsec:
        return 0.0, 1.0
    response, smoothing = _RESPONSE_VARIANCE, diffuse_arcsec**2
    back = response / (response + smoothing)
    return back + _LEVEL_NOISE, 1 - 4 * response / (2 * response + smoothing) + back


def _detected_area(reduced: ReducedSkycell, whole: NDArray[np.bool_]) -> float:
    """Return the part of a skycell's sky that holds detected light, extended light aside.

    From the variance of its pixels, capped at that of the empty sky: stars add their own.
    """
    variance = np.zeros((2, *reduced.count.shape[1:]), np.float32)
    count = np.zeros(reduced.count.shape[1:], np.float32)
    for k, band in enumerate(reduced.bands):
        weight = np.float32(BAND_WEIGHTS[BANDS.index(band)])
        variance += weight**2 * reduced.variances[k]
        count += weight * reduced.count[k]
    known = (count > 0) & ~whole
    if not known.any():
        return 0.0
    detected, undetected = variance[0][known], variance[1][known]
    empty = np.median((detected + undetected) / count[known]) * count[known]
    total = float(empty.sum(dtype=np.float64))
    return float(np.minimum(detected, empty).sum(dtype=np.float64)) / total if total else 0.0


def smooth_faint_light(
    faint: FloatPlane, count: NDArray[np.uint16], diffuse_arcsec: float
) -> FloatPlane:
    """Return the undetected light of one band as a smooth sheet.

    Parameters
    ----------
    faint : (n8y, n8x) float32
        Undetected light of 8" cells.
    count : (n8y, n8x) uint16
        Pixels with data of each cell, with detected light or not.
    diffuse_arcsec : float
        Standard deviation of the Gaussian that smooths it.

    Returns
    -------
    (n8y, n8x) float32
        Light of the cells: ``count`` times the smoothed light over the smoothed counts. Where a
        skycell ends or lacks data, light is what the pixels near by say; nothing is lost to what
        is outside, and overlapping skycells agree except for what only one of them sees.
    """
    from scipy.ndimage import gaussian_filter

    sigma = diffuse_arcsec / CELL_ARCSEC
    light = gaussian_filter(faint.astype(np.float64), sigma, mode="constant")
    pixels = gaussian_filter(count.astype(np.float64), sigma, mode="constant")
    brightness = np.zeros_like(light)
    np.divide(light, pixels, out=brightness, where=count > 0)
    return np.asarray(brightness * count, np.float32)


def left_out_light(
    reduced: ReducedSkycell, background: Background, diffuse_arcsec: float = 0.0
) -> FloatPlane:
    """Return an estimate of the light that a template leaves out, smoothed, and its error.

    Parameters
    ----------
    reduced : ReducedSkycell
        A skycell.
    background : {"matched", "sep", "none"}
        What counts as light.
    diffuse_arcsec : float
        As in `counted_variance`: what is added smoothed is not left out.

    Returns
    -------
    (2, n8y, n8x) float32
        Light of 8" cells, all bands weighted: undetected light, and by how much the level stands
        above the skycell's median level, under two boxes of 72"; and one standard deviation of it:
        how it scatters over the skycell, be it noise, a ripple or light.
    """
    shape = reduced.count.shape[1:]
    if background == "none":
        return np.zeros((2, *shape), np.float32)
    weights = np.array([BAND_WEIGHTS[BANDS.index(band)] for band in reduced.bands], np.float32)
    count = np.tensordot(weights, reduced.count.astype(np.float32), axes=1)
    level = np.tensordot(weights / weights.sum(), reduced.level, axes=1)
    above = level - np.median(level)
    light = np.repeat(np.repeat(above, 8, 0), 8, 1)[: shape[0], : shape[1]] * count
    if not diffuse_arcsec:
        for weight, codes, sigma in zip(weights, reduced.faint, reduced.faint_sigma, strict=True):
            light += weight * asinh_decode(codes, sigma)
    pixels = _boxed(count)
    brightness = np.zeros_like(light)
    np.divide(_boxed(light), pixels, out=brightness, where=pixels > 0)
    known = brightness[count > 0]
    middle = np.median(known) if known.size else 0.0
    error = MAD_TO_SIGMA * np.median(np.abs(known - middle)) if known.size else 0.0
    return np.stack([brightness * count, error * count]).astype(np.float32)


def _boxed(plane: FloatPlane) -> FloatPlane:
    """Return a plane under two boxes of `_BOX_CELLS`: a Gaussian costs four times as much."""
    from scipy.ndimage import uniform_filter

    for _ in range(2):
        plane = uniform_filter(plane, _BOX_CELLS, mode="constant")
    return plane
