"""Skycells, their catalogue, and which ones cover a footprint."""

import pickle

import numpy as np
import pytest

from syndiff.errors import GeometryError
from syndiff.sky.tessellation import Skycell, Tessellation

COLUMNS = "NAME NAXIS1 NAXIS2 CRVAL1 CRVAL2 CRPIX1 CRPIX2 CDELT1 CDELT2 PC1_1 PC1_2 PC2_1 PC2_2"
CDELT = "6.94444461259988e-05"


@pytest.fixture(scope="module")
def rings():
    return Tessellation.rings_v3()


def direction(ra_deg, dec_deg):
    ra, dec = np.deg2rad(ra_deg), np.deg2rad(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def row(**changes):
    values = dict(
        zip(
            COLUMNS.split(),
            f"skycell.0001.000 1000 900 10 20 500 450 {CDELT} {CDELT} -1 0 0 1".split(),
            strict=True,
        )
    )
    return values | {key: str(value) for key, value in changes.items()}


def catalogue(*rows, header=COLUMNS):
    lines = [",".join(header.split()), *(",".join(one.values()) for one in rows)]
    return ("\n".join(lines) + "\n").encode()


# RINGS.V3


def test_rings_v3_holds_every_skycell_once(rings):
    assert len(rings) == 215_700
    assert len(np.unique(rings.table.names)) == 215_700
    assert (np.sort(rings.table.names) == rings.table.names).all()


@pytest.mark.parametrize(
    ("name", "size", "crval", "crpix"),
    [
        # From the survey's own headers of these stacks.
        (
            "skycell.2180.097",
            (6320, 6284),
            (121.764701843296, 41.9999999999986),
            (-11440.5, -22976.0),
        ),
        ("skycell.1784.059", (6279, 6261), (85.7142791747971, 21.9999999999992), (-22955, 242)),
    ],
)
def test_rings_v3_agrees_with_survey_headers(rings, name, size, crval, crpix):
    skycell = rings[name]
    assert (skycell.nx, skycell.ny) == size
    # Headers went through the survey's own degrees and radians: 1e-10 deg is 0.4 microarcsec.
    assert skycell.crval == pytest.approx(crval, abs=1e-10)
    assert skycell.crpix == crpix
    # Headers have 15 digits.
    assert skycell.cdelt == pytest.approx((6.94444461259988e-05, 6.94444461259988e-05), rel=1e-14)
    assert skycell.pc == (-1.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("name", ["skycell.2643.095", "skycell.2634.012", "skycell.1322.099"])
def test_matrix_agrees_with_astropy(rings, name):
    skycell = rings[name]
    x, y = np.array([0.0, 100.0, skycell.nx - 1]), np.array([5.0, 1000.0, skycell.ny - 1])
    pointed = np.stack([x, y, np.ones(3)], axis=1) @ skycell.pixel_to_direction.T
    pointed /= np.linalg.norm(pointed, axis=1, keepdims=True)
    expected = direction(*skycell.wcs.all_pix2world(x, y, 0))
    # 1e-15 rad is 1e-9 of a pixel.
    np.testing.assert_allclose(pointed, expected, rtol=0, atol=1e-15)


def test_pole_is_not_turned(rings):
    # With astropy's default LONPOLE at the pole, 0, this would come out near RA 0.
    ra, dec = rings["skycell.2643.095"].wcs.all_pix2world(0, 3000, 0)
    assert abs(ra - 180) < 5
    assert dec < 89


def test_unknown_name(rings):
    assert "skycell.2643.099" in rings
    assert "skycell.2643.100" not in rings
    assert 7 not in rings
    with pytest.raises(GeometryError, match=r"no skycell 'skycell.9999.000' .*215700 names run"):
        rings["skycell.9999.000"]


def test_iterates_over_skycells():
    table = Tessellation.from_csv(catalogue(row(), row(NAME="a.b")))
    assert [skycell.name for skycell in table] == ["a.b", "skycell.0001.000"]


def test_digest_tells_tessellations_apart():
    digests = {
        Tessellation.from_csv(catalogue(one)).digest
        for one in (row(), row(CRPIX1=501), row(NAXIS1=9))
    }
    assert len(digests) == 3
    assert Tessellation.from_csv(catalogue(row())).digest in digests


# Skycell


def test_skycell_leaves_its_wcs_behind_when_pickled(rings):
    skycell = rings["skycell.2556.082"]
    bare = len(pickle.dumps(skycell))
    assert skycell.wcs.pixel_shape == (skycell.nx, skycell.ny)
    sent = pickle.loads(pickle.dumps(skycell))
    assert sent == skycell
    assert sent.digest == skycell.digest
    assert len(pickle.dumps(skycell)) == bare


def test_skycell_names_and_shape(rings):
    skycell = rings["skycell.2556.082"]
    assert skycell.projection_cell == "skycell.2556"
    assert skycell.shape == (skycell.ny, skycell.nx)
    lonely = Skycell("alone", 10, 10, (0, 0), (5, 5), (1, 1), (1, 0, 0, 1))
    assert lonely.projection_cell == "alone"


# Catalogue


def test_catalogue_of_rings_is_rings(rings):
    names = ["skycell.2643.045", "skycell.1322.000"]
    rows = []
    for name in names:
        s = rings[name]
        numbers = (s.nx, s.ny, *s.crval, *s.crpix, *s.cdelt, *s.pc)
        rows.append(dict(zip(COLUMNS.split(), (name, *map(repr, numbers)), strict=True)))
    read = Tessellation.from_csv(catalogue(*rows))
    assert [read[name] for name in names] == [rings[name] for name in names]


def test_catalogue_takes_survey_spelling_and_more_columns(tmp_path):
    header = COLUMNS.replace("PC", "pc00").replace("_", "00") + " RA DEC"
    path = tmp_path / "cells.csv"
    path.write_bytes(b"\xef\xbb\xbf" + catalogue(row(RA=10, DEC="-"), header=header) + b"\n")
    assert Tessellation.from_csv(path)["skycell.0001.000"].pc == (-1.0, 0.0, 0.0, 1.0)


def test_catalogue_takes_turned_cells():
    turn = np.deg2rad(17)
    pc = dict(
        zip(
            ("PC1_1", "PC1_2", "PC2_1", "PC2_2"),
            (-np.cos(turn), np.sin(turn), np.sin(turn), np.cos(turn)),
            strict=True,
        )
    )
    assert len(Tessellation.from_csv(catalogue(row(**pc)))) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: give a CSV file with NAME, NAXIS1"),
        (catalogue(), "lists no skycell"),
        (b"\xff\xfe\x00", "is not text"),
        (b'NAME,"x\n', "is not a CSV file"),
        (catalogue(row(), header=COLUMNS.replace("CRPIX2", "OTHER")), "has 0 columns CRPIX2"),
        (catalogue(row(), header=COLUMNS.replace("CRPIX2", "CRPIX1")), "has 2 columns CRPIX1"),
        (catalogue(row(PC2_2="1,1")), "row 2: 14 values where the header names 13"),
        (catalogue(row(NAME="../../x")), r"row 2, column NAME: '../../x' is not a skycell name"),
        (catalogue(row(NAME="/etc/x")), "column NAME: '/etc/x'"),
        (catalogue(row(NAME=".hidden")), "column NAME: '.hidden'"),
        (catalogue(row(NAME="a..b")), "column NAME: 'a..b'"),
        (catalogue(row(NAME="a\\b")), "is not a skycell name"),
        (catalogue(row(NAME="")), "column NAME: ''"),
        (catalogue(row(), row(NAME="b"), row()), "row 4, column NAME: .* is there twice"),
        (catalogue(row(CRVAL1="nan")), "row 2, column CRVAL1: 'nan' is not a finite number"),
        (catalogue(row(CRPIX2="inf")), "column CRPIX2: 'inf' is not a finite number"),
        (catalogue(row(), row(NAME="b", CDELT1="x")), "row 3, column CDELT1: 'x' is not a finite"),
        (catalogue(row(NAXIS1=0)), "column NAXIS1: 0.0 is not a size: give 1 to 65536"),
        (catalogue(row(NAXIS2=-5)), "column NAXIS2: -5.0 is not a size"),
        (catalogue(row(NAXIS2=10.5)), "column NAXIS2: 10.5 is not a size"),
        (catalogue(row(NAXIS1=1e30)), "column NAXIS1: 1e.30 is not a size"),
        (catalogue(row(CRVAL1=400)), "column CRVAL1: 400.0 is out of range"),
        (catalogue(row(CRVAL2=-91)), "column CRVAL2: -91.0 is out of range"),
        (catalogue(row(CDELT1=1e-4)), r"column CDELT and PC: .* not square pixels of 0.25 arcsec"),
        (catalogue(row(CDELT1=1e-4, CDELT2=1e-4)), "not square pixels"),
        (catalogue(row(PC1_2=0.1)), "not square pixels"),
        (catalogue(row(CRPIX1=2e5)), "column CRPIX1 and CRPIX2: .* farther than 10 deg"),
    ],
)
def test_malformed_catalogue(content, message):
    with pytest.raises(GeometryError, match=message):
        Tessellation.from_csv(content)


