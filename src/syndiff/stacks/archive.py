"""The PS1 archive: verified downloads of a skycell's stack files, over HTTPS, S3 or a folder."""

from __future__ import annotations

import functools
import logging
import random
import re
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from syndiff.errors import (
    ArchiveError,
    ArchiveUnavailableError,
    CorruptDownloadError,
    GeometryError,
    SkycellNotFoundError,
    WrongFileError,
)
from syndiff.transport.attempt import (
    ArchiveConfig,
    DeniedError,
    TransientError,
    connection_limit,
)
from syndiff.transport.connect import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Self

    from syndiff.sky.tessellation import Skycell
    from syndiff.stacks.stackfile import StackFile
    from syndiff.stacks.stackheader import Plane
    from syndiff.transport.attempt import Download

__all__ = [
    "PACKINGS",
    "PLANES",
    "UNFINISHED",
    "Archive",
    "ArchiveConfig",
    "Fetched",
    "OpenPlane",
    "SkycellFiles",
    "connection_limit",
    "fetch_skycell",
    "open_archive",
    "stack_folder",
    "stack_path",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

PLANES: tuple[Plane, ...] = ("image", "variance", "mask")
"""The planes of a stack that the reduction needs."""

_SUFFIXES: dict[Plane, str] = {"image": "", "variance": ".wt", "mask": ".mask"}

_NAME = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")

PACKINGS = ("", ".gz", ".fz")
"""What may follow a stack file's name: as the survey names it, gzipped, renamed by fpack."""

UNFINISHED = "unfinished"
"""File beside a skycell's files while they are being written: others may still be missing."""

MAX_RETRY_AFTER_S = 300.0
"""Longest wait requested by a server that is obeyed; a longer one ends the run with an error."""

_MAX_BACKOFF_S = 60.0
_MOST_FAILURES = {DeniedError: 2, CorruptDownloadError: 3, WrongFileError: 2}
"""Failures of a kind that end the attempts early.

A refusal rarely changes, nor does a complete file that is the wrong one; each corrupt file costs a
full download.
"""


@dataclass(frozen=True)
class Fetched:
    """One file that arrived and was found good.

    Parameters
    ----------
    stack : StackFile
        The opened file.
    sha256 : str
        Digest of the file as the archive sent it, 64 hexadecimal digits.
    source : str
        Its source.
    size : int
        Bytes read over the network or from disk.
    octets : memoryview, optional
        The file's bytes as fetched, if they were requested.
    """

    stack: StackFile
    sha256: str
    source: str
    size: int
    octets: memoryview | None = None


@dataclass(frozen=True)
class SkycellFiles:
    """The files of one skycell.

    Parameters
    ----------
    name : str
        Skycell name.
    planes : mapping of (band, plane) to Fetched
        All three `PLANES` of every band that the archive has.
    absent : tuple of str
        Bands whose image the archive doesn't have.
    """

    name: str
    planes: Mapping[tuple[str, Plane], Fetched]
    absent: tuple[str, ...] = ()

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that are there, in the order asked for."""
        return tuple(dict.fromkeys(band for band, _ in self.planes))

    @property
    def all_absent(self) -> bool:
        """Whether the archive has nothing of this skycell."""
        return not self.planes

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(fetched.size for fetched in self.planes.values())


class OpenPlane(Protocol):
    """Opens and checks one stack file; raises CorruptDownloadError."""

    def __call__(
        self, data: bytes | memoryview, *, source: str, plane: Plane, band: str, skycell: Skycell
    ) -> StackFile:
        """Return the opened file."""


def stack_path(name: str, band: str, plane: Plane) -> str:
    """Return a stack file's path below the archive's root.

    Parameters
    ----------
    name : str
        Skycell name ``word.projection.cell``, e.g. ``skycell.2556.082``.
    band : str
        PS1 band.
    plane : {"image", "variance", "mask"}
        Which of the stack's files.

    Returns
    -------
    str
        For example ``2556/082/rings.v3.skycell.2556.082.stk.r.unconv.wt.fits``.

    Raises
    ------
    GeometryError
        If the name doesn't have the three parts that the path is made of.

    Examples
    --------
    >>> stack_path("skycell.2556.082", "r", "mask")
    '2556/082/rings.v3.skycell.2556.082.stk.r.unconv.mask.fits'
    """
    return f"{stack_folder(name)}/rings.v3.{name}.stk.{band}.unconv{_SUFFIXES[plane]}.fits"


def stack_folder(name: str) -> str:
    """Return the folder of a skycell's files below the archive's root.

    Parameters
    ----------
    name : str
        Skycell name.

    Returns
    -------
    str
        For example ``2556/082``.

    Raises
    ------
    GeometryError
        If the name doesn't have the three parts that the path is made of.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise GeometryError(
            f"skycell name {name!r} can't be made into an archive path: names are "
            "word.projection.cell (letters, digits, _ and -), such as skycell.2556.082"
        )
    return "/".join(parts.groups())


