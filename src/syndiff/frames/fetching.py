"""FFIs from a server: of each what a region needs, fetched once, checked, and kept."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import threading
import warnings
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from syndiff.constants import FITS_BLOCK
from syndiff.errors import (
    ArchiveError,
    ArchiveUnavailableError,
    CorruptDownloadError,
    ObservationError,
    StorageError,
    WrongFileError,
)
from syndiff.ffi.dead_pixels import DeadPixel, find_dead
from syndiff.ffi.ffi_file import PATIENCE, FfiFile, place_of_rows, telling_address, unpacked, walk
from syndiff.ffi.header_cards import card_value
from syndiff.ffi.observation import observe
from syndiff.ffi.planes import FFI_SHAPE, find_planes
from syndiff.frames.region_frame import searched_window
from syndiff.transport.addresses import is_address, name_at
from syndiff.transport.archive import locate
from syndiff.transport.asking import connection_limit
from syndiff.transport.attempt import NoRangesError
from syndiff.transport.partial import PartialFile, PartialStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from syndiff.ffi.observation import Observation
    from syndiff.layout import Layout
    from syndiff.storage.place import Place
    from syndiff.transport.attempt import ArchiveConfig, Download
    from syndiff.window import Window

__all__ = ["FetchedFfi", "fetch_frames"]

logger = logging.getLogger(__name__)

_CHUNK = 8 * FITS_BLOCK
"""Bytes asked for to read a header: SPOC's HDUs have 2880 and 17,280."""

_WHOLE_FROM = 0.5
"""Part of an FFI's rows from which the whole FFI is fetched, and its sums are checked."""

_SILENT = 3
"""FFIs one after another that a server doesn't answer for until no more are asked for."""

_MOST_ABSURD = 0.1
"""Part of pixels or uncertainties of a kind that no FFI holds: of any bytes it is 0.44."""

_STAMP = re.compile(r"tess(\d{13})-s")
_MOST_OFF = timedelta(hours=1)
"""Names give the start to seconds, in the first sectors to minutes."""


@dataclass(frozen=True)
class FetchedFfi:
    """What became of one FFI.

    Parameters
    ----------
    source : str
        Its path or address.
    path : str
        The file to read it from; empty where it couldn't be had.
    fetched_bytes : int
        How much of it was fetched now.
    problem : str
        Why it couldn't be had.
    """

    source: str
    path: str
    fetched_bytes: int = 0
    problem: str = ""


@dataclass(frozen=True)
class _OpenFfi(FfiFile):
    """An FFI whose bytes come from elsewhere than its source."""

    opened: Callable[[], BinaryIO] = field(kw_only=True, compare=False)

    def open(self) -> BinaryIO:
        """Return a stream at the start of the FITS file."""
        return self.opened()


def fetch_frames(
    sources: Sequence[str],
    window: Window,
    layout: Layout,
    *,
    patience: ArchiveConfig = PATIENCE,
) -> Iterator[FetchedFfi]:
    """Yield files that hold a region of FFIs, after fetching what isn't there.

    Parameters
    ----------
    sources : sequence of str
        Paths, or ``https://`` and ``s3://`` addresses. Files on this machine are not copied.
    window : Window
        Science pixels wanted.
    layout : Layout
        Where FFIs of the CCD are kept, for all regions.
    patience : ArchiveConfig
        How servers are asked; its address doesn't count.

    Yields
    ------
    FetchedFfi
        In the order of `sources`; `read_frame` reads them. FFIs that can't be had come with the
        problem.

    Raises
    ------
    ArchiveUnavailableError
        If a server doesn't answer for three FFIs one after another. What came before is kept.
    ConfigError
        If an address can't be used, or the region doesn't lie in the science pixels.
    StorageError
        If what was fetched can't be written.

    Notes
    -----
    Of a plain FFI on a server that gives ranges of bytes only the headers and the rows of image and
    uncertainty that hold the region are asked for, and kept as they came, so that any other region
    in these rows needs nothing more, and other rows are added. Where the rows are more than half of
    the FFI, and from servers that only give whole files, the FFI is fetched whole.
    """
    remote = next((source for source in sources if is_address(source)), "")
    stop = threading.Event()

    def fetch(source: str) -> FetchedFfi:
        if stop.is_set():
            raise CancelledError
        return _fetch(source, window, layout, patience)

    silent = 0
    with ThreadPoolExecutor(connection_limit(remote, patience.connections)) as pool:
        jobs = [pool.submit(fetch, source) for source in sources]
        try:
            for source, job in zip(sources, jobs, strict=True):
                try:
                    found = job.result()
                except ArchiveUnavailableError as error:
                    silent += 1
                    if silent == _SILENT:
                        raise
                    found = FetchedFfi(source, "", problem=str(error))
                else:
                    silent = 0
                yield found
        finally:
            stop.set()
            for job in jobs:
                job.cancel()


