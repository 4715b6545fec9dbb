"""Templates sampled from scenes."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from syndiff.errors import RenderingError
from syndiff.masks import DataQuality
from syndiff.sky.displacement import Displacement
from syndiff.templates.template import (
    Template,
    follow_template,
    interpolation_table,
    interpolation_taps,
    sample_template,
)
from syndiff.window import Window

WINDOW = Window(100, 50, 112, 59)
ORIGIN = (96, 46)
OFFSETS = st.tuples(*[st.floats(-1, 1).map(lambda v: round(v, 4))] * 2)


def blank_scene(window=WINDOW, coverage=1.0):
    """An empty scene that reaches 4 pixels beyond a window."""
    ny, nx = (side + 8 for side in window.shape)
    aux = np.zeros((6, 2 * ny, 2 * nx), np.float32)
    aux[3] = coverage
    flux = np.zeros((4 * ny, 4 * nx), np.float32)
    return SimpleNamespace(flux=flux, aux=aux, flags=np.zeros((2 * ny, 2 * nx), np.uint8))


def places(plane, per_px):
    """FFI pixels of the samples of a plane."""
    ny, nx = plane.shape[-2:]
    return ORIGIN[0] + np.arange(nx) / per_px, (ORIGIN[1] + np.arange(ny) / per_px)[:, None]


def gaussian(x, y, at, sigma=0.55):
    return np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))


def random_scene(seed):
    """Smooth flux, and anything else."""
    rng = np.random.default_rng(seed)
    scene = blank_scene()
    x, y = places(scene.flux, 4)
    for _ in range(20):
        at = rng.uniform(98, 113), rng.uniform(48, 61)
        scene.flux += rng.normal() * gaussian(x, y, at).astype(np.float32)
    scene.aux[:3] = rng.random(scene.aux[:3].shape)
    scene.flags[:] = rng.choice(np.array([0, 0, 0, 4, 8, 32], np.uint8), scene.flags.shape)
    return scene


def sample(scene, offset, window=WINDOW):
    return sample_template(scene, origin=ORIGIN, window=window, offset=offset)


@given(st.floats(0, 1, exclude_max=True))
def test_taps_sum_to_one(fraction):
    taps = interpolation_taps(fraction)
    assert taps.shape == (12,)
    assert taps.sum(dtype=float) == pytest.approx(1, abs=3e-7)  # twelve float32 roundings


def pixel_integral(t):
    """What pixels record, along one axis, of the sharpest star that scenes hold: sigma 40, 21"."""
    edge = np.sqrt(2) * 40 * 0.25 / 21
    return 0.5 * (erf((t + 0.5) / edge) - erf((t - 0.5) / edge))


@given(OFFSETS)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_stars_are_interpolated_to_1e_5_of_their_peak(offset):
    scene = blank_scene()
    x, y = places(scene.flux, 4)
    scene.flux[:] = pixel_integral(x - 105.3) * pixel_integral(y - 54.4)
    y, x = np.mgrid[WINDOW.y0 : WINDOW.y1, WINDOW.x0 : WINDOW.x1]
    wanted = pixel_integral(x - 105.3 - offset[0]) * pixel_integral(y - 54.4 - offset[1])
    atol = 1e-5 * pixel_integral(0.0) ** 2
    np.testing.assert_allclose(sample(scene, offset).flux, wanted, rtol=0, atol=atol)


@given(
    offset=OFFSETS, step=st.sampled_from([(1, 0), (0, 1), (-1, 1), (1, 1)]), seed=st.integers(0, 5)
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_whole_pixel_more_is_the_neighbour(offset, step, seed):
    """To 1e-6 of the largest value: an offset and a whole number don't always add exactly."""
    scene = random_scene(seed)
    one = sample(scene, offset)
    other = sample(scene, (offset[0] + step[0], offset[1] + step[1]))
    ny, nx = WINDOW.shape
    here = np.s_[max(0, -step[1]) : ny - max(0, step[1]), max(0, -step[0]) : nx - max(0, step[0])]
    there = np.s_[max(0, step[1]) : ny + min(0, step[1]), max(0, step[0]) : nx + min(0, step[0])]
    for name in ("flux", "uncertainty", "coverage"):
        found, wanted = getattr(other, name)[there], getattr(one, name)[here]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
    for name in ("count", "mask"):
        difference = getattr(other, name)[there] - getattr(one, name)[here]
        assert np.abs(difference).max() <= 1  # a half may be rounded either way


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.25, -0.5), (0.375, 0.0)])
def test_a_whole_pixel_more_is_bitwise_the_neighbour(offset):
    """Of offsets that float numbers hold exactly."""
    scene = random_scene(1)
    one, other = sample(scene, offset), sample(scene, (offset[0] + 1, offset[1] - 1))
    for name in ("flux", "count", "mask", "uncertainty", "coverage", "quality"):
        np.testing.assert_array_equal(getattr(other, name)[:-1, 1:], getattr(one, name)[1:, :-1])


