"""Summing pixels into boxes: the kernel against NumPy on whole images."""

import numpy as np
import pytest
from stackplanes import plane_file, sky_like, small_skycell

from syndiff.settings import Settings
from syndiff.stacks.reduction import BandPlanes
from syndiff.stacks.stack_sums import sum_strips
from syndiff.stacks.stackfile import open_stackfile


@pytest.fixture(scope="module")
def band():
    """One band of a small skycell."""
    skycell = small_skycell(nx=1600, ny=256)
    raw = {
        "image": sky_like(skycell.shape),
        # above zero everywhere
        "variance": np.maximum(sky_like(skycell.shape), -15000),
        "mask": np.zeros(skycell.shape, np.uint16),
    }
    planes = {
        name: open_stackfile(
            plane_file(name, pixels, skycell), source="b", plane=name, band="y", skycell=skycell
        )
        for name, pixels in raw.items()
    }
    return planes, raw


def test_sums(benchmark, band):
    planes, raw = band
    sums = benchmark(sum_strips, {"y": BandPlanes(**planes)}, Settings(), 64)
    flux = _numpy_boxes(planes, raw)
    # Four float32 numbers, added in another order.
    scale = np.abs(flux).max()
    np.testing.assert_allclose(sums["y"].boxes.flux, flux, rtol=0, atol=1e-6 * scale)


def test_numpy(benchmark, band):
    assert benchmark(_numpy_boxes, *band).shape == (128, 800)


def _numpy_boxes(planes, raw):
    values = [
        planes[name].value_table()[raw[name].view(np.uint16)] for name in ("image", "variance")
    ]
    valid = np.isfinite(values[0]) & np.isfinite(values[1]) & (raw["mask"] == 0)
    return np.where(valid, values[0], 0).reshape(128, 2, 800, 2).sum(axis=(1, 3))
