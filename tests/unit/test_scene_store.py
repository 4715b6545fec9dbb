"""Scenes on disk: what is written is read, tile by tile, and nothing that isn't there."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sceneorigin import scene_origin

from syndiff.errors import MissingInputError, RenderingError, StorageError
from syndiff.ffi.tiles import EDGE_PX
from syndiff.scenes.scene import AUX_PLANES, SceneStrip
from syndiff.scenes.store import SCENE_FORMAT, SceneStore
from syndiff.storage.place import Place
from syndiff.window import Window

SCIENCE = Window(44, 3, 44 + 150, 3 + 100)
"""Two rows of three tiles."""

INSIDE = st.tuples(
    st.integers(44, 180), st.integers(3, 90), st.integers(1, 14), st.integers(1, 13)
).map(lambda c: Window(c[0], c[1], c[0] + c[2], c[1] + c[3]))


def values(x, y, samples):
    """A number for every place on the CCD."""
    x, y = np.meshgrid(x, y)
    return (1000 * (y * samples) + x * samples).astype(np.float32)


def strip_of(row, columns):
    """The tiles of a row whose samples tell their place."""
    planes = []
    for samples in (4, 2):
        y = 3 + 64 * row - EDGE_PX + np.arange(72 * samples) / samples
        wide = (64 * len(columns) + 8) * samples
        x = 44 + 64 * columns.start - EDGE_PX + np.arange(wide) / samples
        planes.append(values(x, y, samples))
    flux, aux = planes
    return SceneStrip(flux, np.stack([aux + k for k in range(6)]), (aux % 251).astype(np.uint8))


def marks(columns, value=7):
    return np.full(len(columns), value, np.uint64)


@pytest.fixture
def store(tmp_path):
    store = SceneStore(Place.at(tmp_path) / "scene.zarr", SCIENCE)
    store.create("feed", scene_origin(ffi="tess.fits"))
    return store


def write_all(store):
    for row, parts in ((0, (range(3),)), (1, (range(1), range(1, 3)))):
        for columns in parts:
            store.write(row, columns, strip_of(row, columns), marks(columns))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    store = SceneStore(Place.at(tmp_path_factory.mktemp("full")) / "scene.zarr", SCIENCE)
    store.create("feed", scene_origin())
    write_all(store)
    return store


@given(INSIDE)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_window_is_read_as_it_was_written(full, window):
    """Across tiles, and to the edge beyond the science window."""
    stored = full.read(window)
    assert stored.origin == (window.x0 - EDGE_PX, window.y0 - EDGE_PX)
    for name, samples in (("flux", 4), ("aux", 2), ("flags", 2)):
        found = getattr(stored.strip, name)
        ny, nx = ((side + 2 * EDGE_PX) * samples for side in window.shape)
        x = stored.origin[0] + np.arange(nx) / samples
        y = stored.origin[1] + np.arange(ny) / samples
        wanted = values(x, y, samples)
        if name == "aux":
            wanted = np.stack([wanted + k for k in range(6)])
        np.testing.assert_array_equal(found, wanted % 251 if name == "flags" else wanted)


def test_a_fresh_process_reads_the_same(full):
    again = SceneStore(full._place, SCIENCE)
    one, other = full.read(SCIENCE), again.read(SCIENCE)
    np.testing.assert_array_equal(one.strip.flux, other.strip.flux)
    np.testing.assert_array_equal(again.rendered(), 7)


def test_tiles_count_once_they_are_marked(store):
    assert (store.rendered() == 0).all()
    store.write(1, range(1, 3), strip_of(1, range(1, 3)), marks(range(2), 2**63 + 5))
    np.testing.assert_array_equal(store.rendered() > 0, [[0, 0, 0], [0, 1, 1]])
    assert store.rendered()[1, 2] == 2**63 + 5
    inside = Window(44 + 70, 3 + 70, 44 + 80, 3 + 80)
    store.read(inside)
    wanted = r"scene\.zarr is not rendered for all of the window 100,70,.*: run `syndiff process"
    with pytest.raises(MissingInputError, match=wanted):
        store.read(Window(100, 70, 120, 80))


def test_the_same_scene_is_kept_and_another_removed(store):
    write_all(store)
    again = SceneStore(store._place, SCIENCE)
    again.create("feed", scene_origin())
    assert (again.rendered() == 7).all()
    again.create("beef", scene_origin())
    assert again.digest() == "beef"
    assert (again.rendered() == 0).all()


def test_no_scene_has_no_digest(tmp_path):
    assert SceneStore(Place.at(tmp_path) / "scene.zarr", SCIENCE).digest() is None


def test_a_store_that_was_not_finished_is_made_again(store):
    """The digest is written last: without it nothing counts."""
    path = store._place / "zarr.json"
    content = json.loads(path.read())
    del content["attributes"]["digest"]
    path.write(json.dumps(content).encode())
    again = SceneStore(store._place, SCIENCE)
    assert again.digest() is None
    again.create("feed", scene_origin())
    assert again.digest() == "feed"


def test_stores_of_other_versions_are_refused(store):
    path = store._place / "zarr.json"
    content = json.loads(path.read())
    content["attributes"]["format_version"] = SCENE_FORMAT + 1
    path.write(json.dumps(content).encode())
    with pytest.raises(
        RenderingError, match=rf"has format {SCENE_FORMAT + 1}, this version reads {SCENE_FORMAT}: "
    ):
        SceneStore(store._place, SCIENCE).digest()


def test_the_attributes_describe_the_arrays(store):
    attributes = dict(store._place.open_zarr("r").attrs)
    assert attributes["ffi"] == "tess.fits"
    assert attributes["science"] == [44, 3, 194, 103]
    assert attributes["aux_planes"] == list(AUX_PLANES)
    assert (attributes["samples_per_px"], attributes["aux_samples_per_px"]) == (4, 2)


def test_the_attributes_tell_which_windows_are_held(store):
    store.tell_windows([[50, 10, 60, 20]])
    again = SceneStore(store._place, SCIENCE)
    assert store._place.open_zarr("r").attrs["windows"] == [[50, 10, 60, 20]]
    assert again.digest() == "feed"


def test_absent_stores_can_not_be_read(tmp_path):
    store = SceneStore(Place.at(tmp_path) / "scene.zarr", SCIENCE)
    with pytest.raises(StorageError, match=r"can't open .*scene\.zarr"):
        store.rendered()