@given(offset=OFFSETS, seed=st.integers(0, 5))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_a_part_of_the_window_is_the_part_of_the_whole(offset, seed):
    scene = random_scene(seed)
    whole = sample(scene, offset)
    part = sample(scene, offset, Window(103, 51, 110, 55))
    for name in ("flux", "count", "mask", "uncertainty", "coverage", "quality"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[1:5, 3:10])


@pytest.mark.parametrize("offset", [(2.0, 2.0), (-2.0, -2.0), (2.0, -2.0), (1.999, -1.999)])
def test_the_largest_offsets_stay_within_the_scene(offset):
    """A scene with nothing beyond it: outside there are other people's numbers."""
    scene = random_scene(2)
    held = blank_scene()
    for name in ("flux", "aux", "flags"):
        plane = getattr(scene, name)
        padded = np.full((*plane.shape[:-2], *(n + 20 for n in plane.shape[-2:])), 77, plane.dtype)
        padded[..., 10:-10, 10:-10] = plane
        setattr(held, name, padded[..., 10:-10, 10:-10].copy())
    template = sample(held, offset)
    assert np.abs(template.flux).max() < 10
    assert template.count.max() <= 4
    assert set(np.unique(template.quality)) <= set(range(64))


def test_counts_are_shared_among_pixels_and_kept():
    """A single sample of 1000 PS1 pixels is spread over the TESS pixels that it lies in."""
    scene = blank_scene()
    scene.aux[1, 20, 22] = 1000
    for offset in ((0.0, 0.0), (0.5, 0.5), (0.123, -0.37)):
        template = sample(scene, offset)
        assert template.count.sum() == pytest.approx(1000, abs=2)
        assert template.mask.sum() == 0


def test_coverage_tells_what_is_flagged_and_what_has_no_flux():
    scene = blank_scene()
    scene.flux[:] = 5
    x, _ = places(scene.aux, 2)
    scene.aux[3] = np.clip((x - 103) / 5, 0, 1)
    template = sample(scene, (0.0, 0.0))
    column = np.clip((np.arange(100, 112) - 103) / 5, 0, 1)
    np.testing.assert_allclose(template.coverage, np.tile(column, (9, 1)), atol=1e-6)
    np.testing.assert_array_equal(np.isnan(template.flux[0]), column < 0.5)
    np.testing.assert_array_equal(np.isnan(template.uncertainty[0]), column < 0.5)
    np.testing.assert_allclose(template.flux[0, column >= 0.5], 5, rtol=1e-6)
    bits = template.quality[0]
    np.testing.assert_array_equal(bits & DataQuality.PARTIAL_COVERAGE != 0, column < 1)
    np.testing.assert_array_equal(bits & DataQuality.NO_COVERAGE != 0, column < 0.5)


def test_flags_reach_the_pixels_whose_response_they_touch():
    scene = blank_scene()
    scene.flags[16, 20] = DataQuality.SATURATED_IN_PS1  # FFI pixel (106, 54)
    rows, columns = np.nonzero(sample(scene, (0.0, 0.0)).quality)
    assert (set(columns + 100), set(rows + 50)) == ({105, 106, 107}, {53, 54, 55})
    rows, columns = np.nonzero(sample(scene, (1.0, -2.0)).quality)
    assert (set(columns + 100), set(rows + 50)) == ({106, 107, 108}, {51, 52, 53})


