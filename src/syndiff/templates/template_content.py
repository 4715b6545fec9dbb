"""Checks of a file given as a template: decompressed, lossless, and a template at all."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import TYPE_CHECKING

from syndiff.errors import RenderingError

if TYPE_CHECKING:
    from astropy.io import fits

    from syndiff.storage.place import Place

__all__ = ["GZIP_MAGIC", "check_lossless", "refuse_other_product", "unpacked"]

GZIP_MAGIC = b"\x1f\x8b"


def unpacked(content: bytes, place: Place, size: int | None = None) -> bytes:
    """Return the bytes of a FITS file that may be gzipped.

    Parameters
    ----------
    content : bytes
        All of the file.
    place : Place
        Where it is, for messages.
    size : int, optional
        Bytes wanted from its start; None for all of them.

    Returns
    -------
    bytes
        As FITS has them.

    Raises
    ------
    RenderingError
        If it is no FITS file, or its gzip stream is damaged.
    """
    if content.startswith(GZIP_MAGIC):
        try:
            with gzip.open(io.BytesIO(content)) as stream:
                content = stream.read(-1 if size is None else size)
        except (OSError, EOFError, zlib.error) as error:
            raise RenderingError(
                f"{place} is a damaged gzip file ({error}): copy it again, or make it again"
            ) from error
    if not content.startswith(b"SIMPLE  ="):
        begins = f"it begins with {content[:9]!r}" if content else "it is empty"
        raise RenderingError(
            f"{place} is not a FITS file, {begins}: give a template of `syndiff downsample`, as it "
            "is, gzipped or compressed by fpack without loss"
        )
    return content


def check_lossless(hdus: fits.HDUList, content: bytes, place: Place) -> None:
    """Raise if fpack has rounded a plane.

    Parameters
    ----------
    hdus : HDUList
        The open file.
    content : bytes
        Its bytes.
    place : Place
        Where it is, for messages.

    Raises
    ------
    RenderingError
        The first such plane.
    """
    from astropy.io import fits

    if not any(isinstance(hdu, fits.CompImageHDU) for hdu in hdus):
        return
    with fits.open(io.BytesIO(content), disable_image_compression=True) as tables:
        for hdu in tables[1:]:
            if "ZSCALE" in hdu.columns.names if isinstance(hdu, fits.BinTableHDU) else False:
                raise RenderingError(
                    f"{place}: fpack has rounded {hdu.header.get('EXTNAME')}, by up to several "
                    "times its uncertainty: give the template itself, gzipped if you like, or "
                    "compress it by `fpack -g2 -q 0`, which keeps every digit"
                )


def refuse_other_product(hdus: fits.HDUList, lacking: str, place: Place) -> None:
    """Raise an error that says what a file is that is no template.

    Parameters
    ----------
    hdus : HDUList
        The open file.
    lacking : str
        Extension of a template that it hasn't.
    place : Place
        Where it is.

    Raises
    ------
    RenderingError
        Always.
    """
    first = hdus[0].header
    if first.get("PRODUCT") == "difference":
        raise RenderingError(
            f"{place} is a difference that syndiff made, no template: give the template "
            f"({first.get('TEMPLATE')} is its own)"
        )
    cards = [hdu.header for hdu in hdus[:2]]
    if first.get("SYNDIFF") is not True and any(c.get("TELESCOP") == "TESS" for c in cards):
        raise RenderingError(
            f"{place} is a file of TESS itself, no template: give FFIs first and the template last"
        )
    raise RenderingError(f"{place} has no extension {lacking}: it is no syndiff template")
