"""Where TESS sees a target: pixels against headers of FFIs, edges, gaps, poles, what PS1 covers."""

import csv
import datetime as dt
import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from commands import invoke, refused
from realdata import real
from servers import FaultyServer
from sesame import ANSWER, NOTHING

import syndiff
from syndiff.ffi.frame import Frame
from syndiff.layout import Detector
from syndiff.simulation.ffi import SCIENCE, example_cards, example_wcs
from syndiff.sky import pointings
from syndiff.sky.names import resolve_name
from syndiff.sky.pointings import POINTING_ERROR_PX, Visit, visits_to
from syndiff.stages.run import Run

DAY = dt.date(2020, 1, 1)
CORNERS_AND_MIDDLE = [(45, 1), (2090, 1), (45, 2046), (2090, 2046), (1067, 1023), (500, 1500)]


def wcs_of_ffi(detector):
    """WCS of an FFI as it came."""
    if detector == Detector(20, 3, 3):
        return example_wcs()
    if detector == Detector(1, 1, 4):
        return WCS(fits.getheader(real("tess2018206192942-s0001-1-4-0120-s_ffic.fits"), 1))
    text = real("../headers/tess_ffi_s0002_1_2.txt").read_text()
    return WCS(fits.Header.fromstring(text, sep="\n"))


@pytest.mark.parametrize("numbers", [(20, 3, 3), (1, 1, 4), (2, 1, 2)])
def test_pixels_are_those_of_the_ffis_headers(numbers):
    detector = Detector(*numbers)
    ra, dec = wcs_of_ffi(detector).all_pix2world(np.array(CORNERS_AND_MIDDLE, float), 0).T
    off = []
    for place, pixel in zip(zip(ra, dec, strict=True), CORNERS_AND_MIDDLE, strict=True):
        (seen,) = (v for group in visits_to(*place) for v in group if v.detector == detector)
        off.append(np.hypot(seen.column - pixel[0], seen.row - pixel[1]))
    assert max(off) < POINTING_ERROR_PX
    assert np.median(off) < 0.4


def test_edges_are_those_of_the_science_pixels():
    def edge(column, row):
        return Visit(Detector(1, 1, 1), column, row, DAY, DAY).edge_px

    assert edge(44, 1000) == edge(2091, 1000) == edge(1000, 0) == edge(1000, 2047) == 0.5
    assert edge(43.5, 1000) == edge(1000, 2047.5) == 0
    assert edge(43, 1000) == edge(1000, -1) == -0.5
    assert edge(100, 2000) == 47.5


def test_a_place_in_a_gap_is_told_with_its_distance():
    frame = example_wcs()
    ra, dec = frame.all_pix2world([[1000.0, 2047 + 50]], 0)[0]
    found = syndiff.where((ra, dec))
    assert 20 not in {visit.detector.sector for visit in found.visits}
    near = [visit for visit in found.beside if visit.detector.sector == 20]
    assert near
    assert all(-60 < visit.edge_px < -45 for visit in near)
    assert any(note.startswith("sector 20 camera 3 ccd") for note in found.notes)


def test_a_place_on_an_edge_says_that_pixels_are_not_that_sure():
    ra, dec = example_wcs().all_pix2world([[1000.0, 2047.4]], 0)[0]
    assert any("so near an edge" in note for note in syndiff.where((ra, dec)).notes)
    ra, dec = example_wcs().all_pix2world([[1000.0, 1000.0]], 0)[0]
    seen = [v for v in syndiff.where((ra, dec)).visits if v.detector.sector == 20]
    assert [visit.detector for visit in seen] == [Detector(20, 3, 3)]


def test_right_ascension_wraps():
    sides = [syndiff.where((ra, 3.0)) for ra in (359.99999, 0.0, 1e-5)]
    tables = [[(v.detector, round(v.column), round(v.row)) for v in side.visits] for side in sides]
    assert tables[0] == tables[1] == tables[2] != []


@pytest.mark.parametrize("dec", [90.0, -90.0])
def test_poles_are_places_too(dec):
    one, other = (syndiff.where((ra, dec)) for ra in (0.0, 123.0))
    assert [v.detector for v in one.visits] == [v.detector for v in other.visits] != []
    assert one.is_covered == (dec > 0)


@pytest.mark.parametrize(
    ("dec", "is_covered", "note"),
    [
        (-29.0, True, "PS1 covers it: skycell."),
        (-29.9, True, "PS1 ends at declination -30"),
        (-30.1, False, "PS1 ends at declination -30"),
        (-30.5, False, "PS1 has no stacks south of declination -30: no template"),
        (-39.0, False, "PS1 has no stacks south of"),
    ],
)
def test_where_ps1_ends_is_told(dec, is_covered, note):
    found = syndiff.where((60.0, dec))
    assert found.is_covered is is_covered
    assert found.notes[0].startswith(note)
    assert (found.best is not None) is is_covered


def test_skycells_hold_the_place():
    found = syndiff.where("14:20:00 +76:30:00")
    assert set(found.ps1_skycells) < set(found.field_skycells)
    place = SkyCoord(215.0, 76.5, unit="deg")
    for name in found.ps1_skycells:
        cell = syndiff.Tessellation.rings_v3()[name]
        x, y = cell.wcs.world_to_pixel(place)
        assert -0.5 <= x <= cell.nx - 0.5
        assert -0.5 <= y <= cell.ny - 0.5


