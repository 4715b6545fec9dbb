"""The mapping's files: what they hold, that they read back, what happens when they don't."""

import contextlib
import csv
import gzip
import io

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from smallsky import ccd_frame, small_frame, small_tessellation

from syndiff.errors import GeometryError, MissingInputError
from syndiff.layout import Layout
from syndiff.sky.mapping import PixelMap, Reference, map_frame, sky_to_pixel
from syndiff.sky.mapping_files import (
    index_skycell,
    read_mapping,
    remove_mapping,
    write_mapping,
    write_skycell_map,
)
from syndiff.sky.tessellation import Tessellation
from syndiff.storage.place import Place
from syndiff.window import Window

REFERENCE = Reference("tess1.fits", "SPOC", "2020-01-01T00:00:00", "2020-01-01T00:30:00")


@pytest.fixture(scope="module")
def mapping():
    return map_frame(small_frame(), small_tessellation(), margin_px=3, reference=REFERENCE)


@pytest.fixture
def layout(tmp_path, mapping):
    return Layout.under(str(tmp_path), mapping.frame.detector)


def open_fits(place):
    return fits.open(io.BytesIO(gzip.decompress(place.read())), checksum=True)


def corrupt(place, old, new):
    content = place.read()
    assert content.count(old) == 1
    place.write(content.replace(old, new))


def test_reading_gives_back_what_was_written(mapping, layout):
    write_mapping(mapping, layout)
    again = read_mapping(layout)
    assert again == mapping
    assert again.frame.cards == mapping.frame.cards
    assert again.digest == mapping.digest
    np.testing.assert_array_equal(again.owners, mapping.owners)
    assert again.owners.dtype == np.int32


def test_a_region_says_which_pixels_it_holds(layout):
    region = Window(20, 12, 26, 17)
    frame, tessellation = small_frame(), small_tessellation()
    written = map_frame(frame, tessellation, margin_px=3, reference=REFERENCE, window=region)
    write_mapping(written, layout)
    assert read_mapping(layout) == written
    with open_fits(layout.master_map) as hdus:
        corners = [hdus[0].header[f"MAP{name}"] for name in ("X0", "Y0", "X1", "Y1")]
    assert corners == [20, 12, 26, 17]
    assert f"pixels {region}" in layout.regions.read().decode()


def test_a_mapping_that_another_run_is_writing_is_waited_for(mapping, layout, monkeypatch):
    """As that run goes from one region to another, the list is gone for a moment."""
    write_mapping(mapping, layout)
    layout.skycell_list.remove()

    @contextlib.contextmanager
    def others_turn(place, *, to_read):
        assert place == layout.mapping
        assert to_read
        write_mapping(mapping, layout)
        yield

    monkeypatch.setattr("syndiff.sky.mapping_files.locked", others_turn)
    assert read_mapping(layout) == mapping


def test_files_are_the_same_bytes_every_time(mapping, layout, tmp_path):
    other = Layout.under(str(tmp_path / "other"), mapping.frame.detector)
    cell = mapping.members[0].skycell
    for one in (layout, other):
        write_mapping(mapping, one)
        write_skycell_map(cell, mapping.frame, one.skycell_map(cell.name))
    names = sorted(name for name, _ in layout.mapping.walk())
    assert len(names) == 5
    for name in names:
        assert (layout.mapping / name).read() == (other.mapping / name).read()


def test_list_is_a_skycell_catalogue_with_what_the_mapping_adds(mapping, layout):
    write_mapping(mapping, layout)
    text = layout.skycell_list.read()
    rows = list(csv.DictReader(io.StringIO(text.decode())))
    again = Tessellation.from_csv(text)
    assert [row["NAME"] for row in rows] == [m.skycell.name for m in mapping.members]
    for row, member in zip(rows, mapping.members, strict=True):
        assert again[row["NAME"]] == member.skycell
        assert row["ROLE"] == member.role
        assert row["PROJECTION"] == member.skycell.projection_cell
        assert float(row["SHARED_PX"]) == member.shared_px
        middle = member.skycell.wcs.all_pix2world(499.5, 499.5, 0)
        np.testing.assert_allclose(
            (float(row["RA"]), float(row["DEC"])), middle, rtol=0, atol=1e-11
        )  # degrees: rounding


