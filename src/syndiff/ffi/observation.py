"""One full-frame image (FFI) of TESS: what its header says, and its pixels on demand."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

import numpy as np

from syndiff.errors import ConfigError, ObservationError
from syndiff.ffi.frame import Frame
from syndiff.ffi.header_cards import REMEDY, HeaderCards
from syndiff.ffi.wcs_cards import wcs_cards
from syndiff.layout import Detector
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from astropy.io.fits import Header
    from numpy.typing import NDArray

__all__ = ["Frame", "Observation", "read_observation"]

FFI_SHAPE = (2078, 2136)
"""Rows and columns of an FFI: 2048 x 2048 science pixels and the collateral ones around them."""

BTJD_ZERO = 2457000
"""Julian date at which TESS's barycentric date (BTJD) and spacecraft date (TJD) begin."""

_BTJD_ZERO_UTC = datetime(2014, 12, 8, 12, tzinfo=UTC) - timedelta(seconds=69.184)
# JD 2457000 (TDB) less 32.184 s and the 37 leap seconds in force since 2017, before TESS's launch:
# so are SPOC's DATE-OBS and TSTART related.

_BLOCK = 2880
# FITS headers and data are padded to it.


@dataclass(frozen=True)
class Observation:
    """One FFI: where it is, its frame, and what its header says about it.

    Parameters
    ----------
    path : Path
        The file.
    frame : Frame
        Its pixel grid.
    kind : {"SPOC", "TICA"}
        Which pipeline calibrated it.
    image_hdu : int
        Number of the HDU with the image: 1 for SPOC, 0 for TICA.
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
    """

    path: Path
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

    @property
    def tmid(self) -> float:
        """Middle of the exposure, in days since JD 2457000."""
        return (self.tstart + self.tstop) / 2

    @property
    def epoch_year(self) -> float:
        """Middle of the exposure as a Julian epoch, to move stars to."""
        return 2000.0 + (BTJD_ZERO - 2451545.0 + self.tmid) / 365.25

    def read_image(self) -> NDArray[np.float32]:
        """Return the image.

        Returns
        -------
        (ny, nx) ndarray of float32
            In `bunit`, native byte order, the caller's own; collateral pixels included.

        Raises
        ------
        ObservationError
            If the file can't be read any more or has another shape.
        """
        return self._read_plane(self.image_hdu)

    def read_uncertainty(self) -> NDArray[np.float32]:
        """Return the 1-sigma uncertainty of the image.

        Returns
        -------
        (ny, nx) ndarray of float32
            In `bunit`, native byte order, the caller's own.

        Raises
        ------
        ObservationError
            If the FFI has none (TICA), the file can't be read any more or has another shape.
        """
        if self.kind == "TICA":
            raise ObservationError(
                f"{self.path}: a TICA FFI has no uncertainty image: use the SPOC FFI of the same "
                "exposure"
            )
        return self._read_plane(self.image_hdu + 1)

    def per_second(self) -> float:
        """Return what the image is multiplied by to be in electrons per second.

        Returns
        -------
        float
            1 for SPOC; for TICA, whose images are electrons in an exposure, the inverse of
            `exposure_s`.
        """
        return 1 / self.exposure_s if self.kind == "TICA" else 1.0

    def _read_plane(self, hdu: int) -> NDArray[np.float32]:
        from astropy.io import fits

        try:
            with fits.open(self.path, memmap=False) as hdus:
                data = hdus[hdu].data
        except (OSError, IndexError, EOFError, ValueError, zlib.error) as error:
            raise ObservationError(
                f"{self.path}: HDU {hdu} can't be read, {error}: {REMEDY}"
            ) from error
        if data is None or data.shape != self.frame.shape:
            raise ObservationError(
                f"{self.path}: HDU {hdu} has the shape {getattr(data, 'shape', None)}, it must be "
                f"{self.frame.shape}: {REMEDY}"
            )
        return np.ascontiguousarray(data, dtype=np.float32)


def read_observation(path: str | Path) -> Observation:
    """Return what an FFI's headers say, after checking that the file is whole.

    Parameters
    ----------
    path : str or Path
        An FFI of SPOC or TICA, plain or gzipped.

    Returns
    -------
    Observation
        The observation; no image is held.

    Raises
    ------
    ObservationError
        If the file isn't a whole FFI, or its header lacks something, contradicts itself or the
        file's name, or holds a value that can't be used.
    """
    path = Path(path)
    headers = _read_headers(path)
    dialect = _TICA if headers[0].get("NAXIS") == 2 else _SPOC
    cards = _checked_cards(path, headers, dialect)
    detector = _identify(cards, path.name, dialect)
    image_cards = HeaderCards(str(path), {dialect.image_hdu: headers[dialect.image_hdu]})
    frame = Frame(detector, FFI_SHAPE, dialect.science(cards), wcs_cards(image_cards))
    tstart, tstop = _times(cards, dialect)
    return Observation(
        path=path,
        frame=frame,
        kind=dialect.kind,
        image_hdu=dialect.image_hdu,
        date_obs=_date(cards, "DATE-OBS", tstart),
        date_end=_date(cards, "DATE-END", tstop),
        tstart=tstart,
        tstop=tstop,
        exposure_s=cards.number(dialect.exposure) * dialect.exposure_unit_s,
        quality=dialect.quality(cards, detector),
        bunit=cards.text(dialect.unit),
    )


