"""One full-frame image (FFI) of TESS: what its header says, and its pixels on demand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from syndiff.constants import DAY_S, FRAME_S
from syndiff.errors import ConfigError, ObservationError
from syndiff.ffi.ffi_file import FfiFile
from syndiff.ffi.frame import Frame
from syndiff.ffi.header_cards import REMEDY, HeaderCards
from syndiff.ffi.planes import FFI_SHAPE, find_planes, kind_of_plane
from syndiff.ffi.wcs_cards import wcs_cards
from syndiff.layout import Detector
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from astropy.io.fits import Header
    from numpy.typing import NDArray

    from syndiff.ffi.planes import Planes

__all__ = ["Frame", "Observation", "estimate_uncertainty", "observe", "read_observation"]

BTJD_ZERO = 2457000
"""Julian date at which TESS's barycentric date (BTJD) and spacecraft date (TJD) begin."""

_BTJD_ZERO_UTC = datetime(2014, 12, 8, 12, tzinfo=UTC) - timedelta(seconds=69.184)
# JD 2457000 (TDB) less 32.184 s and the 37 leap seconds in force since 2017, before TESS's launch:
# so are SPOC's DATE-OBS and TSTART related.

_RATES = {"electrons/s", "electron/s", "e-/s", "e/s", "electrons s-1", "electron s-1", "e- s-1"}
_COUNTS = {"electrons", "electron", "e-"}
# Units of images, and how they are spelt.

_READ_NOISE_E = 10.0
# Read noise of a frame, 7 to 11 electrons: TESS Instrument Handbook.


