"""The simulated sky: which stars and galaxies there are, drawn or given."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from syndiff.config import BAND_WEIGHTS
from syndiff.constants import ZERO_POINT
from syndiff.errors import ConfigError
from syndiff.simulation.sources import Sources, unit_vectors

__all__ = ["Cap", "SkyConfig", "TestGalaxy", "TestStar", "make_sources"]

F64 = NDArray[np.float64]

_TILE_DEG = 0.1


@dataclass(frozen=True)
class TestStar:
    """A star that somebody asked for.

    Parameters
    ----------
    ra_deg, dec_deg : float
        Position at the PS1 epoch.
    mag : float
        AB magnitude in the composite TESS band (r, i, z, y weighted).
    r_minus_i : float
        Colour.
    pm_mas_per_year : tuple of float
        Proper motion to the east (true angle) and north.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    ra_deg: float
    dec_deg: float
    mag: float
    r_minus_i: float = 0.2
    pm_mas_per_year: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class TestGalaxy:
    """A galaxy that somebody asked for.

    Parameters
    ----------
    ra_deg, dec_deg : float
        Position.
    mag : float
        AB magnitude in the composite TESS band.
    sersic : {1, 4}
        Exponential or de Vaucouleurs profile.
    radius_arcsec : float
        Half-light radius along the major axis.
    axis_ratio : float
        Minor over major axis.
    angle_deg : float
        Position angle from north to east.
    r_minus_i : float
        Colour.
    """

    __test__ = False

    ra_deg: float
    dec_deg: float
    mag: float
    sersic: int = 1
    radius_arcsec: float = 30.0
    axis_ratio: float = 1.0
    angle_deg: float = 0.0
    r_minus_i: float = 0.3


@dataclass(frozen=True)
class SkyConfig:
    """What is in the sky.

    Parameters
    ----------
    star_density : float
        Factor on the counts of a field at high galactic latitude; 0 for no drawn stars.
    galaxy_density : float
        Factor on the counts of galaxies.
    bright_mag, faint_mag : float
        Range of the drawn stars' i magnitudes; galaxies reach half a magnitude deeper.
    proper_motions : bool
        Whether drawn stars move.
    stars : tuple of TestStar
        Stars that are there in any case.
    galaxies : tuple of TestGalaxy
        Galaxies that are there in any case.
    seed : int
        Seed of everything random.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    star_density: float = 1.0
    galaxy_density: float = 1.0
    bright_mag: float = 12.5
    faint_mag: float = 24.0
    proper_motions: bool = True
    stars: tuple[TestStar, ...] = ()
    galaxies: tuple[TestGalaxy, ...] = ()
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("star_density", "galaxy_density"):
            value = getattr(self, name)
            if not 0 <= value <= 1000:
                raise ConfigError(f"{name} {value} is out of range: give 0 to 1000")
        if not 5 <= self.bright_mag < self.faint_mag <= 28:
            raise ConfigError(
                f"magnitudes {self.bright_mag} to {self.faint_mag} are out of range: give "
                "bright_mag < faint_mag between 5 and 28"
            )


@dataclass(frozen=True)
class Cap:
    """A circle on the sky.

    Parameters
    ----------
    centre : tuple of float
        Unit vector.
    radius_deg : float
        Radius.
    """

    centre: tuple[float, float, float]
    radius_deg: float

    @classmethod
    def around(cls, vectors: F64, margin_deg: float) -> "Cap":
        """Return the circle around points.

        Parameters
        ----------
        vectors : (n, 3) float64
            Unit vectors.
        margin_deg : float
            How far it reaches beyond the farthest point.

        Returns
        -------
        Cap
            The circle.
        """
        centre = vectors.mean(0)
        centre /= np.linalg.norm(centre)
        chord = np.linalg.norm(vectors - centre, axis=1).max()
        x, y, z = (float(value) for value in centre)
        return cls((x, y, z), math.degrees(2 * math.asin(chord / 2)) + margin_deg)

    def holds(self, vectors: F64, margin_deg: float = 0.0) -> NDArray[np.bool_]:
        """Tell which points lie inside.

        Parameters
        ----------
        vectors : (n, 3) float64
            Unit vectors.
        margin_deg : float
            Largest distance outside.

        Returns
        -------
        (n,) bool
            True inside.
        """
        reach = math.radians(min(self.radius_deg + margin_deg, 180.0))
        chord = np.linalg.norm(vectors - np.array(self.centre), axis=1)
        return np.asarray(chord <= 2 * math.sin(reach / 2))


def make_sources(config: SkyConfig, cap: Cap) -> Sources:
    """Return every source of the sky inside a circle.

    The sky is drawn in tiles, each from its own random stream, so that it is the same sky
    whichever circle is asked for.

    Parameters
    ----------
    config : SkyConfig
        What is in the sky.
    cap : Cap
        The circle.

    Returns
    -------
    Sources
        The given stars first, then the given galaxies, wherever they are, then the drawn sources.
    """
    parts = [_given(config.stars), _given_galaxies(config.galaxies)]
    if config.star_density or config.galaxy_density:
        for tile in _tiles_of(cap):
            drawn = _draw_tile(config, tile)
            parts.append(drawn[cap.holds(unit_vectors(drawn.ra, drawn.dec))])
    return parts[0].joined(*parts[1:])


def _tiles_of(cap: Cap) -> Iterator[tuple[int, int, int]]:
    """Yield (band, bin, bins in the band) of the sky tiles that a circle touches."""
    dec0 = math.degrees(math.asin(max(-1.0, min(1.0, cap.centre[2]))))
    bands = round(180 / _TILE_DEG)
    first = max(0, math.floor((dec0 - cap.radius_deg + 90) / _TILE_DEG))
    last = min(bands - 1, math.floor((dec0 + cap.radius_deg + 90) / _TILE_DEG))
    for band in range(first, last + 1):
        dec = (band + 0.5) * _TILE_DEG - 90
        bins = max(1, round(360 * math.cos(math.radians(dec)) / _TILE_DEG))
        ra = (np.arange(bins) + 0.5) * 360 / bins
        near = cap.holds(unit_vectors(ra, np.full(bins, dec)), 2 * _TILE_DEG)
        for index in np.flatnonzero(near):
            yield band, int(index), bins


def _draw_tile(config: SkyConfig, tile: tuple[int, int, int]) -> Sources:
    """Draw the stars and galaxies of one tile."""
    rng = np.random.default_rng([config.seed, *tile])
    # Per square degree and magnitude: 10^(slope (i - 20) + level).
    stars = _draw_mags(
        rng, (0.20, 3.3), (config.bright_mag, config.faint_mag), config.star_density, tile
    )
    galaxies = _draw_mags(
        rng, (0.36, 3.2), (17.0, config.faint_mag + 0.5), config.galaxy_density, tile
    )
    mag, ns = np.concatenate([stars, galaxies]), len(stars)
    n, ng = len(mag), len(galaxies)
    ra, dec = _draw_positions(rng, n, tile)
    colour = np.concatenate(
        [np.minimum(0.05 + rng.gamma(1.5, 0.18, ns), 1.6), rng.normal(0.3, 0.12, ng)]
    )
    scatter = rng.normal(0.0, 0.02, (n, 2))
    speed = 6.0 * np.exp(rng.normal(0.0, 0.9, ns)) * config.proper_motions
    way = rng.uniform(0, 2 * np.pi, ns)
    zeros = np.zeros(ng)
    radius = 0.7 * 10 ** (-0.1 * (galaxies - 20) + rng.normal(0, 0.2, ng))
    return Sources(
        ra,
        dec,
        np.concatenate([speed * np.cos(way), zeros]),
        np.concatenate([speed * np.sin(way), zeros]),
        _band_fluxes(mag, colour, scatter),
        np.concatenate([np.zeros(ns, np.int64), np.where(rng.random(ng) < 0.7, 1, 4)]),
        np.concatenate([np.zeros(ns), np.clip(radius, 0.15, 6.0)]),
        np.concatenate([np.ones(ns), rng.uniform(0.3, 1.0, ng)]),
        np.concatenate([np.zeros(ns), rng.uniform(0.0, 180.0, ng)]),
    )


def _draw_mags(
    rng: np.random.Generator,
    law: tuple[float, float],
    limits: tuple[float, float],
    density: float,
    tile: tuple[int, int, int],
) -> F64:
    """Draw the i magnitudes of one tile's stars or galaxies from power-law counts."""
    band, _, bins = tile
    slope, level = law
    edges = np.radians(np.array([band, band + 1]) * _TILE_DEG - 90)
    area = np.degrees(np.diff(np.sin(edges))[0]) * 360 / bins
    low, high = (10 ** (slope * (m - 20)) for m in limits)
    mean = density * area * 10**level / (slope * math.log(10)) * (high - low)
    n = rng.poisson(mean)
    return np.asarray(20 + np.log10(low + (high - low) * rng.random(n)) / slope)