def test_master_map_says_what_it_is_made_from(mapping, layout):
    write_mapping(mapping, layout)
    with open_fits(layout.master_map) as hdus:
        image, table = hdus[0], hdus["SKYCELLS"].data
        np.testing.assert_array_equal(image.data, mapping.owners)
        assert image.header["BITPIX"] == 32
        assert list(table["NAME"]) == [member.skycell.name for member in mapping.members]
        np.testing.assert_array_equal(table["INDEX"], np.arange(len(mapping.members)))
        expected = {
            "TELESCOP": "TESS",
            "SECTOR": 20,
            "CAMERA": 3,
            "CCD": 3,
            "FFINAME": "tess1.fits",
            "MARGIN": 3,
            "FRAMEDIG": mapping.frame.digest,
            "TESSEDIG": mapping.tessellation_digest,
        }
        assert {key: image.header[key] for key in expected} == expected
        assert {"CHECKSUM", "DATASUM"} <= set(image.header) & set(hdus["SKYCELLS"].header)
        assert [image.header[f"SCI{name}"] for name in ("X0", "Y0", "X1", "Y1")] == [4, 0, 44, 36]
        wcs = WCS(image.header)
        x, y = sky_to_pixel(mapping.frame, *wcs.all_pix2world(7.0, 30.0, 0))
        np.testing.assert_allclose((x, y), (7.0, 30.0), rtol=0, atol=1e-9)  # exact cards


def test_skycell_map_holds_the_pixel_of_every_cell_centre(mapping, layout):
    frame = mapping.frame
    cell = max(mapping.members, key=lambda member: member.shared_px).skycell
    place = layout.skycell_map(cell.name)
    write_skycell_map(cell, frame, place)
    with open_fits(place) as hdus:
        index, header, nodes = hdus[0].data, hdus[0].header, hdus["LATTICE"].data
        wcs = WCS(header)
    assert index.shape == (125, 125)
    rows, columns = np.indices(index.shape)
    x, y = sky_to_pixel(frame, *wcs.all_pix2world(columns, rows, 0))
    inside = (x >= 3.5) & (x < 43.5) & (y >= -0.5) & (y < 35.5)
    expected = np.where(inside, np.round(y) * frame.shape[1] + np.round(x), -1)
    # bilinear over 64 px of this small frame's strong distortion: 1e-4 px, some cells on an edge
    assert (index != expected).mean() < 1e-3
    assert (index >= 0).any()
    np.testing.assert_array_equal(nodes[:, 2, 3], PixelMap.between(cell, frame)(192.0, 128.0))
    assert (header["SKYCELL"], header["FFINX"], header["CELLPX"]) == (cell.name, 48, 8)


def test_full_size_skycell_map_is_small_and_exact_to_the_lattice():
    frame, tessellation = ccd_frame(20, 3, 3), Tessellation.rings_v3()
    cell = tessellation["skycell.2609.043"]
    index, lattice = index_skycell(cell, frame)
    assert index.shape == (800, 807)
    assert lattice.x.shape == (101, 102)
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(0, 800, 2000), rng.integers(0, 800, 2000)
    x, y = PixelMap.between(cell, frame)(8 * columns + 3.5, 8 * rows + 3.5)
    away = np.maximum(abs(x - np.floor(x) - 0.5), abs(y - np.floor(y) - 0.5)) > 1e-5
    expected = np.round(y) * 2136 + np.round(x)
    assert away.mean() > 0.99
    np.testing.assert_array_equal(index[rows, columns][away], expected[away])


def test_full_size_skycell_map_takes_less_than_a_megabyte(tmp_path):
    cell = Tessellation.rings_v3()["skycell.2609.043"]
    place = Place.at(tmp_path) / "map.fits.gz"
    write_skycell_map(cell, ccd_frame(20, 3, 3), place)
    assert len(place.read()) < 1_000_000


