"""Services that are asked over HTTP, such as a TAP server."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode, urlsplit

from syndiff.config import DEFAULT_GAIA_TAP
from syndiff.errors import ArchiveUnavailableError, ConfigError
from syndiff.transport.asking import Asker, slot
from syndiff.transport.attempt import TransientError, first_words
from syndiff.transport.http import open_client, passing_failure, receive

if TYPE_CHECKING:
    from collections.abc import Callable

    from syndiff.transport.attempt import ArchiveConfig

__all__ = ["WebAnswer", "WebService"]

T = TypeVar("T")


@dataclass(frozen=True)
class WebAnswer:
    """What a service answered.

    Parameters
    ----------
    status : int
        HTTP status below 400.
    location : str
        Where the answer says to go on; empty if it doesn't.
    content : memoryview
        The body.
    """

    status: int
    location: str
    content: memoryview


class WebService:
    """A service that is asked by HTTP requests; redirects are not followed.

    Parameters
    ----------
    config : ArchiveConfig
        Address and patience.

    Raises
    ------
    ConfigError
        If the address is none of a server.
    """

    def __init__(self, config: ArchiveConfig) -> None:
        parts = urlsplit(config.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(
                f"service {config.url!r} is not an http:// or https:// URL: give for example "
                f"{DEFAULT_GAIA_TAP}"
            )
        self._url = config.url
        self._total_s = config.total_timeout_s
        self._asker = Asker(config, remedy=f"check {config.option}")
        self._client = open_client(config, maxsize=1, retries=False)

    def ask(self, method: str, url: str, fields: dict[str, str] | None = None) -> WebAnswer:
        """Send a request and read its answer, again where that may help.

        Parameters
        ----------
        method : str
            GET, POST or DELETE.
        url : str
            Where to.
        fields : dict, optional
            Form fields of a POST.

        Returns
        -------
        WebAnswer
            The answer, of a status below 400.

        Raises
        ------
        ArchiveUnavailableError
            If it still failed after the last attempt, or the server says that the request is wrong;
            its first words are in the message.
        """
        return self.repeat(lambda: self.ask_once(method, url, fields))

    def repeat(self, attempt: Callable[[], T]) -> T:
        """Return what `attempt` returns, again where that may help.

        Parameters
        ----------
        attempt : callable
            Several requests and what is made of them; raises TransientError where all of it had
            better be done again.

        Returns
        -------
        object
            What it returned.

        Raises
        ------
        ArchiveUnavailableError
            If it still failed after the last attempt.
        """
        return self._asker.ask(attempt, self._url)

    def ask_once(self, method: str, url: str, fields: dict[str, str] | None = None) -> WebAnswer:
        """Send one request and read its answer.

        Parameters
        ----------
        method, url, fields
            As for `ask`.

        Returns
        -------
        WebAnswer
            The answer, of a status below 400.

        Raises
        ------
        TransientError
            If it failed in a way that may pass.
        ArchiveUnavailableError
            If the server says that the request is wrong.
        """
        from urllib3.exceptions import HTTPError

        deadline = time.monotonic() + self._total_s
        body = urlencode(fields) if fields is not None else None
        form = {"Content-Type": "application/x-www-form-urlencoded"} if fields is not None else {}
        try:
            with slot(url):
                response = self._client.request(
                    method,
                    url,
                    body=body,
                    headers={**self._client.headers, **form},
                    preload_content=False,
                    redirect=False,
                )
                content = receive(response, deadline, threading.Event())
        except (HTTPError, OSError) as error:
            raise TransientError(first_words(error)) from error
        if (failure := passing_failure(response)) is not None:
            raise failure
        if response.status >= 400:
            said = " ".join(bytes(content[:400]).decode("utf-8", "replace").split())
            raise ArchiveUnavailableError(f"{url} answered {response.status}: {said}")
        return WebAnswer(response.status, response.headers.get("Location", ""), content)

    def close(self) -> None:
        """Give back the connection."""
        self._client.clear()
