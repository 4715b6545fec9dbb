"""Single attempts at one archive file: over HTTP, from S3, from a local folder.

A transport knows how to ask once and what an answer means; `stacks.archive` decides what to do
about it. HTTP goes through urllib3 because a polite client needs the server's ``Retry-After``,
which obstore doesn't hand out; S3 goes through obstore, as everywhere else.
"""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

from syndiff import __version__
from syndiff.config import DEFAULT_ARCHIVE, DEFAULT_GAIA_TAP
from syndiff.errors import ArchiveUnavailableError, ConfigError, SkycellNotFoundError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    import urllib3
    from obstore.store import ClientConfig, S3Store

__all__ = [
    "ArchiveConfig",
    "DeniedError",
    "TransientError",
    "Transport",
    "WebAnswer",
    "WebService",
    "connect",
    "connection_limit",
]

MAX_STSCI_CONNECTIONS = 16
"""Simultaneous connections to ``*.stsci.edu``, from all processes together.

STScI documents no limit, and its server is everybody's. A skycell is 12 files, so 16 keep a whole
skycell and the start of the next one in flight; more would only wait in the server's queue.
"""

_READ_BYTES = 1 << 19
"""Most that one read of a local file asks for: it stays in a core's own cache."""

_PIECE_BYTES = 1 << 16
"""Most that one read of a response asks for.

Between two reads the deadline is looked at, so a server that drips can't hold a file for ever.
Measured on loopback: 17 ms of CPU for 30 MB, against 16 ms with obstore.
"""

_BUSY_STATUS = frozenset({408, 425, 429})
_REDIRECTS = 5


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
    option: str = "--archive"

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
        What the user asked for (``--jobs``), for all processes together.

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


@dataclass(frozen=True)
class Download:
    """A file as it arrived.

    Parameters
    ----------
    octets : memoryview
        Its bytes; not to be written.
    sha256 : str
        Their digest, 64 hexadecimal digits.
    """

    octets: memoryview
    sha256: str


class Transport(Protocol):
    """One way to an archive."""

    remedy: str

    def address(self, path: str) -> str:
        """Return the full address of a file, for messages and provenance."""

    def read(self, path: str, stop: threading.Event) -> Download:
        """Return the file, or raise what came instead; `stop` ends a slow one early."""

    def names(self, folder: str) -> list[str] | None:
        """Return the names of a folder's files, or None where it can't be listed."""

    def close(self) -> None:
        """Give back connections."""


def connect(config: ArchiveConfig) -> Transport:
    """Return the transport that an archive's address asks for.

    Parameters
    ----------
    config : ArchiveConfig
        Address, number of connections and time limits.

    Returns
    -------
    Transport
        Nothing is asked of the archive yet.

    Raises
    ------
    ConfigError
        If the address is neither a folder that exists nor a usable URL.
    """
    scheme = urlsplit(config.url).scheme if "://" in config.url else ""
    if scheme in {"http", "https"}:
        return _HttpTransport(config)
    if scheme == "s3":
        return _S3Transport(config)
    if scheme:
        raise ConfigError(
            f"archive {config.url!r} starts with {scheme}://: give an https:// or s3:// URL or a "
            "local folder"
        )
    return _FolderTransport(config)


class _FolderTransport:
    """A local folder: the archive's own tree, or the files side by side."""

    remedy = "check the folder and its permissions"

    def __init__(self, config: ArchiveConfig) -> None:
        self._root = Path(config.url).expanduser().absolute()
        if not self._root.is_dir():
            raise ConfigError(
                f"archive folder {self._root} does not exist: give {config.option} a folder that "
                "holds the files, or an https:// or s3:// URL"
            )

    def address(self, path: str) -> str:
        return str(self._root / path)

    def read(self, path: str, stop: threading.Event) -> Download:  # noqa: ARG002
        """Return the file of the tree, or the one of that name in the folder itself."""
        for candidate in (self._root / path, self._root / Path(path).name):
            try:
                return _read_file(candidate)
            except FileNotFoundError:
                continue
            except PermissionError as error:
                raise DeniedError(f"{error.strerror} ({candidate})") from error
            except OSError as error:
                raise TransientError(f"{error.strerror} ({candidate})") from error
        raise SkycellNotFoundError(f"{self.address(path)} does not exist")

    def names(self, folder: str) -> list[str]:
        """Return the files of a folder, none where there is no such folder."""
        path = self._root / folder
        return sorted(file.name for file in path.iterdir()) if path.is_dir() else []

    def close(self) -> None:
        """Do nothing: no connection is held."""