@dataclass(frozen=True)
class Observation:
    """One FFI: where it is, its frame, and what its header says about it.

    Parameters
    ----------
    path : Path or str
        The file; its address where it isn't local.
    frame : Frame
        Its pixel grid.
    kind : {"SPOC", "TICA"}
        Which pipeline calibrated it.
    image_hdu : int
        Number of the HDU with the image: 1 for SPOC and 0 for TICA as MAST delivers them.
    date_obs, date_end : str
        Start and end as UTC calendar dates: the header's own, or reckoned from `tstart` and `tstop`
        where it has none (TICA).
    tstart, tstop : float
        Start and end in days since JD 2457000: barycentric (BTJD) for SPOC, at the spacecraft
        (TJD) for TICA, up to 8 minutes apart.
    exposure_s : float
        Time on source in seconds.
    quality : int
        Bits of SPOC's DQUALITY, 0 for a good image. TICA's flags are given the bits of the same
        meaning (it has had them since sector 67), and bit 8 (128, excluded by hand) where only
        QUAL_BIT is set.
    bunit : str
        Unit of the image: ``electrons/s`` for SPOC, ``electrons`` (in an exposure) for TICA.
    uncertainty_hdu : int or None
        Number of the HDU with its uncertainty; None where the file has none (TICA).
    barycorr_d : float or None
        Days that `tstart` and `tstop` are later than at the spacecraft, for the middle of the CCD;
        None where the header doesn't say.
    remarks : tuple of str
        What is unusual about the file and changes its pixels or their uncertainty.
    content : bytes, optional
        What the file holds, where that is kept in memory to read its pixels from.

    Examples
    --------
    >>> import syndiff
    >>> ffi = syndiff.read_observation("sky/tess2020011021200-s0020-3-3-0000-s_ffic.fits")
    >>> image = ffi.read_image()
    >>> image.shape == ffi.frame.shape, ffi.bunit
    (True, 'electrons/s')
    """

    path: Path | str
    frame: Frame
    kind: Literal["SPOC", "TICA"]
    image_hdu: int
    date_obs: str
    date_end: str
    tstart: float
    tstop: float
    exposure_s: float
    quality: int
    bunit: str
    uncertainty_hdu: int | None = None
    barycorr_d: float | None = None
    remarks: tuple[str, ...] = ()
    content: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """File name without folders."""
        return self._file.name

    @property
    def uncertainty_source(self) -> Literal["file", "estimated"]:
        """Where `read_uncertainty` has it from."""
        return "estimated" if self.uncertainty_hdu is None else "file"

    @property
    def tmid(self) -> float:
        """Middle of the exposure, in days since JD 2457000."""
        return (self.tstart + self.tstop) / 2

    @property
    def start_utc(self) -> datetime:
        """When the exposure began; at the spacecraft where the header has BARYCORR."""
        return _BTJD_ZERO_UTC + timedelta(days=self.tstart - (self.barycorr_d or 0.0))

    @property
    def epoch_year(self) -> float:
        """Middle of the exposure as a Julian epoch, to move stars to."""
        return 2000.0 + (BTJD_ZERO - 2451545.0 + self.tmid) / 365.25

    def read_image(self, window: Window | None = None) -> NDArray[np.float32]:
        """Return the image.

        Parameters
        ----------
        window : Window, optional
            The pixels wanted; None for all, collateral ones included.

        Returns
        -------
        (ny, nx) ndarray of float32
            In `bunit`, native byte order, the caller's own.

        Raises
        ------
        ObservationError
            If the file can't be read any more or has another shape.
        """
        return self._read(self.image_hdu, window)

    def _read(self, hdu: int, window: Window | None) -> NDArray[np.float32]:
        """Return the pixels of an image."""
        if window is None:
            return self._file.read_plane(hdu, self.frame.shape)
        rows = self._file.read_rows(hdu, self.frame.shape, window.y0, window.y1)
        return np.ascontiguousarray(rows[:, window.x0 : window.x1])

    def read_uncertainty(
        self, image: NDArray[np.float32] | None = None, window: Window | None = None
    ) -> NDArray[np.float32]:
        """Return the 1-sigma uncertainty of the image.

        Parameters
        ----------
        image : (ny, nx) ndarray, optional
            The image, if it has been read already: it is needed where the file has no uncertainty.
        window : Window, optional
            The pixels wanted; None for all.

        Returns
        -------
        (ny, nx) ndarray of float32
            In `bunit`, native byte order, the caller's own.

        Raises
        ------
        ObservationError
            If the file can't be read any more or has another shape.

        Notes
        -----
        An FFI without uncertainty (`uncertainty_source` is ``"estimated"``) is given the shot noise
        of the electrons counted and a read noise of 10 electrons in every frame of 1.98 s.
        """
        if self.uncertainty_hdu is not None:
            return self._read(self.uncertainty_hdu, window)
        found = self.read_image(window) if image is None else image
        return estimate_uncertainty(found, self.per_second(), self.exposure_s)

    def per_second(self) -> float:
        """Return what the image is multiplied by to be in electrons per second.

        Returns
        -------
        float
            1 for SPOC; for TICA, whose images are electrons in an exposure, the inverse of
            `exposure_s`.
        """
        return 1 / self.exposure_s if self.kind == "TICA" else 1.0

    def sha256(self) -> str:
        """Return the digest of the file.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        return self._file.sha256()

    @property
    def _file(self) -> FfiFile:
        return FfiFile(str(self.path), self.content)


def estimate_uncertainty(
    image: NDArray[np.float32], per_second: float, exposure_s: float
) -> NDArray[np.float32]:
    """Return the shot noise of an image and the read noise of its frames.

    Parameters
    ----------
    image : (ny, nx) ndarray
        In any unit.
    per_second : float
        What it is multiplied by to be in electrons per second.
    exposure_s : float
        Time on source in seconds.

    Returns
    -------
    (ny, nx) ndarray of float32
        One sigma, in the image's unit.
    """
    counted = per_second * exposure_s
    electrons = image * np.float32(counted)
    read_variance = np.float32(_READ_NOISE_E**2 * exposure_s / FRAME_S)
    sigma = np.sqrt(np.maximum(electrons, 0) + read_variance) / np.float32(counted)
    return np.asarray(sigma, np.float32)


def read_observation(path: str | Path, *, keep: bool = False) -> Observation:
    """Return what an FFI's headers say, after checking that the file is whole.

    Parameters
    ----------
    path : str or Path
        An FFI of SPOC or TICA: a file, or its ``https://`` or ``s3://`` address as a str; plain,
        gzipped, or compressed by fpack.
    keep : bool
        Keep the file's content in memory (36 MB), so that it isn't opened again for its pixels.

    Returns
    -------
    Observation
        The observation.

    Raises
    ------
    ObservationError
        If the file isn't a whole FFI, or its header lacks something, contradicts itself or the
        file's name, or holds a value that can't be used.
    ConfigError
        If the address can't be used.
    ArchiveUnavailableError
        If the server doesn't answer.

    Examples
    --------
    >>> import syndiff
    >>> ffi = syndiff.read_observation("sky/tess2020011021200-s0020-3-3-0000-s_ffic.fits")
    >>> ffi.kind, str(ffi.frame.detector), ffi.quality
    ('SPOC', 'sector 20 camera 3 ccd 3', 0)
    """
    return observe(FfiFile(str(path)).loaded() if keep else FfiFile(str(path)))


def observe(file: FfiFile) -> Observation:
    """Return what an FFI's headers say, after checking that the file is whole.

    Parameters
    ----------
    file : FfiFile
        An FFI of SPOC or TICA.

    Returns
    -------
    Observation
        The observation; no image is held.

    Raises
    ------
    ObservationError
        As `read_observation`.
    """
    headers, tiled = file.read_headers()
    planes = find_planes(file.source, headers)
    number = planes.image
    cards = HeaderCards(file.source, {number: headers[number], 0: headers[0]})
    dialect = _dialect(cards)
    _check_is_calibrated(cards, headers[number])
    detector = _identify(cards, file.name, dialect)
    image_cards = HeaderCards(file.source, {number: headers[number]})
    tstart, tstop = _times(cards, dialect)
    found = Observation(
        path=file.source if "://" in file.source else Path(file.source),
        frame=Frame(detector, FFI_SHAPE, dialect.science(cards), wcs_cards(image_cards)),
        kind=dialect.kind,
        image_hdu=number,
        uncertainty_hdu=planes.uncertainty,
        date_obs=_date(cards, "DATE-OBS", tstart),
        date_end=_date(cards, "DATE-END", tstop),
        tstart=tstart,
        tstop=tstop,
        exposure_s=_exposure(cards, dialect),
        quality=dialect.quality(cards, detector),
        bunit=_unit(cards, dialect),
        barycorr_d=cards.number("BARYCORR") if cards.get("BARYCORR") is not None else None,
        content=file.content,
    )
    step = file.rounding_step(number) if number in tiled else 0.0
    return replace(found, remarks=tuple(_remarks(found, planes, step)))


def _remarks(observation: Observation, planes: Planes, step: float) -> Iterator[str]:
    """Yield what is unusual about a file."""
    name = observation.name
    if step:
        yield (
            f"{name}: its pixels were rounded to steps of up to {step:.3g} {observation.bunit} to "
            "be compressed"
        )
    if not planes.is_named:
        yield (
            f"{name}: HDU {planes.uncertainty} is taken for the uncertainty, its header doesn't "
            "tell what it is"
        )


@dataclass(frozen=True)
class _Dialect:
    """How one pipeline writes its FFIs."""

    kind: Literal["SPOC", "TICA"]
    name_pattern: re.Pattern[str]
    camera: str
    ccd: str
    start: str
    stop: str
    time_zero: str
    exposure: str
    exposure_unit_s: float
    unit: str
    units: set[str]
    science: Callable[[HeaderCards], Window]
    quality: Callable[[HeaderCards, Detector], int]


def _spoc_science(cards: HeaderCards) -> Window:
    keywords = ("SCCSA", "SCCED", "SCIROWS", "SCIROWE")
    return _science_window(cards, ", ".join(keywords), [cards.integer(key) for key in keywords])


def _tica_science(cards: HeaderCards) -> Window:
    match = re.fullmatch(r"\[(\d+):(\d+),(\d+):(\d+)\]", cards.text("SCIPIXS"))
    if match is None:
        cards.fail("SCIPIXS", "'[first column:last column,first row:last row]', 1-based")
    return _science_window(cards, "SCIPIXS", [int(number) for number in match.groups()])


def _science_window(cards: HeaderCards, keywords: str, limits_1based: list[int]) -> Window:
    """Return the window between first and last column, first and last row."""
    first_x, last_x, first_y, last_y = limits_1based
    ny, nx = FFI_SHAPE
    if not (1 <= first_x <= last_x <= nx and 1 <= first_y <= last_y <= ny):
        raise ObservationError(
            f"{cards.source}: {keywords} give the science pixels [{first_x}:{last_x},"
            f"{first_y}:{last_y}]; they must lie in the array, [1:{nx},1:{ny}]: {REMEDY}"
        )
    return Window(first_x - 1, first_y - 1, last_x, last_y)


def _spoc_quality(cards: HeaderCards, _detector: Detector) -> int:
    return cards.integer("DQUALITY")


def _tica_quality(cards: HeaderCards, detector: Detector) -> int:
    excluded = cards.flag("QUAL_BIT")
    bits = (("COARSE", 4), ("RW_DESAT", 32), (f"STRAYLT{detector.camera}", 2048))
    known = sum(bit for key, bit in bits if cards.get(key) is not None and cards.flag(key))
    return known or (128 if excluded else 0)


_SPOC = _Dialect(
    kind="SPOC",
    name_pattern=re.compile(
        r"tess\d{10}(?:\d{3})?-s(?P<sector>\d{4})-(?P<camera>\d)-(?P<ccd>\d)-\d{4}-\w_ffi",
        re.IGNORECASE,
    ),
    camera="CAMERA",
    ccd="CCD",
    start="TSTART",
    stop="TSTOP",
    time_zero="BJDREFI",
    exposure="EXPOSURE",
    exposure_unit_s=float(DAY_S),
    unit="BUNIT",
    units=_RATES,
    science=_spoc_science,
    quality=_spoc_quality,
)

_TICA = _Dialect(
    kind="TICA",
    name_pattern=re.compile(
        r"tica_tess_ffi_s(?P<sector>\d{4})-(?:o\w+-)?\d+-cam(?P<camera>\d)-ccd(?P<ccd>\d)_",
        re.IGNORECASE,
    ),
    camera="CAMNUM",
    ccd="CCDNUM",
    start="STARTTJD",
    stop="ENDTJD",
    time_zero="TJD_ZERO",
    exposure="EXPTIME",
    exposure_unit_s=1.0,
    unit="UNITS",
    units=_COUNTS,
    science=_tica_science,
    quality=_tica_quality,
)


_TICA_ONLY = ("CAMNUM", "CCDNUM", "STARTTJD", "SCIPIXS")


def _dialect(cards: HeaderCards) -> _Dialect:
    """Return the dialect that an image's headers are written in."""
    return _TICA if any(cards.get(key) is not None for key in _TICA_ONLY) else _SPOC


