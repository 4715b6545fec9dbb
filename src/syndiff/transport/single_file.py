"""One file at an address of its own, such as an FFI at MAST or in a bucket."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from syndiff.errors import ArchiveUnavailableError, ConfigError
from syndiff.transport.attempt import ArchiveConfig, DeniedError, TransientError
from syndiff.transport.http import HttpTransport
from syndiff.transport.s3 import S3Transport

if TYPE_CHECKING:
    from syndiff.transport.attempt import Download, Transport

__all__ = ["fetch_file", "is_address", "name_at"]

_MAX_BACKOFF_S = 60.0
_MAX_RETRY_AFTER_S = 300.0


def is_address(where: str) -> bool:
    """Tell whether a file is named by a URL.

    Parameters
    ----------
    where : str
        A path or a URL.

    Returns
    -------
    bool
        False for a path.
    """
    return "://" in where


def name_at(url: str) -> str:
    """Return the name of the file at a URL.

    Parameters
    ----------
    url : str
        Its address.

    Returns
    -------
    str
        The last part of the path, or of the value of a query that names a FITS file where the path
        doesn't, as in MAST's ``Download/file?uri=mast:TESS/product/...``.
    """
    parts = urlsplit(url)
    values = [parts.path, *(value for _, value in parse_qsl(parts.query))]
    names = [unquote(value).rstrip("/").rsplit("/", 1)[-1] for value in values]
    return next((name for name in names if ".fit" in name.lower()), names[0])


class _HttpFile(HttpTransport):
    """A server whose files are asked for by their whole address, queries included."""

    def address(self, path: str) -> str:
        """Return the address, which is whole already.

        Parameters
        ----------
        path : str
            URL of the file.

        Returns
        -------
        str
            The same.
        """
        return path


def fetch_file(url: str, config: ArchiveConfig) -> Download:
    """Return the file at a URL, asking again for what fails.

    Parameters
    ----------
    url : str
        An ``http://``, ``https://`` or ``s3://`` address.
    config : ArchiveConfig
        How patiently it is asked; its own address doesn't count.

    Returns
    -------
    Download
        The file.

    Raises
    ------
    ConfigError
        If the address can't be used.
    SkycellNotFoundError
        If there is no such file.
    DeniedError
        If it is refused.
    ArchiveUnavailableError
        If it still failed after the last attempt.
    """
    transport, path = _connect(url, config)
    try:
        return _persist(transport, path, config)
    finally:
        transport.close()


def _connect(url: str, config: ArchiveConfig) -> tuple[Transport, str]:
    """Return the transport to a file, and what it calls the file."""
    parts = urlsplit(url)
    root = replace(config, url=f"{parts.scheme}://{parts.netloc}", connections=1)
    if parts.netloc and parts.path.strip("/"):
        if parts.scheme in {"http", "https"}:
            return _HttpFile(root), url
        if parts.scheme == "s3":
            # A key may hold what would be a query elsewhere.
            return S3Transport(root), url.split("://", 1)[1].split("/", 1)[1]
    raise ConfigError(
        f"{url!r} is not the address of a file: give a path, or an http://, https:// or s3:// URL "
        "of the file itself"
    )


def _persist(transport: Transport, path: str, config: ArchiveConfig) -> Download:
    """Return a file, with the waits between attempts that the archive's files have too."""
    stop = threading.Event()
    for number in range(config.retries + 1):
        try:
            return transport.read(path, stop)
        except DeniedError:
            raise
        except TransientError as error:
            if number == config.retries or error.retry_after_s > _MAX_RETRY_AFTER_S:
                raise ArchiveUnavailableError(
                    f"{transport.address(path)}: {error} (after {number + 1} attempts): the server "
                    "or the network is down or overloaded: run the same command again later"
                ) from error
            pause = min(config.backoff_s * 2.0**number, _MAX_BACKOFF_S) * random.uniform(0.5, 1.0)
            time.sleep(max(pause, error.retry_after_s))
    raise AssertionError("the last attempt returns or raises")