def _with_digest(content: memoryview) -> Download:
    """Return a file that has arrived as a whole."""
    return Download(content, hashlib.sha256(content).hexdigest())


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
    return Download(content[:count].toreadonly(), digest.hexdigest())


class _HttpTransport:
    """An HTTP server."""

    def __init__(self, config: ArchiveConfig) -> None:
        import urllib3

        self._option = config.option
        self.remedy = (
            f"the server refuses this address: check {config.option}, or ask its operators whether "
            "your network is blocked"
        )
        parts = urlsplit(config.url)
        if not parts.hostname or parts.query or parts.fragment:
            raise ConfigError(
                f"archive {config.url!r} is not the address of a folder on a server: give for "
                "example https://ps1images.stsci.edu/rings.v3.skycell/"
            )
        self._root = config.url.rstrip("/") + "/"
        self._total_s = config.total_timeout_s
        self._client = _http_client(
            parts.scheme,
            parts.hostname,
            maxsize=config.connections,
            block=True,
            timeout=urllib3.Timeout(connect=config.connect_timeout_s, read=config.read_timeout_s),
            headers={"User-Agent": f"syndiff/{__version__}"},
            # Only redirects are followed here; the first failure of any kind comes out as it is.
            retries=urllib3.Retry(
                total=None, connect=False, read=False, other=False, status=0, redirect=_REDIRECTS
            ),
        )

    def address(self, path: str) -> str:
        return self._root + quote(path)

    def read(self, path: str, stop: threading.Event) -> Download:
        """Return the body of one request's answer."""
        from urllib3.exceptions import HTTPError

        deadline = time.monotonic() + self._total_s
        address = self.address(path)
        try:
            response = self._client.request("GET", address, preload_content=False)
            if response.status == 200:
                return _with_digest(_receive(response, deadline, stop))
            # The rest of an error page must go before the connection can serve again.
            response.drain_conn()
            response.release_conn()
        except (HTTPError, OSError) as error:
            raise TransientError(_reason(error)) from error
        raise _meaning(response, address, self._option)

    def names(self, folder: str) -> None:
        """Return None: servers list folders as pages for people, if at all."""

    def close(self) -> None:
        self._client.clear()


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
    """A service that is asked by HTTP requests, one attempt each; nothing is followed or repeated.

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
        import urllib3

        parts = urlsplit(config.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(
                f"service {config.url!r} is not an http:// or https:// URL: give for example "
                f"{DEFAULT_GAIA_TAP}"
            )
        self._total_s = config.total_timeout_s
        self._client = _http_client(
            parts.scheme,
            parts.hostname,
            maxsize=1,
            timeout=urllib3.Timeout(connect=config.connect_timeout_s, read=config.read_timeout_s),
            headers={"User-Agent": f"syndiff/{__version__}"},
            retries=False,
        )

    def ask(self, method: str, url: str, fields: dict[str, str] | None = None) -> WebAnswer:
        """Send one request and read its answer.

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
        TransientError
            If it failed in a way that may pass.
        ArchiveUnavailableError
            If the server says that the request is wrong; its first words are in the message.
        """
        import threading

        from urllib3.exceptions import HTTPError

        deadline = time.monotonic() + self._total_s
        body = urlencode(fields) if fields is not None else None
        form = {"Content-Type": "application/x-www-form-urlencoded"} if fields is not None else {}
        try:
            response = self._client.request(
                method,
                url,
                body=body,
                headers={**self._client.headers, **form},
                preload_content=False,
                redirect=False,
            )
            content = _receive(response, deadline, threading.Event())
        except (HTTPError, OSError) as error:
            raise TransientError(_reason(error)) from error
        if response.status >= 500 or response.status in _BUSY_STATUS:
            text = f"{response.status} {response.reason or ''}".strip()
            raise TransientError(text, _retry_after(response))
        if response.status >= 400:
            said = " ".join(bytes(content[:400]).decode("utf-8", "replace").split())
            raise ArchiveUnavailableError(f"{url} answered {response.status}: {said}")
        return WebAnswer(response.status, response.headers.get("Location", ""), content)

    def close(self) -> None:
        """Give back the connection."""
        self._client.clear()


def _http_client(scheme: str, host: str, **options: object) -> urllib3.PoolManager:
    """Return a connection pool, through the proxy that the environment names."""
    import urllib3

    direct = _is_this_machine(host) or proxy_bypass(host)
    proxy = None if direct else getproxies().get(scheme)
    if proxy:
        return urllib3.ProxyManager(proxy, num_pools=4, **options)  # type: ignore[arg-type]
    return urllib3.PoolManager(num_pools=4, **options)  # type: ignore[arg-type]


def _is_this_machine(host: str) -> bool:
    """Tell whether a host is the loopback, which no proxy can reach for us."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _receive(
    response: urllib3.BaseHTTPResponse, deadline: float, stop: threading.Event
) -> memoryview:
    """Return the body, unless the deadline passes or `stop` is set first."""
    content = bytearray()
    try:
        for piece in _pieces(response, deadline, stop):
            content += piece
    finally:
        # A connection with half a body in it can't serve again; its place in the pool can.
        if not response.closed:
            response.close()
        response.release_conn()
    return memoryview(content).toreadonly()


