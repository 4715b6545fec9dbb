"""Difference FITS files and the tables of their stars' residuals."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from syndiff import __version__
from syndiff.config import TESS_ZERO_POINT
from syndiff.constants import DAY_S, FITS_BLOCK
from syndiff.errors import RenderingError, StorageError
from syndiff.masks import DataQuality
from syndiff.storage.fits_images import card_text, pack_hdus, packed_size
from syndiff.templates.template_file import bit_cards

if TYPE_CHECKING:
    from astropy.io import fits
    from numpy.typing import NDArray

    from syndiff.differences.inputs import DifferenceInputs
    from syndiff.differences.matching import VaryingKernel
    from syndiff.differences.residuals import StarResiduals
    from syndiff.differences.scaled import Difference
    from syndiff.storage.place import Place

__all__ = [
    "DifferenceRecord",
    "Packing",
    "finished_header",
    "pack_difference",
    "pack_residuals",
    "read_difference",
    "write_difference",
]

UNIT = "electron/s"

_PLANES = ("DIFF", "UNCERT", "MODEL", "BACKGROUND", "DQ")
_LEFT_OUT = ("MODEL", "BACKGROUND")
# What a file may be without.
_DTYPES = {"DQ": np.int32}
_SIZE_CARD = "FILESIZE"
_STEPS_PER_NOISE = 8
# Adds 0.07 % to the noise of a pixel.
_UNKNOWN = -(2**31)
_SOME = 7
# Every so many rows and columns tell a median.
_HEADER_BYTES = 40 * FITS_BLOCK
# More than a primary header takes.


@dataclass(frozen=True)
class DifferenceRecord:
    """What a difference file holds.

    Parameters
    ----------
    inputs : DifferenceInputs
        What was subtracted from what.
    template : str
        File name of the template.
    difference : Difference
        The difference, over ``inputs.held``.
    noise : (ny, nx) float64
        Its standard deviation.
    quality : (ny, nx) int32
        `DataQuality` bits.
    """

    inputs: DifferenceInputs
    template: str
    difference: Difference
    noise: NDArray[np.float64]
    quality: NDArray[np.int32]


@dataclass(frozen=True)
class Packing:
    """How a difference is put into a file.

    Parameters
    ----------
    planes : {"all", "difference"}
        Every plane, or DIFF, UNCERT and DQ alone: MODEL and BACKGROUND together are the FFI less
        DIFF.
    compress : {"none", "rice"}
        Planes as they are, or rounded to an eighth of the median noise and compressed.
    identity : str
        Digest of what the difference is made from; empty for none.
    """

    planes: Literal["all", "difference"] = "all"
    compress: Literal["none", "rice"] = "none"
    identity: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The planes that the file holds."""
        return _PLANES if self.planes == "all" else ("DIFF", "UNCERT", "DQ")


def finished_header(place: Place, size: int | None, packing: Packing) -> fits.Header | None:
    """Return the primary header of a difference that is there, whole, and made from the same.

    Parameters
    ----------
    place : Place
        The difference file.
    size : int or None
        Its bytes; None if it isn't there.
    packing : Packing
        Planes and digest that it must have.

    Returns
    -------
    Header or None
        None where there is no such file.
    """
    from astropy.io import fits

    content = b"" if size is None else place.read(_HEADER_BYTES)
    if not _is_difference(content):
        return None
    header = fits.Header.fromstring(content)
    is_same = header.get("DIFFDIG") == packing.identity and bool(packing.identity)
    return header if is_same and header.get(_SIZE_CARD) == size else None


def write_difference(place: Place, content: bytes | memoryview) -> None:
    """Write a difference file, whole or not at all.

    Parameters
    ----------
    place : Place
        Where to.
    content : bytes
        What `pack_difference` returns.

    Raises
    ------
    StorageError
        If it can't be written, or a file is there that is no difference.
    """
    if place.exists() and not _is_difference(place.read(_HEADER_BYTES)):
        raise StorageError(
            f"{place} is there and is no difference image of syndiff, it is not overwritten: give "
            "another path"
        )
    place.write(content)


def _is_difference(content: bytes) -> bool:
    """Tell whether a file begins as our difference images do."""
    from astropy.io import fits

    if not content.startswith(b"SIMPLE  ="):
        return False
    header = fits.Header.fromstring(content)
    return header.get("SYNDIFF") is True and header.get("PRODUCT") == "difference"


