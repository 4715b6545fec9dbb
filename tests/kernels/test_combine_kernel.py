"""Kernels of the bands' combination against loops over single cells."""

import numpy as np
import pytest

from syndiff.kernels.combine import (
    CodedLight,
    decode_cells,
    guess_lost,
    mark_lit,
    raise_flags,
    stand_in,
    sum_bright,
    sum_changes,
    take_share,
    weigh_bands,
    weigh_codes,
)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_weighted_sum_of_bands(rng):
    light = rng.normal(0, 100, (4, 13, 17)).astype(np.float32)
    light[rng.random(light.shape) < 0.5] = 0
    weights = np.array([0.238, 0.344, 0.283, 0.135], np.float32)
    total = np.full((13, 17), np.nan, np.float32)
    weigh_bands(light, weights, total)
    for place in np.ndindex(13, 17):
        expected = np.float32(0)
        for weight, value in zip(weights, light[(slice(None), *place)], strict=True):
            expected += weight * value
        assert total[place] == expected


@pytest.mark.parametrize("shape", [(8, 8), (13, 18), (3, 1)])
def test_flags_of_the_mask(rng, shape):
    mask = rng.integers(0, 8, shape).astype(np.uint16)
    coarse = [-(-side // 4) for side in shape]
    left_out = rng.integers(0, 2, (2, *coarse)).astype(np.uint16)
    found = np.full(shape, 255, np.uint8)
    raise_flags(mask, left_out, np.array([1, 6], np.uint16), np.array([16, 32], np.uint8), found)
    for j, i in np.ndindex(*shape):
        expected = 16 * bool(mask[j, i] & 1)
        if left_out[:, j // 4, i // 4].any():
            expected += 32 * bool(mask[j, i] & 6)
        assert found[j, i] == expected


def test_changes_are_summed_in_8_arcsec_cells(rng):
    row, column = rng.integers(0, 13, 60), rng.integers(0, 10, 60)
    changes = rng.normal(0, 1, (3, 60)).astype(np.float32)
    found = np.ones((3, 4, 3))
    sum_changes(row, column, changes, found)
    expected = np.ones((3, 4, 3))
    for plane in range(3):
        for k in range(60):
            expected[plane, row[k] // 4, column[k] // 4] += float(changes[plane, k])
    np.testing.assert_array_equal(found, expected)


def test_bright_light_in_all_bands(rng):
    light = rng.normal(0, 100, (4, 13, 17)).astype(np.float32)
    total = light.sum(axis=0)
    invalid = rng.integers(0, 2, (13, 17)).astype(np.uint8)
    sums = np.zeros(4)
    sum_bright(total, invalid, 50.0, light, sums)
    expected = (total > 50) & (invalid == 0)
    assert 20 < expected.sum() < 100
    # Summed in another order, in float64.
    np.testing.assert_allclose(sums, light[:, expected].sum(axis=1, dtype=float), rtol=1e-12)


def coded_light(rng, bands):
    """Codes of some bands, mostly none, and the light of all of them."""
    patterns = rng.integers(0, 65536, (len(bands), 13, 17)).astype(np.uint16)
    patterns[rng.random(patterns.shape) < 0.6] = 0
    tables = rng.normal(0, 100, (len(bands), 65536)).astype(np.float32)
    tables[:, 0] = 0
    light = np.zeros((4, 13, 17), np.float32)
    for k, band in enumerate(bands):
        light[band] = tables[k][patterns[k]]
    return CodedLight(
        np.ascontiguousarray(patterns.transpose(1, 2, 0)), tables, np.array(bands)
    ), light


@pytest.mark.parametrize("bands", [(0, 1, 2, 3), (1,), (0, 3)])
def test_codes_tell_what_planes_do(rng, bands):
    codes, light = coded_light(rng, bands)
    weights = np.array([0.238, 0.344, 0.283, 0.135], np.float32)
    invalid = rng.integers(0, 2, (13, 17)).astype(np.uint8)
    found = np.full((13, 17), np.nan, np.float32), np.zeros(4)
    weigh_codes(codes, weights, invalid, 10.0, *found)
    total, sums = np.empty_like(found[0]), np.zeros(4)
    weigh_bands(light, weights, total)
    sum_bright(total, invalid, 10.0, light, sums)
    assert sums.any()
    for one, other in zip(found, (total, sums), strict=True):
        np.testing.assert_array_equal(one, other)


def test_light_of_some_cells(rng):
    codes, light = coded_light(rng, (0, 2))
    row, column = rng.integers(0, 13, 40), rng.integers(0, 17, 40)
    found = np.full((4, 40), np.nan, np.float32)
    decode_cells(codes, row, column, found)
    np.testing.assert_array_equal(found, light[:, row, column])


def test_lit_cells_and_shares(rng):
    share = rng.choice([0, 0.25, 1.0], (13, 17)).astype(np.float32)
    total = (rng.normal(size=(13, 17)) * rng.integers(0, 2, (13, 17))).astype(np.float32)
    flags = rng.choice(np.array([0, 0, 4], np.uint8), (13, 17))
    lit = np.full((13, 17), 7, np.uint8)
    mark_lit(total, flags, lit)
    np.testing.assert_array_equal(lit, (total != 0) | (flags != 0))
    wanted = total * share, np.where(share != 0, flags, 0)
    take_share(share, total, flags)
    np.testing.assert_array_equal(total, wanted[0])
    np.testing.assert_array_equal(flags, wanted[1])


def test_light_that_holes_may_hold(rng):
    hole = rng.choice(np.array([0, 2, 3], np.uint8), (13, 17), p=[0.3, 0.4, 0.3])
    total = rng.exponential(20, (13, 17)).astype(np.float32)
    found = np.zeros((13, 17), np.float32)
    guess_lost(hole, np.nonzero(hole), total, (50.0, 4.0, 1e3), found)
    wanted = np.zeros((13, 17), np.float32)
    for turn in (1, 2, 3):
        before = wanted.copy()
        for j, i in np.ndindex(13, 17):
            around = np.s_[max(j - 1, 0) : j + 2, max(i - 1, 0) : i + 2]
            rim = np.where(hole == 0, total, 0) * (total > 50) if turn == 1 else before
            if hole[j, i] >= turn and before[j, i] == 0:
                wanted[j, i] = min(4 * rim[around].max(), 1e3)
    assert 10 < (wanted > 0).sum() < (hole > 0).sum()
    assert (wanted == 1e3).any()
    np.testing.assert_array_equal(found, wanted)


def test_bands_that_stand_in(rng):
    light = rng.normal(0, 100, (4, 13, 17)).astype(np.float32)
    row, column = rng.integers(0, 13, 30), rng.integers(0, 17, 30)
    shares = rng.random((4, 30)).astype(np.float32)
    weights = rng.random((4, 16)).astype(np.float32)
    bits = (row + 2 * column).astype(np.uint8) % 16
    total = np.full((13, 17), -1, np.float32)
    stand_in(row, column, light[:, row, column], shares, bits, weights, total)
    expected = np.full((13, 17), -1, np.float32)
    for k in range(30):
        parts = weights[:, bits[k]] * (light[:, row[k], column[k]] * shares[:, k])
        expected[row[k], column[k]] = ((parts[0] + parts[1]) + parts[2]) + parts[3]
    np.testing.assert_array_equal(total, expected)
