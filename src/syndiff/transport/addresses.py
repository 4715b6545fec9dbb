"""Addresses of files, such as an FFI's at MAST or in a bucket."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["is_address", "name_at"]


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
