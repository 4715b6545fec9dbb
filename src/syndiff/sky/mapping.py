"""Which skycells a frame needs, and how they share its pixels."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from syndiff.config import digest
from syndiff.errors import ConfigError, GeometryError, MissingInputError
from syndiff.sky.pixelmap import Lattice, PixelMap, sky_to_pixel
from syndiff.sky.sharing import sharing_of
from syndiff.storage.fits_images import card_text
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from syndiff.ffi.observation import Frame, Observation
    from syndiff.sky.tessellation import Skycell, Tessellation

__all__ = [
    "Lattice",
    "Mapping",
    "Member",
    "PixelMap",
    "Reference",
    "Role",
    "map_frame",
    "refuse_other_frame",
    "sky_to_pixel",
]

Role = Literal["science", "margin"]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int32]

OUTLINE_STEP_PX = 64
"""Samples along a skycell's outline, in PS1 pixels; it bends by 1e-5 TESS px between them."""

BORDER_STEP_PX = 0.25
"""Samples along a window's border, in TESS pixels."""

_NO_SKYCELL = "PS1 saw the sky north of declination -30 only; check the catalogue if you gave one"

COVERING_SLACK_DEG = 0.01
"""Two TESS pixels more than the footprint: which skycells touch is then decided exactly."""


@dataclass(frozen=True)
class Reference:
    """The FFI that gave a mapping its pixel grid.

    Parameters
    ----------
    name : str
        File name.
    kind : str
        ``"SPOC"`` or ``"TICA"``.
    date_obs, date_end : str
        Start and end of the exposure, ISO 8601, UTC.
    """

    name: str
    kind: str
    date_obs: str
    date_end: str

    @classmethod
    def of(cls, observation: Observation) -> Reference:
        """Return what a mapping records of an observation.

        Parameters
        ----------
        observation : Observation
            The FFI.

        Returns
        -------
        Reference
            Its name, kind and times.
        """
        # FITS headers hold ASCII alone.
        name = card_text(observation.name)
        return cls(name, observation.kind, observation.date_obs, observation.date_end)


@dataclass(frozen=True)
class Member:
    """A skycell that touches the frame.

    Parameters
    ----------
    skycell : Skycell
        The PS1 pixel grid.
    role : {"science", "margin"}
        Whether it overlaps the science window, or only the margin around that.
    shared_px : float
        Its share of the mapped pixels: the sum of its weight over pixel centres. The shares of all
        members add up to the part of those pixels that the tessellation covers.
    window : Window
        Smallest rectangle of FFI pixels around it, clipped to the science window and margin; it
        may reach beyond the array.
    """

    skycell: Skycell
    role: Role
    shared_px: float
    window: Window


@dataclass(frozen=True)
class Mapping:
    """The skycells that a frame needs.

    Holds an image as large as the FFI: send a member's skycell and `frame` to workers, not this.

    Parameters
    ----------
    frame : Frame
        The FFI's pixel grid.
    members : tuple of Member
        The skycells, in the order of their names.
    tessellation_digest : str
        Of the tessellation that they and their weights come from.
    margin_px : int
        TESS pixels around the window that count as touched.
    reference : Reference
        The FFI.
    window : Window
        The science pixels that are mapped: all of them, or those of a region.
    owners : (ny, nx) int32
        Index in `members` of the skycell with the largest weight at each pixel's centre; -1 where
        there is none, and outside the window and its margin.
    """

    frame: Frame
    members: tuple[Member, ...]
    tessellation_digest: str
    margin_px: int
    reference: Reference
    window: Window
    owners: IntArray = field(repr=False, compare=False)

    @property
    def digest(self) -> str:
        """Digest of all that decides which skycells are used and where they land."""
        return digest(
            {
                "frame": self.frame.digest,
                "tessellation": self.tessellation_digest,
                "margin_px": self.margin_px,
                "window": str(self.window),
                "members": [member.skycell.digest for member in self.members],
            }
        )

    def touching(self, window: Window) -> tuple[Member, ...]:
        """Return the members that reach into a window.

        Parameters
        ----------
        window : Window
            FFI pixels, for example a region of interest grown by a margin.

        Returns
        -------
        tuple of Member
            Those members, in order.

        Raises
        ------
        MissingInputError
            If the window reaches beyond the pixels that are mapped and their margin.
        GeometryError
            If no skycell reaches into it.
        """
        reached = window.intersection(self.frame.science.grown(self.margin_px))
        if reached is not None and not self.window.grown(self.margin_px).contains(reached):
            raise MissingInputError(
                f"of {self.frame.detector} only the pixels {self.window} are mapped (x0,y0,x1,y1): "
                "run `syndiff mapping <FFI>` first, with the same `roi` or `target` if you give "
                "one here; or give a region within those pixels"
            )
        members = self.mapped_under(window)
        if not members:
            raise GeometryError(
                f"no skycell covers the pixels {window} of {self.frame.detector} (x0,y0,x1,y1): "
                f"{_NO_SKYCELL}"
            )
        return members

    def mapped_under(self, window: Window) -> tuple[Member, ...]:
        """Return the members that reach into a window, of which part may not be mapped.

        Parameters
        ----------
        window : Window
            FFI pixels.

        Returns
        -------
        tuple of Member
            Those members, in order.
        """
        x0, y0, x1, y1 = self._boxes
        meet = (x0 < window.x1) & (x1 > window.x0) & (y0 < window.y1) & (y1 > window.y0)
        near = [self.members[k] for k in np.flatnonzero(meet)]
        border = _border(window)
        return tuple(m for m in near if _Outline.of(m.skycell, self.frame).touches(window, border))

    @functools.cached_property
    def _boxes(self) -> NDArray[np.int64]:
        """x0, y0, x1, y1 of the members' windows, (4, members)."""
        boxes = [(m.window.x0, m.window.y0, m.window.x1, m.window.y1) for m in self.members]
        return np.array(boxes, np.int64).reshape(-1, 4).T


