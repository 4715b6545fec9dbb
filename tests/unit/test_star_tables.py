"""Star tables as people have them: each row in the right light, or left out and counted."""

import logging

import numpy as np
import pytest
from astropy import units
from astropy.table import MaskedColumn, Table
from startables import gaia, tic

from syndiff.errors import ConfigError
from syndiff.stars.star_files import stars_of_table

ARCSEC = 1 / 3600


def changed(table, name, row, value):
    """The table with another value in a column."""
    values = list(table[name])
    values[row] = value
    table[name] = values
    return table


def twice(table, row, *, by_arcsec=0.0, **changes):
    """The table with a row again, moved north and otherwise changed."""
    table = table.copy()
    table.add_row(list(table[row]))
    table["dec"][-1] += by_arcsec * ARCSEC
    for name, value in changes.items():
        table[name][-1] = value
    return table


def light(stars):
    return float((10 ** (-0.4 * stars.tmag)).sum())


def read(table, caplog):
    """The stars, and the warnings."""
    with caplog.at_level(logging.WARNING):
        stars = stars_of_table(table, "here")
    return stars, "\n".join(caplog.messages)


@pytest.mark.parametrize(
    "table",
    [
        twice(gaia(), 2),
        twice(gaia(), 2, by_arcsec=0.4, phot_g_mean_mag=13.02),
        twice(gaia(source_id=None), 2),
        twice(gaia(source_id=None), 2, by_arcsec=0.3, phot_g_mean_mag=13.1),
        twice(gaia(source_id=[str(7 + k) for k in range(6)]), 2),
        twice(gaia(source_id=[f"Gaia DR3 {7 + k}" for k in range(6)]), 2),
        twice(gaia(source_id=np.arange(6) + 4e18), 2),
        twice(gaia(), 2, by_arcsec=0.1, source_id=77),
        # The same star at two epochs: 16 years of 42 mas a year lie between
        twice(gaia(), 2, by_arcsec=16 * 0.030, ref_epoch=2000.0, ra=100.0 + 2 / 60 - 1.54e-4),
        twice(tic(), 2, ID=7, disposition="DUPLICATE"),
        twice(tic(), 2, ID=7, disposition="SPLIT", Tmag=11.8),
        twice(tic(), 2, ID=7, disposition="ARTIFACT", by_arcsec=20),
        twice(tic(), 2, ID=7, by_arcsec=20, objType="EXTENDED"),
        # One of 2MASS alone beside the one of Gaia
        twice(tic(), 2, ID=7, by_arcsec=1.2, GAIA="", Tmag=12.9),
    ],
)
def test_light_is_never_put_back_twice(table, caplog):
    stars, told = read(table, caplog)
    assert len(stars) == 6
    once = stars_of_table(gaia() if "ref_epoch" in table.colnames else tic(), "here")
    assert light(stars) == pytest.approx(light(once), rel=0.1)
    assert "here: 1 of 7 rows are left out" in told


def test_what_stays_of_two_entries_doesn_t_hang_on_their_order():
    table = twice(gaia(), 2, by_arcsec=0.4, phot_bp_mean_mag=np.nan, phot_g_mean_mag=13.01)
    stars = [stars_of_table(table[order], "here") for order in (slice(None), slice(None, None, -1))]
    assert stars[0].digest == stars[1].digest
    assert np.isfinite(stars[0].colour).all()


@pytest.mark.parametrize(
    "table",
    [
        twice(gaia(), 2, source_id=77, by_arcsec=0.6),
        twice(gaia(), 2, source_id=77, by_arcsec=1.0),
        twice(gaia(source_id=None), 2, by_arcsec=1.0),
        twice(gaia(source_id=None), 2, by_arcsec=0.4, phot_g_mean_mag=14.0),
        twice(tic(), 2, ID=77, GAIA="77", by_arcsec=1.0),
        # One number for stars that are far apart: digits were lost
        twice(gaia(), 2, by_arcsec=30.0),
    ],
)
def test_double_stars_stay_two(table, caplog):
    stars, told = read(table, caplog)
    assert len(stars) == 7
    assert not told


def test_sources_that_gaia_found_twice_and_lists_once_stay():
    assert len(stars_of_table(gaia(duplicated_source=[False, True] * 3), "here")) == 6


