"""The simulator's Rice encoder against cfitsio's, which astropy carries."""

from io import BytesIO

import numpy as np
import pytest
from astropy.io import fits

from syndiff.kernels.rice_encoder import encode_rows


def rows_of(plane):
    """Return the rows that our encoder makes."""
    ny, nx = plane.shape
    out = np.zeros(ny * (2 * nx + nx // 32 + 16), np.uint8)
    ends = np.zeros(ny, np.int64)
    encode_rows(plane, out, ends)
    return [part.tobytes() for part in np.split(out[: ends[-1]], ends[:-1])]


def rows_of_cfitsio(plane):
    """Return the rows that astropy writes."""
    buffer = BytesIO()
    hdu = fits.CompImageHDU(plane, compression_type="RICE_1", tile_shape=(1, plane.shape[1]))
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    buffer.seek(0)
    with fits.open(buffer, disable_image_compression=True) as hdus:
        return [np.asarray(row[0], np.uint8).tobytes() for row in hdus[1].data]


def planes():
    rng = np.random.default_rng(11)
    shape = (7, 203)
    return {
        "noise": rng.normal(0, 3000, shape),
        "faint noise": rng.normal(0, 1, shape).round(),
        "incompressible": rng.integers(-32768, 32768, shape),
        "empty": np.zeros(shape),
        "one value": np.full(shape, -32768),
        "few blanks": np.where(rng.random(shape) < 0.02, 32767, 5),
        "one pixel wide": rng.integers(-9, 9, (5, 1)),
        "whole blocks": rng.normal(0, 40, (3, 64)).round(),
        "steps of the whole range": np.tile([32767, -32768], (2, 50)),
        "lonely spikes": np.where(np.arange(203) % 40 == 7, 30000, 0) * np.ones((2, 1)),
    }


@pytest.mark.parametrize("name", planes())
def test_rows_are_those_of_cfitsio(name):
    plane = planes()[name].astype(np.int16)
    assert rows_of(plane) == rows_of_cfitsio(plane)
