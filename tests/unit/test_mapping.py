"""Which skycells a frame needs and how they share it."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from smallsky import ccd_frame, small_frame, small_tessellation

from syndiff.errors import ConfigError, GeometryError, MissingInputError
from syndiff.sky.mapping import PixelMap, Reference, map_frame, refuse_other_frame, sky_to_pixel
from syndiff.sky.sharing import sharing_of
from syndiff.sky.tessellation import Tessellation
from syndiff.window import Window

REFERENCE = Reference("tess1.fits", "SPOC", "2020-01-01T00:00:00", "2020-01-01T00:30:00")
PLACES = [(0.0, 40.0), (359.97, -10.0), (211.0, 84.0)]


@pytest.fixture(scope="module")
def sector_20():
    """The CCD that the classic pipeline's tables are about."""
    return map_frame(
        ccd_frame(20, 3, 3), Tessellation.rings_v3(), margin_px=16, reference=REFERENCE
    )


def lands_in(skycell, frame, window):
    """Whether any of a skycell lands in a window: points on its edges and every 9 px within."""
    x, y = (np.append(np.arange(0, n, 9), n) - 0.5 for n in (skycell.nx, skycell.ny))
    gx, gy = np.meshgrid(x, y)
    edge = np.arange(skycell.nx) - 0.5
    end = skycell.nx - 0.5
    gx = np.concatenate([gx.ravel(), edge, edge, edge * 0 - 0.5, edge * 0 + end])
    gy = np.concatenate([gy.ravel(), edge * 0 - 0.5, edge * 0 + end, edge, edge])
    X, Y = np.round(PixelMap.between(skycell, frame)(gx, gy))
    columns, rows = range(window.x0, window.x1), range(window.y0, window.y1)
    return (np.isin(X, columns) & np.isin(Y, rows)).any()


def test_sector_20_camera_3_ccd_3_has_1017_skycells_in_19_projections(sector_20):
    science = [member.skycell for member in sector_20.members if member.role == "science"]
    assert len(science) == 1017
    assert len({skycell.projection_cell for skycell in science}) == 19


def test_a_covered_ccd_is_shared_out_completely(sector_20):
    total = sum(member.shared_px for member in sector_20.members)
    assert total == pytest.approx(2048**2, rel=1e-12)  # weights sum to one to rounding
    assert all(member.shared_px == 0 for member in sector_20.members if member.role == "margin")
    assert (sector_20.owners[sector_20.frame.science.slices] >= 0).all()


def test_owners_fill_science_and_margin_only(sector_20):
    inside = np.zeros(sector_20.frame.shape, dtype=bool)
    inside[0 : 2048 + 16, 44 - 16 : 2092 + 16] = True
    np.testing.assert_array_equal(sector_20.owners >= 0, inside)
    assert sector_20.owners.dtype == np.int32


@pytest.mark.parametrize(("ra", "dec"), PLACES)
@pytest.mark.parametrize("margin_px", [0, 6])
def test_members_are_the_skycells_that_reach_the_window(ra, dec, margin_px):
    frame = small_frame(ra, dec)
    tessellation = small_tessellation(ra, dec)
    mapping = map_frame(frame, tessellation, margin_px=margin_px, reference=REFERENCE)
    cells = [tessellation[name] for name in tessellation.table.names]
    science = {c.name for c in cells if lands_in(c, frame, frame.science)}
    outer = {c.name for c in cells if lands_in(c, frame, frame.science.grown(margin_px))}
    roles = {member.skycell.name: member.role for member in mapping.members}
    assert roles == {name: "science" if name in science else "margin" for name in outer}
    assert list(roles) == sorted(roles)
    assert 0 < len(outer) < len(cells)
    assert mapping.tessellation_digest == tessellation.digest