def test_regions_outline_every_skycell(mapping, layout):
    write_mapping(mapping, layout)
    lines = layout.regions.read().decode().splitlines()
    assert lines[2] == "icrs"
    polygons = [line for line in lines if line.startswith("polygon(")]
    assert len(polygons) == 1 + len(mapping.members)
    member = mapping.members[2]
    text = next(line for line in polygons if f"{{{member.skycell.name}}}" in line)
    places = np.array(text[len("polygon(") : text.index(")")].split(","), float).reshape(-1, 2)
    x, y = [-0.5, 999.5, 999.5, -0.5], [-0.5, -0.5, 999.5, 999.5]
    expected = np.transpose(member.skycell.wcs.all_pix2world(x, y, 0))
    np.testing.assert_allclose(places, expected, rtol=0, atol=1e-7)  # printed digits


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 40.0), (100.0, 89.9)])
def test_coverage_map_covers_the_science_pixels(tmp_path, ra, dec):
    from mocpy import MOC

    frame, tessellation = small_frame(ra, dec), small_tessellation(ra, dec)
    layout = Layout.under(str(tmp_path), frame.detector)
    write_mapping(map_frame(frame, tessellation, margin_px=3, reference=REFERENCE), layout)
    moc = MOC.from_fits(str(layout.moc))
    y, x = np.mgrid[-8:46, -6:54]
    inside = (x >= 4) & (x < 44) & (y >= 0) & (y < 36)
    where = SkyCoord(*frame.pixel_to_sky(x, y), unit="deg")
    covered = moc.contains_lonlat(where.ra, where.dec)
    assert covered[inside].all()
    # a cell of 52" reaches 5 px across its corners where it is drawn out most
    assert not covered[(x < -1) | (x > 48) | (y < -5) | (y > 40)].any()
    area = moc.sky_fraction * 4 * np.pi * u.sr.to(u.deg**2)
    assert 1.0 < area / (40 * 36 * (21 / 3600) ** 2) < 1.4  # the cells on its border


def test_absent_mapping_names_the_file_and_the_command(layout):
    with pytest.raises(
        MissingInputError,
        match=r"master_skycells_list.csv is not there: .*sector 20.*`syndiff mapping <FFI>`",
    ):
        read_mapping(layout)


def test_list_without_its_master_map_is_missing_too(mapping, layout):
    write_mapping(mapping, layout)
    layout.master_map.remove()
    with pytest.raises(MissingInputError, match=r"pixels2skycells.fits.gz is not there"):
        read_mapping(layout)


def test_edited_list_is_noticed(mapping, layout):
    write_mapping(mapping, layout)
    name = mapping.members[0].skycell.name.encode()
    corrupt(layout.skycell_list, name, b"skycell.9999.999")
    with pytest.raises(GeometryError, match=r"is damaged \(the list of skycells is not the one"):
        read_mapping(layout)


def test_truncated_master_map_is_noticed(mapping, layout):
    write_mapping(mapping, layout)
    layout.master_map.write(layout.master_map.read()[:-200])
    with pytest.raises(
        GeometryError, match=r"is damaged .*`syndiff mapping <FFI>` and `overwrite`"
    ):
        read_mapping(layout)


@pytest.mark.parametrize(
    ("card", "value", "message"),
    [
        (
            "MAPVERS",
            1,
            r"has format 1, this version reads 2: map again with `syndiff mapping",
        ),
        ("MAPVERS", 7, r"has format 7, this version reads 2: map again"),
        ("MARGIN", "wide", r"MARGIN is 'wide', expected a whole number"),
        ("CRPIX1", 25.0, r"its header is not that of sector 20 camera 3 ccd 3"),
        ("CTYPE1", "RA---SIN", r"CTYPE1 is 'RA---SIN'"),
        ("SCIX1", 900, r"science window"),
        ("MAPX1", 45, r"it says that the pixels 4,0,45,36 are mapped, outside of 4,0,44,36"),
        ("LISTDIG", None, r"LISTDIG"),
    ],
)
def test_edited_master_map_is_noticed(mapping, layout, card, value, message):
    write_mapping(mapping, layout)
    with open_fits(layout.master_map) as hdus:
        if value is None:
            del hdus[0].header[card]
        else:
            hdus[0].header[card] = value
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    layout.master_map.write(gzip.compress(buffer.getvalue()))
    with pytest.raises(GeometryError, match=message):
        read_mapping(layout)


def test_removing_a_mapping_leaves_nothing_of_it(mapping, layout):
    remove_mapping(layout)
    write_mapping(mapping, layout)
    cell = mapping.members[0].skycell
    write_skycell_map(cell, mapping.frame, layout.skycell_map(cell.name))
    remove_mapping(layout)
    assert list(layout.mapping.walk()) == []
