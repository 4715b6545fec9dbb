"""What the composite of r, i, z, y makes of real spectra, against TESS's own bandpass."""

import numpy as np
import pytest

from benchmarks import colour
from syndiff.simulation.sources import AB_MINUS_TESS_MAG


@pytest.fixture(scope="module")
def found():
    return colour.groups()


def errors(members):
    return np.array([one.error for one in members])


def test_a_flat_spectrum_has_no_colour():
    w = np.arange(3600.0, 11600.0, 20.0)
    flat = colour.colour("flat", colour.Curve(w, w**-2.0))
    # constant f_nu; straight lines over 20 Angstrom of a power law
    assert max(flat.mags.values()) - min(flat.mags.values()) < 1e-4
    assert abs(flat.error) < 1e-4


def test_vega_has_its_published_magnitudes():
    vega = colour.colour("Vega", colour.vega())
    # from the Vega zero points (Jy) that the SVO service lists; models of Vega differ by 0.01
    published = {"g": -0.08, "r": 0.16, "i": 0.37, "z": 0.52, "y": 0.55}
    for band, mag in published.items():
        assert abs(vega.mags[band] - mag) < 0.02, band
    # what is T = 0 is AB 0.36 to 0.44; the simulator's value is one of them
    assert 0.36 < vega.mags["TESS"] < 0.44
    assert abs(AB_MINUS_TESS_MAG - vega.mags["TESS"]) < 0.03


def test_stars_up_to_early_k_are_right_to_a_few_millimagnitudes(found):
    blue = errors([one for one in colour.stars_of(found) if one.g_r < 0.8])
    assert len(blue) > 80
    assert blue.std() < 0.006
    assert abs(blue.mean()) < 0.003
    assert abs(blue).max() < 0.012


def test_m_dwarfs_come_out_too_bright_by_up_to_four_percent(found):
    dwarfs = errors(found["M dwarfs"])
    assert -0.045 < dwarfs.min() < -0.035
    assert (dwarfs < -0.01).all()


def test_galaxies_and_supernovae(found):
    for z in colour.REDSHIFTS:
        some = errors(found[f"galaxies, z = {z:g}"])
        # past z = 0.5 the 4000 Angstrom break runs through r
        assert abs(some).max() < (0.012 if z <= 0.5 else 0.035), z
    assert abs(errors(found["type Ia supernovae"])).max() < 0.035


def test_the_test_can_fail(found, monkeypatch):
    monkeypatch.setattr(colour, "BAND_WEIGHTS", (0.283, 0.344, 0.238, 0.135))
    blue = [one for one in colour.stars_of(found) if one.g_r < 0.8]
    assert errors(blue).std() > 0.01
