"""Plane files of PS1 stacks, made by astropy's own compressor and hand-written cards."""

import io
import math

import numpy as np
from astropy.io import fits

from syndiff.sky.tessellation import Skycell

CDELT = float(np.float32(0.25 / 3600))


def small_skycell(nx: int = 301, ny: int = 37) -> Skycell:
    """Return a skycell of RINGS.V3's kind, but small."""
    return Skycell(
        name="skycell.2180.097",
        nx=nx,
        ny=ny,
        crval=(121.764701843296, 41.9999999999986),
        crpix=(-11440.5, -22976.0),
        cdelt=(CDELT, CDELT),
        pc=(-1.0, 0.0, 0.0, 1.0),
    )


def plane_cards(plane: str, skycell: Skycell, band: str = "y") -> dict[str, object]:
    """Return the cards that the survey adds to the table's own."""
    cards: dict[str, object] = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": skycell.crval[0],
        "CRVAL2": skycell.crval[1],
        "CRPIX1": skycell.crpix[0],
        "CRPIX2": skycell.crpix[1],
        "CDELT1": skycell.cdelt[0],
        "CDELT2": skycell.cdelt[1],
        "PC001001": skycell.pc[0],
        "PC001002": skycell.pc[1],
        "PC002001": skycell.pc[2],
        "PC002002": skycell.pc[3],
        "SKYCELL": skycell.name,
        "HIERARCH FPA.FOCUS": "NaN",
        "HIERARCH FPA.FILTERID": f"{band}.00000",
        "HIERARCH FPA.ZP": 25.0,
        "EXPTIME": 500.0,
        "MJD-OBS": 55916.822668887,
    }
    if plane == "mask":
        return cards | {"MSKNAM07": "SUSPECT", "BZERO": 32768.0, "BSCALE": 1.0}
    return cards | {
        "BZERO": 3.632996916771,
        "BSCALE": 1.908685283002e-4,
        "BSOFTEN": 413.7191922843,
        "BOFFSET": 17.32926559448,
        "BLANK": 32767,
        "ZBLANK": 32767,
    }


def compressed(dn: np.ndarray, method: str, **options) -> tuple[fits.Header, bytes]:
    """Return the table's header and its data (padded) of DN compressed by astropy."""
    options.setdefault("tile_shape", (1, dn.shape[1]))
    hdu = fits.CompImageHDU(dn, compression_type=method, **options)
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    data = buffer.getvalue()
    with fits.open(io.BytesIO(data), disable_image_compression=True) as hdus:
        return hdus[1].header.copy(), data[hdus[1].fileinfo()["datLoc"] :]


def plane_file(
    plane: str, raw: np.ndarray, skycell: Skycell, *, content=None, change=None, **options
) -> bytes:
    """Return a whole file.

    `raw` is int16 DN, or uint16 bits of a mask; `content`, where given, is used in its place: a
    table's header and data. `change` maps keywords to new values; None takes the card away.
    """
    options.setdefault("method", "GZIP_1" if plane == "mask" else "RICE_1")
    dn = (raw ^ 0x8000).view(np.int16) if plane == "mask" else raw
    header, data = content or compressed(dn, **options)
    for key, value in (plane_cards(plane, skycell) | (change or {})).items():
        name = key.removeprefix("HIERARCH ")
        if value is None:
            header.remove(name, ignore_missing=True)
        elif name in header:
            header[name] = value
        else:
            header[key] = value
    return fits.PrimaryHDU().header.tostring().encode() + header.tostring().encode() + data


def sky_like(shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    """Return DN as of a stack: noise, a few bright stars, a blank border."""
    rng = np.random.default_rng(seed)
    dn = rng.normal(-17000, 900, shape)
    for j, i in zip(rng.integers(0, shape[0], 5), rng.integers(0, shape[1], 5), strict=True):
        dn[j, i] = 25000
    raw = np.clip(np.round(dn), -32768, 32766).astype(np.int16)
    raw[:, :3] = raw[:, -3:] = 32767
    return raw


def mask_like(shape: tuple[int, int], seed: int = 2) -> np.ndarray:
    """Return mask bits: mostly none, some of each."""
    rng = np.random.default_rng(seed)
    bits = np.where(rng.random(shape) < 0.05, 1 << rng.integers(0, 16, shape), 0)
    return bits.astype(np.uint16)


def expected_values(dn: np.ndarray, cards: dict[str, object], power: int) -> np.ndarray:
    """Return fluxes (power 1) or variances (power 2), computed one by one."""
    values = np.full(dn.shape, np.nan)
    for place, one in np.ndenumerate(dn):
        if one != 32767:
            v = cards["BZERO"] + cards["BSCALE"] * int(one)
            linear = cards["BOFFSET"] + 2 * cards["BSOFTEN"] * math.sinh(v / 1.0857362047581294)
            values[place] = linear / cards["EXPTIME"] ** power
    return values
