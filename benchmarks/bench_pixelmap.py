"""Where a skycell lands: homography and Newton on the forward SIP against astropy."""

import numpy as np
import pytest
from astropy.io import fits

from benchmarks import textbook
from syndiff.ffi.frame import Frame
from syndiff.layout import Detector
from syndiff.simulation.ffi import SCIENCE, example_cards
from syndiff.sky.pixelmap import PixelMap
from syndiff.sky.tessellation import Tessellation

ROWS = np.arange(3000, 3002)
NX = 4000


@pytest.fixture(scope="module")
def sky():
    """A skycell and a CCD that it lies on."""
    header = fits.Header.fromstring(example_cards(), sep="\n")
    frame = Frame.from_header(header, Detector(20, 3, 3), (2078, 2136), SCIENCE)
    return Tessellation.rings_v3()["skycell.2589.093"], frame


@pytest.mark.benchmark(group="map pixels")
def test_pixelmap(benchmark, sky):
    skycell, frame = sky
    pixel_map = PixelMap.between(skycell, frame)
    x, y = benchmark(pixel_map, *np.meshgrid(np.arange(NX), ROWS))
    # all_world2pix stops where a step is below 1e-4 px; what is left is a hundredth of that.
    for got, wanted in zip(
        (x, y), textbook.pixels_of(skycell.wcs, frame.wcs, ROWS, NX), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.benchmark(group="map pixels")
def test_lattice(benchmark, sky):
    pixel_map = PixelMap.between(*sky)
    lattice = benchmark(pixel_map.lattice)
    x, _ = pixel_map(320.0, 640.0)
    assert lattice.x[10, 5] == pytest.approx(float(x), abs=1e-9)


@pytest.mark.benchmark(group="map pixels")
def test_astropy(benchmark, sky):
    skycell, frame = sky
    x, y = benchmark(textbook.pixels_of, skycell.wcs, frame.wcs, ROWS, NX)
    assert x.shape == y.shape == (ROWS.size, NX)
