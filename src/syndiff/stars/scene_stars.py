"""The stars of one scene: stored beside it, found for each skycell, recorded as they are used."""

from __future__ import annotations

import functools
import io
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from syndiff.config import digest
from syndiff.constants import ZERO_POINT
from syndiff.errors import MissingInputError, RenderingError
from syndiff.sky.pixelmap import sky_to_pixel
from syndiff.stars.catalogue import StarCatalogue
from syndiff.stars.scale import StarScale  # noqa: TC001 - records are read by it
from syndiff.stars.skycell_stars import PlacedStars, ReplacedStar, StarFinder, julian_year
from syndiff.storage.records import dump_record, load_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from syndiff.ffi.observation import Frame
    from syndiff.layout import Layout
    from syndiff.scenes.combine import Contribution
    from syndiff.sky.mapping import Mapping, Reference
    from syndiff.sky.tessellation import Skycell
    from syndiff.stacks.provenance import Provenance

__all__ = [
    "TESS_BRIGHT_MAG",
    "FrameStar",
    "SceneStars",
    "StarInput",
    "store_stars",
    "write_replaced_stars",
]

TESS_BRIGHT_MAG = 7.5
"""Stars brighter than this in T are recorded for the templates: TESS saturates near 7."""


@dataclass(frozen=True)
class _SkycellRecord:
    """What was done to a skycell's stars."""

    FORMAT: ClassVar[int] = 1

    stars_digest: str
    scale: StarScale | None
    stars: tuple[ReplacedStar, ...]


@dataclass(frozen=True)
class FrameStar(ReplacedStar):
    """A star that was put back or moved, on the FFI.

    Parameters
    ----------
    identity, ra, dec, tmag, flux, error, radius_arcsec, shift_arcsec, reason, depth_px
        As in `ReplacedStar`.
    x, y : float
        FFI pixels, 0-based.
    """

    x: float
    y: float


@dataclass(frozen=True)
class SceneStars:
    """The scene metadata about its stars.

    Parameters
    ----------
    year : float
        Epoch of their positions, Julian year.
    digest : str
        Of the catalogue.
    catalogued : int
        Stars in it.
    replaced : tuple of FrameStar
        Those that were put back or moved.
    bright : tuple of (x, y, T)
        Those that TESS may saturate: FFI pixels, TESS magnitude.
    """

    year: float
    digest: str
    catalogued: int
    replaced: tuple[FrameStar, ...]
    bright: tuple[tuple[float, float, float], ...]


def store_stars(layout: Layout, stars: StarCatalogue) -> None:
    """Put the stars of a scene beside it, where every worker finds them.

    Parameters
    ----------
    layout : Layout
        The data root's paths.
    stars : StarCatalogue
        Sorted.

    Raises
    ------
    StorageError
        If they can't be written.
    """
    content = stars.pack()
    place = layout.star_catalogue
    if not (place.exists() and place.read() == content):
        place.write(content)


