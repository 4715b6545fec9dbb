"""Full-frame images of a series as SPOC writes them, of which only the field need take up space."""

from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from syndiff.constants import DAY_S, FITS_BLOCK, FRAME_CYCLE_S
from syndiff.simulation.ffi import FFI_SHAPE, FfiConfig
from syndiff.simulation.ffi_header import DUTY, spoc_header, spoc_primary, utc
from syndiff.simulation.series.frames import Frames, frame_start
from syndiff.simulation.series.motion import moved_cards
from syndiff.window import Window

__all__ = ["frame_headers", "write_frame"]

F32 = NDArray[np.float32]


def frame_headers(ffi: FfiConfig, frames: Frames, n: int) -> tuple[fits.Header, ...]:
    """Return the headers of a frame: primary, image, uncertainty.

    Parameters
    ----------
    ffi : FfiConfig
        The reference.
    frames : Frames
        The series.
    n : int
        Which frame.

    Returns
    -------
    tuple of Header
        Whole headers but for what describes the data's shape.

    Notes
    -----
    As in real files, times in the primary header are the spacecraft's, those of the planes have
    the correction to the barycentre, BARYCORR, at the CCD's middle.
    """
    out = spoc_primary(ffi), spoc_header(ffi, "cal"), spoc_header(ffi, "uncert")
    start, stop = float(frames.start[n]), float(frames.stop[n])
    first, last = (float(value) for value in frames.barycorr[n])
    out[0].update(
        {
            "FFIINDEX": int(frames.index[n]),
            "SCCONFIG": int(str(frames.file[n]).split("-")[4]),
            **_times(start, stop),
        }
    )
    for header in out[1:]:
        _set_wcs(header, ffi, frames, n)
        header.update(_times(start + first, stop + last))
        header.update(_exposure(start, stop, float(frames.exposure_s[n])))
        header["BARYCORR"] = first
        header["DQUALITY"] = int(frames.quality[n])
    return out


def _times(start: float, stop: float) -> dict[str, float | str]:
    """Return begin and end as days and as dates."""
    return {
        "TSTART": start,
        "TSTOP": stop,
        "DATE-OBS": utc(frame_start(start)),
        "DATE-END": utc(frame_start(stop)),
    }


def _exposure(start: float, stop: float, exposure_s: float) -> dict[str, float | int]:
    """Return the cards about time on source."""
    length = timedelta(days=stop - start).total_seconds()
    return {
        "EXPOSURE": exposure_s / DAY_S,
        "TELAPSE": stop - start,
        "LIVETIME": exposure_s / DAY_S,
        "TIMEDEL": stop - start,
        "NUM_FRM": round(exposure_s / DUTY / FRAME_CYCLE_S),
        "NREADOUT": round(0.8 * min(length, exposure_s / DUTY) / FRAME_CYCLE_S),
    }


def _set_wcs(header: fits.Header, ffi: FfiConfig, frames: Frames, n: int) -> None:
    """Put the frame's WCS into a header, or take the WCS out."""
    cards = fits.Header.fromstring(ffi.wcs_cards, sep="\n")
    if str(frames.event[n]) == "no_wcs":
        for keyword in cards:
            header.remove(keyword, ignore_missing=True)
    else:
        header.update(moved_cards(cards, frames.header_shift[n], frames.matrix[n]))


def write_frame(
    path: Path, headers: tuple[fits.Header, ...], planes: tuple[F32, F32], window: Window
) -> None:
    """Write an FFI whose pixels outside a window are zero, and holes in the file.

    Parameters
    ----------
    path : Path
        The file, replaced if it is there.
    headers : tuple of Header
        Of `frame_headers`.
    planes : tuple of (ny, nx) float32
        Image and uncertainty over the window.
    window : Window
        Where they lie.
    """
    with path.open("wb") as file:
        primary = fits.PrimaryHDU(header=headers[0])
        primary.header["CHECKSUM"], primary.header["DATASUM"] = "0" * 16, "0"
        file.write(_with_checksum(primary.header, 0))
        for header, plane in zip(headers[1:], planes, strict=True):
            _write_plane(file, header, plane, window)


def _write_plane(file: BinaryIO, header: fits.Header, plane: F32, window: Window) -> None:
    """Append one image extension."""
    rows = np.zeros((plane.shape[0], FFI_SHAPE[1]), ">f4")
    rows[:, window.x0 : window.x1] = plane
    hdu = fits.ImageHDU(np.zeros((1, 1), np.float32), header)
    hdu.header["NAXIS1"], hdu.header["NAXIS2"] = FFI_SHAPE[1], FFI_SHAPE[0]
    total = _word_sum(rows.tobytes())
    hdu.header["CHECKSUM"], hdu.header["DATASUM"] = "0" * 16, str(total)
    file.write(_with_checksum(hdu.header, total))
    begin = file.tell()
    file.seek(begin + window.y0 * FFI_SHAPE[1] * 4)
    file.write(rows.tobytes())
    size = FFI_SHAPE[0] * FFI_SHAPE[1] * 4
    end = begin + -(-size // FITS_BLOCK) * FITS_BLOCK
    file.truncate(end)
    file.seek(end)


def _with_checksum(header: fits.Header, data_sum: int) -> bytes:
    """Return a header's bytes with its CHECKSUM, given the sum of its data."""
    text = header.tostring()
    total = _word_sum(text.encode("ascii"), data_sum)
    header["CHECKSUM"] = _encoded(total)
    return str(header.tostring()).encode("ascii")


def _word_sum(content: bytes, start: int = 0) -> int:
    """Return the ones' complement sum of 32-bit words (FITS standard, appendix J)."""
    total = start + int(np.frombuffer(content, ">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _encoded(total: int) -> str:
    """Return the 16 letters that bring a header's sum to minus zero (FITS standard, appendix J)."""
    out = [[0] * 4 for _ in range(4)]
    for i, byte in enumerate((~total & 0xFFFFFFFF).to_bytes(4, "big")):
        letters = [byte // 4 + ord("0")] * 4
        letters[0] += byte % 4
        while any(_is_punctuation(letter) for letter in letters):
            for j in (0, 2):
                if _is_punctuation(letters[j]) or _is_punctuation(letters[j + 1]):
                    letters[j] += 1
                    letters[j + 1] -= 1
        for j in range(4):
            out[j][i] = letters[j]
    text = "".join(chr(letter) for row in out for letter in row)
    return text[-1] + text[:-1]


def _is_punctuation(letter: int) -> bool:
    """Tell whether an ASCII code lies between digits and letters."""
    return 0x3A <= letter <= 0x40 or 0x5B <= letter <= 0x60
