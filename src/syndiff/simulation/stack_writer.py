"""Write PS1 stack files as the archive stores them: scaled, tiled, compressed."""

import gzip
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from syndiff.constants import FITS_BLOCK, ZERO_POINT
from syndiff.kernels.rice_encoder import encode_rows
from syndiff.sky.tessellation import Skycell

__all__ = ["Scaling", "StackHeader", "choose_scaling", "encode", "write_stack_plane"]

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

# FITS headers and data are padded to it.

POGSON = 1.0857362
"""2.5 / ln 10 as the survey's software rounds it."""

BLANK = 32767

_ZERO_POINT = 23.3688

_UNKNOWN = (
    *("FOCUS", "POSANGLE", "ROTANGLE", "RA", "DEC", "LONGITUDE", "LATITUDE", "ELEVATION"),
    *("ALT", "AZ", "TEMP", "M1X", "M1Y", "M1Z", "M1TIP", "M1TILT", "M2X", "M2Y", "M2Z"),
    *("M2TIP", "M2TILT", "ENV.TEMP", "ENV.HUMID", "ENV.WIND", "ENV.DIR", "TELTEMP.M1"),
    *("TELTEMP.M2", "TELTEMP.SPIDER", "TELTEMP.TRUSS", "TELTEMP.EXTRA", "PON.TIME"),
)
_EMPTY = ("COMMENT", "OBS.MODE", "OBS.GROUP", "RADECSYS", "OBSTYPE", "OBJECT")
_MASK_NAMES = (
    *(("DETECTOR", 1), ("FLAT", 2), ("DARK", 4), ("BLANK", 8), ("CTE", 16), ("SAT", 32)),
    *(("LOW", 64), ("SUSPECT", 128), ("CR", 256), ("SPIKE", 512), ("GHOST", 1024)),
    *(("STREAK", 2048), ("STARCORE", 4096), ("CONV.BAD", 8192), ("CONV.POOR", 16384)),
    *(("BURNTOOL", 128), ("MASK.VALUE", 8575), ("MARK.VALUE", 32768)),
)


@dataclass(frozen=True)
class Scaling:
    """How a file turns numbers on disk into fluxes.

    Parameters
    ----------
    bzero, bscale : float
        ``v = bzero + bscale * DN``.
    boffset, bsoften : float
        ``linear = boffset + 2 bsoften sinh(v / 1.0857362)``.
    """

    bzero: float
    bscale: float
    boffset: float
    bsoften: float


@dataclass(frozen=True)
class StackHeader:
    """What all three files of one skycell's band say about it.

    Parameters
    ----------
    skycell : Skycell
        The skycell.
    band : str
        Band, ``"r"`` for example.
    exposures_s : tuple of float
        Exposure time of each input.
    rejected : tuple of int
        Inputs that were scaled by zero; EXPTIME counts them all the same.
    mjd_obs : float
        Time of exposure.
    gain, saturation : float
        Electrons per count, saturation level in counts.
    serial : int
        STK_ID.
    """

    skycell: Skycell
    band: str
    exposures_s: tuple[float, ...]
    rejected: tuple[int, ...]
    mjd_obs: float
    gain: float
    saturation: float
    serial: int

    @property
    def exptime_s(self) -> float:
        """Sum of the inputs' times."""
        return float(sum(self.exposures_s))

    @cached_property
    def text(self) -> str:
        """The cards, without END."""
        return str(_description(self).tostring(endcard=False, padding=False))


def choose_scaling(
    limits: tuple[float, float], *, noise: float, offset: float, clip_brightest: bool
) -> Scaling:
    """Return a scaling that holds an image.

    Parameters
    ----------
    limits : tuple of float
        Smallest and largest value in counts.
    noise : float
        Their noise in counts: sets the softening.
    offset : float
        BOFFSET in counts.
    clip_brightest : bool
        Whether the brightest pixel gets the number that means "no data", as it can in the survey.

    Returns
    -------
    Scaling
        The scaling, with zero flux on a whole number, so that an empty sky without noise stays
        empty.
    """
    bsoften = 1.042 * noise
    low, high, zero = (
        POGSON * np.arcsinh((value - offset) / (2 * bsoften))
        for value in (min(limits[0], -8 * noise), limits[1], 0.0)
    )
    # Realistic range of the survey: 12.5 in v, 1.9e-4 a step.
    span = max(high - low, 12.5)
    last = 32767.0 if clip_brightest and high - low >= 12.5 else 32766.0
    bscale = span / (last + 32768)
    bzero = low + 32768 * bscale
    bzero = zero - round((zero - bzero) / bscale) * bscale
    return Scaling(*(float(f"{v:.12E}") for v in (bzero, bscale, offset, bsoften)))


