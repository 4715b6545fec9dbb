"""What TESS would see: light profiles on the true sky, integrated over TESS pixels.

Neither PS1 pixels nor anything else of the pipeline takes part. The only WCS call is astropy's
exact forward one, pixel to sky, so no inverse of the distortion polynomial is needed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from syndiff.config import BAND_WEIGHTS, PS1_PIXEL_ARCSEC
from syndiff.errors import ConfigError
from syndiff.kernels.gaussians import integrate_sources
from syndiff.simulation.profiles import (
    GALAXY_KINDS,
    PsfConfig,
    galaxy_mixture,
    gauss_nodes,
    sky_covariance,
)
from syndiff.simulation.sources import Sources, unit_vectors
from syndiff.window import Window

__all__ = ["Blobs", "blobs_of", "integrate", "seeing_nodes"]

F64 = NDArray[np.float64]

_TILE_PX = 32
_NEGLIGIBLE = 1e-10
_SEEING_NODES = 4
# Four nodes have seven moments of the seeing's Gaussians: 1e-9 of peak at sigma 40.
_PER_ARCSEC = math.radians(1 / 3600)


@dataclass(frozen=True)
class Blobs:
    """Sources as sums of Gaussians on the planes that touch the sky at each of them.

    Parameters
    ----------
    frames : (s, 3, 3) float64
        Unit vectors to each source, to its east and its north.
    reach : (s,) float64
        Chord to where a source ends for our purposes.
    first : (s + 1,) int64
        Where each source's rows of `gaussians` begin.
    gaussians : (k, 4) float64
        Peak surface brightness (flux per sr) and the inverse covariance's ee, en, nn (rad^-2).
    """

    frames: F64
    reach: F64
    first: NDArray[np.int64]
    gaussians: F64


def blobs_of(
    sources: Sources,
    *,
    psf_sigma_px: float,
    seeing: PsfConfig | None,
    year: float,
) -> Blobs:
    """Return sources as the telescope's optics spread them over the sky.

    Parameters
    ----------
    sources : Sources
        What is in the sky.
    psf_sigma_px : float
        Standard deviation of the Gaussian response in PS1 pixels of 0.25".
    seeing : PsfConfig or None
        PS1's seeing and pixel, which stay in a template; None for TESS's own view.
    year : float
        Epoch of the positions, Julian year.

    Returns
    -------
    Blobs
        The sources, in order.

    Notes
    -----
    Covariances add up: response + seeing + PS1 pixel (1/12 px^2 an axis) + galaxy. The Gaussians
    of the four bands' seeing, weighted by each source's colours, go through `gauss_nodes`.
    """
    base = (psf_sigma_px * PS1_PIXEL_ARCSEC) ** 2
    if seeing is None:
        flux, extra = sources.composite_flux[:, None], np.zeros((len(sources), 1))
    else:
        flux, extra = seeing_nodes(sources, seeing)
        base += PS1_PIXEL_ARCSEC**2 / 12
    rows: list[F64] = []
    index: list[NDArray[np.int64]] = []
    for kind in (0, *GALAXY_KINDS):
        chosen = np.flatnonzero(sources.sersic == kind)
        some = sources[chosen]
        shares, variances = galaxy_mixture(kind) if kind else (np.ones(1), np.zeros(1))
        shape = sky_covariance(some.radius_arcsec, some.axis_ratio, some.angle_deg)
        for share, variance in zip(shares, variances, strict=True):
            for node in range(flux.shape[1]):
                round_part = (base + extra[chosen, node])[:, None, None] * np.eye(2)
                rows.append(
                    _gaussian_rows(flux[chosen, node] * share, round_part + variance * shape)
                )
                index.append(chosen)
    return _gather(sources, year, np.concatenate(rows), np.concatenate(index))


def seeing_nodes(sources: Sources, seeing: PsfConfig) -> tuple[F64, F64]:
    """Return the seeing of PS1 for each source, of its light summed over bands.

    Parameters
    ----------
    sources : Sources
        What is in the sky.
    seeing : PsfConfig
        PS1's seeing.

    Returns
    -------
    flux, variance : (n, k) float64
        Of k round Gaussians, the variance in arcsec^2.
    """
    mixtures = [seeing.mixture(band) for band in range(len(BAND_WEIGHTS))]
    weights = np.concatenate(
        [
            sources.flux[:, band, None] * BAND_WEIGHTS[band] * mixture[0]
            for band, mixture in enumerate(mixtures)
        ],
        axis=1,
    )
    return gauss_nodes(weights, np.concatenate([v for _, v in mixtures]), _SEEING_NODES)


def _gaussian_rows(flux: F64, covariance: F64) -> F64:
    """Return (n, 6) flux, peak, inverse covariance and largest variance of Gaussians, per rad."""
    covariance = covariance * _PER_ARCSEC**2
    ee, en, nn = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    det = ee * nn - en * en
    largest = 0.5 * (ee + nn) + np.hypot(0.5 * (ee - nn), en)
    peak = flux / (2 * np.pi * np.sqrt(det))
    return np.stack([flux, peak, nn / det, -en / det, ee / det, largest], -1)


def _gather(sources: Sources, year: float, rows: F64, index: NDArray[np.int64]) -> Blobs:
    """Sort Gaussians by source and find how far each source reaches."""
    kept = rows[:, 0] > 0
    rows, index = rows[kept], index[kept]
    order = np.argsort(index, kind="stable")
    rows, index = rows[order], index[order]
    fraction = rows[:, 0] / sources.composite_flux[index]
    chords = np.sqrt(2 * rows[:, 5] * np.log(np.maximum(fraction / _NEGLIGIBLE, 1.0)))
    reach = np.zeros(len(sources))
    np.maximum.at(reach, index, chords)
    first = np.searchsorted(index, np.arange(len(sources) + 1))
    return Blobs(_frames(*sources.at(year)), reach, first, np.ascontiguousarray(rows[:, 1:5]))


def _frames(ra_deg: F64, dec_deg: F64) -> F64:
    """Return (n, 3, 3): unit vectors to positions, to their east and their north."""
    ra = np.radians(ra_deg)
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], -1)
    towards = unit_vectors(ra_deg, dec_deg)
    return np.ascontiguousarray(np.stack([towards, east, np.cross(towards, east)], 1))


def integrate(
    blobs: Blobs,
    wcs: WCS,
    window: Window,
    *,
    offset: tuple[float, float] = (0.0, 0.0),
    psf_sigma_px: float = 40.0,
) -> F64:
    """Return the flux that sources send into each pixel of a window.

    Parameters
    ----------
    blobs : Blobs
        The sources.
    wcs : astropy.wcs.WCS
        Of the image.
    window : Window
        Pixels wanted; they may be outside the image.
    offset : tuple of float
        dx, dy (px): displacement of sources from their positions by `wcs`.
    psf_sigma_px : float
        The narrowest Gaussian's sigma in PS1 pixels: how fine the quadrature has to be.

    Returns
    -------
    (ny, nx) float64
        Flux per pixel, in the unit of the sources' flux.

    Raises
    ------
    ConfigError
        If `psf_sigma_px` is under 8: Gaussians far narrower than a TESS pixel.

    Notes
    -----
    Gauss-Legendre nodes in each pixel (6 x 6 at sigma 40: 1e-8 of peak), the solid angle of each
    from the derivatives of the polynomial through the pixel's nodes.
    """
    if not psf_sigma_px >= 8:
        raise ConfigError(
            f"psf_sigma_px {psf_sigma_px} is too narrow for the quadrature: give 8 or more"
        )
    count = max(6, math.ceil(240 / psf_sigma_px))
    out = np.zeros(window.shape)
    for tile, near in _lit_tiles(blobs, wcs, window, offset):
        part = out[
            tile.y0 - window.y0 : tile.y1 - window.y0, tile.x0 - window.x0 : tile.x1 - window.x0
        ]
        part += _integrate_tile(_subset(blobs, near), wcs, tile, offset, count)
    return out


def _sky(wcs: WCS, x: F64, y: F64) -> F64:
    """Return unit vectors of pixel positions."""
    shape = x.shape
    ra, dec = wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    return unit_vectors(ra, dec).reshape(*shape, 3)


def _lit_tiles(
    blobs: Blobs, wcs: WCS, window: Window, offset: tuple[float, float]
) -> Iterator[tuple[Window, NDArray[np.int64]]]:
    """Yield the small tiles of a window that get light, with the sources it comes from."""
    if not len(blobs.reach):
        return
    tiles = [
        Window(x0, y0, min(x0 + _TILE_PX, window.x1), min(y0 + _TILE_PX, window.y1))
        for y0 in range(window.y0, window.y1, _TILE_PX)
        for x0 in range(window.x0, window.x1, _TILE_PX)
    ]
    edges = np.array([[t.x0, t.x1, t.y0, t.y1] for t in tiles]) - 0.5
    corners = _sky(wcs, edges[:, [0, 1, 0, 1]] - offset[0], edges[:, [2, 2, 3, 3]] - offset[1])
    centres = corners.mean(1)
    radii = 1.05 * np.linalg.norm(corners - centres[:, None], axis=2).max(1)
    towards = blobs.frames[:, 0]
    # Most of a CCD is farther from the sources' middle than any of them reaches.
    hub = towards.mean(0)
    spread = (np.linalg.norm(towards - hub, axis=1) + blobs.reach).max()
    for k in np.flatnonzero(np.linalg.norm(centres - hub, axis=1) < spread + radii):
        distance = np.linalg.norm(towards - centres[k], axis=1)
        near = np.flatnonzero(distance < radii[k] + blobs.reach)
        if near.size:
            yield tiles[k], near


def _subset(blobs: Blobs, chosen: NDArray[np.int64]) -> Blobs:
    """Return some of the sources."""
    counts = np.diff(blobs.first)[chosen]
    first = np.concatenate([[0], np.cumsum(counts)])
    rows = np.repeat(blobs.first[:-1][chosen] - first[:-1], counts) + np.arange(first[-1])
    return Blobs(blobs.frames[chosen], blobs.reach[chosen], first, blobs.gaussians[rows])


def _integrate_tile(
    blobs: Blobs, wcs: WCS, tile: Window, offset: tuple[float, float], count: int
) -> F64:
    """Return the flux in each pixel of a small tile."""
    ny, nx = tile.shape
    u, weights = np.polynomial.legendre.leggauss(count)
    u, weights = u / 2, weights / 2
    x = np.arange(tile.x0, tile.x1)[None, :, None, None] + u[None, None, None, :] - offset[0]
    y = np.arange(tile.y0, tile.y1)[:, None, None, None] + u[None, None, :, None] - offset[1]
    nodes = _sky(wcs, *np.broadcast_arrays(x, y))
    slope = _derivative(u)
    area = np.cross(
        np.einsum("ab,yxrbc->yxrac", slope, nodes), np.einsum("ab,yxbrc->yxarc", slope, nodes)
    )
    solid = np.linalg.norm(area, axis=-1) * np.outer(weights, weights)
    out = np.zeros(ny * nx)
    # The node that represents a pixel is at most 1.2 px (25") from its farthest one.
    reach2 = (blobs.reach + 30 * _PER_ARCSEC) ** 2
    integrate_sources(
        out,
        np.ascontiguousarray(nodes.reshape(ny * nx, count * count, 3)),
        np.ascontiguousarray(solid.reshape(ny * nx, count * count)),
        blobs.frames,
        reach2,
        blobs.first,
        blobs.gaussians,
    )
    return out.reshape(ny, nx)


def _derivative(nodes: F64) -> F64:
    """Return the matrix that turns values at nodes into derivatives at them."""
    powers = np.vander(nodes, increasing=True)
    slopes = np.zeros_like(powers)
    slopes[:, 1:] = powers[:, :-1] * np.arange(1, len(nodes))
    return np.asarray(slopes @ np.linalg.inv(powers))
