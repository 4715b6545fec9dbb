"""Parts of a light curve by themselves: times, bins, the store of rows, a point's response."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.time import Time
from serieslight import FIELD, TARGET, field_scene, stars

from syndiff.errors import ConfigError
from syndiff.lightcurves.flags import find_flags, name_flags
from syndiff.lightcurves.frame_rows import RowStore, row_type
from syndiff.lightcurves.light_curve import parse_bin
from syndiff.lightcurves.point_response import HALF_PX, PointResponse
from syndiff.lightcurves.prepare import _unit_part
from syndiff.lightcurves.series import empty_row
from syndiff.lightcurves.steady import convolve_scene
from syndiff.lightcurves.times import parse_date, target_times
from syndiff.masks import FrameFlag
from syndiff.storage.place import Place


def test_times_are_those_of_the_targets_direction():
    moments = np.array([1860.0, 1873.25, np.nan])
    centre, target = (216.0, 76.0), (210.0, 70.0)
    found = target_times(moments, is_barycentric=False, centre=centre, target=target)
    # astropy's own light travel time, from the Earth's centre.
    told = Time(2457000.0, moments[:2], format="jd", scale="tdb")
    middle = EarthLocation.from_geocentric(0, 0, 0, unit=u.m)
    for place, shift in ((target, found.btjd[:2] - moments[:2]),):
        sky = SkyCoord(*place, unit="deg")
        late = told.light_travel_time(sky, "barycentric", location=middle).to_value(u.s)
        np.testing.assert_allclose(shift * 86400, late, atol=0.05)
    np.testing.assert_allclose(found.mjd[:2], told.utc.mjd, atol=1e-9)
    assert np.isnan(found.btjd[2])
    again = target_times(moments, is_barycentric=True, centre=target, target=target)
    np.testing.assert_allclose(again.btjd[:2], moments[:2], atol=1e-12)


@pytest.mark.parametrize("text", ["2020-01-10", "2458858.5008007", "58858.0008007", "1858.5008007"])
def test_dates_of_every_kind_are_one(text):
    assert parse_date(text) == pytest.approx(1858.5008007, abs=1e-6)


@pytest.mark.parametrize("text", ["soon", "-3", "1e9"])
def test_a_date_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="can't be read"):
        parse_date(text)


@pytest.mark.parametrize("text", ["6", "h", "-1h", "0d", "six h"])
def test_a_bin_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="no width of a bin"):
        parse_bin(text)


def test_a_row_that_was_cut_off_does_not_count(tmp_path):
    store = RowStore(Place.at(tmp_path), row_type(3, (4, 5)))
    row = empty_row(store.dtype, "frame", "no light")
    row["flux"][:] = 1, 2, 3
    for name in ("one", "two", "three"):
        store.write(name, row)
    path = tmp_path / "two.row"
    path.write_bytes(path.read_bytes()[:-1])
    other = RowStore(Place.at(tmp_path), row_type(4, None))
    found = store.read(["one", "two", "four"])
    assert list(found) == ["one"]
    assert found["one"].tobytes() == row.tobytes()
    assert other.read(["one"]) == {}


def test_a_point_source_is_what_the_scene_has_of_a_star():
    """Of a star alone in a scene that a kernel was applied to."""
    place = TARGET
    field = field_scene(np.array([(*place, 1e4)]))
    part = _unit_part(field)
    kernel = part.kernel
    weights = np.exp(-(np.hypot(kernel.taps.places[:, 0] - 0.3, kernel.taps.places[:, 1]) ** 2))
    kernel = type(kernel)(kernel.taps, kernel.terms, (weights / weights.sum())[None])
    scene = convolve_scene(field.stored, kernel, FIELD)
    row, column = round(place[1]), round(place[0])
    steps = np.arange(-HALF_PX, HALF_PX + 1) * 4
    y, x = 4 * (row - scene.origin[1]) + steps, 4 * (column - scene.origin[0]) + steps
    drawn = scene.strip.flux[np.ix_(y, x)] / 1e4
    response = PointResponse(field.frame, field.response, kernel, FIELD, place)
    beside = place[0] - column, place[1] - row
    # The closed form's Gaussian is round in pixels, the response's on the sky: 3e-3.
    np.testing.assert_allclose(response.stamp(beside, np.zeros(3)), drawn, atol=4e-3 * drawn.max())


def test_a_response_that_widens_keeps_its_light():
    field = field_scene(stars())
    part = _unit_part(field)
    response = PointResponse(field.frame, field.response, part.kernel, FIELD, TARGET)
    still, wider = (response.stamp((0.2, -0.1), np.array(v)) for v in ([0, 0, 0], [0.1, 0, 0.02]))
    assert wider.sum() == pytest.approx(still.sum(), abs=1e-3)
    steps = np.arange(-HALF_PX, HALF_PX + 1.0)
    for axis, more in ((0, 0.1), (1, 0.02)):
        grow = [(s.sum(axis=axis) * (steps - (0.2, -0.1)[axis]) ** 2).sum() for s in (still, wider)]
        assert grow[1] - grow[0] == pytest.approx(more, abs=5e-3)


def test_frames_that_could_not_be_read_are_flagged_and_named():
    dtype = row_type(1, None)
    rows = np.stack([empty_row(dtype, f"f{k}", "damaged") for k in range(3)])
    flags = find_flags(rows, np.full(3, np.nan))
    assert {name_flags(int(v)) for v in flags} == {"NotFitted"}
    assert name_flags(int(FrameFlag.Desat | FrameFlag.Asteroid)) == "Desat,Asteroid"


def test_an_unknown_star_count_gives_no_kernel_but_a_response():
    part = _unit_part(field_scene(stars()))
    assert part.kernel.weights.sum() == pytest.approx(1)
    again = type(part).unpack(part.pack())
    assert again.order == part.order
    np.testing.assert_array_equal(again.weights, part.weights)
