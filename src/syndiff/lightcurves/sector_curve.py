"""The light curve of a target in one sector, camera and CCD: rows of frames to numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from syndiff.constants import ZERO_POINT
from syndiff.lightcurves.flags import find_flags
from syndiff.lightcurves.frame_fit import FLUX_ERROR
from syndiff.lightcurves.reliability import Reliability, judge
from syndiff.lightcurves.times import Times, target_times

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.layout import Detector
    from syndiff.lightcurves.series import SteadyPart
    from syndiff.window import Window

__all__ = ["AB_LESS_TESS_MAG", "SectorCurve", "Sighting", "assemble"]

AB_LESS_TESS_MAG = 0.40
"""AB less TESS magnitude of what shines; 0.36 to 0.44 from blue to red stars."""

UJY_OF_FLUX = 10 ** (-0.4 * (ZERO_POINT - 23.9))
"""Microjansky of flux 1 in a template: AB magnitude 23.9 is one."""


@dataclass(frozen=True)
class Sighting:
    """Where a target was looked at.

    Parameters
    ----------
    detector : Detector
        Sector, camera and CCD.
    target, centre : (float, float)
        RA and Dec of the target and of the CCD's centre, degrees.
    is_barycentric : bool
        Whether frames tell times at the barycentre.
    warning : str
        What is doubtful about the template at the target; empty for nothing.
    """

    detector: Detector
    target: tuple[float, float]
    centre: tuple[float, float]
    is_barycentric: bool
    warning: str = ""


@dataclass(frozen=True, eq=False)
class SectorCurve:
    """Fluxes of a target in one sector, camera and CCD.

    Parameters
    ----------
    sighting : Sighting
        Where it was looked at.
    window : Window
        FFI pixels of the field.
    rows : (n,) structured array
        What was measured in each frame, in the order of time.
    times : Times
        For the target.
    flags : (n,) int64
        `FrameFlag` bits.
    steady : SteadyPart
        What the frames share.
    reliability : Reliability
        What blank places and stars say of errors.
    baseline, baseline_error : float
        Taken from every flux, e-/s; 0 unless the quiet part of the curve was asked for.
    quiet : int
        Frames that told the baseline; 0 for none.
    """

    sighting: Sighting
    window: Window
    rows: NDArray[np.void]
    times: Times
    flags: NDArray[np.int64]
    steady: SteadyPart
    reliability: Reliability
    baseline: float = 0.0
    baseline_error: float = 0.0
    quiet: int = 0

    @property
    def good(self) -> NDArray[np.bool_]:
        """Frames without flags."""
        return np.asarray((self.flags == 0) & np.isfinite(self.rows["flux"][:, 0]), np.bool_)

    @property
    def flux(self) -> NDArray[np.float64]:
        """Flux beyond the template, electrons per second of each frame."""
        return np.asarray(self.rows["flux"][:, 0] - self.baseline)

    @property
    def error(self) -> NDArray[np.float64]:
        """Its standard deviation, the empirical factor included, the constant not."""
        return self.reliability.error(self.flux, self.rows["error"][:, 0])

    @property
    def zero_point(self) -> NDArray[np.float64]:
        """AB magnitude of one electron per second, of each frame."""
        with np.errstate(invalid="ignore"):
            return np.asarray(ZERO_POINT + 2.5 * np.log10(self.rows["scale"]))

    @property
    def zero_point_error(self) -> NDArray[np.float64]:
        """Its standard deviation."""
        return np.asarray(2.5 / math.log(10) * self.rows["scale_error"] / self.rows["scale"])

    @property
    def ujy(self) -> NDArray[np.float64]:
        """Microjansky of one electron per second, of each frame."""
        return np.asarray(UJY_OF_FLUX / self.rows["scale"])

    @property
    def constant_error(self) -> float:
        """How far all fluxes may be off by the same, electrons per second.

        The template's noise and faint light, or how blank places differ if that is more, and 1 % of
        its light at the target; the baseline's error where one was taken off.
        """
        if self.quiet:
            return self.baseline_error
        parts = [v for v in (self.steady.constant_error, self.reliability.spread) if v >= 0]
        host = FLUX_ERROR * abs(self.steady.host) if math.isfinite(self.steady.host) else 0.0
        return math.hypot(max(parts, default=0.0), host)

    def quiet_before(self, btjd: float) -> SectorCurve:
        """Return the curve less its mean before a date.

        Parameters
        ----------
        btjd : float
            Days since JD 2457000, barycentric.

        Returns
        -------
        SectorCurve
            The same where no frame without flags is that early.
        """
        early = self.good & (self.times.btjd < btjd)
        if not early.any():
            return self
        weight = self.rows["error"][early, 0] ** -2.0
        mean = float((weight * self.rows["flux"][early, 0]).sum() / weight.sum())
        error = self.reliability.factor * float(weight.sum() ** -0.5)
        return replace(self, baseline=mean, baseline_error=error, quiet=int(early.sum()))


def assemble(
    rows: NDArray[np.void], steady: SteadyPart, sighting: Sighting, window: Window
) -> SectorCurve:
    """Return the light curve that the frames of a sector make.

    Parameters
    ----------
    rows : (n,) structured array
        One a frame, in any order.
    steady : SteadyPart
        What they share.
    sighting : Sighting
        Where the target was looked at.
    window : Window
        FFI pixels of the field.

    Returns
    -------
    SectorCurve
        In the order of time; frames without a time last.
    """
    middle = (rows["start"] + rows["stop"]) / 2
    order = np.lexsort((rows["name"], middle))
    rows, middle = rows[order], middle[order]
    flags = find_flags(rows, middle)
    good = (flags == 0) & np.isfinite(rows["flux"][:, 0])
    reliability = judge(
        rows, good, blank=len(steady.blank), star_flux=steady.star_flux * steady.mean[0]
    )
    times = target_times(
        middle,
        is_barycentric=sighting.is_barycentric,
        centre=sighting.centre,
        target=sighting.target,
    )
    return SectorCurve(sighting, window, rows, times, flags, steady, reliability)
