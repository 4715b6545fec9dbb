"""What an attempt to get a file is told, brings, and fails by.

A transport knows how to ask once and what an answer means; `stacks.archive` decides what to do
about it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from syndiff.config import DEFAULT_ARCHIVE
from syndiff.errors import ConfigError

if TYPE_CHECKING:
    import threading
    from typing import Self

__all__ = [
    "ArchiveConfig",
    "DeniedError",
    "Download",
    "TransientError",
    "Transport",
    "connection_limit",
    "first_words",
]

MAX_STSCI_CONNECTIONS = 16
"""Simultaneous connections to ``*.stsci.edu``, from all processes together.

STScI documents no limit, and its server is everybody's. A skycell is 12 files, so 16 keep a whole
skycell and the start of the next one in flight; more would only wait in the server's queue.
"""


@dataclass(frozen=True)
class ArchiveConfig:
    """Where the archive is and how patiently it is asked; small, hashable, picklable.

    Parameters
    ----------
    url : str
        ``https://`` or ``s3://bucket/prefix`` URL of the folder that holds ``PPPP/CCC/``, or a
        local folder (the same tree, or the files side by side).
    connections : int
        Simultaneous requests of this process.
    retries : int
        Further attempts at a file after the first one failed.
    backoff_s : float
        Wait before the second attempt; it doubles with every further one, up to 60 s.
    connect_timeout_s, read_timeout_s, total_timeout_s : float
        Limits on connecting, on silence while reading, and on one attempt at a file.
    option : str
        The option that gives the address, for messages.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    url: str = DEFAULT_ARCHIVE
    connections: int = 12
    retries: int = 6
    backoff_s: float = 1.0
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0
    total_timeout_s: float = 900.0
    option: str = "`archive`"

    def __post_init__(self) -> None:
        if self.connections < 1:
            raise ConfigError(f"connections {self.connections} must be 1 or more")
        if self.retries < 0:
            raise ConfigError(f"retries {self.retries} must be 0 or more")
        for name in ("backoff_s", "connect_timeout_s", "read_timeout_s", "total_timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} {getattr(self, name)} must be above 0 seconds")


def connection_limit(where: str, connections: int) -> int:
    """Return how many simultaneous connections an archive is given at most.

    Parameters
    ----------
    where : str
        The archive's URL or folder.
    connections : int
        What the user asked for (`jobs`), for all processes together.

    Returns
    -------
    int
        The same, or `MAX_STSCI_CONNECTIONS` where that is less and the host is STScI's.
    """
    host = (urlsplit(where).hostname or "") if "://" in where else ""
    is_stsci = host == "stsci.edu" or host.endswith(".stsci.edu")
    return min(connections, MAX_STSCI_CONNECTIONS) if is_stsci else connections


class TransientError(Exception):
    """The file could not be had this time; asking again may help.

    Parameters
    ----------
    reason : str
        What happened.
    retry_after_s : float
        How long the server asked to be left alone; 0 if it didn't say.
    """

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason, retry_after_s)
        self.reason = reason
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.reason


class DeniedError(TransientError):
    """The server refuses this file (401, 403); asking more than twice is of no use."""


def first_words(error: Exception) -> str:
    """Return one line on what went wrong, without a library's debug dump.

    Parameters
    ----------
    error : Exception
        What a library raised.

    Returns
    -------
    str
        Its first words, or its class's name.
    """
    text = str(error).split("\n\nDebug source", 1)[0].replace("\n", " ").strip()
    return text or type(error).__name__


@dataclass(frozen=True)
class Download:
    """A file as it arrived.

    Parameters
    ----------
    octets : memoryview
        Its bytes; not to be written.
    sha256 : str
        Their digest, 64 hexadecimal digits.
    source : str
        Full address that it was found at.
    """

    octets: memoryview
    sha256: str
    source: str

    @classmethod
    def of(cls, content: memoryview, source: str) -> Self:
        """Return a file that has arrived as a whole.

        Parameters
        ----------
        content : memoryview
            Its bytes.
        source : str
            Full address that it was found at.

        Returns
        -------
        Download
            With their digest.
        """
        return cls(content, hashlib.sha256(content).hexdigest(), source)


class Transport(Protocol):
    """One way to an archive."""

    remedy: str
    is_local: bool
    """Whether what fails at once fails for good."""

    def address(self, path: str) -> str:
        """Return the full address of a file, for messages and provenance."""

    def read(self, path: str, stop: threading.Event) -> Download:
        """Return the file, or raise what came instead; `stop` ends a slow one early."""

    def names(self, folder: str) -> list[str] | None:
        """Return the names of a folder's files, or None where it can't be listed."""

    def holdings(self) -> list[str] | None:
        """Return paths of some FITS files that are there, or None where that can't be told."""

    def close(self) -> None:
        """Give back connections."""
