"""Stars of a catalogue: their positions at an epoch and their TESS magnitudes."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from syndiff.errors import RenderingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["NO_COLOUR_ERROR_MAG", "RELATION_ERROR_MAG", "StarCatalogue", "tess_magnitude"]

RELATION_ERROR_MAG = 0.006
"""Scatter of T from G and BP-RP (Stassun et al. 2019, AJ 158, 138, appendix A)."""

NO_COLOUR_ERROR_MAG = 0.6
"""Error of T = G - 0.430, for stars without a colour (same place)."""

_MAS_PER_DEG = 3.6e6


def tess_magnitude(
    g: ArrayLike, bp: ArrayLike, rp: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return TESS magnitudes of Gaia's.

    Parameters
    ----------
    g, bp, rp : array_like of float
        Magnitudes in G, BP, RP; NaN where a colour is unknown.

    Returns
    -------
    tmag : float64 array
        TESS magnitude (Vega-like).
    is_coloured : bool array
        Whether BP and RP are known; elsewhere ``T = G - 0.430``, good to 0.6 mag.

    Notes
    -----
    ``T = G - 0.00522555 c^3 + 0.0891337 c^2 - 0.633923 c + 0.0324473`` with c = BP - RP (Stassun
    et al. 2019, AJ 158, 138, equation 1).

    Examples
    --------
    >>> tess_magnitude([10.0, 10.0], [10.4, float("nan")], [9.4, 9.4])[0].round(4)
    array([9.4824, 9.57  ])
    """
    g, colour = np.asarray(g, float), np.asarray(bp, float) - np.asarray(rp, float)
    is_coloured = np.isfinite(colour)
    c = np.where(is_coloured, colour, 0.0)
    by_colour = g - 0.00522555 * c**3 + 0.0891337 * c**2 - 0.633923 * c + 0.0324473
    return np.where(is_coloured, by_colour, g - 0.430), is_coloured


@dataclass(frozen=True, eq=False)
class StarCatalogue:
    """Stars as columns, sorted by right ascension, declination and magnitude.

    Parameters
    ----------
    ra, dec : (n,) float64
        ICRS position at `epoch`, degrees.
    pmra, pmdec : (n,) float64
        Proper motion, mas per year, the first times cos(dec); 0 where unknown.
    epoch : (n,) float64
        Julian year of the position.
    tmag : (n,) float64
        TESS magnitude.
    colour : (n,) float64
        BP - RP; NaN where unknown.
    tmag_error : (n,) float64
        Standard deviation of `tmag`: of the relation with Gaia's magnitudes, or as given.
    identity : (n,) int64
        The catalogue's number, or the row in the file.
    """

    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    pmra: NDArray[np.float64]
    pmdec: NDArray[np.float64]
    epoch: NDArray[np.float64]
    tmag: NDArray[np.float64]
    colour: NDArray[np.float64]
    tmag_error: NDArray[np.float64]
    identity: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ra)

    def select(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> StarCatalogue:
        """Return some of the stars.

        Parameters
        ----------
        index : bool or int array
            Which.

        Returns
        -------
        StarCatalogue
            Those, in the order asked for.
        """
        return StarCatalogue(*(getattr(self, field.name)[index] for field in fields(self)))

    def sorted(self) -> StarCatalogue:
        """Return the stars in the order that every catalogue of them has.

        Returns
        -------
        StarCatalogue
            By right ascension, declination, magnitude, number.
        """
        return self.select(np.lexsort((self.identity, self.tmag, self.dec, self.ra)))

    def at(self, year: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return positions at an epoch.

        Parameters
        ----------
        year : float
            Julian year.

        Returns
        -------
        ra, dec : (n,) float64
            Degrees, ICRS.

        Notes
        -----
        Along the great circle that the motion follows: right at the poles too. Parallax and radial
        motion are left out: 0.77" and less than 1 mas over 20 years even of the nearest star.
        """
        ra, dec = np.radians(self.ra), np.radians(self.dec)
        east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)])
        outward = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
        north = np.cross(outward, east, axis=0)
        move = np.radians((year - self.epoch) / _MAS_PER_DEG)
        x, y, z = outward + move * (self.pmra * east + self.pmdec * north)
        return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))

    @property
    def motion_mas_per_year(self) -> NDArray[np.float64]:
        """Total proper motion, (n,) float64."""
        return np.asarray(np.hypot(self.pmra, self.pmdec))

    @property
    def digest(self) -> str:
        """Short digest of all columns."""
        return hashlib.sha256(self.pack()).hexdigest()[:16]

    def pack(self) -> bytes:
        """Return all columns as bytes.

        Returns
        -------
        bytes
            A NumPy file of one (9, n) float64 array; the last row's bits are the int64 numbers.
        """
        columns = [getattr(self, field.name) for field in fields(self)]
        rows = [np.ascontiguousarray(column).view(np.float64) for column in columns]
        content = io.BytesIO()
        np.save(content, np.stack(rows).astype("<f8"), allow_pickle=False)
        return content.getvalue()

    @classmethod
    def unpack(cls, content: bytes) -> StarCatalogue:
        """Return the catalogue that `pack` packed.

        Parameters
        ----------
        content : bytes
            From `pack`.

        Returns
        -------
        StarCatalogue
            Equal to the one packed.

        Raises
        ------
        RenderingError
            If `content` is something else.
        """
        names = [field.name for field in fields(cls)]
        try:
            rows = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise RenderingError(
                f"the stored star catalogue is damaged ({error}): run `syndiff process` again"
            ) from error
        if rows.shape[:1] != (len(names),) or rows.ndim != 2:
            raise RenderingError(
                f"the stored star catalogue has shape {rows.shape}, not ({len(names)}, n): run "
                "`syndiff process` again"
            )
        columns = {name: np.ascontiguousarray(row) for name, row in zip(names, rows, strict=True)}
        columns["identity"] = columns["identity"].view(np.int64)
        return cls(**columns)
