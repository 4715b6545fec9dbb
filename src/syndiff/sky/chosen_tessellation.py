"""Which tessellation a run uses: the built-in one, or a user's skycell catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syndiff.errors import GeometryError, MissingInputError
from syndiff.sky.tessellation import Tessellation
from syndiff.storage.place import Place

if TYPE_CHECKING:
    from syndiff.layout import Layout

__all__ = ["find_catalogue", "open_tessellation", "read_tessellation"]


def find_catalogue(layout: Layout, given: str | None) -> Place | None:
    """Return the catalogue that a run uses.

    Parameters
    ----------
    layout : Layout
        The data root's paths.
    given : str, optional
        Path or URL that the user gave.

    Returns
    -------
    Place or None
        The given one, else ``SkyCells/skycell_wcs.csv`` under the data root where that exists,
        else None for the built-in RINGS.V3 tessellation.

    Raises
    ------
    MissingInputError
        If the given one isn't there.
    """
    if given is None:
        return layout.catalogue if layout.catalogue.exists() else None
    place = Place.at(given)
    if not place.exists():
        raise MissingInputError(
            f"the skycell catalogue {given} is not there: give an existing CSV file, or none for "
            "the built-in RINGS.V3 tessellation"
        )
    return place


def open_tessellation(catalogue: Place | None) -> Tessellation:
    """Return the tessellation of a catalogue.

    Parameters
    ----------
    catalogue : Place or None
        A CSV file; None for RINGS.V3.

    Returns
    -------
    Tessellation
        All its skycells.

    Raises
    ------
    GeometryError
        If the catalogue can't be used.
    """
    if catalogue is None:
        return Tessellation.rings_v3()
    try:
        return Tessellation.from_csv(catalogue.read())
    except GeometryError as error:
        raise GeometryError(f"{catalogue}: {error}") from error


def read_tessellation(layout: Layout, expected: str) -> Tessellation:
    """Return the tessellation that a CCD was mapped with.

    Parameters
    ----------
    layout : Layout
        The data root's paths.
    expected : str
        Its digest, from the mapping.

    Returns
    -------
    Tessellation
        All its skycells.

    Raises
    ------
    GeometryError
        If what is there has another digest.
    """
    kept = layout.catalogue_used
    try:
        tessellation = open_tessellation(kept if kept.exists() else None)
    except GeometryError as error:
        raise GeometryError(
            f"{error}. It is the copy that the mapping of {layout.detector} was made with: make "
            "both again with `syndiff mapping <FFI>` with `overwrite`"
        ) from error
    if tessellation.digest != expected:
        raise GeometryError(
            f"the mapping of {layout.detector} was made with tessellation {expected}, but "
            f"{kept if kept.exists() else 'the built-in RINGS.V3'} is {tessellation.digest}: make "
            "it again with `syndiff mapping <FFI>` with `overwrite`"
        )
    return tessellation
