"""FFIs that are asked for: files, addresses, and what a folder holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from syndiff.errors import ConfigError
from syndiff.transport.single_file import is_address

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["list_ffis"]

_FFI_NAME = re.compile(r"(_ffic|tica.*_ffi)\.fits(\.gz|\.fz|\.bz2|\.xz)?$")


def list_ffis(given: Iterable[str]) -> list[str]:
    """Return FFIs, those of a folder in place of it, in the order of their names.

    Parameters
    ----------
    given : iterable of str
        Files, addresses and folders.

    Returns
    -------
    list of str
        Files and addresses; each once.

    Raises
    ------
    ConfigError
        If a folder holds no FFI, or nothing is given.
    """
    found: dict[str, None] = {}
    for name in given:
        if is_address(name) or not Path(name).is_dir():
            found[name] = None
            continue
        inside = sorted(str(path) for path in Path(name).iterdir() if _FFI_NAME.search(path.name))
        if not inside:
            raise ConfigError(
                f"{name} holds no FFI (a file whose name ends in _ffic.fits, or packed): give FFIs"
            )
        found.update(dict.fromkeys(inside))
    if not found:
        raise ConfigError("no FFI is given: give one or more")
    return list(found)
