"""Stack planes held as arrays, with what the reduction asks of a stack file."""

from dataclasses import dataclass

import numpy as np

from syndiff.stacks.reduction import BandPlanes

BLANK = 32767


@dataclass
class ArrayPlane:
    """Disk values of one plane and what they mean."""

    array: np.ndarray
    table: np.ndarray
    exptime_s: float = 640.0
    mjd_obs: float | None = 55800.5

    @property
    def shape(self):
        return self.array.shape

    def rows(self, j0, j1, out):
        out[...] = self.array[j0:j1]
        return out

    def value_table(self):
        return self.table


def linear_table(step):
    """Return the values of DN that count in `step`, NaN at BLANK."""
    table = (np.arange(65536, dtype=np.uint16).view(np.int16) * step).astype(np.float32)
    table[BLANK] = np.nan
    return table


def exact_planes(image, variance, mask):
    """Return planes in which every flux of `image` that has a DN is exact.

    Each distinct flux gets a DN of its own (so at most 65535), NaN gets BLANK.
    """
    return BandPlanes(
        ArrayPlane(*_by_rank(image)),
        ArrayPlane(*_by_rank(variance)),
        ArrayPlane(mask.astype(np.uint16), np.empty(0, np.float32)),
    )


def _by_rank(values):
    distinct, codes = np.unique(values[~np.isnan(values)], return_inverse=True)
    assert distinct.size < 65535
    patterns = np.delete(np.arange(65536), BLANK)[: distinct.size]
    table = np.full(65536, np.nan, np.float32)
    table[patterns] = distinct
    rows = np.full(values.shape, BLANK, np.uint16)
    rows[~np.isnan(values)] = patterns[codes]
    return rows.view(np.int16), table


def noisy_planes(rng, light, *, sigma=0.125, level=0.05, mask=None):
    """Return planes of `light` on a level with independent noise, in DN of sigma / 100."""
    image = light + level + rng.normal(0, sigma, light.shape)
    if np.abs(image).max() > 320 * sigma:
        raise ValueError("too bright for 16 bits of sigma / 100")
    return BandPlanes(
        ArrayPlane(np.rint(image * 100 / sigma).astype(np.int16), linear_table(sigma / 100)),
        ArrayPlane(np.full(light.shape, 10000, np.int16), linear_table(sigma**2 / 10000)),
        ArrayPlane(np.zeros(light.shape, np.uint16) if mask is None else mask, np.empty(0)),
    )
