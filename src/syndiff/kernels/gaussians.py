"""Sums of Gaussians on pixel grids and over solid angles, and warped noise, for the simulator.

Nothing of the pipeline uses these loops: they are the independent side of every truth test.
"""

import math

import numpy as np
from numpy.typing import NDArray

from syndiff.kernels.compile import njit

__all__ = [
    "add_elliptical",
    "add_integrated",
    "add_round",
    "integrate_sources",
    "warp_bilinear",
]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@njit(cache=True, nogil=True)
def add_round(image: F64, stars: F64, floor: float, work: F64) -> None:
    """Add round Gaussians integrated exactly over square pixels.

    Parameters
    ----------
    image : (ny, nx) float64
        Flux per pixel; modified.
    stars : (n, 4) float64
        x, y (px), flux, sigma (px).
    floor : float
        Surface density (flux per pixel) under which a Gaussian is not drawn any more.
    work : (2, max(ny, nx) + 2) float64
        Scratch.

    Notes
    -----
    A pixel holds ``f/4 [erf(u1) - erf(u0)] [erf(v1) - erf(v0)]``, u and v its borders over
    ``sqrt(2) sigma``.
    """
    ny, nx = image.shape
    for k in range(stars.shape[0]):
        x, y, flux, sigma = stars[k, 0], stars[k, 1], stars[k, 2], stars[k, 3]
        contrast = flux / (2.0 * math.pi * sigma * sigma * floor)
        if contrast <= 1.0:
            continue
        # Where exp(-r^2 / 2 sigma^2) falls to the floor's part of the peak; 1 px for the pixel.
        reach = sigma * math.sqrt(2.0 * math.log(contrast)) + 1.0
        x0, x1 = max(0, math.ceil(x - reach)), min(nx, math.floor(x + reach) + 1)
        y0, y1 = max(0, math.ceil(y - reach)), min(ny, math.floor(y + reach) + 1)
        scale = 1.0 / (math.sqrt(2.0) * sigma)
        for i in range(x0, x1):
            work[0, i] = 0.5 * (math.erf((i + 0.5 - x) * scale) - math.erf((i - 0.5 - x) * scale))
        for j in range(y0, y1):
            work[1, j] = math.erf((j + 0.5 - y) * scale) - math.erf((j - 0.5 - y) * scale)
            row = 0.5 * flux * work[1, j]
            for i in range(x0, x1):
                image[j, i] += row * work[0, i]


