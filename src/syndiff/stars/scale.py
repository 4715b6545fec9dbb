"""From TESS magnitudes to flux in a skycell's own light: measured on its unsaturated stars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.constants import MAD_TO_SIGMA, ZERO_POINT
from syndiff.stars.profile import BLUR_PX2, CELL_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "CALIBRATOR_MAGS",
    "MIN_CALIBRATORS",
    "SURVEY_SEEING_PX2",
    "StarScale",
    "given_scale",
    "measure_scale",
]

CALIBRATOR_MAGS = (14.5, 17.0)
"""TESS magnitudes of the stars that the scale is measured on: a magnitude under PS1's saturation,
and 100 times or more above the noise of the aperture."""

MIN_CALIBRATORS = 5
"""A median of fewer stars would depend on a single one."""

SURVEY_SEEING_PX2 = 0.458 * (1.11 / 0.25) ** 2
"""Variance of a Moffat profile (beta 3, to 9") of 1.11" full width at half maximum, the survey's
mean over the bands.

Used only with a scale given by the user, where no star measures it. 1.4" or 0.8" instead would
change a star's peak by 0.25 % at a response of sigma 40 (variance / (40^2 + 80^2 / 12)).
"""

GIVEN_ERROR_MAG = 0.04
"""Error of a scale given by hand: half the range of such scales, 0.36 to 0.44."""

_APERTURE_CELLS = 4.5
_RING_CELLS = (6.0, 9.0)
_REACH_CELLS = 14
_BLANK_CELLS = 9.5
_MOST_BLANK = 0.03
_NEIGHBOUR_ARCSEC = 14.0
_MOST_NEIGHBOURS = 0.02
_MOST_STARS = 400
_MOST_SHIFT_CELLS = 0.5
_MOST_IN_RING = 0.1
_MOST_BLUR = 1.3
_BLUR_SLACK_PX2 = 1.0
_FEWEST_FOR_COLOUR = 20
_CLEAR_SLOPE = 3.0
_CLIP = 3.0
_MEDIAN_ERROR = 1.2533
"""The median's standard error over the mean's, sqrt(pi / 2)."""


@dataclass(frozen=True)
class StarScale:
    """How flux follows from a TESS magnitude in one skycell.

    Parameters
    ----------
    offset_mag : float
        AB magnitude of the composite less T, at colour `pivot`.
    error_mag : float
        Its standard error.
    slope, pivot : float
        Change of the offset per magnitude of BP - RP, and where it counts from; slope 0 where no
        dependence is clear.
    scatter_mag : float
        Robust standard deviation of the stars about it: the accuracy of a catalogue magnitude.
    stars : int
        How many it was measured on; 0 if it was given.
    seeing_px2 : float
        Variance of PS1's seeing along an axis, square PS1 pixels.
    """

    offset_mag: float
    error_mag: float
    slope: float
    pivot: float
    scatter_mag: float
    stars: int
    seeing_px2: float

    def flux(
        self,
        tmag: NDArray[np.float64],
        colour: NDArray[np.float64],
        tmag_error: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return fluxes of stars and their standard deviations.

        Parameters
        ----------
        tmag, colour, tmag_error : (n,) float64
            TESS magnitude, BP - RP (NaN where unknown) and error of T.

        Returns
        -------
        flux, error : (n,) float64
            AB zero point 25. The error joins that of the scale with the scatter of the stars it
            was measured on or that of T, whichever is larger.
        """
        c = np.where(np.isfinite(colour), colour - self.pivot, 0.0)
        flux = 10 ** (0.4 * (ZERO_POINT - tmag - self.offset_mag - self.slope * c))
        spread = np.hypot(np.maximum(tmag_error, self.scatter_mag), self.error_mag)
        return flux, flux * np.log(10) / 2.5 * spread


def given_scale(offset_mag: float) -> StarScale:
    """Return a scale that the user gave.

    Parameters
    ----------
    offset_mag : float
        AB magnitude of the composite less T.

    Returns
    -------
    StarScale
        With the survey's mean seeing.
    """
    return StarScale(offset_mag, GIVEN_ERROR_MAG, 0.0, 1.0, 0.0, 0, SURVEY_SEEING_PX2)


@dataclass(frozen=True, eq=False)
class _Stamps:
    """Squares of light around stars: values and each cell's place from its star, in cells."""

    values: NDArray[np.float64]
    dx: NDArray[np.float64]
    dy: NDArray[np.float64]


def measure_scale(
    composite: NDArray[np.float32],
    usable: NDArray[np.bool_],
    *,
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    tmag: NDArray[np.float64],
    colour: NDArray[np.float64],
) -> StarScale | None:
    """Measure a skycell's scale and seeing on its isolated, unsaturated stars.

    Parameters
    ----------
    composite : (n2y, n2x) float32
        Light of the weighted bands on 2" cells.
    usable : (n2y, n2x) bool
        Cells with valid data in all bands that the skycell has, and without saturation.
    places : tuple of (n,) float64
        x, y of the stars in PS1 pixels at PS1's epoch.
    tmag, colour : (n,) float64
        TESS magnitudes and BP - RP (NaN: not used).

    Returns
    -------
    StarScale or None
        None if fewer than `MIN_CALIBRATORS` stars can be used.

    Notes
    -----
    Aperture of 9" radius less the median of a ring of 12" to 18" and less what apertures 19" away
    hold at the median: faint stars and galaxies (0.5 % of the flux at 2000 stars of T < 17 a square
    degree). Stars are left out whose catalogue neighbours within 14" have 2 % of their flux, with
    10 % of it in the ring, off their place by 1", or with a second moment 30 % above that of the
    sharpest quarter: blends too close for either test. The offset is the median of
    ``25 - 2.5 log10(flux) - T``, clipped at 3 robust sigmas and weighted by flux: what faint
    neighbours add is least of the brightest. It follows the colour where 20 stars or more show a
    slope of 3 sigmas.
    """
    x, y = places
    chosen = _candidates(x, y, tmag, colour, usable.shape)
    if not chosen.size:
        return None
    stamps = _cut(composite, x[chosen], y[chosen])
    clean = _cut(usable, x[chosen], y[chosen])
    flux, seeing, good = _photometry(stamps, clean)
    if good.any():
        sharp = np.percentile(seeing[good], 25)
        good &= seeing < _MOST_BLUR * sharp + _BLUR_SLACK_PX2
    chosen, flux, seeing = chosen[good], flux[good], seeing[good]
    if chosen.size < MIN_CALIBRATORS:
        return None
    offsets = ZERO_POINT - 2.5 * np.log10(flux) - tmag[chosen]
    return _fit(offsets, colour[chosen], seeing, flux)


def _candidates(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    tmag: NDArray[np.float64],
    colour: NDArray[np.float64],
    shape: tuple[int, ...],
) -> NDArray[np.intp]:
    """Return the brightest stars in the magnitude range that are isolated in the catalogue."""
    from scipy.spatial import cKDTree

    margin = CELL_PX * (_REACH_CELLS + 1)
    inside = (x > margin) & (x < CELL_PX * shape[1] - margin)
    inside &= (y > margin) & (y < CELL_PX * shape[0] - margin)
    wanted = inside & (tmag >= CALIBRATOR_MAGS[0]) & (tmag <= CALIBRATOR_MAGS[1])
    chosen = np.flatnonzero(wanted & np.isfinite(colour))
    if not chosen.size:
        return chosen
    points = np.stack([x, y], -1)
    near = cKDTree(points).query_ball_point(points[chosen], _NEIGHBOUR_ARCSEC / 0.25)
    flux = 10 ** (-0.4 * tmag)
    around = np.array([flux[others].sum() for others in near])
    alone = chosen[around < (1 + _MOST_NEIGHBOURS) * flux[chosen]]
    return np.sort(alone[np.argsort(tmag[alone], kind="stable")[:_MOST_STARS]])


def _cut(
    plane: NDArray[np.float32] | NDArray[np.bool_], x: NDArray[np.float64], y: NDArray[np.float64]
) -> _Stamps:
    """Return squares of a plane around positions well inside it."""
    column, row = ((v + 0.5) / CELL_PX - 0.5 for v in (x, y))
    way = np.arange(-_REACH_CELLS, _REACH_CELLS + 1)
    i, j = np.rint(column).astype(int), np.rint(row).astype(int)
    rows, columns = j[:, None, None] + way[:, None], i[:, None, None] + way
    return _Stamps(
        plane[rows, columns].astype(np.float64),
        np.broadcast_to(columns - column[:, None, None], (x.size, way.size, way.size)),
        np.broadcast_to(rows - row[:, None, None], (x.size, way.size, way.size)),
    )


def _photometry(
    stamps: _Stamps, clean: _Stamps
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return flux and seeing variance of each star, and which ones can be used."""
    square = _squares(stamps, 0.0, 0.0)
    ring = (square > _RING_CELLS[0] ** 2) & (square <= _RING_CELLS[1] ** 2)
    inside = square <= _APERTURE_CELLS**2
    level = _medians(stamps.values, ring)
    light = stamps.values - level[:, None, None]
    flux = (light * inside).sum(axis=(1, 2))
    flux -= _faint_light(stamps, light, flux)
    positive = np.maximum(flux, 1e-9)
    weight = light * inside / positive[:, None, None]
    cx, cy = ((weight * d).sum(axis=(1, 2)) for d in (stamps.dx, stamps.dy))
    about = _squares(stamps, cx[:, None, None], cy[:, None, None])
    seeing = CELL_PX**2 * (weight * about).sum(axis=(1, 2)) / 2 - BLUR_PX2
    around = np.abs((light * ring).sum(axis=(1, 2)))
    good = (flux > 0) & (np.hypot(cx, cy) < _MOST_SHIFT_CELLS) & (around < _MOST_IN_RING * positive)
    good &= ((clean.values > 0) | (square > _RING_CELLS[0] ** 2)).all(axis=(1, 2))
    return flux, seeing, good


def _squares(
    stamps: _Stamps, x: NDArray[np.float64] | float, y: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Return the squares of the cells' distances from a place."""
    # Along rows and columns first: dx is the same in every row.
    across = (stamps.dx[:, :1] - x) ** 2
    return np.asarray(across + (stamps.dy[:, :, :1] - y) ** 2, np.float64)


def _medians(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return each stamp's median of the cells that are chosen in it, (n,)."""
    any_of = chosen.any(axis=0)
    ordered = np.sort(np.where(chosen[:, any_of], values[:, any_of], np.inf), axis=1)
    count, stamp = chosen.sum(axis=(1, 2)), np.arange(len(values))
    return np.asarray((ordered[stamp, (count - 1) // 2] + ordered[stamp, count // 2]) / 2)


def _faint_light(stamps: _Stamps, light: NDArray[np.float64], flux: NDArray[np.float64]) -> float:
    """Return what faint sources add to an aperture: the median of four apertures beside each star.

    Those with more light than a star's own aperture could have unseen take no part.
    """
    beside = []
    for x, y in (
        (_BLANK_CELLS, 0.0),
        (-_BLANK_CELLS, 0.0),
        (0.0, _BLANK_CELLS),
        (0.0, -_BLANK_CELLS),
    ):
        blank = _squares(stamps, x, y) <= _APERTURE_CELLS**2
        found = (light * blank).sum(axis=(1, 2))
        beside.append(found[found < _MOST_BLANK * flux])
    every = np.concatenate(beside)
    return float(np.median(every)) if every.size else 0.0


def _fit(
    offsets: NDArray[np.float64],
    colour: NDArray[np.float64],
    seeing: NDArray[np.float64],
    flux: NDArray[np.float64],
) -> StarScale:
    """Return the robust fit of offsets and seeing."""
    pivot = float(np.median(colour))
    slope, kept = 0.0, np.ones(offsets.size, np.bool_)
    for _ in range(4):
        if kept.sum() >= _FEWEST_FOR_COLOUR:
            slope = _clear_slope(colour[kept] - pivot, offsets[kept])
        residual = offsets - slope * (colour - pivot)
        middle = _weighted_median(residual[kept], flux[kept])
        scatter = MAD_TO_SIGMA * np.median(np.abs(residual[kept] - middle))
        kept = np.abs(residual - middle) <= _CLIP * max(scatter, 1e-4)
    effective = flux[kept].sum() ** 2 / (flux[kept] ** 2).sum()
    return StarScale(
        offset_mag=middle,
        error_mag=float(_MEDIAN_ERROR * scatter / np.sqrt(effective)),
        slope=slope,
        pivot=pivot,
        scatter_mag=float(scatter),
        stars=int(kept.sum()),
        seeing_px2=float(max(_weighted_median(seeing[kept], flux[kept]), 0.0)),
    )


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the weighted median."""
    order = np.argsort(values, kind="stable")
    half = np.cumsum(weights[order]) - weights[order] / 2
    return float(np.interp(weights.sum() / 2, half, values[order]))


def _clear_slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the slope of y over x where it is three standard errors from none, else 0."""
    x = x - x.mean()
    square = float((x * x).sum())
    if square <= 0:
        return 0.0
    slope = float((x * y).sum()) / square
    rest = y - y.mean() - slope * x
    error = float(np.sqrt((rest**2).sum() / max(x.size - 2, 1) / square))
    return slope if abs(slope) > _CLEAR_SLOPE * error else 0.0
