"""Light in rings around a star: the median of each, subtracted while it is detected."""

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.compile import njit

__all__ = ["subtract_rings"]

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@njit(cache=True, nogil=True)
def subtract_rings(
    planes: NDArray[np.float32], rings: I64, corner: tuple[int, int], last: int
) -> None:
    """Subtract from each plane the median of each ring, less the level, until two are not seen.

    Parameters
    ----------
    planes : (p, ny, nx) float32
        Light; modified.
    rings : (my, mx) int64
        Number of each cell's ring in a patch of the planes; -1: takes no part.
    corner : tuple of int
        Row and column of the patch's first cell in the planes.
    last : int
        The last ring. The level is the median of it and the two before it, or zero where none of
        their cells takes part.

    Notes
    -----
    Rings 0 to ``last - 3`` are subtracted, where their median is above the level. Medians are those
    of numpy's `median`, halves of sums of two taken in single precision.
    """
    # Cells sorted by ring, by counting: how many each has, where each begins, then into place.
    first = np.zeros(last + 2, np.int64)
    for j in range(rings.shape[0]):
        for i in range(rings.shape[1]):
            if 0 <= rings[j, i] <= last:
                first[rings[j, i] + 1] += 1
    first = np.cumsum(first)
    cells = np.empty((first[-1], 2), np.int64)
    end = first[:-1].copy()
    for j in range(rings.shape[0]):
        for i in range(rings.shape[1]):
            ring = rings[j, i]
            if 0 <= ring <= last:
                cells[end[ring], 0], cells[end[ring], 1] = corner[0] + j, corner[1] + i
                end[ring] += 1
    values = np.empty(len(cells), np.float32)
    for plane in planes:
        # Light of a star falls outwards. Rings are gone through from the star on, until two in
        # turn are not above the level: what is bright beyond that is something else.
        level, fading = 0.0, 0
        far = first[max(0, last - 2)]
        if far < len(cells):
            level = _median(plane, cells[far:], values)
        for ring in range(last - 2):
            inside = cells[first[ring] : first[ring + 1]]
            if not len(inside):
                continue
            wing = _median(plane, inside, values) - level
            fading = 0 if wing > 0 else fading + 1
            if fading == 2:
                break
            if wing > 0:
                for k in range(len(inside)):
                    plane[inside[k, 0], inside[k, 1]] -= np.float32(wing)


@njit(cache=True, nogil=True)
def _median(plane: F32, cells: I64, values: F32) -> float:
    """Return the median of a plane at some cells, one at least; `values` is scratch."""
    count = len(cells)
    for k in range(count):
        values[k] = plane[cells[k, 0], cells[k, 1]]
    middle = count // 2
    upper = _nth(values, count, middle)
    if count % 2:
        return float(upper)
    # What is before the middle one now is no larger than it.
    lower = float(values[0])
    for k in range(1, middle):
        lower = max(lower, float(values[k]))
    return float(np.float32(lower + upper)) / 2


@njit(cache=True, nogil=True)
def _nth(values: F32, count: int, wanted: int) -> float:
    """Return the value of a rank, with no larger one before it and no smaller one behind it."""
    # Quickselect (Hoare 1961): after a turn, low..j is no larger than the pivot, i..high no
    # smaller; the wanted rank lies in one of them, or between them, where all equal the pivot.
    low, high = 0, count - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return float(values[wanted])
