"""A series as one file, in the layout of TESScut's cutouts."""

from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import fit_wcs_from_points
from numpy.typing import NDArray

from syndiff.simulation.ffi import FfiConfig, wcs_of
from syndiff.simulation.ffi_header import utc
from syndiff.simulation.series.frames import Frames, frame_start
from syndiff.window import Window

__all__ = ["cube_name", "write_cube"]

F32 = NDArray[np.float32]

_NAME_LENGTH = 38
"""TESScut's column of file names is as narrow as this, and cuts them off."""

_PLANES = (4, 5, 6, 7, 8)
"""Columns that hold images, from 1."""


def cube_name(ffi: FfiConfig, field: Window) -> str:
    """Return the name that TESScut would give.

    Parameters
    ----------
    ffi : FfiConfig
        The reference.
    field : Window
        FFI pixels.

    Returns
    -------
    str
        For example ``tess-s0020-3-3_216.752300_76.392500_64x64_astrocut.fits``.
    """
    d, (ny, nx) = ffi.detector, field.shape
    ra, dec = _middle(ffi, field)
    return f"tess-s{d.sector:04d}-{d.camera}-{d.ccd}_{ra:.6f}_{dec:.6f}_{nx}x{ny}_astrocut.fits"


def _middle(ffi: FfiConfig, field: Window) -> tuple[float, float]:
    """Return the sky position of a field's middle."""
    x, y = (field.x0 + field.x1 - 1) / 2, (field.y0 + field.y1 - 1) / 2
    ra, dec = wcs_of(ffi.wcs_cards).all_pix2world(x, y, 0)
    return float(ra), float(dec)


