"""Transient-free TESS full-frame templates from Pan-STARRS1 stack skycells.

Begin with a full-frame image (FFI) and a folder for all products::

    ccd = syndiff.open("tess2020019135923-s0020-3-3-0165-s_ffic.fits", data_root="data")
    field = ccd.around("14:20:00 +76:30:00", size=64)
    template = field.template(stars="gaia")
    template.plot()
    difference = template.subtract()
    difference.write("difference.fits")

`help(syndiff.open)` explains the arguments; `print` of any of these objects shows what it is and
what can be done with it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from syndiff.ccd import Ccd, Field, open  # noqa: A004 - read as `syndiff.open`
    from syndiff.differences.scaled import subtract_template
    from syndiff.errors import SyndiffError
    from syndiff.ffi.frame import Frame
    from syndiff.ffi.observation import Observation, read_observation
    from syndiff.images import DifferenceImage, TemplateImage
    from syndiff.layout import Detector, Layout
    from syndiff.lightcurves.light_curve import LightCurve
    from syndiff.pipeline import run_pipeline
    from syndiff.settings import Settings
    from syndiff.sky.tessellation import Skycell, Tessellation
    from syndiff.sky.visibility import Visibility, where
    from syndiff.storage.place import Place
    from syndiff.templates.template import Template
    from syndiff.templates.template_file import read_template
    from syndiff.window import Window

__version__ = "0.1.0"

# Names are looked up on first use: `import syndiff` loads nothing but this file.
_HOMES = {
    "Ccd": "ccd",
    "Detector": "layout",
    "DifferenceImage": "images",
    "Field": "ccd",
    "Frame": "ffi.frame",
    "Layout": "layout",
    "LightCurve": "lightcurves.light_curve",
    "Observation": "ffi.observation",
    "Place": "storage.place",
    "Settings": "settings",
    "Skycell": "sky.tessellation",
    "SyndiffError": "errors",
    "Template": "templates.template",
    "TemplateImage": "images",
    "Tessellation": "sky.tessellation",
    "Visibility": "sky.visibility",
    "Window": "window",
    "open": "ccd",
    "read_observation": "ffi.observation",
    "read_template": "templates.template_file",
    "run_pipeline": "pipeline",
    "subtract_template": "differences.scaled",
    "where": "sky.visibility",
}

__all__ = [
    "Ccd",
    "Detector",
    "DifferenceImage",
    "Field",
    "Frame",
    "Layout",
    "LightCurve",
    "Observation",
    "Place",
    "Settings",
    "Skycell",
    "SyndiffError",
    "Template",
    "TemplateImage",
    "Tessellation",
    "Visibility",
    "Window",
    "__version__",
    "open",
    "read_observation",
    "read_template",
    "run_pipeline",
    "subtract_template",
    "where",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"syndiff.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'syndiff' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
