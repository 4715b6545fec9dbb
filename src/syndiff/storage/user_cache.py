"""The folder in the user's cache that what is worth keeping between runs lies in."""

import os
import sys
from pathlib import Path

__all__ = ["user_cache"]


def user_cache() -> Path | None:
    """Return the folder in the user's cache, if there is a user.

    Returns
    -------
    Path or None
        It may not be there yet.
    """
    if sys.platform == "darwin":
        caches = os.path.expanduser("~/Library/Caches")  # noqa: PTH111 - Path's raises homeless
    else:
        caches = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(caches):  # noqa: PTH117
            caches = os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(caches, "syndiff") if os.path.isabs(caches) else None  # noqa: PTH117
