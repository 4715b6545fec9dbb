"""Pixels without a flag are right, beside saturated stars and gaps too, through the command."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.skies import Run, run_command
from syndiff.masks import DataQuality
from syndiff.simulation import TestStar, plan_simulation, simulate
from syndiff.simulation.ffi import wcs_of
from syndiff.simulation.sources import AB_MINUS_TESS_MAG

OF_TESS = DataQuality.TESS_STRAP | DataQuality.TESS_SATURATED | DataQuality.TESS_BLEED


@pytest.fixture(scope="module")
def saturated(tmp_path_factory):
    """Stars of T 8 and 12, fainter ones between them; lost cores, gaps, no noise."""
    plan = plan_simulation(noise=False, size_px=20, seed=11)
    field, rng = plan.field, np.random.default_rng(3)
    places = [(5.3, 5.2, 8.0), (14.6, 14.1, 12.0)]
    places += [(*rng.uniform(-1, 20, 2), rng.uniform(14.3, 17)) for _ in range(60)]
    stars = []
    for x, y, tmag in places:
        ra, dec = wcs_of(plan.ffi.wcs_cards).all_pix2world(field.x0 + x, field.y0 + y, 0)
        stars.append(TestStar(float(ra), float(dec), tmag + AB_MINUS_TESS_MAG))
    sky = replace(plan.sky, star_density=0.0, galaxy_density=0.0, stars=tuple(stars))
    stack = replace(plan.stack, artefacts=True)
    folder = tmp_path_factory.mktemp("saturated")
    simulation = simulate(replace(plan, sky=sky, stack=stack), folder / "sky")
    run = Run(roi=field, offsets=((0.0, 0.0), (0.37, -0.21)))
    return simulation, run_command(simulation, folder / "data", run)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.37, -0.21)])
def test_pixels_without_a_flag_lack_no_light(saturated, offset):
    simulation, products = saturated
    product, truth = products[offset], simulation.truth(offset=offset)
    flagged = (product.planes["DQ"] & ~OF_TESS) != 0
    # what scattered light and spikes of a bright star add is PS1's own, and not lost
    lack = truth - product.flux
    is_wrong = (lack > 0.01 * truth) & (lack > product.planes["UNCERT"])
    assert 0.03 < is_wrong.mean() < 0.3
    assert not (is_wrong & ~flagged).any()
    # the flags end where the light does
    left_out = (product.planes["DQ"] & DataQuality.LEFT_OUT_LIGHT) != 0
    assert left_out.mean() < 3 * is_wrong.mean()
    assert left_out[2:9, 2:9].mean() > 0.5
    assert not flagged[0:4, 14:].all()
