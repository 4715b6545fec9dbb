"""Star catalogues: magnitudes, motions, files and what is wrong with them."""

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from astropy.time import Time

from syndiff.errors import ConfigError, RenderingError
from syndiff.stars.catalogue import StarCatalogue, tess_magnitude
from syndiff.stars.star_files import read_star_file, stars_of_table


def gaia_like(**changes):
    columns = {
        "source_id": [7, 5, 6],
        "ra": [10.2, 10.1, 359.999],
        "dec": [40.0, 89.99, -20.0],
        "pmra": [1000.0, -3000.0, 500.0],
        "pmdec": [-500.0, 2000.0, 0.0],
        "ref_epoch": [2016.0, 2016.0, 2015.5],
        "phot_g_mean_mag": [10.0, 12.0, 8.0],
        "phot_bp_mean_mag": [10.4, 12.7, 8.0],
        "phot_rp_mean_mag": [9.4, 11.1, 8.1],
    }
    return Table({k: v for k, v in (columns | changes).items() if v is not None})


def test_tess_magnitudes_of_a_blue_and_a_red_star():
    # A0V: T - G is about 0; M5V (BP-RP 3.4): T - G about -1.3 (Stassun et al. 2019, figure 8)
    tmag, coloured = tess_magnitude([10.0, 10.0, 10.0], [10.0, 12.0, np.nan], [10.0, 8.6, 9.0])
    assert tmag[0] == pytest.approx(10.03, abs=0.01)
    assert tmag[1] == pytest.approx(8.7, abs=0.15)
    assert tmag[2] == pytest.approx(9.57)
    assert coloured.tolist() == [True, True, False]


@pytest.mark.filterwarnings("ignore:ERFA function")  # of stars too fast for their distance
def test_positions_move_as_astropy_says():
    """At the pole and across RA 0 too."""
    stars = stars_of_table(gaia_like(), "here")
    sky = SkyCoord(
        stars.ra * units.deg,
        stars.dec * units.deg,
        pm_ra_cosdec=stars.pmra * units.mas / units.yr,
        pm_dec=stars.pmdec * units.mas / units.yr,
        distance=1 * units.kpc,
        radial_velocity=0 * units.km / units.s,
        obstime=Time(stars.epoch, format="jyear", scale="tt"),
    )
    then = sky.apply_space_motion(new_obstime=Time(2024.5, format="jyear", scale="tt"))
    ra, dec = stars.at(2024.5)
    apart = SkyCoord(ra * units.deg, dec * units.deg).separation(SkyCoord(then.ra, then.dec))
    # of 9 to 30 arcsec of motion
    assert apart.arcsec.max() < 2e-3


def test_a_file_without_stars_is_refused(tmp_path):
    gaia_like()[:0].write(tmp_path / "stars.ecsv")
    with pytest.raises(ConfigError, match=r"stars\.ecsv has no rows: give one of this field"):
        read_star_file(tmp_path / "stars.ecsv")


@pytest.mark.parametrize("ending", ["fits", "ecsv", "csv", "vot", "fits.gz"])
def test_every_kind_of_file_reads_alike(tmp_path, ending):
    path = tmp_path / f"stars.{ending}"
    kind = {"ecsv": "ascii.ecsv", "csv": "ascii.csv", "vot": "votable"}.get(ending, "fits")
    gaia_like().write(path, format=kind)
    stars = read_star_file(path)
    assert stars.identity.tolist() == [5, 7, 6]
    np.testing.assert_allclose(stars.dec, [89.99, 40.0, -20.0])
    assert stars.digest == stars_of_table(gaia_like(), "here").digest


def test_names_units_and_epoch_of_the_metadata():
    table = Table({"RA": [1.0] * units.hourangle, "DEC": [10.0] * units.deg})
    table["pmRA"] = [0.1] * units.arcsec / units.yr
    table["pmDE"] = [0.0] * units.arcsec / units.yr
    table["Tmag"], table["e_Tmag"] = [9.0], [0.02]
    table.meta["EPOCH"] = 2000.0
    stars = stars_of_table(table, "here")
    assert stars.ra[0] == pytest.approx(15.0)
    assert stars.pmra[0] == pytest.approx(100.0)
    assert (stars.tmag[0], stars.tmag_error[0], stars.epoch[0]) == (9.0, 0.02, 2000.0)
    assert np.isnan(stars.colour[0])


def test_stars_without_colour_or_motion():
    bp = MaskedColumn([10.4, 12.7, 8.0], mask=[False, True, False])
    pm = MaskedColumn([1.0, 2.0, 3.0], mask=[True, False, False])
    stars = stars_of_table(gaia_like(phot_bp_mean_mag=bp, pmra=pm), "here")
    assert stars.tmag_error.tolist() == [0.6, 0.006, 0.006]
    assert np.isnan(stars.colour).tolist() == [True, False, False]
    assert stars.pmra.tolist() == [2.0, 0.0, 3.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dec": None}, r"has no column dec \(nor dej2000.*it has source_id, ra"),
        ({"pmra": None}, r"no column pmra"),
        ({"ref_epoch": None}, r"gives no epoch: add a column epoch or ref_epoch"),
        ({"phot_rp_mean_mag": None}, r"neither a column T nor all of G, BP, RP"),
        ({"dec": [1.0, 91.0, 2.0]}, r"dec is 91\.0 in row 1"),
        ({"ref_epoch": [16.0, 2016.0, 2016.0]}, r"epoch is 16\.0 in row 0"),
        ({"ra": ["a", "b", "c"]}, r"column ra holds no numbers"),
        ({"ra": [1.0, 2.0, 3.0] * units.m}, r"column ra is in m, which is no deg"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(changes, message):
    with pytest.raises(ConfigError, match=message):
        stars_of_table(gaia_like(**changes), "here")


def test_what_is_wrong_with_a_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown ending: give a file that ends in \.fits"):
        read_star_file(tmp_path / "stars.dat")
    with pytest.raises(ConfigError, match=r"is not there: give a file, 'gaia' or 'none'"):
        read_star_file(tmp_path / "stars.fits")
    (tmp_path / "stars.fits").write_text("no table")
    with pytest.raises(ConfigError, match=r"can't be read as fits"):
        read_star_file(tmp_path / "stars.fits")


def test_packed_stars_come_back():
    stars = stars_of_table(gaia_like(source_id=[2**62 + 1, 2**62 + 2, 2**62 + 3]), "here")
    assert StarCatalogue.unpack(stars.pack()).pack() == stars.pack()
    assert StarCatalogue.unpack(stars.pack()).identity.tolist() == stars.identity.tolist()
    with pytest.raises(RenderingError, match=r"star catalogue is damaged"):
        StarCatalogue.unpack(b"nothing")
    short = stars.pack()[:-8]
    with pytest.raises(RenderingError, match=r"star catalogue is damaged"):
        StarCatalogue.unpack(short)
