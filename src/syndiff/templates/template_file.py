"""Template FITS files: eight planes, the inputs, and a header with their provenance."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff import __version__, values
from syndiff.config import BAND_WEIGHTS, BANDS
from syndiff.constants import FITS_BLOCK, ZERO_POINT
from syndiff.errors import RenderingError
from syndiff.ffi.frame import Frame
from syndiff.kernels.planes import tally_pixels
from syndiff.layout import Detector
from syndiff.masks import DataQuality, format_bits
from syndiff.storage.fits_images import card_text, pack_hdus, packed_size
from syndiff.storage.place import Place
from syndiff.templates.template import MIN_COVERAGE, Template
from syndiff.templates.template_content import (
    GZIP_MAGIC,
    check_lossless,
    refuse_other_product,
    unpacked,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from astropy.io import fits
    from numpy.typing import NDArray

    from syndiff.scenes.metadata import ResponseRecord, SceneMetadata
    from syndiff.sky.displacement import Shift
    from syndiff.window import Window

__all__ = [
    "SIZE_CARD",
    "Followed",
    "TemplateRecord",
    "bit_cards",
    "inputs_table",
    "read_header",
    "read_template",
    "template_frame",
    "template_offset",
    "write_template",
]

_PLANES = (
    ("FLUX_SUM", "flux", np.float32, "0.36308 uJy"),
    ("COUNT", "count", np.int32, "pixel"),
    ("MASK", "mask", np.int32, "pixel"),
    ("UNCERT", "uncertainty", np.float32, "0.36308 uJy"),
    ("COVERAGE", "coverage", np.float32, ""),
    ("DQ", "quality", np.int32, ""),
    ("FAINT", "faint", np.float32, "0.36308 uJy"),
    ("FAINTERR", "faint_error", np.float32, "0.36308 uJy"),
)
"""Extension, attribute, type and unit; difference-imaging tools read the first three by place.

0.36308 uJy is the flux of AB magnitude 25: 3630.78 Jy x 10^-10 (Oke & Gunn 1983).
"""

_LATER = ("FAINT", "FAINTERR")
"""Planes that older templates lack, read as NaN."""

SIZE_CARD = "FILESIZE"

_STATES = (
    ("NREDUCED", "reduced"),
    ("NABSENT", "absent"),
    ("NFAILED", "failed"),
    ("NLIMITED", "limited"),
)

_SIP_TERM = re.compile(r"[AB]P?_(\d)_(\d)")

_HEADER_BYTES = 40 * FITS_BLOCK
"""More than a primary header takes."""


@dataclass(frozen=True)
class TemplateRecord:
    """The content of a template file's header and table of inputs.

    Parameters
    ----------
    frame : Frame
        The pixel grid of the FFI that the scene was made for, or of the one that is followed.
    window : Window
        FFI pixels of the template.
    offset : (float, float)
        (dx, dy) in TESS pixels; of a template that follows an FFI, the mean over the window.
    scene : SceneMetadata
        The scene's metadata, of the skycells under the template.
    oversample : int
        Samples per pixel and axis.
    followed : Followed, optional
        The FFI whose own pointing the template has.
    """

    frame: Frame
    window: Window
    offset: tuple[float, float]
    scene: SceneMetadata
    oversample: int = 1
    followed: Followed | None = None


@dataclass(frozen=True)
class Followed:
    """What a template's header records of the FFI that it follows.

    Parameters
    ----------
    name : str
        File name.
    date_obs, date_end : str
        Its start and end, UTC.
    btjd : float
        Its middle, in days since JD 2457000.
    quality : int
        Its DQUALITY.
    shift : Shift
        Its displacement from the scene's reference FFI.
    cards : tuple of (str, object, str)
        Further header cards.
    """

    name: str
    date_obs: str
    date_end: str
    btjd: float
    quality: int
    shift: Shift
    cards: tuple[tuple[str, float | int | str, str], ...] = ()

    def header_cards(self) -> Iterator[tuple[str, float | int | str, str]]:
        """Yield the cards.

        Yields
        ------
        (str, object, str)
            Keyword, value and comment.
        """
        yield (
            "FOLLOWS",
            card_text(self.name),
            "",
        )  # names of TICA's FFIs leave no room for a comment
        yield "FFIBEG", self.date_obs, "start of that FFI, UTC"
        yield "FFIEND", self.date_end, "its end, UTC"
        yield "FFIBTJD", self.btjd, "[d] its middle, JD - 2457000"
        yield "FFIQUAL", self.quality, "its DQUALITY"
        yield "SHIFTMAX", self.shift.largest_px, "[pix] largest shift along x or y"
        yield "SHIFTROL", self.shift.roll_arcsec, "[arcsec] rotation from +x to +y"
        yield "SHIFTSCL", self.shift.scale_ppm, "[1e-6] change of scale"
        yield from self.cards


def write_template(
    place: Place,
    template: Template,
    record: TemplateRecord,
    digest: str,
    *,
    inputs: fits.BinTableHDU | None = None,
) -> None:
    """Write a template file, completely or not at all.

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
    inputs : BinTableHDU, optional
        What `inputs_table` makes of ``record.scene``, for files that have it in common.

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
            header.extend(bit_cards(), end=True)
        hdus.append(fits.ImageHDU(plane, header=header, name=name))
    hdus.append(inputs_table(record.scene) if inputs is None else inputs)
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
    if content.startswith(GZIP_MAGIC):
        content = unpacked(place.read(), place, _HEADER_BYTES)
    if not content.startswith(b"SIMPLE  ="):
        raise RenderingError(f"{place} is not a FITS file: remove it or pass `overwrite`")
    header = fits.Header.fromstring(content)
    if header.get("SYNDIFF") is not True:
        raise RenderingError(
            f"{place} was not written by syndiff (SYNDIFF=T missing): move it away"
        )
    return header


