"""Reduced skycells in the atlas: identity, provenance, races, damage, versions."""

import dataclasses
import json
import math
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import zarr
from reduced_samples import NAME, make_reduced, write_all
from servers import s3_server

from syndiff.errors import AtlasError, IncompleteAtlasError, StorageError
from syndiff.layout import Detector
from syndiff.settings import Settings
from syndiff.sky.tessellation import Skycell
from syndiff.stacks.atlas import FORMAT_VERSION, Atlas, AtlasKey
from syndiff.stacks.provenance import BandOrigin, Provenance
from syndiff.stacks.reduction import ReducedSkycell
from syndiff.storage.place import Place
from syndiff.storage.records import parse_record


def same(a, b):
    for item in dataclasses.fields(ReducedSkycell):
        one, two = getattr(a, item.name), getattr(b, item.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype, item.name
            assert one.shape == two.shape, item.name
            if not np.array_equal(one, two, equal_nan=one.dtype.kind == "f"):
                return False
        elif one != two:
            return False
    return True


def make_skycell(**changes):
    skycell = Skycell(
        NAME, 279, 300, (10.0, 20.0), (140.0, 150.0), (6.9e-5, 6.9e-5), (-1.0, 0.0, 0.0, 1.0)
    )
    return dataclasses.replace(skycell, **changes)


@pytest.fixture
def atlas(tmp_path):
    return Atlas(Place.at(tmp_path) / "skycells.zarr", Detector(20, 3, 3))


KEY = AtlasKey(NAME, "0123456789abcdef")


def files(atlas):
    return sorted(path for path, _ in atlas.place.walk())


# Identity


@pytest.mark.parametrize("bands", [("r", "i", "z", "y"), ("i",), ("r", "y")])
def test_what_is_written_is_read(atlas, bands):
    reduced = make_reduced(bands)
    atlas.write(KEY, reduced)
    assert same(atlas.read(KEY), reduced)


def test_nan_levels_survive(atlas):
    reduced = make_reduced()
    reduced.level[0, 1, 1] = np.nan
    atlas.write(KEY, reduced)
    assert same(atlas.read(KEY), reduced)


def test_one_plane_is_read_alone(atlas):
    reduced = make_reduced()
    record = atlas.write(KEY, reduced)
    (atlas.place / KEY.name / KEY.digest / record.data / "light").remove()
    np.testing.assert_array_equal(atlas.read_plane(KEY, "mask"), reduced.mask)
    valid = atlas.read_plane(KEY, "valid")
    np.testing.assert_array_equal(valid, reduced.valid)
    assert valid.dtype == np.uint8


def test_light_that_was_left_out_need_not_be_read(atlas):
    reduced = make_reduced()
    record = atlas.write(KEY, reduced)
    (atlas.place / KEY.name / KEY.digest / record.data / "left_out").remove()
    found = atlas.read(KEY, with_left_out=False)
    assert found.left_out.shape == (4, 0, 0)
    assert same(dataclasses.replace(found, left_out=reduced.left_out), reduced)


def test_zarr_reads_the_same(atlas):
    """The layout is plain Zarr: the library's own reader agrees with ours."""
    reduced = make_reduced()
    record = atlas.write(KEY, reduced)
    group = zarr.open_group(f"{atlas.place}/{KEY}/{record.data}", mode="r")
    assert group.attrs["planes"]["coarse"] == ["faint", "variance"]
    assert parse_record(Provenance, group.attrs["meta"]) == reduced.meta
    for name in ("light", "left_out"):
        np.testing.assert_array_equal(np.moveaxis(group[name][...], 2, 0), getattr(reduced, name))
    for name in ("mask", "valid"):
        np.testing.assert_array_equal(group[name][...], getattr(reduced, name))
    np.testing.assert_array_equal(group["coarse"][:4], reduced.faint)
    np.testing.assert_array_equal(group["coarse"][4:6], reduced.variance[0])
    np.testing.assert_array_equal(group["counts"][8:], reduced.flagged)
    np.testing.assert_array_equal(group["level"][...], reduced.level)
    root = zarr.open_group(str(atlas.place), mode="r")
    assert f"{KEY}/{record.data}/light" in root


def test_few_objects(atlas):
    atlas.write(KEY, make_reduced())
    # The root, the record, the group, and metadata and one chunk for each of seven arrays.
    assert len(files(atlas)) == 17


def test_no_pool_of_threads_is_needed(atlas):
    before = set(threading.enumerate())
    atlas.write(KEY, make_reduced())
    atlas.read(KEY)
    names = [thread.name for thread in set(threading.enumerate()) - before]
    assert set(names) <= {"zarr_io"}


# Keys and records


def test_the_key_follows_everything_that_matters(atlas):
    key = atlas.key(make_skycell(), Settings())
    assert key == atlas.key(make_skycell(), Settings())
    assert str(key) == f"{NAME}/{key.digest}"
    others = [
        atlas.key(make_skycell(), Settings(ignore_mask_bits="")),
        atlas.key(make_skycell(), Settings(background="sep")),
        atlas.key(make_skycell(crval=(10.0, 20.1)), Settings()),
        atlas.key(make_skycell(nx=280), Settings()),
    ]
    assert len({key, *others}) == 5


def test_reductions_with_other_settings_coexist(atlas):
    keys = [AtlasKey(NAME, "a" * 16), AtlasKey(NAME, "b" * 16)]
    for seed, key in enumerate(keys):
        atlas.write(key, make_reduced(seed=seed))
    assert atlas.keys() == keys
    assert same(atlas.read(keys[1]), make_reduced(seed=1))


def test_the_record_tells_without_planes(atlas):
    reduced = make_reduced()
    written = atlas.write(KEY, reduced)
    record = atlas.read_record(KEY)
    assert record == written
    assert record.bands == reduced.bands
    assert record.meta == reduced.meta
    assert record.size_bytes > 0


def test_equal_reductions_have_equal_digests(atlas):
    digests = [
        atlas.write(AtlasKey(NAME, str(i)), make_reduced(seed=seed)).content_digest
        for i, seed in enumerate((1, 1, 2))
    ]
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 64


def test_where_the_files_came_from_does_not_change_the_digest(atlas):
    one = make_reduced()
    ((band, origin),) = one.meta.bands.items()
    moved = dataclasses.replace(origin.files["image"], source="/elsewhere/b.fits")
    meta = Provenance({band: dataclasses.replace(origin, files={"image": moved})})
    other = dataclasses.replace(one, meta=meta)
    records = [atlas.write(AtlasKey(NAME, str(k)), r) for k, r in enumerate((one, other))]
    assert records[0].content_digest == records[1].content_digest
    assert records[1].meta.bands[band].files["image"].source == "/elsewhere/b.fits"


def test_the_digest_covers_metadata(atlas):
    one = atlas.write(AtlasKey(NAME, "1"), make_reduced())
    other = dataclasses.replace(make_reduced(), meta=Provenance())
    assert atlas.write(AtlasKey(NAME, "2"), other).content_digest != one.content_digest


def test_it_can_be_sent_to_workers(atlas):
    assert pickle.loads(pickle.dumps(atlas)) == atlas


# Missing, damaged, foreign


def test_a_missing_skycell_names_the_command(atlas):
    assert not atlas.has(KEY)
    with pytest.raises(
        IncompleteAtlasError, match=rf"{NAME} .*not complete.*run `syndiff download 20 3 3`"
    ):
        atlas.read(KEY)


def test_data_without_a_record_do_not_count(atlas):
    atlas.write(KEY, make_reduced())
    (atlas.place / str(KEY) / "complete.json").remove()
    assert not atlas.has(KEY)
    assert atlas.keys() == []
    with pytest.raises(IncompleteAtlasError, match="not complete"):
        atlas.read(KEY)


@pytest.mark.parametrize("how", ["flip", "truncate", "empty"])
def test_damaged_planes_are_noticed(atlas, how):
    record = atlas.write(KEY, make_reduced())
    place = atlas.place / str(KEY) / record.data / "light/c/0/0/0"
    data = bytearray(place.read())
    data[len(data) // 2] ^= 1
    place.write({"flip": bytes(data), "truncate": bytes(data[:-9]), "empty": b""}[how])
    with pytest.raises(AtlasError, match=r"light/c/0/0/0 is damaged .*download` with `overwrite`"):
        atlas.read(KEY)


def test_lost_planes_are_noticed(atlas):
    record = atlas.write(KEY, make_reduced())
    (atlas.place / str(KEY) / record.data / "level").remove()
    with pytest.raises(AtlasError, match=r"level.*`syndiff download` with `overwrite`"):
        atlas.read(KEY)


def test_another_format_version_is_refused(atlas):
    atlas.write(KEY, make_reduced())
    place = atlas.place / str(KEY) / "complete.json"
    place.write(json.dumps(json.loads(place.read()) | {"format_version": 9}).encode())
    with pytest.raises(
        AtlasError,
        match=rf"has format 9, this version reads {FORMAT_VERSION}: use the",
    ):
        atlas.read_record(KEY)


@pytest.mark.parametrize("text", [b"", b"[]", b'{"format_version": %d}' % FORMAT_VERSION, b"\xff"])
def test_a_broken_record_is_refused(atlas, text):
    (atlas.place / str(KEY) / "complete.json").write(text)
    with pytest.raises(
        AtlasError, match=r"complete.json is damaged .*remove it and run `syndiff download"
    ):
        atlas.read(KEY)


def test_provenance_must_be_json(atlas):
    bad = dataclasses.replace(make_reduced(), meta=Provenance({"r": BandOrigin(math.nan, None, 0)}))
    with pytest.raises(AtlasError, match="can't be stored as JSON"):
        atlas.write(KEY, bad)
    assert files(atlas) == []


def test_the_key_must_be_this_skycells(atlas):
    with pytest.raises(AtlasError, match="can't be stored under the key of other"):
        atlas.write(AtlasKey("other", "0"), make_reduced())


# Several writers


def test_whoever_is_first_wins(atlas):
    first = atlas.write(KEY, make_reduced(seed=1))
    before = files(atlas)
    assert atlas.write(KEY, make_reduced(seed=2)) == first
    assert same(atlas.read(KEY), make_reduced(seed=1))
    assert files(atlas) == before


def test_overwrite_replaces_and_cleans_up(atlas):
    atlas.write(KEY, make_reduced(seed=1))
    before = len(files(atlas))
    record = atlas.write(KEY, make_reduced(seed=2), overwrite=True)
    assert atlas.read_record(KEY) == record
    assert same(atlas.read(KEY), make_reduced(seed=2))
    assert len(files(atlas)) == before


def test_overwrite_replaces_a_broken_record(atlas):
    (atlas.place / str(KEY) / "complete.json").write(b"garbage")
    atlas.write(KEY, make_reduced(), overwrite=True)
    assert same(atlas.read(KEY), make_reduced())


def test_a_reader_survives_an_overwrite(atlas, monkeypatch):
    atlas.write(KEY, make_reduced(seed=1))
    stale = atlas.read_record(KEY)
    atlas.write(KEY, make_reduced(seed=2), overwrite=True)
    fresh = Atlas.read_record
    answers = [stale]
    monkeypatch.setattr(
        Atlas, "read_record", lambda self, key: answers.pop() if answers else fresh(self, key)
    )
    assert same(atlas.read(KEY), make_reduced(seed=2))


def test_a_repeated_create_keeps_its_own_data(atlas, monkeypatch):
    """S3 may answer "exists" to the repetition of a request that had worked."""
    create = Place.create

    def create_twice(place, data):
        create(place, data)
        return create(place, data)

    monkeypatch.setattr(Place, "create", create_twice)
    atlas.write(KEY, make_reduced())
    assert same(atlas.read(KEY), make_reduced())


def test_a_failed_write_leaves_nothing(atlas, monkeypatch):
    write = Place.write

    def full(place, data):
        if "counts" in str(place):
            raise StorageError(f"can't write {place}: No space left on device")
        write(place, data)

    monkeypatch.setattr(Place, "write", full)
    with pytest.raises(StorageError, match=r"can't write .*No space left"):
        atlas.write(KEY, make_reduced())
    assert files(atlas) == ["zarr.json"]
    assert not atlas.has(KEY)


def check_race(atlas, keys, seeds):
    for key in keys:
        got = atlas.read(key)
        assert any(same(got, make_reduced(seed=seed, name=key.name)) for seed in seeds)


@pytest.mark.parametrize("overwrite", [False, True])
def test_threads_that_fill_one_atlas(atlas, overwrite):
    keys = [AtlasKey(f"skycell.1.{i:03d}", "d") for i in range(4)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda seed: write_all(atlas, seed, keys, overwrite), range(3)))
    check_race(atlas, keys, range(3))
    if not overwrite:
        assert len(files(atlas)) == 1 + 16 * len(keys)


def test_processes_that_fill_one_atlas(atlas):
    keys = [AtlasKey(f"skycell.1.{i:03d}", "d") for i in range(5)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for job in [pool.submit(write_all, atlas, seed, keys, False) for seed in (1, 2)]:
            job.result()
    check_race(atlas, keys, (1, 2))
    assert len(files(atlas)) == 1 + 16 * len(keys)


# S3


def test_an_atlas_on_s3(monkeypatch):
    with s3_server(monkeypatch, "atlas-root"):
        atlas = Atlas(Place.at("s3://atlas-root/data") / "ps1_skycells_zarr" / "skycells.zarr")
        with pytest.raises(IncompleteAtlasError, match="syndiff download SECTOR CAMERA CCD"):
            atlas.read(KEY)
        with ThreadPoolExecutor(3) as pool:
            records = list(
                pool.map(lambda seed: atlas.write(KEY, make_reduced(seed=seed)), [1] * 3)
            )
        assert len({record.data for record in records}) == 1
        assert same(atlas.read(KEY), make_reduced(seed=1))
        assert len(files(atlas)) == 17
        assert atlas.keys() == [KEY]
        atlas.write(KEY, make_reduced(seed=2), overwrite=True)
        assert same(atlas.read(KEY), make_reduced(seed=2))
        assert len(files(atlas)) == 17
