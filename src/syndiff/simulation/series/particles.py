"""Charge that cosmic rays leave in a frame."""

import numpy as np
from numpy.typing import NDArray

from syndiff.simulation.series.config import CosmicRays

__all__ = ["cosmic_rays"]

F32 = NDArray[np.float32]

_PIXEL_CM2 = (15e-4) ** 2
_LEFT_BY_MITIGATION = 0.02
_MEAN_TRACK_PX = 1.5
_LONGEST_TRACK_PX = 12


def cosmic_rays(
    config: CosmicRays, shape: tuple[int, int], exposure_s: float, rng: np.random.Generator
) -> F32:
    """Return the charge of tracks at random places and angles.

    Parameters
    ----------
    config : CosmicRays
        How many, how bright.
    shape : tuple of int
        Rows and columns.
    exposure_s : float
        Time on source.
    rng : Generator
        Random numbers.

    Returns
    -------
    (ny, nx) float32
        e-/s, as the charge is spread over the whole exposure.
    """
    out = np.zeros(shape, np.float32)
    left = _LEFT_BY_MITIGATION if config.mitigated else 1.0
    hits = rng.poisson(left * config.per_cm2_s * _PIXEL_CM2 * out.size * exposure_s)
    if not hits:
        return out
    start = rng.uniform(-0.5, np.array(shape) - 0.5, (hits, 2))
    angle, length = rng.uniform(0, 2 * np.pi, hits), rng.exponential(_MEAN_TRACK_PX, hits)
    charge = config.electrons * np.exp(rng.normal(0, 0.8, hits))
    steps = np.minimum(np.ceil(length), _LONGEST_TRACK_PX).astype(int)
    which = np.repeat(np.arange(hits), steps)
    along = np.arange(len(which)) - np.repeat(np.cumsum(steps) - steps, steps)
    direction = np.stack([np.sin(angle), np.cos(angle)], -1)
    place = np.rint(start[which] + along[:, None] * direction[which]).astype(int)
    inside = ((place >= 0) & (place < np.array(shape))).all(1)
    np.add.at(out, tuple(place[inside].T), charge[which[inside]] / exposure_s)
    return out
