"""Templates are bitwise the same whatever workers and interruptions they come from.

Whatever region: to 2e-6 of the brightest peak. One of these runs with the quick tests, in
test_stars.py.
"""

import pytest
from rendered import check_edges, check_products, check_same

from benchmarks.skies import Run, interrupt_command, run_command

FIRST_TILES = "convolved_results/**/convolved_images.zarr/**/c/**/*"


@pytest.mark.full
def test_two_workers(centre, tmp_path):
    run = Run(roi=centre.sky.plan.field, cores=2)
    check_same(run_command(centre.simulation, tmp_path, run), centre.products[40.0])


@pytest.mark.full
@pytest.mark.parametrize("cores", [1, 2])
def test_interrupted_while_rendering(centre, tmp_path, cores):
    run = Run(roi=centre.sky.plan.field, cores=cores)
    assert interrupt_command(centre.simulation, tmp_path, run, after=FIRST_TILES)
    check_same(run_command(centre.simulation, tmp_path, run), centre.products[40.0])


@pytest.mark.full
def test_the_full_frame(centre, tmp_path):
    products = run_command(centre.simulation, tmp_path, Run())
    check_products(products, centre.products[40.0])
    check_edges(products, centre.simulation)
    assert all(product.flux.shape == (2078, 2136) for product in products.values())


@pytest.mark.full
def test_a_smaller_region_across_tiles(centre, tmp_path):
    run = Run(roi=centre.sky.plan.field.grown(-9))
    check_products(run_command(centre.simulation, tmp_path, run), centre.products[40.0])