@dataclass(frozen=True)
class _Dialect:
    """How one pipeline writes its FFIs."""

    kind: Literal["SPOC", "TICA"]
    image_hdu: int
    name_pattern: re.Pattern[str]
    camera: str
    ccd: str
    start: str
    stop: str
    time_zero: str
    exposure: str
    exposure_unit_s: float
    unit: str
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
    image_hdu=1,
    name_pattern=re.compile(
        r"tess\d{10}(?:\d{3})?-s(?P<sector>\d{4})-(?P<camera>\d)-(?P<ccd>\d)-\d{4}-\w_ffi"
    ),
    camera="CAMERA",
    ccd="CCD",
    start="TSTART",
    stop="TSTOP",
    time_zero="BJDREFI",
    exposure="EXPOSURE",
    exposure_unit_s=86400.0,
    unit="BUNIT",
    science=_spoc_science,
    quality=_spoc_quality,
)

_TICA = _Dialect(
    kind="TICA",
    image_hdu=0,
    name_pattern=re.compile(
        r"tica_tess_ffi_s(?P<sector>\d{4})-(?:o\w+-)?\d+-cam(?P<camera>\d)-ccd(?P<ccd>\d)_"
    ),
    camera="CAMNUM",
    ccd="CCDNUM",
    start="STARTTJD",
    stop="ENDTJD",
    time_zero="TJD_ZERO",
    exposure="EXPTIME",
    exposure_unit_s=1.0,
    unit="UNITS",
    science=_tica_science,
    quality=_tica_quality,
)


def _checked_cards(path: Path, headers: list[Header], dialect: _Dialect) -> HeaderCards:
    """Return access to the image's header, then the primary one, once the image is an FFI's."""
    number = dialect.image_hdu
    if number >= len(headers) or headers[number].get("XTENSION", "IMAGE") != "IMAGE":
        raise ObservationError(
            f"{path}: there is no image in HDU 0 (TICA) or HDU 1 (SPOC): {REMEDY}"
        )
    cards = HeaderCards(str(path), {number: headers[number], 0: headers[0]})
    for keyword, needed in (("NAXIS", 2), ("NAXIS1", FFI_SHAPE[1]), ("NAXIS2", FFI_SHAPE[0])):
        if headers[number].get(keyword) != needed:
            cards.fail(keyword, f"{needed} (cutouts and trimmed images are not FFIs)")
    if cards.get("IMAGTYPE") not in {None, "cal"}:
        cards.fail("IMAGTYPE", "'cal', a calibrated image")
    return cards


def _identify(cards: HeaderCards, name: str, dialect: _Dialect) -> Detector:
    """Return the detector on which the headers and the file's name agree."""
    match = dialect.name_pattern.search(name)
    named = match.groupdict() if match else {}
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
    stated = cards.stated(keyword)
    if not stated and (named is None or not in_name_only):
        cards.fail(keyword, "in the header" + " or the file's name (-s0020-)" * in_name_only)
    number = cards.integer(keyword) if stated else int(cast("str", named))
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


def _read_headers(path: Path) -> list[Header]:
    """Return the headers of every HDU, after walking over all of the file's data.

    A gzipped file is inflated piece by piece, which also checks its CRC; of a plain one only the
    headers and the last byte of each HDU's data are read.
    """
    if path.is_dir():
        raise ObservationError(f"{path} is a folder, not an FFI: {REMEDY}")
    try:
        with _open(path) as stream:
            headers = _walk(path, stream)
    except FileNotFoundError:
        raise ObservationError(f"{path}: there is no such file: check the path") from None
    except EOFError as error:
        raise _truncated(path, "its gzip stream has no end") from error
    except (OSError, zlib.error) as error:
        raise ObservationError(f"{path} can't be read, {error}: {REMEDY}") from error
    cards = HeaderCards(str(path), {0: headers[0]})
    extensions = cards.integer("NEXTEND") if cards.get("NEXTEND") is not None else 0
    if len(headers) <= extensions:
        raise _truncated(path, f"NEXTEND is {extensions}, {len(headers) - 1} extensions are there")
    return headers


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    return cast("BinaryIO", gzip.open(path)) if packed else path.open("rb")


def _walk(path: Path, stream: BinaryIO) -> list[Header]:
    headers: list[Header] = []
    while block := stream.read(_BLOCK):
        if not block.startswith(b"XTENSION" if headers else b"SIMPLE  ="):
            break  # the standard allows anything after the last HDU
        header = _rest_of_header(path, stream, block)
        size = _data_size(path, header, len(headers))
        if size:
            start = stream.tell()
            stream.seek(start + size - 1)
            if not stream.read(1):
                raise _truncated(path, f"HDU {len(headers)} has less than its {size} bytes of data")
            stream.seek(start + -(-size // _BLOCK) * _BLOCK)
        headers.append(header)
    while stream.read(1 << 20):
        pass
    if not headers:
        begins = f"it begins with {block[:9]!r}" if block else "it is empty"
        raise ObservationError(f"{path} is not a FITS file, {begins}: {REMEDY}")
    return headers


def _rest_of_header(path: Path, stream: BinaryIO, block: bytes) -> Header:
    """Return the header that begins with `block`."""
    from astropy.io.fits import Header

    text = bytearray(block)
    while not any(block[i : i + 8] == b"END     " for i in range(0, len(block), 80)):
        block = stream.read(_BLOCK)
        if len(block) < _BLOCK:
            raise _truncated(path, "a header has no END")
        text += block
    try:
        return Header.fromstring(text.decode("ascii"))
    except UnicodeDecodeError as error:
        raise ObservationError(f"{path}: a header is no text, {error}: {REMEDY}") from error


def _data_size(path: Path, header: Header, number: int) -> int:
    from astropy.io.fits import VerifyError

    try:
        return int(header.data_size)
    except (KeyError, TypeError, ValueError, VerifyError) as error:
        raise ObservationError(
            f"{path}: BITPIX and NAXIS of HDU {number} don't tell its size, {error}: {REMEDY}"
        ) from error


def _truncated(path: Path, what: str) -> ObservationError:
    return ObservationError(f"{path} is truncated, {what}: download it again")
