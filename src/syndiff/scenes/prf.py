"""What a TESS pixel records of a point source: the pixel response and its transfer function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from syndiff.config import BAND_WEIGHTS, PS1_PIXEL_ARCSEC
from syndiff.errors import ConfigError, ResponseError
from syndiff.ffi.tiles import REACH_PX
from syndiff.scenes.metadata import GaussianRecord, PrfRecord
from syndiff.scenes.prf_cut import CUT_TOLERANCE, lost_part, measured_cut, taper
from syndiff.scenes.prf_grid import SAMPLES_PER_PX, SIDE, PrfGrid

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from syndiff.ffi.observation import Frame
    from syndiff.scenes.metadata import ResponseRecord
    from syndiff.settings import Settings
    from syndiff.storage.place import Place

__all__ = [
    "GaussianResponse",
    "PrfResponse",
    "Response",
    "response_for",
    "sky_jacobian",
    "spectral_cut",
]

MAX_CUT = 2.0
"""Highest spatial frequency, in cycles per TESS pixel, that the scene can hold."""

_REACH_SIGMAS = 5.5
"""A Gaussian in two dimensions has 3e-7 of its light farther out."""

_SEEING_FWHM_ARCSEC = (1.2, 1.1, 1.1, 1.0)
"""Mean seeing of the PS1 stacks in r, i, z, y, full width at half maximum."""

_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))

PS1_VARIANCE_PX2 = 1 / 12 + sum(
    weight * (fwhm / PS1_PIXEL_ARCSEC / _FWHM_PER_SIGMA) ** 2
    for weight, fwhm in zip(BAND_WEIGHTS, _SEEING_FWHM_ARCSEC, strict=True)
)
"""Blur that PS1's mean seeing and pixel left in the light, square PS1 pixels: 3.65."""

_EDGE_PX = 0.5
"""Half the width over which a measured response ends, around 6.5 px from the star."""