def read_difference(
    content: bytes | memoryview, name: str
) -> tuple[dict[str, NDArray[Any]], fits.Header]:
    """Return what a difference file holds.

    Parameters
    ----------
    content : bytes
        The file.
    name : str
        What to call it in errors.

    Returns
    -------
    planes : dict
        Extension names and planes; MODEL and BACKGROUND are NaN where the file is without them.
    header : Header
        The primary header, with WCS and provenance.

    Raises
    ------
    RenderingError
        If it is no difference of ours, is cut short or damaged.
    """
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    if not _is_difference(bytes(content[:_HEADER_BYTES])):
        raise RenderingError(f"{name} is no difference image of syndiff: give one")
    try:
        with warnings.catch_warnings():
            # astropy only warns of wrong checksums, and of files that end too early.
            warnings.simplefilter("error", AstropyUserWarning)
            with fits.open(io.BytesIO(content), checksum=True) as hdus:
                # Each is read, so that all checksums are.
                if hdus[0].header["KERNEL"] == "fitted":
                    _ = hdus["KERNEL"].data
                planes = {
                    name: np.ascontiguousarray(hdus[name].data, _DTYPES.get(name, np.float32))
                    for name in _PLANES
                    if name in hdus or name not in _LEFT_OUT
                }
                nothing = np.full(planes["DIFF"].shape, np.nan, np.float32)
                planes = dict.fromkeys(_LEFT_OUT, nothing) | planes
                return planes, hdus[0].header.copy()
    except (OSError, TypeError, ValueError, KeyError, AstropyUserWarning) as error:
        raise RenderingError(
            f"{name} is no complete FITS file ({error}): remove it and make it again"
        ) from error


def pack_difference(record: DifferenceRecord, packing: Packing | None = None) -> memoryview:
    """Return the bytes of a difference file.

    Parameters
    ----------
    record : DifferenceRecord
        What it holds.
    packing : Packing, optional
        How.

    Returns
    -------
    memoryview
        The file.
    """
    from astropy.io import fits

    packing = packing or Packing()
    common = _common_header(record)
    step = _step(record) if packing.compress == "rice" else 0.0
    cards = _packing_cards(packing, step)
    hdus: list[Any] = [fits.PrimaryHDU(header=common + _provenance(record) + cards)]
    difference = record.difference
    planes = (difference.image, record.noise, difference.model, difference.background)
    for name, plane in zip(_PLANES[:-1], planes, strict=True):
        if name in packing.names:
            header = common.copy()
            header["BUNIT"] = UNIT
            whole = _embedded(plane.astype(np.float32, copy=False), record, np.nan)
            hdus.append(_image(whole, header, name, step))
    quality = _embedded(record.quality, record, DataQuality.NO_COVERAGE)
    hdus.append(_image(quality, common + bit_cards(), "DQ", 1.0 if step else 0.0))
    if difference.kernel is not None:
        hdus.append(_kernel_table(difference.kernel))
    if packing.identity:
        hdus[0].header[_SIZE_CARD] = packed_size(hdus)
    return pack_hdus(hdus)


def _step(record: DifferenceRecord) -> float:
    """Return what planes are rounded to."""
    return float(np.nanmedian(record.noise[::_SOME, ::_SOME])) / _STEPS_PER_NOISE


def _packing_cards(packing: Packing, step: float) -> fits.Header:
    """Return what the file says of how it is packed."""
    from astropy.io import fits

    header = fits.Header()
    if step:
        header["ROUNDED"] = (step, "[electron/s] step of the planes, noise / 8")
    if packing.identity:
        header["DIFFDIG"] = (packing.identity, "digest of what it is made from")
        header[_SIZE_CARD] = (0, "[byte] size of this file")
    return header


