import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from syndiff.errors import ConfigError
from syndiff.positions import read_position, read_target

HERE = (215.0, -76.5)


@pytest.mark.parametrize(
    "text",
    [
        *("14:20:00 -76:30:00", "14:20:00,-76:30:00", "14 20 00 -76 30 00", "14:20:00.0-76:30:00"),
        *("14h20m00s -76d30m00s", "14h 20m 00s -76d 30m 00s", "14 h 20 m 00 s -76 d 30 m 00 s"),
        *("14H20M00S-76D30M00S", "14h20m -76d30m", "14:20 -76:30", "14 20 -76 30"),
        *(
            "215.0 -76.5",
            "215.0,-76.5",
            "215.0-76.5",
            "215.0; -76.5",
            "2.15e2 -7.65e1",
            "-145 -76.5",
        ),
        *(
            "215.0d -76.5d",
            "215 deg, -76.5 deg",
            "215.0deg -76.5deg",
            "215.0 degrees -76.5 degrees",
        ),
        *(
            "(215.0, -76.5)",
            "RA=14:20:00, Dec=-76:30:00",
            "RA 215.0 Dec -76.5",
            "R.A. 215, dec. -76.5",
        ),
        *("14h20m00s, -76\N{DEGREE SIGN}30\N{PRIME}00\N{DOUBLE PRIME}", "215d00m00s -76d30m00s"),
        *("14:20:00 \N{MINUS SIGN}76:30:00", "14h20m00s -76d30'00''", "14:20:00 -76:30:00 J2000"),
        *("J142000.0-763000", "J142000-763000", "J14200000-7630000", "j142000.00 -763000.0"),
        *(" 215.0\t-76.5 ", "14:20:00.00 -76.5", "215.0 -76:30:00", "ICRS 215.0 -76.5"),
    ],
)
def test_every_usual_spelling_is_read(text):
    assert read_position(text) == pytest.approx(HERE, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("00:00:00 -00:30:00", (0.0, -0.5)),
        ("23:59:59.99 +00:00:00.5", (359.9999583333, 0.5 / 3600)),
        ("24:00:00 0", (0.0, 0.0)),
        ("360 90", (0.0, 90.0)),
        ("0 -90", (0.0, -90.0)),
        ("1e-5 -1e-5", (1e-5, -1e-5)),
        ("14 20 00 76 30 00", (215.0, 76.5)),
        ("14h 20m 76d 30m 36s", (215.0, 76.51)),
        ("14h20.5m 76d30.6m", (215.125, 76.51)),
        ("J123456.785+012345.67", (188.7366041667, 1.3960194444)),
        ("14.5 76.5", (14.5, 76.5)),
        ("1.5h 76.5", (22.5, 76.5)),
    ],
)
def test_what_could_be_misread_is_read_as_astronomers_mean_it(text, wanted):
    assert read_position(text) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    "value",
    [
        SkyCoord(215, -76.5, unit="deg"),
        SkyCoord(215, -76.5, unit="deg").galactic,
        SkyCoord([215], [-76.5], unit="deg"),
        (215, -76.5),
        [np.float32(215), np.float64(-76.5)],
        (14 * u.hourangle + 20 / 60 * u.hourangle, -76.5 * u.deg),
        ("14:20:00", "-76:30:00"),
    ],
)
def test_numbers_and_coordinates_are_read(value):
    assert read_position(value) == pytest.approx(HERE, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("25:00:00 10", "right ascension '25:00:00' is out of 0 to 24 hours"),
        ("210:48:09 54:20:57", "out of 0 to 24 hours"),
        ("14:60:00 10", "minutes 60 are 60 or more"),
        ("14:20:60 10", "seconds 60 are 60 or more"),
        ("14:20.5:10 10:00:00", r"minutes 20\.5 have a fraction"),
        ("400 10", "right ascension 400 is out of 0 to 360"),
        ("10,-91", "declination -91 is out of -90 to 90"),
        ("14h20m 54h", "declination '54h' is in hours"),
        ("-1:00:00 10", "out of 0 to 24 hours"),
        ("14:20:00", "two parts are wanted"),
        ("10 20 30", "two parts are wanted"),
        ("10,20,30", "3 parts stand between commas"),
        ("10,nan", "'nan' is no angle"),
        ("here,there", "'here' is no angle"),
        ("14:03:12.6 54:20:577", "'54:20:577' is no angle"),
        ("141955.12+540210.1", "out of -90 to 90"),
        ("261136679", "two parts are wanted"),
        ("", "two parts are wanted"),
        ((10, float("nan")), "not finite"),
        ((10, 95), "declination 95 is out of"),
        ((10, 20, 30), "too many values"),
        ((10 * u.s, 20 * u.deg), "not convertible"),
        ((True, 5), "True is no angle"),
        (5, "cannot unpack"),
        (SkyCoord([1, 2], [3, 4], unit="deg"), "size 1"),
    ],
)
def test_what_is_no_position_is_refused_with_the_reason(value, reason):
    with pytest.raises(
        ConfigError, match=rf"(?s)target .* is not RA,DEC \(.*{reason}.*\): give deg"
    ):
        read_target(value)


@pytest.mark.parametrize(
    "name",
    [
        *("M31", "m 31", "3C 273", "47 Tuc", "TIC 261136679", "Gaia DR3 123", "SN 2020xyz"),
        *(
            "1ES 1959+650",
            "1H 0707-495",
            "4U 1820-30",
            "1E0657-558",
            "SDSS J1030+0524",
            "J1030+0524",
        ),
        *("2MASS J14195512+5402101", "W Ser", "S Dor", "here"),
    ],
)
def test_names_are_left_for_others_to_find(name):
    assert read_target(f" {name} ") == name
    with pytest.raises(ConfigError, match="is not RA,DEC"):
        read_position(name)