def read_template(path: str | Path | Place) -> tuple[Template, fits.Header]:
    """Read a template file.

    Parameters
    ----------
    path : str, Path or Place
        The file: as it was written, gzipped, or compressed by fpack without loss.

    Returns
    -------
    template : Template
        The planes.
    header : Header
        The header of FLUX_SUM, with WCS and provenance.

    Raises
    ------
    ConfigError
        If it is no path.
    RenderingError
        If a plane is missing or has lost digits, or the file is cut short or damaged.
    StorageError
        If the file can't be read.

    Examples
    --------
    >>> import syndiff
    >>> ccd = syndiff.open(20, 3, 3, data_root="data")
    >>> path = ccd.around("14:23:37.7 +76:11:57.7", size=64).template().path
    >>> template, header = syndiff.read_template(path)
    >>> template.flux.dtype, header["PHOTZP"], header["PHOTSYS"]
    (dtype('float32'), 25.0, 'AB')
    """
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    place = path if isinstance(path, Place) else Place.at(values.place(path))
    content = unpacked(place.read(), place)
    try:
        with warnings.catch_warnings():
            # astropy only warns of wrong checksums, and of files that end too early.
            warnings.simplefilter("error", AstropyUserWarning)
            with fits.open(io.BytesIO(content), checksum=True) as hdus:
                check_lossless(hdus, content, place)
                return _read_planes(hdus, place), hdus["FLUX_SUM"].header.copy()
    except (OSError, TypeError, ValueError, AstropyUserWarning, fits.VerifyError) as error:
        raise RenderingError(
            f"{place} is no complete FITS file ({error}): remove it and make it again"
        ) from error


def _read_planes(hdus: fits.HDUList, place: Place) -> Template:
    """Return the planes of an open template file."""
    planes: dict[str, NDArray[Any]] = {}
    for name, attribute, dtype, _ in _PLANES:
        if name not in hdus and name in _LATER:
            planes[attribute] = np.full(planes["flux"].shape, np.nan, dtype)
            continue
        if name not in hdus:
            refuse_other_product(hdus, name, place)
        planes[attribute] = np.ascontiguousarray(hdus[name].data, dtype)
    return Template(**planes)


