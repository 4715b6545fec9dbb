"""The file of an FFI: where its bytes come from, and what its HDUs are."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import warnings
import zlib
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from syndiff.constants import FITS_BLOCK
from syndiff.errors import ArchiveUnavailableError, ObservationError, SkycellNotFoundError
from syndiff.ffi.header_cards import REMEDY, HeaderCards, card_value
from syndiff.layout import PART_ENDING
from syndiff.storage.place import Place
from syndiff.transport.addresses import is_address, name_at
from syndiff.transport.archive import locate
from syndiff.transport.attempt import ArchiveConfig, DeniedError
from syndiff.transport.partial import PartialFile, PartialStream, is_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from astropy.io.fits import Header
    from numpy.typing import NDArray

    from syndiff.transport.attempt import Download

__all__ = ["PATIENCE", "FfiFile", "place_of_rows", "telling_address", "unpacked", "walk"]


_UNPACKERS: dict[bytes, Callable[[Any], object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_STRANGERS = {
    b"PK\x03\x04": "a zip archive: unpack it and give the FITS file in it",
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it",
    b"\x1f\x9d": "packed by compress (.Z): unpack it",
    b"\x89HDF": "an HDF5 file",
    b"<": "a web page, as servers send instead of a file that they don't have or don't give",
}
"""What files begin with that are given for FITS files, and what they are."""

PATIENCE = ArchiveConfig(
    option="the address", advice="What is done is kept: run the same command again later"
)
"""How servers are asked for FFIs; their addresses are their own."""

_HELD_FILES = 8
"""FFIs from a server that are kept in memory, 36 MB each: header and pixels are read apart."""


@dataclass(frozen=True)
class FfiFile:
    """A FITS file on disk or at an address, as it is or compressed as a whole.

    Parameters
    ----------
    source : str
        A path, or an ``http://``, ``https://`` or ``s3://`` URL.
    content : bytes, optional
        What it holds, uncompressed, where that is kept in memory.
    """

    source: str
    content: bytes | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.source

    @property
    def name(self) -> str:
        """File name without folders."""
        name = name_at(self.source) if is_address(self.source) else Path(self.source).name
        return name.removesuffix(PART_ENDING)

    def sha256(self) -> str:
        """Return the digest of the file as it lies there.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        if is_part(self.source):
            return hashlib.sha256(Place.at(self.source).read()).hexdigest()
        if is_address(self.source):
            return _digest_at(self.source)
        with Path(self.source).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def loaded(self) -> FfiFile:
        """Return the file with its content in memory: it is opened once, however often it is read.

        Returns
        -------
        FfiFile
            The same file.

        Raises
        ------
        ObservationError
            If there is no such file, or it can't be uncompressed.
        """
        if is_part(self.source):
            return self
        with self._telling(), self.open() as stream:
            return replace(self, content=stream.read())

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell which file can't be read."""
        try:
            yield
        except EOFError as error:
            what = "its compressed stream (gzip, bzip2 or xz) has no end"
            raise _truncated(self.source, what) from error
        except (OSError, zlib.error, lzma.LZMAError) as error:
            raise ObservationError(f"{self.source} can't be read, {error}: {REMEDY}") from error

    def open(self) -> BinaryIO:
        """Open the FITS file, uncompressed.

        Returns
        -------
        BinaryIO
            To be closed by the caller.

        Raises
        ------
        ObservationError
            If there is no such file.
        """
        if self.content is not None:
            return io.BytesIO(self.content)
        if is_part(self.source):
            held = PartialFile.unpack(Place.at(self.source).read(), self.source)
            return cast("BinaryIO", PartialStream(held))
        if is_address(self.source):
            return unpacked(io.BytesIO(_fetch(self.source).octets))
        path = Path(self.source)
        if path.is_dir():
            raise ObservationError(f"{path} is a folder, not an FFI: {REMEDY}")
        if path.exists() and not path.is_file():
            raise ObservationError(f"{path} is not a file but a pipe or device: give a file")
        try:
            return unpacked(path.open("rb"), path)
        except FileNotFoundError:
            raise ObservationError(f"{path}: there is no such file: check the path") from None
        except PermissionError:
            raise ObservationError(f"{path} may not be read: check its permissions") from None

    def read_headers(self) -> tuple[list[Header], set[int]]:
        """Return the headers of every HDU, after walking over all of the file's data.

        A compressed file is inflated piece by piece, which also checks its sums; of a plain one
        only the headers and the last byte of each HDU's data are read.

        Returns
        -------
        list of Header
            Those of images in compressed tiles are the images' own, not their tables'.
        set of int
            Numbers of these.

        Raises
        ------
        ObservationError
            If the file is no FITS file, or not whole.
        """
        with self._telling(), self.open() as stream:
            headers, _, rest = walk(self.source, stream)
            tiled = {n for n, header in enumerate(headers) if card_value(header, "ZIMAGE") is True}
            if tiled:
                stream.seek(0)
                headers = _with_images_of(tiled, headers, stream)
        if rest and len(headers) <= _extensions(self.source, headers):
            raise _truncated(
                self.source,
                f"HDU {len(headers)} is no FITS extension and begins with {rest[:9]!r}",
            )
        return headers, tiled

    def read_plane(self, hdu: int, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Return the pixels of an image.

        Parameters
        ----------
        hdu : int
            Its number.
        shape : tuple[int, int]
            Rows and columns that it must have.

        Returns
        -------
        ndarray of float32
            In native byte order, the caller's own.

        Raises
        ------
        ObservationError
            If it can't be read or has another shape.
        """
        from astropy.io import fits

        if is_part(self.source):
            raise ObservationError(
                f"{self.source} holds some rows of {self.name} only: ask for a window within "
                "these, or give the whole FFI"
            )
        try:
            with warnings.catch_warnings(), self.open() as stream:
                # Of cards that mean nothing for these pixels; what spoils them raises.
                warnings.simplefilter("ignore")
                with fits.open(stream, memmap=False) as hdus:
                    data = hdus[hdu].data
        except ObservationError:
            raise
        except (*_UNREADABLE, fits.VerifyError) as error:
            raise ObservationError(
                f"{self.source}: HDU {hdu} can't be read, {error}: {REMEDY}"
            ) from error
        if data is None or data.shape != shape:
            raise ObservationError(
                f"{self.source}: HDU {hdu} has the shape {getattr(data, 'shape', None)}, it must "
                f"be {shape}: {REMEDY}"
            )
        return np.ascontiguousarray(data, dtype=np.float32)

    def read_rows(
        self, hdu: int, shape: tuple[int, int], first: int, end: int
    ) -> NDArray[np.float32]:
        """Return some rows of an image; of a plain file nothing else is read.

        Parameters
        ----------
        hdu : int
            Number of the image.
        shape : tuple[int, int]
            Rows and columns that it must have.
        first, end : int
            The first row and the one after the last.

        Returns
        -------
        (end - first, nx) ndarray of float32
            In native byte order, the caller's own.

        Raises
        ------
        ObservationError
            If they can't be read, or the image has another shape.
        """
        try:
            with self.open() as stream:
                headers, starts, _ = walk(self.source, stream)
                place = place_of_rows(headers[hdu], starts[hdu], shape, first, end)
                if place is not None:
                    stream.seek(place[0])
                    octets = stream.read(place[1] - place[0])
        except _UNREADABLE as error:
            raise ObservationError(
                f"{self.source}: rows {first} to {end - 1} of HDU {hdu} can't be read, {error}: "
                f"{REMEDY}"
            ) from error
        if place is None:
            return np.ascontiguousarray(self.read_plane(hdu, shape)[first:end])
        return np.frombuffer(octets, ">f4").astype(np.float32).reshape(end - first, shape[1])

    def rounding_step(self, hdu: int) -> float:
        """Return the largest step to which a compressed image's values were rounded.

        Parameters
        ----------
        hdu : int
            Number of an image in compressed tiles.

        Returns
        -------
        float
            In the image's unit; 0 where values are as they were.
        """
        from astropy.io import fits

        with (
            self.open() as stream,
            fits.open(stream, memmap=False, disable_image_compression=True) as hdus,
        ):
            table = hdus[hdu]
            if table.header["ZBITPIX"] > 0:
                return 0.0
            if "ZSCALE" in table.columns.names:
                return float(np.nanmax(table.data["ZSCALE"]))
            return float(table.header.get("ZSCALE", 0.0))


_UNREADABLE = (
    *(OSError, IndexError, EOFError, TypeError, ValueError, RuntimeError),
    *(zlib.error, lzma.LZMAError),
)
"""What astropy and its decoders raise for pixels that are damaged."""


def unpacked(raw: BinaryIO, path: Path | None = None) -> BinaryIO:
    """Return a stream of what a file holds.

    Parameters
    ----------
    raw : BinaryIO
        The file.
    path : Path, optional
        Where it lies.

    Returns
    -------
    BinaryIO
        The file itself if it isn't compressed.
    """
    start = raw.read(6)
    raw.seek(0)
    unpack = next((u for magic, u in _UNPACKERS.items() if start.startswith(magic)), None)
    if unpack is None:
        return raw
    if path is not None:
        # Given a path they close the file with the stream.
        raw.close()
    return cast("BinaryIO", unpack(path or raw))


def place_of_rows(
    header: Header, start: int, shape: tuple[int, int], first: int, end: int
) -> tuple[int, int] | None:
    """Return where rows of an image lie in its file.

    Parameters
    ----------
    header : Header
        The image's.
    start : int
        Where its data begin.
    shape : tuple[int, int]
        Rows and columns that it must have.
    first, end : int
        The first row and the one after the last.

    Returns
    -------
    (int, int) or None
        The first byte and the one after the last; None unless the image is of this shape and holds
        its values as they are, single floats.
    """
    is_plain = (
        card_value(header, "BITPIX") == -32
        and header.get("NAXIS") == 2
        and (header["NAXIS2"], header["NAXIS1"]) == shape
        and header.get("BSCALE", 1) == 1
        and header.get("BZERO", 0) == 0
        and str(header.get("XTENSION", "IMAGE")).strip() == "IMAGE"
    )
    row = 4 * shape[1]
    return (start + first * row, start + end * row) if is_plain else None


def walk(source: str, stream: BinaryIO) -> tuple[list[Header], list[int], bytes]:
    """Return the headers of a FITS file, after making sure that all data are there.

    Parameters
    ----------
    source : str
        What to call the file.
    stream : BinaryIO
        At its start.

    Returns
    -------
    headers : list of Header
        Of all HDUs.
    starts : list of int
        Where the data of each begin.
    rest : bytes
        What comes after the last HDU.

    Raises
    ------
    ObservationError
        If it is no FITS file, or not whole.
    """
    headers: list[Header] = []
    starts: list[int] = []
    while block := stream.read(FITS_BLOCK):
        if not block.startswith(b"XTENSION" if headers else b"SIMPLE  ="):
            break  # the standard allows anything after the last HDU
        header = _rest_of_header(source, stream, block)
        size = _data_size(source, header, len(headers))
        start = stream.tell()
        if size:
            if not _reaches(stream, start + size):
                raise _truncated(
                    source, f"HDU {len(headers)} has less than its {size} bytes of data"
                )
            stream.seek(start + -(-size // FITS_BLOCK) * FITS_BLOCK)
        headers.append(header)
        starts.append(start)
    while not isinstance(stream, PartialStream) and stream.read(1 << 20):
        pass
    if not headers:
        raise _no_fits_file(source, block)
    return headers, starts, block.rstrip(b"\0 ")


def _reaches(stream: BinaryIO, end: int) -> bool:
    """Tell whether a stream has so many bytes."""
    if isinstance(stream, PartialStream):
        return stream.size >= end
    stream.seek(end - 1)
    return bool(stream.read(1))


def _no_fits_file(source: str, block: bytes) -> ObservationError:
    begins = f"it begins with {block[:9]!r}" if block else "it is empty"
    known = (what for magic, what in _STRANGERS.items() if block.lstrip().startswith(magic))
    kind = next(known, "")
    return ObservationError(
        f"{source} is not a FITS file, {begins}{f' ({kind})' if kind else ''}: {REMEDY}"
    )


def _rest_of_header(source: str, stream: BinaryIO, block: bytes) -> Header:
    """Return the header that begins with `block`."""
    from astropy.io.fits import Header

    text = bytearray(block)
    while not any(block[i : i + 8] == b"END     " for i in range(0, len(block), 80)):
        block = stream.read(FITS_BLOCK)
        if len(block) < FITS_BLOCK:
            raise _truncated(source, "a header has no END")
        text += block
    try:
        return Header.fromstring(text.decode("ascii"))
    except UnicodeDecodeError as error:
        raise ObservationError(f"{source}: a header is no text, {error}: {REMEDY}") from error


def _data_size(source: str, header: Header, number: int) -> int:
    from astropy.io.fits import VerifyError

    try:
        return int(header.data_size)
    except (KeyError, TypeError, ValueError, VerifyError) as error:
        raise ObservationError(
            f"{source}: BITPIX and NAXIS of HDU {number} don't tell its size, {error}: {REMEDY}"
        ) from error


def _with_images_of(tiled: set[int], headers: list[Header], stream: BinaryIO) -> list[Header]:
    """Return headers with those of images in place of those of the tables that hold them."""
    from astropy.io import fits

    with warnings.catch_warnings(), fits.open(stream, memmap=False) as hdus:
        warnings.simplefilter("ignore")
        return [
            hdus[number].header if number in tiled else header
            for number, header in enumerate(headers)
        ]


def _extensions(source: str, headers: list[Header]) -> int:
    """Return the number of extensions that the file should have; 0 where it doesn't tell."""
    cards = HeaderCards(source, {0: headers[0]})
    return cards.integer("NEXTEND") if cards.get("NEXTEND") is not None else 0


def _truncated(source: str, what: str) -> ObservationError:
    return ObservationError(f"{source} is truncated, {what}: download it again")


@lru_cache(maxsize=_HELD_FILES)
def _fetch(url: str) -> Download:
    """Return a file from a server: once in every process, as long as it isn't crowded out."""
    archive, path = locate(url, PATIENCE)
    with telling_address(url):
        return archive.fetch(path, _as_it_came)


def _as_it_came(file: Download) -> Download:
    return file


@contextlib.contextmanager
def telling_address(url: str) -> Iterator[None]:
    """Say in words of FFIs that there is no file at an address, or that it is refused.

    Parameters
    ----------
    url : str
        The address.

    Raises
    ------
    ObservationError
        In place of what the archive raises then.
    """
    try:
        yield
    except SkycellNotFoundError:
        raise ObservationError(f"{url}: there is no such file (404): check the address") from None
    except ArchiveUnavailableError as error:
        if not isinstance(error.__cause__, DeniedError):
            raise
        raise ObservationError(
            f"{url}: access denied ({error.__cause__}): there is no such file, or it is not public "
            "and syndiff sends no credentials: check the address, or give a local copy"
        ) from error


@cache
def _digest_at(url: str) -> str:
    return _fetch(url).sha256
