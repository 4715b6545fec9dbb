"""What a series of frames is made from: choices, each with its unit, default and range."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from syndiff.errors import ConfigError
from syndiff.simulation.series.curves import LightCurve
from syndiff.simulation.sources import unit_vectors

__all__ = [
    "Asteroid",
    "Changing",
    "CosmicRays",
    "Diffuse",
    "Event",
    "EventKind",
    "Motion",
    "SeriesConfig",
]

F64 = NDArray[np.float64]

EventKind = Literal[
    "dump", "hidden_dump", "coarse", "glow", "short", "nan", "nan_pixels", "zero", "no_wcs"
]
"""What can befall a frame; docs/simulation.md tells what each does."""

_KINDS = ("dump", "hidden_dump", "coarse", "glow", "short", "nan", "nan_pixels", "zero", "no_wcs")
_CADENCES = (20.0, 120.0, 200.0, 600.0, 1800.0)


def _check(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number out of range."""
    if not low <= value <= high:
        raise ConfigError(f"`{name}` {value} is out of range: give {low:g} to {high:g}")


@dataclass(frozen=True)
class Changing:
    """Something whose light changes, on top of the sky that doesn't.

    Parameters
    ----------
    name : str
        What the truth calls it.
    ra_deg, dec_deg : float
        Position.
    curve : LightCurve
        Its light over time; of a variable star, what it differs by from the star in the sky.
    """

    name: str
    ra_deg: float
    dec_deg: float
    curve: LightCurve

    def at(self, moments: F64) -> tuple[F64, F64]:
        """Return where it stands: always in one place.

        Parameters
        ----------
        moments : (n,) float64
            BTJD at the spacecraft.

        Returns
        -------
        ra, dec : (n,) float64
            Degrees.
        """
        return np.full(len(moments), self.ra_deg), np.full(len(moments), self.dec_deg)


@dataclass(frozen=True)
class Asteroid:
    """Something that moves, trailed within each frame.

    Parameters
    ----------
    name : str
        What the truth calls it.
    ra_deg, dec_deg : float
        Position at `time`.
    time : float
        BTJD, at the spacecraft.
    rate_arcsec_per_hour : tuple of float
        Motion to the east (true angle) and to the north.
    tess_mag : float
        TESS magnitude.
    """

    name: str
    ra_deg: float
    dec_deg: float
    time: float
    rate_arcsec_per_hour: tuple[float, float]
    tess_mag: float

    @property
    def curve(self) -> LightCurve:
        """Its light over time: always the same."""
        return LightCurve.constant(self.tess_mag)

    def at(self, moments: F64) -> tuple[F64, F64]:
        """Return where it stands, on a great circle's tangent.

        Parameters
        ----------
        moments : (n,) float64
            BTJD at the spacecraft.

        Returns
        -------
        ra, dec : (n,) float64
            Degrees.
        """
        degrees = (moments - self.time)[:, None] * 24 / 3600 * np.array(self.rate_arcsec_per_hour)
        ra = math.radians(self.ra_deg)
        east = np.array([-math.sin(ra), math.cos(ra), 0.0])
        towards = unit_vectors(np.array(self.ra_deg), np.array(self.dec_deg))
        vectors = towards + np.radians(degrees) @ np.stack([east, np.cross(towards, east)])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        out_ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
        return out_ra, np.degrees(np.arcsin(vectors[:, 2]))


@dataclass(frozen=True)
class Event:
    """Something that befalls one frame, besides what comes by itself.

    Parameters
    ----------
    frame : int
        Which frame, from 0; negative ones count from the end.
    kind : EventKind
        What happens.
    """

    frame: int
    kind: EventKind

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ConfigError(f"`kind` {self.kind!r} is unknown: give one of {', '.join(_KINDS)}")


@dataclass(frozen=True)
class Motion:
    """How the telescope moves and shakes.

    Parameters
    ----------
    drift_px : float
        Slow wander of the pointing, largest value over the series.
    scatter_px : float
        Standard deviation of the pointing from frame to frame.
    roll_arcsec : float
        Standard deviation of the roll about the CCD's middle.
    jitter_px : float
        Median standard deviation, within a frame, along each axis.
    focus_px : float
        Gaussian that the response is widened by at the beginning of each orbit; it fades in a day.
    aberration : bool
        Whether the Earth's velocity moves stars.
    header_error_px : float
        Standard deviation of the header's WCS from the true pointing.
    """

    drift_px: float = 0.06
    scatter_px: float = 0.008
    roll_arcsec: float = 0.5
    jitter_px: float = 0.03
    focus_px: float = 0.1
    aberration: bool = True
    header_error_px: float = 0.01

    def __post_init__(self) -> None:
        for name, high in _MOTION_LIMITS.items():
            _check(name, getattr(self, name), 0.0, high)


_MOTION_LIMITS = {
    "drift_px": 3.0,
    "scatter_px": 1.0,
    "roll_arcsec": 10.0,
    "jitter_px": 0.5,
    "focus_px": 0.5,
    "header_error_px": 3.0,
}