def _image(plane: NDArray[Any], header: fits.Header, name: str, step: float) -> Any:  # noqa: ANN401 - astropy's HDUs have no common type
    """Return the HDU of a plane: as it is, or in steps, compressed row by row.

    Whole numbers with BSCALE and BLANK, as the standard has it: astropy's own rounding measures the
    noise of every row first, which takes three times as long as all of this.
    """
    from astropy.io import fits

    if not step:
        return fits.ImageHDU(plane, header=header, name=name)
    numbers = plane
    if plane.dtype.kind == "f":
        scaled = np.rint(plane / np.float32(step))
        known = np.isfinite(scaled) & (np.abs(scaled) < -_UNKNOWN)
        numbers = np.where(known, scaled, 0).astype(np.int32)
        numbers[~known] = _UNKNOWN
    tiled = fits.CompImageHDU(
        numbers, header, name=name, compression_type="RICE_1", tile_shape=(1, plane.shape[1])
    )
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), tiled]).writeto(out)
    table = fits.open(io.BytesIO(out.getvalue()), disable_image_compression=True)[1]
    if plane.dtype.kind == "f":
        table.header["BSCALE"], table.header["BZERO"] = step, 0.0
        table.header["BLANK"] = _UNKNOWN
    return table


def _embedded(plane: NDArray[Any], record: DifferenceRecord, outside: float) -> NDArray[Any]:
    """Return a plane over the template's whole window."""
    window, held = record.inputs.window, record.inputs.held
    whole = np.full(window.shape, outside, plane.dtype)
    y, x = held.y0 - window.y0, held.x0 - window.x0
    whole[y : y + plane.shape[0], x : x + plane.shape[1]] = plane
    return whole


def _common_header(record: DifferenceRecord) -> fits.Header:
    """Return the FFI's own WCS and identification, the same in every extension."""
    observation, window = record.inputs.observation, record.inputs.window
    header = observation.frame.header()
    header["CRPIX1"] -= window.x0
    header["CRPIX2"] -= window.y0
    detector = observation.frame.detector
    for key, value, comment in (
        ("SECTOR", detector.sector, "TESS sector"),
        ("CAMERA", detector.camera, "TESS camera"),
        ("CCD", detector.ccd, "TESS CCD"),
        ("TELESCOP", "TESS", "telescope"),
        ("INSTRUME", "TESS Photometer", "detector type"),
        ("SYNDIFF", True, "made by syndiff"),
        ("PRODUCT", "difference", "FFI less a template"),
        ("XMIN", window.x0, "first FFI column, 0-based"),
        ("XMAX", window.x1, "one past the last FFI column"),
        ("YMIN", window.y0, "first FFI row, 0-based"),
        ("YMAX", window.y1, "one past the last FFI row"),
        ("DATE-OBS", observation.date_obs, "start of the exposure, UTC"),
        ("DATE-END", observation.date_end, "end of the exposure, UTC"),
        ("TSTART", observation.tstart, "[d] start, JD - 2457000"),
        ("TSTOP", observation.tstop, "[d] end, JD - 2457000"),
        ("EXPOSURE", observation.exposure_s / DAY_S, "[d] time on source"),
        ("DQUALITY", observation.quality, "quality flags of the FFI"),
    ):
        header[key] = (value, comment)
    return header


def _provenance(record: DifferenceRecord) -> fits.Header:
    """Return what was subtracted from what, and what was fitted."""
    from astropy.io import fits

    inputs, difference = record.inputs, record.difference
    header = fits.Header()
    source = "estimated" if inputs.ffi.is_estimated else "FFI"
    for key, value, comment in (
        ("FFI", card_text(inputs.observation.name), ""),
        ("TEMPLATE", card_text(record.template), ""),
        ("TPLDIG", inputs.header["CFGDIG"], "its CFGDIG"),
        ("DX_SHIFT", inputs.header["DX_SHIFT"], "[pix] its offset in x"),
        ("DY_SHIFT", inputs.header["DY_SHIFT"], "[pix] its offset in y"),
        ("PLACING", inputs.placing, "whose word on where sources stand"),
        ("UNCSRC", source, "where the FFI's uncertainty comes from"),
        ("SCALE", difference.scale, "[electron/s] of template flux 1"),
        ("SCALEERR", difference.scale_error, "its standard deviation"),
        ("ZPAB", difference.zero_point, "AB magnitude of 1 electron/s"),
        ("ZPABERR", difference.zero_point_error, "its standard deviation"),
        ("SCATTER", difference.scatter, "robust rms of DIFF / UNCERT"),
        ("STARLEFT", difference.leftover.part, "part of a star's norm that is left, median"),
        ("STARSN", difference.leftover.stars, "stars that tell it"),
        ("FITDOUBT", ",".join(difference.doubts) or "none", "response: STARLEFT, scatter: SCATTER"),
        ("FITPIX", int(difference.used.sum()), "pixels of the fit"),
        ("DEADPIX", int((inputs.ffi.dead > 0).sum()), "dead pixels of the FFI, left out"),
        ("BKGORDER", difference.background_order, "order of the background's polynomial"),
        ("KERNEL", "none" if difference.kernel is None else "fitted", "scale only, or a kernel"),
        *_kernel_cards(difference),
        ("SWVER", f"syndiff {__version__}", "software"),
    ):
        header[key] = (value, comment)
    return header


