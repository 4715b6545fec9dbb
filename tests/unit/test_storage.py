"""Places: the same on a folder and on S3, and clear words when something is wrong."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from servers import s3_server

from syndiff.errors import StorageError
from syndiff.storage.place import Place

BUCKET = "storage-root"


@pytest.fixture(scope="module")
def bucket():
    with pytest.MonkeyPatch.context() as monkeypatch, s3_server(monkeypatch, BUCKET):
        yield BUCKET


@pytest.fixture(params=["folder", "s3"])
def root(request, tmp_path):
    """An empty place of either kind."""
    if request.param == "folder":
        return Place.at(tmp_path / "root")
    bucket = request.getfixturevalue("bucket")
    return Place.at(f"s3://{bucket}/{tmp_path.name}")


def one_line(error):
    """The message, once checked to be one line with a way out."""
    message = str(error.value)
    assert "\n" not in message
    assert "Debug source" not in message
    assert message.endswith("or the option that named this one)")
    return message


def test_what_is_written_is_read(root):
    place = root / "a" / "b c+.bin"
    assert not place.exists()
    place.write(b"first")
    place.write(memoryview(b"0123456789"))
    assert place.exists()
    assert place.read() == b"0123456789"
    assert place.read(4) == b"0123"
    assert not (root / "a").exists()  # a folder is no object


def test_the_start_of_a_shorter_object_is_all_of_it(root):
    place = root / "short"
    place.write(b"012")
    assert place.read(115200) == b"012"


def test_create_leaves_what_is_there(root):
    place = root / "once"
    assert place.create(b"mine")
    assert not place.create(b"theirs")
    assert place.read() == b"mine"


def test_walk_lists_every_object_below_with_its_size(root):
    for name, size in (("x/1", 1), ("x/y/2", 2), ("xy", 3)):
        folder, _, last = name.rpartition("/")
        (root / folder / last if folder else root / last).write(b"." * size)
    assert sorted((root / "x").walk()) == [("1", 1), ("y/2", 2)]
    assert sorted(root.walk()) == [("x/1", 1), ("x/y/2", 2), ("xy", 3)]
    assert list((root / "nowhere").walk()) == []


def test_remove_takes_an_object_or_all_below_and_nothing_else(root):
    for name in ("x/1", "x/y/2", "xy", "z"):
        (root / name).write(b".")
    (root / "x").remove()
    (root / "z").remove()
    (root / "nowhere").remove()
    assert sorted(root.walk()) == [("xy", 1)]
    root.remove()
    assert list(root.walk()) == []


def test_zarr_groups_are_made_and_read(root):
    place = root / "deep" / "group.zarr"
    place.open_zarr("a").create_array("v", data=np.arange(5))
    np.testing.assert_array_equal(place.open_zarr("r")["v"][:], np.arange(5))
    assert {path.split("/")[0] for path, _ in root.walk()} == {"deep"}


def test_writable_places_are_left_as_they_were(root):
    root.check_writable()
    assert list(root.walk()) == []


def test_missing_objects_are_errors(root):
    with pytest.raises(StorageError, match=r"can't read .*/absent: .*Check that the path exists"):
        (root / "absent").read()
    with pytest.raises(StorageError, match="can't read") as error:
        (root / "absent").read(10)
    one_line(error)


def test_missing_groups_are_errors_and_are_not_made(root):
    with pytest.raises(StorageError, match=r"can't open .*/absent\.zarr: ") as error:
        (root / "absent.zarr").open_zarr("r")
    one_line(error)
    assert list(root.walk()) == []
    if root.is_local:
        assert not os.path.lexists(str(root / "absent.zarr"))


@pytest.mark.parametrize("text", ['{"zarr_format": 3, "node_ty', "[1]", ""])
def test_spoilt_groups_are_errors(root, text):
    place = root / "spoilt.zarr"
    (place / "zarr.json").write(text.encode())
    wanted = r"can't open .*/spoilt\.zarr: its zarr\.json is not .*; remove .*/spoilt\.zarr and run"
    with pytest.raises(StorageError, match=wanted):
        place.open_zarr("r")


def test_missing_buckets_are_errors(bucket):
    place = Place.at("s3://no-such-bucket/data")
    for act in (
        place.check_writable,
        (place / "x").read,
        lambda: list(place.walk()),
        lambda: place.open_zarr("a"),
    ):
        with pytest.raises(StorageError, match=r"s3://no-such-bucket/data.*NoSuchBucket") as error:
            act()
        one_line(error)


def test_unknown_schemes_are_errors():
    with pytest.raises(StorageError, match=r"can't open nonsense://x: ") as error:
        Place.at("nonsense://x").check_writable()
    one_line(error)


def test_a_file_in_place_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (Place.at(tmp_path / "file"), Place.at(tmp_path) / "file" / "below"):
        with pytest.raises(StorageError, match=f"can't (open|write) {tmp_path}/file") as error:
            place.check_writable()
        one_line(error)
        assert not (place / "x").exists()
        assert list((place / "x").walk()) == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that nobody may write in")
def test_a_folder_that_can_not_be_written_is_an_error():
    with pytest.raises(StorageError, match="can't open /proc/syndiff") as error:
        Place.at("/proc/syndiff").check_writable()
    one_line(error)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_an_error(tmp_path, monkeypatch):
    """Stand in for the store: the write ends as on a disk without space."""

    def put(*args, **kwargs):
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr("obstore.put", put)
    wanted = f"can't write {tmp_path}/x: .*No space left on device.*that the disk isn't full"
    with pytest.raises(StorageError, match=wanted) as error:
        (Place.at(tmp_path) / "x").write(b"x")
    one_line(error)


def test_places_spell_their_path():
    place = Place.at("s3://bucket/prefix/") / "a" / "b"
    assert str(place) == "s3://bucket/prefix/a/b"
    assert place.name == "b"
    assert not place.is_local
    assert pickle.loads(pickle.dumps(place)) == place
    assert Place.at("s3://bucket/prefix").name == "prefix"


def test_folders_are_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(Place.at("data") / "x") == f"{tmp_path}/data/x"
    assert str(Place.at("~/data")) == "/home/someone/data"
    assert Place.at("data").is_local
    assert not (tmp_path / "data").exists()
