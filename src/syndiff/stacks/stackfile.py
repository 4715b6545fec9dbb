"""One plane of a PS1 stack: checked on opening, decoded a few rows at a time."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from syndiff.stacks.fitstiles import Rows, find_image, open_rows
from syndiff.stacks.floats import code_values, is_coded
from syndiff.stacks.packed import unpack
from syndiff.stacks.stackheader import (
    BLANK,
    Expected,
    Plane,
    StackHeader,
    read_stackheader,
)

if TYPE_CHECKING:
    from syndiff.sky.tessellation import Skycell

__all__ = ["StackFile", "open_stackfile"]


@dataclass(frozen=True, eq=False)
class StackFile(StackHeader):
    """One plane of a skycell in one band: what its header says, and its rows.

    Made by `open_stackfile`, never directly. Reading holds no more than the rows asked for; the
    file's bytes are referred to, not copied.

    Parameters
    ----------
    plane, band, shape, exptime_s, mjd_obs, scaling, is_linear, contradictions
        As in `StackHeader`.
    stored : Rows
        Where raw rows come from.
    """

    stored: Rows = field(kw_only=True, repr=False)

    def rows(self, j0: int, j1: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Decode rows `j0` to `j1` (half-open).

        Parameters
        ----------
        j0, j1 : int
            Rows, 0-based: 0 <= j0 <= j1 <= ny.
        out : (j1 - j0, nx) array, optional
            Receives the rows; C-contiguous, of the dtype returned.

        Returns
        -------
        (j1 - j0, nx) array
            int16 DN of an image or variance plane (`BLANK` where there is no data), or uint16 bits
            of a mask; `out` where given.

        Raises
        ------
        CorruptDownloadError
            If a row can't be decoded; names the file and the row.
        ValueError
            If the rows or `out` don't fit the plane.
        """
        ny, nx = self.shape
        if not 0 <= j0 <= j1 <= ny:
            raise ValueError(f"rows {j0} to {j1} are not within 0 to {ny}")
        shape, dtype = (j1 - j0, nx), _dtype(self.plane)
        if out is None:
            out = np.empty(shape, dtype)
        elif out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
            raise ValueError(
                f"out is {out.dtype} of shape {out.shape}: give C-contiguous {dtype} of {shape}"
            )
        if j1 > j0:
            self.stored.read(j0, out)
        return out

    def value_table(self) -> NDArray[np.float32]:
        """Return the physical value of every DN.

        Returns
        -------
        (65536,) float32 array
            Indexed by ``DN.view(np.uint16)``: flux at AB zero point 25 (linear / EXPTIME) of an
            image, variance of that flux (linear / EXPTIME**2) of a variance plane; NaN at `BLANK`.
            A new array at each call.

        Raises
        ------
        ValueError
            If this is a mask.
        """
        if self.scaling is None:
            raise ValueError(f"a {self.plane} has bits, not values: there is no table of them")
        dn = np.arange(65536, dtype=np.uint16).view(np.int16)
        power = 1 if self.plane == "image" else 2
        table = (self.scaling.linear(dn) / self.exptime_s**power).astype(np.float32)
        table[BLANK] = np.nan
        return table


def open_stackfile(
    data: Any,  # noqa: ANN401
    *,
    source: str,
    plane: Plane,
    band: str,
    skycell: "Skycell",
    allow_mixed: bool = False,
) -> StackFile:
    """Check a plane file of a PS1 stack and make its rows readable.

    Parameters
    ----------
    data : bytes-like
        The whole file: anything with a buffer (bytes, memoryview, obstore's Bytes, mmap). It is
        kept, not copied, and must not change. The survey's own form is compressed by tiles; plain
        images, of 16 bits or anything else that holds the values, and gzip of all these are read
        too.
    source : str
        URL or path, for messages.
    plane : {"image", "variance", "mask"}
        Which of the three files of a band.
    band : str
        One letter.
    skycell : Skycell
        The pixel grid that the file must have.
    allow_mixed : bool
        Whether a variance or mask may say that it is of another skycell or band.

    Returns
    -------
    StackFile
        The plane.

    Raises
    ------
    CorruptDownloadError
        If it is not the file that it should be: not FITS, truncated, another skycell, another
        band, a keyword missing or out of range, rows outside the file. Names the source, the
        keyword, its value and what was expected.
    """
    image = find_image(unpack(data, source, skycell.nx * skycell.ny), source)
    image.check_whole()
    expected = Expected(source, plane, band, skycell, allow_mixed)
    if is_coded(image):
        cards, rows = image.cards, open_rows(image, plane)
    else:
        cards, values = code_values(image, expected)
        rows = _ArrayRows(values)
    return StackFile(**vars(read_stackheader(cards, expected)), stored=rows)


def _dtype(plane: Plane) -> "np.dtype[Any]":
    return np.dtype(np.uint16 if plane == "mask" else np.int16)


class _ArrayRows:
    """Rows of a plane whose values were coded anew."""

    def __init__(self, array: Any) -> None:  # noqa: ANN401
        self.array = array

    def read(self, j0: int, out: NDArray[Any]) -> None:
        """Copy the rows from `j0` on."""
        out[...] = self.array[j0 : j0 + len(out)]
