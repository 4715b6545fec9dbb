"""The twins do what they stand for, on small arrays; so does the table."""

import numpy as np
import pytest

from benchmarks import stronger, textbook
from benchmarks.extrapolation import MAPPING, SCENE, SKYCELL, whole_ccd
from benchmarks.figures import Row, measured, table
from syndiff.sky.pixelmap import Lattice

SIDE = 256


@pytest.fixture(scope="module")
def light():
    """Two stars."""
    image = np.zeros((SIDE, SIDE), np.float32)
    image[120, 130], image[90, 100] = 1000, 500
    return image


def test_both_convolutions_agree(benchmark, light):
    blurred = benchmark(stronger.convolve, light, sigma_px=8.0)
    # gaussian_filter ends at 4 sigma, where 3e-4 of the peak is left.
    wanted = textbook.convolve(light, sigma_px=8.0)
    np.testing.assert_allclose(blurred, wanted, rtol=0, atol=5e-4 * wanted.max())


def test_drizzle_keeps_the_light(light):
    pytest.importorskip("drizzle")
    nodes = np.arange(SIDE // 64 + 2) * 64 * 0.0119
    lattice = Lattice(*np.meshgrid(nodes + 3, nodes + 4), 64)
    pixmap = stronger.lattice_pixmap(lattice, light.shape, (2.0, 2.0))
    drizzled = stronger.drizzle_light(light, pixmap, (40, 40))
    # drizzle works in float32
    assert drizzled.sum() == pytest.approx(light.sum(), rel=1e-5)


def test_textbook_finds_and_bins(light):
    flux = light + np.random.default_rng(1).normal(0, 1, light.shape).astype(np.float32)
    found = textbook.detect(textbook.convolve(flux, sigma_px=1.5), np.full_like(flux, 0.01))
    assert found[120, 130] > 0
    template = np.zeros((4, 4))
    y, x = np.mgrid[:SIDE, :SIDE] / 128
    textbook.add_pixels(light, x, y, template)
    assert template.sum() == 1500
    assert template[1, 1] == 1500


def test_extrapolation_takes_the_slower():
    rows = [Row(SKYCELL, 3.4), Row(SCENE, 34.0), Row(MAPPING, 0.0)]
    lines = whole_ccd(rows).splitlines()
    # 1057 x 390 MB at 100 MB/s: 69 min; 1057 x 3.4 s on 16 cores: 4.4 min; the rest 2.5 s.
    assert "| 16 | 100 MB/s | 69 min | network |" in lines
    assert "| 2 | 1000 MB/s | 36 min | reduction |" in lines
    assert whole_ccd(rows[:2]) == ""


def test_table_has_a_ratio():
    _, cost = measured(sum, [1])
    assert cost.cpu_s >= 0
    row = table([Row("work", 2.0, textbook=6.0)]).splitlines()[-1]
    assert row == "| work | 2 s |  |  | 6 s | 3 |  |  |  |  |"


def test_table_tells_which_promises_were_kept():
    promises = {"<= 3 s": True, "<= 1 GB": True}
    row = table([Row("work", 2.0, promises)]).splitlines()[-1]
    assert row.startswith("| work | 2 s | <= 3 s; <= 1 GB | yes |")
    row = table([Row("work", 2.0, promises | {"<= 1 GB": False})]).splitlines()[-1]
    assert row.startswith("| work | 2 s | <= 3 s; <= 1 GB | no: <= 1 GB |")
