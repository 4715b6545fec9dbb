"""The differences of a field over time as one file: a target pixel file, compressed."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING

import numpy as np

from syndiff.lightcurves.times import BTJD_ZERO

if TYPE_CHECKING:
    from astropy.io import fits
    from numpy.typing import NDArray

    from syndiff.lightcurves.sector_curve import SectorCurve

__all__ = ["pack_cube"]


def pack_cube(curve: SectorCurve, name: str) -> bytes:
    """Return the differences of a series as a gzipped target pixel file.

    Parameters
    ----------
    curve : SectorCurve
        Its rows hold the differences.
    name : str
        The target's.

    Returns
    -------
    bytes
        FLUX is the difference in e-/s, float32, lossless; FLUX_ERR was not kept and is NaN. The
        layout is that of TESS's target pixel files and TESScut's cubes, FLUX the fifth column.
    """
    from astropy.io import fits

    images = curve.rows["difference"]
    n, ny, nx = images.shape
    unknown = np.full(images.shape, np.nan, np.float32)
    shape, kind = f"({nx},{ny})", f"{nx * ny}E"
    planes = {"FLUX": images, "FLUX_ERR": unknown, "FLUX_BKG": unknown, "FLUX_BKG_ERR": unknown}
    columns = [
        fits.Column("TIME", "D", "BJD - 2457000, days", array=curve.times.btjd),
        fits.Column("TIMECORR", "E", "d", array=np.zeros(n)),
        fits.Column("CADENCENO", "J", array=np.arange(n)),
        fits.Column(
            "RAW_CNTS", f"{nx * ny}J", "count", dim=shape, array=np.zeros(images.shape, int)
        ),
        *(fits.Column(key, kind, "e-/s", dim=shape, array=p) for key, p in planes.items()),
        fits.Column("QUALITY", "J", array=curve.flags),
        *(fits.Column(f"POS_CORR{k}", "E", "pixel", array=_moved(curve, k - 1)) for k in (1, 2)),
        fits.Column("FFI_FILE", "96A", array=curve.rows["name"]),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="PIXELS")
    _add_place(table.header, curve)
    aperture = fits.ImageHDU(np.ones((ny, nx), np.int32), name="APERTURE")
    out = io.BytesIO()
    fits.HDUList([_primary(curve, name), table, aperture]).writeto(out)
    return gzip.compress(out.getvalue(), 4, mtime=0)


def _moved(curve: SectorCurve, axis: int) -> NDArray[np.float64]:
    """Return where the target is against its mean place."""
    place = curve.rows["place"][:, axis]
    return np.asarray(place - np.nanmean(place))


def _primary(curve: SectorCurve, name: str) -> fits.PrimaryHDU:
    from astropy.io import fits

    detector, (ra, dec) = curve.sighting.detector, curve.sighting.target
    hdu = fits.PrimaryHDU()
    for key, value in (
        ("ORIGIN", "syndiff"),
        ("CREATOR", "syndiff targetpixel"),
        ("TELESCOP", "TESS"),
        ("OBJECT", name[:68]),
        ("RA_OBJ", ra),
        ("DEC_OBJ", dec),
        ("SECTOR", detector.sector),
        ("CAMERA", detector.camera),
        ("CCD", detector.ccd),
    ):
        hdu.header[key] = value
    return hdu


def _add_place(header: fits.Header, curve: SectorCurve) -> None:
    """Say which CCD pixels these are (1-based, as TESS counts them) and what TIME is."""
    window = curve.window
    for key, value in (
        ("BJDREFI", int(BTJD_ZERO)),
        ("BJDREFF", 0.0),
        ("TIMEUNIT", "d"),
        ("TIMESYS", "TDB"),
        ("1CRV5P", window.x0 + 1),
        ("2CRV5P", window.y0 + 1),
        ("1CRPX5", 1.0),
        ("2CRPX5", 1.0),
    ):
        header[key] = value
