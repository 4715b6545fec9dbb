"""The drift of a field from FFI to FFI, and a few offsets that serve many FFIs."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from syndiff.config import MAX_OFFSET_PX
from syndiff.errors import ConfigError, GeometryError
from syndiff.masks import format_quality
from syndiff.sky.displacement import displacement_between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syndiff.ffi.frame import Frame
    from syndiff.pointing.following import Candidate
    from syndiff.sky.displacement import Displacement, Shift
    from syndiff.window import Window

__all__ = ["Drift", "DriftRow", "find_drift", "group_offsets"]

FloatArray = NDArray[np.float64]

_SPACING_PX = 64
# The error is 6e-5 px for FFIs that are 2 px apart, and takes 2 ms an FFI.
_FIELD_NODES = 9
_GRID_PER_TOLERANCE = 2
_DECIMALS = 3
# As file names of templates carry offsets.


@dataclass(frozen=True)
class DriftRow:
    """One FFI.

    Parameters
    ----------
    ffi : str
        File name.
    date_obs : str
        Start, UTC; empty where it can't be read.
    btjd : float
        Middle in days since JD 2457000; NaN where it can't be read.
    quality : int
        DQUALITY.
    shift : Shift or None
        Against the reference FFI; None if the FFI's pointing is unknown.
    group : int
        Index of the offset that serves it; -1 if none does.
    worst_px : float
        Largest distance, along x or y, of that offset from the field; NaN without one.
    note : str
        Why there is no shift or no offset, and how many pixels are dead.
    """

    ffi: str
    date_obs: str
    btjd: float
    quality: int
    shift: Shift | None
    group: int
    worst_px: float
    note: str


@dataclass(frozen=True)
class Drift:
    """The drift of a field.

    Parameters
    ----------
    detector : str
        Sector, camera and CCD.
    reference : str
        File name of the FFI that shifts are counted from.
    tolerance_px : float
        How far an offset may be from the field of an FFI that it serves.
    rows : tuple of DriftRow
        FFIs in the order given.
    offsets : tuple of (float, float)
        Offsets, each for a group of FFIs, the largest group first.
    """

    detector: str
    reference: str
    tolerance_px: float
    rows: tuple[DriftRow, ...]
    offsets: tuple[tuple[float, float], ...]

    @property
    def offset_array(self) -> str:
        """As the setting `offsets` takes them."""
        return ",".join(f"{value:.3f}" for offset in self.offsets for value in offset)

    @property
    def notes(self) -> tuple[str, ...]:
        """Each FFI's note with its name, those of FFIs without a shift first."""
        noted = sorted((row for row in self.rows if row.note), key=lambda row: bool(row.shift))
        return tuple(row.note if row.ffi in row.note else f"{row.ffi}: {row.note}" for row in noted)

    def table(self) -> bytes:
        """Return the rows as ECSV.

        Returns
        -------
        bytes
            The file's content.
        """
        from astropy.table import Table

        rows = self.rows
        offsets = [self.offsets[r.group] if r.group >= 0 else (np.nan, np.nan) for r in rows]
        table = Table(
            {
                "ffi": [row.ffi for row in rows],
                "date_obs": [row.date_obs for row in rows],
                "btjd": [row.btjd for row in rows],
                "dx": self._values("dx"),
                "dy": self._values("dy"),
                "roll": self._values("roll_arcsec"),
                "scale": self._values("scale_ppm"),
                "largest": self._values("largest_px"),
                "quality": [row.quality for row in rows],
                "flags": [format_quality(row.quality) for row in rows],
                "group": [row.group for row in rows],
                "offset_dx": [offset[0] for offset in offsets],
                "offset_dy": [offset[1] for offset in offsets],
                "worst": [row.worst_px for row in rows],
                "note": [row.note for row in rows],
            },
            units=_UNITS,
            meta={
                "detector": self.detector,
                "reference": self.reference,
                "tolerance_px": self.tolerance_px,
                "multi_offset_array": self.offset_array,
            },
        )
        text = io.StringIO()
        table.write(text, format="ascii.ecsv")
        return text.getvalue().encode()

    def _values(self, name: str) -> list[float]:
        return [np.nan if row.shift is None else getattr(row.shift, name) for row in self.rows]


_UNITS = {
    "btjd": "d",
    "roll": "arcsec",
    **dict.fromkeys(("dx", "dy", "largest", "offset_dx", "offset_dy", "worst"), "pix"),
}