@dataclass(frozen=True)
class Diffuse:
    """Light that no source sends, per pixel, on top of the FFI's own zodiacal light.

    Parameters
    ----------
    earth_e_per_s : float
        Scattered light of the Earth at the ends of orbits, at its brightest on the CCD.
    moon_e_per_s : float
        Peak of a glint of the Moon that crosses the CCD in each orbit.
    strap : float
        Part by which columns over straps see more diffuse light.
    strap_stars : float
        Part by which they see more of the sources' light.
    """

    earth_e_per_s: float = 400.0
    moon_e_per_s: float = 25.0
    strap: float = 0.03
    strap_stars: float = 0.002

    def __post_init__(self) -> None:
        for name, high in (("earth_e_per_s", 1e5), ("moon_e_per_s", 1e5)):
            _check(name, getattr(self, name), 0.0, high)
        for name in ("strap", "strap_stars"):
            _check(name, getattr(self, name), 0.0, 1.0)


@dataclass(frozen=True)
class CosmicRays:
    """Charge that particles leave.

    Parameters
    ----------
    per_cm2_s : float
        Hits; 0 for none.
    mitigated : bool
        Whether the spacecraft has left out the brightest and faintest of each ten readings, which
        leaves 2 % of the hits.
    electrons : float
        Median charge that a hit leaves in a pixel.
    """

    per_cm2_s: float = 5.0
    mitigated: bool = True
    electrons: float = 1500.0

    def __post_init__(self) -> None:
        _check("per_cm2_s", self.per_cm2_s, 0.0, 1000.0)
        _check("electrons", self.electrons, 1.0, 1e6)


@dataclass(frozen=True)
class SeriesConfig:
    """A sector's frames of one field.

    Parameters
    ----------
    frames : int
        How many.
    step : int
        Cadences from one frame to the next; 0 for as many as spread the frames over the sector.
    cadence_s : float
        Time from one FFI to the next: 20, 120, 200, 600 or 1800 s; 0 for the sector's own.
    start : str
        Start of the first frame as UTC, ISO 8601; empty for 13.2 days before the FFI's.
    spacecraft : int
        Configuration number in the file names; 0 for the sector's own where it is known.
    motion : Motion
        How the telescope moves.
    diffuse : Diffuse
        Scattered light and straps.
    cosmic_rays : CosmicRays
        Hits by particles.
    changing : tuple of Changing
        Transients and variable stars.
    asteroids : tuple of Asteroid
        What moves.
    dump_days : float
        Time between momentum dumps; 0 for none.
    spoilt : float
        Part of the frames that something else than a dump befalls.
    events : tuple of Event
        What befalls certain frames, in any case.
    seed : int
        Seed of everything random.

    Raises
    ------
    ConfigError
        If a value is out of range, or two changing objects have one name.
    """

    frames: int
    step: int = 0
    cadence_s: float = 0.0
    start: str = ""
    spacecraft: int = 0
    motion: Motion = field(default_factory=Motion)
    diffuse: Diffuse = field(default_factory=Diffuse)
    cosmic_rays: CosmicRays = field(default_factory=CosmicRays)
    changing: tuple[Changing, ...] = ()
    asteroids: tuple[Asteroid, ...] = ()
    dump_days: float = 3.1
    spoilt: float = 0.01
    events: tuple[Event, ...] = ()
    seed: int = 1

    def __post_init__(self) -> None:
        _check("frames", self.frames, 1, 200_000)
        _check("step", self.step, 0, 10_000)
        _check("dump_days", self.dump_days, 0.0, 30.0)
        _check("spoilt", self.spoilt, 0.0, 1.0)
        if self.cadence_s and self.cadence_s not in _CADENCES:
            raise ConfigError(
                f"`cadence_s` {self.cadence_s:g} is none of TESS's: give "
                f"{', '.join(f'{c:g}' for c in _CADENCES)}, or 0 for the sector's own"
            )
        names = [thing.name for thing in self.things]
        if len(set(names)) < len(names):
            raise ConfigError(f"changing objects {names} share names: give each its own")

    @property
    def things(self) -> tuple[Changing | Asteroid, ...]:
        """What changes or moves, in the order of the truth."""
        return (*self.changing, *self.asteroids)

    @classmethod
    def clean(cls, frames: int, **changes: Any) -> "SeriesConfig":  # noqa: ANN401 - its own fields
        """Return a series in which nothing is spoilt and no light is scattered.

        Parameters
        ----------
        frames : int
            How many frames.
        **changes : object
            Other fields.

        Returns
        -------
        SeriesConfig
            Pointing, jitter and noise as usual; headers tell the truth.
        """
        plain = cls(
            frames,
            motion=Motion(header_error_px=0.0),
            diffuse=Diffuse(0.0, 0.0, 0.0, 0.0),
            cosmic_rays=CosmicRays(0.0),
            dump_days=0.0,
            spoilt=0.0,
        )
        return replace(plain, **changes)
