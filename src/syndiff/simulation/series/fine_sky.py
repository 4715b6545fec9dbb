"""The sky of a series: drawn once on a grid finer than pixels, then summed up for each frame.

Every source is a sum of Gaussians. A part of each Gaussian's width is taken off before they are
drawn, at points; the sum over a pixel gives it back: its weights are a pixel's box, widened by that
part, by the frame's jitter and by its focus, and displaced to where the frame points. This is the
trapezoidal rule for the product of two smooth functions, whose error falls off as a Gaussian does.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from syndiff.config import PS1_PIXEL_ARCSEC
from syndiff.kernels.fine_grid import sum_block
from syndiff.kernels.gaussians import add_elliptical
from syndiff.simulation.ffi import FfiConfig, wcs_of
from syndiff.simulation.prf import response_shares, source_parts
from syndiff.simulation.sources import Sources
from syndiff.window import Window

__all__ = ["FineSky", "draw_fine_sky", "gaussians_of", "smear_steps"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_BLOCK_PX = 64
_REACH_PX = 40
_CELLS_PER_SIGMA = 1.75
"""Fine cells a pixel, over the narrowest Gaussian's sigma (px): 4 at 0.45 px.

Half of the variance on either side, the sum's error is exp(-(pi n sigma)^2 / 2) of a peak, 1e-7.
"""
_REACH_SIGMAS = 5.0
_FLOOR_E_PER_S = 1e-6
_SMEAR_STEPS = 12


def smear_steps(smear: F64) -> Iterator[tuple[float, F64]]:
    """Yield where the telescope points during an exposure.

    Parameters
    ----------
    smear : (3,) float64
        dx, dy (px), share of the exposure, as in `Frames`.

    Yields
    ------
    share : float
        Of the exposure.
    displacement : (2,) float64
        Px.
    """
    share = float(smear[2])
    yield 1.0 - share, np.zeros(2)
    if share > 0:
        for k in range(_SMEAR_STEPS):
            yield share / _SMEAR_STEPS, (k + 0.5) / _SMEAR_STEPS * smear[:2]


def gaussians_of(sources: Sources, places: F64, wcs: WCS, ffi: FfiConfig) -> Iterator[F64]:
    """Yield the Gaussians that stand for sources, without the pixel.

    Parameters
    ----------
    sources : Sources
        The sources.
    places : (n, 2) float64
        Where they stand, x and y (px).
    wcs : astropy.wcs.WCS
        The reference.
    ffi : FfiConfig
        TESS's response.

    Yields
    ------
    (k, 6) float64
        x, y (px), composite flux, covariance xx, xy, yy (px^2).
    """
    extra = 0.0 if ffi.prf is not None else (ffi.psf_sigma_px * PS1_PIXEL_ARCSEC) ** 2
    for chosen, flux, blur in source_parts(sources, places, wcs, None, extra_arcsec2=extra):
        out = np.column_stack([places[chosen], flux, blur])
        if ffi.prf is None:
            yield out
            continue
        for share in response_shares(places[chosen], ffi.prf):
            lit = share[:, 0] > 0
            more = out[lit]
            more[:, :2] += share[lit, 1:3]
            more[:, 2] *= share[lit, 0]
            more[:, 3:] += share[lit, 3:]
            yield more


@dataclass(frozen=True)
class FineSky:
    """What doesn't change, on a fine grid.

    Parameters
    ----------
    fine : (rows, n, columns) float32
        As `sum_block` takes it: e-/s in each cell.
    window : Window
        Pixels that can be summed up.
    margin_px : int
        How far the grid reaches beyond them.
    variance : float
        What was taken off each Gaussian's variances, px^2.
    rigid : float
        Variance of the response if that doesn't stretch where stars move apart, px^2; zero if it
        does, being an angle on the sky.
    centre : (2,) float64
        Reference pixel of displacements.
    """

    fine: NDArray[np.float32]
    window: Window
    margin_px: int
    variance: float
    rigid: float
    centre: F64

    def frame(self, shift: F64, matrix: F64, blur_px: F64, smear: F64) -> F32:
        """Return a frame's light from all that doesn't change.

        Parameters
        ----------
        shift, matrix, blur_px, smear : float64
            A row of `Frames`.

        Returns
        -------
        (ny, nx) float32
            e-/s in each pixel of the window.
        """
        out = np.zeros(self.window.shape, np.float32)
        for share, step in smear_steps(smear):
            if share > 0:
                self._add(out, share, shift + step, matrix, blur_px)
        return out

    def _add(self, out: F32, share: float, shift: F64, matrix: F64, blur_px: F64) -> None:
        """Add a share of the light at one pointing."""
        window, ((xx, xy), (yx, yy)) = self.window, matrix.tolist()
        scale = share * (1 - xx - yy)
        # Displacing pixels stretches the response too: to first order, that is a blur.
        sigma = np.sqrt(self.variance + blur_px**2 - self.rigid * (xx + yy))
        for y0 in range(0, window.shape[0], _BLOCK_PX):
            for x0 in range(0, window.shape[1], _BLOCK_PX):
                part = out[y0 : y0 + _BLOCK_PX, x0 : x0 + _BLOCK_PX]
                ny, nx = part.shape
                middle = np.array([window.x0 + x0 + (nx - 1) / 2, window.y0 + y0 + (ny - 1) / 2])
                moved = shift + matrix @ (middle - self.centre)
                sums = self._sums(x0, y0, (ny, nx), moved, sigma)
                x = np.arange(nx, dtype=np.float32) - (nx - 1) / 2
                y = np.arange(ny, dtype=np.float32)[:, None] - (ny - 1) / 2
                sums[0] -= (xx * x + xy * y) * sums[1] + (yx * x + yy * y) * sums[2]
                part += scale * sums[0]

    def _sums(self, x0: int, y0: int, shape: tuple[int, int], moved: F64, sigma: F64) -> F32:
        """Return a block's light and its slopes, displaced all alike."""
        n = self.fine.shape[1]
        first_x, across = _weights(moved[0], sigma[0], n)
        first_y, up = _weights(moved[1], sigma[1], n)
        margin = n * self.margin_px
        corner = np.array([n * y0 + margin + first_y, n * x0 + margin + first_x])
        ny, nx = shape
        work = np.empty((2, n * ny + up.shape[1], nx), np.float32)
        out = np.empty((3, ny, nx), np.float32)
        sum_block(self.fine, corner, across, up, work, out)
        return out


