"""Stack files kept as they came: an archive again, whole or not at all."""

import gzip
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from servers import FaultyServer, Page, Truncate, s3_server
from stackplanes import mask_like, plane_file, sky_like, small_skycell

from syndiff.config import BANDS
from syndiff.errors import ArchiveError, StorageError, WrongFileError
from syndiff.stacks.archive import PLANES, fetch_skycell, stack_path
from syndiff.stacks.kept_files import KeptFiles, kept_bands
from syndiff.stacks.stackfile import open_stackfile
from syndiff.storage.place import Place
from syndiff.transport.archive import Archive
from syndiff.transport.attempt import ArchiveConfig

SKYCELL = small_skycell(nx=101, ny=70)
NAME = SKYCELL.name
FILES = {
    stack_path(NAME, band, plane): plane_file(
        plane, raw, SKYCELL, change={"HIERARCH FPA.FILTERID": f"{band}.00000"}
    )
    for seed, band in enumerate(BANDS)
    for plane, raw in (
        ("image", sky_like(SKYCELL.shape, seed)),
        ("variance", sky_like(SKYCELL.shape, 9 + seed)),
        ("mask", mask_like(SKYCELL.shape)),
    )
}
FOLDER = stack_path(NAME, "r", "image").rpartition("/")[0]

UNFINISHED = r"copy in .* is not finished|has the . image but not its"


def fetch(url, bands=BANDS):
    with Archive(ArchiveConfig(str(url), 4, backoff_s=0.01)) as archive:
        return fetch_skycell(archive, SKYCELL, bands=bands, with_octets=True)


@pytest.fixture(scope="module")
def fetched():
    """Through the real check, from a server that fails now and then."""
    with FaultyServer(FILES) as web:
        web.faults[stack_path(NAME, "y", "image")] = [Page(), Truncate()]
        web.faults[stack_path(NAME, "y", "mask")] = [Page(FILES[stack_path(NAME, "y", "image")])]
        return fetch(web.url)


@pytest.fixture
def store(tmp_path):
    return KeptFiles(Place.at(tmp_path / "kept"))


def content(store):
    return {path: (store.place / path).read() for path in store.paths()}


def same(files, fetched):
    """The same planes, files of the same bytes."""
    assert list(files.planes) == [(band, plane) for band in BANDS for plane in PLANES]
    for key, file in files.planes.items():
        expected = fetched.planes[key]
        assert (file.sha256, file.size) == (expected.sha256, expected.size)
        np.testing.assert_array_equal(file.stack.rows(0, 70), expected.stack.rows(0, 70))
    return True


read = partial(KeptFiles.read, skycell=SKYCELL, bands=BANDS, open_plane=open_stackfile)


def test_they_are_kept_as_they_came_and_are_an_archive(store, fetched):
    store.keep(fetched)
    assert content(store) == FILES
    assert same(read(store), fetched)
    assert same(fetch(store.place), fetched)
    assert kept_bands(NAME, store.paths()) == set(BANDS)


def test_on_s3(monkeypatch, fetched):
    with s3_server(monkeypatch, "raw"):
        store = KeptFiles(Place.at("s3://raw/root") / "kept")
        assert read(store) is None
        store.keep(fetched)
        assert content(store) == FILES
        assert same(read(store), fetched)
        assert same(fetch(store.place), fetched)


def test_a_packed_file_keeps_its_name_and_the_last_one_counts(store, fetched, tmp_path):
    for path, data in FILES.items():
        packed = tmp_path / "archive" / f"{path}.gz"
        packed.parent.mkdir(parents=True, exist_ok=True)
        packed.write_bytes(gzip.compress(data, 1))
    store.keep(fetched)
    store.keep(fetch(tmp_path / "archive"))
    assert store.paths() == {f"{path}.gz" for path in FILES}
    planes = read(store).planes
    np.testing.assert_array_equal(
        planes["z", "image"].stack.rows(0, 70), fetched.planes["z", "image"].stack.rows(0, 70)
    )


