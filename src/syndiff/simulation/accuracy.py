"""Errors of templates against the truth of a simulation."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.constants import ZERO_POINT
from syndiff.masks import DataQuality
from syndiff.simulation.ffi import wcs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from syndiff.simulation import Simulation
    from syndiff.templates.template import Template

__all__ = [
    "BoxAccuracy",
    "FieldAccuracy",
    "FluxRatio",
    "clean_pixels",
    "compare_box",
    "compare_field",
    "flux_ratios",
]

Offset = tuple[float, float]

_SPOILT = (
    DataQuality.NO_COVERAGE
    | DataQuality.MISSING_BAND
    | DataQuality.LEFT_OUT_LIGHT
    | DataQuality.SATURATED_IN_PS1
    | DataQuality.FAILED_SKYCELL
)
_OF_TESS = DataQuality.TESS_STRAP | DataQuality.TESS_SATURATED | DataQuality.TESS_BLEED
# What TESS's detectors do to FFIs; templates are none.
_SPOILT_REACH_PX = 2
# The response of 0.5 px (standard deviation) spreads light that far.
_STEP_PX = 1e-3
_SLOPE_FLUX = 100.0
# Magnitude 20: what is fainter has no say in positions.


@dataclass(frozen=True)
class BoxAccuracy:
    """One star of a template without noise against the truth.

    Parameters
    ----------
    rms, worst : float
        Of (template - truth) over a box around the star, in units of the truth's peak there.
    flux : float
        Flux in the box over that of the truth, less 1.
    centroid_px : float
        Distance of the flux-weighted centroids.
    """

    rms: float
    worst: float
    flux: float
    centroid_px: float


def compare_box(
    template: NDArray[np.floating], truth: NDArray[np.floating], middle: tuple[float, float]
) -> BoxAccuracy:
    """Return how far a star in a template is from the truth, in a box of 5 x 5 pixels.

    Parameters
    ----------
    template, truth : (ny, nx) float
        Flux of the same pixels.
    middle : tuple of float
        x, y of the star, counted from the arrays' first pixel; 2 px or more from the border.

    Returns
    -------
    BoxAccuracy
        The accuracy.
    """
    x, y = round(middle[0]), round(middle[1])
    box = np.s_[y - 2 : y + 3, x - 2 : x + 3]
    true = np.asarray(truth[box], float)
    residual = template[box] - true
    way = np.arange(-2, 3)
    total = true.sum()
    # The centroid of the sum is that of the truth plus this, to first order in the residual.
    moments = [
        (residual * (w - (true * w).sum() / total)).sum() / total for w in (way, way[:, None])
    ]
    peak = true.max()
    return BoxAccuracy(
        rms=float(np.sqrt(np.mean(residual**2)) / peak),
        worst=float(np.abs(residual).max() / peak),
        flux=float(residual.sum() / total),
        centroid_px=math.hypot(*moments),
    )


def clean_pixels(template: Template) -> NDArray[np.bool_]:
    """Return the pixels of a template that are reliable.

    Parameters
    ----------
    template : Template
        The template.

    Returns
    -------
    (ny, nx) bool
        Whole coverage, no flag but those of PS1 pixels that count, and 2 px or more away from what
        PS1 lost, saturated or had left out.
    """
    from scipy.ndimage import binary_dilation

    spoilt = (template.quality & _SPOILT) != 0
    far = ~binary_dilation(spoilt, np.ones((3, 3)), iterations=_SPOILT_REACH_PX)
    return np.asarray(far & ((template.quality & ~np.int32(_OF_TESS)) == 0))


@dataclass(frozen=True)
class FieldAccuracy:
    """A template with noise against the truth, over its clean pixels.

    Parameters
    ----------
    offset : tuple of float
        dx, dy of the template.
    pixels : int
        Clean pixels.
    scatter : float
        Rms of (template - truth) / UNCERT about a constant: UNCERT is the scatter of light that is
        left out, not its mean.
    flux, flux_error : float
        Flux over that of the truth, less 1, fitted to all sources together; its standard deviation.
    shift_px, shift_error_px : float
        Displacement of the sources from their true positions, likewise; the error is for one axis.
    lost : int
        Pixels without flux where the coverage is enough for one.
    """

    offset: Offset
    pixels: int
    scatter: float
    flux: float
    flux_error: float
    shift_px: float
    shift_error_px: float
    lost: int


def compare_field(
    template: Template, simulation: Simulation, offset: Offset, *, min_coverage: float
) -> FieldAccuracy:
    """Return how far a template of a field is from the truth.

    Parameters
    ----------
    template : Template
        Over the simulation's field, with the simulation's response of sigma 40.
    simulation : Simulation
        What it was made from.
    offset : tuple of float
        dx, dy of the template.
    min_coverage : float
        Coverage from which the flux must be known.

    Returns
    -------
    FieldAccuracy
        The accuracy.

    Notes
    -----
    Least squares, weights UNCERT^-2: ``template = (1 + flux) truth + sx dT/dx + sy dT/dy + c``.
    """
    dx, dy = offset
    truth = simulation.truth(offset=offset)
    clean = clean_pixels(template)
    noise = template.uncertainty[clean].astype(float)
    sources = simulation.sources
    bright = sources[sources.composite_flux > _SLOPE_FLUX]
    here, *there = (
        simulation.truth(offset=moved, sources=bright)[clean]
        for moved in (offset, (dx + _STEP_PX, dy), (dx, dy + _STEP_PX))
    )
    slopes = [(moved - here) / _STEP_PX for moved in there]
    residual = template.flux[clean] - truth[clean]
    values, errors = _fit([truth[clean], *slopes, np.ones_like(noise)], residual, noise)
    mean = np.average(residual, weights=noise**-2)
    return FieldAccuracy(
        offset=offset,
        pixels=int(clean.sum()),
        scatter=float(np.sqrt(np.mean(((residual - mean) / noise) ** 2))),
        flux=values[0],
        flux_error=errors[0],
        shift_px=math.hypot(values[1], values[2]),
        shift_error_px=max(errors[1], errors[2]),
        lost=int((~np.isfinite(template.flux) & (template.coverage >= min_coverage)).sum()),
    )


@dataclass(frozen=True)
class FluxRatio:
    """How much of the light of one magnitude's stars is in templates.

    Parameters
    ----------
    bright_mag, faint_mag : float
        AB magnitudes in the composite TESS band.
    stars : int
        Their number in the field.
    ratio, error : float
        Their flux over the true one, and its standard deviation.
    """

    bright_mag: float
    faint_mag: float
    stars: int
    ratio: float
    error: float


def flux_ratios(
    template: Template, simulation: Simulation, offset: Offset, edges: Sequence[float]
) -> list[FluxRatio]:
    """Return how much of the stars' light is in a template, by magnitude.

    Parameters
    ----------
    template : Template
        Over the simulation's field.
    simulation : Simulation
        What it was made from.
    offset : tuple of float
        dx, dy of the template.
    edges : sequence of float
        AB magnitudes between the bins, ascending.

    Returns
    -------
    list of FluxRatio
        One a bin.

    Notes
    -----
    At 20" a pixel all but the brightest stars are blended, so nothing is measured star by star: the
    template is fitted, weights UNCERT^-2, as a sum of true images, one for the stars of each bin
    and one each for brighter stars, fainter stars and galaxies, and a constant.
    """
    sources = simulation.sources
    mags = ZERO_POINT - 2.5 * np.log10(sources.composite_flux)
    is_star = sources.sersic == 0
    limits = [-np.inf, *edges, np.inf]
    groups = [is_star & (mags >= low) & (mags < high) for low, high in itertools.pairwise(limits)]
    clean = clean_pixels(template)
    seen = _in_field(simulation)
    columns = [
        simulation.truth(offset=offset, sources=sources[group])[clean]
        for group in (*groups, ~is_star)
    ]
    noise = template.uncertainty[clean].astype(float)
    columns.append(np.ones_like(noise))
    values, errors = _fit(columns, template.flux[clean].astype(float), noise)
    return [
        FluxRatio(low, high, int((groups[k] & seen).sum()), values[k], errors[k])
        for k, (low, high) in enumerate(itertools.pairwise(edges), 1)
    ]


def _in_field(simulation: Simulation) -> NDArray[np.bool_]:
    """Tell which sources stand on pixels of the field."""
    sources, field = simulation.sources, simulation.config.field
    wcs = wcs_of(simulation.config.ffi.wcs_cards)
    x, y = wcs.all_world2pix(sources.ra, sources.dec, 0)
    across = (x >= field.x0 - 0.5) & (x < field.x1 - 0.5)
    return np.asarray(across & (y >= field.y0 - 0.5) & (y < field.y1 - 0.5))


def _fit(
    columns: Sequence[NDArray[np.float64]], target: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[list[float], list[float]]:
    """Fit columns to a target; return coefficients and their standard deviations.

    Columns without light get 0 and infinity.
    """
    matrix = np.stack(columns, -1) / noise[:, None]
    lit = np.linalg.norm(matrix, axis=0) > 0
    values, errors = np.zeros(len(lit)), np.full(len(lit), np.inf)
    inverse = np.linalg.pinv(matrix[:, lit], rcond=1e-10)
    values[lit] = inverse @ (target / noise)
    errors[lit] = np.linalg.norm(inverse, axis=1)
    return values.tolist(), errors.tolist()