def test_owner_has_the_largest_weight_and_shares_are_sums_of_weights():
    frame, tessellation = small_frame(0.0, 40.0), small_tessellation(0.0, 40.0)
    mapping = map_frame(frame, tessellation, margin_px=3, reference=REFERENCE)
    y, x = np.mgrid[0 : frame.shape[0], 0 : frame.shape[1]]
    weights = [
        np.nan_to_num(
            sharing_of(tessellation, member.skycell).weight(
                *PixelMap.between(member.skycell, frame).inverse(x, y)
            )
        )
        for member in mapping.members
    ]
    within = np.zeros(frame.shape, dtype=bool)
    within[frame.science.grown(3).intersection(Window(0, 0, 48, 40)).slices] = True
    best = np.where((np.max(weights, axis=0) > 0) & within, np.argmax(weights, axis=0), -1)
    np.testing.assert_array_equal(mapping.owners, best)
    sums = [weight[frame.science.slices].sum() for weight in weights]
    np.testing.assert_allclose([m.shared_px for m in mapping.members], sums, rtol=1e-12)  # order
    covered = (mapping.owners[frame.science.slices] >= 0).sum()
    assert 0 < covered < frame.science.shape[0] * frame.science.shape[1]
    assert sum(sums) == pytest.approx(covered, rel=1e-12)  # weights sum to one


