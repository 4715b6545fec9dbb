"""Gaia's archive: jobs that are waited for, answers that are checked, and patience."""

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from smallsky import ccd_frame
from tapserver import tap_service

from syndiff.errors import ArchiveUnavailableError, ConfigError
from syndiff.layout import Detector, Layout
from syndiff.stars.gaia import GaiaService, adql_polygon, find_gaia_stars, query_gaia
from syndiff.window import Window

IMPATIENT = {"backoff_s": 0.01, "poll_s": 0.01, "retries": 2, "job_s": 5.0}
ANYWHERE = "1 = 1"


def gaia_table(n=6):
    rng = np.random.default_rng(4)
    g = rng.uniform(8, 17, n)
    bp = MaskedColumn(g + 0.4, mask=np.arange(n) == 1)
    return Table(
        {
            "source_id": np.arange(n, dtype=np.int64) + 4_000_000_000_000_000_001,
            "ra": rng.uniform(10, 11, n),
            "dec": rng.uniform(40, 41, n),
            "pmra": MaskedColumn(rng.normal(0, 10, n), mask=np.arange(n) == 2),
            "pmdec": MaskedColumn(rng.normal(0, 10, n), mask=np.arange(n) == 2),
            "ref_epoch": np.full(n, 2016.0),
            "phot_g_mean_mag": g,
            "phot_bp_mean_mag": bp,
            "phot_rp_mean_mag": g - 0.6,
        }
    )


def ask(service, condition=ANYWHERE, **settings):
    return query_gaia(condition, GaiaService(service.url, **(IMPATIENT | settings)))


def test_all_rows_come_with_their_numbers_and_jobs_are_deleted():
    with tap_service(gaia_table()) as service:
        stars = ask(service)
    assert sorted(stars.identity) == list(gaia_table()["source_id"])
    assert np.isnan(stars.colour).sum() == 1
    # without a measured motion a star stands still
    assert (stars.motion_mas_per_year == 0).sum() == 1
    assert service.deleted == ["0", "1"]
    assert "COUNT(*)" in service.queries[0]
    assert "pmra, pmdec" in service.queries[1]


@pytest.mark.parametrize(
    "fault",
    [
        "refuse_job",
        "html_job",
        "refuse_phase",
        "refuse_result",
        "html_result",
        "error_phase",
        "short_result",
        "cut_result",
        "overflow",
    ],
)
def test_what_fails_once_is_asked_again(fault):
    with tap_service(gaia_table(), **{fault: 1}) as service:
        assert len(ask(service)) == 6


def test_a_job_that_waits_is_set_running():
    with tap_service(gaia_table(), pending=True) as service:
        assert len(ask(service)) == 6


def test_results_elsewhere_are_followed_and_slow_ones_waited_for():
    with tap_service(gaia_table(), redirect=True, executing=4, pause_s=0.01) as service:
        assert len(ask(service)) == 6


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("refuse_job", "503"),
        ("html_result", "no VOTable but Service under maintenance"),
        ("error_phase", "the job ended in ERROR: disk full"),
        ("short_result", "it sent 4 rows, and counts 6"),
        ("overflow", "its table is marked OVERFLOW"),
    ],
)
def test_what_goes_on_failing_is_told(fault, reason):
    with (
        tap_service(gaia_table(), **{fault: 99}) as service,
        pytest.raises(ArchiveUnavailableError, match=rf"{reason}.*after 3 attempts.*`stars`"),
    ):
        ask(service)


def test_a_job_that_never_ends_is_given_up():
    with (
        tap_service(gaia_table(), executing=10**6) as service,
        pytest.raises(ArchiveUnavailableError, match=r"still EXECUTING after 0 s"),
    ):
        ask(service, job_s=0.05, retries=0)


def test_a_count_at_the_limit_is_an_error():
    with (
        tap_service(gaia_table(), count=6) as service,
        pytest.raises(ArchiveUnavailableError, match=r"counts 6 stars .* fewer than 6 at once"),
    ):
        ask(service, row_limit=6)
    assert len(service.queries) == 1


def test_nobody_there():
    service = GaiaService("http://127.0.0.1:9/tap", **(IMPATIENT | {"retries": 1}))
    with pytest.raises(ArchiveUnavailableError, match=r"after 2 attempts.*give a star catalogue"):
        query_gaia(ANYWHERE, service)


def test_addresses_are_checked():
    with pytest.raises(ConfigError, match=r"service 'gaia\.org' is not an http"):
        query_gaia(ANYWHERE, GaiaService("gaia.org"))
    with pytest.raises(ConfigError, match=r"table 'a; drop' is no name"):
        GaiaService(table="a; drop")


def test_the_polygon_holds_the_window_and_its_margin():
    from matplotlib.path import Path

    frame = ccd_frame(20, 3, 3)
    text = adql_polygon(frame, frame.science)
    numbers = np.array([float(v) for v in text[len("POLYGON(") : -1].split(",")]).reshape(-1, 2)
    assert len(numbers) == 32
    # On the plane that touches the sky in the middle, great circles are straight.
    from astropy.wcs import WCS

    plane = WCS(naxis=2)
    plane.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    plane.wcs.crval = frame.pixel_to_sky(1068, 1024)
    x, y = np.meshgrid([-60.0, 44, 1000, 2092, 2200], [-100.0, 0, 1000, 2048, 2150])
    inside = plane.all_world2pix(*frame.pixel_to_sky(x.ravel(), y.ravel()), 0)
    border = Path(np.stack(plane.all_world2pix(*numbers.T, 0), -1))
    assert border.contains_points(np.stack(inside, -1)).all()


def test_answers_are_kept_and_joined(tmp_path):
    frame = ccd_frame(20, 3, 3)
    layout = Layout.under(str(tmp_path), Detector(20, 3, 3))
    with tap_service(gaia_table()) as service:
        asked = GaiaService(service.url, **IMPATIENT)
        first = find_gaia_stars(layout, frame, Window(100, 100, 120, 120), asked)
        requests = service.requests
        again = find_gaia_stars(layout, frame, Window(101, 101, 110, 110), asked)
        assert service.requests == requests
        assert again.pack() == first.pack()
        service.table = gaia_table(8)
        more = find_gaia_stars(layout, frame, Window(1500, 100, 1520, 120), asked)
    assert len(first) == 6
    assert sorted(more.identity) == list(gaia_table(8)["source_id"])
