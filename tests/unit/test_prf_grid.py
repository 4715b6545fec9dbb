"""Measured pixel responses as data: what is refused, and what survives being kept."""

import re
from dataclasses import replace

import numpy as np
import pytest

from syndiff.errors import ResponseError
from syndiff.scenes.prf_grid import SIDE, PrfGrid, check_samples

X, Y = np.array([44.0, 556.0, 1068.0]), np.array([0.0, 512.0])


@pytest.fixture(scope="module")
def grid():
    u = (np.arange(SIDE) - SIDE // 2) / 9
    star = np.exp(-0.5 * (u**2 + u[:, None] ** 2))
    scale = np.arange(1.0, 7.0).reshape(2, 3, 1, 1)
    return PrfGrid(X, Y, scale * star, "tess1-prf-3-3", "/prf/cam3_ccd3")


def test_kept_and_read_again(grid):
    again = PrfGrid.unpack(grid.pack(), "place")
    for name in ("x", "y", "samples"):
        np.testing.assert_array_equal(getattr(again, name), getattr(grid, name))
    assert (again.name, again.source, again.digest) == (grid.name, grid.source, grid.digest)


def test_the_digest_is_of_the_responses_and_not_of_where_they_were(grid):
    assert replace(grid, source="elsewhere").digest == grid.digest
    assert re.fullmatch("[0-9a-f]{16}", grid.digest)
    changed = grid.samples.copy()
    changed[1, 2, 3, 4] *= 1 + 1e-12
    assert replace(grid, samples=changed).digest != grid.digest
    assert replace(grid, x=X + 1).digest != grid.digest


@pytest.mark.parametrize("content", [b"", b"no archive", "cut"])
def test_damaged_content_is_told(grid, content):
    content = grid.pack()[:-300] if content == "cut" else content
    with pytest.raises(ResponseError, match=r"here\.npz is damaged .* run `syndiff process` again"):
        PrfGrid.unpack(content, "here.npz")


def test_arrays_that_do_not_fit_are_refused(grid):
    with pytest.raises(ResponseError, match=r"have the shape \(2, 3, .*\(2, 2, 117, 117\) belongs"):
        replace(grid, x=X[:2])
    with pytest.raises(ResponseError, match="not in ascending order"):
        replace(grid, x=X[::-1])


def test_samples_that_are_no_response_are_refused(grid):
    samples = grid.samples[0, 0]
    with pytest.raises(ResponseError, match=r"f: the image is 117 x 100, a .* is 117 x 117"):
        check_samples(samples[:, :100], "f")
    spoilt = samples.copy()
    spoilt[3, :2] = np.nan, np.inf
    with pytest.raises(ResponseError, match="f: 2 of 13689 samples are not finite"):
        check_samples(spoilt, "f")
    with pytest.raises(ResponseError, match=r"f: the samples sum to -\d.* get the file again"):
        check_samples(-samples, "f")
    with pytest.raises(ResponseError, match=r"the samples sum to .*, -\d.* of it negative"):
        check_samples(samples - 0.1, "f")
    check_samples(samples - 1e-5, "f")
    bad = grid.samples.copy()
    bad[1, 1, 0, 0] = np.nan
    with pytest.raises(ResponseError, match=r"/prf/cam3_ccd3 at pixel \(556\.0, 512\.0\)"):
        replace(grid, samples=bad)