def _draw_positions(
    rng: np.random.Generator, n: int, tile: tuple[int, int, int]
) -> tuple[F64, F64]:
    """Draw positions that are uniform on one tile."""
    band, index, bins = tile
    low, high = (math.sin(math.radians(k * _TILE_DEG - 90)) for k in (band, band + 1))
    ra = (index + rng.random(n)) * 360 / bins
    return ra, np.degrees(np.arcsin(low + (high - low) * rng.random(n)))


def _band_fluxes(mag_i: F64, colour: F64, scatter: F64) -> F64:
    """Return (n, 4) fluxes from i magnitudes and r-i, along the stellar locus of PS1."""
    z = mag_i - 0.46 * colour - scatter[:, 0]
    y = z - 0.24 * colour - scatter[:, 1]
    mags = np.stack([mag_i + colour, mag_i, z, y], -1)
    return np.asarray(10 ** (0.4 * (ZERO_POINT - mags)))


def _given(stars: tuple[TestStar, ...]) -> Sources:
    """Return the stars that were asked for."""
    n = len(stars)
    colour = np.array([s.r_minus_i for s in stars], float)
    flux = _band_fluxes(np.zeros(n), colour, np.zeros((n, 2)))
    wanted = 10 ** (0.4 * (ZERO_POINT - np.array([s.mag for s in stars], float)))
    flux *= (wanted / (flux @ np.array(BAND_WEIGHTS)))[:, None]
    motion = np.array([s.pm_mas_per_year for s in stars], float).reshape(n, 2)
    return Sources(
        np.array([s.ra_deg for s in stars], float),
        np.array([s.dec_deg for s in stars], float),
        motion[:, 0],
        motion[:, 1],
        flux,
        np.zeros(n, np.int64),
        np.zeros(n),
        np.ones(n),
        np.zeros(n),
    )


def _given_galaxies(galaxies: tuple[TestGalaxy, ...]) -> Sources:
    """Return the galaxies that were asked for."""
    points = _given(
        tuple(TestStar(g.ra_deg, g.dec_deg, g.mag, r_minus_i=g.r_minus_i) for g in galaxies)
    )
    return replace(
        points,
        sersic=np.array([g.sersic for g in galaxies], np.int64),
        radius_arcsec=np.array([g.radius_arcsec for g in galaxies], float),
        axis_ratio=np.array([g.axis_ratio for g in galaxies], float),
        angle_deg=np.array([g.angle_deg for g in galaxies], float),
    )
