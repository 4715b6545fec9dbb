"""Light over time: tabulated curves and those of a few usual kinds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from syndiff.config import TESS_ZERO_POINT
from syndiff.errors import ConfigError

__all__ = ["LightCurve", "flux_of"]

F64 = NDArray[np.float64]


def flux_of(tess_mag: float) -> float:
    """Return the flux of a TESS magnitude.

    Parameters
    ----------
    tess_mag : float
        TESS magnitude (Vega-like).

    Returns
    -------
    float
        Electrons per second.
    """
    return float(10 ** (-0.4 * (tess_mag - TESS_ZERO_POINT)))


@dataclass(frozen=True)
class LightCurve:
    """Flux at given times, straight between them and constant before and after.

    Parameters
    ----------
    times : tuple of float
        BTJD (BJD - 2457000, TDB), increasing.
    flux : tuple of float
        Electrons per second; negative for what a star lacks of its mean.

    Raises
    ------
    ConfigError
        If the lengths differ, nothing is given, a value isn't finite or times don't increase.
    """

    times: tuple[float, ...]
    flux: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.times or len(self.times) != len(self.flux):
            raise ConfigError(
                f"a light curve has {len(self.times)} times and {len(self.flux)} fluxes: give as "
                "many of each, and at least one"
            )
        if not (np.isfinite(self.times).all() and np.isfinite(self.flux).all()):
            raise ConfigError("times and flux of a light curve must be finite")
        if not (np.diff(self.times) > 0).all():
            raise ConfigError("times of a light curve must increase")

    @classmethod
    def constant(cls, tess_mag: float) -> "LightCurve":
        """Return light that is always the same.

        Parameters
        ----------
        tess_mag : float
            TESS magnitude.

        Returns
        -------
        LightCurve
            The curve.
        """
        return cls((0.0,), (flux_of(tess_mag),))

    @classmethod
    def supernova(
        cls, *, peak_time: float, peak_mag: float, rise_days: float = 17.0
    ) -> "LightCurve":
        """Return a supernova: nothing, a smooth rise, a decline that slows down.

        Parameters
        ----------
        peak_time : float
            BTJD of the brightest moment.
        peak_mag : float
            TESS magnitude then.
        rise_days : float
            Time from first light to peak.

        Returns
        -------
        LightCurve
            The curve; 0.08 mag a day over 15 days after the peak, 0.03 afterwards.
        """
        before = np.linspace(-rise_days, 0.0, 401)
        after = np.linspace(0.0, 90.0, 901)[1:]
        rise = np.sin(0.5 * np.pi * (1 + before / rise_days)) ** 2
        fall = 10 ** (-0.4 * np.interp(after, [0.0, 4.0, 15.0, 90.0], [0.0, 0.06, 0.9, 3.15]))
        flux = flux_of(peak_mag) * np.concatenate([rise, fall])
        times = peak_time + np.concatenate([before, after])
        return cls(tuple(times.tolist()), tuple(flux.tolist()))

    @classmethod
    def sine(
        cls,
        *,
        period: float,
        tess_mag: float,
        amplitude: float,
        span: tuple[float, float],
        phase: float = 0.0,
    ) -> "LightCurve":
        """Return what a pulsating star differs by from its mean flux.

        Parameters
        ----------
        period : float
            Days.
        tess_mag : float
            TESS magnitude of the mean flux; the star itself is in the sky.
        amplitude : float
            Part of the mean flux by which it goes up and down.
        span : tuple of float
            BTJD of beginning and end.
        phase : float
            Part of a period that is over at the beginning.

        Returns
        -------
        LightCurve
            The curve, 100 points a period.
        """
        times = np.arange(span[0], span[1] + period / 100, period / 100)
        angle = 2 * np.pi * ((times - span[0]) / period + phase)
        flux = flux_of(tess_mag) * amplitude * np.sin(angle)
        return cls(tuple(times.tolist()), tuple(flux.tolist()))

    def mean(self, start: F64, stop: F64) -> F64:
        """Return the mean flux over exposures, exact for the straight pieces.

        Parameters
        ----------
        start, stop : (n,) float64
            BTJD of their beginnings and ends.

        Returns
        -------
        (n,) float64
            Electrons per second.
        """
        return np.asarray((self._integral(stop) - self._integral(start)) / (stop - start))

    def _integral(self, moment: F64) -> F64:
        """Return the integral from the first time to a moment."""
        times, flux = np.array(self.times), np.array(self.flux)
        pieces = 0.5 * (flux[1:] + flux[:-1]) * np.diff(times)
        sums = np.concatenate([[0.0], np.cumsum(pieces)])
        i = np.clip(np.searchsorted(times, moment, side="right") - 1, 0, len(times) - 1)
        return np.asarray(
            sums[i] + 0.5 * (flux[i] + np.interp(moment, times, flux)) * (moment - times[i])
        )
