"""Whole reductions of small skycells."""

from dataclasses import replace

import numpy as np
import pytest
from array_planes import BLANK, ArrayPlane, noisy_planes
from stackplanes import small_skycell

from syndiff.config import BANDS
from syndiff.errors import RenderingError
from syndiff.settings import Settings
from syndiff.stacks.provenance import BandOrigin
from syndiff.stacks.reduction import asinh_decode, reduce_skycell, variance_decode

SETTINGS = Settings()
ARRAYS = (
    "light",
    "light_sigma",
    "left_out",
    "faint",
    "faint_sigma",
    "level",
    "variance",
    "variance_sigma",
    "count",
    "left_out_count",
    "flagged",
    "mask",
    "valid",
)


def stars(shape, seed=1, n=25, brightest=60.0):
    """Return a field of Gaussian stars at least 30 px from the edge."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    light = np.zeros(shape)
    for _ in range(n):
        y, x = rng.uniform(30, shape[0] - 30), rng.uniform(30, shape[1] - 30)
        profile = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8) / (8 * np.pi)
        light += rng.uniform(0.1, 1) * brightest * profile
    return light


def field(shape=(301, 279), bands="riz", seed=1, n=25):
    rng = np.random.default_rng(seed)
    light = stars(shape, seed, n)
    return {
        band: noisy_planes(rng, light * (1 + 0.2 * k), mask=np.zeros(shape, np.uint16))
        for k, band in enumerate(bands)
    }


def reduce_field(planes, **options):
    ny, nx = next(iter(planes.values())).image.shape
    return reduce_skycell(
        planes, skycell=small_skycell(nx, ny), **{"settings": SETTINGS, **options}
    )


def assert_same(one, other):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.noise_correlation == other.noise_correlation


def values(planes):
    """Return the flux and validity of one band's pixels."""
    flux = planes.image.table[planes.image.array.view(np.uint16)]
    variance = planes.variance.table[planes.variance.array.view(np.uint16)]
    return flux, np.isfinite(flux) & np.isfinite(variance) & (planes.mask.array & 8 == 0)