@given(extra=st.tuples(*[st.integers(0, 3)] * 4))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_embedded_templates_say_that_nothing_is_around(extra):
    template = sample(random_scene(4), (0.0, 0.0))
    left, bottom, right, top = extra
    window = Window(100 - left, 50 - bottom, 112 + right, 59 + top)
    outer = Template.blank(window)
    outer.part(WINDOW, window).fill(template)
    inside = np.zeros(window.shape, bool)
    inside[bottom : bottom + 9, left : left + 12] = True
    for name in Template.__dataclass_fields__:
        plane = getattr(outer, name)
        assert plane.dtype == getattr(template, name).dtype
        np.testing.assert_array_equal(plane[inside], getattr(template, name).ravel())
    assert np.isnan(outer.flux[~inside]).all()
    assert np.isnan(outer.uncertainty[~inside]).all()
    assert (outer.quality[~inside] == DataQuality.NO_COVERAGE).all()
    for name in ("count", "mask", "coverage"):
        assert (getattr(outer, name)[~inside] == 0).all()


PLANES = tuple(Template.__dataclass_fields__)


def constant(offset):
    return Displacement.constant(offset, (80, 128))


def follow(scene, displacement, window=WINDOW, **more):
    return follow_template(scene, origin=ORIGIN, window=window, displacement=displacement, **more)


def bent(seed, size=1.0):
    """A field that differs from node to node by a few hundredths of a pixel."""
    rng = np.random.default_rng(seed)
    field = constant(rng.uniform(-size, size, 2))
    return field.moved(*rng.uniform(-0.05, 0.05, (2, *field.dx.shape)))


def test_the_table_is_as_good_as_the_taps():
    """To 1e-6 of a weight of order 1, half way between entries where it is worst."""
    table = interpolation_table()
    for k in range(0, 1024, 7):
        between = (table[k] + table[k + 1]) / 2
        np.testing.assert_allclose(between, interpolation_taps((k + 0.5) / 1024), atol=1.5e-6)
    np.testing.assert_allclose(table.sum(axis=1, dtype=float), 1, rtol=0, atol=3e-7)


@given(offset=OFFSETS, seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_constant_displacement_is_an_offset(offset, seed):
    scene = random_scene(seed)
    one, other = follow(scene, constant(offset)), sample(scene, offset)
    for name in ("flux", "uncertainty", "coverage"):
        found, wanted = getattr(one, name), getattr(other, name)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())
    for name in ("count", "mask"):
        difference = getattr(one, name) - getattr(other, name)
        assert np.abs(difference).max() <= 1  # a half may be rounded either way
    np.testing.assert_array_equal(one.quality, other.quality)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_stars_are_followed_to_1e_5_of_their_peak(seed):
    """Each pixel against the star's own profile, where that pixel looks."""
    scene = blank_scene()
    x, y = places(scene.flux, 4)
    scene.flux[:] = pixel_integral(x - 105.3) * pixel_integral(y - 54.4)
    field = bent(seed)
    y, x = np.mgrid[WINDOW.y0 : WINDOW.y1, WINDOW.x0 : WINDOW.x1]
    dx, dy = field(x, y)
    wanted = pixel_integral(x - dx - 105.3) * pixel_integral(y - dy - 54.4) * field.area(WINDOW)
    atol = 1e-5 * pixel_integral(0.0) ** 2
    np.testing.assert_allclose(follow(scene, field).flux, wanted, rtol=0, atol=atol)


@given(seed=st.integers(0, 10**6), oversample=st.sampled_from([1, 3]))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_a_part_of_what_follows_is_the_part_of_the_whole(seed, oversample):
    """Whatever the scene's first sample is."""
    scene, field = random_scene(seed % 6), bent(seed)
    whole = follow(scene, field, oversample=oversample)
    window, origin = Window(103, 51, 110, 55), (99, 47)
    cut = SimpleNamespace(
        flux=scene.flux[4:, 12:], aux=scene.aux[:, 2:, 6:], flags=scene.flags[2:, 6:]
    )
    part = follow_template(
        cut, origin=origin, window=window, displacement=field, oversample=oversample
    )
    n = oversample
    for name in PLANES:
        inside = getattr(whole, name)[n : 5 * n, 3 * n : 10 * n]
        np.testing.assert_array_equal(getattr(part, name), inside)


