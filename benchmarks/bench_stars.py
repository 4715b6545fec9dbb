"""Stars of a full-size skycell replaced, and found in a CCD's catalogue."""

import numpy as np
import pytest

from syndiff.config import BAND_WEIGHTS
from syndiff.masks import StackMask
from syndiff.sky.tessellation import Tessellation
from syndiff.stars.catalogue import StarCatalogue
from syndiff.stars.profile import CELL_PX, point_source
from syndiff.stars.replacement import known_cells, replace_stars
from syndiff.stars.skycell_stars import PlacedStars, StarFinder, removal_radius_arcsec

SIDE_PX = 6300
CLIPPED = 2e4
"""Flux of a cell above which PS1 is taken to saturate; twice that is lost."""


def skycell(count):
    """Return light, mask, valid and stars; a spike's cross at each of the brightest."""
    rng = np.random.default_rng(1)
    cells = -(-SIDE_PX // CELL_PX)
    x, y = rng.uniform(-200, SIDE_PX + 200, (2, count))
    tmag = np.clip(17 + np.log10(rng.uniform(0, 1, count)) / 0.3, 8, 17)
    total = np.abs(rng.normal(0, 1, (cells, cells)))
    mask = np.zeros((cells, cells), np.uint16)
    for place, mag in zip(np.stack([y, x], -1), tmag, strict=True):
        where, part = point_source(place[1], place[0], 4.0).inside(total.shape)
        total[where] += 10 ** (0.4 * (24.61 - mag)) * part
        j, i = (place / CELL_PX).astype(int)
        if mag < 12 and 0 <= j < cells and 0 <= i < cells:
            mask[j, max(0, i - 30) : i + 30] |= np.uint16(StackMask.SPIKE)
            mask[max(0, j - 30) : j + 30, i] |= np.uint16(StackMask.SPIKE)
    mask[total > CLIPPED] |= np.uint16(StackMask.SAT | StackMask.STARCORE)
    valid = np.where(total > 2 * CLIPPED, 0, 15).astype(np.uint8)
    light = np.tile(np.where(valid, np.minimum(total, CLIPPED), 0).astype(np.float32), (4, 1, 1))
    moved = 4 * rng.normal(0, 0.3, count) * (rng.uniform(size=count) < 0.05)
    depth = np.minimum.reduce([x + 0.5, SIDE_PX - 0.5 - x, y + 0.5, SIDE_PX - 0.5 - y])
    stars = PlacedStars(
        skycell="skycell.2556.082",
        x=x,
        y=y,
        x_then=x + moved,
        y_then=y,
        ra=x,
        dec=y,
        tmag=tmag,
        colour=rng.uniform(0.5, 2, count),
        tmag_error=np.full(count, 0.006),
        shift_arcsec=np.abs(moved) / 4,
        radius_px=4 * removal_radius_arcsec(tmag),
        is_inside=depth > 0,
        depth_px=depth,
        identity=np.arange(count),
    )
    return light, mask, valid, stars


@pytest.mark.parametrize("count", [250, 3000])
def test_replacement(benchmark, count):
    light, mask, valid, stars = skycell(count)
    composite = np.tensordot(np.array(BAND_WEIGHTS, np.float32), light, axes=1)

    def once():
        return replace_stars(
            light.copy(), composite, mask=mask, valid=valid, stars=stars, scale_mag=None
        )

    made = benchmark(once)
    assert len(made.stars) > 0.04 * count


def test_neighbour(benchmark):
    _, mask, valid, stars = skycell(250)
    assert (benchmark(known_cells, mask, valid, stars) != valid).any()


def test_stars_near_a_skycell(benchmark):
    rng = np.random.default_rng(1)
    cell = Tessellation.rings_v3()["skycell.2556.082"]
    ra0, dec0 = cell.wcs.wcs.crval
    ra, dec = rng.uniform(-8, 8, (2, 250_000))
    still, tmag = np.zeros(ra.size), rng.uniform(12, 17, ra.size)
    place = ra0 + ra, np.clip(dec0 + dec, -89, 89)
    catalogue = StarCatalogue(
        *place, still, still, still + 2016, tmag, still + 1, still, np.arange(ra.size)
    )
    assert 100 < len(benchmark(StarFinder(catalogue).near, cell)) < 3000
