"""Archive files from a local folder."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from syndiff.errors import ConfigError, SkycellNotFoundError
from syndiff.transport.attempt import DeniedError, Download, Part, TransientError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from syndiff.transport.attempt import ArchiveConfig

__all__ = ["FolderTransport"]

T = TypeVar("T")

_READ_BYTES = 1 << 19
"""Most that one read of a local file asks for: it stays in a core's own cache."""


_ROOTS = (
    "",
    "rings.v3.skycell",
    "ps1images.stsci.edu/rings.v3.skycell",
    "panstarrs/ps1/public/rings.v3.skycell",
    "stpubdata/panstarrs/ps1/public/rings.v3.skycell",
)
"""Where below a folder the archive's own root may be: as wget and aws mirror it."""

_MOST_HOLDINGS = 20_000
"""Files that are looked at to tell what a folder holds."""


class FolderTransport:
    """A local folder: the archive's own tree, a mirror of it, or the files side by side.

    Parameters
    ----------
    config : ArchiveConfig
        Its path.

    Raises
    ------
    ConfigError
        If there is no such folder.
    """

    remedy = "check the folder and its permissions"
    is_local = True

    def __init__(self, config: ArchiveConfig) -> None:
        self._root = Path(config.url).expanduser().absolute()
        if not self._root.is_dir():
            problem = "is no folder" if self._root.exists() else "does not exist"
            raise ConfigError(
                f"archive folder {self._root} {problem}: give {config.option} a folder that "
                "holds the files, or an https:// or s3:// URL"
            )
        roots = (self._root / part for part in _ROOTS)
        self._roots = [root for root in roots if root.is_dir()]

    def address(self, path: str) -> str:
        """Return the full address of a file.

        Parameters
        ----------
        path : str
            Path below the root.

        Returns
        -------
        str
            For messages and provenance.
        """
        return str(self._root / path)

    def read(self, path: str, stop: threading.Event) -> Download:  # noqa: ARG002
        """Return the file of the tree, or the one of that name where only a part of it stands.

        Parameters
        ----------
        path : str
            Path below the root.
        stop : threading.Event
            Not looked at.

        Returns
        -------
        Download
            The file.

        Raises
        ------
        SkycellNotFoundError
            If it is not there.
        TransientError
            If it could not be had this time.
        """
        return self._first(path, _read_file)

    def read_range(self, path: str, start: int, end: int, stop: threading.Event) -> Part:  # noqa: ARG002
        """Return some bytes of a file.

        Parameters
        ----------
        path : str
            Path below the root.
        start, end : int
            The first byte and the one after the last.
        stop : threading.Event
            Not looked at.

        Returns
        -------
        Part
            The bytes; fewer where the file ends before.

        Raises
        ------
        SkycellNotFoundError
            If it is not there.
        TransientError
            If it could not be had this time.
        """
        return self._first(path, lambda candidate: _read_range(candidate, start, end))

    def _first(self, path: str, read: Callable[[Path], T]) -> T:
        """Return what `read` makes of the first candidate that is there."""
        for candidate in self._candidates(path):
            try:
                return read(candidate)
            except FileNotFoundError:
                continue
            except PermissionError as error:
                raise DeniedError(f"{error.strerror} ({candidate})") from error
            except OSError as error:
                raise TransientError(f"{error.strerror} ({candidate})") from error
        raise SkycellNotFoundError(f"{self.address(path)} does not exist")

    def _candidates(self, path: str) -> Iterator[Path]:
        """Yield where a file may be: below all of its folders, some of them, or none."""
        *folders, name = path.split("/")
        for root in self._roots:
            for first in range(len(folders) + 1):
                yield root.joinpath(*folders[first:], name)
            if len(folders) > 1:
                yield root / folders[0] / name

    def names(self, folder: str) -> list[str]:
        """Return the names of a folder's files.

        Parameters
        ----------
        folder : str
            Path below the root.

        Returns
        -------
        list of str
            Sorted; none where there is no such folder.
        """
        path = self._root / folder
        return sorted(file.name for file in path.iterdir()) if path.is_dir() else []

    def folders(self, folder: str) -> list[str]:
        """Return the paths of a folder's own folders.

        Parameters
        ----------
        folder : str
            Path below the root.

        Returns
        -------
        list of str
            Below the root, sorted; none where there is no such folder.
        """
        path = self._root / folder
        inside = path.iterdir() if path.is_dir() else ()
        return sorted(str(one.relative_to(self._root)) for one in inside if one.is_dir())

    def holdings(self) -> list[str]:
        """Return paths of FITS files in the folder.

        Returns
        -------
        list of str
            Below the root, sorted; of the first 20,000 files at most.
        """
        files = (
            Path(folder, name).relative_to(self._root)
            for folder, _, names in os.walk(self._root)
            for name in names
        )
        some = itertools.islice(files, _MOST_HOLDINGS)
        return sorted(str(path) for path in some if ".fit" in path.name.lower())

    def close(self) -> None:
        """Do nothing: no connection is held."""


def _read_file(path: Path) -> Download:
    """Return a file.

    In NumPy's memory: Linux gives it in pages of 2 MB, `bytes` in those of 4 kB, and to get 325 MB
    of these takes half as long as to read. The digest costs three quarters of what it would later
    if taken while the cache holds a piece.
    """
    import numpy as np

    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        content = np.empty(os.fstat(file.fileno()).st_size, np.uint8).data
        count = 0
        while more := file.readinto(content[count : count + _READ_BYTES]):
            digest.update(content[count : count + more])
            count += more
    return Download(content[:count].toreadonly(), digest.hexdigest(), str(path))


def _read_range(path: Path, start: int, end: int) -> Part:
    """Return some bytes of a file."""
    with path.open("rb") as file:
        state = os.fstat(file.fileno())
        file.seek(start)
        octets = memoryview(file.read(end - start))
    return Part(octets, start, state.st_size, f"{state.st_size}-{state.st_mtime_ns}")
