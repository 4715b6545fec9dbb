"""A file held in part: pieces of it as they came, where from, and a stream that fetches others."""

from __future__ import annotations

import io
import json
import zipfile
from bisect import bisect_right
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from syndiff.errors import CorruptDownloadError, StorageError
from syndiff.layout import PART_ENDING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    from syndiff.transport.archive import Archive
    from syndiff.transport.attempt import Part

__all__ = ["ChangedFileError", "PartialFile", "PartialStream", "is_part"]

_FORMAT = 1
_RECORD = "record.json"


class ChangedFileError(CorruptDownloadError):
    """The file at an address is another one than when its first pieces came."""


def is_part(path: str) -> bool:
    """Tell whether a file holds pieces of another one.

    Parameters
    ----------
    path : str
        Its path.

    Returns
    -------
    bool
        By its name.
    """
    return path.endswith(PART_ENDING)


@dataclass(frozen=True)
class PartialFile:
    """Pieces of a file.

    Parameters
    ----------
    source : str
        Where the file is.
    size : int
        Bytes of the whole file.
    version : str
        What its server tells one state of it from another by; empty if it doesn't.
    fetched : str
        When the first piece came, UTC.
    pieces : tuple of (int, bytes)
        Where each piece begins, and its bytes; in order, and none touches another.
    """

    source: str
    size: int
    version: str
    fetched: str
    pieces: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def beginning(cls, source: str, part: Part) -> Self:
        """Return a file of which one part has come.

        Parameters
        ----------
        source : str
            Where the file is.
        part : Part
            What came.

        Returns
        -------
        PartialFile
            Fetched now.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        piece = (part.start, bytes(part.octets))
        return cls(source, part.file_size, part.version, now, (piece,))

    def joined(self, part: Part) -> Self:
        """Return the file with one more part.

        Parameters
        ----------
        part : Part
            Bytes that are not held yet.

        Returns
        -------
        PartialFile
            With pieces that touch joined into one.

        Raises
        ------
        ChangedFileError
            If the part is of another state of the file.
        """
        if (part.file_size, part.version) != (self.size, self.version):
            raise ChangedFileError(
                f"{self.source} was changed while parts of it were fetched: it had {self.size} "
                f"bytes and the version {self.version or 'unknown'}, now {part.file_size} and "
                f"{part.version or 'unknown'}"
            )
        pieces = sorted([*self.pieces, (part.start, bytes(part.octets))])
        return replace(self, pieces=tuple(_joined(pieces)))

    def missing(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the first bytes of a range that are not held.

        Parameters
        ----------
        start, end : int
            The first byte and the one after the last.

        Returns
        -------
        (int, int) or None
            First byte and the one after the last; None where all are held, or the file ends before.
        """
        end = min(end, self.size)
        for first, octets in self.pieces:
            if first <= start < first + len(octets):
                start = first + len(octets)
            elif start < first:
                end = min(end, first)
        return (start, end) if start < end else None

    def read(self, start: int, end: int) -> bytes:
        """Return bytes that are held.

        Parameters
        ----------
        start, end : int
            The first byte and the one after the last; those beyond the file's end are left out.

        Returns
        -------
        bytes
            As the file holds them.

        Raises
        ------
        OSError
            If some are not held.
        """
        end = min(end, self.size)
        if start >= end:
            return b""
        if (lack := self.missing(start, end)) is not None:
            raise OSError(
                f"of {self.source} only parts are held, not the bytes {lack[0]} to {lack[1] - 1}"
            )
        number = bisect_right(self.pieces, start, key=lambda piece: piece[0]) - 1
        first, octets = self.pieces[number]
        return octets[start - first : end - first]

    def pack(self) -> bytes:
        """Return what is written to disk.

        Returns
        -------
        bytes
            A zip archive, uncompressed and with sums: a record, and a member for each piece.
        """
        record = asdict(replace(self, pieces=())) | {"format": _FORMAT}
        del record["pieces"]
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(_RECORD, json.dumps(record, indent=1))
            for start, octets in self.pieces:
                archive.writestr(f"{start:012d}", octets)
        return out.getvalue()

    @classmethod
    def unpack(cls, content: bytes, name: str) -> Self:
        """Return what `pack` packed.

        Parameters
        ----------
        content : bytes
            A file's content.
        name : str
            What to call it.

        Returns
        -------
        PartialFile
            The same.

        Raises
        ------
        StorageError
            If it is damaged or of another version.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                record = {"format": None, **json.loads(archive.read(_RECORD))}
                starts = sorted(set(archive.namelist()) - {_RECORD})
                pieces = tuple((int(start), archive.read(start)) for start in starts)
            if record.pop("format") == _FORMAT:
                return cls(**record, pieces=pieces)
            problem: object = "it is of another version"
        except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
            problem = error
        raise StorageError(
            f"{name} is no whole file of parts ({problem}): remove it, and it is fetched again"
        )


def _joined(pieces: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield pieces in order, those that touch as one."""
    held: list[tuple[int, bytes]] = []
    for start, octets in pieces:
        if held and sum(map(len, (o for _, o in held))) + held[0][0] != start:
            yield held[0][0], b"".join(o for _, o in held)
            held = []
        held.append((start, octets))
    if held:
        yield held[0][0], b"".join(o for _, o in held)


class PartialStream:
    """A file held in part, to be opened, again and again, and read like a whole one.

    Parameters
    ----------
    held : PartialFile
        What is there.
    archive : Archive, optional
        Where the rest is; without it, reading what isn't held is an OSError.
    path : str
        What the archive calls the file.
    chunk : int
        Least number of bytes that is asked for at once.
    """

    def __init__(
        self, held: PartialFile, archive: Archive | None = None, path: str = "", *, chunk: int = 0
    ) -> None:
        self.held = held
        self.size = held.size
        self.fetched_bytes = 0
        self._archive = archive
        self._path = path
        self._chunk = chunk
        self._position = 0

    def __enter__(self) -> Self:
        """Begin at the file's start."""
        self._position = 0
        return self

    def __exit__(self, *exc: object) -> None:
        """Do nothing."""

    def tell(self) -> int:
        """Return the position.

        Returns
        -------
        int
            Bytes from the file's start.
        """
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to another position.

        Parameters
        ----------
        offset : int
            Bytes from where `whence` says.
        whence : int
            As of any stream.

        Returns
        -------
        int
            The new position.
        """
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        self._position = max(0, starts[whence] + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes.

        Parameters
        ----------
        size : int, optional
            How many; all that follow if negative or None.

        Returns
        -------
        bytes
            Fewer at the file's end.

        Raises
        ------
        OSError
            If some are not held, and there is no archive to have them from.
        """
        start = self._position
        end = self.size if size is None or size < 0 else min(start + size, self.size)
        self._fetch(start, end)
        octets = self.held.read(start, end)
        self._position = start + len(octets)
        return octets

    def _fetch(self, start: int, end: int) -> None:
        """Have what is missing of a range come."""
        while self._archive is not None and (lack := self.held.missing(start, end)) is not None:
            first, last = self.held.missing(lack[0], max(lack[1], lack[0] + self._chunk)) or lack
            part = self._archive.fetch_range(self._path, first, last)
            self.fetched_bytes += len(part.octets)
            self.held = self.held.joined(part)
