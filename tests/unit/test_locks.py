"""Locks of places that several runs may want at once."""

import fcntl

import pytest

from syndiff.storage.locks import locked
from syndiff.storage.place import Place


@pytest.fixture
def place(tmp_path):
    return Place.at(tmp_path) / "scene.zarr"


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "scene.zarr.lock"


def test_readers_of_what_nobody_wrote_leave_nothing_behind(place, lock):
    with locked(place, to_read=True):
        assert not lock.exists()
    assert not lock.exists()


@pytest.mark.parametrize("to_read", [False, True])
def test_a_place_is_held_to_the_end_of_the_block(place, lock, to_read):
    with locked(place):
        assert lock.exists()
    with lock.open("ab") as other:
        with locked(place, to_read=to_read), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert lock.read_bytes() == b""


def test_reading_needs_no_right_to_write(place, lock):
    lock.touch(mode=0o444)
    with locked(place, to_read=True), lock.open("rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
