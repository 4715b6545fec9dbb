"""Stack files that are compressed as a whole: gzip is decompressed, other formats are refused."""

from collections.abc import Iterator
from typing import Any

from syndiff.errors import CorruptDownloadError, WrongFileError
from syndiff.stacks.fitstiles import find_image

__all__ = ["unpack"]

_GZIP = b"\x1f\x8b"
_PACKERS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x9d": "compress",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf": "7-Zip",
    _GZIP: "gzip a second time",
}
_GZIP_WBITS = 31
_PIECE_BYTES = 1 << 20
"""Unpacked at a time; the first must hold the image's header, and a real one has 17 kB."""

_TAIL_BYTES = 1 << 24
"""Most that may follow the image, read for gzip's own checksum only."""


def unpack(data: Any, source: str, pixels: int) -> Any:  # noqa: ANN401
    """Return a FITS file as it was before gzip.

    Parameters
    ----------
    data : bytes-like
        The file as it arrived.
    source : str
        URL or path, for messages.
    pixels : int
        Of the image that it must hold: what claims to be larger is not unpacked.

    Returns
    -------
    bytes-like
        `data` itself if it is FITS already, else the part up to the image's end.

    Raises
    ------
    CorruptDownloadError
        If it is neither FITS nor gzip, or gzip that is damaged, truncated or too large.
    """
    head = bytes(memoryview(data)[:512])
    if not head.startswith(_GZIP):
        _check_signature(head, source)
        return data
    from isal.isal_zlib import error as isal_error

    try:
        return _unpacked(_pieces(memoryview(data)), source, pixels)
    except EOFError as error:
        raise CorruptDownloadError(
            f"{source} is truncated: its {len(memoryview(data))} bytes of gzip end before the file "
            "in it does: fetch the file again"
        ) from error
    except isal_error as error:  # type: ignore[misc]  # the stub has a variable
        raise CorruptDownloadError(
            f"{source} is gzip that can't be unpacked ({error}): fetch the file again"
        ) from error


def _unpacked(pieces: Iterator[bytes], source: str, pixels: int) -> bytearray:
    """Return the file up to the end of its image, never more than the image may take."""
    content = bytearray()
    while len(content) < _PIECE_BYTES and (piece := next(pieces, b"")):
        content += piece
    _check_signature(bytes(content[:512]), source)
    image = find_image(bytes(content), source)
    most = _PIECE_BYTES + 8 * pixels
    if image.end > most:
        raise WrongFileError(
            f"{source}: its header demands {image.end} bytes, expected at most {most} for "
            f"{pixels} pixels: give the image of this skycell"
        )
    tail = 0
    # On to the end, where the checksum of what was read before is.
    for piece in pieces:
        room = max(image.end - len(content), 0)
        content += piece[:room]
        tail += len(piece[room:])
        if tail > _TAIL_BYTES:
            raise WrongFileError(
                f"{source}: its gzip stream continues for more than {_TAIL_BYTES >> 20} MB after "
                "the image, expected a stack file and no more: fetch the file again"
            )
    return content


def _pieces(data: memoryview) -> Iterator[bytes]:
    """Yield what gzip holds, a megabyte at a time, or all of a smaller file.

    Bytes that follow are left alone, unless they are gzip too.
    """
    from isal.isal_zlib import decompressobj

    while bytes(data[:2]) == _GZIP:
        unpacker = decompressobj(_GZIP_WBITS)
        first, left = 0, b""
        while not unpacker.eof:
            if not left:
                left = bytes(data[first : first + _PIECE_BYTES])
                first += len(left)
            piece = unpacker.decompress(left, _PIECE_BYTES)
            if not (left or piece or unpacker.eof):
                raise EOFError
            if piece:
                yield piece
            left = unpacker.unconsumed_tail
        data = data[first - len(unpacker.unused_data) :]


def _check_signature(head: bytes, source: str) -> None:
    """Raise unless a file begins as FITS does."""
    if head.startswith(b"SIMPLE  ="):
        return
    page = head.lstrip()
    if page.startswith(b"<"):
        raise CorruptDownloadError(
            f"{source} is an HTML page ({page[:40]!r}...), expected a FITS file: "
            "the archive may be down; try again later"
        )
    if not head:
        raise CorruptDownloadError(f"{source} is empty, expected a FITS file: fetch the file again")
    for magic, name in _PACKERS.items():
        if head.startswith(magic):
            raise WrongFileError(
                f"{source} is packed by {name}; plain FITS, tile-compressed FITS and gzip of them "
                "are read: unpack it"
            )
    raise CorruptDownloadError(
        f"{source} is not FITS: it begins with {head[:16]!r}, expected b'SIMPLE  =': "
        "fetch the file again"
    )
