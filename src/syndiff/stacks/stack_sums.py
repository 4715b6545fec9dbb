"""A skycell's stack planes summed in boxes of 0.5 arcsec, strip by strip."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.boxes import BoxSums, LeftOutBoxes, StripRows, sum_boxes
from syndiff.masks import StackMask
from syndiff.settings import Settings
from syndiff.stacks.plausible import PixelValues

__all__ = ["STRIP_ROWS", "BandPlanes", "BandSums", "StackPlane", "cells_over", "sum_strips"]

STRIP_ROWS = 64
"""Image rows taken at a time: three planes of a strip stay in the cache."""


class StackPlane(Protocol):
    """What the reduction asks of one plane of a stack; `stackfile.StackFile` has it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def exptime_s(self) -> float:
        """Exposure time of the stack, in seconds."""

    @property
    def mjd_obs(self) -> float | None:
        """Epoch of the stack, if its header has it."""

    def rows(self, j0: int, j1: int, out: NDArray[Any]) -> NDArray[Any]:
        """Set `out` to rows ``j0 <= j < j1``, and return it.

        It takes int16 DN (image, variance) or uint16 mask bits.
        """

    def value_table(self) -> NDArray[np.float32]:
        """Return the (65536,) value of each DN's bit pattern, NaN where it means no data."""


@dataclass(frozen=True)
class BandPlanes:
    """The three planes of one band.

    Parameters
    ----------
    image, variance, mask : StackPlane
        Of one shape.
    """

    image: StackPlane
    variance: StackPlane
    mask: StackPlane


@dataclass(frozen=True, eq=False)
class BandSums:
    """One band's boxes, and those of its left-out pixels.

    Parameters
    ----------
    boxes : BoxSums
        Sums over the whole skycell.
    left_out : list of LeftOutBoxes
        The boxes that hold left-out pixels, strip by strip.
    absurd : int
        Pixels whose value or variance can't be the survey's; blank in all the rest.
    """

    boxes: BoxSums
    left_out: list[LeftOutBoxes]
    absurd: int

    def left_out_boxes(self) -> LeftOutBoxes:
        """Return the boxes that hold left-out pixels.

        Returns
        -------
        LeftOutBoxes
            Row by row.
        """
        parts = [_room_aside((0, 0)), *self.left_out]
        return LeftOutBoxes._make(np.concatenate(part) for part in zip(*parts, strict=True))


_BLANK = np.uint16(StackMask.BLANK)


def cells_over(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Return how many cells cover an image.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of pixels.
    size : int
        Pixels along a cell's side.

    Returns
    -------
    tuple of int
        Rows and columns of cells; the last ones may reach beyond the image.
    """
    return -(-shape[0] // size), -(-shape[1] // size)


def sum_strips(
    planes: Mapping[str, BandPlanes], settings: Settings, strip_rows: int
) -> dict[str, BandSums]:
    """Read all planes front to back, band after band inside each strip, into boxes.

    Parameters
    ----------
    planes : mapping of str to BandPlanes
        At least one band; all planes of one shape.
    settings : Settings
        Which mask bits to leave out.
    strip_rows : int
        Rows taken at a time (an odd number is raised by one); the sums don't depend on it.

    Returns
    -------
    dict of str to BandSums
        The bands in the order of `planes`; they share one mask.
    """
    shape = next(iter(planes.values())).image.shape
    left_out = np.uint16(settings.left_out_bits)
    mask = np.zeros(cells_over(shape, 8), np.uint16)
    boxes = {band: _empty_sums(shape, mask) for band in planes}
    values = {
        band: PixelValues.of(trio.image.value_table(), trio.variance.value_table())
        for band, trio in planes.items()
    }
    found: dict[str, list[LeftOutBoxes]] = {band: [] for band in planes}
    absurd = dict.fromkeys(planes, 0)
    step = strip_rows + strip_rows % 2
    aside = _room_aside((min(step, shape[0]), shape[1]))
    # Allocating memory for every strip can take as long as decoding it.
    room = np.empty((3, min(step, shape[0]), shape[1]), np.uint16)
    for start in range(0, shape[0], step):
        image, variance, bits = room[:, : min(step, shape[0] - start)]
        stop = start + len(image)
        for band, trio in planes.items():
            trio.image.rows(start, stop, image.view(np.int16))
            trio.variance.rows(start, stop, variance.view(np.int16))
            trio.mask.rows(start, stop, bits)
            absurd[band] += values[band].blank_absurd(image, variance, bits)
            rows = StripRows(image, variance, bits, values[band].image, values[band].variance)
            count = sum_boxes(rows, start, _BLANK, left_out, boxes[band], aside)
            if count:
                found[band].append(LeftOutBoxes._make(part[:count].copy() for part in aside))
    return {band: BandSums(boxes[band], found[band], absurd[band]) for band in planes}


def _empty_sums(shape: tuple[int, int], mask: NDArray[np.uint16]) -> BoxSums:
    """Return one band's sums before the first strip."""
    return BoxSums(
        flux=np.zeros(cells_over(shape, 2), np.float32),
        counts=np.zeros(cells_over(shape, 2), np.uint8),
        variance=np.zeros(cells_over(shape, 4), np.float32),
        usable=np.zeros(cells_over(shape, 8), np.uint8),
        flagged=np.zeros(cells_over(shape, 32), np.uint16),
        mask=mask,
    )


def _room_aside(shape: tuple[int, int]) -> LeftOutBoxes:
    """Return room for all boxes of a strip; not set."""
    boxes = math.prod(cells_over(shape, 2))
    return LeftOutBoxes(
        row=np.empty(boxes, np.int32),
        column=np.empty(boxes, np.int32),
        flux=np.empty(boxes, np.float32),
        counts=np.empty(boxes, np.uint8),
    )
