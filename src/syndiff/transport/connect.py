"""Which transport an archive's address asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syndiff.errors import ConfigError
from syndiff.transport.folder import FolderTransport
from syndiff.transport.http import HttpTransport
from syndiff.transport.s3 import S3Transport

if TYPE_CHECKING:
    from syndiff.transport.attempt import ArchiveConfig, Transport

__all__ = ["connect"]


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
        return HttpTransport(config)
    if scheme == "s3":
        return S3Transport(config)
    if scheme:
        raise ConfigError(
            f"archive {config.url!r} starts with {scheme}://: give an https:// or s3:// URL or a "
            "local folder"
        )
    return FolderTransport(config)
