"""An archive of files: each fetched, or parts of it, with patience and in the background."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from syndiff.errors import ConfigError, SkycellNotFoundError
from syndiff.transport.asking import Asker, connection_limit
from syndiff.transport.attempt import ArchiveConfig
from syndiff.transport.connect import connect
from syndiff.transport.http import AddressTransport
from syndiff.transport.s3 import S3Transport

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Self

    from syndiff.transport.attempt import Download, Part, Transport

__all__ = ["Archive", "locate", "open_archive"]

T = TypeVar("T")

_AS_IT_IS = ("",)


class Archive:
    """An archive and the connections of this process to it.

    Parameters
    ----------
    config : ArchiveConfig
        Address and patience.
    transport : Transport, optional
        The way to it; by default the one that the address asks for.

    Raises
    ------
    ConfigError
        If the address can't be used. Nothing is asked of the archive yet.
    """

    def __init__(self, config: ArchiveConfig, transport: Transport | None = None) -> None:
        self.config = config
        self._transport = transport or connect(config)
        self._asker = Asker(
            config, remedy=self._transport.remedy, is_local=self._transport.is_local
        )
        self._pool = ThreadPoolExecutor(
            connection_limit(config.url, config.connections), thread_name_prefix="syndiff-archive"
        )
        self._endings: dict[tuple[str, ...], tuple[str, ...]] = {}

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

    def folders(self, folder: str) -> list[str] | None:
        """Return the paths of a folder's own folders.

        Parameters
        ----------
        folder : str
            Path below the archive's root.

        Returns
        -------
        list of str or None
            None where they can't be listed.
        """
        return self._transport.folders(folder)

    def holdings(self) -> list[str] | None:
        """Return paths of some FITS files that are there.

        Returns
        -------
        list of str or None
            None where that can't be told, as of servers.
        """
        return self._transport.holdings()

    def submit(
        self,
        path: str,
        accept: Callable[[Download], T],
        stop: threading.Event,
        *,
        endings: tuple[str, ...] = _AS_IT_IS,
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
        endings : tuple of str
            What may follow the path.

        Returns
        -------
        concurrent.futures.Future
            The result to come.
        """
        return self._pool.submit(self.fetch, path, accept, stop, endings=endings)

    def fetch(
        self,
        path: str,
        accept: Callable[[Download], T],
        stop: threading.Event | None = None,
        *,
        endings: tuple[str, ...] = _AS_IT_IS,
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
        endings : tuple of str
            What may follow the path, the likeliest first: the file may be there packed.

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
        return self._asker.ask(
            lambda: accept(self._read(path, endings, stop)), self.address(path), stop
        )

    def fetch_range(
        self, path: str, start: int, end: int, stop: threading.Event | None = None
    ) -> Part:
        """Return some bytes of a file, asking again for what fails.

        Parameters
        ----------
        path : str
            Path below the archive's root.
        start, end : int
            The first byte and the one after the last.
        stop : threading.Event, optional
            Ends the attempts when set.

        Returns
        -------
        Part
            The bytes as the file holds them; fewer where it ends before.

        Raises
        ------
        NoRangesError
            If the archive gives whole files only, or packs what it sends.
        SkycellNotFoundError
            If the archive says that it doesn't have the file.
        ArchiveUnavailableError
            If it still failed after the last attempt, or is refused.
        CorruptDownloadError
            If other bytes came three times.
        """
        stop = stop or threading.Event()
        return self._asker.ask(
            lambda: self._transport.read_range(path, start, end, stop), self.address(path), stop
        )

    def repeat(self, attempt: Callable[[], T], path: str) -> T:
        """Return what `attempt` returns, trying again after what may pass.

        Parameters
        ----------
        attempt : callable
            Asks for parts of a file and makes something of them; raises CorruptDownloadError where
            all of it had better be done again.
        path : str
            The file.

        Returns
        -------
        object
            What it returned.

        Raises
        ------
        ArchiveError
            As `fetch`.
        """
        return self._asker.ask(attempt, self.address(path))

    def _read(self, path: str, endings: tuple[str, ...], stop: threading.Event) -> Download:
        """Return the file under its path and the first ending that it is there with."""
        absent: SkycellNotFoundError | None = None
        for ending in self._endings.get(endings, endings):
            try:
                file = self._transport.read(path + ending, stop)
            except SkycellNotFoundError as error:
                absent = absent or error
                continue
            if not self._transport.is_local:
                # Once a server had a file, its others are packed like it.
                self._endings[endings] = (ending,)
            return file
        raise absent or SkycellNotFoundError(path)


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


def locate(url: str, config: ArchiveConfig) -> tuple[Archive, str]:
    """Return this process's archive at the server of a file's address, and the file's path in it.

    Parameters
    ----------
    url : str
        An ``http://``, ``https://`` or ``s3://`` address.
    config : ArchiveConfig
        How patiently it is asked; its own address doesn't count.

    Returns
    -------
    archive : Archive
        The same one for all addresses of a server; nothing is asked of it yet.
    path : str
        What it calls the file.

    Raises
    ------
    ConfigError
        If the address can't be used.
    """
    parts = urlsplit(url)
    if parts.netloc and parts.path.strip("/") and parts.scheme in {"http", "https", "s3"}:
        archive = _server(replace(config, url=f"{parts.scheme}://{parts.netloc}"))
        # A key of a bucket may hold what would be a query elsewhere.
        return archive, url.split("://", 1)[1].split("/", 1)[1] if parts.scheme == "s3" else url
    raise ConfigError(
        f"{url!r} is not the address of a file: give a path, or an http://, https:// or s3:// URL "
        "of the file itself"
    )


@functools.cache
def _server(config: ArchiveConfig) -> Archive:
    is_s3 = config.url.startswith("s3://")
    return Archive(config, S3Transport(config) if is_s3 else AddressTransport(config))
