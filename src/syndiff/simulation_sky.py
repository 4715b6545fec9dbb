"""The simulated sky: stars and galaxies, drawn or given, and their catalogue file."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from syndiff.config import BAND_WEIGHTS, BANDS
from syndiff.errors import ConfigError, MissingInputError

__all__ = [
    "AB_MINUS_TESS_MAG",
    "PS1_EPOCH_YEAR",
    "ZERO_POINT",
    "Cap",
    "SkyConfig",
    "Sources",
    "TestStar",
    "make_sources",
    "read_sources",
    "unit_vectors",
    "write_sources",
]

F64 = NDArray[np.float64]

ZERO_POINT = 25.0
"""AB zero point of every flux here, those of the template included."""

AB_MINUS_TESS_MAG = 0.39
"""AB magnitude of the composite of r, i, z, y minus TESS's own (Vega-like) magnitude."""

PS1_EPOCH_YEAR = 2012.75
"""Epoch of the catalogue's positions and of the simulated stacks."""

_TILE_DEG = 0.1
_MAS_PER_DEG = 3.6e6


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
            How far outside they may lie.

        Returns
        -------
        (n,) bool
            True inside.
        """
        reach = math.radians(min(self.radius_deg + margin_deg, 180.0))
        chord = np.linalg.norm(vectors - np.array(self.centre), axis=1)
        return np.asarray(chord <= 2 * math.sin(reach / 2))


@dataclass(frozen=True)
class Sources:
    """Stars and galaxies.

    Parameters
    ----------
    ra, dec : (n,) float64
        Position at the PS1 epoch, degrees.
    pmra, pmdec : (n,) float64
        Proper motion, mas per year, the first one times cos(dec).
    flux : (n, 4) float64
        Flux in r, i, z, y at AB zero point 25.
    sersic : (n,) int64
        0 for stars, 1 or 4 for galaxies.
    radius_arcsec, axis_ratio, angle_deg : (n,) float64
        Half-light radius along the major axis, minor over major axis, position angle from north
        to east. Stars: 0, 1, 0.
    """

    ra: F64
    dec: F64
    pmra: F64
    pmdec: F64
    flux: F64
    sersic: NDArray[np.int64]
    radius_arcsec: F64
    axis_ratio: F64
    angle_deg: F64

    def __len__(self) -> int:
        return len(self.ra)

    def __getitem__(self, index: Any) -> "Sources":  # noqa: ANN401 - any index of numpy's
        return Sources(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def composite_flux(self) -> F64:
        """Flux in the composite TESS band, AB zero point 25."""
        return np.asarray(self.flux @ np.array(BAND_WEIGHTS))

    @property
    def tess_mag(self) -> F64:
        """TESS magnitude (Vega-like)."""
        return np.asarray(ZERO_POINT - 2.5 * np.log10(self.composite_flux) - AB_MINUS_TESS_MAG)

    def joined(self, *others: "Sources") -> "Sources":
        """Return these sources and others.

        Parameters
        ----------
        *others : Sources
            More sources.

        Returns
        -------
        Sources
            These, then the others.
        """
        columns = (
            np.concatenate([getattr(part, field.name) for part in (self, *others)])
            for field in fields(self)
        )
        return Sources(*columns)

    def at(self, year: float) -> tuple[F64, F64]:
        """Return positions at an epoch.

        Parameters
        ----------
        year : float
            Julian year.

        Returns
        -------
        ra, dec : (n,) float64
            Degrees.
        """
        years = year - PS1_EPOCH_YEAR
        dec = self.dec + self.pmdec * years / _MAS_PER_DEG
        ra = self.ra + self.pmra * years / _MAS_PER_DEG / np.cos(np.radians(self.dec))
        return ra % 360.0, dec


def unit_vectors(ra_deg: F64, dec_deg: F64) -> F64:
    """Return the unit vectors of sky positions.

    Parameters
    ----------
    ra_deg, dec_deg : (...,) float64
        Positions.

    Returns
    -------
    (..., 3) float64
        Unit vectors.
    """
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], -1)


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
        The given stars first, wherever they are, then the drawn sources.
    """
    parts = [_given(config.stars)]
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


def _gaia_mags(sources: Sources) -> tuple[F64, F64, F64]:
    """Return G, BP, RP that give back the TESS magnitude by the usual relation.

    Notes
    -----
    ``T = G - 0.00522555 c^3 + 0.0891337 c^2 - 0.633923 c + 0.0324473`` with c = BP - RP (Stassun
    et al. 2019, AJ 158, 138); c follows r - i roughly as for main-sequence stars.
    """
    r_minus_i = -2.5 * np.log10(sources.flux[:, 0] / sources.flux[:, 1])
    c = np.clip(0.45 + 1.75 * r_minus_i, -0.3, 4.5)
    g = sources.tess_mag + 0.00522555 * c**3 - 0.0891337 * c**2 + 0.633923 * c - 0.0324473
    rp = g - (0.09 + 0.55 * c)
    return g, rp + c, rp


def write_sources(sources: Sources, path: Path) -> None:
    """Write the catalogue file.

    Parameters
    ----------
    sources : Sources
        What is in the sky.
    path : Path
        An ECSV file, replaced if it is there.
    """
    g, bp, rp = _gaia_mags(sources)
    columns = {
        "ra": sources.ra,
        "dec": sources.dec,
        "pmra": sources.pmra,
        "pmdec": sources.pmdec,
    }
    for band, flux in zip(BANDS, sources.flux.T, strict=True):
        columns[f"mag_{band}"] = ZERO_POINT - 2.5 * np.log10(flux)
    columns |= {"T": sources.tess_mag, "G": g, "BP": bp, "RP": rp}
    table = Table(columns | {"is_galaxy": sources.sersic > 0})
    for name in ("sersic", "radius_arcsec", "axis_ratio", "angle_deg"):
        table[name] = getattr(sources, name)
    for name in ("ra", "dec", "angle_deg"):
        table[name].unit = "deg"
    for name in ("pmra", "pmdec"):
        table[name].unit = "mas / yr"
    table.meta["epoch"] = PS1_EPOCH_YEAR
    table.write(path, format="ascii.ecsv", overwrite=True)


def read_sources(path: Path) -> Sources:
    """Read the catalogue file of a simulation.

    Parameters
    ----------
    path : Path
        What `write_sources` wrote.

    Returns
    -------
    Sources
        The sources.

    Raises
    ------
    MissingInputError
        If the file is not there.
    """
    if not path.is_file():
        raise MissingInputError(f"{path} is not there: run `syndiff simulate` again")
    table = Table.read(path, format="ascii.ecsv")
    mags = np.stack([np.asarray(table[f"mag_{band}"], float) for band in BANDS], -1)
    values: dict[str, Any] = {"flux": 10 ** (0.4 * (ZERO_POINT - mags))}
    for field in fields(Sources):
        if field.name != "flux":
            kind = np.int64 if field.name == "sersic" else np.float64
            values[field.name] = np.asarray(table[field.name]).astype(kind)
    return Sources(**values)
