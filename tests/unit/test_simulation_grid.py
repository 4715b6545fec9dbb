"""The small catalogue: complete grids, turned against each other, that share enough sky."""

import csv

import numpy as np
import pytest

from syndiff.errors import ConfigError
from syndiff.simulation.ffi import example_wcs
from syndiff.simulation.grid import (
    catalogue_text,
    skycell_border,
    skycell_wcs,
    small_catalogue,
    write_catalogue,
)
from syndiff.sky.tessellation import Tessellation
from syndiff.window import Window

FIELD = Window(980, 1000, 1020, 1040)


@pytest.fixture(scope="module")
def cells():
    return small_catalogue(example_wcs(), FIELD)


def inside(cell, ra, dec, margin_px=0.0):
    x, y = skycell_wcs(cell).all_world2pix(ra, dec, 0)
    u = np.minimum(x + 0.5, cell.nx - 0.5 - x)
    v = np.minimum(y + 0.5, cell.ny - 0.5 - y)
    return np.minimum(u, v) >= margin_px


@pytest.mark.parametrize(
    "field",
    [
        FIELD,
        Window(44, 0, 84, 40),
        Window(2040, 2000, 2080, 2040),
        Window(2060, 2010, 2092, 2048),
        Window(500, 9, 560, 69),
    ],
)
def test_every_pixel_of_the_field_is_covered(field):
    wcs = example_wcs()
    grown = field.grown(5)
    x, y = np.meshgrid(np.arange(grown.x0, grown.x1, 0.5), np.arange(grown.y0, grown.y1, 0.5))
    ra, dec = wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    covered = np.any([inside(cell, ra, dec) for cell in small_catalogue(wcs, field)], axis=0)
    assert covered.all()


def test_projections_share_a_wide_strip(cells):
    ra0, dec0 = (float(v) for v in example_wcs().all_pix2world(999.5, 1019.5, 0))
    dec = np.linspace(dec0 - 0.12, dec0 + 0.12, 50)
    ra = np.full(50, ra0)
    for projection in ("0001", "0002"):
        mine = [cell for cell in cells if cell.projection_cell.endswith(projection)]
        # The meridian in the middle lies 60" (240 px) or more inside both grids' outer edges.
        for shift in (-60, 60):
            moved = ra + shift / 3600 / np.cos(np.radians(dec))
            assert np.any([inside(cell, moved, dec) for cell in mine], axis=0).all()


def test_grids_are_turned_against_each_other(cells):
    def north(cell):
        x, y = skycell_wcs(cell).all_world2pix([216.5, 216.5], [76.3, 76.31], 0)
        return np.degrees(np.arctan2(np.diff(x), np.diff(y)))[0]

    assert abs(north(cells[0]) - north(cells[-1])) > 5


def test_neighbours_overlap_as_asked(cells):
    first = cells[0]
    east = next(cell for cell in cells if cell.name == "skycell.0001.001")
    north = next(cell for cell in cells if cell.name == "skycell.0001.010")
    assert first.crpix[0] - east.crpix[0] == 1200 - 360
    assert first.crpix[1] - north.crpix[1] == 1200 - 360


def test_each_projection_is_a_complete_grid(cells):
    for projection in ("0001", "0002"):
        numbers = {
            cell.name.split(".")[2] for cell in cells if cell.name.split(".")[1] == projection
        }
        rows, columns = (1 + max(int(n[i]) for n in numbers) for i in (1, 2))
        assert len(numbers) == rows * columns
        assert rows > 1
        assert columns > 1
    assert 30 <= len(cells) <= 60


def test_catalogue_file_gives_back_the_skycells(cells, tmp_path):
    path = tmp_path / "SkyCells" / "skycell_wcs.csv"
    write_catalogue(cells, path)
    tessellation = Tessellation.from_csv(path)
    assert len(tessellation) == len(cells)
    assert all(tessellation[cell.name] == cell for cell in cells)
    rows = list(csv.DictReader(catalogue_text(cells).splitlines()))
    x, y = skycell_wcs(cells[3]).all_world2pix(float(rows[3]["RA"]), float(rows[3]["DEC"]), 0)
    assert (float(x), float(y)) == pytest.approx((599.5, 599.5), abs=1e-6)


def test_border_lies_on_the_border(cells):
    x, y = skycell_wcs(cells[5]).all_world2pix(*skycell_border(cells[5]), 0)
    edge = (
        np.minimum(np.abs(x - 599.5), np.abs(y - 599.5)),
        np.maximum(np.abs(x - 599.5), np.abs(y - 599.5)),
    )
    np.testing.assert_allclose(edge[1], 600.0, atol=1e-6)
    assert len(x) == 16


def test_overlap_wider_than_a_cell_is_refused():
    with pytest.raises(ConfigError, match=r"overlap_px 900 is out of range: give 0 to .* = 799"):
        small_catalogue(example_wcs(), FIELD, cell_px=800, overlap_px=900)


def test_field_for_too_many_cells_is_refused():
    field = Window(900, 900, 1200, 1200)
    with pytest.raises(ConfigError, match=r"names hold 10 x 10: give a smaller field \(`size`"):
        small_catalogue(example_wcs(), field)
