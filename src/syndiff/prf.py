"""What a TESS pixel records of a point source: the pixel response and its transfer function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from syndiff.config import PS1_PIXEL_ARCSEC
from syndiff.errors import ConfigError
from syndiff.tiles import REACH_PX

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from syndiff.observation import Frame

__all__ = ["GaussianResponse", "Response", "sky_jacobian", "spectral_cut"]

MAX_CUT = 2.0
"""Highest spatial frequency, in cycles per TESS pixel, that the scene can hold."""

_REACH_SIGMAS = 5.5
"""A Gaussian in two dimensions has 3e-7 of its light farther out."""

CUT_TOLERANCE = 2e-5
"""Part of a star's peak that cutting the spectrum may change."""


class Response(Protocol):
    """The response of the CCD's pixels to a point source, varying over the frame."""

    @property
    def cut(self) -> float:
        """Spatial frequency up to which it is kept, cycles per TESS pixel."""

    @property
    def reach_px(self) -> float:
        """Distance in TESS pixels beyond which it is nothing."""

    def transfer(
        self,
        x: float,
        y: float,
        jacobian: NDArray[np.float64],
        kx: NDArray[np.float64],
        ky: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the Fourier transform of the response at FFI pixel (x, y)."""


def sky_jacobian(frame: Frame, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Return how far one PS1 pixel on the sky is on the CCD.

    Parameters
    ----------
    frame : Frame
        Pixel grid of the FFI.
    x, y : array_like of float
        FFI pixels, 0-based.

    Returns
    -------
    (..., 2, 2) float64
        TESS pixels per 0.25" towards east and north in true angle: column 0 is the step (x, y)
        of one PS1 pixel to the east.

    Notes
    -----
    Central differences over one pixel of the exact WCS. The scale of a plane that touches the
    sky elsewhere (the CCD's own) would err by up to 3e-4.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    half = 0.5
    east, west = (frame.pixel_to_sky(x + d, y) for d in (half, -half))
    north, south = (frame.pixel_to_sky(x, y + d) for d in (half, -half))
    cos_dec = np.cos(np.deg2rad(frame.pixel_to_sky(x, y)[1]))

    def turn(delta: NDArray[np.float64]) -> NDArray[np.float64]:
        return (delta + 180.0) % 360.0 - 180.0

    degrees = np.stack(
        [
            np.stack([turn(east[0] - west[0]), turn(north[0] - south[0])], -1) * cos_dec[..., None],
            np.stack([east[1] - west[1], north[1] - south[1]], -1),
        ],
        -2,
    )
    return np.asarray(np.linalg.inv(degrees * (3600.0 / PS1_PIXEL_ARCSEC)), np.float64)


def spectral_cut(sigma_px: float) -> float:
    """Return the spatial frequency beyond which a Gaussian pixel response can be dropped.

    Parameters
    ----------
    sigma_px : float
        Standard deviation of the Gaussian in TESS pixels.

    Returns
    -------
    float
        Smallest multiple of 1/4 cycle per pixel such that what lies beyond changes no value by
        more than 2e-5 of the peak.

    Raises
    ------
    ConfigError
        If that is more than 2 cycles per pixel.

    Notes
    -----
    The transform of Gaussian and pixel is a product of one function of kx and one of ky. What a
    cut at kc in both removes from any value is at most the integral of its modulus there, twice
    the one-dimensional tail; the peak is the whole integral.
    """
    step = 1 / 256
    k = np.arange(0, 8, step) + step / 2
    modulus = np.abs(np.exp(-2 * (np.pi * sigma_px * k) ** 2) * np.sinc(k))
    peak = np.sum(np.exp(-2 * (np.pi * sigma_px * k) ** 2) * np.sinc(k))
    for quarter in range(2, int(MAX_CUT * 4) + 1):
        if 2 * modulus[k > quarter / 4].sum() <= CUT_TOLERANCE * peak:
            return quarter / 4
    raise ConfigError(
        f"a response of {sigma_px:.3f} TESS pixels (standard deviation) is too sharp for the "
        f"scene: it needs more than {MAX_CUT:g} cycles per pixel; give a larger psf-sigma "
        "(30 PS1 pixels always work)"
    )


class GaussianResponse:
    """A Gaussian of one width in true angle on the sky, integrated over the TESS pixel.

    PS1's own seeing and pixel are in the light already and come on top.

    Parameters
    ----------
    frame : Frame
        Pixel grid of the FFI.
    sigma_px : float
        Standard deviation in PS1 pixels of 0.25".

    Raises
    ------
    ConfigError
        If the Gaussian is too sharp or too wide for the scene.
    """

    def __init__(self, frame: Frame, sigma_px: float) -> None:
        self._variance = sigma_px**2
        window = frame.science
        x = np.linspace(window.x0, window.x1 - 1, 5)
        y = np.linspace(window.y0, window.y1 - 1, 5)
        scales = np.linalg.svd(sky_jacobian(frame, *np.meshgrid(x, y)), compute_uv=False)
        self.reach_px = _REACH_SIGMAS * sigma_px * float(scales.max()) + 0.5
        if self.reach_px > REACH_PX:
            most = sigma_px * (REACH_PX - 0.5) / (self.reach_px - 0.5)
            raise ConfigError(
                f"psf-sigma {sigma_px} (PS1 pixels) is too wide: light would reach "
                f"{self.reach_px:.1f} TESS pixels, and {REACH_PX} are provided for; give "
                f"{math.floor(most)} or less"
            )
        try:
            self.cut = spectral_cut(sigma_px * float(scales.min()))
        except ConfigError as error:
            raise ConfigError(f"psf-sigma {sigma_px} (PS1 pixels): {error}") from error

    def transfer(
        self,
        x: float,  # noqa: ARG002
        y: float,  # noqa: ARG002
        jacobian: NDArray[np.float64],
        kx: NDArray[np.float64],
        ky: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the Fourier transform of the response at one FFI pixel.

        Parameters
        ----------
        x, y : float
            FFI pixel, 0-based; the Gaussian varies by the Jacobian only.
        jacobian : (2, 2) float64
            `sky_jacobian` there.
        kx, ky : (nx,), (ny,) float64
            Spatial frequencies, cycles per TESS pixel.

        Returns
        -------
        (ny, nx) float64
            1 at zero frequency.
        """
        return gaussian_transfer(self._variance * jacobian @ jacobian.T, kx, ky) * (
            np.sinc(ky)[:, None] * np.sinc(kx)
        )


def gaussian_transfer(
    covariance: NDArray[np.float64], kx: NDArray[np.float64], ky: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return exp(-2 pi^2 k C k), the transform of a Gaussian.

    Parameters
    ----------
    covariance : (2, 2) float64
        C in square pixels; a negative one undoes a blur.
    kx, ky : (nx,), (ny,) float64
        Spatial frequencies, cycles per pixel.

    Returns
    -------
    (ny, nx) float64
        The transform.
    """
    quadratic = (
        covariance[0, 0] * kx**2
        + covariance[1, 1] * ky[:, None] ** 2
        + 2 * covariance[0, 1] * kx * ky[:, None]
    )
    return np.asarray(np.exp(-2 * math.pi**2 * quadratic), np.float64)