def write_cube(
    path: Path, ffi: FfiConfig, frames: Frames, field: Window, *, flux: F32, error: F32
) -> None:
    """Write the cube, replaced if it is there.

    Parameters
    ----------
    path : Path
        The file.
    ffi : FfiConfig
        The reference, whose WCS over the field becomes the cube's.
    frames : Frames
        The series.
    field : Window
        FFI pixels.
    flux, error : (n, ny, nx) float32
        Images and uncertainties, e-/s.
    """
    wcs = _linear_wcs(ffi, field)
    primary = fits.PrimaryHDU(header=_primary_header(ffi, frames, field))
    table = fits.BinTableHDU.from_columns(_columns(frames, flux, error), name="PIXELS")
    table.header["INHERIT"] = True
    for column in _PLANES:
        table.header.update(_column_wcs(wcs, field, column))
    table.header["WCS_FFI"] = str(frames.file[len(frames) // 2])
    table.header.update(_common_cards(ffi, frames))
    aperture = fits.ImageHDU(np.ones(field.shape, np.int32), wcs.to_header(), name="APERTURE")
    aperture.header["INHERIT"] = True
    aperture.header.update(_common_cards(ffi, frames))
    fits.HDUList([primary, table, aperture]).writeto(path, overwrite=True, checksum=True)


def _linear_wcs(ffi: FfiConfig, field: Window) -> WCS:
    """Return the TAN projection without distortion that fits a field best."""
    x, y = (
        a.ravel() for a in np.meshgrid(*(np.linspace(-0.5, n - 0.5, 9) for n in field.shape[::-1]))
    )
    sky = wcs_of(ffi.wcs_cards).all_pix2world(x + field.x0, y + field.y0, 0)
    middle = SkyCoord(*_middle(ffi, field), unit="deg")
    return fit_wcs_from_points((x, y), SkyCoord(*sky, unit="deg"), proj_point=middle)


def _columns(frames: Frames, flux: F32, error: F32) -> list[fits.Column]:
    """Return the table's columns."""
    n, ny, nx = flux.shape
    size, dim = ny * nx, f"({nx}, {ny})"
    times = ((frames.start + frames.stop) + frames.barycorr.sum(1)) / 2
    names = np.array([str(name)[:_NAME_LENGTH] for name in frames.file])
    none = np.zeros((n, ny, nx), np.float32)
    raw = np.full((n, ny, nx), -1, np.int32)
    units = {"unit": "e-/s", "dim": dim, "format": f"{size}E", "disp": "E14.7"}
    zeros, place = np.zeros(n), {"format": "E", "unit": "pixel", "disp": "E14.7"}
    return [
        fits.Column("TIME", "D", unit="BJD - 2457000, days", disp="D14.7", array=times),
        fits.Column("TIMECORR", "E", unit="d", disp="E14.7", array=frames.barycorr[:, 0]),
        fits.Column("CADENCENO", "J", disp="I10", array=zeros),
        fits.Column("RAW_CNTS", f"{size}J", unit="count", null=-1, disp="I8", dim=dim, array=raw),
        fits.Column("FLUX", array=flux, **units),
        fits.Column("FLUX_ERR", array=error, **units),
        fits.Column("FLUX_BKG", array=none, **units),
        fits.Column("FLUX_BKG_ERR", array=none, **units),
        fits.Column("QUALITY", "J", disp="B16.16", array=frames.quality),
        fits.Column("POS_CORR1", array=zeros, **place),
        fits.Column("POS_CORR2", array=zeros, **place),
        fits.Column("FFI_FILE", f"{_NAME_LENGTH}A", unit="pixel", array=names),
    ]


def _column_wcs(wcs: WCS, field: Window, column: int) -> dict[str, str | float]:
    """Return the WCS cards of one column of images."""
    matrix = wcs.pixel_scale_matrix
    out: dict[str, str | float] = {f"WCAX{column}": 2}
    for i, (kind, first) in enumerate((("RAWX", field.x0), ("RAWY", field.y0)), 1):
        out[f"{i}CTYP{column}"] = wcs.wcs.ctype[i - 1]
        out[f"{i}CRPX{column}"] = float(wcs.wcs.crpix[i - 1])
        out[f"{i}CRVL{column}"] = float(wcs.wcs.crval[i - 1])
        out[f"{i}CUNI{column}"] = "deg"
        out[f"{i}CDLT{column}"] = 1.0
        for j in (1, 2):
            out[f"{i}{j}PC{column}"] = float(matrix[i - 1, j - 1])
        out[f"{i}CTY{column}P"], out[f"{i}CUN{column}P"] = kind, "PIXEL"
        out[f"{i}CRV{column}P"] = first + 1
        out[f"{i}CDL{column}P"], out[f"{i}CRP{column}P"] = 1.0, 1
    out[f"WCSN{column}P"], out[f"WCAX{column}P"] = "PHYSICAL", 2
    return out


def _common_cards(ffi: FfiConfig, frames: Frames) -> dict[str, str | float | bool]:
    """Return the cards that TESScut takes over from the frames."""
    d = ffi.detector
    first, last = frames.start[0] + frames.barycorr[0, 0], frames.stop[-1] + frames.barycorr[-1, 1]
    return {
        "SIMDATA": True,
        "ORIGIN": "SYNDIFF",
        "TSTART": float(first),
        "TSTOP": float(last),
        "DATE-OBS": utc(frame_start(float(first)))[:-1],
        "DATE-END": utc(frame_start(float(last)))[:-1],
        "CREATOR": "astrocut",
        "PROCVER": "syndiff-simulation",
        "FILEVER": "1.0",
        "TELESCOP": "TESS",
        "INSTRUME": "TESS Photometer",
        "RADESYS": "ICRS",
        "FFIINDEX": int(frames.index[0]),
        "EQUINOX": 2000.0,
        "CAMERA": d.camera,
        "CCD": d.ccd,
        "SECTOR": d.sector,
        "TIMEREF": "SOLARSYSTEM",
        "TASSIGN": "SPACECRAFT",
        "TIMESYS": "TDB",
        "BJDREFI": 2457000,
        "BJDREFF": 0.0,
        "TIMEUNIT": "d",
        "TELAPSE": float(last - first),
    }


def _primary_header(ffi: FfiConfig, frames: Frames, field: Window) -> fits.Header:
    """Return the header of HDU 0."""
    ra, dec = _middle(ffi, field)
    out = fits.Header()
    out["NEXTEND"] = 2
    out.update(_common_cards(ffi, frames))
    out["FFI_TYPE"] = "SPOC"
    out["RA_OBJ"], out["DEC_OBJ"] = ra, dec
    out["OBJECT"], out["TCID"], out["TICID"] = "", 0, ""
    return out
