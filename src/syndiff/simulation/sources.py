"""Stars and galaxies as columns, and the catalogue file that lists them."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from syndiff.config import BAND_WEIGHTS, BANDS
from syndiff.constants import GAIA_YEAR, ZERO_POINT
from syndiff.errors import MissingInputError

__all__ = [
    "AB_MINUS_TESS_MAG",
    "PS1_EPOCH_YEAR",
    "Sources",
    "read_sources",
    "unit_vectors",
    "write_sources",
    "write_star_catalogue",
]

F64 = NDArray[np.float64]

AB_MINUS_TESS_MAG = 0.39
"""AB magnitude of the composite of r, i, z, y minus TESS's own (Vega-like) magnitude."""

PS1_EPOCH_YEAR = 2012.75
"""Epoch of the catalogue's positions and of the simulated stacks."""

FAINTEST_G_MAG = 20.0

FAINT_G_MAG = 18.5
"""From here on some stars of the catalogue lack a colour or a motion, as Gaia's do."""

_WITHOUT_COLOUR, _WITHOUT_MOTION = 0.05, 0.05

_MAS_PER_DEG = 3.6e6


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


def _gaia_mags(sources: Sources) -> tuple[F64, F64, F64]:
    """Return G, BP, RP that reproduce the TESS magnitude by the usual relation.

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


def write_star_catalogue(sources: Sources, path: Path, *, seed: int) -> None:
    """Write the stars as an astrometric survey lists them, with its errors and gaps.

    Parameters
    ----------
    sources : Sources
        What is in the sky.
    path : Path
        An ECSV file, replaced if it is there.
    seed : int
        Seed of the errors.

    Notes
    -----
    Gaia DR3's columns, at its epoch; stars brighter than G = 20. Magnitudes err by 0.003 (G) and
    0.005 (BP, RP), positions by 0.1 mas and motions by 0.1 mas per year, as Gaia's do at G = 17. Of
    the stars fainter than G = 18.5, 5 % lack BP and RP, and 5 % a motion.
    """
    stars = sources[sources.sersic == 0]
    g, bp, rp = _gaia_mags(stars)
    seen = g < FAINTEST_G_MAG
    stars, g, bp, rp = stars[seen], g[seen], bp[seen], rp[seen]
    rng = np.random.default_rng([seed, 0x6A1A])
    n = len(stars)
    ra, dec = stars.at(GAIA_YEAR)
    table = Table({"source_id": np.arange(1, n + 1, dtype=np.int64)})
    table["ra"] = ra + rng.normal(0, 0.1, n) / _MAS_PER_DEG / np.cos(np.radians(dec))
    table["dec"] = dec + rng.normal(0, 0.1, n) / _MAS_PER_DEG
    table["pmra"] = stars.pmra + rng.normal(0, 0.1, n)
    table["pmdec"] = stars.pmdec + rng.normal(0, 0.1, n)
    table["phot_g_mean_mag"] = g + rng.normal(0, 0.003, n)
    table["phot_bp_mean_mag"] = bp + rng.normal(0, 0.005, n)
    table["phot_rp_mean_mag"] = rp + rng.normal(0, 0.005, n)
    for name, unit in (("ra", "deg"), ("dec", "deg"), ("pmra", "mas / yr"), ("pmdec", "mas / yr")):
        table[name].unit = unit
    table.meta["ref_epoch"] = GAIA_YEAR
    table = _with_gaps(table, g, rng)
    table.write(path, format="ascii.ecsv", overwrite=True)


def _with_gaps(table: Table, g: F64, rng: np.random.Generator) -> Table:
    """Return the catalogue without what real ones lack of some faint stars."""
    table = Table(table, masked=True)
    for part, names in (
        (_WITHOUT_COLOUR, ("phot_bp_mean_mag", "phot_rp_mean_mag")),
        (_WITHOUT_MOTION, ("pmra", "pmdec")),
    ):
        missing = (g > FAINT_G_MAG) & (rng.random(len(table)) < part)
        for name in names:
            table[name].mask = missing
    return table


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