def test_catalogue_that_is_not_there(tmp_path):
    with pytest.raises(
        GeometryError, match=r"can't read the skycell catalogue .*none.csv: No such"
    ):
        Tessellation.from_csv(tmp_path / "none.csv")


# Covering


def blob(ra_deg, dec_deg, radius_deg, n=40):
    """Return a dented closed border around a place, in order."""
    centre = direction(ra_deg, dec_deg)
    east = np.array([-np.sin(np.deg2rad(ra_deg)), np.cos(np.deg2rad(ra_deg)), 0.0])
    north = np.cross(centre, east)
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    reach = np.tan(np.deg2rad(radius_deg)) * (1 + 0.3 * np.cos(3 * angle))
    points = centre + reach[:, None] * (
        np.cos(angle)[:, None] * east + np.sin(angle)[:, None] * north
    )
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def holders(rings, point):
    """Return the names of all skycells that hold a point, by looking at each of them."""
    names = []
    for row in np.flatnonzero(rings._centres @ point > np.cos(np.deg2rad(0.33))):
        skycell = rings[str(rings.table.names[row])]
        x, y, scale = np.linalg.solve(skycell.pixel_to_direction, point)
        if -0.5 < x / scale < skycell.nx - 0.5 and -0.5 < y / scale < skycell.ny - 0.5:
            names.append(skycell.name)
    return names