def _common_header(record: TemplateRecord) -> fits.Header:
    """Return WCS, identification and geometry, the same in every extension."""
    header = record.frame.header()
    (dx, dy), window = record.offset, record.window
    is_moved = record.followed is None
    header["CRPIX1"] += is_moved * dx - window.x0
    header["CRPIX2"] += is_moved * dy - window.y0
    _magnify(header, record.oversample)
    detector = record.frame.detector
    for key, value, comment in (
        ("SECTOR", detector.sector, "TESS sector"),
        ("CAMERA", detector.camera, "TESS camera"),
        ("CCD", detector.ccd, "TESS CCD"),
        ("TELESCOP", "TESS", "pixel grid of TESS, light from PS1"),
        ("INSTRUME", "TESS Photometer", "detector type"),
        ("SYNDIFF", True, "made by syndiff"),
        ("DX_SHIFT", dx, "[pix] shift of the sources in x"),
        ("DY_SHIFT", dy, "[pix] shift of the sources in y"),
        ("XMIN", window.x0, "first FFI column, 0-based"),
        ("XMAX", window.x1, "one past the last FFI column"),
        ("YMIN", window.y0, "first FFI row, 0-based"),
        ("YMAX", window.y1, "one past the last FFI row"),
        ("OVERSAMP", record.oversample, "samples per TESS pixel and axis"),
        ("PHOTZP", ZERO_POINT, "magnitude of flux 1"),
        ("PHOTSYS", "AB", "magnitude system"),
    ):
        header[key] = (value, comment)
    return header


def template_frame(header: fits.Header, shape: tuple[int, int], science: Window) -> Frame:
    """Return the pixel grid of the FFI that a template is made for.

    Parameters
    ----------
    header : Header
        Of FLUX_SUM.
    shape : (int, int)
        Rows and columns of the FFI.
    science : Window
        Its science pixels.

    Returns
    -------
    Frame
        The FFI that the template follows, or the one that the scene was made for: offset, window
        and samples are taken out of the WCS, to rounding.
    """
    own = header.copy()
    _magnify(own, 1 / header["OVERSAMP"])
    dx, dy = template_offset(header)
    own["CRPIX1"] += header["XMIN"] - dx
    own["CRPIX2"] += header["YMIN"] - dy
    detector = Detector(header["SECTOR"], header["CAMERA"], header["CCD"])
    return Frame.from_header(own, detector, shape, science)


def template_offset(header: fits.Header) -> tuple[float, float]:
    """Return the displacement of a template's sources from their positions by the FFI's WCS.

    Parameters
    ----------
    header : Header
        Of FLUX_SUM.

    Returns
    -------
    (float, float)
        (dx, dy) in pixels; zero for one that follows its FFI.
    """
    return (0.0, 0.0) if "FOLLOWS" in header else (header["DX_SHIFT"], header["DY_SHIFT"])


def _magnify(header: fits.Header, oversample: float) -> None:
    """Turn a WCS of pixels into that of samples: the middle of a pixel stays where it is.

    With U the offset from the reference pixel in samples and u = U/N in pixels, the polynomial's
    term c u^p v^q is N c (U/N)^p (V/N)^q in samples.
    """
    for key in ("CRPIX1", "CRPIX2"):
        header[key] = oversample * (header[key] - 0.5) + 0.5
    is_scaled = "CDELT1" in header
    linear = ("CDELT1", "CDELT2") if is_scaled else ("CD1_1", "CD1_2", "CD2_1", "CD2_2")
    for key in linear:
        header[key] /= oversample
    for key in header:
        if match := _SIP_TERM.fullmatch(key):
            header[key] /= float(oversample) ** (int(match[1]) + int(match[2]) - 1)