def encode(values: F64, scaling: Scaling) -> NDArray[np.int16]:
    """Turn linear values into numbers on disk.

    Parameters
    ----------
    values : (ny, nx) float64
        Counts; NaN where there is no data. Used as scratch: its content is lost.
    scaling : Scaling
        The file's scaling.

    Returns
    -------
    (ny, nx) int16
        Numbers on disk; 32767 where there is no data.
    """
    values -= scaling.boffset
    values /= 2 * scaling.bsoften
    np.arcsinh(values, out=values)
    values *= POGSON / scaling.bscale
    values -= scaling.bzero / scaling.bscale
    np.rint(values, out=values)
    np.clip(values, -32768, BLANK, out=values)
    values[np.isnan(values)] = BLANK
    return values.astype(np.int16)


def write_stack_plane(
    path: Path,
    plane: NDArray[np.int16] | NDArray[np.uint16],
    header: StackHeader,
    scaling: Scaling | None = None,
) -> None:
    """Write one file of the archive.

    Parameters
    ----------
    path : Path
        Where; its folder is made if needed.
    plane : (ny, nx) int16 or uint16
        Numbers on disk of an image or variance, or mask bits.
    header : StackHeader
        What the header says.
    scaling : Scaling, optional
        Of an image or variance; None for a mask.
    """
    if scaling is None:
        rows, data = _gzip_rows(plane)
        cards, method = _mask_cards(), "GZIP_1"
    else:
        rows, data = _rice_rows(plane)
        cards, method = _scaling_cards(scaling), "RICE_1"
    text = _structure(plane.shape, rows, method).tostring(endcard=False, padding=False)
    text += header.text
    text += fits.Header(cards).tostring(padding=False)
    primary = fits.Header([("SIMPLE", True), ("BITPIX", 16), ("NAXIS", 0), ("EXTEND", True)])
    descriptors = np.stack([rows, np.cumsum(rows) - rows], -1).astype(">i4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(primary.tostring().encode())
        file.write((text + " " * (-len(text) % FITS_BLOCK)).encode())
        file.write(descriptors)
        file.write(data)
        file.write(bytes(-(len(descriptors) + len(data)) % FITS_BLOCK))


def _gzip_rows(plane: NDArray[np.int16] | NDArray[np.uint16]) -> tuple[I64, bytes]:
    """Return the length of each compressed row of a mask, and all rows."""
    signed = (plane.astype(np.int32) - 32768).astype(">i2")
    rows = [gzip.compress(row.tobytes(), 6, mtime=0) for row in signed]
    return np.array([len(row) for row in rows]), b"".join(rows)


def _rice_rows(plane: NDArray[np.int16] | NDArray[np.uint16]) -> tuple[I64, bytes]:
    """Return the length of each compressed row of an image, and all rows."""
    ny, nx = plane.shape
    out = np.empty(ny * (2 * nx + nx // 32 + 16), np.uint8)
    ends = np.empty(ny, np.int64)
    encode_rows(plane, out, ends)
    return np.diff(ends, prepend=0), out[: ends[-1]].tobytes()


def _structure(shape: tuple[int, ...], rows: I64, method: str) -> fits.Header:
    """Return the cards of the table that holds a compressed image, as cfitsio writes them."""
    ny, nx = shape
    out = fits.Header(
        [
            ("XTENSION", "BINTABLE", "binary table extension"),
            ("BITPIX", 8, "8-bit bytes"),
            ("NAXIS", 2, "2-dimensional binary table"),
            ("NAXIS1", 8, "width of table in bytes"),
            ("NAXIS2", ny, "number of rows in table"),
            ("PCOUNT", int(rows.sum()), "size of special data area"),
            ("GCOUNT", 1, "one data group (required keyword)"),
            ("TFIELDS", 1, "number of fields in each row"),
            ("TTYPE1", "COMPRESSED_DATA", "label for field   1"),
            ("TFORM1", f"1PB({rows.max()})", "data format of field: variable length array"),
            ("ZIMAGE", True, "extension contains compressed image"),
            ("ZSIMPLE", True, "Uncompressed file's conforms to FITS"),
            ("ZBITPIX", 16, "data type of original image"),
            ("ZNAXIS", 2, "dimension of original image"),
            ("ZNAXIS1", nx, "length of original image axis"),
            ("ZNAXIS2", ny, "length of original image axis"),
            ("ZTILE1", nx, "size of tiles to be compressed"),
            ("ZTILE2", 1, "size of tiles to be compressed"),
            ("ZCMPTYPE", method, "compression algorithm"),
        ]
    )
    if method == "RICE_1":
        out["ZNAME1"] = ("BLOCKSIZE", "compression block size")
        out["ZVAL1"] = (32, "pixels per block")
        out["ZNAME2"] = ("BYTEPIX", "bytes per pixel (1, 2, 4, or 8)")
        out["ZVAL2"] = (2, "bytes per pixel (1, 2, 4, or 8)")
    out["EXTNAME"] = ("COMPRESSED_IMAGE", "name of this binary table extension")
    return out


def _description(header: StackHeader) -> fits.Header:
    """Return the cards about a skycell, its inputs and its camera."""
    cell = header.skycell
    out = fits.Header()
    out.extend(
        [
            ("CTYPE1", "RA---TAN"),
            ("CTYPE2", "DEC--TAN"),
            ("CRVAL1", cell.crval[0]),
            ("CRVAL2", cell.crval[1]),
            ("CRPIX1", cell.crpix[0]),
            ("CRPIX2", cell.crpix[1]),
            ("CDELT1", cell.cdelt[0]),
            ("CDELT2", cell.cdelt[1]),
            *zip(("PC001001", "PC001002", "PC002001", "PC002002"), cell.pc, strict=True),
            ("HISTORY", "ppStack at 2015-02-20T07:34:01.841145"),
            ("NINPUTS", len(header.exposures_s), "Number of input images"),
            ("STK_TYPE", "DEEP_STACK", "type of stack"),
            ("STK_ID", str(header.serial), "type of stack"),
            ("SKYCELL", cell.name, "type of stack"),
            ("TESS_ID", "RINGS.V3", "type of stack"),
            ("AIRM_SLP", 0.0, "airmass slope"),
        ]
    )
    out.extend(_input_cards(header))
    out.extend([("PSCAMERA", "GPC1", "Camera name"), ("PSFORMAT", "SKYCELL", "Camera format")])
    hierarchy: list[tuple[str, str | float]] = [
        ("FPA.TELESCOPE", "PS1     "),
        ("FPA.INSTRUMENT", "GPC1    "),
        ("FPA.DETECTOR", "GPC1    "),
        *((f"FPA.{name}", "        ") for name in _EMPTY),
        ("FPA.FILTERID", f"{header.band}.00000 "),
        ("FPA.FILTER", f"{header.band}.00000 "),
        *((f"FPA.{name}", "NaN     ") for name in _UNKNOWN),
        ("FPA.ZP", ZERO_POINT),
        ("CHIP.SEEING", "NaN     "),
        ("CELL.GAIN", header.gain),
        ("CELL.READNOISE", 5.691115),
        ("CELL.SATURATION", header.saturation),
        ("CELL.BAD", 0.0),
        ("CELL.TRIMSEC", f"[1:{cell.nx},1:{cell.ny}]"),
    ]
    for name, value in hierarchy:
        out.append((f"HIERARCH {name}", value))
    out.append(("EXPTIME", header.exptime_s, "Exposure time (sec)"))
    out.append(("MJD-OBS", header.mjd_obs, "Time of exposure"))
    return out


def _input_cards(header: StackHeader) -> list[tuple[str, str | float, str]]:
    """Return the cards about each input exposure."""
    cell, count = header.skycell.name, len(header.exposures_s)
    out: list[tuple[str, str | float, str]] = [
        (f"INP_{i:04d}", f"o{5277 + 63 * i}g{i:04d}o.wrp.{cell}.fits", "input image n")
        for i in range(count)
    ]
    for i in range(count):
        scale = 0.0 if i in header.rejected else round(75.86674 + 1.7 * i, 5)
        out.append((f"SCL_{i:04d}", scale, "input image scale factor"))
    out += [(f"ZPT_{i:04d}", _ZERO_POINT, "input image zero point") for i in range(count)]
    for i, exposure in enumerate(header.exposures_s):
        out.append((f"EXP_{i:04d}", exposure, "input image exptime"))
    out += [(f"AIR_{i:04d}", 1.092, "input image airmass") for i in range(count)]
    return out


def _mask_cards() -> list[tuple[str, str | float, str]]:
    """Return the cards that name a mask's bits."""
    out: list[tuple[str, str | float, str]] = []
    for i, (name, value) in enumerate(_MASK_NAMES):
        out.append((f"MSKNAM{i:02d}", name, "Bitmask bit name"))
        out.append((f"MSKVAL{i:02d}", value, "Bitmask bit value"))
    out.append(("MSKNUM", len(_MASK_NAMES), "Bitmask bit count"))
    out.append(("BZERO", 32768.0, "Scaling: TRUE = BZERO + BSCALE * DISK"))
    out.append(("BSCALE", 1.0, "Scaling: TRUE = BZERO + BSCALE * DISK"))
    return out


def _scaling_cards(scaling: Scaling) -> list[tuple[str, str | float, str]]:
    """Return the cards of the scaling from numbers on disk to fluxes."""
    return [
        ("BZERO", scaling.bzero, "Scaling: TRUE = BZERO + BSCALE * DISK"),
        ("BSCALE", scaling.bscale, "Scaling: TRUE = BZERO + BSCALE * DISK"),
        ("BSOFTEN", scaling.bsoften, "Scaling: LINEAR = 2 * BSOFTEN * sinh(TRUE/a)"),
        ("BOFFSET", scaling.boffset, "Scaling: UNCOMP = BOFFSET + LINEAR"),
        ("BLANK", BLANK, "Value for undefined pixels"),
        ("ZBLANK", BLANK, "Value for undefined pixels"),
    ]