MISSING = [0.0, 99.0, 99.999, -99.0, -999.0, 9999.0, 1e20, -1e30, np.nan, np.inf, -9.99]


@pytest.mark.parametrize("value", MISSING)
def test_a_row_without_magnitude_is_left_out_and_counted(value, caplog):
    for table, name in ((gaia(), "phot_g_mean_mag"), (tic(GAIAmag=None), "Tmag")):
        caplog.clear()
        stars, told = read(changed(table, name, 2, value), caplog)
        assert len(stars) == 5
        assert "1 of 6 rows are left out: 1 without a magnitude (first row 2, from 0)" in told


@pytest.mark.parametrize("value", MISSING)
@pytest.mark.parametrize("name", ["phot_bp_mean_mag", "phot_rp_mean_mag"])
def test_a_missing_colour_is_none(name, value):
    stars = stars_of_table(changed(gaia(), name, 2, value), "here")
    assert stars.tmag[2] == pytest.approx(13.0 - 0.430)
    assert stars.tmag_error[2] == 0.6
    assert np.isnan(stars.colour).tolist() == [k == 2 for k in range(6)]


@pytest.mark.parametrize("value", ["null", "--", "", "NaN", "N/A"])
def test_words_for_missing_values(value, caplog):
    words = {"phot_g_mean_mag": "11.0", "phot_bp_mean_mag": "11.4", "pmra": "30.0"}
    columns = {name: [word] * 5 + [value] for name, word in words.items()}
    stars, told = read(gaia(**columns), caplog)
    assert len(stars) == 5
    assert "1 without a magnitude" in told
    masked = MaskedColumn([11.0] * 6, mask=[False] * 5 + [True])
    assert len(stars_of_table(gaia(phot_g_mean_mag=masked), "here")) == 5


@pytest.mark.parametrize("tmag", [-1.4, -0.05, 0.03, 0.5])
def test_the_brightest_stars_are_not_missing(tmag):
    assert stars_of_table(changed(tic(), "Tmag", 2, tmag), "here").tmag[2] == tmag


def test_a_missing_tess_magnitude_follows_from_gaia_and_not_from_sloan():
    stars = stars_of_table(changed(tic(), "Tmag", 2, np.nan), "here")
    assert stars.tmag.tolist() == [10.4, 11.4, 13.0 - 0.43, 13.4, 14.4, 15.4]


def test_colour_codes_leave_the_given_magnitude_alone():
    table = changed(tic(gaiabp=11.4 + np.arange(6), gaiarp=10.4 + np.arange(6)), "gaiabp", 2, 99.0)
    stars = stars_of_table(table, "here")
    assert stars.tmag[2] == 12.4
    assert np.isnan(stars.colour[2])


@pytest.mark.parametrize("value", [999.0, -999.0, 9999.0, 99999.0, 1e20, np.nan, np.inf])
def test_a_missing_motion_is_none(value):
    table = changed(changed(gaia(), "pmra", 2, value), "pmdec", 2, value)
    stars = stars_of_table(table, "here")
    assert (stars.pmra[2], stars.pmdec[2]) == (0.0, 0.0)
    assert stars.pmra[1] == 30.0


def test_motions_of_99_are_codes_only_together():
    stars = stars_of_table(changed(gaia(), "pmra", 2, 99.0), "here")
    assert stars.pmra[2] == 99.0
    stars = stars_of_table(changed(gaia(pmra=np.full(6, 99.0)), "pmdec", 2, 99.0), "here")
    assert stars.pmra.tolist() == [99.0, 99.0, 0.0, 99.0, 99.0, 99.0]


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        *((np.nan, 30.0), (100.0, np.inf), (0.0, 0.0), (-999.0, -999.0), (999.0, 30.0)),
        *((100.0, 99.0), (-99.0, -99.0), (1e20, 1e20), (100.0, -9999.0)),
    ],
)
def test_a_row_without_position_is_left_out_and_counted(ra, dec, caplog):
    stars, told = read(changed(changed(gaia(), "ra", 2, ra), "dec", 2, dec), caplog)
    assert len(stars) == 5
    assert "1 without a position (first row 2, from 0)" in told


@pytest.mark.parametrize(("ra", "found"), [(-20.0, 340.0), (360.0, 0.0), (0.0, 0.0)])
def test_right_ascensions_are_wrapped(ra, found):
    assert found in stars_of_table(changed(gaia(), "ra", 2, ra), "here").ra


