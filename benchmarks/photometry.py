"""How much of the light of stars and galaxies a template of a noisy sky holds, by magnitude."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.skies import Product
from syndiff.constants import ZERO_POINT
from syndiff.simulation import Simulation, SimulationConfig, plan_simulation
from syndiff.simulation.ffi import wcs_of
from syndiff.window import Window

BINS = tuple(range(15, 23))
"""Centres of the magnitude bins, each one magnitude wide."""

_SATURATED_MAG = 14.0
"""PS1 saturates at 13.5: such stars are the business of a star catalogue, not measured here."""

_SPOILT_PX = 5.0


@dataclass(frozen=True)
class LightKept:
    """Template over truth, without what lies within 5 px of saturated stars.

    Parameters
    ----------
    stars : dict of int to (float, float, int)
        Ratio, its error, and the number of stars, by magnitude bin.
    galaxies, faint : (float, float, int)
        The same for galaxies brighter than magnitude 22, and for everything fainter.
    total : float
        Sum of the template over that of the truth.
    scatter : float
        Robust standard deviation of (template - truth) / UNCERT.
    used : float
        Part of the field's pixels that this rests on.
    """

    stars: dict[int, tuple[float, float, int]]
    galaxies: tuple[float, float, int]
    faint: tuple[float, float, int]
    total: float
    scatter: float
    used: float


def field_plan(size_px: int = 44, seed: int = 5) -> SimulationConfig:
    """Return a field at high galactic latitude with noise and artefacts."""
    plan = plan_simulation(kind="field", noise=True, size_px=size_px, seed=seed)
    return replace(plan, ffi=replace(plan.ffi, noise=False))


def measure_light(product: Product, simulation: Simulation, *, psf_sigma: float) -> LightKept:
    """Return how much of the light a template holds.

    The template is fitted, by weighted linear least squares over all pixels at once, with the
    truth images of the stars of each magnitude bin, of galaxies, of what is fainter or brighter,
    and a constant: neighbours are accounted for, and each bin's coefficient is its ratio.

    Parameters
    ----------
    product : Product
        The template at offset (0, 0).
    simulation : Simulation
        What it was made of.
    psf_sigma : float
        Its response, PS1 pixels.

    Returns
    -------
    LightKept
        The ratios.
    """
    window, sources = product.window, simulation.sources
    mags = ZERO_POINT - 2.5 * np.log10(sources.composite_flux)
    is_star = sources.sersic == 0
    groups = [is_star & (abs(mags - m) <= 0.5) for m in BINS]
    groups.append(~is_star & (mags < 22))
    groups.append((mags >= 22) & ~np.any(groups, axis=0))
    groups.append(is_star & (mags < BINS[0] - 0.5))
    images = [
        simulation.truth(window, psf_sigma_px=psf_sigma, sources=sources[group]) for group in groups
    ]
    good = _unspoilt(product, simulation, is_star & (mags < _SATURATED_MAG))
    noise = product.planes["UNCERT"].astype(float)[good]
    weight = 1 / np.maximum(noise, np.median(noise))
    design = np.stack([*(image[good] for image in images), np.ones(good.sum())], -1)
    used = abs(design).max(axis=0) > 0
    ratio, error = _fit(design[:, used] * weight[:, None], product.flux[good] * weight)
    values = np.full((2, used.size), np.nan)
    values[:, used] = ratio, error
    counts = [_count(simulation, group, good, window) for group in groups]
    rows = [(*values[:, k], counts[k]) for k in range(len(groups))]
    truth = np.sum(images, axis=0)[good]
    pulls = (product.flux[good] - truth) / noise
    return LightKept(
        dict(zip(BINS, rows, strict=False)),
        rows[len(BINS)],
        rows[len(BINS) + 1],
        float(product.flux[good].sum() / truth.sum()),
        float(1.4826 * np.median(abs(pulls - np.median(pulls)))),
        float(good.mean()),
    )


def _fit(design: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients and their errors, the latter from the scatter that is left."""
    inverse = np.linalg.inv(design.T @ design)
    found = inverse @ (design.T @ values)
    scatter = ((values - design @ found) ** 2).sum() / (len(values) - len(found))
    return found, np.sqrt(scatter * np.diag(inverse))


def _pixels(simulation: Simulation, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sources = simulation.sources[chosen]
    wcs = wcs_of(simulation.config.ffi.wcs_cards)
    return wcs.all_world2pix(sources.ra, sources.dec, 0, quiet=True)


def _unspoilt(product: Product, simulation: Simulation, saturated: np.ndarray) -> np.ndarray:
    """Tell which pixels have a value and no saturated star near them."""
    window = product.window
    rows, columns = np.mgrid[window.y0 : window.y1, window.x0 : window.x1]
    good = np.isfinite(product.flux)
    for x, y in zip(*_pixels(simulation, saturated), strict=True):
        good &= np.hypot(columns - x, rows - y) > _SPOILT_PX
    return good


def _count(simulation: Simulation, chosen: np.ndarray, good: np.ndarray, window: Window) -> int:
    """Return how many of the chosen sources stand on good pixels."""
    x, y = (np.rint(v).astype(int) for v in _pixels(simulation, chosen))
    inside = (x >= window.x0) & (x < window.x1) & (y >= window.y0) & (y < window.y1)
    return int(good[y[inside] - window.y0, x[inside] - window.x0].sum())