def _fetch(source: str, window: Window, layout: Layout, patience: ArchiveConfig) -> FetchedFfi:
    """Return a file that holds a region of an FFI, or say why there is none."""
    if not is_address(source):
        return FetchedFfi(source, source)
    try:
        with telling_address(source):
            return _Fetching(source, window, layout, patience).run()
    except ArchiveUnavailableError:
        raise
    except (ArchiveError, ObservationError) as error:
        return FetchedFfi(source, "", problem=str(error))


class _Fetching:
    """One FFI of a server."""

    def __init__(
        self, source: str, window: Window, layout: Layout, patience: ArchiveConfig
    ) -> None:
        self._source = source
        self._window = window
        self._archive, self._path = locate(source, patience)
        self._whole = layout.kept_ffi(name_at(source))
        self._part = layout.kept_ffi_part(name_at(source))
        self._fetched = 0

    def run(self) -> FetchedFfi:
        """Return the file that holds the region."""
        if self._whole.exists():
            return self._result(self._whole)
        held = self._kept()
        try:
            found = self._archive.repeat(lambda: self._rows(held), self._path)
        except NoRangesError:
            return self._fetch_whole()
        if found != held:
            self._part.write(found.pack())
        return self._result(self._part)

    def _result(self, place: Place) -> FetchedFfi:
        return FetchedFfi(self._source, str(place), self._fetched)

    def _kept(self) -> PartialFile | None:
        """Return what is held of the FFI from earlier."""
        if not self._part.exists():
            return None
        try:
            return PartialFile.unpack(self._part.read(), str(self._part))
        except StorageError as error:
            logger.warning("%s", error)
            return None

    def _rows(self, held: PartialFile | None) -> PartialFile:
        """Return the FFI with the rows of the region; anew if what was kept is of another."""
        start = held or self._first()
        stream = PartialStream(start, self._archive, self._path, chunk=_CHUNK)
        try:
            self._read(stream)
        except CorruptDownloadError:
            if held is None:
                raise
            logger.warning("%s: what was kept of it is fetched again", self._source)
            stream = PartialStream(self._first(), self._archive, self._path, chunk=_CHUNK)
            self._read(stream)
        return stream.held

    def _first(self) -> PartialFile:
        """Return the FFI's first bytes."""
        part = self._archive.fetch_range(self._path, 0, _CHUNK)
        self._fetched += len(part.octets)
        return PartialFile.beginning(self._source, part)

    def _read(self, stream: PartialStream) -> None:
        """Have headers and rows of the region come, and check them."""
        before = stream.fetched_bytes
        try:
            self._check_is_plain(stream)
            file = _OpenFfi(self._source, opened=lambda: cast("BinaryIO", stream))
            with _wrong_file():
                observation = observe(file)
                _check_hour(observation)
                self._check_rows(file, observation)
        finally:
            self._fetched += stream.fetched_bytes - before

    def _check_is_plain(self, stream: PartialStream) -> None:
        """Raise NoRangesError for a file whose rows can't be told from its headers."""
        head = stream.held.read(0, 9)
        if not head.startswith(b"SIMPLE"):
            raise NoRangesError(self._source)
        with _wrong_file(), stream:
            headers, starts, _ = walk(self._source, cast("BinaryIO", stream))
            if any(card_value(header, "ZIMAGE") is True for header in headers):
                raise NoRangesError(self._source)
            planes = find_planes(self._source, headers)
        for n in (planes.image, planes.uncertainty):
            if n is not None and place_of_rows(headers[n], starts[n], FFI_SHAPE, 0, 1) is None:
                raise NoRangesError(self._source)

    def _check_rows(self, file: FfiFile, observation: Observation) -> None:
        """Raise unless the rows of the region hold what an FFI can hold."""
        searched = searched_window(observation.frame.science, self._window)
        shape = observation.frame.shape
        if searched.shape[0] > _WHOLE_FROM * shape[0]:
            raise NoRangesError(self._source)
        numbers = [observation.image_hdu, observation.uncertainty_hdu]
        image, *sigma = (
            file.read_rows(number, shape, searched.y0, searched.y1)
            for number in numbers
            if number is not None
        )
        columns = slice(searched.x0, searched.x1)
        # Bytes that are something else may be any float.
        with np.errstate(all="ignore"):
            codes = find_dead(image[:, columns] * np.float32(observation.per_second()))
            absurd = float((codes == DeadPixel.ABSURD).mean())
            negative = max((float((plane[:, columns] < 0).mean()) for plane in sigma), default=0.0)
        if max(absurd, negative) > _MOST_ABSURD:
            raise CorruptDownloadError(
                f"{self._source}: the rows {searched.y0} to {searched.y1 - 1} came with "
                f"{absurd:.0%} of pixels beyond what a pixel can hold and {negative:.0%} of "
                "uncertainties below zero: they are not the FFI's"
            )

    def _fetch_whole(self) -> FetchedFfi:
        """Fetch the whole FFI, check its sums, and keep it."""
        octets = self._archive.fetch(self._path, self._accept_whole)
        self._fetched += len(octets)
        self._whole.write(octets)
        return self._result(self._whole)

    def _accept_whole(self, file: Download) -> memoryview:
        whole = _OpenFfi(self._source, opened=lambda: unpacked(io.BytesIO(file.octets)))
        with _wrong_file():
            observation = observe(whole)
            _check_hour(observation)
            searched_window(observation.frame.science, self._window)
            _check_sums(whole)
        return file.octets


