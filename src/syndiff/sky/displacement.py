"""Displacement of sources between two FFIs of a CCD: a smooth field over the detector."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from syndiff.errors import GeometryError
from syndiff.kernels.lattice import evaluate_lattice
from syndiff.kernels.sample import Places
from syndiff.sky.pixelmap import sky_to_pixel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from syndiff.ffi.frame import Frame
    from syndiff.window import Window

__all__ = ["SPACING_PX", "Displacement", "Shift", "displacement_between"]

SPACING_PX = 8
"""Distance of the nodes. Bilinear interpolation between them errs by 1e-6 px for FFIs that are
2 px apart (16: 4e-6, on five CCDs), and in proportion to that."""


@dataclass(frozen=True)
class Shift:
    """A displacement field summarised in five numbers.

    Parameters
    ----------
    dx, dy : float
        Mean over the window, FFI pixels.
    roll_arcsec : float
        Rotation from +x towards +y about the window's middle.
    scale_ppm : float
        Growth of distances in pixels, in millionths.
    largest_px : float
        Largest displacement in the window, along x or y.
    """

    dx: float
    dy: float
    roll_arcsec: float
    scale_ppm: float
    largest_px: float


@dataclass(frozen=True, eq=False)
class Displacement:
    """Displacement of sources in an FFI from their positions in the reference FFI.

    What the FFI has at pixel x, the reference FFI has at x - d(x): a template at x is the scene
    there. A template's offset (dx, dy) is a constant d.

    Parameters
    ----------
    dx, dy : (my, mx) float64
        FFI pixels; element [j, i] belongs to pixel ``(spacing * i, spacing * j)`` of the FFI that
        is followed, 0-based. Finite.
    spacing : int
        Distance of the nodes in FFI pixels; between them the field is bilinear.
    """

    dx: NDArray[np.float64]
    dy: NDArray[np.float64]
    spacing: int = SPACING_PX

    @classmethod
    def constant(
        cls, offset: tuple[float, float], shape: tuple[int, int], *, spacing_px: int = SPACING_PX
    ) -> Displacement:
        """Return the field that is the same everywhere.

        Parameters
        ----------
        offset : (float, float)
            (dx, dy) in FFI pixels.
        shape : (int, int)
            Rows and columns of the FFI.
        spacing_px : int
            Distance of the nodes.

        Returns
        -------
        Displacement
            The field.
        """
        nodes = tuple(math.ceil(side / spacing_px) + 1 for side in shape)
        dx, dy = (np.full(nodes, float(value)) for value in offset)
        return cls(dx, dy, spacing_px)

    def __call__(
        self, x: ArrayLike, y: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the displacement at places in the FFI.

        Parameters
        ----------
        x, y : array_like
            FFI pixels, 0-based, of one shape.

        Returns
        -------
        dx, dy : float64
            FFI pixels, in that shape.
        """
        x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
        places = np.stack([x.ravel(), y.ravel()])
        out = np.empty_like(places)
        evaluate_lattice(self.dx, self.spacing, *places, out[0])
        evaluate_lattice(self.dy, self.spacing, *places, out[1])
        return out[0].reshape(x.shape), out[1].reshape(x.shape)

    def nodes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where the nodes are.

        Returns
        -------
        x, y : (my, mx) float64
            FFI pixels, 0-based.
        """
        my, mx = self.dx.shape
        x, y = np.meshgrid(np.arange(mx) * float(self.spacing), np.arange(my) * float(self.spacing))
        return x, y

    def places(self, x: float, y: float, *, beside: tuple[float, float] = (0.0, 0.0)) -> Places:
        """Return where a scene is sampled, as kernels take it.

        Parameters
        ----------
        x, y : float
            FFI pixel of the first output pixel.
        beside : (float, float)
            Distance of the sampled points from the pixels' centres, along x and y.

        Returns
        -------
        Places
            For `syndiff.kernels.sample.sample_field`.
        """
        first = math.floor(x), math.floor(y)
        rest = float(x - first[0] + beside[0]), float(y - first[1] + beside[1])
        return Places(self.dx, self.dy, self.spacing, *first, *rest)

    def moved(self, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> Displacement:
        """Return the field with more displacement at its nodes.

        Parameters
        ----------
        dx, dy : (my, mx) float64
            FFI pixels to add.

        Returns
        -------
        Displacement
            The sum.
        """
        return replace(self, dx=self.dx + dx, dy=self.dy + dy)

    def area(self, window: Window) -> NDArray[np.float32]:
        """Return how large the FFI's pixels are on the sky, in those of the reference FFI.

        Parameters
        ----------
        window : Window
            FFI pixels.

        Returns
        -------
        (ny, nx) float32
            The Jacobian determinant of x - d(x): light per pixel grows with it.
        """
        y_x, x_x = np.gradient(self.dx, self.spacing)
        y_y, x_y = np.gradient(self.dy, self.spacing)
        nodes = np.asarray((1 - x_x) * (1 - y_y) - y_x * x_y)
        rows = _blend(nodes, np.arange(window.y0, window.y1), self.spacing)
        across = _blend(rows.T, np.arange(window.x0, window.x1), self.spacing)
        return np.ascontiguousarray(across.T, np.float32)

    def shift(self, window: Window) -> Shift:
        """Return the field over a window in five numbers.

        Parameters
        ----------
        window : Window
            FFI pixels.

        Returns
        -------
        Shift
            Mean, rotation and scale of the least-squares linear map, and the largest displacement.
        """
        x, y = (v.ravel() for v in _sampled(window))
        dx, dy = self(x, y)
        columns = np.stack([np.ones_like(x), x - x.mean(), y - y.mean()], -1)
        (mean_x, mean_y), (x_x, y_x), (x_y, y_y) = np.linalg.lstsq(
            columns, np.stack([dx, dy], -1), rcond=None
        )[0]
        return Shift(
            # Newton leaves 1e-10 px, which would print as -0.
            dx=round(float(mean_x), 9) + 0.0,
            dy=round(float(mean_y), 9) + 0.0,
            roll_arcsec=math.degrees(float(y_x - x_y) / 2) * 3600,
            scale_ppm=float(x_x + y_y) / 2 * 1e6,
            largest_px=self.largest(window),
        )

    def largest(self, window: Window) -> float:
        """Return the largest displacement along x or y in a window.

        Parameters
        ----------
        window : Window
            FFI pixels.

        Returns
        -------
        float
            FFI pixels.
        """
        # A bilinear field is largest at a node, or where a line of nodes leaves the window.
        lines = [
            np.unique(
                [low, high, *range(-(-low // self.spacing) * self.spacing, high, self.spacing)]
            )
            for low, high in ((window.x0, window.x1 - 1), (window.y0, window.y1 - 1))
        ]
        return float(np.abs(self(*np.meshgrid(*lines))).max())


def _blend(nodes: NDArray[np.float64], at: NDArray[np.int64], spacing: int) -> NDArray[np.float64]:
    """Interpolate nodes along the first axis, at pixels on or between them."""
    k = np.minimum(at // spacing, len(nodes) - 2)
    t = (at / spacing - k)[:, None]
    return np.asarray(nodes[k] * (1 - t) + nodes[k + 1] * t)


def _sampled(window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return evenly spaced points of a window."""
    x = np.linspace(window.x0, window.x1 - 1, min(33, window.x1 - window.x0))
    y = np.linspace(window.y0, window.y1 - 1, min(33, window.y1 - window.y0))
    across, down = np.meshgrid(x, y)
    return across, down