class Response(Protocol):
    """The response of the CCD's pixels to a point source, varying over the frame."""

    @property
    def digest(self) -> str:
        """Digest of what was measured; empty for a formula."""

    @property
    def cut(self) -> float:
        """Spatial frequency up to which it is kept, cycles per TESS pixel."""

    @property
    def reach_px(self) -> float:
        """Distance in TESS pixels beyond which it is zero."""

    def record(self, nodes_per_px: int, margin_px: int) -> ResponseRecord:
        """Return what it is, and how it is rendered, for metadata and headers."""

    def patch(self, x: float, y: float) -> tuple[int, int]:
        """Return which patch of the CCD, all of it smooth, FFI pixel (x, y) is on."""

    def transfer(
        self,
        place: tuple[float, float],
        patch: tuple[int, int],
        jacobian: NDArray[np.float64],
        kx: NDArray[np.float64],
        ky: NDArray[np.float64],
    ) -> NDArray[np.float64] | NDArray[np.complex128]:
        """Return the Fourier transform of the response at FFI pixel (x, y), as a patch has it."""


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
        Smallest multiple of 1/4 cycle per pixel such that what is beyond changes no value by
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
        f"scene: it needs more than {MAX_CUT:g} cycles per pixel; give a larger `psf_sigma` "
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

    digest = ""

    def __init__(self, frame: Frame, sigma_px: float) -> None:
        self._variance = sigma_px**2
        self.sigma_px = float(sigma_px)
        window = frame.science
        x = np.linspace(window.x0, window.x1 - 1, 5)
        y = np.linspace(window.y0, window.y1 - 1, 5)
        scales = np.linalg.svd(sky_jacobian(frame, *np.meshgrid(x, y)), compute_uv=False)
        self.reach_px = _REACH_SIGMAS * sigma_px * float(scales.max()) + 0.5
        if self.reach_px > REACH_PX:
            most = sigma_px * (REACH_PX - 0.5) / (self.reach_px - 0.5)
            raise ConfigError(
                f"`psf_sigma` {sigma_px} (PS1 pixels) is too wide: light would reach "
                f"{self.reach_px:.1f} TESS pixels, and {REACH_PX} are provided for; give "
                f"{math.floor(most)} or less"
            )
        try:
            self.cut = spectral_cut(sigma_px * float(scales.min()))
        except ConfigError as error:
            raise ConfigError(f"`psf_sigma` {sigma_px} (PS1 pixels): {error}") from error

    def record(self, nodes_per_px: int, margin_px: int) -> GaussianRecord:
        """Return what it is, and how it is rendered.

        Parameters
        ----------
        nodes_per_px : int
            Samples per TESS pixel of the light that it is applied to.
        margin_px : int
            TESS pixels around a tile that are rendered with it.

        Returns
        -------
        GaussianRecord
            For metadata and headers.
        """
        return GaussianRecord("gaussian", self.sigma_px, nodes_per_px, margin_px, self.reach_px)

    def patch(self, x: float, y: float) -> tuple[int, int]:  # noqa: ARG002
        """Return the only patch: a Gaussian varies smoothly all over the CCD.

        Parameters
        ----------
        x, y : float
            FFI pixel, 0-based.

        Returns
        -------
        (int, int)
            Zeros.
        """
        return 0, 0

    def transfer(
        self,
        place: tuple[float, float],  # noqa: ARG002
        patch: tuple[int, int],  # noqa: ARG002
        jacobian: NDArray[np.float64],
        kx: NDArray[np.float64],
        ky: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the Fourier transform of the response at one FFI pixel.

        Parameters
        ----------
        place : (float, float)
            FFI pixel (x, y), 0-based; the Gaussian varies by the Jacobian only.
        patch : (int, int)
            The only one.
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


class PrfResponse:
    """TESS's measured pixel response, with PS1's mean seeing and pixel taken out of the light.

    Parameters
    ----------
    grid : PrfGrid
        The responses at 25 places of the CCD.

    Raises
    ------
    ResponseError
        If the responses hold structure finer than the scene can, or one holds too much noise.

    Notes
    -----
    P(u; s) is what the pixel at s + u records of a star at s. The nodes' responses are each scaled
    to a volume of one over all offsets u, which is the mean over positions within a pixel of the
    sum over the 13 x 13 pixels that see the star. (MAST's have that sum equal at all positions, to
    2e-4: no variation of sensitivity within a pixel is in them.) P is bilinear in s between
    the nodes and constant beyond them. It ends smoothly (as a cosine) between 6 and 7 px, where
    files still have 1e-3 of the peak; around the files' own end, so that as much is added outside
    as taken away inside.

    The scene is convolved with the response of the pixel that light arrives in, Q(u; p) = P(u;
    p - u). Where P is bilinear in s, so is Q in p, with coefficients linear in u: it takes the
    transforms of P, ux P, uy P and ux uy P at the nodes. Four transfers at a tile's corners
    then give exactly P of each star's own place, unless a border between patches is between
    star and pixel.
    """

    reach_px = SIDE / SAMPLES_PER_PX / 2 + _EDGE_PX

    def __init__(self, grid: PrfGrid) -> None:
        self._x, self._y = grid.x, grid.y
        self._nodes = _prepared(grid.samples)
        self.cut, changes = measured_cut(self._nodes)
        discarded = lost_part(grid, self.cut, changes)
        if discarded > CUT_TOLERANCE:
            self._nodes = _ended(taper(self._nodes))
        self.discarded = discarded
        self._origin = grid.name, grid.source, grid.digest
        self.digest = grid.digest
        self._key = b""
        self._waves: tuple[NDArray[np.complex128], ...] = ()
        self._transforms: dict[tuple[int, int], NDArray[np.complex128]] = {}

    def record(self, nodes_per_px: int, margin_px: int) -> PrfRecord:
        """Return what it is, and how it is rendered.

        Parameters
        ----------
        nodes_per_px : int
            Samples per TESS pixel of the light that it is applied to.
        margin_px : int
            TESS pixels around a tile that are rendered with it.

        Returns
        -------
        PrfRecord
            For metadata and headers.
        """
        rendered = nodes_per_px, margin_px, self.reach_px
        kept = self.cut, self.discarded, PS1_VARIANCE_PX2
        return PrfRecord("prf", *self._origin, *kept, *rendered)

    def patch(self, x: float, y: float) -> tuple[int, int]:
        """Return which patch of the grid an FFI pixel is on.

        Parameters
        ----------
        x, y : float
            FFI pixel, 0-based.

        Returns
        -------
        (int, int)
            Column and row of the node before it, -1 where there is none.
        """
        return (
            int(np.searchsorted(self._x, x, side="right")) - 1,
            int(np.searchsorted(self._y, y, side="right")) - 1,
        )

    def transfer(
        self,
        place: tuple[float, float],
        patch: tuple[int, int],
        jacobian: NDArray[np.float64],
        kx: NDArray[np.float64],
        ky: NDArray[np.float64],
    ) -> NDArray[np.complex128]:
        """Return the Fourier transform of the response at one FFI pixel.

        Parameters
        ----------
        place : (float, float)
            FFI pixel (x, y), 0-based.
        patch : (int, int)
            Whose bilinear function to take, beyond its borders too.
        jacobian : (2, 2) float64
            `sky_jacobian` there, for PS1's seeing.
        kx, ky : (nx,), (ny,) float64
            Spatial frequencies, cycles per TESS pixel.

        Returns
        -------
        (ny, nx) complex128
            About 1 at zero frequency.
        """
        self._set_waves(kx, ky)
        total = np.zeros((len(ky), len(kx)), np.complex128)
        for row, fixed_y, slope_y in _axis_weights(self._y, place[1], patch[1]):
            for column, fixed_x, slope_x in _axis_weights(self._x, place[0], patch[0]):
                plain, along_x, along_y, along_both = self._node(row, column)
                total += fixed_y * (fixed_x * plain + slope_x * along_x)
                total += slope_y * (fixed_x * along_y + slope_x * along_both)
        return total * gaussian_transfer(-PS1_VARIANCE_PX2 * jacobian @ jacobian.T, kx, ky)

    def _set_waves(self, kx: NDArray[np.float64], ky: NDArray[np.float64]) -> None:
        """Keep exp(-2 pi i k u) of these frequencies; the renderer's never change."""
        key = kx.tobytes() + ky.tobytes()
        if key == self._key:
            return
        u = _offsets(self._nodes.shape[-1])
        x, y = (np.exp(-2j * math.pi * k[:, None] * u) for k in (kx, ky))
        self._key, self._waves, self._transforms = key, (x, x * u, y, y * u), {}

    def _node(self, row: int, column: int) -> NDArray[np.complex128]:
        """Return the transforms of P, ux P, uy P and ux uy P at a node, (4, ny, nx)."""
        if (row, column) not in self._transforms:
            x, moment_x, y, moment_y = self._waves
            samples = self._nodes[row, column] / SAMPLES_PER_PX**2
            parts = [b @ (samples @ a.T) for b in (y, moment_y) for a in (x, moment_x)]
            self._transforms[row, column] = np.stack(parts)
        return self._transforms[row, column]


def _offsets(size: int) -> NDArray[np.float64]:
    """Return the offset in TESS pixels of each sample along an axis."""
    return (np.arange(size) - size // 2) / SAMPLES_PER_PX


def _prepared(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return responses that end smoothly and have unit volume, (ny, nx, 127, 127) float64."""
    more = math.floor(PrfResponse.reach_px * SAMPLES_PER_PX) - SIDE // 2
    return _ended(np.pad(samples, [(0, 0), (0, 0), (more, more), (more, more)], mode="edge"))


def _ended(longer: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return responses that end smoothly and have unit volume; their memory is used."""
    beyond = np.abs(_offsets(longer.shape[-1])) - (PrfResponse.reach_px - 2 * _EDGE_PX)
    window = 0.5 + 0.5 * np.cos(math.pi * np.clip(beyond / (2 * _EDGE_PX), 0, 1))
    longer *= window[:, None] * window
    volume = longer.sum(axis=(2, 3), keepdims=True) / SAMPLES_PER_PX**2
    return np.asarray(longer / volume, np.float64)


def _axis_weights(
    nodes: NDArray[np.float64], place: float, patch: int
) -> list[tuple[int, float, float]]:
    """Return the nodes of a patch along one axis, each with the weight a + b u of a star at -u."""
    last = len(nodes) - 1
    if not 0 <= patch < last:
        return [(min(max(patch, 0), last), 1.0, 0.0)]
    step = float(nodes[patch + 1] - nodes[patch])
    part = float(place - nodes[patch]) / step
    return [(patch, 1 - part, 1 / step), (patch + 1, part, -1 / step)]


def response_for(
    frame: Frame, settings: Settings, measured: Place, prf_digest: str | None = None
) -> Response:
    """Return the response that a scene is made with.

    Parameters
    ----------
    frame : Frame
        Pixel grid of the FFI.
    settings : Settings
        Which response.
    measured : Place
        Where the measured responses of the CCD are kept (`Layout.pixel_response`).
    prf_digest : str, optional
        Digest of those that are wanted; any if not given.

    Returns
    -------
    Response
        The response.

    Raises
    ------
    ConfigError
        If a Gaussian is too sharp or too wide.
    ResponseError
        If the measured responses are not those that are wanted, damaged or too noisy.
    """
    if settings.psf == "gaussian":
        return GaussianResponse(frame, settings.psf_sigma)
    grid = PrfGrid.unpack(measured.read(), measured)
    if prf_digest is not None and grid.digest != prf_digest:
        raise ResponseError(
            f"{measured} holds the pixel responses {grid.digest}, {prf_digest} are wanted: "
            "another run has replaced them; run `syndiff process` again"
        )
    return PrfResponse(grid)
