"""How often, how fast and for how long a server is asked: one policy for all of them."""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from syndiff.errors import ArchiveUnavailableError, CorruptDownloadError, WrongFileError
from syndiff.transport.attempt import DeniedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from syndiff.transport.attempt import ArchiveConfig

__all__ = ["Asker", "connection_limit", "slot"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_STSCI_CONNECTIONS = 16
"""Simultaneous connections to ``*.stsci.edu``, from all processes together.

STScI documents no limit, and its server is everybody's. A skycell is 12 files, so 16 keep a whole
skycell and the start of the next one in flight; more would only wait in the server's queue.
"""

MAX_RETRY_AFTER_S = 300.0
"""Longest wait asked for by a server that is sat out; beyond it the run ends and says so."""

_MAX_BACKOFF_S = 60.0
_MOST_FAILURES = {DeniedError: 2, CorruptDownloadError: 3, WrongFileError: 2}
"""Failures of a kind that end the attempts early.

A refusal rarely changes, nor does a whole file that is another one; each corrupt file has cost a
whole download.
"""


def _host(where: str) -> str:
    """Return the name of the server that an address is at; empty for a folder."""
    return (urlsplit(where).hostname or "") if "://" in where else ""


def _is_stsci(host: str) -> bool:
    return host == "stsci.edu" or host.endswith(".stsci.edu")


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
    return min(connections, MAX_STSCI_CONNECTIONS) if _is_stsci(_host(where)) else connections


_stsci_slots = threading.BoundedSemaphore(MAX_STSCI_CONNECTIONS)


def slot(where: str) -> contextlib.AbstractContextManager[object]:
    """Return what a request is made within, so that this process keeps to a host's limit.

    Parameters
    ----------
    where : str
        Address of the server.

    Returns
    -------
    context manager
        Waits for its turn where STScI's servers, all of them together, have their
        `MAX_STSCI_CONNECTIONS` requests of this process already.
    """
    return _stsci_slots if _is_stsci(_host(where)) else contextlib.nullcontext()


class _Quiet:
    """Until when a server is left alone, as it asked for; known to the whole process."""

    def __init__(self) -> None:
        self._resume_at = 0.0

    def extend(self, wait_s: float) -> None:
        self._resume_at = max(self._resume_at, time.monotonic() + wait_s)

    def left_s(self) -> float:
        return self._resume_at - time.monotonic()


@functools.cache
def _quiet(_netloc: str) -> _Quiet:
    return _Quiet()


class Asker:
    """Asks one server or folder, and again where that may help.

    Parameters
    ----------
    config : ArchiveConfig
        Which one, and how patiently.
    remedy : str
        What to do where it refuses.
    is_local : bool
        Whether what fails at once fails for good.
    """

    def __init__(self, config: ArchiveConfig, *, remedy: str = "", is_local: bool = False) -> None:
        self._config = config
        self._remedy = remedy
        self._is_local = is_local
        self._quiet = _Quiet() if is_local else _quiet(urlsplit(config.url).netloc)

    def ask(self, attempt: Callable[[], T], address: str, stop: threading.Event | None = None) -> T:
        """Return what `attempt` returns, trying again after what may pass.

        Parameters
        ----------
        attempt : callable
            Asks once.
        address : str
            What is asked for, for messages.
        stop : threading.Event, optional
            Ends the attempts when set.

        Returns
        -------
        object
            What `attempt` returned.

        Raises
        ------
        ArchiveUnavailableError
            If it still failed after the last attempt, or is refused.
        CorruptDownloadError
            If a file arrived three times and was never accepted.
        CancelledError
            If it was stopped.
        """
        stop = stop or threading.Event()
        failures: Counter[type[Exception]] = Counter()
        while True:
            _pause(self._quiet.left_s(), stop)
            try:
                return attempt()
            except (TransientError, CorruptDownloadError) as error:
                failures[type(error)] += 1
                if self._is_last(failures, error):
                    raise self._final(address, failures.total(), error) from error
                wait_s = self._backoff(failures.total(), error)
                logger.debug("%s: %s; asking again in %.1f s", address, error, wait_s)
            _pause(wait_s, stop)

    def _is_last(self, failures: Counter[type[Exception]], error: Exception) -> bool:
        most = _MOST_FAILURES.get(type(error), failures.total() + 1)
        return (
            self._is_local
            or failures.total() > self._config.retries
            or failures[type(error)] >= most
            or _asked_s(error) > MAX_RETRY_AFTER_S
        )

    def _backoff(self, count: int, error: Exception) -> float:
        """Return the wait before the next attempt, and hold every request where we are asked to."""
        wait_s = min(self._config.backoff_s * 2.0 ** (count - 1), _MAX_BACKOFF_S)
        asked_s = _asked_s(error)
        self._quiet.extend(asked_s)
        return max(asked_s, wait_s * random.uniform(0.5, 1.0))

    def _final(self, address: str, count: int, error: Exception) -> Exception:
        """Return the error that ends the attempts."""
        tries = f"{count} attempt{'s' if count > 1 else ''}"
        another = f"give another {self._config.option.removeprefix('the ')}"
        if isinstance(error, CorruptDownloadError):
            if self._is_local or isinstance(error, WrongFileError):
                return type(error)(f"{error}, or {another}")
            return CorruptDownloadError(
                f"{error} (after {tries}; the archive's copy may be damaged: try again later, or "
                f"{another})"
            )
        if self._is_local:
            return ArchiveUnavailableError(f"{address}: {error}: {self._remedy}")
        if isinstance(error, DeniedError):
            return ArchiveUnavailableError(f"{address}: access denied ({error}): {self._remedy}")
        asked_s = _asked_s(error)
        busy = f"; the server asks to be left alone for {asked_s:.0f} s" if asked_s else ""
        return ArchiveUnavailableError(
            f"{address}: {error} (after {tries}{busy}): the server or the network is down or "
            f"overloaded. {self._config.advice}"
        )


def _asked_s(error: Exception) -> float:
    """Return how long the server asked to be left alone."""
    return error.retry_after_s if isinstance(error, TransientError) else 0.0


def _pause(wait_s: float, stop: threading.Event) -> None:
    if stop.wait(max(wait_s, 0.0)):
        raise CancelledError