def box_sums(plane, size):
    rows, columns = (-(-n // size) for n in plane.shape)
    pad = [(0, m * size - n) for m, n in zip((rows, columns), plane.shape, strict=True)]
    return np.pad(plane, pad).reshape(rows, size, columns, size).sum(axis=(1, 3))


def test_shapes_and_types_are_the_contract():
    reduced = reduce_field(field())
    fine, coarse, mesh = (38, 35), (10, 9), (2, 2)
    expected = {
        "light": ((3, *fine), np.int16),
        "light_sigma": ((3,), np.float64),
        "left_out": ((3, *fine), np.int16),
        "faint": ((3, *coarse), np.int16),
        "faint_sigma": ((3,), np.float64),
        "level": ((3, *mesh), np.float32),
        "variance": ((3, 2, *coarse), np.int16),
        "variance_sigma": ((3,), np.float64),
        "count": ((3, *coarse), np.uint16),
        "left_out_count": ((3, *coarse), np.uint16),
        "flagged": ((3, *coarse), np.uint16),
        "mask": (fine, np.uint16),
        "valid": (fine, np.uint8),
    }
    for name, (shape, kind) in expected.items():
        plane = getattr(reduced, name)
        assert (plane.shape, plane.dtype) == (shape, kind), name
        assert plane.flags.c_contiguous, name
    assert reduced.name == "skycell.2180.097"
    assert reduced.shape == (301, 279)
    assert reduced.bands == ("r", "i", "z")
    assert type(reduced.noise_correlation) is float
    assert reduced.meta.bands["z"] == BandOrigin(640.0, 55800.5, 0)


@pytest.mark.parametrize("rows", [1, 2, 7, 32, 1000])
def test_strips_of_any_length_give_the_same_bits(rows):
    planes = field()
    rng = np.random.default_rng(9)
    planes["i"].mask.array[rng.random((301, 279)) < 0.1] = 4096
    planes["z"].image.array[rng.random((301, 279)) < 0.1] = BLANK
    assert_same(reduce_field(planes, strip_rows=rows), reduce_field(planes))


def test_order_of_the_bands_does_not_matter():
    planes = field()
    assert_same(reduce_field(dict(reversed(planes.items()))), reduce_field(planes))


def test_all_the_light_is_kept_apart_and_adds_up():
    planes = field((520, 519))
    rng = np.random.default_rng(5)
    # left-out and blank pixels, none of the former where the spline loses light
    planes["r"].mask.array[30:-30, 30:-30][rng.random((460, 459)) < 0.05] = 4096
    planes["r"].image.array[rng.random((520, 519)) < 0.05] = BLANK
    reduced = reduce_field(planes)
    for k, band in enumerate(reduced.bands):
        flux, valid = values(planes[band])
        counted = (reduced.count[k] + reduced.left_out_count[k]).astype(float)
        np.testing.assert_array_equal(counted, box_sums(valid, 32))
        level = np.repeat(np.repeat(reduced.level[k].astype(float), 8, 0), 8, 1)[:17, :17]
        total = (
            asinh_decode(reduced.light[k], reduced.light_sigma[k]).sum(dtype=float)
            + asinh_decode(reduced.left_out[k], reduced.light_sigma[k]).sum(dtype=float)
            + asinh_decode(reduced.faint[k], reduced.faint_sigma[k]).sum(dtype=float)
            + (level * counted).sum()
        )
        # steps of sigma / 16 and sigma8 / 16 round 65^2 and 17^2 cells: 0.29 steps each, sigma 1;
        # false detections at the edge lose some
        assert total == pytest.approx(flux[valid].sum(dtype=float), abs=12)


def test_left_out_light_is_kept_but_does_not_enter():
    shape = (256, 256)
    light = stars(shape, n=1, brightest=300)
    planes = {"r": noisy_planes(np.random.default_rng(1), light, mask=np.zeros(shape, np.uint16))}
    y, x = np.unravel_index(np.argmax(light), shape)
    whole = reduce_field(planes)
    planes["r"].mask.array[y - 8 : y + 9, x - 8 : x + 9] = 4096
    without = reduce_field(planes)
    sigma = whole.light_sigma[0]
    near = np.s_[0, y // 8 - 4 : y // 8 + 5, x // 8 - 4 : x // 8 + 5]
    star = asinh_decode(whole.light[near], sigma).sum()
    left_out = asinh_decode(without.left_out[near], sigma).sum()
    # noise of the cells around the star, rounding
    assert left_out == pytest.approx(star, rel=0.05)
    assert left_out == asinh_decode(without.left_out[0], sigma).sum()
    assert np.abs(asinh_decode(without.light[near], sigma)).sum() < 0.1 * star
    assert without.left_out_count.sum() == 17 * 17
    assert without.count.sum() == 256**2 - 17 * 17
    np.testing.assert_array_equal(without.valid, whole.valid)
    kept = reduce_field(planes, settings=Settings(ignore_mask_bits=""))
    np.testing.assert_array_equal(kept.light, whole.light)
    assert kept.flagged.sum() == 17 * 17


def test_left_out_pixels_without_data_are_flagged_only():
    planes = field(bands="r")
    planes["r"].mask.array[100:110, 100:110] = 4096 | 32
    planes["r"].image.array[102:106, 102:106] = BLANK
    reduced = reduce_field(planes)
    assert reduced.flagged.sum() == 100
    assert reduced.left_out_count.sum() == 84
    assert reduced.count.sum() == 301 * 279 - 100


@pytest.mark.parametrize("plane", ["image", "variance", "mask"])
def test_invalid_pixels_do_not_contribute(plane):
    planes = field(bands="r")
    getattr(planes["r"], plane).array[64:96, 32:64] = 8 if plane == "mask" else BLANK
    reduced = reduce_field(planes)
    assert reduced.count[0, 2, 1] == 0
    assert reduced.count.sum() == 301 * 279 - 32 * 32
    assert reduced.faint[0, 2, 1] == 0
    assert reduced.variance[0, :, 2, 1].tolist() == [-32768, -32768]
    assert not reduced.valid[8:12, 4:8].any()
    assert not reduced.light[0, 9:11, 5:7].any()


def test_valid_tells_the_bands_with_data_in_nearly_all_of_the_cell():
    """Light that a cell lost on the rim of a gap is for other bands or skycells to bring."""
    planes = field((60, 62), bands="iy", n=0)
    planes["y"].image.array[24, 24:28] = BLANK  # a sixteenth of a cell
    planes["i"].image.array[24, 24:29] = BLANK  # more
    planes["y"].image.array[59, 56:58] = BLANK  # two pixels of a corner cell of 4 x 6
    planes["i"].image.array[59, 0:1] = BLANK  # one of 4 x 8
    valid = reduce_field(planes).valid
    i, y = (1 << BANDS.index(band) for band in "iy")
    wanted = np.full((8, 8), i | y)
    # the spline hands light on by a cell
    wanted[2:5, 2:5] = y
    wanted[6:, 6:] = i
    np.testing.assert_array_equal(valid, wanted)


def test_masks_are_joined_over_pixels_and_bands():
    planes = field(bands="ri")
    planes["r"].mask.array[10, 20] = 64
    planes["i"].mask.array[15, 23] = 2
    reduced = reduce_field(planes)
    assert reduced.mask[1, 2] == 66
    assert np.count_nonzero(reduced.mask) == 1
    assert reduced.flagged.sum(axis=(1, 2)).tolist() == [1, 1]


def test_variance_is_split_and_complete():
    planes = field()
    reduced = reduce_field(planes)
    for k in range(3):
        variance = variance_decode(reduced.variance[k], reduced.variance_sigma[k])
        # steps of 2^(1/64)
        np.testing.assert_allclose(variance.sum(axis=0), reduced.count[k] * 0.125**2, rtol=0.5 / 64)
        assert 0 < variance[0].sum() < 0.5 * variance.sum()


def test_sigma_is_that_of_a_two_arcsec_cell():
    reduced = reduce_field(field())
    np.testing.assert_allclose(reduced.light_sigma, 8 * 0.125, rtol=1e-6)
    np.testing.assert_allclose(reduced.faint_sigma, 32 * 0.125, rtol=1e-6)
    np.testing.assert_allclose(reduced.variance_sigma, 32 * 0.125, rtol=1e-6)


@pytest.mark.parametrize("method", ["matched", "sep"])
def test_a_band_without_data_leaves_the_others_alone(method):
    settings = Settings(background=method)
    planes = field()
    alone = reduce_field({"i": planes["i"]}, settings=settings)
    planes["r"].image.array[:] = BLANK
    planes["z"].variance.array[:] = BLANK
    reduced = reduce_field(planes, settings=settings)
    np.testing.assert_array_equal(reduced.light[1], alone.light[0])
    for k in (0, 2):
        assert not reduced.light[k].any()
        assert not reduced.faint[k].any()
        assert reduced.count[k].sum() == 0
        assert np.isfinite(reduced.level[k]).all()
        assert reduced.light_sigma[k] == 1
    assert set(np.unique(reduced.valid)) == {1 << BANDS.index("i")}


@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (33, 40), (256, 5)])
def test_any_size_can_be_reduced(shape):
    rng = np.random.default_rng(1)
    reduced = reduce_field({"r": noisy_planes(rng, np.zeros(shape))})
    assert reduced.count.sum() == shape[0] * shape[1]
    assert np.isfinite(reduced.level).all()


def test_a_band_without_any_variance_does_not_stop_the_coding():
    planes = field(bands="r")
    planes["r"].variance.array[:] = BLANK
    reduced = reduce_field(planes)
    assert reduced.light_sigma[0] == 1
    assert (reduced.variance == -32768).all()
    assert reduced.noise_correlation == 1


ABSURD = 12345
"""A disk value that `field` doesn't hold."""


@pytest.mark.parametrize(
    ("plane", "value"),
    [
        *(("image", value) for value in (1e7, 1.7e6, 2e5, -1e6, -3e3, np.inf, -np.inf)),
        *(("variance", value) for value in (0.0, -1.0, 1e12, np.inf)),
    ],
)
def test_absurd_pixels_are_as_blank_ones_and_counted(plane, value):
    """Wherever they stand: alone, on a star, or flagged to be left out."""
    places = ([40, 100, 101, 200], [50, 20, 20, 31])
    spoilt, blank = field(bands="ri"), field(bands="ri")
    for planes in (spoilt, blank):
        planes["i"].mask.array[200, 31] = 4096
    blank["i"].mask.array[places] |= np.uint16(8)
    target = getattr(spoilt["i"], plane)
    target.table = target.table.copy()
    target.table[ABSURD] = value
    target.array[places] = ABSURD
    found, expected = reduce_field(spoilt), reduce_field(blank)
    assert [found.meta.bands[band].absurd_pixels for band in "ri"] == [0, 4]
    assert expected.meta.bands["i"].absurd_pixels == 0
    for name in ("light", "left_out", "faint", "level", "variance", "count", "flagged", "mask"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(found.valid, expected.valid)


def test_absurd_values_under_pixels_without_data_are_not_counted():
    planes = field(bands="r")
    planes["r"].variance.table[ABSURD] = 0
    planes["r"].variance.array[:3] = ABSURD
    planes["r"].image.array[:2] = BLANK
    planes["r"].mask.array[2] |= np.uint16(8)
    assert reduce_field(planes).meta.bands["r"].absurd_pixels == 0


def test_the_brightest_real_pixels_stay():
    """A saturated core in the shortest exposures of y, and what a converter can give at most."""
    planes = field(bands="y")
    planes["y"].image.table[ABSURD] = 65535 / 30 * 10 ** (0.4 * (25 - 23.3))
    planes["y"].image.array[100, 100] = ABSURD
    reduced = reduce_field(planes)
    assert reduced.meta.bands["y"].absurd_pixels == 0
    light = asinh_decode(reduced.light[0], reduced.light_sigma[0])
    assert light[10:15, 10:15].sum() > 1e4


@pytest.mark.parametrize(
    ("plane", "factor"), [("image", 1e9), ("variance", 1e9), ("variance", 0), ("variance", -1)]
)
def test_absurd_scalings_are_told_from_absurd_pixels(plane, factor):
    planes = field(bands="r")
    target = getattr(planes["r"], plane)
    target.table = (target.table * np.float32(factor)).astype(np.float32)
    with pytest.raises(
        RenderingError, match=r"band r: \d+ of \d+ pixels have .* \(EXPTIME is 640 s; check it, BZ"
    ):
        reduce_field(planes)


def test_sep_finds_the_same_stars():
    matched = reduce_field(field())
    found = reduce_field(field(), settings=Settings(background="sep"))
    bright = asinh_decode(matched.light[0], matched.light_sigma[0]) > 10
    assert bright.sum() > 10
    light = asinh_decode(found.light[0], found.light_sigma[0])
    # SEP wants three cells connected: skirts of stars may differ by a cell of noise
    np.testing.assert_allclose(
        light[bright], asinh_decode(matched.light[0], 1.0)[bright], rtol=0.1, atol=3
    )


def test_input_that_is_not_the_skycells_is_refused():
    planes = field(bands="r")
    with pytest.raises(RenderingError, match=r"skycell.2180.097 has no band to reduce: give at"):
        reduce_skycell({}, skycell=small_skycell(), settings=SETTINGS)
    with pytest.raises(RenderingError, match=r"band 'q' is unknown: give bands of \('r'"):
        reduce_field({"q": planes["r"]})
    with pytest.raises(RenderingError, match=r"image has shape \(301, 279\), but the skycell has"):
        reduce_skycell(planes, skycell=small_skycell(279, 300), settings=SETTINGS)
    short = replace(planes["r"], mask=ArrayPlane(np.zeros((5, 5), np.uint16), np.empty(0)))
    with pytest.raises(RenderingError, match=r"band r: mask has shape \(5, 5\)"):
        reduce_field({"r": short})


def test_light_beyond_the_codes_is_an_error_that_names_the_band():
    planes = field(bands="r")
    planes["r"].variance.table *= 1e-14
    with pytest.raises(
        RenderingError, match=r"skycell.2180.097 band r: light of .* can't be coded"
    ):
        reduce_field(planes)


def test_infinite_values_are_no_data():
    planes = field(bands="r")
    planes["r"].image.array[40, 41] = 32000
    planes["r"].image.table[32000] = np.inf
    assert reduce_field(planes).count.sum() == 301 * 279 - 1