def displacement_between(
    reference: Frame, frame: Frame, *, spacing_px: int = SPACING_PX
) -> Displacement:
    """Return the displacement of sources in a frame from a reference frame.

    Parameters
    ----------
    reference : Frame
        The FFI that the scene was made for.
    frame : Frame
        The FFI to follow, of the same detector.
    spacing_px : int
        Distance of the nodes; the interpolation error grows with its square.

    Returns
    -------
    Displacement
        Exact at its nodes, which cover the frame's array.

    Raises
    ------
    GeometryError
        If they are of different detectors, or the reference's WCS has no inverse there.

    Notes
    -----
    Pixel to sky by the frame's forward WCS, sky to pixel by Newton on the reference's: the
    header's own inverse polynomials take no part.
    """
    if frame.detector != reference.detector:
        raise GeometryError(
            f"{frame.detector} can't be followed with a scene of {reference.detector}: give FFIs "
            "of one sector, camera and CCD"
        )
    field = Displacement.constant((0.0, 0.0), frame.shape, spacing_px=spacing_px)
    x, y = field.nodes()
    there_x, there_y = sky_to_pixel(reference, *frame.pixel_to_sky(x, y))
    if not (np.isfinite(there_x).all() and np.isfinite(there_y).all()):
        raise GeometryError(
            f"{frame.detector}: parts of the FFI to follow have no position in the reference FFI, "
            "their pointings differ too much or a WCS is wrong: leave this FFI out"
        )
    return field.moved(x - there_x, y - there_y)
