"""What one frame tells, as a row of numbers; a store of rows, one object a frame."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from syndiff.storage.place import Place

__all__ = ["ROWS_FORMAT", "STAMP_PX", "RowStore", "row_type"]

ROWS_FORMAT = 1
"""Version of what a row holds; part of the digest of a store."""

STAMP_PX = 17
"""Side of the stamps around the target that each row keeps: frame, template, difference."""


def row_type(places: int, image: tuple[int, int] | None) -> np.dtype[np.void]:
    """Return the type of a frame's row.

    Parameters
    ----------
    places : int
        Places that are measured; the target is the first.
    image : (int, int), optional
        Rows and columns of the difference, if it is to be kept.

    Returns
    -------
    dtype
        Fields by name.
    """
    fields: list[Any] = [
        ("name", "S96"),
        ("reason", "S200"),
        ("start", "f8"),
        ("stop", "f8"),
        ("exposure", "f8"),
        *((name, "i8") for name in ("identity", "quality", "dead", "saturated")),
        *((name, "f8") for name in ("scale", "scale_error", "scatter")),
        ("shift", "f8", (2,)),
        ("shift_error", "f8", (2,)),
        ("widening", "f8", (3,)),
        ("widening_error", "f8", (3,)),
        ("place", "f8", (2,)),
        *((name, "f8") for name in ("background", "sky_noise")),
        *((name, "f8", (places,)) for name in ("flux", "noise", "error", "chi2", "worst")),
        ("stamps", "f4", (3, STAMP_PX, STAMP_PX)),
    ]
    if image is not None:
        fields.append(("difference", "f4", image))
    return np.dtype(fields)


@dataclass(frozen=True)
class RowStore:
    """Rows of one series on disk: a folder, one object a frame.

    A row counts once its object is whole: its CRC-32 ends it.

    Parameters
    ----------
    place : Place
        The folder.
    dtype : dtype
        Of `row_type`.
    """

    place: Place
    dtype: np.dtype[np.void]

    def write(self, name: str, row: NDArray[np.void]) -> None:
        """Write the row of one frame.

        Parameters
        ----------
        name : str
            The frame's.
        row : () structured array
            The row.

        Raises
        ------
        StorageError
            If it can't be written.
        """
        content = zlib.compress(row.tobytes(), 1)
        self._object(name).write(content + zlib.crc32(content).to_bytes(4, "little"))

    def read(self, names: Iterable[str]) -> dict[str, NDArray[np.void]]:
        """Return the rows that are there.

        Parameters
        ----------
        names : iterable of str
            Frames wanted.

        Returns
        -------
        dict
            Rows by name; those that were never written whole are missing.
        """
        held = {path for path, _ in self.place.walk()}
        found = {}
        for name in names:
            if f"{name}.row" in held:
                row = self._unpacked(self._object(name).read())
                if row is not None:
                    found[name] = row
        return found

    def _object(self, name: str) -> Place:
        return self.place / f"{name}.row"

    def _unpacked(self, content: bytes) -> NDArray[np.void] | None:
        packed, crc = content[:-4], content[-4:]
        if zlib.crc32(packed).to_bytes(4, "little") != crc:
            return None
        octets = zlib.decompress(packed)
        if len(octets) != self.dtype.itemsize:
            return None
        return cast("NDArray[np.void]", np.frombuffer(octets, self.dtype)[0])
