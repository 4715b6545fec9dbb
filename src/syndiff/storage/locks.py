"""One run at a time where two would undo each other's work."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from syndiff.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from syndiff.storage.place import Place

__all__ = ["locked"]

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(place: Place, *, to_read: bool = False) -> Iterator[None]:
    """Hold a place until the end of the block, waiting for another run to let go of it.

    Parameters
    ----------
    place : Place
        What is to be held; the lock is an empty file beside it, ``<place>.lock``.
    to_read : bool
        Only to be read: nothing is written, and where no run has made the lock none is waited for.

    Raises
    ------
    StorageError
        If the lock's file can't be made.

    Notes
    -----
    The operating system lets go when the process ends, however it ends. Object stores know no
    locks: on ``s3://`` this does nothing, and two runs of the same CCD must not overlap.
    """
    if not place.is_local:
        yield
        return
    path = Path(f"{place}.lock")
    if to_read and not path.exists():
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("rb" if to_read else "ab")
    except OSError as error:
        raise StorageError(
            f"can't write {path}: {error.strerror}. Check that you may write there and that the "
            "disk isn't full, or give another `data_root`"
        ) from error
    with file:
        _wait(file, place)
        yield


def _wait(file: IO[bytes], place: Place) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.warning("another run is at work on %s: waiting for it to end", place)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        # Some network file systems have no locks; a single run needs none.
        logger.info("%s can't be locked: %s", place, error.strerror)