def map_frame(
    frame: Frame,
    tessellation: Tessellation,
    *,
    margin_px: int,
    reference: Reference,
    window: Window | None = None,
) -> Mapping:
    """Find the skycells that touch a frame's science window, or a region, or the margin around.

    Parameters
    ----------
    frame : Frame
        The FFI's pixel grid.
    tessellation : Tessellation
        The skycells of the sky.
    margin_px : int
        TESS pixels around the window whose light still counts (reach of the PRF, largest offset).
    reference : Reference
        The FFI, for the record.
    window : Window, optional
        Science pixels to map; None for all.

    Returns
    -------
    Mapping
        The skycells, their shares and the map of their pixels.

    Raises
    ------
    ConfigError
        If `margin_px` is negative.
    GeometryError
        If no skycell reaches the pixels to map.
    """
    if margin_px < 0:
        raise ConfigError(f"margin_px {margin_px} is negative: give 0 or more TESS pixels")
    held = window or frame.science
    candidates = tessellation.covering(frame.footprint(margin_px, held), COVERING_SLACK_DEG)
    candidates.sort(key=lambda cell: cell.name)
    touched = list(_touched(frame, candidates, held, margin_px))
    if not any(_Outline.of(cell, frame).touches(held, _border(held)) for cell, _, _ in touched):
        raise GeometryError(
            f"none of the tessellation's {len(tessellation)} skycells covers a science pixel of "
            f"{frame.detector}{f' in {held} (x0,y0,x1,y1)' if window else ''}: {_NO_SKYCELL}"
        )
    cells = [(cell, box) for cell, _, box in touched]
    owners, shared = _share_pixels(frame, tessellation, cells, held, margin_px)
    members = tuple(Member(c, r, s, box) for (c, r, box), s in zip(touched, shared, strict=True))
    return Mapping(frame, members, tessellation.digest, margin_px, reference, held, owners)


def refuse_other_frame(mapping: Mapping, frame: Frame, *, ffi: str) -> None:
    """Refuse a second FFI with another WCS in one data root.

    Parameters
    ----------
    mapping : Mapping
        What the data root holds.
    frame : Frame
        The pixel grid of the FFI given now.
    ffi : str
        Its name.

    Raises
    ------
    ConfigError
        If the pixel grids differ; the message gives the ways out.
    """
    if mapping.frame.digest == frame.digest:
        return
    raise ConfigError(
        f"{ffi} has another pixel grid or WCS than {mapping.reference.name}, the reference FFI of "
        f"{frame.detector} in this data root. To replace the reference and what was made with it, "
        "add `overwrite`; to keep both, give another `data_root`, with `atlas` of "
        "`syndiff download` at this one's ps1_skycells_zarr so that nothing is fetched twice; for "
        "a template of this scene at the other FFI's own pointing, run `syndiff downsample "
        f"{frame.detector.arguments}` with `follow` {ffi}"
    )


def _touched(
    frame: Frame, skycells: Iterable[Skycell], window: Window, margin_px: int
) -> Iterable[tuple[Skycell, Role, Window]]:
    """Yield the skycells that reach a window or its margin, role and rectangle."""
    outer = window.grown(margin_px)
    whole = frame.science.grown(margin_px)
    science_border, outer_border = _border(frame.science), _border(outer)
    for skycell in skycells:
        outline = _Outline.of(skycell, frame)
        box = outline.box(whole)
        if box is None or not outline.touches(outer, outer_border):
            continue
        is_science = outline.touches(frame.science, science_border)
        yield skycell, "science" if is_science else "margin", box


