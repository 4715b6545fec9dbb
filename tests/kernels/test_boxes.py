"""Box sums against loops over pixels."""

import numpy as np
import pytest
from array_planes import BLANK, linear_table

from syndiff.kernels.boxes import BoxSums, LeftOutBoxes, StripRows, sum_boxes

BAD = np.uint16(8)
LEFT = np.uint16(4096 | 32)


def make_strip(rng, ny, nx):
    image = rng.integers(-3000, 3000, (ny, nx)).astype(np.int16)
    variance = rng.integers(1, 3000, (ny, nx)).astype(np.int16)
    image[rng.random((ny, nx)) < 0.1] = BLANK
    variance[rng.random((ny, nx)) < 0.1] = BLANK
    mask = rng.choice(np.array([0, 0, 0, 8, 32, 64, 4096, 4104], np.uint16), (ny, nx))
    mask[ny // 2] = 0
    tables = linear_table(0.01), linear_table(0.001)
    return StripRows(image.view(np.uint16), variance.view(np.uint16), mask, *tables)


def empty_sums(ny, nx):
    def plane(size, kind):
        return np.zeros((-(-ny // size), -(-nx // size)), kind)

    return BoxSums(
        plane(2, np.float32),
        plane(2, np.uint8),
        plane(4, np.float32),
        plane(8, np.uint8),
        plane(32, np.uint16),
        plane(8, np.uint16),
    )


def add_strip(strip, first_row, sums):
    ny, nx = strip.image.shape
    size = -(-ny // 2) * -(-nx // 2)
    kinds = np.int32, np.int32, np.float32, np.uint8
    aside = LeftOutBoxes(*(np.empty(size, kind) for kind in kinds))
    count = sum_boxes(strip, first_row, BAD, LEFT, sums, aside)
    return LeftOutBoxes(*(part[:count] for part in aside))


def reference_sum_boxes(strip, sums):
    """Pixel by pixel, in float64."""
    ny, nx = strip.image.shape
    out = BoxSums(*(np.zeros_like(plane, dtype=np.float64) for plane in sums[:-1]), sums.mask * 0)
    aside = np.zeros((2, *out.flux.shape))
    for j in range(ny):
        for i in range(nx):
            flux = float(strip.image_values[strip.image[j, i]])
            variance = float(strip.variance_values[strip.variance[j, i]])
            bits = int(strip.mask[j, i])
            out.mask[j // 8, i // 8] |= np.uint16(bits)
            out.flagged[j // 32, i // 32] += bits != 0
            if np.isnan(flux) or np.isnan(variance) or bits & BAD:
                continue
            out.usable[j // 8, i // 8] += 1
            if bits & LEFT:
                aside[0, j // 2, i // 2] += flux
                aside[1, j // 2, i // 2] += 1
                continue
            out.flux[j // 2, i // 2] += flux
            out.counts[j // 2, i // 2] += 1
            out.variance[j // 4, i // 4] += variance
    return out, aside


@pytest.mark.parametrize("shape", [(64, 64), (37, 45), (2, 3), (1, 1), (33, 70), (8, 39)])
def test_sum_boxes_agrees_with_a_loop_over_pixels(shape):
    strip = make_strip(np.random.default_rng(shape[1]), *shape)
    sums = empty_sums(*shape)
    aside = add_strip(strip, 0, sums)
    expected, (aside_flux, aside_counts) = reference_sum_boxes(strip, sums)
    for name in ("counts", "usable", "flagged", "mask"):
        np.testing.assert_array_equal(getattr(sums, name), getattr(expected, name), err_msg=name)
    row, column = np.nonzero(aside_counts)
    np.testing.assert_array_equal(aside.row, row)
    np.testing.assert_array_equal(aside.column, column)
    np.testing.assert_array_equal(aside.counts, aside_counts[row, column])
    # float32 sums of at most 16 values of up to 30
    for got, want in (
        (sums.flux, expected.flux),
        (sums.variance, expected.variance),
        (aside.flux, aside_flux[row, column]),
    ):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("rows", [2, 6, 16, 34])
def test_sums_do_not_depend_on_where_strips_end(rows):
    strip = make_strip(np.random.default_rng(3), 41, 51)
    whole, parts = empty_sums(41, 51), empty_sums(41, 51)
    add_strip(strip, 0, whole)
    for start in range(0, 41, rows):
        piece = (plane[start : start + rows] for plane in strip[:3])
        add_strip(StripRows(*piece, *strip[3:]), start, parts)
    for name, one, other in zip(BoxSums._fields, whole, parts, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_input_rows_are_not_modified():
    strip = make_strip(np.random.default_rng(4), 16, 16)
    copies = [plane.copy() for plane in strip]
    add_strip(strip, 0, empty_sums(16, 16))
    for plane, copy in zip(strip, copies, strict=True):
        np.testing.assert_array_equal(plane, copy)
