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

SUM_TOLERANCE = 0.05
"""By how much the sum of the 13 x 13 pixels that see a star may depend on its place in a pixel.

At MAST by 0.4 % at most. What is not integrated over the pixel, or has a spike of a fifth of
its peak, differs by more.
"""

CORE_PX = 3.0
"""Within this distance of the star real responses have 0.92 to 0.96 of their light."""

CORE_SHARE = 0.5
"""Least part of the light within `CORE_PX`; an even image has 0.17."""

CENTRE_PX = 0.3
"""How far from the star's place the brightest pixel may be; at MAST 0.11 along an axis."""

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
        The files' source.

    Raises
    ------
    ResponseError
        If the arrays don't fit together, or a response can't be one (`check_samples`).
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
                "belongs to their grid: give another `prf_dir`"
            )
        if not ((np.diff(self.x) > 0).all() and (np.diff(self.y) > 0).all()):
            raise ResponseError(
                f"{self.source}: the grid's pixels are not in ascending order (x {self.x}, "
                f"y {self.y}): give another `prf_dir`"
            )
        for j, i in np.ndindex(wanted[:2]):
            check_samples(self.samples[j, i], f"{self.source} at pixel ({self.x[i]}, {self.y[j]})")

    @cached_property
    def digest(self) -> str:
        """Digest of the responses, independent of their source."""
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
        Its source, for messages.

    Raises
    ------
    ResponseError
        If a sample is not finite, negative samples weigh as much as a tenth of the sum, the pixels
        that see a star don't sum to the same wherever it is, or the light is not around it.
    """
    if samples.shape != (SIDE, SIDE):
        raise ResponseError(
            f"{source}: the image is {' x '.join(map(str, samples.shape))}, a pixel response is "
            f"{SIDE} x {SIDE}: give another `prf_dir`"
        )
    bad = int((~np.isfinite(samples)).sum())
    if bad:
        raise ResponseError(
            f"{source}: {bad} of {samples.size} samples are not finite: the file is damaged, get "
            "it again"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        total, negative = float(samples.sum()), float(-samples[samples < 0].sum())
    if not (total > 0 and negative < 0.1 * total):
        raise ResponseError(
            f"{source}: the samples sum to {total:g}, {-negative:g} of it negative: a pixel "
            "response is positive but for noise; get the file again"
        )
    _check_sums(samples, source)
    _check_place(samples, source)


def _check_sums(samples: NDArray[np.float64], source: str) -> None:
    """Raise unless the pixels that see a star sum to the same, wherever within a pixel it is."""
    shape = (SIDE // SAMPLES_PER_PX, SAMPLES_PER_PX)
    sums = (samples / samples.max()).reshape(shape + shape).sum(axis=(0, 2))
    sums /= sums.mean()
    if not np.abs(sums - 1).max() <= SUM_TOLERANCE:
        raise ResponseError(
            f"{source}: the 13 x 13 pixels that see a star sum to {sums.min():.3g} to "
            f"{sums.max():.3g} of their mean by its place within a pixel, at most "
            f"{SUM_TOLERANCE:g} from 1 is plausible: it is damaged or no pixel response of TESS"
        )


def _check_place(samples: NDArray[np.float64], source: str) -> None:
    """Raise unless the light is around the star's place."""
    from scipy.ndimage import uniform_filter

    u = (np.arange(SIDE) - SIDE // 2) / SAMPLES_PER_PX
    share = float(samples[np.hypot(u, u[:, None]) <= CORE_PX].sum() / samples.sum())
    if share < CORE_SHARE:
        raise ResponseError(
            f"{source}: {share:.2f} of the light is within {CORE_PX:g} px of the star, a pixel "
            f"response has {CORE_SHARE:g} or more: it is no pixel response of TESS"
        )
    smooth = uniform_filter(samples, SAMPLES_PER_PX, mode="constant")
    y, x = (u[k] for k in np.unravel_index(smooth.argmax(), smooth.shape))
    if max(abs(x), abs(y)) > CENTRE_PX:
        raise ResponseError(
            f"{source}: the response is centred {x:.2f}, {y:.2f} px (column, row) from the star, "
            f"at most {CENTRE_PX:g} is plausible: the file is damaged or not in MAST's form"
        )