def test_dates_are_those_that_tesswcs_has():
    # Its table alone: the import takes 5 s.
    if (spec := find_spec("tesswcs")) is None:
        pytest.skip("tesswcs is not installed")
    path = Path(spec.origin).with_name("data") / "pointings.csv"
    with path.open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100
    for row in rows:
        days = pointings._dates(int(row["Sector"]), 2459000.5)
        for day, jd in zip(days, (row["Start"], row["End"]), strict=True):
            assert day.toordinal() + 1721424.5 == np.floor(float(jd) - 0.5) + 0.5


def test_dates_of_a_sector_that_is_not_listed_are_about_its_middle():
    start, end = pointings._dates(999, 2458849.5 + 3)
    assert (start, end) == (dt.date(2019, 12, 21), dt.date(2020, 1, 18))


def test_every_sector_that_is_known_is_listed():
    sector, _ = pointings.known_sectors()
    assert set(range(1, sector + 1)) <= set(pointings._listed_dates())


def test_what_is_to_come_is_called_planned(monkeypatch):
    def at(year):
        class Day(dt.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls(year, 6, 1, tzinfo=tz)

        monkeypatch.setattr(dt, "datetime", Day)
        return syndiff.where("14:20:00 +76:30:00")

    early = at(2019)
    assert all(visit.is_planned for visit in early.visits)
    assert early.best is None
    assert any("are planned" in note for note in early.notes)
    late = at(2040)
    assert not any(visit.is_planned for visit in late.visits)
    assert "there are newer ones: pip install -U tess-point" in late.notes


def test_the_table_and_the_repr_tell_what_was_found():
    found = syndiff.where("14:20:00 +76:30:00")
    table = found.table()
    assert table.colnames == ["sector", "camera", "ccd", "column", "row", "edge_px", "start", "end"]
    assert list(table["sector"]) == [visit.detector.sector for visit in found.visits]
    assert "sectors 14, 14, 15, 20" in repr(found)
    assert len(syndiff.where((60.0, -5.0)).table()) >= 0


def test_the_command_prints_a_table_of_80_columns():
    done = invoke("where", "14:20:00", "+76:30:00")
    rows = [line for line in done.stdout.splitlines() if " to 20" in line]
    assert len(rows) == len(syndiff.where("215 76.5").visits)
    assert all(len(row.rstrip()) <= 80 for row in rows)
    (row,) = (row for row in rows if row.split()[:3] == ["20", "3", "3"])
    assert row.split()[6:] == ["2019-12-24", "to", "2020-01-21"]
    assert "next: syndiff " in done.stdout


def test_the_command_takes_a_southern_declination_unquoted():
    quoted = invoke("where", "60 -29:30:00", "--json").stdout
    assert invoke("where", "60", "-29:30:00", "--json").stdout == quoted
    assert json.loads(quoted)["dec_deg"] == -29.5


def test_the_command_refuses_options_that_do_not_exist():
    assert "there is no option --sector" in refused("where", "60", "5", "--sector", "3", code=2)
    assert "there is no option -x" in refused("where", "60", "5", "-x", code=2)


def test_the_command_finds_a_name_and_others_know_it_then(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    resolve_name.cache_clear()
    with FaultyServer({"-oxp/SNV?M 31": ANSWER, "-oxp/SNV?M 31x": NOTHING}) as server:
        done = invoke("where", "M", "31", "--sesame-url", server.url)
        assert done.stdout.startswith(f"M 31: M 31 (Simbad, {server.url}, ")
        line = refused("where", "M", "31x", "--sesame-url", server.url, code=2)
        assert "target 'M 31x' is no position, and neither Simbad, NED nor VizieR" in line
    with FaultyServer() as server:
        line = refused("where", "M", "32", "--sesame-url", server.url)
        assert "Give RA,DEC in place of the name" in line
    resolve_name.cache_clear()
    found = syndiff.where("M 31")
    assert (found.ra_deg, found.name.known_as) == (10.6847083, "M 31")
    resolve_name.cache_clear()


def test_a_sector_whose_target_moves_fast_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    resolve_name.cache_clear()
    fast = ANSWER.replace(b">30.0<", b">-800.0<").replace(b">-40.0<", b">10300.0<")
    with FaultyServer({"-oxp/SNV?Barnard's star": fast}) as server:
        found = syndiff.where("Barnard's star", sesame_url=server.url)
    assert "it moves by 10.3 arcsec a year: the position is that of J2000" in found.notes
    resolve_name.cache_clear()


def test_a_field_is_found_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    resolve_name.cache_clear()
    ra, dec = example_wcs().all_pix2world([[1000.0, 1020.0]], 0)[0]
    answer = ANSWER.replace(b"010.6847083", f"{ra:.7f}".encode())
    answer = answer.replace(b"+41.2687500", f"{dec:.7f}".encode())
    frame = Frame.from_header(
        fits.Header.fromstring(example_cards(), sep="\n"), Detector(20, 3, 3), (2078, 2136), SCIENCE
    )
    with FaultyServer({"-oxp/SNV?SN 2020xyz": answer}) as server:
        settings = syndiff.Settings(target="SN 2020xyz", size=20, sesame_url=server.url)
        assert settings.target == "SN 2020xyz"
        assert server.hits == {}
        run = SimpleNamespace(settings=settings, frame=frame)
        assert Run.window.func(run) == syndiff.Window(990, 1010, 1010, 1030)
    resolve_name.cache_clear()