class Archive:
    """An archive and the connections of this process to it.

    Parameters
    ----------
    config : ArchiveConfig
        Address and patience.

    Raises
    ------
    ConfigError
        If the address can't be used. Nothing is asked of the archive yet.
    """

    def __init__(self, config: ArchiveConfig) -> None:
        self.config = config
        self._transport = connect(config)
        self._pool = ThreadPoolExecutor(
            connection_limit(config.url, config.connections), thread_name_prefix="syndiff-archive"
        )
        self._resume_at = 0.0
        # Suffixes to try: after the first file found, only names of its kind are tried.
        self._suffixes: tuple[str, ...] = PACKINGS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back threads and connections."""
        self._pool.shutdown(cancel_futures=True)
        self._transport.close()

    def address(self, path: str) -> str:
        """Return the full address of a file, for messages and provenance.

        Parameters
        ----------
        path : str
            Path below the archive's root.

        Returns
        -------
        str
            URL or path.
        """
        return self._transport.address(path)

    def names(self, folder: str) -> list[str] | None:
        """Return the names of a folder's files.

        Parameters
        ----------
        folder : str
            Path below the archive's root; empty for the root itself.

        Returns
        -------
        list of str or None
            None where folders can't be listed, as over HTTP.
        """
        return self._transport.names(folder)

    @property
    def hint(self) -> str:
        """What a local folder holds instead of what was looked for; empty elsewhere."""
        found = self._transport.holdings()
        if found is None:
            return ""
        if not found:
            return "the folder holds no FITS file; "
        return (
            f"it holds FITS files such as {found[0]}, but files are looked for by names such as "
            f"{stack_path('skycell.PPPP.CCC', 'B', 'image')} (.gz or .fz may "
            "follow; folders may be left out); "
        )

    def submit(
        self, path: str, accept: Callable[[Download], T], stop: threading.Event
    ) -> Future[T]:
        """Start to fetch a file in the background; see `fetch`.

        Parameters
        ----------
        path : str
            Path below the archive's root.
        accept : callable
            Turns the file into the result.
        stop : threading.Event
            Ends the attempts when set.

        Returns
        -------
        concurrent.futures.Future
            The result to come.
        """
        return self._pool.submit(self.fetch, path, accept, stop)

    def fetch(
        self,
        path: str,
        accept: Callable[[Download], T],
        stop: threading.Event | None = None,
    ) -> T:
        """Return what `accept` makes of a file, asking again for what fails.

        Parameters
        ----------
        path : str
            Path below the archive's root.
        accept : callable
            Takes the file and returns the result, or raises CorruptDownloadError.
        stop : threading.Event, optional
            Ends the attempts when set.

        Returns
        -------
        object
            What `accept` returned.

        Raises
        ------
        SkycellNotFoundError
            If the archive says that it doesn't have the file.
        ArchiveUnavailableError
            If it still failed after the last attempt, or is refused.
        CorruptDownloadError
            If the file arrived three times and was never accepted.
        """
        stop = stop or threading.Event()
        failures: Counter[type[Exception]] = Counter()
        while True:
            self._pause(self._resume_at - time.monotonic(), stop)
            try:
                return accept(self._read(path, stop))
            except (TransientError, CorruptDownloadError) as error:
                failures[type(error)] += 1
                if self._is_last(failures, error):
                    raise self._final(path, failures, error) from error
                logger.debug("%s: %s; asking again", self.address(path), error)
                wait_s = self._backoff(failures.total(), error)
            self._pause(wait_s, stop)

    def _read(self, path: str, stop: threading.Event) -> Download:
        """Return a file by its own name, or what is packed under that name and a suffix."""
        absent: SkycellNotFoundError | None = None
        for suffix in self._suffixes if ".stk." in path else ("",):
            try:
                file = self._transport.read(path + suffix, stop)
            except SkycellNotFoundError as error:
                absent = absent or error
                continue
            if not self._transport.is_local and ".stk." in path:
                self._suffixes = (suffix,)
            return file
        raise absent or SkycellNotFoundError(path)

    def _is_last(self, failures: Counter[type[Exception]], error: Exception) -> bool:
        most = _MOST_FAILURES.get(type(error), failures.total() + 1)
        wait_s = getattr(error, "retry_after_s", 0.0)
        return (
            self._transport.is_local
            or failures.total() > self.config.retries
            or failures[type(error)] >= most
            or wait_s > MAX_RETRY_AFTER_S
        )

    def _backoff(self, count: int, error: Exception) -> float:
        """Return the wait before the next attempt, and hold every request where we are asked to."""
        wait_s = min(self.config.backoff_s * 2.0 ** (count - 1), _MAX_BACKOFF_S)
        asked_s = getattr(error, "retry_after_s", 0.0)
        if asked_s:
            self._resume_at = max(self._resume_at, time.monotonic() + asked_s)
        return max(asked_s, wait_s * random.uniform(0.5, 1.0))

    @staticmethod
    def _pause(wait_s: float, stop: threading.Event) -> None:
        if stop.wait(max(wait_s, 0.0)):
            raise CancelledError

    def _final(self, path: str, failures: Counter[type[Exception]], error: Exception) -> Exception:
        """Return the error that ends the attempts at a file."""
        tries = f"{failures.total()} attempt{'s' if failures.total() > 1 else ''}"
        address = self.address(path)
        if isinstance(error, WrongFileError) or (
            self._transport.is_local and isinstance(error, CorruptDownloadError)
        ):
            return type(error)(f"{error}, or give another {self.config.option}")
        if self._transport.is_local:
            return ArchiveUnavailableError(f"{address}: {error}: {self._transport.remedy}")
        if isinstance(error, CorruptDownloadError):
            return CorruptDownloadError(
                f"{error} (after {tries}; the archive's copy may be damaged: try again later, or "
                f"give another {self.config.option})"
            )
        if isinstance(error, DeniedError):
            return ArchiveUnavailableError(
                f"{address}: access denied ({error}): {self._transport.remedy}"
            )
        wait_s = getattr(error, "retry_after_s", 0.0)
        busy = f"; the server asks to be left alone for {wait_s:.0f} s" if wait_s else ""
        return ArchiveUnavailableError(
            f"{address}: {error} (after {tries}{busy}): the archive or the network is down or "
            "overloaded. What is done is kept: run the same command again later, or with fewer "
            "`jobs`"
        )


@functools.cache
def _opened(config: ArchiveConfig) -> Archive:
    return Archive(config)


def open_archive(where: str | ArchiveConfig, *, connections: int | None = None) -> Archive:
    """Return this process's archive at an address; the same one every time.

    Parameters
    ----------
    where : str or ArchiveConfig
        URL or folder, or the whole description.
    connections : int, optional
        Simultaneous requests of this process, in place of the description's.

    Returns
    -------
    Archive
        The archive; nothing is asked of it yet.

    Raises
    ------
    ConfigError
        If the address can't be used.
    """
    config = where if isinstance(where, ArchiveConfig) else ArchiveConfig(where)
    if connections is not None:
        config = replace(config, connections=connections)
    return _opened(config)


def fetch_skycell(
    archive: Archive,
    skycell: Skycell,
    *,
    bands: Sequence[str],
    open_plane: OpenPlane | None = None,
    with_octets: bool = False,
) -> SkycellFiles:
    """Return every stack file of a skycell that the reduction needs, verified.

    Parameters
    ----------
    archive : Archive
        Where to fetch from.
    skycell : Skycell
        Which skycell.
    bands : sequence of str
        PS1 bands.
    open_plane : callable, optional
        Opens and checks a file (default: `syndiff.stacks.stackfile.open_stackfile`).
    with_octets : bool
        Hold the files' bytes too, to keep them.

    Returns
    -------
    SkycellFiles
        The files, and the bands whose image the archive doesn't have.

    Raises
    ------
    ArchiveError
        If an image is there but not its mask or variance, a file can't be had or read, or the
        folder is a copy that isn't finished.
    """
    if open_plane is None:
        from syndiff.stacks.stackfile import open_stackfile

        open_plane = open_stackfile
    stop = threading.Event()
    jobs: dict[tuple[str, Plane], Future[Fetched]] = {}
    try:
        # Images first: if one is absent, its other planes are rarely requested.
        for plane in PLANES:
            for band in bands:
                path = stack_path(skycell.name, band, plane)
                accept = _acceptance(open_plane, plane, band, skycell, with_octets)
                jobs[band, plane] = archive.submit(path, accept, stop)
        return _collect(archive, skycell.name, bands, jobs)
    finally:
        stop.set()
        _cancel(jobs.values())


def _acceptance(
    open_plane: OpenPlane, plane: Plane, band: str, skycell: Skycell, with_octets: bool
) -> Callable[[Download], Fetched]:
    """Return what turns one file's bytes into a verified file."""

    def accept(file: Download) -> Fetched:
        stack = open_plane(file.octets, source=file.source, plane=plane, band=band, skycell=skycell)
        octets = file.octets if with_octets else None
        return Fetched(stack, file.sha256, file.source, len(file.octets), octets)

    return accept