def _provenance(record: TemplateRecord, digest: str) -> fits.Header:
    """Return the provenance cards."""
    from astropy.io import fits

    scene = record.scene
    header = fits.Header()
    for key, value, comment in _time_cards(scene):
        header[key] = (value, comment)
    for key, value, comment in _response_cards(scene.response):
        header[key] = (value, comment)
    for k, (band, weight) in enumerate(zip(BANDS, BAND_WEIGHTS, strict=True), 1):
        header[f"BAND{k}"] = (band, "PS1 band")
        header[f"BANDW{k}"] = (weight, "its weight on flux")
    header["BACKGRND"] = (scene.settings.background, "what counts as light")
    diffuse = scene.settings.diffuse_arcsec
    header["DIFFUSE"] = (diffuse, "[arcsec] undetected light smoothed, 0: left out")
    bits = scene.reduction.ignore_mask_bits
    header["LEFTOUT"] = (format_bits(bits) or "none", "PS1 mask bits whose pixels are left out")
    header["MINCOVER"] = (MIN_COVERAGE, "coverage below which FLUX_SUM is NaN")
    for key, value, comment in _star_cards(record):
        header[key] = (value, comment)
    states = [row.state for row in scene.skycells]
    for key, state in _STATES:
        header[key] = (states.count(state), f"skycells: {state}")
    lacking = "failed" in states or "limited" in states
    header["PARTIAL"] = (lacking, "made although skycells failed or were left out")
    header["FFI"] = (scene.ffi, "reference FFI")
    header["SCENEDIG"] = (scene.sampled, "digest of the scene's tiles under it")
    if record.followed is not None:
        for key, value, comment in record.followed.header_cards():
            header[key] = (value, comment)
    header["SWVER"] = (f"syndiff {__version__}", "software")
    header["CFGDIG"] = (digest, "digest of inputs and configuration")
    for line in _history(scene, states):
        header["HISTORY"] = line
    return header


def _response_cards(response: ResponseRecord) -> list[tuple[str, object, str]]:
    """Return the cards of the pixel response."""
    if response.model == "gaussian":
        return [
            ("PSFMODEL", "gaussian", "response on top of PS1 seeing"),
            ("PSFSIGMA", response.sigma_px, "[PS1 pix of 0.25 arcsec] standard deviation"),
        ]
    return [
        ("PSFMODEL", "prf", "measured response, in place of PS1 seeing"),
        ("PRFSET", response.set, "prefix of its file names"),
        ("PRFDIR", card_text(response.source), "source of these files"),
        ("PRFDIG", response.digest, "digest of their content"),
        ("PRFCUT", response.cut, "[1/pix] its spectrum ends here"),
        ("PRFLOST", response.discarded, "part of its peak that is beyond"),
        ("PS1VAR", response.seeing_variance_px2, "[(0.25 arcsec)2] blur of PS1 taken out"),
    ]


def _history(scene: SceneMetadata, states: list[str]) -> Iterator[str]:
    """Yield a line for each stage."""
    summary = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    yield f"mapping: {scene.mapped} skycells touch the CCD or its margin"
    yield f"download: of those needed here, {summary}"
    yield f"process: background {scene.settings.background}, digest {scene.digest}"


def _coverage_cards(template: Template, record: TemplateRecord) -> fits.Header:
    """Return the parts of the science pixels that have a flux, and that carry each DQ bit."""
    from astropy.io import fits

    held = record.window.intersection(record.frame.science) or record.window
    n = record.oversample
    y, x = n * (held.y0 - record.window.y0), n * (held.x0 - record.window.x0)
    inside = y, y + n * held.shape[0], x, x + n * held.shape[1]
    pixels = np.zeros(2 * max(DataQuality), np.int64)
    finite = tally_pixels(template.flux, template.quality, inside, pixels)
    covered = finite / pixels.sum()
    header = fits.Header()
    header["COVERED"] = (round(float(covered), 6), "part of the science pixels that has a flux")
    for k, bit in enumerate(DataQuality):
        flagged = pixels[(np.arange(pixels.size) & bit) != 0].sum() / pixels.sum()
        header[f"DQF{k:02d}"] = (round(float(flagged), 6), f"part of them with {bit.name}")
    return header


