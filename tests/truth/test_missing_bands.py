"""An archive that lacks a band: the others stand in, star by star."""

import shutil

import numpy as np
import pytest

from benchmarks.measure import measure
from benchmarks.skies import OFFSETS, Run, run_command
from syndiff.masks import DataQuality
from syndiff.simulation import Simulation


@pytest.mark.parametrize(
    ("band", "limit"),
    # Errors of the stand-in weights over r - i 0 to 0.8, twice the mean errors of one colour's.
    [("i", 0.02), pytest.param("r", 0.03, marks=pytest.mark.full)],
)
def test_stars_of_every_colour_keep_their_flux(centre, tmp_path, band, limit):
    shutil.copytree(centre.simulation.directory, tmp_path / "sky")
    simulation = Simulation.load(tmp_path / "sky")
    gone = list(simulation.archive.rglob(f"*.stk.{band}.unconv*.fits"))
    assert gone
    for path in gone:
        path.unlink()
    run = Run(offsets=OFFSETS[:1], roi=centre.sky.plan.field)
    product = run_command(simulation, tmp_path / "data", run)[OFFSETS[0]]
    stars = measure(product, simulation, psf_sigma=40.0, offset=OFFSETS[0]).stars
    assert abs(stars.flux).max() < limit
    # Not by chance: colours differ, and so do the errors.
    assert np.ptp(stars.flux) > 0.002
    assert (product.planes["DQ"] == DataQuality.MISSING_BAND | DataQuality.PARTIAL_COVERAGE).all()
    # light kept, but the part of the response that falls on data says which is measured
    weight = {"i": 0.344, "r": 0.238}[band]
    np.testing.assert_allclose(product.planes["COVERAGE"], 1 - weight, atol=2e-3)
    whole = centre.products[40.0][OFFSETS[0]]
    assert (product.planes["COUNT"] < whole.planes["COUNT"]).all()
