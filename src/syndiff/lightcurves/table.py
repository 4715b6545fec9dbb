"""A light curve as a table, as it is and binned."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import TESS_ZERO_POINT
from syndiff.lightcurves.flags import count_flags
from syndiff.lightcurves.sector_curve import AB_LESS_TESS_MAG
from syndiff.lightcurves.times import BTJD_ZERO
from syndiff.masks import FrameFlag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astropy.table import QTable
    from numpy.typing import NDArray

    from syndiff.lightcurves.sector_curve import SectorCurve

__all__ = ["LIMIT_SIGMAS", "binned_table", "describe", "frame_table"]

LIMIT_SIGMAS = 3.0
"""Fluxes below so many times their error have no magnitude; limits are at so many."""

_AB_OF_UJY = 23.9
"""AB magnitude of one microjansky."""


def frame_table(curves: Sequence[SectorCurve]) -> QTable:
    """Return one row for each frame.

    Parameters
    ----------
    curves : sequence of SectorCurve
        Sectors, cameras and CCDs.

    Returns
    -------
    QTable
        In the order of time. What was measured and how is in `meta`.
    """
    from astropy.table import QTable, vstack

    table = vstack([_sector_table(curve) for curve in curves], metadata_conflicts="silent")
    table = table[np.lexsort((table["ffi"], table["bjd_tdb"].value))]
    return QTable(table)


def _sector_table(curve: SectorCurve) -> QTable:
    """Return the rows of one sector, camera and CCD."""
    from astropy import units as u
    from astropy.table import QTable

    rows, detector = curve.rows, curve.sighting.detector
    n = len(rows)
    rate = u.electron / u.s
    table = QTable()
    table["bjd_tdb"] = (BTJD_ZERO + curve.times.btjd) * u.day
    table["mjd"] = curve.times.mjd * u.day
    table["exposure"] = rows["exposure"] * u.s
    table["flux"], table["flux_err"] = curve.flux * rate, curve.error * rate
    table["flux_noise"] = rows["noise"][:, 0] * rate
    _add_calibrated(table, curve.flux * curve.ujy, curve.error * curve.ujy)
    table["zero_point"] = curve.zero_point * u.ABmag
    table["zero_point_err"] = curve.zero_point_error * u.mag
    table["background"] = rows["background"] * rate
    for k, axis in enumerate("xy"):
        table[axis] = rows["place"][:, k] * u.pix
    for k, axis in enumerate("xy"):
        table[f"d{axis}"] = rows["shift"][:, k] * u.pix
        table[f"d{axis}_err"] = rows["shift_error"][:, k] * u.pix
    table["widening"] = (rows["widening"][:, 0] + rows["widening"][:, 2]) / 2 * u.pix**2
    table["chi2"] = rows["chi2"][:, 0]
    table["frame_chi"] = rows["scatter"]
    table["quality"] = curve.flags
    for name in ("sector", "camera", "ccd"):
        table[name] = np.full(n, getattr(detector, name), np.int32)
    table["ffi"] = np.char.decode(rows["name"])
    table["reason"] = np.char.decode(rows["reason"])
    return table


def _add_calibrated(table: QTable, flux: NDArray[np.float64], error: NDArray[np.float64]) -> None:
    """Add fluxes in microjansky, magnitudes and limits."""
    from astropy import units as u

    table["flux_ujy"], table["flux_ujy_err"] = flux * u.uJy, error * u.uJy
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = flux > LIMIT_SIGMAS * error
        mag = np.where(seen, _AB_OF_UJY - 2.5 * np.log10(np.where(seen, flux, 1.0)), np.nan)
        mag_error = np.where(seen, 2.5 / math.log(10) * error / np.where(seen, flux, 1.0), np.nan)
        limit = _AB_OF_UJY - 2.5 * np.log10(LIMIT_SIGMAS * error)
    table["mag_ab"], table["mag_ab_err"] = mag * u.ABmag, mag_error * u.mag
    table["mag_tess"] = (mag - AB_LESS_TESS_MAG) * u.mag
    table["limit_ab"] = limit * u.ABmag
    table["limit_tess"] = (limit - AB_LESS_TESS_MAG) * u.mag


def binned_table(curves: Sequence[SectorCurve], days: float) -> QTable:
    """Return means over bins of time, of frames without flags.

    Parameters
    ----------
    curves : sequence of SectorCurve
        Sectors, cameras and CCDs; they are not mixed within a bin.
    days : float
        Width of a bin; bins begin at multiples of it since JD 2457000.

    Returns
    -------
    QTable
        In the order of time; bins without a good frame are left out. Errors are multiplied by what
        bins of blank places scatter by more than their errors.
    """
    from astropy.table import QTable, vstack

    tables = [_binned_sector(curve, days) for curve in curves]
    table = vstack(tables, metadata_conflicts="silent")
    return QTable(table[np.argsort(table["bjd_tdb"].value, kind="stable")])


def _binned_sector(curve: SectorCurve, days: float) -> QTable:
    from astropy import units as u
    from astropy.table import QTable

    good = curve.good
    detector = curve.sighting.detector
    time = curve.times.btjd[good]
    error = curve.error[good] * curve.ujy[good]
    number, which = np.unique(np.floor(time / days).astype(np.int64), return_inverse=True)
    bins = _Bins(which, len(number), error**-2.0)
    flux = bins.mean(curve.flux[good] * curve.ujy[good])
    factor = _blank_factor(curve, bins)
    table = QTable()
    table["bjd_tdb"] = (BTJD_ZERO + bins.mean(time)) * u.day
    table["mjd"] = bins.mean(curve.times.mjd[good]) * u.day
    table["frames"] = np.bincount(which, minlength=len(number))
    _add_calibrated(table, flux, factor * bins.error())
    for name in ("sector", "camera", "ccd"):
        table[name] = np.full(len(number), getattr(detector, name), np.int32)
    table["error_factor"] = np.full(len(number), factor)
    return table


class _Bins:
    """Weighted means over groups."""

    def __init__(self, which: NDArray[np.intp], count: int, weight: NDArray[np.float64]) -> None:
        self._which, self._count, self._weight = which, count, weight
        self._total = np.bincount(which, weight, count)

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(self._which, self._weight * values, self._count) / self._total

    def error(self) -> NDArray[np.float64]:
        return np.asarray(self._total**-0.5)


def _blank_factor(curve: SectorCurve, bins: _Bins) -> float:
    """Return by how much bins of blank places scatter more than single frames let expect."""
    squares, freedom = 0.0, 0
    for k in range(1, 1 + len(curve.steady.blank)):
        flux = curve.rows["flux"][curve.good, k] * curve.ujy[curve.good]
        error = curve.rows["error"][curve.good, k] * curve.ujy[curve.good]
        if not np.isfinite(flux).all():
            continue
        own = _Bins(bins._which, bins._count, error**-2.0)  # noqa: SLF001 - of this module
        binned, weight = own.mean(flux), own.error() ** -2.0
        left = binned - (weight * binned).sum() / weight.sum()
        squares += float((weight * left**2).sum())
        freedom += bins._count - 1  # noqa: SLF001
    if freedom < _LEAST_FREEDOM:
        return 1.0
    single = curve.reliability.factor
    return float(max(1.0, (squares / freedom) ** 0.5 / single))


_LEAST_FREEDOM = 20


def describe(curve: SectorCurve) -> dict[str, object]:
    """Return what a table's header says of a sector, camera and CCD.

    Parameters
    ----------
    curve : SectorCurve
        The curve.

    Returns
    -------
    dict
        Numbers and texts; what is unknown is left out.
    """
    said: dict[str, object] = {
        **asdict(curve.sighting.detector),
        "frames": len(curve.rows),
        "left_out": int((~curve.good).sum()),
        "flags": count_flags(curve.flags),
        "steady_kernel_frames": curve.steady.frames,
        "steady_kernel_stars": curve.steady.stars_of_kernel,
        "constant": curve.steady.constant,
        "constant_error": curve.constant_error,
        "host_flux": curve.steady.host,
        "error_factor": curve.reliability.factor,
        **asdict(curve.reliability),
        "baseline": curve.baseline,
        "baseline_error": curve.baseline_error,
        "baseline_frames": curve.quiet,
        "warning": curve.sighting.warning,
    }
    return {
        key: round(value, 6) if isinstance(value, float) else value
        for key, value in said.items()
        if not (isinstance(value, float) and math.isnan(value))
    }


QUALITY_BITS = {bit.name or "": int(bit) for bit in FrameFlag}
"""Names and values of the bits in QUALITY."""

ZERO_POINT_NOTE = (
    f"TESS magnitudes are AB less {AB_LESS_TESS_MAG:g}; T = {TESS_ZERO_POINT:g} is the instrument "
    f"handbook's magnitude of 1 e-/s; times are days since JD {BTJD_ZERO:.0f}"
)
