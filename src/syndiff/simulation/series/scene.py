"""A usual scene for a series: two supernovae, one on a galaxy, a variable star, an asteroid."""

import math
from dataclasses import replace

from syndiff.simulation.ffi import wcs_of
from syndiff.simulation.run import SimulationConfig
from syndiff.simulation.series.config import Asteroid, Changing, SeriesConfig
from syndiff.simulation.series.curves import LightCurve
from syndiff.simulation.series.frames import SECTOR_DAYS, plan_frames, reference_time
from syndiff.simulation.series.run import check_field
from syndiff.simulation.sky import TestGalaxy, TestStar
from syndiff.simulation.sources import AB_MINUS_TESS_MAG

__all__ = ["beside", "usual_series", "with_hosts", "with_series"]

_HOST, _VARIABLE, _FAINT = (0.3, 0.35), (0.75, 0.3), (0.35, 0.75)
"""Places in the field, as parts of its sides."""

_HOST_AB_MAG, _HOST_RADIUS_ARCSEC = 15.6, 6.0
_OFFSET_ARCSEC = (8.0, 6.0)
_VARIABLE_MAG, _AMPLITUDE, _PERIOD_DAYS = 12.5, 0.3, 0.6
_PEAK_MAG, _FAINT_PEAK_MAG, _AFTER_MIDDLE_DAYS = 15.5, 18.5, 8.0
_ASTEROID_MAG, _ASTEROID_ARCSEC_PER_HOUR = 15.0, (-25.0, 10.0)


def beside(
    ra_deg: float, dec_deg: float, east_arcsec: float, north_arcsec: float
) -> tuple[float, float]:
    """Return a place at some distance from another, as of a supernova from its host.

    Parameters
    ----------
    ra_deg, dec_deg : float
        Position.
    east_arcsec, north_arcsec : float
        How far away, true angles, on the plane that touches the sky there.

    Returns
    -------
    ra_deg, dec_deg : float
        The other position.
    """
    east, north = (math.radians(value / 3600) for value in (east_arcsec, north_arcsec))
    dec = math.radians(dec_deg)
    depth = math.cos(dec) - north * math.sin(dec)
    ra = math.degrees(math.atan2(east, depth)) + ra_deg
    height = math.sin(dec) + north * math.cos(dec)
    return ra % 360.0, math.degrees(math.atan2(height, math.hypot(depth, east)))


def _place(plan: SimulationConfig, part: tuple[float, float]) -> tuple[float, float]:
    """Return the position at a part of the field's sides."""
    field = plan.field
    x = field.x0 + part[0] * (field.shape[1] - 1)
    y = field.y0 + part[1] * (field.shape[0] - 1)
    ra, dec = wcs_of(plan.ffi.wcs_cards).all_pix2world(x, y, 0)
    return float(ra), float(dec)


def with_hosts(plan: SimulationConfig) -> SimulationConfig:
    """Return a simulation with the galaxy and the star that `usual_series` needs.

    Parameters
    ----------
    plan : SimulationConfig
        Any simulation.

    Returns
    -------
    SimulationConfig
        The same with a galaxy of AB 15.6 and a star of T 12.5 more.
    """
    galaxy = TestGalaxy(
        *_place(plan, _HOST), _HOST_AB_MAG, sersic=4, radius_arcsec=_HOST_RADIUS_ARCSEC
    )
    star = TestStar(*_place(plan, _VARIABLE), _VARIABLE_MAG + AB_MINUS_TESS_MAG)
    sky = replace(plan.sky, stars=(*plan.sky.stars, star), galaxies=(*plan.sky.galaxies, galaxy))
    return replace(plan, sky=sky)


def usual_series(plan: SimulationConfig, config: SeriesConfig) -> SeriesConfig:
    """Return a series in which something happens.

    Parameters
    ----------
    plan : SimulationConfig
        What `with_hosts` returned.
    config : SeriesConfig
        Frames, motion, dirt.

    Returns
    -------
    SeriesConfig
        The same with a supernova of T 15.5 at its peak, 10" from the galaxy, one of T 18.5 in
        another place, the star's variation by 30 % every 0.6 d, and an asteroid of T 15.
    """
    middle = reference_time(plan.ffi)
    peak, span = middle + _AFTER_MIDDLE_DAYS, (middle - SECTOR_DAYS, middle + SECTOR_DAYS)
    bright = LightCurve.supernova(peak_time=peak, peak_mag=_PEAK_MAG, rise_days=15.0)
    faint = LightCurve.supernova(peak_time=peak, peak_mag=_FAINT_PEAK_MAG, rise_days=15.0)
    sine = LightCurve.sine(
        period=_PERIOD_DAYS, tess_mag=_VARIABLE_MAG, amplitude=_AMPLITUDE, span=span
    )
    host = _place(plan, _HOST)
    return replace(
        config,
        changing=(
            *config.changing,
            Changing("supernova", *beside(*host, *_OFFSET_ARCSEC), bright),
            Changing("faint supernova", *_place(plan, _FAINT), faint),
            Changing("variable star", *_place(plan, _VARIABLE), sine),
        ),
        asteroids=(
            *config.asteroids,
            Asteroid(
                *("asteroid", *_place(plan, (0.5, 0.5)), middle + 1.0),
                *(_ASTEROID_ARCSEC_PER_HOUR, _ASTEROID_MAG),
            ),
        ),
    )


def with_series(
    plan: SimulationConfig, frames: int, *, cadence_s: float = 0.0, clean: bool = False
) -> tuple[SimulationConfig, SeriesConfig]:
    """Return a simulation and its usual series, checked before anything is made.

    Parameters
    ----------
    plan : SimulationConfig
        Any simulation.
    frames : int
        How many frames.
    cadence_s : float
        Time from one to the next; 0 for the sector's own.
    clean : bool
        Whether nothing is spoilt and no light scattered.

    Returns
    -------
    plan : SimulationConfig
        As of `with_hosts`.
    config : SeriesConfig
        As of `usual_series`.

    Raises
    ------
    ConfigError
        If the cadence is none of TESS's, the sector doesn't hold as many frames or the field isn't
        on the science pixels.
    """
    make = SeriesConfig.clean if clean else SeriesConfig
    plan = with_hosts(plan)
    config = usual_series(plan, make(frames, cadence_s=cadence_s))
    check_field(plan.field)
    plan_frames(config, plan.ffi)
    return plan, config
