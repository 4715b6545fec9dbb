"""Rows of a 16-bit FITS image that is held in memory, tile-compressed or not."""

import io
import math
import re
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NoReturn, Protocol

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from syndiff.constants import CARD_LENGTH, FITS_BLOCK
from syndiff.errors import CorruptDownloadError
from syndiff.stacks.cards import Cards

__all__ = ["Rows", "StoredImage", "find_image", "open_rows"]

_ANY = range(1 << 40)
_GZIP_WBITS = 31
_METHODS = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS")


class Rows(Protocol):
    """Where raw rows come from."""

    def read(self, j0: int, out: NDArray[Any]) -> None:
        """Fill `out` with rows.

        Parameters
        ----------
        j0 : int
            First row.
        out : (rows, nx) array
            Receives DN (int16) or true bits (uint16); C-contiguous, at least one row.

        Raises
        ------
        CorruptDownloadError
            If a row can't be decoded.
        """


@dataclass(frozen=True, eq=False)
class StoredImage:
    """The HDU of an image.

    Parameters
    ----------
    octets : (n,) uint8 array
        The whole file; read-only.
    cards : Cards
        The header, with checked answers.
    start, end : int
        First byte of the HDU's data, and the one after its last.
    index : int
        Number of the HDU.
    source : str
        URL or path, for messages.
    """

    octets: NDArray[np.uint8]
    cards: Cards
    start: int
    end: int
    index: int
    source: str

    def check_whole(self) -> None:
        """Check that the file doesn't end before the image does.

        Raises
        ------
        CorruptDownloadError
            If it does.
        """
        if self.end > self.octets.size:
            raise CorruptDownloadError(
                f"{self.source} is truncated: it has {self.octets.size} bytes, its headers demand "
                f"{self.end}: fetch the file again"
            )


def find_image(data: Any, source: str) -> StoredImage:  # noqa: ANN401
    """Find the image of a FITS file that is not packed as a whole.

    Parameters
    ----------
    data : bytes-like
        The file, or a beginning that holds the image's header; kept, not copied.
    source : str
        URL or path, for messages.

    Returns
    -------
    StoredImage
        Of the first HDU that is an image with pixels, compressed by tiles or not; its data may
        reach beyond the bytes given.

    Raises
    ------
    CorruptDownloadError
        If it is no FITS file, ends before or amid the image's header, or holds no image.
    """
    octets = np.frombuffer(data, np.uint8)
    # Writeable or not would be two types to the compiler.
    octets.flags.writeable = False
    end, index = 0, 0
    while end < octets.size:
        header, start = _read_header(octets, end, source)
        cards = Cards(header, source)
        end = start + _data_size(cards)
        if cards.get("ZIMAGE") is True or (end > start and "TFIELDS" not in cards.header):
            return StoredImage(octets, cards, start, end, index, source)
        index += 1
    if end > octets.size:
        raise CorruptDownloadError(
            f"{source} is truncated: it has {octets.size} bytes, its headers demand {end}: fetch "
            "the file again"
        )
    raise CorruptDownloadError(
        f"{source} ends after {octets.size} bytes without an image, expected one with two axes, "
        "compressed by tiles (ZIMAGE = T) or not: fetch the file again"
    )


def _read_header(octets: NDArray[np.uint8], start: int, source: str) -> tuple[fits.Header, int]:
    """Return the header that begins at `start` and where its data begin."""
    lines: list[str] = []
    for block in range(start, octets.size - FITS_BLOCK + 1, FITS_BLOCK):
        octets_of_block = octets[block : block + FITS_BLOCK].tobytes()
        text = octets_of_block.decode("latin-1")
        if not (text.isascii() and text.isprintable()):
            raise CorruptDownloadError(
                f"{source}: header block at byte {block} holds bytes that are not printable "
                "ASCII: fetch the file again"
            )
        cards = [text[i : i + CARD_LENGTH] for i in range(0, FITS_BLOCK, CARD_LENGTH)]
        ends = [card.rstrip() == "END" for card in cards]
        if any(ends):
            lines += cards[: ends.index(True)]
            return fits.Header.fromstring("".join(lines)), block + FITS_BLOCK
        lines += cards
    raise CorruptDownloadError(
        f"{source} is truncated: it has {octets.size} bytes and no END of the header that begins "
        f"at byte {start}: fetch the file again"
    )