def test_member_windows_hold_every_pixel_of_theirs():
    frame = small_frame()
    mapping = map_frame(frame, small_tessellation(), margin_px=2, reference=REFERENCE)
    outer = frame.science.grown(2)
    edge = np.linspace(-0.5, 999.5, 101)
    low, high = edge * 0 - 0.5, edge * 0 + 999.5
    for member in mapping.members:
        sides = [(edge, low), (edge, high), (low, edge), (high, edge)]
        x, y = np.round(PixelMap.between(member.skycell, frame)(*np.concatenate(sides, axis=1)))
        box = Window(int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
        assert member.window == box.intersection(outer)


def test_touching_selects_by_pixels_not_by_rectangles():
    frame = small_frame(roll_deg=45.0)
    mapping = map_frame(frame, small_tessellation(), margin_px=0, reference=REFERENCE)
    for window in (Window(20, 12, 24, 15), Window(5, 5, 6, 6), frame.science):
        got = {member.skycell.name for member in mapping.mapped_under(window)}
        cells = [member.skycell for member in mapping.members]
        assert got == {cell.name for cell in cells if lands_in(cell, frame, window)}


REGION = Window(20, 12, 26, 17)


@pytest.fixture(scope="module")
def whole_and_region():
    """A mapping of the whole frame, and one of a part of it."""
    arguments = {"margin_px": 3, "reference": REFERENCE}
    frame, tessellation = small_frame(), small_tessellation()
    return (
        map_frame(frame, tessellation, **arguments),
        map_frame(frame, tessellation, **arguments, window=REGION),
    )


def test_a_region_maps_what_the_whole_has_there_and_nothing_else(whole_and_region):
    whole, region = whole_and_region
    assert (whole.window, region.window) == (whole.frame.science, REGION)
    outer = REGION.grown(3)
    assert [m.skycell for m in region.members] == [m.skycell for m in whole.touching(outer)]
    assert len(region.members) < len(whole.members)
    same = {m.skycell.name: (m.role, m.window) for m in whole.members}
    assert all(same[m.skycell.name] == (m.role, m.window) for m in region.members)
    inside = np.zeros(region.frame.shape, dtype=bool)
    inside[outer.slices] = True
    names = [np.array([*(m.skycell.name for m in one.members), ""]) for one in whole_and_region]
    owners = [name[one.owners] for name, one in zip(names, whole_and_region, strict=True)]
    np.testing.assert_array_equal(owners[0][inside], owners[1][inside])
    assert (region.owners[~inside] == -1).all()
    ny, nx = REGION.shape
    assert sum(m.shared_px for m in region.members) == pytest.approx(ny * nx)
    assert region.digest != whole.digest


def test_a_region_answers_for_its_own_pixels_only(whole_and_region):
    whole, region = whole_and_region
    inside, beyond = REGION.grown(3), REGION.grown(4)
    assert [m.skycell for m in region.touching(inside)] == [
        m.skycell for m in whole.touching(inside)
    ]
    for window in (beyond, whole.frame.science):
        with pytest.raises(
            MissingInputError, match=rf"only the pixels {REGION} are mapped .*`roi`"
        ):
            region.touching(window)
    # Beyond the margin of all science pixels there is nothing that could have been mapped.
    assert whole.touching(whole.frame.science.grown(30)) == whole.members


def test_pixels_without_skycells_are_refused():
    frame, tessellation = small_frame(), small_tessellation(across=1)
    everything = map_frame(frame, tessellation, margin_px=0, reference=REFERENCE)
    corner = Window(4, 0, 6, 2)
    with pytest.raises(GeometryError, match=rf"no skycell covers the pixels {corner} .*PS1 saw"):
        everything.touching(corner)
    with pytest.raises(GeometryError, match=rf"none of .*science pixel of .* in {corner}"):
        map_frame(frame, tessellation, margin_px=0, reference=REFERENCE, window=corner)


def test_window_inside_one_skycell_is_touched_by_it():
    frame = small_frame(science=Window(20, 20, 22, 22))
    ra, dec = frame.pixel_to_sky(20.5, 20.5)
    tessellation = small_tessellation(float(ra), float(dec), side=4000, overlap=1000, across=1)
    mapping = map_frame(frame, tessellation, margin_px=0, reference=REFERENCE)
    assert {member.role for member in mapping.members} == {"science"}
    assert sum(member.shared_px for member in mapping.members) == pytest.approx(4.0)
    assert {member.window for member in mapping.members} == {frame.science}


def test_frame_without_skycells_is_refused():
    tessellation = small_tessellation(100.0, 20.0)
    with pytest.raises(
        GeometryError, match=r"none of the tessellation's 32 skycells covers .*3 ccd"
    ):
        map_frame(small_frame(), tessellation, margin_px=4, reference=REFERENCE)


def test_negative_margin_is_refused():
    with pytest.raises(ConfigError, match=r"margin_px -1 is negative"):
        map_frame(small_frame(), small_tessellation(), margin_px=-1, reference=REFERENCE)


def test_digest_tells_frames_tessellations_and_margins_apart():
    mappings = [
        map_frame(frame, tessellation, margin_px=margin_px, reference=REFERENCE)
        for frame, tessellation, margin_px in [
            (small_frame(), small_tessellation(), 2),
            (small_frame(roll_deg=25.1), small_tessellation(), 2),
            (small_frame(), small_tessellation(overlap=201), 2),
            (small_frame(), small_tessellation(), 3),
        ]
    ]
    assert len({mapping.digest for mapping in mappings}) == 4


def test_mapping_survives_pickling():
    mapping = map_frame(small_frame(), small_tessellation(), margin_px=2, reference=REFERENCE)
    again = pickle.loads(pickle.dumps(mapping))
    assert again == mapping
    np.testing.assert_array_equal(again.owners, mapping.owners)


def test_another_ffi_in_the_same_data_root_is_refused_with_three_ways_out():
    mapping = map_frame(small_frame(), small_tessellation(), margin_px=2, reference=REFERENCE)
    refuse_other_frame(mapping, small_frame(), ffi="tess2.fits")
    with pytest.raises(
        ConfigError,
        match=r"tess2.fits has another .* WCS than tess1.fits.*`overwrite`.*`data_root`.*`follow`",
    ):
        refuse_other_frame(mapping, small_frame(roll_deg=25.01), ffi="tess2.fits")


def test_reference_names_the_file_and_stays_ascii():
    observation = SimpleNamespace(
        name="tess\u00e9.fits", kind="TICA", date_obs="2020-01-01", date_end="2020-01-02"
    )
    expected = Reference("tess\\xe9.fits", "TICA", "2020-01-01", "2020-01-02")
    assert Reference.of(observation) == expected


def test_positions_are_offered_beside_the_mapping():
    x, y = sky_to_pixel(small_frame(10.0, 20.0), 10.0, 20.0)
    np.testing.assert_allclose((x, y), (23.0, 19.0), rtol=0, atol=1e-9)  # CRPIX less one