def _check_is_calibrated(cards: HeaderCards, header: Header) -> None:
    """Raise for an image that says that it is something else, a raw one for example."""
    kind = kind_of_plane(header)
    if cards.get("IMAGTYPE") is not None and kind != "cal":
        cards.fail("IMAGTYPE", "'cal', a calibrated image")
    if kind == "raw":
        cards.fail("EXTNAME", "that of a calibrated image")


def _unit(cards: HeaderCards, dialect: _Dialect) -> str:
    """Return the image's unit."""
    unit = cards.text(dialect.unit)
    if unit.lower() not in dialect.units:
        cards.fail(dialect.unit, repr("electrons/s" if dialect is _SPOC else "electrons"))
    return unit


def _exposure(cards: HeaderCards, dialect: _Dialect) -> float:
    """Return the time on source in seconds."""
    exposure = cards.number(dialect.exposure)
    if exposure <= 0:
        cards.fail(dialect.exposure, "above 0")
    return exposure * dialect.exposure_unit_s


def _identify(cards: HeaderCards, name: str, dialect: _Dialect) -> Detector:
    """Return the detector on which the headers and the file's name agree."""
    matches = [known.name_pattern.search(name) for known in (_SPOC, _TICA)]
    named = next((match.groupdict() for match in matches if match), {})
    sector = _agreed(cards, "SECTOR", named.get("sector"), in_name_only=True)
    camera = _agreed(cards, dialect.camera, named.get("camera"))
    ccd = _agreed(cards, dialect.ccd, named.get("ccd"))
    try:
        return Detector(sector, camera, ccd)
    except ConfigError as error:
        raise ObservationError(
            f"{cards.source}: SECTOR, {dialect.camera}, {dialect.ccd} name no CCD of TESS, {error}:"
            f" {REMEDY}"
        ) from error


