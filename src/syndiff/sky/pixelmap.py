"""The position of a skycell's pixel on a CCD: exact, or interpolated on a lattice."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from syndiff.errors import GeometryError
from syndiff.kernels.lattice import evaluate_lattice
from syndiff.kernels.projection import project_pixels, project_vectors, unproject_pixels

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from syndiff.ffi.observation import Frame
    from syndiff.sky.tessellation import Skycell

__all__ = ["Lattice", "PixelMap", "sky_to_pixel"]

FloatArray = NDArray[np.float64]

LATTICE_STEP_PX = 64
"""Bilinear interpolation over 64 PS1 pixels errs by 6e-6 TESS px at worst."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """FFI positions of every `step`-th PS1 pixel of a skycell.

    Parameters
    ----------
    x, y : (my, mx) float64
        Column and row in the FFI, 0-based; element [j, i] belongs to PS1 pixel
        ``(step * i, step * j)``. NaN far outside the CCD (see `PixelMap`).
    step : int
        Distance of the nodes in PS1 pixels.
    """

    x: FloatArray
    y: FloatArray
    step: int

    def __call__(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return FFI positions, bilinear between the nodes.

        Parameters
        ----------
        x, y : array_like
            PS1 pixels, 0-based, of one shape.

        Returns
        -------
        x, y : float64
            FFI pixels, 0-based, in that shape; NaN in squares that have a NaN corner.
        """
        places, shape = _flatten(x, y)
        out = np.empty_like(places)
        evaluate_lattice(self.x, self.step, *places, out[0])
        evaluate_lattice(self.y, self.step, *places, out[1])
        return out[0].reshape(shape), out[1].reshape(shape)