def _border(window: Window) -> FloatArray:
    """Return points (2, n) all around a window's outer edge, its corners included."""
    rows, columns = window.shape
    x = np.linspace(window.x0 - 0.5, window.x1 - 0.5, int(columns / BORDER_STEP_PX) + 1)
    y = np.linspace(window.y0 - 0.5, window.y1 - 0.5, int(rows / BORDER_STEP_PX) + 1)
    return _sides(x, y)


def _sides(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return points (2, n) on the four sides of a rectangle, at x and at y along them."""
    sides = [(x, x * 0 + y[0]), (x, x * 0 + y[-1]), (y * 0 + x[0], y), (y * 0 + x[-1], y)]
    return np.concatenate([np.stack(side) for side in sides], axis=1)


@dataclass(frozen=True, eq=False)
class _Outline:
    """The closed curve in the FFI along the outer edges of a skycell's outermost pixels.

    `points` is (2, n), x and y in the FFI, 0-based: those of its points that land anywhere.
    """

    skycell: Skycell
    pixel_map: PixelMap
    points: FloatArray

    @classmethod
    @functools.lru_cache(maxsize=4096)
    def of(cls, skycell: Skycell, frame: Frame) -> _Outline:
        pixel_map = PixelMap.between(skycell, frame)
        x, y = (
            np.append(np.arange(0, n, OUTLINE_STEP_PX), n) - 0.5 for n in (skycell.nx, skycell.ny)
        )
        points = np.stack(pixel_map(*_sides(x, y)))
        return cls(skycell, pixel_map, points[:, np.isfinite(points[0])])

    def touches(self, window: Window, border: FloatArray) -> bool:
        """Tell whether any of the skycell lands in the window.

        Two regions meet if and only if one's border enters the other, or one holds all of the
        other: then it holds its border too.
        """
        x, y = self.points
        if _in_window(x, y, window).any():
            return True
        near = (border[0] >= x.min()) & (border[0] <= x.max())
        near &= (border[1] >= y.min()) & (border[1] <= y.max())
        return bool(_in_skycell(*self.pixel_map.inverse(*border[:, near]), self.skycell).any())

    def box(self, outer: Window) -> Window | None:
        """Return the smallest rectangle of pixels around the skycell, clipped to `outer`."""
        if not self.points.size:
            return None
        low = np.floor(self.points.min(axis=1) + 0.5).astype(int)
        high = np.floor(self.points.max(axis=1) + 0.5).astype(int) + 1
        return Window(*low.tolist(), *high.tolist()).intersection(outer)


def _in_window(x: FloatArray, y: FloatArray, window: Window) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (
        (x >= window.x0 - 0.5)
        & (x < window.x1 - 0.5)
        & (y >= window.y0 - 0.5)
        & (y < window.y1 - 0.5)
    )
    return inside


def _in_skycell(x: FloatArray, y: FloatArray, skycell: Skycell) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (
        (x >= -0.5) & (x <= skycell.nx - 0.5) & (y >= -0.5) & (y <= skycell.ny - 0.5)
    )
    return inside


def _share_pixels(
    frame: Frame,
    tessellation: Tessellation,
    skycells: list[tuple[Skycell, Window]],
    mapped: Window,
    margin_px: int,
) -> tuple[IntArray, list[float]]:
    """Return the owner of every pixel in and around the mapped ones, every skycell's share."""
    owners = np.full(frame.shape, -1, dtype=np.int32)
    largest = np.zeros(frame.shape)
    array = Window(0, 0, frame.shape[1], frame.shape[0])
    around = mapped.grown(margin_px).intersection(array) or mapped
    shared = []
    for index, (skycell, window) in enumerate(skycells):
        box = window.intersection(around)
        if box is None:
            shared.append(0.0)
            continue
        y, x = (axis.astype(np.float64) for axis in np.mgrid[box.slices])
        weight = _weight_at(frame, tessellation, skycell, x, y)
        shared.append(float(weight[_in_window(x, y, mapped)].sum()))
        wins = weight > largest[box.slices]
        owners[box.slices][wins] = index
        largest[box.slices][wins] = weight[wins]
    return owners, shared


def _weight_at(
    frame: Frame, tessellation: Tessellation, skycell: Skycell, x: FloatArray, y: FloatArray
) -> FloatArray:
    """Return a skycell's weight at FFI pixels, 0 outside it."""
    px, py = PixelMap.between(skycell, frame).inverse(x, y)
    inside = _in_skycell(px, py, skycell)
    weight = np.zeros(x.shape)
    weight[inside] = sharing_of(tessellation, skycell).weight(px[inside], py[inside])
    return weight