def _kernel_cards(difference: Difference) -> list[tuple[str, object, str]]:
    kernel = difference.kernel
    if kernel is None:
        return []
    sums = kernel.sums()
    return [
        ("KORDER", int(kernel.terms.max()), "order of the kernel's variation"),
        ("KSTARS", difference.stars, "stars that told the kernel"),
        ("KSUMMIN", float(sums.min()), "least sum of the kernel in the field"),
        ("KSUMMAX", float(sums.max()), "largest"),
    ]


def _kernel_table(kernel: VaryingKernel) -> fits.BinTableHDU:
    """Return a row per tap: its place, and its weight on each product of polynomials.

    The model at a pixel is the sum of weights times the template at the pixel plus (DX, DY).
    """
    from astropy.io import fits

    places, weights = kernel.taps.places, kernel.weights.T
    table = np.zeros(
        len(places), [("DY", ">f8"), ("DX", ">f8"), ("WEIGHT", ">f8", (weights.shape[1],))]
    )
    table["DY"], table["DX"], table["WEIGHT"] = places[:, 0], places[:, 1], weights
    hdu = fits.BinTableHDU(table, name="KERNEL")
    for k, (down, across) in enumerate(kernel.terms.tolist()):
        hdu.header[f"TERM{k:02d}"] = (f"{down},{across}", "orders of Legendre polynomials, y and x")
    return hdu


def pack_residuals(record: DifferenceRecord, stars: StarResiduals) -> bytes:
    """Return the table of stars' residuals as ECSV.

    Parameters
    ----------
    record : DifferenceRecord
        The difference.
    stars : StarResiduals
        What it leaves of stars.

    Returns
    -------
    bytes
        The file.
    """
    from astropy.table import Table

    inputs = record.inputs
    x, y = stars.x + inputs.held.x0, stars.y + inputs.held.y0
    ra, dec = inputs.observation.frame.pixel_to_sky(x, y)
    magnitude = f"TESS magnitude of flux, 1 electron/s = {TESS_ZERO_POINT}"
    columns: dict[str, tuple[NDArray[Any], str | None, str, str]] = {
        "x": (x, "pix", ".3f", "FFI column, 0-based"),
        "y": (y, "pix", ".3f", "FFI row, 0-based"),
        "ra": (ra, "deg", ".6f", "by the FFI's WCS"),
        "dec": (dec, "deg", ".6f", "by the FFI's WCS"),
        "mag": (stars.mag, "mag", ".3f", magnitude),
        "flux": (stars.flux, UNIT, ".4g", "model in 5 x 5 pixels over its surroundings"),
        "aperture": (stars.aperture, None, ".2e", "difference in 5 x 5 pixels over flux"),
        "aperture_error": (stars.aperture_error, None, ".2e", "its standard deviation"),
        "peak": (stars.peak, None, ".2e", "largest |difference| over the model's peak"),
        "peak_error": (stars.peak_error, None, ".2e", "noise of a pixel over the model's peak"),
        "isolated": (
            stars.isolated,
            None,
            "",
            "no star of 0.1 x its height within 4.5 px, 5 x within 9",
        ),
        "flagged": (stars.flagged, None, "", "a pixel is flagged or unknown"),
    }
    table = Table()
    for name, (values, unit, form, description) in columns.items():
        table[name] = values
        table[name].unit, table[name].description = unit, description
        if form:
            table[name].format = form
    table.meta = {
        "ffi": inputs.observation.name,
        "template": record.template,
        "zero_point_ab": record.difference.zero_point,
        "zero_point_error": record.difference.zero_point_error,
    }
    out = io.StringIO()
    table.write(out, format="ascii.ecsv")
    return out.getvalue().encode()