@njit(cache=True, nogil=True)
def add_elliptical(image: F64, blobs: F64, floor: float) -> None:
    """Add elliptical Gaussians, taken at the pixels' centres.

    Parameters
    ----------
    image : (ny, nx) float64
        Flux per pixel; modified.
    blobs : (n, 6) float64
        x, y (px), flux, covariance xx, xy, yy (px^2), the pixel's own 1/12 included.
    floor : float
        Surface density (flux per pixel) under which a Gaussian is not drawn any more.

    Notes
    -----
    Along a row the exponent is a parabola, so each value is the last one times a factor that
    itself grows by a constant factor: no exponential per pixel.
    """
    ny, nx = image.shape
    for k in range(blobs.shape[0]):
        x, y, flux = blobs[k, 0], blobs[k, 1], blobs[k, 2]
        xx, xy, yy = blobs[k, 3], blobs[k, 4], blobs[k, 5]
        det = xx * yy - xy * xy
        peak = flux / (2.0 * math.pi * math.sqrt(det))
        if peak <= floor:
            continue
        limit = 2.0 * math.log(peak / floor)
        hx, hy = math.sqrt(limit * xx), math.sqrt(limit * yy)
        x0, x1 = max(0, math.ceil(x - hx)), min(nx, math.floor(x + hx) + 1)
        y0, y1 = max(0, math.ceil(y - hy)), min(ny, math.floor(y + hy) + 1)
        # The inverse covariance. With q = (a dx^2 + 2 b dx dy + c dy^2) / 2, a step of one pixel
        # in x multiplies exp(-q) by exp(-a (dx + 1/2) - b dy), and that by exp(-a).
        a, b, c = yy / det, -xy / det, xx / det
        growth = math.exp(-a)
        for j in range(y0, y1):
            dx, dy = x0 - x, j - y
            value = peak * math.exp(-0.5 * (a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
            step = math.exp(-a * (dx + 0.5) - b * dy)
            for i in range(x0, x1):
                image[j, i] += value
                value *= step
                step *= growth


@njit(cache=True, nogil=True)
def add_integrated(image: F64, blobs: F64, level: float, nodes: F64, weights: F64) -> None:
    """Add elliptical Gaussians integrated over square pixels by a quadrature.

    Parameters
    ----------
    image : (ny, nx) float64
        Flux per pixel; modified.
    blobs : (n, 6) float64
        x, y (px), flux, covariance xx, xy, yy (px^2), without the pixel.
    level : float
        Part of its peak under which a Gaussian is not drawn any more.
    nodes, weights : (m,) float64
        Quadrature along one axis of a pixel, from -1/2 to 1/2; weights sum to one.

    Notes
    -----
    Along a row of nodes a pixel apart the exponent is a parabola, so each value is the last one
    times a factor that itself grows by a constant factor. A row begins where the ellipse does:
    values from far outside it would be lost to underflow.
    """
    ny, nx = image.shape
    limit = -2.0 * math.log(level)
    for k in range(blobs.shape[0]):
        x, y, flux = blobs[k, 0], blobs[k, 1], blobs[k, 2]
        xx, xy, yy = blobs[k, 3], blobs[k, 4], blobs[k, 5]
        det = xx * yy - xy * xy
        peak = flux / (2.0 * math.pi * math.sqrt(det))
        hy = math.sqrt(limit * yy) + 0.5
        y0, y1 = max(0, math.ceil(y - hy)), min(ny, math.floor(y + hy) + 1)
        # Half the inverse covariance, its factors of 2 moved: q = a dx^2 + b dx dy + c dy^2.
        a, b, c = 0.5 * yy / det, -xy / det, 0.5 * xx / det
        growth = math.exp(-2.0 * a)
        for j in range(y0, y1):
            for q in range(nodes.size):
                dy = j + nodes[q] - y
                inside = limit - dy * dy / yy
                if inside <= 0.0:
                    continue
                middle, half = x + xy / yy * dy, math.sqrt(inside * det / yy) + 0.5
                x0 = max(0, math.ceil(middle - half))
                x1 = min(nx, math.floor(middle + half) + 1)
                for p in range(nodes.size):
                    dx = x0 + nodes[p] - x
                    value = math.exp(-a * dx * dx - b * dx * dy - c * dy * dy)
                    value *= peak * weights[q] * weights[p]
                    step = math.exp(-a * (2.0 * dx + 1.0) - b * dy)
                    for i in range(x0, x1):
                        image[j, i] += value
                        value *= step
                        step *= growth


@njit(cache=True, nogil=True)
def integrate_sources(
    out: F64, nodes: F64, solid: F64, frames: F64, reach2: F64, first: I64, blobs: F64
) -> None:
    """Add the flux that each source sends into each pixel of a small tile.

    Parameters
    ----------
    out : (n,) float64
        Flux per pixel; modified.
    nodes : (n, m, 3) float64
        Unit vectors of m quadrature nodes in each pixel; one near the middle stands for it.
    solid : (n, m) float64
        Solid angle of each node (sr), the quadrature's weights in it.
    frames : (s, 3, 3) float64
        Unit vectors to each source, to its east and to its north.
    reach2 : (s,) float64
        Square of the chord from a source to the farthest node that is looked at.
    first : (s + 1,) int64
        Where each source's rows of `blobs` begin.
    blobs : (k, 4) float64
        Peak surface brightness (flux per sr) and the inverse covariance's ee, en, nn (rad^-2) on
        the plane that touches the sky at the source.

    Notes
    -----
    Flux is defined on the touching (gnomonic) plane; a solid angle dO at cos(t) = c from the
    point of contact covers dO / c^3 of it.
    """
    middle = nodes.shape[1] // 2
    for s in range(frames.shape[0]):
        sx, sy, sz = frames[s, 0, 0], frames[s, 0, 1], frames[s, 0, 2]
        ex, ey, ez = frames[s, 1, 0], frames[s, 1, 1], frames[s, 1, 2]
        ux, uy, uz = frames[s, 2, 0], frames[s, 2, 1], frames[s, 2, 2]
        for p in range(out.size):
            dx = nodes[p, middle, 0] - sx
            dy = nodes[p, middle, 1] - sy
            dz = nodes[p, middle, 2] - sz
            if dx * dx + dy * dy + dz * dz > reach2[s]:
                continue
            total = 0.0
            for m in range(nodes.shape[1]):
                x, y, z = nodes[p, m, 0], nodes[p, m, 1], nodes[p, m, 2]
                c = x * sx + y * sy + z * sz
                e = (x * ex + y * ey + z * ez) / c
                n = (x * ux + y * uy + z * uz) / c
                value = 0.0
                for k in range(first[s], first[s + 1]):
                    q = blobs[k, 1] * e * e + 2.0 * blobs[k, 2] * e * n + blobs[k, 3] * n * n
                    value += blobs[k, 0] * math.exp(-0.5 * q)
                total += value * solid[p, m] / (c * c * c)
            out[p] += total


@njit(cache=True, nogil=True)
def warp_bilinear(
    plane: NDArray[np.float32], warp: F64, first: F64, out: NDArray[np.float32]
) -> None:
    """Fill an image with a plane's values, interpolated bilinearly.

    Parameters
    ----------
    plane : (my, mx) float32
        Values at the nodes of the plane; all places asked for lie inside.
    warp : (3, 3) float64
        Homogeneous matrix from the image's pixels to the plane.
    first : (2,) float64
        Where the plane's first node stands: u, v.
    out : (ny, nx) float32
        The image.
    """
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            scale = 1.0 / (warp[2, 0] * i + warp[2, 1] * j + warp[2, 2])
            u = (warp[0, 0] * i + warp[0, 1] * j + warp[0, 2]) * scale - first[0]
            v = (warp[1, 0] * i + warp[1, 1] * j + warp[1, 2]) * scale - first[1]
            a, b = int(np.floor(u)), int(np.floor(v))
            s, t = u - a, v - b
            low = plane[b, a] * (1.0 - s) + plane[b, a + 1] * s
            high = plane[b + 1, a] * (1.0 - s) + plane[b + 1, a + 1] * s
            out[j, i] = low * (1.0 - t) + high * t