def test_a_row_without_epoch_is_left_out_and_counted(caplog):
    stars, told = read(changed(gaia(), "ref_epoch", 2, 0.0), caplog)
    assert len(stars) == 5
    assert "1 without an epoch" in told


def test_epochs_may_differ_from_row_to_row():
    stars = stars_of_table(gaia(ref_epoch=[2016.0, 2015.5, 2000.0, 2016.0, 2016.0, 1991.25]), "x")
    assert stars.epoch.tolist() == [2016.0, 2015.5, 2000.0, 2016.0, 2016.0, 1991.25]


VIZIER = {"source_id": None, "ref_epoch": None, "pmdec": None}


def vizier(*, meta=None, **changes):
    """Gaia's stars as VizieR gives them: at their epoch and, computed, at 2000."""
    table = gaia(**VIZIER)
    years, cos = 16.0 / 3.6e6, np.cos(np.radians(30.0))
    table["RAJ2000"] = table["ra"] - 30.0 * years / cos
    table["DEJ2000"] = table["dec"] + 30.0 * years
    names = {"ra": "RA_ICRS", "dec": "DE_ICRS", "pmra": "pmRA", "phot_g_mean_mag": "Gmag"}
    names |= {"phot_bp_mean_mag": "BPmag", "phot_rp_mean_mag": "RPmag"}
    table.rename_columns(list(names), list(names.values()))
    table["pmDE"] = -30.0
    # ATLAS's refcat2 has Sloan's magnitudes beside Gaia's
    table["gmag"], table["rmag"] = 18.0, 17.0
    for name, value in changes.items():
        table[name] = value
    table.meta |= meta or {}
    return table


@pytest.mark.parametrize(
    "table",
    [
        vizier(),
        vizier(meta={"ID": "I_355_gaiadr3"}),
        vizier(meta={"epoch": 2016.0}),
        vizier(meta={"about": "I/350/gaiaedr3"}),
        vizier(EDR3Name="Gaia EDR3 4"),
        vizier(Epoch=2016.0),
    ],
)
def test_positions_at_two_epochs(table):
    stars, true = stars_of_table(table, "here"), stars_of_table(gaia(), "here")
    np.testing.assert_allclose(stars.at(2020.0), true.at(2020.0), atol=1e-3 * ARCSEC, rtol=0)
    np.testing.assert_allclose(stars.tmag, true.tmag)


def test_an_epoch_that_belies_the_other_positions():
    with pytest.raises(ConfigError, match=r"RA_ICRS is said to be of epoch 2000, but is 16\.0 y"):
        stars_of_table(vizier(meta={"epoch": 2000.0}), "here")


def test_stars_without_motion_have_one_position_alone():
    table = vizier()
    table["RAJ2000"] = MaskedColumn(table["RAJ2000"], mask=[True] + [False] * 5)
    assert len(stars_of_table(table, "here")) == 6


@pytest.mark.parametrize(
    ("table", "epoch"),
    [
        (tic(), 2000.0),
        (tic()["ID", "ra", "dec", "pmRA", "pmDEC", "Tmag"], 2000.0),
        (gaia(ref_epoch=None, designation=["Gaia DR3 4"] * 6), 2016.0),
        (gaia(ref_epoch=None, designation=["Gaia DR2 4"] * 6), 2015.5),
        (gaia(ref_epoch=None, DR2Name=["Gaia DR2 4"] * 6), 2015.5),
        (Table(gaia(ref_epoch=None), meta={"RELEASE": "Gaia DR3"}), 2016.0),
        (Table(gaia(ref_epoch=None), meta={"QUERY": "from gaiadr2.gaia_source"}), 2015.5),
        (Table(gaia(ref_epoch=None), meta={"epoch": "J2016.0"}), 2016.0),
    ],
)
def test_a_known_release_tells_the_epoch(table, epoch):
    assert stars_of_table(table, "here").epoch.tolist() == [epoch] * 6


def test_an_epoch_that_is_not_the_release_s_is_told(caplog):
    stars, told = read(Table(tic(), meta={"epoch": 2016.0}), caplog)
    assert stars.epoch[0] == 2016.0
    assert "says epoch 2016, but its columns are those of a table at 2000" in told


