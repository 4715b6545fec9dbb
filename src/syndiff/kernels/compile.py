"""How kernels are compiled, and where their machine code is kept from one process to the next.

Numba by itself keeps it in ``__pycache__`` beside the source, which an installation may not allow
to write, and which different CPUs that share it would fill in turns. Here it has a folder of its
own for each version, Python, Numba and CPU: in the user's cache, or else in the temporary folder.
``NUMBA_CACHE_DIR`` comes before both.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
from llvmlite import binding

from syndiff import __version__
from syndiff.storage.user_cache import user_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["cache_folder", "njit"]


def njit(*, cache: bool, nogil: bool, fastmath: bool = False) -> Callable[[Any], Any]:
    """Compile a function as `numba.njit` does, with the cache in `cache_folder`.

    Parameters
    ----------
    cache, nogil, fastmath : bool
        As of `numba.njit`.

    Returns
    -------
    callable
        The decorator.
    """

    def decorate(function: Any) -> Any:
        with _caching_in(cache_folder()) as is_possible:
            decorator = numba.njit(cache=cache and is_possible, nogil=nogil, fastmath=fastmath)
            return decorator(function)

    return decorate


@contextlib.contextmanager
def _caching_in(folder: str | None) -> Iterator[bool]:
    """Have functions that are decorated meanwhile cached in a folder; other code's are not."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = folder or before
    try:
        yield folder is not None
    finally:
        numba.config.CACHE_DIR = before


@functools.cache
def cache_folder() -> str | None:
    """Return the folder that machine code is kept in.

    Returns
    -------
    str or None
        It may not be there yet; None if there is no place to write to.
    """
    if numba.config.CACHE_DIR:
        return str(numba.config.CACHE_DIR)
    for find in (user_cache, _in_temporary):
        root = find()
        if root is not None and _is_writable(root / "kernels" / _build()):
            return str(root / "kernels" / _build())
    return None


def _build() -> str:
    """Return the name of all that the machine code depends on, but for the source."""
    features = binding.get_host_cpu_features().flatten()
    cpu = f"{binding.get_host_cpu_name()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    return f"{__version__}-{python}-numba{numba.__version__}-{cpu}"


def _in_temporary() -> Path | None:
    """Make and return a folder in the temporary one that nobody else can write to.

    Whoever could write to it could have this user run anything.
    """
    try:
        root = Path(tempfile.gettempdir(), f"syndiff-{os.getuid()}")
        root.mkdir(mode=0o700, exist_ok=True)
        found = root.lstat()
    except OSError:
        return None
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return root if is_ours and not found.st_mode & 0o022 else None


def _is_writable(folder: Path) -> bool:
    """Tell whether a folder can be written, or made; nothing is."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
