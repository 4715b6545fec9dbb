"""Words of a FITS file, unpacked one by one with `int.from_bytes`."""

import numpy as np
import pytest

from syndiff.kernels.bigendian import unpack_rows


@pytest.mark.parametrize("sign", [0, 0x8000])
@pytest.mark.parametrize("nx", [1, 17, 64])
def test_rows_are_swapped_and_repeated(sign, nx):
    content = np.random.default_rng(nx).integers(0, 256, (3, 2 * nx)).astype(np.uint8).tobytes()
    index = np.array([2, 0, 0, 1])
    found = np.empty((4, nx), np.uint16)
    packed = np.frombuffer(content, np.uint16).reshape(3, nx)
    unpack_rows(packed, index, np.uint16(sign), found)
    for j, i in np.ndindex(4, nx):
        start = 2 * (index[j] * nx + i)
        assert found[j, i] == int.from_bytes(content[start : start + 2], "big") ^ sign