def _agreed(
    cards: HeaderCards, keyword: str, named: str | None, *, in_name_only: bool = False
) -> int:
    """Return the number that every header with `keyword` and the file's name give."""
    stated = cards.stated_integers(keyword)
    if not stated and (named is None or not in_name_only):
        where = " or the file's name, as MAST gives it (-s0020-3-3- in tess*-s_ffic.fits)"
        cards.fail(keyword, "in the header" + where * in_name_only)
    number = next(iter(stated.values())) if stated else int(cast("str", named))
    if named is not None:
        stated["the file's name"] = int(named)
    if any(value != number for value in stated.values()):
        said = ", ".join(f"{value} in {where}" for where, value in stated.items())
        raise ObservationError(
            f"{cards.source}: {keyword} is {said}: give the file its own name back, or download it "
            "again"
        )
    return number


def _times(cards: HeaderCards, dialect: _Dialect) -> tuple[float, float]:
    """Return start and end in days since `BTJD_ZERO`."""
    if cards.get(dialect.time_zero) not in {None, BTJD_ZERO}:
        cards.fail(dialect.time_zero, f"{BTJD_ZERO}, where TESS's dates begin")
    start, stop = cards.number(dialect.start), cards.number(dialect.stop)
    if stop <= start:
        cards.fail(dialect.stop, f"later than {dialect.start}, {start}")
    return start, stop


def _date(cards: HeaderCards, keyword: str, btjd: float) -> str:
    """Return the calendar date that the header gives, or the one that `btjd` is."""
    if cards.get(keyword) is not None:
        return cards.text(keyword)
    rounded = _BTJD_ZERO_UTC + timedelta(days=btjd, microseconds=500)
    return rounded.isoformat(timespec="milliseconds").replace("+00:00", "Z")
