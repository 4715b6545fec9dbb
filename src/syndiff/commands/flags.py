"""What settings are called on the command line."""

import re
from dataclasses import fields

from syndiff.settings import Settings

__all__ = ["as_flags", "flag_of"]

_FLAGS = {
    "mapping": "--output-path",
    "atlas": "--zarr-output-dir",
    "convolved": "--convolved-dir",
    "templates": "--output-base",
    "catalogue": "--skycell-wcs-csv",
    "offsets": "--multi-offset-array",
    "overwrite": "--overwrite/--no-overwrite",
}
"""Options that aren't called as their setting is."""


def flag_of(name: str) -> str:
    """Return the option for a setting.

    Parameters
    ----------
    name : str
        Name of the setting.

    Returns
    -------
    str
        For example ``--data-root``.
    """
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")


_NAMES = "|".join(one.name for one in fields(Settings))


def as_flags(text: str) -> str:
    """Return what the library says, with options for the settings that it names in backquotes.

    Parameters
    ----------
    text : str
        For example ``"add `overwrite`"``.

    Returns
    -------
    str
        For example ``"add --overwrite"``.
    """
    return re.sub(f"`({_NAMES})`", lambda found: flag_of(found[1]).split("/")[0], text)