@pytest.mark.parametrize("writes", [0, 1, 2, 4, 7, 11])
@pytest.mark.parametrize("before", [False, True])
def test_an_interrupted_writer_leaves_nothing_that_is_taken_for_whole(
    store, fetched, monkeypatch, writes, before
):
    """Neither by the next run nor as an archive: there a band would be absent without a word."""
    if before:
        store.keep(fetched)
    count = 0
    write = Place.write

    def full(place, data):
        nonlocal count
        if count == writes:
            raise StorageError(f"can't write {place}: No space left on device")
        count += 1
        write(place, data)

    monkeypatch.setattr(Place, "write", full)
    with pytest.raises(StorageError, match="No space left"):
        store.keep(fetched)
    monkeypatch.undo()
    if before and not writes:
        assert same(read(store), fetched)  # not even begun
    else:
        assert read(store) is None
    if writes:
        with pytest.raises(ArchiveError, match=UNFINISHED):
            fetch(store.place)
    store.keep(fetched)
    assert content(store) == FILES


@pytest.mark.parametrize("removals", [1, 5, 11])
def test_an_interrupted_replacement_too(store, fetched, monkeypatch, removals):
    store.keep(fetched)
    count = 0
    remove = Place.remove

    def lost(place):
        nonlocal count
        if count == removals:
            raise StorageError(f"can't remove {place}: connection lost")
        count += 1
        remove(place)

    monkeypatch.setattr(Place, "remove", lost)
    with pytest.raises(StorageError, match="connection lost"):
        store.keep(fetched)
    monkeypatch.undo()
    assert read(store) is None
    with pytest.raises(ArchiveError, match=UNFINISHED):
        fetch(store.place)


def test_a_piece_of_a_file_is_no_file(store, fetched):
    store.keep(fetched)
    path = stack_path(NAME, "i", "variance")
    (store.place / path).remove()
    Path(f"{store.place}/{path}#1").write_bytes(FILES[path][:1000])  # as obstore begins one
    assert read(store) is None
    store.keep(fetched)
    assert content(store) == FILES


def test_a_damaged_file_is_asked_for_again(store, fetched, caplog):
    store.keep(fetched)
    place = store.place / stack_path(NAME, "i", "variance")
    place.write(place.read()[:-3000])
    assert read(store) is None
    assert "a kept file is not used" in caplog.text
    assert "truncated" in caplog.text


def test_a_file_of_another_stack_is_told(store, fetched):
    """As an archive's: asked for again it would hardly be another."""
    store.keep(fetched)
    (store.place / stack_path(NAME, "i", "mask")).write(FILES[stack_path(NAME, "r", "mask")])
    with pytest.raises(WrongFileError, match=r"FPA.FILTERID is 'r.00000'"):
        read(store)


def test_bands_that_are_not_kept_are_not_absent(store, fetched):
    planes = {key: file for key, file in fetched.planes.items() if key[0] != "y"}
    store.keep(replace(fetched, planes=planes, absent=("y",)))
    assert kept_bands(NAME, store.paths()) == {"r", "i", "z"}
    assert read(store) is None
    assert store.read(SKYCELL, ("r", "i"), open_stackfile).bands == ("r", "i")
    store.keep(replace(fetched, planes={}, absent=BANDS))
    assert not store.paths()


def test_an_archive_that_is_the_folder_itself_is_left_alone(store, fetched, monkeypatch, tmp_path):
    store.keep(fetched)
    link = tmp_path / "link"
    link.symlink_to(str(store.place))
    monkeypatch.setattr(Place, "remove", lambda place: pytest.fail(f"{place} is removed"))
    for where in (store.place, link):
        store.keep(fetch(where))
    assert content(store) == FILES


def test_other_files_beside_them_stay(store, fetched):
    for name in ("notes.txt", f"{NAME}.png"):
        (store.place / FOLDER / name).write(b"mine")
    store.keep(fetched)
    store.keep(fetched)
    assert store.paths() == {*FILES, f"{FOLDER}/notes.txt", f"{FOLDER}/{NAME}.png"}
