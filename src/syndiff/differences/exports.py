"""An FFI and its template as hotpants and SFFT read them, with the command to run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from syndiff.differences.scaled import DifferenceConfig, subtract_template
from syndiff.errors import ConfigError
from syndiff.masks import spoilt_pixels
from syndiff.storage.fits_images import card_text, pack_hdus

if TYPE_CHECKING:
    from astropy.io import fits
    from numpy.typing import NDArray

    from syndiff.differences.inputs import DifferenceInputs

__all__ = ["COMMAND_FILES", "MARK", "Exported", "Tool", "check_tool", "export_pair"]

Tool = Literal["hotpants", "sfft"]

COMMAND_FILES = ("command.sh", "command.py")
MARK = "# Written by syndiff: an export"
"""How the command's file tells that its folder is ours."""

HALF_WIDTH_PX = 4
"""Of the kernels: on the pixel grid, what makes TESS's narrowest response its widest."""

_REACH_PX = 3
# As far as a flagged pixel spoils the fit of a kernel, as in a difference of ours.
_VARYING = ((400, 2), (100, 1), (0, 0))
# Pixels along a side from which a kernel may vary with this order.
_STAMP_PX = 20
_BACKGROUND_ORDER = 2


@dataclass(frozen=True)
class Exported:
    """Files for another tool.

    Parameters
    ----------
    files : dict of str to bytes
        By name; one holds the command.
    command : str
        What to type in their folder.
    spoilt : int
        Pixels that are masked.
    """

    files: dict[str, bytes]
    command: str
    spoilt: int


@dataclass(frozen=True)
class _Pair:
    """The pixels of both, numbers everywhere.

    Parameters
    ----------
    image, noise, template, template_noise : (ny, nx) float32
        FFI (e-/s) and template with their standard deviations; what isn't known is 0.
    spoilt : (ny, nx) bool
        Pixels that are flagged, saturated or not known, in either.
    header : Header
        WCS and names.
    """

    image: NDArray[np.float32]
    noise: NDArray[np.float32]
    template: NDArray[np.float32]
    template_noise: NDArray[np.float32]
    spoilt: NDArray[np.bool_]
    header: fits.Header


def check_tool(name: str) -> None:
    """Raise for a tool that nothing is written for.

    Parameters
    ----------
    name : str
        Its name.

    Raises
    ------
    ConfigError
        If it is none of `Tool`.
    """
    if name not in get_args(Tool):
        raise ConfigError(f"export {name!r} is unknown: give 'hotpants' or 'sfft'")


def export_pair(inputs: DifferenceInputs, template: str, tool: Tool) -> Exported:
    """Return an FFI's pixels and its template as another tool reads them.

    Parameters
    ----------
    inputs : DifferenceInputs
        The two, on the same pixels.
    template : str
        Name of the template.
    tool : {"hotpants", "sfft"}
        Which.

    Returns
    -------
    Exported
        The files, and the command.

    Raises
    ------
    RenderingError
        If too few pixels can be used.
    """
    pair = _pair(inputs, template)
    return _for_hotpants(pair) if tool == "hotpants" else _for_sfft(pair)


def _pair(inputs: DifferenceInputs, template: str) -> _Pair:
    """Return both, cropped to the template's pixels that see the sky."""
    ffi, planes = inputs.ffi, inputs.template
    spoilt = spoilt_pixels(planes.quality) | ffi.saturated
    for plane in (ffi.image, ffi.uncertainty, planes.flux, planes.uncertainty):
        spoilt |= ~np.isfinite(plane)
    header = inputs.observation.frame.header()
    header["CRPIX1"] -= inputs.held.x0
    header["CRPIX2"] -= inputs.held.y0
    header["FFI"] = card_text(inputs.observation.name)
    header["TEMPLATE"] = card_text(template)
    header["XMIN"], header["YMIN"] = inputs.held.x0, inputs.held.y0
    return _Pair(
        _filled(ffi.image),
        _filled(ffi.uncertainty),
        _filled(planes.flux),
        _filled(planes.uncertainty),
        spoilt,
        header,
    )