def _star_cards(record: TemplateRecord) -> Iterator[tuple[str, object, str]]:
    """Yield the cards of the stars that replace those that PS1 saturates."""
    stars, (dx, dy) = record.scene.stars, record.offset
    yield "STARSRC", record.scene.settings.stars, "source of stars in place of saturated ones"
    if stars is None:
        return
    inside = [
        star.reason for star in stars.replaced if record.window.holds(star.x + dx, star.y + dy)
    ]
    yield "STARDIG", stars.digest, "digest of the star catalogue"
    yield "STAREPOC", stars.year, "[yr] epoch of their positions"
    yield "NSTARREP", len(inside) - inside.count("moved"), "stars in this window put back"
    yield "NSTARMOV", inside.count("moved"), "stars in this window moved"
    scales = [row.star_scale for row in record.scene.skycells if row.star_scale is not None]
    if scales:
        offsets = np.array([scale.offset_mag for scale in scales])
        errors = np.array([scale.error_mag for scale in scales])
        weights = 1 / np.maximum(errors, 1e-4) ** 2
        mean = float((weights * offsets).sum() / weights.sum())
        yield "STARZP", round(mean, 5), "[mag] AB less TESS, mean of the skycells"
        yield "STARZPER", round(float(np.median(errors)), 5), "[mag] its error in a skycell, median"
        yield "STARZPSC", round(float(offsets.std()), 5), "[mag] its scatter among skycells"
        scatter = float(np.median([scale.scatter_mag for scale in scales]))
        yield "STARSCAT", round(scatter, 5), "[mag] scatter of the stars about it"
        yield "STARNCAL", sum(scale.stars for scale in scales), "stars it was measured on"


def _time_cards(scene: SceneMetadata) -> list[tuple[str, object, str]]:
    """Return the epochs of the PS1 inputs."""
    from astropy.time import Time

    epochs = [
        row.mjd_obs for cell in scene.skycells for row in cell.bands if row.mjd_obs is not None
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


def bit_cards() -> fits.Header:
    """Return the names of the DQ bits, for the header of a DQ plane.

    Returns
    -------
    Header
        A pair of cards a bit.
    """
    from astropy.io import fits

    header = fits.Header()
    for k, bit in enumerate(DataQuality):
        header[f"DQNAM{k:02d}"] = (bit.name, "name of a DQ bit")
        header[f"DQVAL{k:02d}"] = (bit.value, "its value")
    return header


def inputs_table(scene: SceneMetadata) -> fits.BinTableHDU:
    """Return the table INPUTS of a template: one row per skycell and band.

    Parameters
    ----------
    scene : SceneMetadata
        Of the skycells under the template.

    Returns
    -------
    BinTableHDU
        The table.
    """
    from astropy.io import fits

    names = ("SKYCELL", "BAND", "SOURCE", "DIGEST", "MJD_OBS", "EXPTIME", "STATE")
    rows = [
        (
            cell.name,
            row.band,
            card_text(row.source),
            row.sha256,
            np.nan if row.mjd_obs is None else row.mjd_obs,
            np.nan if row.exptime_s is None else row.exptime_s,
            row.state,
        )
        for cell in scene.skycells
        for row in cell.bands
    ]
    # Bytes in one array as in the file: astropy would convert columns of text twice.
    kinds = dict.fromkeys(names, "S") | {"MJD_OBS": ">f8", "EXPTIME": ">f8"}
    columns = {
        name: np.array([row[k] for row in rows], kind)
        for k, (name, kind) in enumerate(kinds.items())
    }
    # A column needs a width even without rows.
    types = [(name, c.dtype if c.dtype.itemsize else "S1") for name, c in columns.items()]
    table = np.zeros(len(rows), types)
    for name, column in columns.items():
        table[name] = column
    return fits.BinTableHDU(table, name="INPUTS")
