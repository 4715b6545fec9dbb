"""Templates are bitwise the same whatever region, workers and interruptions they come from."""

import numpy as np
import pytest
from rendered import POSITION_PX

from benchmarks.measure import position_errors
from benchmarks.skies import Run, interrupt_command, run_command

FIRST_SKYCELL = "ps1_skycells_zarr/skycells.zarr/*/*/complete.json"
FIRST_TILES = "convolved_results/**/convolved_images.zarr/**/c/**/*"


def check_same(products, wanted):
    """Compare all planes over the pixels that two runs have in common."""
    for offset, product in products.items():
        common = product.window.intersection(wanted[offset].window)
        ours, theirs = (one.cropped(common) for one in (product, wanted[offset]))
        assert ours.keys() == theirs.keys()
        for name, plane in ours.items():
            np.testing.assert_array_equal(plane, theirs[name], err_msg=f"{name} at {offset}")


def check_edges(products, simulation):
    """Expect values where there is coverage, nowhere else, and stars where the header says."""
    for product in products.values():
        covered = product.planes["COVERAGE"] >= 0.5
        np.testing.assert_array_equal(np.isfinite(product.flux), covered)
        assert not covered.all()
        assert position_errors(product, simulation).max() <= POSITION_PX


def test_killed_and_resumed_on_a_larger_region_by_two_workers(centre, tmp_path):
    field = centre.sky.plan.field
    first = Run(roi=field)
    assert interrupt_command(centre.simulation, tmp_path, first, after=FIRST_SKYCELL)
    products = run_command(centre.simulation, tmp_path, Run(roi=field.grown(25), cores=2))
    check_same(products, centre.products[40.0])
    check_edges(products, centre.simulation)


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
    check_same(products, centre.products[40.0])
    check_edges(products, centre.simulation)
    assert all(product.flux.shape == (2078, 2136) for product in products.values())


@pytest.mark.full
def test_a_smaller_region_across_tiles(centre, tmp_path):
    run = Run(roi=centre.sky.plan.field.grown(-9))
    check_same(run_command(centre.simulation, tmp_path, run), centre.products[40.0])
