"""The truth of a series on disk: one FITS file, written and read here only."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from syndiff.errors import MissingInputError
from syndiff.simulation.series.exposures import Exposure
from syndiff.simulation.series.frames import Frames
from syndiff.simulation.series.objects import Objects
from syndiff.window import Window

__all__ = ["Components", "SeriesTruth", "read_truth", "write_truth"]

F32 = NDArray[np.float32]

_FORMAT = 1


@dataclass(frozen=True)
class Components:
    """What the frames of a field are made of, without noise.

    Parameters
    ----------
    sky, changing, background, cosmic : (n, ny, nx) float32
        Light of sources that don't change, of those that do, of none, and what particles left;
        e-/s.
    """

    sky: F32
    changing: F32
    background: F32
    cosmic: F32

    @classmethod
    def empty(cls, frames: int, shape: tuple[int, int]) -> "Components":
        """Return room for frames.

        Parameters
        ----------
        frames : int
            How many.
        shape : tuple of int
            Rows and columns of the field.

        Returns
        -------
        Components
            Zeros.
        """
        return cls(*(np.zeros((frames, *shape), np.float32) for _ in fields(cls)))

    def put(self, n: int, exposure: Exposure, rows: slice, columns: slice) -> None:
        """Keep the parts of one frame.

        Parameters
        ----------
        n : int
            Which frame.
        exposure : Exposure
            Its pixels.
        rows, columns : slice
            Where the field is in it.
        """
        for part in fields(self):
            getattr(self, part.name)[n] = getattr(exposure, part.name)[rows, columns]


@dataclass(frozen=True)
class SeriesTruth:
    """What a series truly holds.

    Parameters
    ----------
    field : Window
        FFI pixels of the components.
    centre : (float, float)
        Reference pixel of displacements (0-based x, y): a star that the reference WCS puts at p
        stands at ``p + shift + matrix @ (p - centre)``.
    frames : Frames
        Times, pointing, jitter, quality, events.
    objects : Objects
        Flux and place of what changes or moves.
    components : Components or None
        Images of what frames are made of, if they were kept.
    """

    field: Window
    centre: tuple[float, float]
    frames: Frames
    objects: Objects
    components: Components | None


def write_truth(truth: SeriesTruth, path: Path) -> None:
    """Write the file, replaced if it is there.

    Parameters
    ----------
    truth : SeriesTruth
        What it holds.
    path : Path
        The file.
    """
    primary = fits.PrimaryHDU()
    primary.header["FORMAT"] = (_FORMAT, "version of this file's format")
    for name in ("x0", "y0", "x1", "y1"):
        primary.header[name.upper()] = (getattr(truth.field, name), "field, FFI pixels from 0")
    primary.header["XREF"] = (truth.centre[0], "[px] reference pixel of displacements, from 0")
    primary.header["YREF"] = (truth.centre[1], "[px]")
    hdus = [primary, *_record_hdus("FRAMES", truth.frames), *_record_hdus("OBJECTS", truth.objects)]
    if truth.components is not None:
        hdus += _record_hdus("PARTS", truth.components)
    fits.HDUList(hdus).writeto(path, overwrite=True)


def _record_hdus(name: str, record: object) -> Iterator[fits.hdu.base.ExtensionHDU]:
    """Yield an image for each array of numbers and a table for each of words."""
    for part in fields(record):  # type: ignore[arg-type]  # always one of our dataclasses
        values = getattr(record, part.name)
        title = f"{name}.{part.name}".upper()
        if values.dtype.kind == "U":
            width = max(1, values.dtype.itemsize // 4)
            column = fits.Column("VALUE", f"{width}A", array=values)
            yield fits.BinTableHDU.from_columns([column], name=title)
        else:
            yield fits.ImageHDU(values, name=title)


def read_truth(path: Path) -> SeriesTruth:
    """Read the file.

    Parameters
    ----------
    path : Path
        What `write_truth` wrote.

    Returns
    -------
    SeriesTruth
        What it holds.

    Raises
    ------
    MissingInputError
        If it is not there or of another version.
    """
    if not path.is_file():
        raise MissingInputError(f"{path} is not there: simulate the series first")
    with fits.open(path, memmap=False) as hdus:
        header = hdus[0].header
        if header.get("FORMAT") != _FORMAT:
            raise MissingInputError(
                f"{path} has format {header.get('FORMAT')}, this version reads {_FORMAT}: simulate "
                "the series again"
            )
        has_parts = any(hdu.name.startswith("PARTS.") for hdu in hdus)
        return SeriesTruth(
            field=Window(*(header[name] for name in ("X0", "Y0", "X1", "Y1"))),
            centre=(header["XREF"], header["YREF"]),
            frames=Frames(**_arrays(hdus, "FRAMES", Frames)),
            objects=Objects(**_arrays(hdus, "OBJECTS", Objects)),
            components=Components(**_arrays(hdus, "PARTS", Components)) if has_parts else None,
        )


def _arrays(hdus: fits.HDUList, name: str, record: type) -> dict[str, np.ndarray]:
    """Return the arrays of a record by their names."""
    out = {}
    for part in fields(record):
        hdu = hdus[f"{name}.{part.name}".upper()]
        if isinstance(hdu, fits.BinTableHDU):
            out[part.name] = np.array(hdu.data["VALUE"], dtype=str)
        else:
            data = hdu.data
            out[part.name] = data.astype(data.dtype.newbyteorder("="))
    return out
