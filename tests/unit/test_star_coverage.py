"""Whether a star table is of the field: what is said if not, or not of all of it."""

import numpy as np
import pytest
from smallsky import ccd_frame
from startables import gaia

from syndiff.errors import ConfigError
from syndiff.stars.coverage import check_coverage
from syndiff.stars.star_files import stars_of_table
from syndiff.window import Window

FRAME = ccd_frame(20, 3, 3)


def stars_at(x, y):
    """A catalogue of stars on pixels of the CCD."""
    ra, dec = FRAME.pixel_to_sky(np.asarray(x, float), np.asarray(y, float))
    return catalogue(ra, dec)


def catalogue(ra, dec):
    n = len(ra)
    k = {name: np.full(n, gaia(1)[name][0]) for name in gaia(1).colnames}
    return stars_of_table(
        gaia(n, **(k | {"source_id": np.arange(n) + 1, "ra": ra, "dec": dec})), "t"
    )


def spread(n=3000, *, left=44, right=2092):
    rng = np.random.default_rng(3)
    return rng.uniform(left, right, n), rng.uniform(0, 2048, n)


def check(stars, window=None):
    check_coverage(stars, FRAME, window, "t.csv")


@pytest.mark.parametrize("window", [None, Window(500, 500, 900, 900), Window(990, 990, 1006, 1006)])
def test_a_table_of_the_field_is_taken_without_a_word(window, caplog):
    check(stars_at(*spread()), window)
    check(stars_at([1000.0], [1000.0]), window)
    assert not caplog.messages


@pytest.mark.parametrize(("ra", "dec"), [(90.0, 0.0), (-90.0, 0.0), (180.0, 0.0), (0.0, -60.0)])
def test_a_table_of_another_place_is_an_error_that_names_both(ra, dec):
    here = stars_at(*spread(50))
    stars = catalogue((here.ra + ra) % 360, here.dec + dec)
    with pytest.raises(
        ConfigError, match=r"no star of t\.csv is in the field: its RA runs from"
    ) as e:
        check(stars)
    assert "and the centre of sector 20 camera 3 ccd 3 is RA 2" in str(e.value)


@pytest.mark.parametrize(
    ("change", "meaning"),
    [
        (lambda s: (s.ra / 15, s.dec), "RA is in hours"),
        (lambda s: (np.radians(s.ra), np.radians(s.dec)), "RA and Dec are in radians"),
    ],
)
def test_what_the_numbers_may_be_is_told(change, meaning):
    with pytest.raises(ConfigError, match=rf"its stars would be in it if its {meaning}"):
        check(catalogue(*change(stars_at(*spread(50)))))


def test_stars_on_the_ccd_and_none_near_the_region(caplog):
    check(stars_at(*spread(left=1500)), Window(100, 1000, 116, 1016))
    assert "no star of t.csv is in the field: it has stars on sector 20" in caplog.text


@pytest.mark.parametrize(("right", "part"), [(1068, 50), (1580, 25)])
def test_a_search_that_was_too_small_is_told(right, part, caplog):
    check(stars_at(*spread(right=right)))
    told = int(caplog.text.split("no stars in ")[1].split(" %")[0])
    assert told == pytest.approx(part, abs=7)  # a block's width is 1/15


def test_a_cone_around_the_middle_lacks_the_corners(caplog):
    x, y = spread()
    inside = np.hypot(x - 1068, y - 1024) < 1000
    check(stars_at(x[inside], y[inside]))
    assert "Give a table of the whole field" in caplog.text