def _collect(
    archive: Archive,
    name: str,
    bands: Sequence[str],
    jobs: Mapping[tuple[str, Plane], Future[Fetched]],
) -> SkycellFiles:
    """Wait for all files; an absent image makes its band absent."""
    images: dict[str, Fetched] = {}
    for band in bands:
        try:
            images[band] = jobs[band, "image"].result()
        except SkycellNotFoundError:
            _cancel(jobs[band, plane] for plane in PLANES)
            _check_finished(archive, name)
    planes: dict[tuple[str, Plane], Fetched] = {}
    for band, image in images.items():
        planes[band, "image"] = image
        for plane in PLANES[1:]:
            try:
                planes[band, plane] = jobs[band, plane].result()
            except SkycellNotFoundError as error:
                raise ArchiveError(
                    f"{name}: the archive has the {band} image but not its {plane} "
                    f"({archive.address(stack_path(name, band, plane))}): the skycell can't be "
                    "reduced. Try again later, give another `archive`, or go on without it by "
                    "`allow_partial`"
                ) from error
    return SkycellFiles(name, planes, tuple(band for band in bands if band not in images))


def _check_finished(archive: Archive, name: str) -> None:
    """Raise if what is absent from a folder may be yet to come."""
    folder = stack_folder(name)
    if UNFINISHED in (archive.names(folder) or ()):
        raise ArchiveError(
            f"{name}: the copy in {archive.address(folder)} is not finished: run the download with "
            "`keep_raw` that makes it again"
        )


def _cancel(jobs: Iterable[Future[Fetched]]) -> None:
    for job in jobs:
        job.cancel()
