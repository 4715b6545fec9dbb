"""Stars of a catalogue on the pixels of a skycell, at PS1's epoch and at the FFI's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.sky.tessellation import Skycell
    from syndiff.stars.catalogue import StarCatalogue

__all__ = ["PlacedStars", "ReplacedStar", "StarFinder", "julian_year", "removal_radius_arcsec"]

MAX_RADIUS_ARCSEC = 600.0
_SLACK_ARCSEC = 60.0
"""More than any star but Barnard's moves in the years between catalogue, PS1 and FFI."""
_PX_PER_ARCSEC = 4.0


def julian_year(mjd: float) -> float:
    """Return the Julian year of a modified Julian date.

    Parameters
    ----------
    mjd : float
        The date.

    Returns
    -------
    float
        For example 2000.0 for 51544.5.
    """
    return 2000.0 + (mjd - 51544.5) / 365.25


def removal_radius_arcsec(tmag: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far a star's light reaches in PS1's stacks.

    Parameters
    ----------
    tmag : (n,) float64
        TESS magnitudes.

    Returns
    -------
    (n,) float64
        Arcsec, 8 to 600.

    Notes
    -----
    16" at T = 13.5, growing as flux^0.4: where a halo of surface brightness r^-2.5 falls to the
    noise of a stack. A limit, not a size: wings are subtracted only as far as they are seen.
    """
    return np.clip(16.0 * 10 ** (0.16 * (13.5 - tmag)), 8.0, MAX_RADIUS_ARCSEC)


@dataclass(frozen=True)
class ReplacedStar:
    """A star that was put back or moved.

    Parameters
    ----------
    identity : int
        Its number in the catalogue.
    ra, dec : float
        Where it was put: at the FFI's epoch, degrees.
    tmag : float
        TESS magnitude.
    flux, error : float
        AB zero point 25, and its standard deviation.
    radius_arcsec : float
        How far PS1's own light of it was looked for.
    shift_arcsec : float
        Its motion between PS1 and the FFI.
    reason : str
        ``saturated``, ``covered`` (lost beneath another one) or ``moved``.
    depth_px : float
        PS1 pixels to the skycell's nearest edge.
    """

    identity: int
    ra: float
    dec: float
    tmag: float
    flux: float
    error: float
    radius_arcsec: float
    shift_arcsec: float
    reason: str
    depth_px: float


@dataclass(frozen=True, eq=False)
class PlacedStars:
    """Stars near one skycell.

    Parameters
    ----------
    skycell : str
        Its name.
    x, y : (n,) float64
        PS1 pixels at PS1's epoch, 0-based; some are outside.
    x_then, y_then : (n,) float64
        At the FFI's epoch.
    ra, dec : (n,) float64
        At the FFI's epoch, degrees.
    tmag, colour, tmag_error : (n,) float64
        TESS magnitude, BP - RP, error of T.
    shift_arcsec : (n,) float64
        Motion between the epochs.
    radius_px : (n,) float64
        `removal_radius_arcsec` in PS1 pixels.
    is_inside : (n,) bool
        Whether a star is inside the skycell at PS1's epoch.
    depth_px : (n,) float64
        Distance to the skycell's nearest edge; negative outside.
    identity : (n,) int64
        Numbers in the catalogue.
    """

    skycell: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_then: NDArray[np.float64]
    y_then: NDArray[np.float64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    tmag: NDArray[np.float64]
    colour: NDArray[np.float64]
    tmag_error: NDArray[np.float64]
    shift_arcsec: NDArray[np.float64]
    radius_px: NDArray[np.float64]
    is_inside: NDArray[np.bool_]
    depth_px: NDArray[np.float64]
    identity: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def of(
        cls, stars: StarCatalogue, skycell: Skycell, *, ps1_year: float, ffi_year: float
    ) -> PlacedStars:
        """Place stars on a skycell.

        Parameters
        ----------
        stars : StarCatalogue
            Stars near it, of `StarFinder`.
        skycell : Skycell
            The pixel grid.
        ps1_year, ffi_year : float
            Julian years of the stack and of the FFI.

        Returns
        -------
        PlacedStars
            In the catalogue's order.
        """
        x, y = _pixels(skycell, *stars.at(ps1_year))
        ra, dec = stars.at(ffi_year)
        x_then, y_then = _pixels(skycell, ra, dec)
        depth = np.minimum.reduce([x + 0.5, skycell.nx - 0.5 - x, y + 0.5, skycell.ny - 0.5 - y])
        return cls(
            skycell=skycell.name,
            x=x,
            y=y,
            x_then=x_then,
            y_then=y_then,
            ra=ra,
            dec=dec,
            tmag=stars.tmag,
            colour=stars.colour,
            tmag_error=stars.tmag_error,
            shift_arcsec=np.hypot(x_then - x, y_then - y) / _PX_PER_ARCSEC,
            radius_px=_PX_PER_ARCSEC * removal_radius_arcsec(stars.tmag),
            is_inside=depth > 0,
            depth_px=depth,
            identity=stars.identity,
        )

    def record(self, k: int, *, flux: float, error: float, reason: str) -> ReplacedStar:
        """Return one star's row of the list of replaced stars.

        Parameters
        ----------
        k : int
            Which.
        flux, error : float
            As it was put.
        reason : str
            Why.

        Returns
        -------
        ReplacedStar
            The record.
        """
        return ReplacedStar(
            identity=int(self.identity[k]),
            ra=float(self.ra[k]),
            dec=float(self.dec[k]),
            tmag=float(self.tmag[k]),
            flux=flux,
            error=error,
            radius_arcsec=float(self.radius_px[k]) / _PX_PER_ARCSEC,
            shift_arcsec=float(self.shift_arcsec[k]),
            reason=reason,
            depth_px=float(self.depth_px[k]),
        )


class StarFinder:
    """Finds the stars that matter to a skycell.

    Parameters
    ----------
    stars : StarCatalogue
        All stars.
    """

    def __init__(self, stars: StarCatalogue) -> None:
        self._stars = stars
        from scipy.spatial import cKDTree

        self._directions = np.ascontiguousarray(_directions(stars.ra, stars.dec).T)
        self._reach = np.radians((removal_radius_arcsec(stars.tmag) + _SLACK_ARCSEC) / 3600)
        self._tree = cKDTree(self._directions, compact_nodes=False, balanced_tree=False)

    def near(self, skycell: Skycell) -> StarCatalogue:
        """Return the stars whose light can reach a skycell.

        Parameters
        ----------
        skycell : Skycell
            The skycell.

        Returns
        -------
        StarCatalogue
            In the catalogue's order: the same whatever else the catalogue holds.
        """
        matrix = skycell.pixel_to_direction
        x, y = np.array([[0.0, skycell.nx - 1.0], [0.0, skycell.ny - 1.0]])
        corners = np.stack([np.tile(x, 2), np.repeat(y, 2), np.ones(4)])
        towards = matrix @ corners
        towards /= np.linalg.norm(towards, axis=0)
        centre = towards.mean(axis=1)
        centre /= np.linalg.norm(centre)
        radius = np.arccos(np.clip(centre @ towards, -1, 1).min())
        # Chords, as cosines of small angles lose digits.
        farthest = 2 * np.sin((radius + self._reach.max(initial=0.0)) / 2)
        near = np.sort(self._tree.query_ball_point(centre, farthest)).astype(np.intp)
        chord = np.linalg.norm(self._directions[near] - centre, axis=1)
        return self._stars.select(near[chord <= 2 * np.sin((radius + self._reach[near]) / 2)])


def _directions(ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit vectors, (3, n)."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def _pixels(
    skycell: Skycell, ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return PS1 pixels, 0-based, of places within some degrees of a skycell."""
    x, y, w = np.linalg.solve(skycell.pixel_to_direction, _directions(ra_deg, dec_deg))
    return x / w, y / w
