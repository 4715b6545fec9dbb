"""Transient-free TESS full-frame templates from Pan-STARRS1 stack skycells."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from syndiff.observation import Observation, read_observation
    from syndiff.tessellation import Skycell, Tessellation
    from syndiff.window import Window

__version__ = "0.1.0"

# Names are looked up on first use: `import syndiff` loads nothing but this file.
_HOMES = {
    "Observation": "observation",
    "Skycell": "tessellation",
    "Tessellation": "tessellation",
    "Window": "window",
    "read_observation": "observation",
}

__all__ = ["Observation", "Skycell", "Tessellation", "Window", "__version__", "read_observation"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"syndiff.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'syndiff' has no attribute {name!r}")
