"""Template FITS files: six planes, the inputs, and a header that says where they come from."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff import __version__
from syndiff.config import BAND_WEIGHTS, BANDS
from syndiff.errors import RenderingError
from syndiff.fits_images import pack_hdus, packed_size
from syndiff.masks import DataQuality, format_bits
from syndiff.template import MIN_COVERAGE, Template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astropy.io import fits
    from numpy.typing import NDArray

    from syndiff.observation import Frame
    from syndiff.storage import Place
    from syndiff.window import Window

__all__ = ["SIZE_CARD", "TemplateRecord", "read_header", "read_template", "write_template"]

_PLANES = (
    ("FLUX_SUM", "flux", np.float32, "0.36308 uJy"),
    ("COUNT", "count", np.int32, "pixel"),
    ("MASK", "mask", np.int32, "pixel"),
    ("UNCERT", "uncertainty", np.float32, "0.36308 uJy"),
    ("COVERAGE", "coverage", np.float32, ""),
    ("DQ", "quality", np.int32, ""),
)
"""Extension, attribute, type and unit; difference-imaging tools read the first three by place.

0.36308 uJy is the flux of AB magnitude 25: 3630.78 Jy x 10^-10 (Oke & Gunn 1983).
"""

SIZE_CARD = "FILESIZE"

_STATES = (
    ("NREDUCED", "reduced"),
    ("NABSENT", "absent"),
    ("NFAILED", "failed"),
    ("NLIMITED", "limited"),
)

_HEADER_BYTES = 40 * 2880
"""More than a primary header takes."""


@dataclass(frozen=True)
class TemplateRecord:
    """What a template file says of itself besides its planes.

    Parameters
    ----------
    frame : Frame
        The FFI's pixel grid.
    window : Window
        FFI pixels of the template.
    offset : (float, float)
        (dx, dy) in TESS pixels.
    scene : dict
        The scene's metadata, as `cell_metadata.json` holds them.
    """

    frame: Frame
    window: Window
    offset: tuple[float, float]
    scene: dict[str, Any]


def write_template(place: Place, template: Template, record: TemplateRecord, digest: str) -> None:
    """Write a template file, whole or not at all.

    Parameters
    ----------
    place : Place
        Where to.
    template : Template
        The planes.
    record : TemplateRecord
        Where they come from.
    digest : str
        Digest of everything the template depends on.

    Raises
    ------
    StorageError
        If the file can't be written.
    """
    from astropy.io import fits

    common = _common_header(record)
    primary = common.copy()
    primary.extend(_provenance(record, digest), end=True)
    primary[SIZE_CARD] = (0, "bytes of this file, by which a cut one is known")
    primary.extend(_coverage_cards(template, record), end=True)
    hdus: list[Any] = [fits.PrimaryHDU(header=primary)]
    for name, attribute, dtype, unit in _PLANES:
        plane = getattr(template, attribute).astype(dtype, copy=False)
        header = common.copy()
        if unit:
            header["BUNIT"] = (unit, "AB magnitude 25" if "uJy" in unit else "PS1 pixels")
        if name == "FLUX_SUM":
            header.extend(_provenance(record, digest), end=True)
        if name == "DQ":
            header.extend(_bit_cards(), end=True)
        hdus.append(fits.ImageHDU(plane, header=header, name=name))
    hdus.append(_inputs_table(record.scene))
    hdus[0].header[SIZE_CARD] = packed_size(hdus)
    place.write(pack_hdus(hdus))


def read_header(place: Place) -> fits.Header | None:
    """Return the primary header of a template, or None where there is none.

    Parameters
    ----------
    place : Place
        The template file.

    Returns
    -------
    Header or None
        The header.

    Raises
    ------
    RenderingError
        If the file is there but is not a template of ours.
    """
    from astropy.io import fits

    if not place.exists():
        return None
    content = place.read(_HEADER_BYTES)
    if not content.startswith(b"SIMPLE  ="):
        raise RenderingError(f"{place} is not a FITS file: remove it or pass --overwrite")
    header = fits.Header.fromstring(content)
    if header.get("SYNDIFF") is not True:
        raise RenderingError(
            f"{place} was not written by syndiff (SYNDIFF=T missing): move it away"
        )
    return header


def read_template(place: Place) -> tuple[Template, fits.Header]:
    """Read a template file.

    Parameters
    ----------
    place : Place
        The file.

    Returns
    -------
    template : Template
        The planes.
    header : Header
        The header of FLUX_SUM, with WCS and provenance.

    Raises
    ------
    RenderingError
        If a plane is missing, or the file is cut short or damaged.
    StorageError
        If the file can't be read.
    """
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    content = io.BytesIO(place.read())
    try:
        with warnings.catch_warnings():
            # astropy only warns of wrong checksums, and of files that end too early.
            warnings.simplefilter("error", AstropyUserWarning)
            with fits.open(content, checksum=True) as hdus:
                return _read_planes(hdus, place), hdus["FLUX_SUM"].header.copy()
    except (OSError, TypeError, ValueError, AstropyUserWarning, fits.VerifyError) as error:
        raise RenderingError(
            f"{place} is no complete FITS file ({error}): remove it and make it again"
        ) from error


def _read_planes(hdus: fits.HDUList, place: Place) -> Template:
    """Return the planes of an open template file."""
    planes: dict[str, NDArray[Any]] = {}
    for name, attribute, dtype, _ in _PLANES:
        if name not in hdus:
            raise RenderingError(f"{place} has no extension {name}: it is no syndiff template")
        planes[attribute] = np.ascontiguousarray(hdus[name].data, dtype)
    return Template(**planes)


def _common_header(record: TemplateRecord) -> fits.Header:
    """Return WCS, identification and geometry, the same in every extension."""
    header = record.frame.header()
    (dx, dy), window = record.offset, record.window
    header["CRPIX1"] += dx - window.x0
    header["CRPIX2"] += dy - window.y0
    detector = record.frame.detector
    for key, value, comment in (
        ("SECTOR", detector.sector, "TESS sector"),
        ("CAMERA", detector.camera, "TESS camera"),
        ("CCD", detector.ccd, "TESS CCD"),
        ("TELESCOP", "TESS", "whose pixel grid this is; light from PS1"),
        ("INSTRUME", "TESS Photometer", "detector type"),
        ("SYNDIFF", True, "made by syndiff"),
        ("DX_SHIFT", dx, "[pix] shift of the sources in x"),
        ("DY_SHIFT", dy, "[pix] shift of the sources in y"),
        ("XMIN", window.x0, "first FFI column, 0-based"),
        ("XMAX", window.x1, "one past the last FFI column"),
        ("YMIN", window.y0, "first FFI row, 0-based"),
        ("YMAX", window.y1, "one past the last FFI row"),
        ("OVERSAMP", 1, "samples per TESS pixel and axis"),
        ("PHOTZP", 25.0, "magnitude of flux 1"),
        ("PHOTSYS", "AB", "magnitude system"),
    ):
        header[key] = (value, comment)
    return header


def _provenance(record: TemplateRecord, digest: str) -> fits.Header:
    """Return what the template was made from and how."""
    from astropy.io import fits

    scene = record.scene
    header = fits.Header()
    for key, value, comment in _time_cards(scene):
        header[key] = (value, comment)
    response = scene["response"]
    header["PSFMODEL"] = (response["model"], "response on top of PS1 seeing")
    header["PSFSIGMA"] = (response["sigma_px"], "[PS1 pix of 0.25 arcsec] standard deviation")
    for k, (band, weight) in enumerate(zip(BANDS, BAND_WEIGHTS, strict=True), 1):
        header[f"BAND{k}"] = (band, "PS1 band")
        header[f"BANDW{k}"] = (weight, "its weight on flux")
    header["BACKGRND"] = (scene["config"]["background"], "what counts as light")
    bits = int(scene["reduction"]["ignore_mask_bits"])
    header["LEFTOUT"] = (format_bits(bits) or "none", "PS1 mask bits whose pixels are left out")
    header["MINCOVER"] = (MIN_COVERAGE, "coverage below which FLUX_SUM is NaN")
    states = [row["state"] for row in scene["skycells"]]
    for key, state in _STATES:
        header[key] = (states.count(state), f"skycells: {state}")
    lacking = "failed" in states or "limited" in states
    header["PARTIAL"] = (lacking, "made although skycells failed or were left out")
    header["FFI"] = (scene["ffi"], "reference FFI")
    header["SCENEDIG"] = (scene["sampled"], "digest of the scene's tiles under it")
    header["SWVER"] = (f"syndiff {__version__}", "software")
    header["CFGDIG"] = (digest, "digest of inputs and configuration")
    for line in _history(scene, states):
        header["HISTORY"] = line
    return header


def _history(scene: dict[str, Any], states: list[str]) -> Iterator[str]:
    """Yield a line for each stage."""
    summary = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    yield f"mapping: {scene['mapped']} skycells touch the CCD or its margin"
    yield f"download: of those needed here, {summary}"
    yield f"process: background {scene['config']['background']}, digest {scene['digest']}"


def _coverage_cards(template: Template, record: TemplateRecord) -> fits.Header:
    """Return which parts of the science pixels have a flux, and carry each DQ bit."""
    from astropy.io import fits

    held = record.window.intersection(record.frame.science) or record.window
    y, x = held.y0 - record.window.y0, held.x0 - record.window.x0
    inside = np.s_[y : y + held.shape[0], x : x + held.shape[1]]
    header = fits.Header()
    covered = np.isfinite(template.flux[inside]).mean()
    header["COVERED"] = (round(float(covered), 6), "part of the science pixels that has a flux")
    pixels = np.bincount(template.quality[inside].ravel(), minlength=1)
    for k, bit in enumerate(DataQuality):
        flagged = pixels[(np.arange(pixels.size) & bit) != 0].sum() / pixels.sum()
        header[f"DQF{k:02d}"] = (round(float(flagged), 6), f"part of them with {bit.name}")
    return header


def _time_cards(scene: dict[str, Any]) -> list[tuple[str, object, str]]:
    """Return the epochs of the PS1 inputs."""
    from astropy.time import Time

    epochs = [
        row["mjd_obs"]
        for cell in scene["skycells"]
        for row in cell["bands"]
        if row["mjd_obs"] is not None
    ]
    if not epochs:
        return []
    first, last = Time([min(epochs), max(epochs)], format="mjd")
    return [
        ("MJD-OBS", float(first.mjd), "earliest PS1 input"),
        ("MJD-END", float(last.mjd), "latest PS1 input"),
        ("MJD-AVG", float(np.mean(epochs)), "mean of the PS1 inputs"),
        ("DATE-OBS", first.isot, "earliest PS1 input"),
        ("DATE-END", last.isot, "latest PS1 input"),
    ]


def _bit_cards() -> fits.Header:
    """Return the names of the DQ bits."""
    from astropy.io import fits

    header = fits.Header()
    for k, bit in enumerate(DataQuality):
        header[f"DQNAM{k:02d}"] = (bit.name, "name of a DQ bit")
        header[f"DQVAL{k:02d}"] = (bit.value, "its value")
    return header


def _inputs_table(scene: dict[str, Any]) -> fits.BinTableHDU:
    """Return one row per skycell and band."""
    from astropy.io import fits

    names = ("SKYCELL", "BAND", "SOURCE", "DIGEST", "MJD_OBS", "EXPTIME", "STATE")
    rows = [
        (
            cell["name"],
            row["band"],
            row["source"].encode("ascii", "backslashreplace"),
            row["sha256"],
            np.nan if row["mjd_obs"] is None else row["mjd_obs"],
            np.nan if row["exptime_s"] is None else row["exptime_s"],
            row["state"],
        )
        for cell in scene["skycells"]
        for row in cell["bands"]
    ]
    # Bytes in one array as the file has them: astropy would convert columns of text twice.
    kinds = dict.fromkeys(names, "S") | {"MJD_OBS": ">f8", "EXPTIME": ">f8"}
    columns = {
        name: np.array([row[k] for row in rows], kind)
        for k, (name, kind) in enumerate(kinds.items())
    }
    # A column without rows has a width too.
    types = [(name, c.dtype if c.dtype.itemsize else "S1") for name, c in columns.items()]
    table = np.zeros(len(rows), types)
    for name, column in columns.items():
        table[name] = column
    return fits.BinTableHDU(table, name="INPUTS")