@dataclass(frozen=True, eq=False)
class StarInput:
    """The stars of a scene and the epoch that they are wanted at.

    Parameters
    ----------
    layout : Layout
        The data root's paths.
    stars : StarCatalogue
        All stars.
    year : float
        Julian year of the FFI.
    """

    layout: Layout
    stars: StarCatalogue
    year: float

    @classmethod
    def read(cls, layout: Layout, reference: Reference) -> StarInput:
        """Return the stars that `store_stars` stored.

        Parameters
        ----------
        layout : Layout
            The data root's paths.
        reference : Reference
            The FFI.

        Returns
        -------
        StarInput
            The stars.

        Raises
        ------
        MissingInputError
            If none are stored.
        """
        from astropy.time import Time

        place = layout.star_catalogue
        if not place.exists():
            raise MissingInputError(
                f"{place} is missing: run `syndiff process {layout.detector.arguments}` again"
            )
        times = [text.rstrip("Z") for text in (reference.date_obs, reference.date_end)]
        year = float(np.mean(Time(times, scale="utc").jyear))
        return cls(layout, StarCatalogue.unpack(place.read()), round(year, 4))

    @functools.cached_property
    def _finder(self) -> StarFinder:
        return StarFinder(self.stars)

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        return {}

    def near(self, skycell: Skycell) -> StarCatalogue:
        """Return the stars whose light can reach a skycell.

        Parameters
        ----------
        skycell : Skycell
            The skycell.

        Returns
        -------
        StarCatalogue
            Those stars.
        """
        return self._finder.near(skycell)

    def digest(self, skycell: Skycell) -> str:
        """Return the digest of all that these stars mean to a skycell.

        Parameters
        ----------
        skycell : Skycell
            The skycell.

        Returns
        -------
        str
            Of the stars near it and the epoch.
        """
        if skycell.name not in self._digests:
            self._digests[skycell.name] = digest([self.year, self.near(skycell).digest])
        return self._digests[skycell.name]

    def place(self, skycell: Skycell, meta: Provenance) -> PlacedStars:
        """Return the stars near a skycell on its pixels.

        Parameters
        ----------
        skycell : Skycell
            The skycell.
        meta : Provenance
            Of its reduction; has the epochs of its stacks.

        Returns
        -------
        PlacedStars
            At both epochs.

        Raises
        ------
        RenderingError
            If a stack doesn't tell when it was taken.
        """
        epochs = [band.mjd_obs for band in meta.bands.values() if band.mjd_obs is not None]
        if len(epochs) < len(meta.bands):
            raise RenderingError(
                f"{skycell.name}: a stack has no MJD-OBS, so the motion of stars since is not "
                "known: give files that have it, or go on without `stars`"
            )
        ps1_year = julian_year(float(np.mean(epochs)))
        return PlacedStars.of(self.near(skycell), skycell, ps1_year=ps1_year, ffi_year=self.year)

    def record(self, skycell: Skycell, contribution: Contribution) -> None:
        """Write what was done to a skycell's stars.

        Parameters
        ----------
        skycell : Skycell
            The skycell.
        contribution : Contribution
            What it adds.
        """
        put = contribution.replacement
        if put is None:
            return
        record = _SkycellRecord(self.digest(skycell), put.scale, tuple(put.stars))
        self.layout.star_record(skycell.name).write(dump_record(record, indent=1))

    def recorded(self, skycell: Skycell) -> _SkycellRecord | None:
        """Return what `record` wrote of a skycell.

        Parameters
        ----------
        skycell : Skycell
            The skycell.

        Returns
        -------
        record or None
            With `scale` and `stars`; None if there is none of these stars.

        Raises
        ------
        RenderingError
            If it is damaged or of another version.
        """
        place = self.layout.star_record(skycell.name)
        if not place.exists():
            return None
        remedy = f"remove it and run `syndiff process {self.layout.detector.arguments}` again"
        found = load_record(
            _SkycellRecord, place.read(), place, error=RenderingError, remedy=remedy
        )
        return found if found.stars_digest == self.digest(skycell) else None

    def describe(self, mapping: Mapping, used: Iterable[str]) -> SceneStars:
        """Return the scene metadata about its stars.

        Parameters
        ----------
        mapping : Mapping
            The CCD's skycells.
        used : iterable of str
            Skycells that the scene is made from.

        Returns
        -------
        SceneStars
            Of a star that several skycells hold, the entry of the one that it is deepest in.
        """
        names = set(used)
        best: dict[int, ReplacedStar] = {}
        for member in mapping.members:
            if member.skycell.name not in names:
                continue
            recorded = self.recorded(member.skycell)
            for star in recorded.stars if recorded else ():
                known = best.get(star.identity)
                if known is None or star.depth_px > known.depth_px:
                    best[star.identity] = star
        ordered = sorted(best.values(), key=lambda star: (star.ra, star.dec, star.identity))
        replaced, bright = _on_frame(ordered, mapping.frame), self._bright(mapping.frame)
        return SceneStars(self.year, self.stars.digest, len(self.stars), replaced, bright)

    def _bright(self, frame: Frame) -> tuple[tuple[float, float, float], ...]:
        """Return x, y, T of the stars that TESS may saturate."""
        some = self.stars.select(self.stars.tmag < TESS_BRIGHT_MAG)
        x, y = sky_to_pixel(frame, *some.at(self.year))
        # Charge runs along a column for up to some hundred pixels.
        near = (x > frame.science.x0 - 50) & (x < frame.science.x1 + 50)
        near &= (y > frame.science.y0 - 1000) & (y < frame.science.y1 + 1000)
        columns = (column[near].tolist() for column in (x, y, some.tmag))
        return tuple(zip(*columns, strict=True))


def _on_frame(stars: list[ReplacedStar], frame: Frame) -> tuple[FrameStar, ...]:
    """Return stars with their FFI pixels, as JSON has them."""
    if not stars:
        return ()
    x, y = sky_to_pixel(frame, [s.ra for s in stars], [s.dec for s in stars])
    places = zip(stars, x.tolist(), y.tolist(), strict=True)
    placed = (FrameStar(**vars(s), x=round(i, 4), y=round(j, 4)) for s, i, j in places)
    return tuple(star for star in placed if math.isfinite(star.x) and math.isfinite(star.y))


def write_replaced_stars(layout: Layout, content: SceneStars) -> None:
    """Write the list of replaced stars.

    Parameters
    ----------
    layout : Layout
        The data root's paths.
    content : SceneStars
        From `StarInput.describe`.

    Raises
    ------
    StorageError
        If it can't be written.
    """
    from astropy.table import Table

    units = {"ra": "deg", "dec": "deg", "radius_arcsec": "arcsec", "shift_arcsec": "arcsec"}
    names = ["x", "y", *(f.name for f in fields(ReplacedStar) if f.name != "depth_px")]
    rows = content.replaced
    empty = {"identity": np.int64, "reason": np.str_}
    columns = {
        name: np.array(
            [getattr(row, name) for row in rows], empty.get(name, float if not rows else None)
        )
        for name in names
    }
    table = Table(columns)
    for name, unit in units.items():
        table[name].unit = unit
    table.meta = {"epoch": content.year, "zero_point": ZERO_POINT, "magnitude_system": "AB"}
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    layout.replaced_stars.write(text.getvalue().encode())