@pytest.mark.parametrize("offset", [(2.0, 2.0), (-2.0, -2.0), (2.0, -2.0)])
@pytest.mark.parametrize("oversample", [1, 8])
@pytest.mark.parametrize("way", ["offset", "displacement"])
def test_the_farthest_samples_stay_within_the_scene(offset, oversample, way):
    """A scene with nothing beyond it: outside there are other people's numbers."""
    scene = random_scene(2)
    held = blank_scene()
    for name in ("flux", "aux", "flags"):
        plane = getattr(scene, name)
        padded = np.full((*plane.shape[:-2], *(n + 20 for n in plane.shape[-2:])), 77, plane.dtype)
        padded[..., 10:-10, 10:-10] = plane
        setattr(held, name, padded[..., 10:-10, 10:-10].copy())
    where = {"origin": ORIGIN, "window": WINDOW, "oversample": oversample}
    if way == "offset":
        template = sample_template(held, offset=offset, **where)
    else:
        template = follow_template(held, displacement=constant(offset), **where)
    assert np.abs(template.flux).max() < 10
    assert template.count.max() <= 4
    assert set(np.unique(template.quality)) <= set(range(64))


@pytest.mark.parametrize("largest", [2.01, -2.5, np.nan])
def test_what_a_scene_does_not_hold_is_refused(largest):
    with pytest.raises(RenderingError, match=r"up to \S+ px from .* a scene reaches 2 px"):
        follow(blank_scene(), constant((0.0, largest)))


def test_light_per_pixel_grows_with_its_area():
    """Pixels 1 % longer along x and y see 2 % more of an even sky, and its noise."""
    scene = blank_scene()
    scene.flux[:], scene.aux[0], scene.aux[1] = 100, 4, 1000
    field = constant((0, 0))
    x, y = field.nodes()
    template = follow(scene, field.moved(-0.01 * (x - 106), -0.01 * (y - 54)))
    np.testing.assert_allclose(template.flux, 102.01, rtol=1e-6)
    np.testing.assert_allclose(template.uncertainty, 2.0402, rtol=1e-6)
    np.testing.assert_array_equal(template.count, 4080)  # 1000 at each of 2 x 2 samples


@pytest.mark.parametrize("oversample", [2, 3, 4])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.37, -0.21)])
def test_oversampled_flux_is_a_pixel_there_over_their_number(oversample, offset):
    scene = blank_scene()
    x, y = places(scene.flux, 4)
    scene.flux[:] = pixel_integral(x - 105.7) * pixel_integral(y - 54.2)
    where = {"origin": ORIGIN, "window": WINDOW, "oversample": oversample}
    at = [
        (np.arange(oversample * n) + 0.5) / oversample - 0.5 + first
        for n, first in ((12, 100), (9, 50))
    ]
    wanted = np.outer(
        pixel_integral(at[1] - offset[1] - 54.2), pixel_integral(at[0] - offset[0] - 105.7)
    )
    for template in (
        sample_template(scene, offset=offset, **where),
        follow_template(scene, displacement=constant(offset), **where),
    ):
        assert template.flux.shape == (9 * oversample, 12 * oversample)
        atol = 1e-5 * pixel_integral(0.0) ** 2 / oversample**2
        np.testing.assert_allclose(template.flux, wanted / oversample**2, rtol=0, atol=atol)
        # the star ends 3 px from the border: 1e-6 of its flux lies beyond
        assert template.flux.sum(dtype=float) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("oversample", [2, 3, 8])
def test_oversampled_planes_are_parts_of_a_pixels(oversample):
    scene = blank_scene()
    scene.aux[0], scene.aux[1], scene.aux[2], scene.flags[:] = 4, 1600, 640, 8
    template = sample_template(
        scene, origin=ORIGIN, window=WINDOW, offset=(0.1, 0.2), oversample=oversample
    )
    np.testing.assert_allclose(template.uncertainty, 2 / oversample**2, rtol=1e-6)
    np.testing.assert_array_equal(template.count, round(6400 / oversample**2))
    np.testing.assert_array_equal(template.mask, round(2560 / oversample**2))
    np.testing.assert_array_equal(template.coverage, 1)
    np.testing.assert_array_equal(template.quality, 8)


def test_the_middle_of_three_samples_is_the_pixel():
    scene = random_scene(3)
    where = {"origin": ORIGIN, "window": WINDOW, "offset": (0.25, -0.5)}
    fine, coarse = sample_template(scene, oversample=3, **where), sample_template(scene, **where)
    np.testing.assert_allclose(fine.flux[1::3, 1::3] * 9, coarse.flux, rtol=1e-6)
