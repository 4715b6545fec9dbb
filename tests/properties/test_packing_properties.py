"""Whatever is packed is unpacked, and Zarr agrees."""

import numpy as np
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from syndiff.storage.zarr_groups import chunk_path, pack_group, unpack_array

TYPES = st.sampled_from([np.int16, np.uint16, np.uint8, np.float32, np.float64])


def open_packed(objects):
    buffer = default_buffer_prototype().buffer
    store = {path: buffer.from_bytes(content) for path, content in objects.items()}
    return zarr.open_group(MemoryStore(store), mode="r")


# Time limits off: the first example imports Zarr's codecs.
@settings(deadline=None, max_examples=40)
@given(TYPES.flatmap(lambda t: hnp.arrays(t, hnp.array_shapes(min_dims=1, max_dims=4, max_side=6))))
def test_one_chunk(array):
    objects = pack_group({"a": array}, {})
    content = objects[f"a/{chunk_path(array.ndim)}"]
    unpacked = unpack_array(content, array.shape, array.dtype.str)
    np.testing.assert_array_equal(unpacked, array, strict=True)
    np.testing.assert_array_equal(open_packed(objects)["a"][...], array, strict=True)
