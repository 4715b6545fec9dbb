"""What an attempt to get a file is told, brings, and fails by.

A transport knows how to ask once and what an answer means; `transport.asking` decides what to do
about it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from syndiff.config import DEFAULT_ARCHIVE
from syndiff.errors import ConfigError

if TYPE_CHECKING:
    import threading
    from typing import Self

__all__ = [
    "ArchiveConfig",
    "DeniedError",
    "Download",
    "NoRangesError",
    "Part",
    "TransientError",
    "Transport",
    "first_words",
]


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
        What gives the address, for messages: a setting in backquotes, or words.
    advice : str
        What to do where the server doesn't answer, a sentence for messages.

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
    advice: str = (
        "What is done is kept: run the same command again later, or with a smaller number of `jobs`"
    )

    def __post_init__(self) -> None:
        if self.connections < 1:
            raise ConfigError(f"connections {self.connections} must be 1 or more")
        if self.retries < 0:
            raise ConfigError(f"retries {self.retries} must be 0 or more")
        for name in ("backoff_s", "connect_timeout_s", "read_timeout_s", "total_timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} {getattr(self, name)} must be above 0 seconds")


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


class NoRangesError(Exception):
    """The server gives this file as a whole only, or packs what it sends."""


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


@dataclass(frozen=True)
class Part:
    """Some bytes of a file.

    Parameters
    ----------
    octets : memoryview
        The bytes; fewer than asked for where the file ends before.
    start : int
        Where in the file they begin.
    file_size : int
        Bytes of the whole file.
    version : str
        What the server tells one state of the file from another by; empty if it doesn't.
    """

    octets: memoryview
    start: int
    file_size: int
    version: str


class Transport(Protocol):
    """One way to an archive."""

    remedy: str
    is_local: bool
    """Whether what fails at once fails for good."""

    def address(self, path: str) -> str:
        """Return the full address of a file, for messages and provenance."""

    def read(self, path: str, stop: threading.Event) -> Download:
        """Return the file, or raise what came instead; `stop` ends a slow one early."""

    def read_range(self, path: str, start: int, end: int, stop: threading.Event) -> Part:
        """Return the bytes from `start` to before `end`, as far as the file has them."""

    def names(self, folder: str) -> list[str] | None:
        """Return the names of a folder's files, or None where it can't be listed."""

    def folders(self, folder: str) -> list[str] | None:
        """Return the paths of a folder's own folders, or None where they can't be listed."""

    def holdings(self) -> list[str] | None:
        """Return paths of some FITS files that are there, or None where that can't be told."""

    def close(self) -> None:
        """Give back connections."""
