"""Planes kept losslessly: the same values again, without the archive."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import zarr
from servers import FaultyServer, Page, Truncate, s3_server
from stackplanes import mask_like, plane_file, sky_like, small_skycell

from syndiff.errors import AtlasError, CorruptDownloadError, StorageError
from syndiff.stacks.archive import PLANES, Archive, ArchiveConfig, fetch_skycell, stack_path
from syndiff.stacks.rawstore import RawStore
from syndiff.storage.place import Place

# More rows than two chunks hold, and not a multiple of them.
SKYCELL = small_skycell(nx=101, ny=150)
RAW = {
    "image": sky_like(SKYCELL.shape, 1),
    "variance": sky_like(SKYCELL.shape, 2),
    "mask": mask_like(SKYCELL.shape),
}
FILES = {plane: plane_file(plane, RAW[plane], SKYCELL) for plane in PLANES}
BANDS = ("y", "z")


@pytest.fixture(scope="module")
def fetched():
    """The y band, fetched through the real check from a server that fails now and then."""
    with FaultyServer({stack_path(SKYCELL.name, "y", p): data for p, data in FILES.items()}) as web:
        web.faults[stack_path(SKYCELL.name, "y", "image")] = [Page(), Truncate()]
        web.faults[stack_path(SKYCELL.name, "y", "mask")] = [Page(FILES["variance"])]
        with Archive(ArchiveConfig(web.url, 4, backoff_s=0.01)) as archive:
            return fetch_skycell(archive, SKYCELL, bands=BANDS)


@pytest.fixture
def store(tmp_path):
    return RawStore(Place.at(tmp_path) / "raw.zarr")


def files(store):
    return sorted(path for path, _ in store.place.walk())


def check(kept, fetched):
    assert kept.name == fetched.name
    assert kept.bands == ("y",)
    assert kept.absent == ("z",)
    for key, one in fetched.planes.items():
        again = kept.planes[key]
        assert (again.sha256, again.source, again.size) == (one.sha256, one.source, one.size)
        np.testing.assert_array_equal(again.stack.rows(0, 150), RAW[key[1]])
        np.testing.assert_array_equal(again.stack.rows(60, 133), RAW[key[1]][60:133])
        assert again.stack.header_text == one.stack.header_text
        if key[1] != "mask":
            np.testing.assert_array_equal(again.stack.value_table(), one.stack.value_table())


def test_what_is_kept_is_read(store, fetched):
    store.write_skycell(fetched)
    check(store.open_skycell(SKYCELL, BANDS), fetched)


def test_on_s3(monkeypatch, fetched):
    with s3_server(monkeypatch, "raw"):
        store = RawStore(Place.at("s3://raw/root") / "raw.zarr")
        assert store.open_skycell(SKYCELL, BANDS) is None
        store.write_skycell(fetched)
        check(store.open_skycell(SKYCELL, BANDS), fetched)


def test_zarr_reads_the_same(store, fetched):
    store.write_skycell(fetched)
    record = json.loads((store.place / SKYCELL.name / "y" / "complete.json").read())
    group = zarr.open_group(f"{store.place}/{SKYCELL.name}/y/{record['data']}", mode="r")
    for plane in PLANES:
        np.testing.assert_array_equal(group[plane][...], RAW[plane])
        about = group.attrs["planes"][plane]
        assert about["sha256"] == fetched.planes["y", plane].sha256
        assert about["header"] == fetched.planes["y", plane].stack.header_text


def test_nothing_is_kept_yet(store):
    assert store.open_skycell(SKYCELL, BANDS) is None


def test_a_band_that_was_not_asked_for_is_not_known(store, fetched):
    store.write_skycell(fetched)
    assert store.open_skycell(SKYCELL, ("y", "r")) is None
    assert store.open_skycell(SKYCELL, ("y",)).absent == ()


def test_data_without_a_record_do_not_count(store, fetched):
    store.write_skycell(fetched)
    (store.place / SKYCELL.name / "y" / "complete.json").remove()
    assert store.open_skycell(SKYCELL, BANDS) is None


def test_another_geometry_is_refused(store, fetched):
    store.write_skycell(fetched)
    with pytest.raises(CorruptDownloadError, match="CRVAL1"):
        store.open_skycell(replace(SKYCELL, crval=(121.0, 42.0)), BANDS)


def test_what_is_kept_stays_kept(store, fetched):
    store.write_skycell(fetched)
    before = files(store)
    store.write_skycell(fetched)
    store.write_skycell(replace(fetched, planes={}, absent=BANDS))
    assert files(store) == before


def test_overwrite_replaces_and_cleans_up(store, fetched):
    store.write_skycell(fetched)
    before = files(store)
    store.write_skycell(fetched, overwrite=True)
    assert len(files(store)) == len(before)
    assert files(store) != before
    check(store.open_skycell(SKYCELL, BANDS), fetched)
    store.write_skycell(replace(fetched, planes={}, absent=BANDS), overwrite=True)
    assert store.open_skycell(SKYCELL, BANDS).all_absent
    assert len(files(store)) == 2


def test_a_band_that_appears_is_kept(store, fetched):
    store.write_skycell(replace(fetched, planes={}, absent=BANDS))
    store.write_skycell(fetched)
    check(store.open_skycell(SKYCELL, BANDS), fetched)


def test_several_writers(store, fetched):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.write_skycell(fetched), range(4)))
    check(store.open_skycell(SKYCELL, BANDS), fetched)
    # Two records, the band's group, metadata and a shard for each of three planes.
    assert len(files(store)) == 9


@pytest.mark.parametrize("size", [10, 2000])
def test_damage_is_noticed(store, fetched, size):
    store.write_skycell(fetched)
    path = next(path for path in files(store) if path.endswith("variance/c/0/0"))
    place = store.place / path
    content = bytearray(place.read())
    content[size] ^= 1
    place.write(bytes(content) if size > 10 else bytes(content[:size]))
    with pytest.raises(
        CorruptDownloadError, match=r"kept plane is damaged .*--keep-raw --overwrite"
    ):
        store.open_skycell(SKYCELL, BANDS).planes["y", "variance"].stack.rows(0, 150)


def test_a_lost_plane_is_noticed(store, fetched):
    store.write_skycell(fetched)
    path = next(path for path in files(store) if path.endswith("mask/c/0/0"))
    (store.place / path).remove()
    with pytest.raises(StorageError, match="mask/c/0/0"):
        store.open_skycell(SKYCELL, BANDS)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"format_version": 8, "absent": True}, "format version 8, not 1"),
        ({"format_version": 1, "absent": False, "data": "", "planes": {}}, "neither absent nor"),
        ({"format_version": 1}, "'absent'"),
        ([], "list"),
    ],
)
def test_a_foreign_record_is_refused(store, record, message):
    (store.place / SKYCELL.name / "y" / "complete.json").write(json.dumps(record).encode())
    with pytest.raises(AtlasError, match=f"{message}.*remove it and run"):
        store.open_skycell(SKYCELL, BANDS)


def test_a_failed_write_leaves_nothing(store, fetched, monkeypatch):
    write = Place.write

    def full(place, data):
        if "mask" in str(place):
            raise StorageError(f"can't write {place}: No space left on device")
        write(place, data)

    monkeypatch.setattr(Place, "write", full)
    with pytest.raises(StorageError, match="No space left"):
        store.write_skycell(replace(fetched, absent=()))
    assert files(store) == []