def _weights(moved: float, sigma: float, n: int) -> tuple[int, F32]:
    """Return the first cell, from a pixel's own first one, and weights and slopes of cells."""
    from scipy.special import erf

    reach = 0.5 + _REACH_SIGMAS * sigma
    first = math.floor((0.5 - moved - reach) * n)
    cells = np.arange(first, math.ceil((0.5 - moved + reach) * n) + 1)
    away = -moved - ((cells + 0.5) / n - 0.5)
    high, low = (away + 0.5) / sigma, (away - 0.5) / sigma
    weight = 0.5 * (erf(high / math.sqrt(2)) - erf(low / math.sqrt(2)))
    slope = (np.exp(-0.5 * high**2) - np.exp(-0.5 * low**2)) / (math.sqrt(2 * math.pi) * sigma)
    return first, np.stack([weight, slope]).astype(np.float32)


def draw_fine_sky(
    sources: Sources,
    ffi: FfiConfig,
    window: Window,
    *,
    scale: float,
    moves_px: float,
    blur_px: float,
) -> FineSky | None:
    """Draw sources on a grid fine enough for their narrowest Gaussian.

    Parameters
    ----------
    sources : Sources
        The sky, at the series' epoch.
    ffi : FfiConfig
        Reference WCS and response.
    window : Window
        Pixels of the frames.
    scale : float
        e-/s for a unit of composite flux.
    moves_px, blur_px : float
        Largest displacement and jitter of any frame.

    Returns
    -------
    FineSky or None
        The grid, over the part of the window that the sources light; None if they light none.
    """
    wcs = wcs_of(ffi.wcs_cards)
    places = np.stack(wcs.all_world2pix(*sources.at(ffi.year), 0, tolerance=1e-9, quiet=True), -1)
    low, high = np.array([window.x0, window.y0]), np.array([window.x1, window.y1])
    near = ((places > low - _REACH_PX) & (places < high + _REACH_PX)).all(1)
    if not near.any():
        return None
    ends = *np.floor(places[near].min(0)), *np.ceil(places[near].max(0))
    lit = Window(*map(int, ends)).grown(_REACH_PX).intersection(window)
    if lit is None:
        return None
    parts = list(gaussians_of(sources[near], places[near], wcs, ffi))
    narrowest = min((_narrowest(part) for part in parts if len(part)), default=1.0)
    n = math.ceil(_CELLS_PER_SIGMA / math.sqrt(narrowest))
    variance = narrowest / 2
    reach = 0.5 + _REACH_SIGMAS * math.hypot(math.sqrt(variance), blur_px)
    margin = math.ceil(moves_px + reach) + 1
    grown = lit.grown(margin)
    ny, nx = grown.shape
    image = np.zeros((n * ny, n * nx))
    corner = np.array([grown.x0, grown.y0]) - 0.5
    for part in parts:
        blobs = part.copy()
        blobs[:, :2] = (blobs[:, :2] - corner) * n - 0.5
        blobs[:, 2] *= scale
        blobs[:, 3] -= variance
        blobs[:, 5] -= variance
        blobs[:, 3:] *= n * n
        add_elliptical(image, blobs, _FLOOR_E_PER_S / n**2)
    fine = np.ascontiguousarray(image.reshape(n * ny, nx, n).transpose(0, 2, 1), np.float32)
    rigid = _usual(parts) if ffi.prf is not None else 0.0
    return FineSky(fine, lit, margin, variance, rigid, np.array(wcs.wcs.crpix) - 1)


def _narrowest(blobs: F64) -> float:
    """Return the smallest variance of Gaussians along any direction."""
    xx, xy, yy = blobs[:, 3:].T
    return float(((xx + yy) / 2 - np.hypot((xx - yy) / 2, xy)).min())


def _usual(parts: list[F64]) -> float:
    """Return the mean variance of Gaussians, weighted by their peaks."""
    blobs = np.concatenate(parts)
    variance = (blobs[:, 3] + blobs[:, 5]) / 2
    return float(blobs[:, 2].sum() / (blobs[:, 2] / variance).sum())
