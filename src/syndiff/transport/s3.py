"""Archive files from public S3 buckets, through obstore as all storage."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syndiff.errors import ConfigError, CorruptDownloadError, SkycellNotFoundError
from syndiff.transport.attempt import DeniedError, Download, Part, TransientError, first_words

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from obstore import ListResult, ObjectMeta
    from obstore.store import ClientConfig, S3Store

    from syndiff.transport.attempt import ArchiveConfig

__all__ = ["S3Transport"]


class S3Transport:
    """A public S3 bucket, read without credentials.

    Parameters
    ----------
    config : ArchiveConfig
        Address of a bucket's folder.

    Raises
    ------
    ConfigError
        If the address names no bucket.
    """

    is_local = False

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
        return self._root + path

    def read(self, path: str, stop: threading.Event) -> Download:  # noqa: ARG002
        """Return the object of one request.

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
        import obstore

        with self._telling(path):
            content = memoryview(obstore.get(self._store, path).bytes())
        return Download.of(content, self.address(path))

    def read_range(self, path: str, start: int, end: int, stop: threading.Event) -> Part:  # noqa: ARG002
        """Return some bytes of an object.

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
            The bytes; fewer where the object ends before.

        Raises
        ------
        SkycellNotFoundError
            If it is not there.
        CorruptDownloadError
            If other bytes come than were asked for.
        TransientError
            If it could not be had this time.
        """
        import obstore

        with self._telling(path):
            found = obstore.get(self._store, path, options={"range": (start, end)})
            size = int(found.meta["size"])
            version = found.meta.get("e_tag") or str(found.meta["last_modified"])
            first, last = found.range
            octets = memoryview(found.bytes())
        if (first, last) != (start, min(end, size)) or len(octets) != last - first:
            raise CorruptDownloadError(
                f"{self.address(path)}: bytes {start}-{end - 1} were asked for, and {first}-"
                f"{last - 1} of {size} came, {len(octets)} of them"
            )
        return Part(octets, start, size, version)

    @contextlib.contextmanager
    def _telling(self, path: str) -> Iterator[None]:
        """Say what a failure of the store means."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except FileNotFoundError:
            raise SkycellNotFoundError(
                f"{self.address(path)}: the archive does not have this file (404)"
            ) from None
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise DeniedError("403 Forbidden") from error
        except (BaseError, OSError) as error:
            raise TransientError(first_words(error)) from error

    def names(self, folder: str) -> list[str] | None:
        """Return the names of a prefix's objects.

        Parameters
        ----------
        folder : str
            Path below the root.

        Returns
        -------
        list of str or None
            Sorted; None where the bucket doesn't allow to ask, as many public ones.
        """
        found = self._listed(folder)
        names = None if found is None else (str(item["path"]) for item in found["objects"])
        return None if names is None else sorted(name.rsplit("/", 1)[-1] for name in names)

    def folders(self, folder: str) -> list[str] | None:
        """Return the prefixes below a prefix.

        Parameters
        ----------
        folder : str
            Path below the root.

        Returns
        -------
        list of str or None
            Sorted; None where the bucket doesn't allow to ask.
        """
        found = self._listed(folder)
        return None if found is None else sorted(str(path) for path in found["common_prefixes"])

    def _listed(self, folder: str) -> ListResult[Sequence[ObjectMeta]] | None:
        """Return what is at a prefix; None where the bucket doesn't allow to ask."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            return obstore.list_with_delimiter(self._store, folder or None)
        except (BaseError, OSError):
            return None

    def holdings(self) -> None:
        """Return nothing: a bucket may hold millions of files, or not allow to ask."""

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
            f"archive {config.url!r} can't be used: {first_words(error)}. Give s3://bucket/prefix/"
        ) from error
