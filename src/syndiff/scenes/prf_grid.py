"""TESS's pixel responses as measured: 25 images on a grid over the CCD, and their digest."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from syndiff.errors import ResponseError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SAMPLES_PER_PX", "SIDE", "PrfGrid"]

SAMPLES_PER_PX = 9
"""Samples of a response per TESS pixel and axis."""

SIDE = 13 * SAMPLES_PER_PX
"""Samples of a response along an axis; the middle one is the star's own place."""

_FIELDS = ("x", "y", "samples", "name", "source")


@dataclass(frozen=True, eq=False)
class PrfGrid:
    """The measured pixel responses of one CCD.

    Parameters
    ----------
    x, y : (nx,), (ny,) float64
        FFI pixels of the grid's nodes, 0-based, ascending.
    samples : (ny, nx, 117, 117) float64
        Sample i of an axis is what the pixel at s + (i - 58) / 9 records of a star at s; already
        integrated over the pixel; in any unit.
    name : str
        Which set, the stem of its files' names.
    source : str
        Where the files came from.

    Raises
    ------
    ResponseError
        If the arrays don't fit together, or a response is not finite and mostly positive.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    samples: NDArray[np.float64]
    name: str
    source: str

    def __post_init__(self) -> None:
        wanted = (len(self.y), len(self.x), SIDE, SIDE)
        if self.samples.shape != wanted:
            raise ResponseError(
                f"{self.source}: pixel responses have the shape {self.samples.shape}, {wanted} "
                "belongs to their grid: give another --prf-dir"
            )
        if not ((np.diff(self.x) > 0).all() and (np.diff(self.y) > 0).all()):
            raise ResponseError(
                f"{self.source}: the grid's pixels are not in ascending order (x {self.x}, "
                f"y {self.y}): give another --prf-dir"
            )
        for j, i in np.ndindex(wanted[:2]):
            check_samples(self.samples[j, i], f"{self.source} at pixel ({self.x[i]}, {self.y[j]})")

    @cached_property
    def digest(self) -> str:
        """Digest of what the responses are, wherever they came from."""
        content = hashlib.sha256()
        for part in (self.x, self.y, self.samples):
            content.update(np.ascontiguousarray(part, "<f8").tobytes())
        return content.hexdigest()[:16]

    def pack(self) -> bytes:
        """Return the grid as bytes.

        Returns
        -------
        bytes
            A NumPy ``.npz`` archive.
        """
        out = io.BytesIO()
        name, source = np.array(self.name), np.array(self.source)
        np.savez(out, x=self.x, y=self.y, samples=self.samples, name=name, source=source)
        return out.getvalue()

    @classmethod
    def unpack(cls, content: bytes, place: object) -> PrfGrid:
        """Return the grid that `pack` was given.

        Parameters
        ----------
        content : bytes
            What `pack` returned.
        place : object
            Where it is kept, for messages.

        Returns
        -------
        PrfGrid
            The grid.

        Raises
        ------
        ResponseError
            If the bytes are damaged.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as held:
                x, y, samples, name, source = (held[field] for field in _FIELDS)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ResponseError(
                f"{place} is damaged ({error}): remove it and run `syndiff process` again"
            ) from error
        return cls(x, y, samples, str(name), str(source))


def check_samples(samples: NDArray[np.float64], source: str) -> None:
    """Raise unless samples can be a pixel response.

    Parameters
    ----------
    samples : (117, 117) float64
        A response.
    source : str
        Where it came from, for messages.

    Raises
    ------
    ResponseError
        If a sample is not finite, the sum is not positive, or negative samples weigh as much as a
        tenth of it.
    """
    if samples.shape != (SIDE, SIDE):
        raise ResponseError(
            f"{source}: the image is {' x '.join(map(str, samples.shape))}, a pixel response is "
            f"{SIDE} x {SIDE}: give another --prf-dir"
        )
    bad = int((~np.isfinite(samples)).sum())
    if bad:
        raise ResponseError(
            f"{source}: {bad} of {samples.size} samples are not finite: the file is damaged, get "
            "it again"
        )
    total, negative = float(samples.sum()), float(-samples[samples < 0].sum())
    if not (total > 0 and negative < 0.1 * total):
        raise ResponseError(
            f"{source}: the samples sum to {total:g}, {-negative:g} of it negative: a pixel "
            "response is positive but for noise; get the file again"
        )