@contextlib.contextmanager
def _wrong_file() -> Iterator[None]:
    """Let what isn't the FFI that it should be be asked for once more."""
    try:
        yield
    except ObservationError as error:
        raise WrongFileError(str(error)) from error


def _check_hour(observation: Observation) -> None:
    """Raise if an FFI was taken at another time than SPOC's name of it says."""
    named = _STAMP.match(observation.name)
    if named is None:
        return
    stamp = datetime.strptime(named[1], "%Y%j%H%M%S").replace(tzinfo=UTC)
    if abs(observation.start_utc - stamp) > _MOST_OFF:
        raise ObservationError(
            f"{observation.name}: its header says that it begins "
            f"{observation.start_utc:%Y-%m-%d %H:%M:%S}: it is another FFI than its name says"
        )


def _check_sums(file: FfiFile) -> None:
    """Raise if CHECKSUM or DATASUM, where a whole file has them, are not those of its content."""
    from astropy.io import fits

    with warnings.catch_warnings(record=True) as told, file.open() as stream:
        warnings.simplefilter("always")
        with fits.open(stream, memmap=False, checksum=True, disable_image_compression=True) as hdus:
            hdus.readall()
    wrong = [str(one.message).strip() for one in told if "verification failed" in str(one.message)]
    if wrong:
        raise CorruptDownloadError(f"{file}: {'; '.join(wrong)} (CHECKSUM, DATASUM)")
