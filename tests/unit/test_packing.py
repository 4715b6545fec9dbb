"""Objects of a Zarr group made by hand: Zarr must read them, and damage must show."""

import numpy as np
import pytest
import zarr

from syndiff.storage.zarr_groups import chunk_path, pack_group, unpack_array


@pytest.fixture
def store(tmp_path):
    def put(objects):
        for path, content in objects.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
        return zarr.open_group(str(tmp_path), mode="r")

    return put


@pytest.mark.parametrize("dtype", ["<i2", "<u2", "|u1", "<f4", ">f8"])
@pytest.mark.parametrize("shape", [(7,), (1, 1), (3, 5, 4)])
def test_zarr_reads_what_was_packed(store, dtype, shape):
    array = np.random.default_rng(1).integers(0, 200, shape).astype(dtype)
    objects = pack_group({"a": array}, {"unit": "DN"})
    group = store(objects)
    np.testing.assert_array_equal(group["a"][...], array)
    assert group.attrs["unit"] == "DN"
    little = array.dtype.newbyteorder("<").str
    unpacked = unpack_array(objects[f"a/{chunk_path(array.ndim)}"], shape, little)
    np.testing.assert_array_equal(unpacked, array)


def test_zeros_are_stored_too():
    assert "a/c/0/0" in pack_group({"a": np.zeros((4, 4), np.int16)}, {})


def test_the_groups_metadata_come_last():
    objects = pack_group({"a": np.zeros(3), "b": np.ones(3)}, {})
    assert list(objects) == ["a/c/0", "b/c/0", "a/zarr.json", "b/zarr.json", "zarr.json"]


def test_damage_shows():
    array = np.random.default_rng(3).integers(0, 99, (100, 33)).astype(np.int16)
    content = bytearray(pack_group({"a": array}, {})["a/c/0/0"])
    content[len(content) // 2] ^= 4
    with pytest.raises(ValueError, match=r"."):
        unpack_array(bytes(content), (100, 33), "<i2")


def test_another_size_shows():
    content = pack_group({"a": np.zeros(5, np.int16)}, {})["a/c/0"]
    with pytest.raises(ValueError, match="reshape"):
        unpack_array(content, (6,), "<i2")