@dataclass(frozen=True, eq=False)
class PixelMap:
    """The exact map from a skycell's pixels to a frame's, and back.

    Make one with `between`. A finite position is exact: the frame's forward WCS takes it to the
    pixel's place on the sky. Pixels behind the frame's tangent plane, and those far outside the
    CCD where the SIP polynomial folds over or Newton doesn't converge, become NaN; compare as
    ``x >= low`` (False for NaN) before casting to whole pixels.

    Parameters
    ----------
    homography : (3, 3) float64
        From PS1 pixels (x, y, 1) to the frame's linear offsets.
    sip : (2, n, n) float64
        The frame's forward SIP coefficients.
    origin : (2,) float64
        The frame's reference pixel, 0-based.
    shape : tuple of int
        Rows and columns of the skycell.
    """

    homography: FloatArray
    sip: FloatArray
    origin: FloatArray
    shape: tuple[int, int]

    @classmethod
    def between(cls, skycell: Skycell, frame: Frame) -> PixelMap:
        """Return the map from a skycell to a frame.

        Parameters
        ----------
        skycell : Skycell
            The PS1 pixel grid.
        frame : Frame
            The FFI's pixel grid.

        Returns
        -------
        PixelMap
            The map.

        Raises
        ------
        GeometryError
            If the frame's WCS is not a gnomonic one in right ascension and declination.
        """
        plane = _Plane.of(frame)
        return cls(
            plane.from_sky @ skycell.pixel_to_direction,
            plane.sip,
            plane.origin,
            (skycell.ny, skycell.nx),
        )

    def __call__(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return FFI positions of PS1 pixels.

        Parameters
        ----------
        x, y : array_like
            PS1 pixels, 0-based, of one shape.

        Returns
        -------
        x, y : float64
            FFI pixels, 0-based, in that shape; NaN where there are none.
        """
        pixels, shape = _flatten(x, y)
        out = np.empty_like(pixels)
        project_pixels(self.homography, self.sip, self.origin, pixels, out)
        return out[0].reshape(shape), out[1].reshape(shape)

    def inverse(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return PS1 positions of FFI pixels.

        Parameters
        ----------
        x, y : array_like
            FFI pixels, 0-based, of one shape.

        Returns
        -------
        x, y : float64
            PS1 pixels, 0-based, in that shape, also outside the skycell; NaN behind its plane.
        """
        pixels, shape = _flatten(x, y)
        out = np.empty_like(pixels)
        unproject_pixels(np.linalg.inv(self.homography), self.sip, self.origin, pixels, out)
        return out[0].reshape(shape), out[1].reshape(shape)

    def lattice(self, step: int = LATTICE_STEP_PX) -> Lattice:
        """Return exact positions on a lattice that covers the skycell.

        Parameters
        ----------
        step : int
            Distance of the nodes in PS1 pixels.

        Returns
        -------
        Lattice
            Nodes at multiples of `step` from pixel 0 to the first one past the last pixel.
        """
        ny, nx = self.shape
        x, y = np.meshgrid(
            np.arange(0, nx + step, step, dtype=np.float64),
            np.arange(0, ny + step, step, dtype=np.float64),
        )
        return Lattice(*self(x, y), step)


def sky_to_pixel(
    frame: Frame, ra_deg: ArrayLike, dec_deg: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return the exact FFI pixels of places on the sky.

    Parameters
    ----------
    frame : Frame
        The FFI's pixel grid.
    ra_deg, dec_deg : array_like
        ICRS, of one shape.

    Returns
    -------
    x, y : float64
        FFI pixels, 0-based, in that shape; NaN as described at `PixelMap`.

    Raises
    ------
    GeometryError
        If the frame's WCS is not a gnomonic one in right ascension and declination.
    """
    (ra, dec), shape = _flatten(np.deg2rad(ra_deg), np.deg2rad(dec_deg))
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    plane = _Plane.of(frame)
    out = np.empty((2, ra.size))
    project_vectors(plane.from_sky, plane.sip, plane.origin, vectors, out)
    return out[0].reshape(shape), out[1].reshape(shape)


def _flatten(x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, tuple[int, ...]]:
    """Return both coordinates as (2, n) float64, and the shape to give back."""
    x, y = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    return np.stack([x.ravel(), y.ravel()]), x.shape


def _tangent_basis(ra_deg: float, dec_deg: float) -> FloatArray:
    """Return rows east, north and outwards at a tangent point: from the sky to (xi, eta, 1)."""
    a, d = np.deg2rad([ra_deg, dec_deg])
    return np.array(
        [
            [-np.sin(a), np.cos(a), 0.0],
            [-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)],
            [np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)],
        ]
    )


@dataclass(frozen=True, eq=False)
class _Plane:
    """A frame's WCS as the kernels take it."""

    from_sky: FloatArray
    sip: FloatArray
    origin: FloatArray

    @staticmethod
    @functools.lru_cache(maxsize=8)
    def of(frame: Frame) -> _Plane:
        wcs = frame.wcs
        if [text[:8] for text in wcs.wcs.ctype] != ["RA---TAN", "DEC--TAN"]:
            raise GeometryError(
                f"the WCS of {frame.detector} has CTYPE {', '.join(wcs.wcs.ctype)}: only RA---TAN, "
                "DEC--TAN (with or without -SIP) can be mapped; give a calibrated TESS FFI"
            )
        plane = np.eye(3)
        plane[:2, :2] = np.linalg.inv(np.deg2rad(wcs.pixel_scale_matrix)) @ _turn(wcs)
        return _Plane(
            plane @ _tangent_basis(*wcs.wcs.crval), _pack_sip(wcs), np.array(wcs.wcs.crpix) - 1.0
        )


def _turn(wcs: WCS) -> FloatArray:
    """Return the rotation of the intermediate plane for a LONPOLE other than 180."""
    angle = np.deg2rad(180.0 - wcs.wcs.lonpole)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _pack_sip(wcs: WCS) -> FloatArray:
    """Return the forward SIP coefficients as (2, n, n); zeros for a plain TAN."""
    if wcs.sip is None:
        return np.zeros((2, 1, 1))
    n = max(wcs.sip.a.shape[0], wcs.sip.b.shape[0])
    packed = np.zeros((2, n, n))
    for plane, part in zip(packed, (wcs.sip.a, wcs.sip.b), strict=True):
        plane[: part.shape[0], : part.shape[1]] = part
    return packed