PLACES = [(0.0, 12.0), (123.0, 90.0), (200.0, -30.0), (40.0, 76.0), (359.99, 0.0)]


@pytest.mark.parametrize("place", PLACES)
def test_covering_misses_no_skycell(rings, place):
    border = blob(*place, 0.6)
    covering = [skycell.name for skycell in rings.covering(border)]
    assert covering == sorted(covering)
    rng = np.random.default_rng(1)
    middle = direction(*place)
    # The blob is star-shaped: shrinking its border towards the middle stays inside.
    for shrink in [*rng.uniform(0, 1, 30), *[0.9999] * 40]:
        corner = border[rng.integers(len(border))]
        point = middle + shrink * (corner - middle)
        assert set(holders(rings, point / np.linalg.norm(point))) <= set(covering)


@pytest.mark.parametrize("place", PLACES)
def test_covering_names_no_skycell_that_is_apart(rings, place):
    border = blob(*place, 0.6)
    frame = np.linalg.svd(direction(*place)[None])[2][1:]
    middle = direction(*place)
    outline = border @ frame.T / (border @ middle)[:, None]
    for skycell in rings.covering(border):
        unit = np.linspace(-0.5, 1, 80)[:, None]
        grid = np.stack(
            np.broadcast_arrays(unit * skycell.nx, (unit * skycell.ny).T, 1.0), axis=-1
        ).reshape(-1, 3)
        pointed = grid[(grid[:, 0] >= -0.5) & (grid[:, 1] >= -0.5)] @ skycell.pixel_to_direction.T
        points = pointed @ frame.T / (pointed @ middle)[:, None]
        # A grid of 80 px inside the skycell may just miss an overlap: half a step is allowed.
        assert winding(outline * 1.0015, points).any()


def winding(outline, points):
    """Tell which points a closed outline goes around, by summing the angles it is seen under."""
    seen = outline[None] - points[:, None]
    angle = np.arctan2(seen[..., 1], seen[..., 0])
    turns = np.diff(np.concatenate([angle, angle[:, :1]], axis=1), axis=1)
    return np.abs(((turns + np.pi) % (2 * np.pi) - np.pi).sum(axis=1)) > np.pi


