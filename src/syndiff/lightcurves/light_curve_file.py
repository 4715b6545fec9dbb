"""Light curves as files: ECSV, and FITS as lightkurve reads it."""

from __future__ import annotations

import io
import json
import warnings
from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import TESS_ZERO_POINT
from syndiff.constants import FRAME_CYCLE_S
from syndiff.lightcurves.sector_curve import AB_LESS_TESS_MAG
from syndiff.lightcurves.times import BTJD_ZERO
from syndiff.masks import FrameFlag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astropy.io import fits
    from astropy.table import QTable

__all__ = ["LIGHT_CURVE_FORMAT", "pack_ecsv", "pack_fits"]

LIGHT_CURVE_FORMAT = 1
"""Version of the columns and of what the header says."""

_MOST_TEXT = 68
# Characters of a FITS text value.
_FITS_NAMES = {"bjd_tdb": "TIME"}
_FITS_UNITS = {"electron / s": "e-/s", "electron s-1": "e-/s", "AB": "mag", "mag(AB)": "mag"}


def pack_ecsv(table: QTable, about: Mapping[str, object]) -> bytes:
    """Return a table as ECSV.

    Parameters
    ----------
    table : QTable
        The table.
    about : mapping
        What its header says.

    Returns
    -------
    bytes
        The file.
    """
    from astropy.table import Table

    plain = Table(table)
    plain.meta = {"format_version": LIGHT_CURVE_FORMAT, **about}
    out = io.StringIO()
    plain.write(out, format="ascii.ecsv")
    return out.getvalue().encode()


def pack_fits(table: QTable, binned: Mapping[str, QTable], about: Mapping[str, object]) -> bytes:
    """Return a light curve as FITS.

    Parameters
    ----------
    table : QTable
        One row a frame.
    binned : mapping of str to QTable
        Binned tables by the name of their extension.
    about : mapping
        What its header says: ``name``, ``ra``, ``dec``, ``sectors`` and more.

    Returns
    -------
    bytes
        The file: LIGHTCURVE, whose columns TIME, FLUX, FLUX_ERR and QUALITY are those of TESS's own
        light curves, then the binned tables.

    Notes
    -----
    lightkurve tells a TESS light curve by TELESCOP and CREATOR, and takes the exposure from
    FRAMETIM and NUM_FRM.
    """
    from astropy.io import fits

    primary = fits.PrimaryHDU()
    header = primary.header
    sectors = about["sectors"]
    first = sectors[0]  # type: ignore[index]
    for key, value, comment in (
        ("ORIGIN", "syndiff", "who made this file"),
        ("CREATOR", f"syndiff {about['software']} lightcurve", "by what"),
        ("SYNDIFF", True, "a file of syndiff"),
        ("PRODUCT", "lightcurve", "what it is"),
        ("LCFORMAT", LIGHT_CURVE_FORMAT, "version of its layout"),
        ("TELESCOP", "TESS", "telescope"),
        ("INSTRUME", "TESS Photometer", "detector type"),
        ("OBJECT", str(about["name"])[:_MOST_TEXT], "target"),
        ("RA_OBJ", about["ra"], "[deg] right ascension"),
        ("DEC_OBJ", about["dec"], "[deg] declination"),
        ("SECTOR", first["sector"], "first sector"),
        ("CAMERA", first["camera"], "its camera"),
        ("CCD", first["ccd"], "its CCD"),
        ("QUIETBEF", str(about.get("quiet_before") or "none"), "baseline taken before this date"),
        ("TESSZP", TESS_ZERO_POINT, "[mag] TESS magnitude of 1 e-/s, handbook"),
        ("ABLESST", AB_LESS_TESS_MAG, "[mag] AB less TESS magnitude, assumed"),
        ("LEFTOUT", _all_bits(), "bits of QUALITY that leave a frame out of bins"),
    ):
        header[key] = (value, comment)
    for said in sectors:  # type: ignore[attr-defined]
        header["COMMENT"] = json.dumps(said)
    for bit in FrameFlag:
        header["COMMENT"] = f"QUALITY {int(bit)}: {bit.name}"
    hdus = [primary, _light_curve_hdu(table)]
    hdus += [_table_hdu(one, name) for name, one in binned.items()]
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        fits.HDUList(hdus).writeto(out, checksum=True)
    return out.getvalue()


def _all_bits() -> int:
    return sum(int(bit) for bit in FrameFlag)


def _light_curve_hdu(table: QTable) -> fits.BinTableHDU:
    hdu = _table_hdu(table, "LIGHTCURVE")
    exposure = np.nanmedian(table["exposure"].value) if len(table) else np.nan
    frames = round(float(exposure) / FRAME_CYCLE_S) if np.isfinite(exposure) else 0
    for key, value, comment in (
        ("TIMEREF", "SOLARSYSTEM", "barycentric correction applied to times"),
        ("TIMESYS", "TDB", "time system"),
        ("BJDREFI", int(BTJD_ZERO), "integer part of BTJD reference date"),
        ("BJDREFF", 0.0, "fraction of the day in BTJD reference date"),
        ("TIMEUNIT", "d", "unit of TIME"),
        ("FRAMETIM", FRAME_CYCLE_S, "[s] frame time"),
        ("NUM_FRM", frames, "frames of the time on source"),
    ):
        hdu.header[key] = (value, comment)
    return hdu


def _table_hdu(table: QTable, name: str) -> fits.BinTableHDU:
    """Return a table as an extension, columns in capitals, times from JD 2457000 on."""
    from astropy.io import fits

    columns = []
    for column in table.colnames:
        values, unit = table[column], ""
        if getattr(values, "unit", None) is not None:
            unit, values = str(values.unit), values.value
        values = np.asarray(values)
        if column == "bjd_tdb":
            values, unit = values - BTJD_ZERO, "d"
        columns.append(
            fits.Column(
                _FITS_NAMES.get(column, column.upper()),
                _format(values),
                _FITS_UNITS.get(unit, unit),
                array=values.astype("S") if values.dtype.kind == "U" else values,
            )
        )
    return fits.BinTableHDU.from_columns(columns, name=name)


def _format(values: np.ndarray[tuple[int], np.dtype[np.generic]]) -> str:
    if values.dtype.kind == "U":
        return f"{max(1, values.dtype.itemsize // 4)}A"
    return {"f8": "D", "i4": "J", "i8": "K"}[values.dtype.str[1:]]
