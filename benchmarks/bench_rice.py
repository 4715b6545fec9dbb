"""Decoding stack files: RICE_1 images and GZIP_1 masks, against astropy on the same bytes.

Run with ``pytest benchmarks/bench_rice.py --benchmark-enable``, or all with
``python -m benchmarks``.
"""

import io
import itertools
import math

import numpy as np
import pytest
from astropy.io import fits
from stackplanes import plane_file, sky_like, small_skycell

from syndiff.stacks.stackfile import open_stackfile


@pytest.fixture(scope="module")
def noise():
    """A file of 6250 px wide rows of noise as in a stack's image."""
    skycell = small_skycell(nx=6250, ny=256)
    raw = sky_like(skycell.shape)
    return skycell, raw, plane_file("image", raw, skycell)


@pytest.mark.benchmark(group="rice")
def test_stackfile(benchmark, noise):
    skycell, raw, data = noise
    plane = open_stackfile(data, source="noise", plane="image", band="y", skycell=skycell)
    out = np.empty_like(raw)

    def decode():
        for j0, j1 in itertools.pairwise(range(0, skycell.ny + 1, 64)):
            plane.rows(j0, j1, out=out[j0:j1])

    benchmark(decode)
    np.testing.assert_array_equal(out, raw)


@pytest.mark.benchmark(group="rice")
def test_astropy(benchmark, noise):
    raw, data = noise[1:]

    def decode():
        with fits.open(io.BytesIO(data), do_not_scale_image_data=True) as hdus:
            return hdus[1].data

    np.testing.assert_array_equal(benchmark(decode), raw)


@pytest.mark.benchmark(group="mask")
def test_mask_rows(benchmark):
    skycell = small_skycell(nx=6250, ny=64)
    raw = (np.arange(skycell.nx * skycell.ny) % 977 == 0).reshape(skycell.shape).astype(np.uint16)
    data = plane_file("mask", raw, skycell)
    plane = open_stackfile(data, source="mask", plane="mask", band="y", skycell=skycell)
    np.testing.assert_array_equal(benchmark(plane.rows, 0, skycell.ny), raw)


@pytest.mark.benchmark(group="value table")
def test_value_table(benchmark, noise):
    skycell, _, data = noise
    plane = open_stackfile(data, source="noise", plane="image", band="y", skycell=skycell)
    assert math.isnan(benchmark(plane.value_table)[32767])