def _filled(plane: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return a plane with 0 where nothing is known."""
    return np.where(np.isfinite(plane), plane, 0).astype(np.float32)


def _for_hotpants(pair: _Pair) -> Exported:
    """Return images, noise and masks; hotpants spreads the masks itself."""
    mask = pair.spoilt.astype(np.int32)
    planes = {
        "ffi.fits": pair.image,
        "ffi_noise.fits": pair.noise,
        "template.fits": pair.template,
        "template_noise.fits": pair.template_noise,
        "mask.fits": mask,
    }
    side = min(pair.image.shape)
    stamps = max(3, side // _STAMP_PX)
    words = [
        *("hotpants", "-inim", "ffi.fits", "-tmplim", "template.fits", "-outim", "diff.fits"),
        *("-ini", "ffi_noise.fits", "-tni", "template_noise.fits"),
        *("-imi", "mask.fits", "-tmi", "mask.fits", "-omi", "diff_mask.fits"),
        *("-oni", "diff_noise.fits"),
        *("-c", "t", "-n", "i", "-r", HALF_WIDTH_PX, "-rss", 6, "-nsx", stamps, "-nsy", stamps),
        *("-ko", _order(side), "-bgo", min(1 + _order(side), _BACKGROUND_ORDER)),
        *("-ng", 3, 6, 0.5, 4, 1.0, 2, 2.0, "-ft", 1, "-ks", 4, "-mins", 1),
        *_limits("i", pair.image, pair.spoilt),
        *_limits("t", pair.template, pair.spoilt),
    ]
    command = shlex.join(map(str, words))
    files = {name: _pack(plane, pair.header) for name, plane in planes.items()}
    files["command.sh"] = f"#!/bin/sh\n{MARK}\n{command}\n".encode()
    return Exported(files, "sh command.sh", int(pair.spoilt.sum()))


def _limits(which: str, plane: NDArray[np.float32], spoilt: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return the options for the lowest and highest value: what is valid lies well between."""
    valid = plane[~spoilt]
    low, high = (float(valid.min()), float(valid.max())) if valid.size else (0.0, 1.0)
    room = max(high - low, 1.0)
    return (f"-{which}l", f"{low - room:.6g}", f"-{which}u", f"{high + room:.6g}")


def _order(side: int) -> int:
    """Return the order of the kernel's variation that a window allows."""
    return next(order for least, order in _VARYING if side >= least)


def _for_sfft(pair: _Pair) -> Exported:
    """Return images, and the same masked: no light of a source where a pixel is flagged.

    SFFT transforms whole images, so that a masked pixel must have a value that fits the model: the
    template's is 0 there, the FFI's the background that a polynomial has.
    """
    from scipy.ndimage import binary_dilation

    excluded = binary_dilation(pair.spoilt, np.ones((3, 3)), iterations=_REACH_PX)
    rough = subtract_template(
        np.where(pair.spoilt, np.nan, pair.image),
        pair.noise,
        pair.template,
        excluded=excluded,
        config=DifferenceConfig(_BACKGROUND_ORDER, least_scatter=1.0),
    )
    sky = rough.background.astype(np.float32)
    planes = {
        "ffi.fits": np.where(pair.spoilt, sky, pair.image),
        "template.fits": np.where(pair.spoilt, np.float32(0), pair.template),
        "ffi_masked.fits": np.where(excluded, sky, pair.image),
        "template_masked.fits": np.where(excluded, np.float32(0), pair.template),
        "mask.fits": excluded.astype(np.int32),
    }
    files = {name: _pack(plane, pair.header) for name, plane in planes.items()}
    files["command.py"] = _SFFT.format(
        mark=MARK,
        half=HALF_WIDTH_PX,
        order=_order(min(pair.image.shape)),
        background=_BACKGROUND_ORDER,
    ).encode()
    return Exported(files, "python command.py", int(pair.spoilt.sum()))


_SFFT = """\
{mark}
from sfft.CustomizedPacket import Customized_Packet

Customized_Packet.CP(
    FITS_REF="template.fits",
    FITS_SCI="ffi.fits",
    FITS_mREF="template_masked.fits",
    FITS_mSCI="ffi_masked.fits",
    ForceConv="REF",
    GKerHW={half},
    KerPolyOrder={order},
    BGPolyOrder={background},
    ConstPhotRatio=True,
    FITS_DIFF="diff.fits",
    FITS_Solution="solution.fits",
    BACKEND_4SUBTRACT="Numpy",
)
"""


def _pack(plane: NDArray[np.generic], header: fits.Header) -> bytes:
    """Return a FITS file of one image."""
    from astropy.io import fits

    return bytes(pack_hdus([fits.PrimaryHDU(np.ascontiguousarray(plane), header)]))