def _pieces(
    response: urllib3.BaseHTTPResponse, deadline: float, stop: threading.Event
) -> Iterator[bytes]:
    """Yield the body as it arrives."""
    while piece := response.read1(_PIECE_BYTES):
        yield piece
        if stop.is_set():
            raise CancelledError
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {response.tell()} bytes had arrived when the time was up")


def _meaning(response: urllib3.BaseHTTPResponse, address: str, option: str) -> Exception:
    """Return the error that a status other than 200 means."""
    status = response.status
    text = f"{status} {response.reason or ''}".strip()
    if status == 404:
        return SkycellNotFoundError(f"{address}: the archive does not have this file (404)")
    if status in {401, 403}:
        return DeniedError(text)
    if status >= 500 or status in _BUSY_STATUS:
        return TransientError(text, _retry_after(response))
    return ArchiveUnavailableError(
        f"{address}: the server answered {text}, which is neither the file nor a temporary "
        f"failure: check {option}"
    )


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    """Return the wait that the server asks for in seconds, 0 where it doesn't or can't be read."""
    import urllib3
    from urllib3.exceptions import InvalidHeader

    try:
        return urllib3.Retry().get_retry_after(response) or 0.0
    except InvalidHeader:
        return 0.0


def _reason(error: Exception) -> str:
    """Return one line on what went wrong, without a library's debug dump."""
    text = str(error).split("\n\nDebug source", 1)[0].replace("\n", " ").strip()
    return text or type(error).__name__


class _S3Transport:
    """A public S3 bucket, read without credentials."""

    def __init__(self, config: ArchiveConfig) -> None:
        self.remedy = (
            "the bucket may be requester-pays or want credentials, and syndiff sends none: give "
            f"{config.option} an https:// address or a local copy"
        )
        if not urlsplit(config.url).netloc:
            raise ConfigError(f"archive {config.url!r} names no bucket: give s3://bucket/prefix/")
        self._root = config.url.rstrip("/") + "/"
        self._store = _open_bucket(self._root, config)

    def address(self, path: str) -> str:
        return self._root + path

    def read(self, path: str, stop: threading.Event) -> Download:  # noqa: ARG002
        """Return the object of one request."""
        import obstore
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            return _with_digest(memoryview(obstore.get(self._store, path).bytes()))
        except FileNotFoundError:
            raise SkycellNotFoundError(
                f"{self.address(path)}: the archive does not have this file (404)"
            ) from None
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise DeniedError("403 Forbidden") from error
        except (BaseError, OSError) as error:
            raise TransientError(_reason(error)) from error

    def names(self, folder: str) -> list[str] | None:
        """Return the objects of a prefix; many public buckets don't allow to ask."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            found = obstore.list_with_delimiter(self._store, folder or None)
        except (BaseError, OSError):
            return None
        return sorted(str(item["path"]).rsplit("/", 1)[-1] for item in found["objects"])

    def close(self) -> None:
        """Do nothing: the store closes with its last reference."""


def _open_bucket(root: str, config: ArchiveConfig) -> S3Store:
    """Return the store, with endpoint and region from the ``AWS_*`` variables."""
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT", "")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    client: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": f"{round(1000 * config.connect_timeout_s)}ms",
        "read_timeout": f"{round(1000 * config.read_timeout_s)}ms",
        "timeout": f"{round(1000 * config.total_timeout_s)}ms",
    }
    try:
        return S3Store.from_url(
            root,
            region=region,
            skip_signature=True,
            client_options=client,
            # One attempt a call: the retries, their limits and their waits are the archive's.
            retry_config={"max_retries": 0},
        )
    except (BaseError, ValueError) as error:
        raise ConfigError(
            f"archive {config.url!r} can't be used: {_reason(error)}. Give s3://bucket/prefix/"
        ) from error
