"""What templates leave out around galaxies, against the truth, and what they say of it."""

import numpy as np
import pytest

from benchmarks.faintlight import OFFSETS, BigGalaxy, Mode, constants, templates
from syndiff.simulation import simulate

_NOISE = 0.3
"""Scatter of a light curve's constant by PS1's noise alone, e-/s."""


@pytest.mark.full
@pytest.mark.parametrize("galaxy", [BigGalaxy(4, 10.0, 15.6), BigGalaxy(1, 20.0, 15.6, 0.4)])
def test_a_light_curve_in_a_galaxy_has_no_constant(tmp_path, galaxy):
    simulation = simulate(galaxy.plan(), tmp_path / "sky")
    truth = simulation.truth()
    left, told = {}, {}
    for background in ("matched", "sep", "none"):
        product = templates(simulation, tmp_path / "sky", Mode(background))[OFFSETS[0]]
        left[background] = np.array(constants(product.flux - truth, simulation.config))
        faint = product.planes["FAINT"].astype(float)
        told[background] = np.array(constants(-faint, simulation.config))
    for background in ("matched", "sep"):
        # before light was looked for on several scales: 4.6
        assert abs(left[background] - left["none"]).max() < 0.5 + _NOISE
        assert abs(left[background] - told[background]).max() < 0.5 + 2 * _NOISE