@pytest.mark.parametrize("place", PLACES)
def test_covering_reaches_as_far_as_its_margin(rings, place):
    inner, outer = blob(*place, 0.6), blob(*place, 0.9)
    margin = np.rad2deg(np.arccos(np.clip((inner * outer).sum(axis=1), -1, 1)).max())
    wanted = {skycell.name for skycell in rings.covering(outer)}
    assert wanted <= {skycell.name for skycell in rings.covering(inner, margin)}
    assert len(rings.covering(inner, margin)) < 1.7 * len(wanted)


def test_covering_finds_the_skycell_around_a_tiny_footprint(rings):
    border = blob(10.0, 20.5, 1e-4)
    names = {skycell.name for skycell in rings.covering(border)}
    assert names == set(holders(rings, direction(10.0, 20.5)))


def test_covering_is_empty_where_there_are_no_skycells(rings):
    assert rings.covering(blob(10.0, -60.0, 1.0)) == []


def test_covering_of_a_footprint_as_large_as_a_ccd(rings):
    border = blob(130.0, 60.0, 6.0, n=400)
    covering = rings.covering(border)
    # All whose middle lies inside, and a fringe of at most a skycell's radius around.
    middle = direction(130.0, 60.0)
    apart = np.rad2deg(np.arccos(rings._centres @ middle))
    assert (apart < 6.0 * 0.7 - 0.01).sum() <= len(covering) <= (apart < 6.0 * 1.3 + 0.4).sum()
    assert 700 < len(covering) < 1400


@pytest.mark.parametrize(
    ("footprint", "margin", "message"),
    [
        (np.eye(3)[:2], 0.0, r"shape \(2, 3\) is not a polygon"),
        (np.full((4, 3), np.nan), 0.0, "is not a polygon"),
        (np.eye(3), 0.0, r"footprint reaches 54.7 deg from its centre: at most 40"),
        (blob(10, 20, 1.0), -1.0, "margin of -1.0 deg can't be used"),
        (blob(10, 20, 1.0), np.nan, "margin of nan deg"),
    ],
)
def test_impossible_footprint(rings, footprint, margin, message):
    with pytest.raises(GeometryError, match=message):
        rings.covering(footprint, margin)


# Neighbours


def test_neighbours_inside_a_projection(rings):
    found = [skycell.name[-3:] for skycell in rings.neighbours(rings["skycell.2556.055"])]
    assert found == ["044", "045", "046", "054", "056", "064", "065", "066"]


@pytest.mark.parametrize("name", ["skycell.2180.097", "skycell.2643.000", "skycell.1322.099"])
def test_neighbours_are_those_that_share_sky(rings, name):
    skycell = rings[name]
    rng = np.random.default_rng(2)
    # Points near the border, where others come in.
    x, y = rng.uniform(-0.5, 1, (2, 80)).clip(-0.49 / skycell.nx, 0.99992)
    points = np.stack([x * skycell.nx, y * skycell.ny, np.ones(80)], axis=1)
    points = points @ skycell.pixel_to_direction.T
    met = set()
    for point in points / np.linalg.norm(points, axis=1, keepdims=True):
        met |= set(holders(rings, point))
    neighbours = rings.neighbours(skycell)
    assert met - {name} <= {other.name for other in neighbours}
    for other in neighbours:
        assert name in {back.name for back in rings.neighbours(other)}
        assert _shared_px(skycell, other) > 0


def _shared_px(first, second, step=16.0):
    """Return a rough count of the pixels of one skycell that lie in another."""
    x, y = np.meshgrid(np.arange(0, first.nx, step), np.arange(0, first.ny, step))
    pointed = np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    u, v, w = np.linalg.solve(second.pixel_to_direction, first.pixel_to_direction @ pointed)
    inside = (u / w > -0.5) & (u / w < second.nx - 0.5) & (v / w > -0.5) & (v / w < second.ny - 0.5)
    return inside.sum() * step**2


def test_cells_that_only_touch_are_no_neighbours():
    rows = [row(NAME="a"), row(NAME="b", CRPIX1=-500), row(NAME="c", CRPIX1=1499)]
    cells = Tessellation.from_csv(catalogue(*rows))
    assert [skycell.name for skycell in cells.neighbours(cells["a"])] == ["c"]
    assert cells.neighbours(cells["b"]) == []


def test_skycell_of_another_tessellation(rings):
    other = Tessellation.from_csv(catalogue(row(NAME="skycell.1322.000")))
    with pytest.raises(GeometryError, match="has another WCS in this tessellation"):
        rings.neighbours(other["skycell.1322.000"])