def find_drift(
    candidates: Sequence[Candidate], reference: Frame, name: str, *, tolerance_px: float
) -> Drift:
    """Return the displacement of FFIs from a reference FFI, and offsets for them.

    Parameters
    ----------
    candidates : sequence of Candidate
        FFIs of the reference's detector.
    reference : Frame
        What shifts are counted from.
    name : str
        Its file name.
    tolerance_px : float
        How far an offset may be from the field of an FFI that it serves.

    Returns
    -------
    Drift
        A row for each FFI.

    Raises
    ------
    ConfigError
        If the tolerance is less than the 0.001 px that offsets are rounded to.
    """
    if not tolerance_px >= 10**-_DECIMALS:
        raise ConfigError(f"tolerance {tolerance_px} px: give {10**-_DECIMALS} or more")
    window = reference.science
    shifts: list[Shift | None] = []
    boxes, notes = np.full((len(candidates), 4), np.nan), []
    for k, candidate in enumerate(candidates):
        shift, note = None, candidate.reason
        if candidate.observation is not None and not note:
            try:
                frame = candidate.observation.frame
                field = displacement_between(reference, frame, spacing_px=_SPACING_PX)
                shift, boxes[k] = field.shift(window), _extremes(field, window)
            except GeometryError as error:
                note = str(error)
        shifts.append(shift)
        notes.append(note)
    offsets, groups = group_offsets(boxes, tolerance_px)
    rows = []
    for k, (candidate, shift, note) in enumerate(zip(candidates, shifts, notes, strict=True)):
        group = int(groups[k])
        worst = _distance(boxes[k], offsets[group]) if group >= 0 else np.nan
        is_alone = shift is not None and group < 0
        why = _why_alone(boxes[k]) if is_alone else note
        told = "; ".join(part for part in (why, candidate.dead) if part)
        seen = candidate.observation
        when = ("", np.nan) if seen is None else (seen.date_obs, seen.tmid)
        quality = candidate.quality
        rows.append(DriftRow(candidate.name, *when, quality, shift, group, worst, told))
    return Drift(str(reference.detector), name, tolerance_px, tuple(rows), offsets)


def _extremes(field: Displacement, window: Window) -> FloatArray:
    """Return smallest and largest dx, then dy, over a window."""
    x = np.linspace(window.x0, window.x1 - 1, _FIELD_NODES)
    y = np.linspace(window.y0, window.y1 - 1, _FIELD_NODES)
    dx, dy = field(*np.meshgrid(x, y))
    return np.array([dx.min(), dx.max(), dy.min(), dy.max()])


def _distance(box: FloatArray, offset: tuple[float, float]) -> float:
    """Return how far an offset is, along x or y, from the farthest part of a field."""
    return float(np.abs(box - np.repeat(offset, 2)).max())


def _why_alone(box: FloatArray) -> str:
    largest = float(np.abs(box).max())
    if largest > MAX_OFFSET_PX:
        return (
            f"the sky is displaced by up to {largest:.2f} px, a scene reaches "
            f"{MAX_OFFSET_PX:g} px: it needs a scene of its own"
        )
    spread = max(box[1] - box[0], box[3] - box[2])
    return f"the shift varies by {spread:.3f} px over the field: use `follow`"


def group_offsets(
    boxes: FloatArray, tolerance_px: float
) -> tuple[tuple[tuple[float, float], ...], NDArray[np.int64]]:
    """Find a small set of offsets that are close enough to every field.

    Parameters
    ----------
    boxes : (n, 4) float64
        Smallest and largest dx, then dy, over the field of each FFI; NaN where unknown.
    tolerance_px : float
        How far, along x or y, an offset may be from any part of a field.

    Returns
    -------
    offsets : tuple of (float, float)
        To 0.001 px, the one of most FFIs first; none beyond 2 px.
    groups : (n,) int64
        Index of the closest offset; -1 where none is close enough: the field itself varies by more
        than twice the tolerance, is too far away, or is unknown.

    Notes
    -----
    An FFI allows the offsets of a rectangle. Again and again, the offset in most rectangles that
    have none yet is taken, from a grid of half the tolerance around the rectangles' middles; then
    each offset moves to the middle of what its FFIs have in common.
    """
    low, high = boxes[:, 1::2] - tolerance_px, boxes[:, ::2] + tolerance_px
    low, high = np.maximum(low, -MAX_OFFSET_PX), np.minimum(high, MAX_OFFSET_PX)
    usable = np.asarray(np.all(low <= high, axis=1))
    middles = (low[usable] + high[usable]) / 2
    points = _grid_around(middles, tolerance_px / _GRID_PER_TOLERANCE)
    points = np.concatenate([points, middles])
    covers = np.asarray(np.all((points[:, None] >= low) & (points[:, None] <= high), axis=2))
    offsets: list[tuple[float, float]] = []
    left = usable.copy()
    while left.any():
        best = int(np.sum(covers & left, axis=1).argmax())
        members = covers[best] & left
        middle = (low[members].max(axis=0) + high[members].min(axis=0)) / 2
        dx, dy = (np.round(middle, _DECIMALS) + 0.0).tolist()
        if (dx, dy) not in offsets:
            offsets.append((dx, dy))
        left &= ~members
    groups = np.full(len(boxes), -1)
    if offsets:
        far = np.abs(boxes[:, None] - np.repeat(offsets, 2, axis=1)).max(axis=2)
        groups[usable] = far[usable].argmin(axis=1)
    return tuple(offsets), groups


def _grid_around(middles: FloatArray, step: float) -> FloatArray:
    """Return the grid points next to the given ones."""
    near = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(-1, 2)
    cells = np.rint(middles / step)[:, None] + near
    return np.unique(cells.reshape(-1, 2), axis=0) * step