def _data_size(cards: Cards) -> int:
    """Return the bytes of an HDU's data, padding included (FITS 4.0, equation 2)."""
    bits = abs(cards.integer("BITPIX", [8, 16, 32, 64, -32, -64]))
    axes = [
        cards.integer(f"NAXIS{i + 1}", _ANY) for i in range(cards.integer("NAXIS", range(1000)))
    ]
    if not axes:
        return 0
    pixels = cards.integer("PCOUNT", _ANY, 0) + math.prod(axes)
    size = bits // 8 * cards.integer("GCOUNT", _ANY, 1) * pixels
    return -(-size // FITS_BLOCK) * FITS_BLOCK


def open_rows(image: StoredImage, kind: Literal["image", "variance", "mask"]) -> Rows:
    """Choose how the rows of an image are decoded.

    Parameters
    ----------
    image : StoredImage
        An image of 16 bits and two axes.
    kind : {"image", "variance", "mask"}
        A mask's rows are unsigned (BZERO = 32768).

    Returns
    -------
    Rows
        A fast decoder for what the survey wrote (RICE_1 with BYTEPIX 2, or GZIP_1, one tile a
        row) and for rows that are not compressed, astropy's for anything else.

    Raises
    ------
    CorruptDownloadError
        If the compression is unknown or a row's bytes are not inside the file.
    """
    is_mask = kind == "mask"
    if image.cards.get("ZIMAGE") is not True:
        return _PlainRows(image, is_mask=is_mask)
    method = image.cards.get("ZCMPTYPE")
    if method not in _METHODS:
        # astropy would take it for RICE_1 with no more than a warning.
        image.cards.fail("ZCMPTYPE", " or ".join(_METHODS))
    blocksize = _rice_blocksize(image.cards) if method in {"RICE_1", "RICE_ONE"} else None
    if not _has_row_tiles(image.cards) or (method != "GZIP_1" and blocksize is None):
        return _AstropyRows(image, is_mask=is_mask)
    if blocksize is not None and not is_mask:
        return _RiceRows(image, *_descriptors(image), blocksize)
    if method == "GZIP_1":
        return _GzipRows(image, *_descriptors(image), is_mask=is_mask)
    return _AstropyRows(image, is_mask=is_mask)


def _rice_blocksize(cards: Cards) -> int | None:
    """Return the pixels per block; None where a pixel isn't two bytes."""
    values = {"BLOCKSIZE": 32, "BYTEPIX": 4}
    i = 1
    while (name := cards.get(f"ZNAME{i}")) is not None:
        if name in values:
            values[name] = cards.integer(f"ZVAL{i}", range(1, 1 << 31))
        i += 1
    return values["BLOCKSIZE"] if values["BYTEPIX"] == 2 else None


def _has_row_tiles(cards: Cards) -> bool:
    """Return whether each row is one tile, in the table's only column."""
    nx, ny = cards.get("ZNAXIS1"), cards.get("ZNAXIS2")
    form = re.fullmatch(r"1?([PQ])B(\(\d*\))?", str(cards.get("TFORM1")))
    return (
        form is not None
        and cards.get("TFIELDS") == 1
        and cards.get("TTYPE1") == "COMPRESSED_DATA"
        and cards.get("NAXIS1") == (8 if form[1] == "P" else 16)
        and cards.get("NAXIS2") == ny
        and cards.get("ZTILE1") in {None, nx}
        and cards.get("ZTILE2") in {None, 1}
    )


def _descriptors(image: StoredImage) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each row's bytes begin in the file, and how many they are."""
    cards = image.cards
    width, ny = cards.integer("NAXIS1", [8, 16]), cards.integer("NAXIS2", _ANY)
    table = image.octets[image.start : image.start + width * ny]
    pairs = table.view(">i4" if width == 8 else ">i8").reshape(ny, 2).astype(np.int64)
    lengths, offsets = pairs[:, 0].copy(), pairs[:, 1]
    gap = cards.integer("THEAP", range(width * ny, 1 << 40), width * ny)
    heap = cards.integer("PCOUNT", _ANY, 0) + width * ny - gap
    # Written so that no sum of hostile 64-bit values can overflow.
    wrong = (lengths < 1) | (lengths > heap) | (offsets < 0) | (offsets > heap - lengths)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise CorruptDownloadError(
            f"{image.source}: row {row} is said to have {lengths[row]} bytes at {offsets[row]}, "
            f"expected at least 1 byte within the heap's {heap}: fetch the file again"
        )
    return offsets + image.start + gap, lengths


def _fail(image: StoredImage, where: str, reason: object) -> NoReturn:
    raise CorruptDownloadError(
        f"{image.source}: {where} can't be decoded: {reason}: fetch the file again"
    ) from None


@dataclass(frozen=True, eq=False)
class _PlainRows:
    image: StoredImage
    is_mask: bool

    def read(self, j0: int, out: NDArray[Any]) -> None:
        from syndiff.kernels.bigendian import unpack_rows

        first = self.image.start + 2 * j0 * out.shape[1]
        words = self.image.octets[first : first + 2 * out.size].view(np.uint16).reshape(out.shape)
        sign = np.uint16(0x8000 if self.is_mask else 0)
        unpack_rows(words, np.arange(len(out)), sign, out.view(np.uint16))


@dataclass(frozen=True, eq=False)
class _RiceRows:
    image: StoredImage
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    blocksize: int

    def read(self, j0: int, out: NDArray[Any]) -> None:
        from syndiff.kernels.rice import decode_rows

        starts, lengths = self.starts[j0 : j0 + len(out)], self.lengths[j0 : j0 + len(out)]
        octets, origin = self._with_spare(int(starts.min()), int((starts + lengths).max()))
        bad = decode_rows(octets, starts - origin, lengths, self.blocksize, out)
        if bad >= 0:
            reason = f"its codes don't fill its {lengths[bad]} bytes"
            _fail(self.image, f"row {j0 + bad}", f"RICE_1: {reason}")

    def _with_spare(self, first: int, last: int) -> tuple[NDArray[np.uint8], int]:
        """Return bytes `first` to `last` with spare ones after them, and where they begin."""
        from syndiff.kernels.rice import SPARE_BYTES

        octets = self.image.octets
        if last + SPARE_BYTES <= octets.size:
            return octets, 0
        copy = np.zeros(last - first + SPARE_BYTES, np.uint8)
        copy[: last - first] = octets[first:last]
        copy.flags.writeable = False
        return copy, first


@dataclass(frozen=True, eq=False)
class _GzipRows:
    image: StoredImage
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    is_mask: bool

    def read(self, j0: int, out: NDArray[Any]) -> None:
        from syndiff.kernels.bigendian import unpack_rows

        octets = self.image.octets.data
        rows: dict[bytes, int] = {}
        index = np.empty(len(out), np.int64)
        inflated = []
        for k, j in enumerate(range(j0, j0 + len(out))):
            row = octets[self.starts[j] : self.starts[j] + self.lengths[j]].tobytes()
            # Every second row is like one before: without flags, or with those of a detector's gap.
            if row not in rows:
                rows[row] = len(rows)
                inflated.append(self._inflated(j, row, 2 * out.shape[1]))
            index[k] = rows[row]
        sign = np.uint16(0x8000 if self.is_mask else 0)
        words = np.frombuffer(b"".join(inflated), np.uint16).reshape(len(rows), out.shape[1])
        unpack_rows(words, index, sign, out.view(np.uint16))

    def _inflated(self, j: int, row: bytes, size: int) -> bytes:
        from isal import isal_zlib

        try:
            found = isal_zlib.decompress(row, _GZIP_WBITS, size)
        except isal_zlib.error as error:  # type: ignore[misc]  # the stub has a variable
            _fail(self.image, f"row {j}", f"GZIP_1: {error}")
        if len(found) != size:
            _fail(
                self.image,
                f"row {j}",
                f"GZIP_1: it inflates to {len(found)} bytes, expected {size}",
            )
        return found


@dataclass(frozen=True, eq=False)
class _AstropyRows:
    """Whatever else the FITS standard allows; slow."""

    image: StoredImage
    is_mask: bool

    def read(self, j0: int, out: NDArray[Any]) -> None:
        from astropy.io.fits.hdu.compressed._compression import CfitsioException

        j1 = j0 + len(out)
        try:
            dn = self._hdu.section[j0:j1, :]
        except (
            CfitsioException,
            EOFError,
            LookupError,
            OSError,
            RuntimeError,
            TypeError,
            ValueError,
            fits.VerifyError,
            zlib.error,
        ) as error:
            _fail(self.image, f"one of rows {j0} to {j1 - 1}", error)
        out[...] = dn.astype(np.int16, casting="equiv").view(out.dtype)
        if self.is_mask:
            out ^= np.uint16(0x8000)

    @cached_property
    def _hdu(self) -> fits.CompImageHDU:
        hdus = fits.open(io.BytesIO(self.image.octets.data), do_not_scale_image_data=True)
        return hdus[self.image.index]
