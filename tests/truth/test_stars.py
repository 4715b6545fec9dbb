"""Templates in the middle of the CCD, made by the command from files, against the truth.

All quick tests of this sky are in one file, so that it is simulated once however they are spread
over processes.
"""

import numpy as np
import pytest
from rendered import FLUX, check_edges, check_products, check_stars, check_templates

from benchmarks.accuracy import SIGMAS
from benchmarks.measure import measure
from benchmarks.skies import OFFSETS, Run, interrupt_command, run_command
from syndiff.simulation.grid import skycell_wcs

FIRST_SKYCELL = "ps1_skycells_zarr/skycells.zarr/*/*/complete.json"


@pytest.mark.parametrize("sigma", SIGMAS)
def test_stars_where_tiles_meet(centre, sigma):
    assert "tile corner" in centre.sky.kinds
    check_templates(centre, sigma)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("kind", ["border", "overlap"])
def test_no_seam_where_skycells_share_a_star(centre, kind, offset):
    product = centre.products[40.0][offset]
    found = measure(product, centre.simulation, psf_sigma=40.0, offset=offset)
    shared = found.stars[centre.sky.kinds[found.stars.star.astype(int)] == kind]
    assert len(shared.flux) >= 2
    # a sharp cut between the projections would leave 1e-2 (rms) of a star's flux; 1e-3 is a seam
    check_stars(shared, kind)
    assert abs(shared.flux).max() <= FLUX


def test_the_projections_are_turned_against_each_other(centre):
    cells = {cell.projection_cell: cell for cell in centre.sky.plan.skycells}
    stars = centre.sky.config.sky.stars
    ra, dec = stars[0].ra_deg, stars[0].dec_deg
    angles = []
    for cell in cells.values():
        wcs = skycell_wcs(cell)
        (x0, x1), (y0, y1) = wcs.all_world2pix([ra, ra], [dec, dec + 1e-3], 0)
        angles.append(np.degrees(np.arctan2(y1 - y0, x1 - x0)))
    assert len(angles) == 2
    assert abs(angles[0] - angles[1]) > 5


def test_killed_and_resumed_on_a_larger_region_by_two_workers(centre, tmp_path):
    field = centre.sky.plan.field
    first = Run(roi=field)
    assert interrupt_command(centre.simulation, tmp_path, first, after=FIRST_SKYCELL)
    products = run_command(centre.simulation, tmp_path, Run(roi=field.grown(25), cores=2))
    check_products(products, centre.products[40.0])
    check_edges(products, centre.simulation)
