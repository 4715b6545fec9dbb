"""Stars as Gaussians integrated over pixels in closed form, finely sampled and in an image."""

import math

import numpy as np
from scipy.special import erf

from syndiff.differences.matching import FineModel

SCALE = 0.0215
"""e-/s of template flux 1."""
TEMPLATE_SIGMA = 0.5


def in_pixel(distance, sigma):
    """Part of a Gaussian in a pixel whose centre is so far away."""
    low, high = ((distance + side) / (sigma * math.sqrt(2)) for side in (-0.5, 0.5))
    return 0.5 * (erf(high) - erf(low))


def draw(stars, y, x, components):
    """Sum of stars (x, y, flux) at pixel centres, each of (weight, dx, dy, sigma) components."""
    out = np.zeros((len(y), len(x)))
    for x0, y0, flux in stars:
        rows, columns = np.abs(y - y0) < 8, np.abs(x - x0) < 8
        for weight, dx, dy, sigma in components(x0, y0):
            part = np.outer(
                in_pixel(y[rows] - y0 - dy, sigma), in_pixel(x[columns] - x0 - dx, sigma)
            )
            out[np.ix_(rows, columns)] += flux * weight * part
    return out


def fine_model(stars, shape, *, pad=3, first=0.0, sigma=TEMPLATE_SIGMA):
    """The stars' template, two samples a pixel and axis."""
    phases = np.empty((2, 2, shape[0] + 2 * pad, shape[1] + 2 * pad), np.float32)
    for j, i in np.ndindex(2, 2):
        y, x = (
            np.arange(-pad, n + pad) + first + k / 2 for n, k in zip(shape, (j, i), strict=True)
        )
        phases[j, i] = draw(stars, y, x, lambda *_: [(1, 0, 0, sigma)])
    return FineModel(phases, pad, first)


def crowd(rng, shape, *, bright=9.0, per_px=0.01):
    """Stars (x, y, template flux) to T = 17, `per_px` of them brighter than T = 14."""
    slope = 0.22
    area = (shape[0] + 10) * (shape[1] + 10)
    count = rng.poisson(area * per_px * 10 ** (3 * slope))
    mags = 17 + np.log10(rng.random(count)) / slope
    mags = mags[mags > bright]
    x = rng.uniform(-5, shape[1] + 5, len(mags))
    y = rng.uniform(-5, shape[0] + 5, len(mags))
    return np.column_stack([x, y, 10 ** (-0.4 * (mags - 20.44)) / SCALE])


def ffi(stars, shape, components, *, rng=None, sky=100.0):
    """An image in e-/s on a sloping sky, and its uncertainty for 1440 s."""
    y, x = (np.arange(float(n)) for n in shape)
    image = SCALE * draw(stars, y, x, components)
    image += sky + np.linspace(-3, 3, shape[1]) + np.linspace(-2, 2, shape[0])[:, None]
    sigma = np.sqrt(image * 1440 + 70_000) / 1440
    return (image if rng is None else image + sigma * rng.standard_normal(shape)), sigma