SIXTH = 100.0 + np.arange(6) / 60


@pytest.mark.parametrize(
    "changes",
    [
        {"ra": SIXTH / 15 * units.hourangle},
        {"ra": SIXTH / 15 * units.hour},
        {"ra": np.radians(SIXTH) * units.rad, "dec": np.full(6, np.pi / 6) * units.rad},
        {"ra": None, "RAh": SIXTH / 15},
        {"ra": [f"06 40 {4 * k:02d}.000" for k in range(6)], "dec": ["+30 00 00.00"] * 6},
        {"ra": [f"06:40:{4 * k:02d}" for k in range(6)], "dec": ["30:00:00"] * 6},
        {"ra": [f"06h40m{4 * k:02d}s" for k in range(6)], "dec": ["+30d00m00s"] * 6},
        {"ra": [f"{v:.9f}" for v in SIXTH]},
        {"ra": SIXTH.astype(">f8"), "dec": np.full((6, 1), 30.0)},
        {"pmra": np.full(6, 0.03) * units.arcsec / units.yr},
        {"pmdec": np.full(6, -30.0 / 3.6e3) * units.deg / units.kyr},
        {"pmra": None, "pm_ra_cosdec": np.full(6, 30.0)},
    ],
)
def test_hours_radians_and_other_units(changes):
    stars, true = stars_of_table(gaia(**changes), "here"), stars_of_table(gaia(), "here")
    np.testing.assert_allclose(stars.at(2020.0), true.at(2020.0), atol=2e-6, rtol=0)


def test_declinations_just_south_of_the_equator():
    table = gaia(ra=["06 40 00"] * 6, dec=[f"-00 30 0{k}" for k in range(6)])
    assert stars_of_table(table, "here").dec.max() == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (gaia(dec=np.full(6, 91.0)), r"dec is 91\.0 in row 0 .*one of 6 such rows"),
        (changed(gaia(), "ra", 2, 361.5), r"ra is 361\.5 in row 2"),
        (gaia(pmra=np.full(6, 20000.0)), r"pmra is 20000\.0 in row 0"),
        (gaia(pmra=None, pm_ra=np.zeros(6)), r"pm_ra doesn't tell whether cos\(dec\) is in it"),
        (gaia(ref_epoch=None), r"gives no epoch: .*2016\.0 for Gaia DR3, .*2000\.0 for the TIC"),
        (Table(gaia(ref_epoch=None), meta={"epoch": "now"}), r"metadata give the epoch 'now'"),
        (gaia(ref_epoch=np.full(6, 57388.0)), r"epoch is 57388\.0 in row 0"),
        (gaia(phot_g_mean_mag=np.full(6, 99.0)), r"no star that can be used, of 6 rows: 6 without"),
        (tic(objType=["EXTENDED"] * 6), r"6 that are no point source \(EXTENDED\)"),
        (gaia(ra=np.zeros((6, 2))), r"column ra holds \(2,\) numbers a row"),
        (gaia(ra=["06 61 00"] * 6), r"column ra holds no numbers \('06 61 00'\)"),
        (gaia(pmra=np.zeros(6) * units.s / units.yr), r"column pmra is in s / yr, which is no mas"),
        (tic(Tmag=None, T=np.full(6, 5700) * units.K), r"column T is in K, which is no mag"),
        (
            gaia(phot_g_mean_mag=None, phot_g_mean_flux=np.full(6, 1e5)),
            r"neither a column T nor all of G, BP, RP .*as magnitudes: fluxes are not taken",
        ),
        (
            gaia(phot_g_mean_mag=None, g=np.full(6, 12.0), r=np.full(6, 11.0)),
            r"neither a column T nor all of G",
        ),
        (gaia(ra=None, Ra=SIXTH, RA=SIXTH), r"columns Ra and RA, and either could be ra"),
    ],
)
def test_what_can_t_be_right_is_one_clear_line(table, message):
    with pytest.raises(ConfigError, match=message) as caught:
        stars_of_table(table, "here")
    assert "\n" not in str(caught.value)


def test_a_colour_of_its_own():
    table = gaia(phot_bp_mean_mag=None, phot_rp_mean_mag=None, bp_rp=np.ones(6))
    np.testing.assert_allclose(stars_of_table(table, "x").tmag, stars_of_table(gaia(), "x").tmag)
