"""The simulated sky: one sky whatever part is asked for, and a catalogue that round-trips."""

import numpy as np
import pytest
from astropy.table import Table

from syndiff.errors import ConfigError, MissingInputError
from syndiff.simulation.sky import Cap, SkyConfig, TestStar, make_sources
from syndiff.simulation.sources import (
    AB_MINUS_TESS_MAG,
    PS1_EPOCH_YEAR,
    read_sources,
    unit_vectors,
    write_sources,
)


def cap_at(ra, dec, radius_deg):
    return Cap(tuple(unit_vectors(np.array(ra), np.array(dec)).tolist()), radius_deg)


@pytest.fixture(scope="module")
def sources():
    stars = (
        TestStar(216.0, 76.0, 15.0),
        TestStar(216.1, 76.1, 12.0, r_minus_i=0.7, pm_mas_per_year=(300.0, -200.0)),
    )
    return make_sources(SkyConfig(stars=stars), cap_at(216.0, 76.0, 0.1))


@pytest.mark.parametrize(("ra", "dec"), [(216.0, 76.0), (0.02, -3.0), (359.99, 40.0), (10.0, 90.0)])
def test_a_part_of_the_sky_is_the_same_sky(ra, dec):
    config = SkyConfig(galaxy_density=0.3, faint_mag=21.0)
    whole, cap = make_sources(config, cap_at(ra, dec, 0.4)), cap_at(ra, dec, 0.15)
    part = make_sources(config, cap)
    inside = whole[cap.holds(unit_vectors(whole.ra, whole.dec))]
    assert len(part) > 20
    np.testing.assert_array_equal(part.ra, inside.ra)
    np.testing.assert_array_equal(part.flux, inside.flux)


def test_counts_follow_their_laws_and_densities():
    cap = cap_at(40.0, 20.0, 1.0)
    drawn = make_sources(SkyConfig(star_density=2.0, galaxy_density=0.0, faint_mag=20.0), cap)
    area = 2 * np.pi * (1 - np.cos(np.radians(1.0))) * np.degrees(1) ** 2
    expected = 2 * area * 10**3.3 / (0.2 * np.log(10)) * (1 - 10 ** (0.2 * (12.5 - 20)))
    # Poisson: five standard deviations.
    assert abs(len(drawn) - expected) < 5 * np.sqrt(expected)
    assert (drawn.sersic == 0).all()


def test_positions_are_uniform_on_the_sphere():
    drawn = make_sources(SkyConfig(galaxy_density=0.0), cap_at(40.0, 60.0, 0.8))
    middle = unit_vectors(drawn.ra, drawn.dec).mean(0)
    offset = middle / np.linalg.norm(middle) - unit_vectors(np.array(40.0), np.array(60.0))
    # Half the radius over the root of the number of sources, five times.
    assert np.degrees(np.linalg.norm(offset)) < 5 * 0.4 / np.sqrt(len(drawn))


def test_given_stars_come_first_with_their_magnitudes(sources):
    mags = 25 - 2.5 * np.log10(sources.composite_flux[:2])
    np.testing.assert_allclose(mags, [15.0, 12.0], atol=1e-12)
    np.testing.assert_allclose(
        sources.tess_mag[:2], [15 - AB_MINUS_TESS_MAG, 12 - AB_MINUS_TESS_MAG]
    )
    r_minus_i = -2.5 * np.log10(sources.flux[:2, 0] / sources.flux[:2, 1])
    np.testing.assert_allclose(r_minus_i, [0.2, 0.7])


def test_stars_move_to_another_epoch(sources):
    ra, dec = sources.at(PS1_EPOCH_YEAR + 10)
    east = (ra[1] - sources.ra[1]) * np.cos(np.radians(sources.dec[1])) * 3.6e6
    assert east == pytest.approx(3000.0, rel=1e-6)
    assert (dec[1] - sources.dec[1]) * 3.6e6 == pytest.approx(-2000.0, rel=1e-6)
    galaxies = sources.sersic > 0
    np.testing.assert_array_equal(dec[galaxies], sources.dec[galaxies])


def test_still_sky_has_no_motion():
    still = make_sources(SkyConfig(proper_motions=False), cap_at(5.0, 5.0, 0.1))
    assert not still.pmra.any()
    assert not still.pmdec.any()


def test_catalogue_file_holds_the_sources(sources, tmp_path):
    path = tmp_path / "stars.ecsv"
    write_sources(sources, path)
    back = read_sources(path)
    # Magnitudes lose the last digit on the way.
    np.testing.assert_allclose(back.flux, sources.flux, rtol=1e-13)
    for name in ("ra", "dec", "pmra", "pmdec", "sersic", "radius_arcsec", "angle_deg"):
        np.testing.assert_array_equal(getattr(back, name), getattr(sources, name))


def test_gaia_magnitudes_give_back_the_tess_magnitude(sources, tmp_path):
    write_sources(sources, tmp_path / "stars.ecsv")
    table = Table.read(tmp_path / "stars.ecsv", format="ascii.ecsv")
    c = table["BP"] - table["RP"]
    t = table["G"] - 0.00522555 * c**3 + 0.0891337 * c**2 - 0.633923 * c + 0.0324473
    np.testing.assert_allclose(t, table["T"], atol=1e-9)
    assert table.meta["epoch"] == PS1_EPOCH_YEAR
    assert set(table["is_galaxy"][:2]) == {False}
    assert table["is_galaxy"].sum() > 100


def test_missing_catalogue_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"stars.ecsv is not there: run `syndiff simulate`"):
        read_sources(tmp_path / "stars.ecsv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"star_density": -1.0}, r"star_density -1.0 is out of range: give 0 to 1000"),
        ({"galaxy_density": 1e9}, r"galaxy_density 1000000000.0 is out of range"),
        ({"bright_mag": 25.0}, r"magnitudes 25.0 to 24.0 are out of range"),
    ],
)
def test_bad_sky_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SkyConfig(**arguments)
