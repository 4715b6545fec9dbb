"""Stack files kept unchanged (`keep_raw`), in a folder that serves as an archive."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from syndiff.config import BANDS
from syndiff.errors import CorruptDownloadError, WrongFileError
from syndiff.stacks.archive import (
    PACKINGS,
    PLANES,
    UNFINISHED,
    Fetched,
    SkycellFiles,
    stack_folder,
    stack_path,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from syndiff.sky.tessellation import Skycell
    from syndiff.stacks.archive import OpenPlane
    from syndiff.stacks.stackheader import Plane
    from syndiff.storage.place import Place

__all__ = ["KeptFiles", "kept_bands"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptFiles:
    """The files that were kept of skycells.

    Parameters
    ----------
    place : Place
        `Layout.stack_files`.

    Notes
    -----
    Files have the archive's own names in its own folders, ``PPPP/CCC/rings.v3...``. Each is written
    completely or not at all. While a skycell's are written, a file ``unfinished`` is beside them,
    so that no reader takes missing files for absent ones.
    """

    place: Place

    def paths(self) -> frozenset[str]:
        """List what is kept.

        Returns
        -------
        frozenset of str
            Paths of files below the folder.
        """
        return frozenset(path for path, _ in self.place.walk())

    def read(
        self, skycell: Skycell, bands: Sequence[str], open_plane: OpenPlane
    ) -> SkycellFiles | None:
        """Return the kept files of a skycell, as if they had just been fetched.

        Parameters
        ----------
        skycell : Skycell
            Which skycell.
        bands : sequence of str
            PS1 bands.
        open_plane : callable
            Opens and checks a file.

        Returns
        -------
        SkycellFiles or None
            None unless all files of all these bands are kept and good: what is absent only the
            archive can tell.

        Raises
        ------
        WrongFileError
            If a kept file is whole, but not what it should be.
        StorageError
            If a kept file can't be read.
        """
        paths = self._paths_of(skycell.name)
        if not set(bands) <= kept_bands(skycell.name, paths):
            return None
        try:
            planes = {
                (band, plane): self._open(skycell, band, plane, paths, open_plane)
                for band in bands
                for plane in PLANES
            }
        except WrongFileError:
            raise  # the archive most likely has the same file
        except CorruptDownloadError as error:
            logger.warning("a kept file is not used, the archive is asked again: %s", error)
            return None
        return SkycellFiles(skycell.name, planes)

    def keep(self, files: SkycellFiles) -> None:
        """Keep the files of a skycell, in place of those that were kept before.

        Parameters
        ----------
        files : SkycellFiles
            Fetched with their octets.

        Raises
        ------
        StorageError
            If a file can't be written.
        """
        targets = {key: self._target(files.name, *key, file) for key, file in files.planes.items()}
        if targets and all(_is_at(file.source, targets[key]) for key, file in files.planes.items()):
            return  # the archive is this very folder
        mark = self.place / stack_folder(files.name) / UNFINISHED
        mark.write(b"a skycell's files are being written, or their writer was interrupted\n")
        for path in self._paths_of(files.name):
            if ".stk." in path:
                (self.place / path).remove()
        for key, file in files.planes.items():
            if file.octets is None:
                raise ValueError(f"{file.source} was fetched without its octets")
            targets[key].write(file.octets)
        mark.remove()

    def _paths_of(self, name: str) -> frozenset[str]:
        """List the files in a skycell's folder."""
        folder = stack_folder(name)
        return frozenset(f"{folder}/{path}" for path, _ in (self.place / folder).walk())

    def _open(
        self,
        skycell: Skycell,
        band: str,
        plane: Plane,
        paths: Collection[str],
        open_plane: OpenPlane,
    ) -> Fetched:
        place = self.place / _packed_paths(skycell.name, band, plane, paths)[0]
        content = memoryview(place.read())
        stack = open_plane(content, source=str(place), plane=plane, band=band, skycell=skycell)
        return Fetched(stack, hashlib.sha256(content).hexdigest(), str(place), len(content))

    def _target(self, name: str, band: str, plane: Plane, file: Fetched) -> Place:
        """Return where a file is kept: by its own name, compressed as it was fetched."""
        packing = next(p for p in reversed(PACKINGS) if file.source.endswith(p))
        return self.place / (stack_path(name, band, plane) + packing)


def kept_bands(name: str, paths: Collection[str]) -> set[str]:
    """Return the bands of which all files are kept.

    Parameters
    ----------
    name : str
        Of the skycell.
    paths : collection of str
        From `KeptFiles.paths`.

    Returns
    -------
    set of str
        PS1 bands.
    """
    if f"{stack_folder(name)}/{UNFINISHED}" in paths:
        return set()
    return {
        band for band in BANDS if all(_packed_paths(name, band, plane, paths) for plane in PLANES)
    }


def _packed_paths(name: str, band: str, plane: Plane, paths: Collection[str]) -> list[str]:
    """Return those of the names that a file may have that are there."""
    return [p for packing in PACKINGS if (p := stack_path(name, band, plane) + packing) in paths]


def _is_at(source: str, place: Place) -> bool:
    """Tell whether a file came from a place."""
    if not place.is_local:
        return source == str(place)
    return "://" not in source and Path(source).resolve() == Path(str(place)).resolve()
