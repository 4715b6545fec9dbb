"""Rendered stars, coverage, counts and variance against integrals over the exact WCS."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
from onestar import (
    b_spline,
    ccd_frame,
    contribution,
    exact_flux,
    located,
    prf_flux,
    render_window,
    sample,
    skycell_around,
    window_around,
)
from prffiles import prf_grid
from scipy.special import erf

from syndiff.ffi.tiles import EDGE_PX, MARGIN_PX, TILE_PX
from syndiff.scenes.combine import Contribution
from syndiff.scenes.prf import GaussianResponse, PrfResponse
from syndiff.scenes.scene import AUX_SAMPLES_PER_PX, SAMPLES_PER_PX, SceneRenderer
from syndiff.sky.pixelmap import PixelMap
from syndiff.window import Window

SCIENCE = Window(44, 0, 2092, 2048)
SMALL = Window(1044, 1000, 1044 + 3 * 64, 1000 + 50)
"""One row of three tiles."""

NOISY = Window(1076, 1032, 1132, 1088)
"""Under one skycell."""


@pytest.fixture(scope="module", params=[40.0, 60.0])
def renderer(request):
    frame = ccd_frame(SCIENCE)
    return SceneRenderer(frame, GaussianResponse(frame, request.param))


PLACES = {
    "corner of the CCD": (2085.3, 2041.6),
    "other corner of the CCD": (50.2, 7.7),
    "corner of four tiles": (44 + 64 * 15 - 0.6, 64 * 20 - 0.3),
    "middle of a tile": (44 + 64 * 9 + 30.1, 64 * 3 + 33.4),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.37, -0.21)])
def test_stars_are_what_the_pixels_record(renderer, place, offset):
    """To 5e-5 of peak (rms), 2e-4 at worst, and 2e-4 of a pixel.

    Measured: half of that at most. What is left is that a response is constant over a star, and
    the scale isn't.
    """
    star = (*PLACES[place], 1000.0)
    sigma = np.sqrt(renderer.response._variance)
    skycell = skycell_around(renderer.frame, *star[:2])
    given = [located(skycell, renderer.frame, contribution(skycell, [star], renderer.frame))]
    window = window_around(*star[:2], 6)
    scene, origin = render_window(renderer, window, given)
    flux = sample(scene, origin, window, offset).flux
    wanted = exact_flux(renderer.frame, star, sigma, window, offset)
    error = (flux - wanted) / wanted.max()
    assert np.sqrt(np.mean(error[4:9, 4:9] ** 2)) < 5e-5
    assert np.abs(error).max() < 2e-4
    assert flux.sum() == pytest.approx(wanted.sum(), rel=2e-4)
    for axis in (0, 1):
        steps = np.arange(13.0).reshape(-1, 1) if axis == 0 else np.arange(13.0)
        found, true = ((plane * steps).sum() / plane.sum() for plane in (flux, wanted))
        assert found == pytest.approx(true, abs=2e-4)


@pytest.fixture(scope="module")
def measured():
    """A renderer with a measured response."""
    return SceneRenderer(ccd_frame(SCIENCE), PrfResponse(prf_grid()))


MEASURED_AT = {
    "middle of the CCD": (1003.2, 1019.4),
    "corner of four tiles": (1003.6, 1023.6),
    "a measured place": (556.2, 512.3),
    "a measured place off the tiles' corners": (1580.1, 1535.6),
    "between tiles on two patches": (1579.4, 700.2),
    "where it is sharpest": (70.2, 30.4),
    "corner of the CCD": (2085.3, 2041.6),
}


@pytest.mark.parametrize("place", MEASURED_AT)
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.37, -0.21)])
def test_stars_with_a_measured_response(measured, place, offset):
    """To 5e-5 of peak (rms), 2e-4 at worst, 1e-4 in flux and 5e-5 of a pixel.

    Measured: 2e-5, 1.3e-4 (both the splat's grid), 2e-5 and 3e-5, where two patches meet.
    """
    star = (*MEASURED_AT[place], 1000.0)
    skycell = skycell_around(measured.frame, *star[:2])
    given = [located(skycell, measured.frame, contribution(skycell, [star], measured.frame))]
    window = window_around(*star[:2], 6)
    scene, origin = render_window(measured, window, given)
    flux = sample(scene, origin, window, offset).flux
    wanted = prf_flux(star, window, offset)
    error = (flux - wanted) / wanted.max()
    assert np.sqrt(np.mean(error[4:9, 4:9] ** 2)) < 5e-5
    assert np.abs(error).max() < 2e-4
    assert flux.sum() == pytest.approx(wanted.sum(), rel=1e-4)
    for axis in (0, 1):
        steps = np.arange(13.0).reshape(-1, 1) if axis == 0 else np.arange(13.0)
        found, true = ((plane * steps).sum() / plane.sum() for plane in (flux, wanted))
        assert found == pytest.approx(true, abs=5e-5)


def test_a_response_is_not_mirrored_or_turned(measured):
    """So that the test above can fail: the response is asymmetric by 100 times its limit."""
    wanted = prf_flux((1500.0, 1900.0, 1.0), window_around(1500.0, 1900.0, 6))
    for other in (wanted[::-1], wanted[:, ::-1], wanted.T, wanted[::-1, ::-1]):
        assert np.abs(other - wanted).max() > 2e-2 * wanted.max()


@pytest.fixture(scope="module")
def strip():
    """A renderer of three tiles, and skycells in different places with light everywhere."""
    frame = ccd_frame(SMALL)
    rng = np.random.default_rng(3)
    given = []
    for k, (x, y) in enumerate([(1050, 1010), (1100, 1030), (1160, 1000), (1230, 1060)]):
        skycell = skycell_around(frame, x, y, name=f"skycell.1.{k:03d}", turn_deg=33 * k)
        noise = contribution(skycell)
        light = rng.normal(size=noise.light.shape).astype(np.float32)
        coarse = noise.coarse.copy()
        coarse[0] = rng.random(coarse[0].shape)
        flags = rng.choice(np.array([0, 0, 0, 1, 16], np.uint8), light.shape)
        given.append(located(skycell, frame, Contribution(light, coarse, flags)))
    return frame, given


def pixels_of(strip, column, samples):
    """Where a tile's own pixels lie in the plane of a strip that starts at column 0."""
    start = (EDGE_PX + TILE_PX * column) * samples
    return np.s_[..., EDGE_PX * samples : -EDGE_PX * samples, start : start + TILE_PX * samples]


def any_response(frame, model):
    return PrfResponse(prf_grid()) if model == "prf" else GaussianResponse(frame, model)


@pytest.mark.parametrize("model", [40.0, 60.0, "prf"])
def test_tiles_are_bitwise_the_same_in_any_part_of_a_strip(strip, model):
    frame, given = strip
    renderer = SceneRenderer(frame, any_response(frame, model))
    whole = renderer.render(0, range(3), given)
    assert whole.flux.shape == (72 * 4, 200 * 4)
    for columns in (range(1), range(1, 2), range(2, 3), range(2), range(1, 3)):
        part = renderer.render(0, columns, given)
        for column in columns:
            for name, samples in (
                ("flux", SAMPLES_PER_PX),
                ("aux", AUX_SAMPLES_PER_PX),
                ("flags", AUX_SAMPLES_PER_PX),
            ):
                tile = getattr(part, name)[pixels_of(part, column - columns.start, samples)]
                np.testing.assert_array_equal(
                    tile, getattr(whole, name)[pixels_of(whole, column, samples)], err_msg=name
                )


@pytest.mark.parametrize("model", [40.0, "prf"])
def test_rows_that_go_on_are_bitwise_those_made_alone(strip, model):
    """Whatever came before: the row above, another part of it, a row further up, or nothing."""
    given = strip[1]
    frame = ccd_frame(SCIENCE)
    renderer = SceneRenderer(frame, any_response(frame, model))
    alone = {row: renderer.render(row, range(15, 18), given) for row in (14, 15, 16, 17)}
    assert all(made.flux.any() for made in alone.values())
    renderer.render(14, range(14, 18), given, goes_on=True)
    for row in (15, 16, 17, 14, 16, 17):
        found = renderer.render(row, range(15, 18), given, goes_on=True)
        for name in ("flux", "aux", "flags"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone[row], name))


def test_nothing_is_kept_of_a_row_that_failed(strip):
    given = strip[1]
    frame = ccd_frame(SCIENCE)
    renderer = SceneRenderer(frame, GaussianResponse(frame, 40.0))
    wanted = renderer.render(16, range(15, 17), given)

    def failing():
        yield given[0]
        raise ValueError

    renderer.render(14, range(15, 17), given, goes_on=True)
    with pytest.raises(ValueError):
        renderer.render(15, range(15, 17), failing(), goes_on=True)
    found = renderer.render(16, range(15, 17), given, goes_on=True)
    np.testing.assert_array_equal(found.flux, wanted.flux)


@pytest.mark.parametrize("model", [40.0, 60.0, "prf"])
def test_light_beyond_the_margin_never_enters_a_tile(strip, model):
    """So that a tile is bitwise the same whether a skycell out there is at hand or not."""
    frame, given = strip
    renderer = SceneRenderer(frame, any_response(frame, model))
    near = renderer.window(0, range(1)).grown(MARGIN_PX)
    outside = []
    for lattice, item in given:
        light, coarse = item.light.copy(), item.coarse.copy()
        for plane, side in ((light, 8), (coarse, 32)):
            j, i = np.indices(plane.shape[-2:])
            x, y = lattice(side * i + (side - 1) / 2, side * j + (side - 1) / 2)
            # a pixel reaches half its side to either side of its centre
            in_x = (x >= near.x0 - 0.5) & (x <= near.x1 - 0.5)
            plane[..., in_x & (y >= near.y0 - 0.5) & (y <= near.y1 - 0.5)] = 0
        outside.append((lattice, replace(item, light=light, coarse=coarse)))
    whole = renderer.render(0, range(3), outside)
    assert whole.flux.any()
    assert not whole.flux[pixels_of(whole, 0, SAMPLES_PER_PX)].any()
    assert not whole.aux[pixels_of(whole, 0, AUX_SAMPLES_PER_PX)].any()


def test_the_order_of_skycells_changes_rounding_only(strip):
    frame, given = strip
    renderer = SceneRenderer(frame, GaussianResponse(frame, 40.0))
    one, again, other = (
        renderer.render(0, range(3), order) for order in (given, list(given), given[::-1])
    )
    for name in ("flux", "aux", "flags"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    # the sums are float64, then float32 transforms
    for name in ("flux", "aux"):
        plane = getattr(one, name)
        for found, wanted in zip(
            getattr(other, name).reshape(-1, plane.shape[-1]),
            plane.reshape(-1, plane.shape[-1]),
            strict=True,
        ):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.abs(plane).max())
    np.testing.assert_array_equal(one.flags, other.flags)


def test_scenes_are_linear_in_light(strip):
    """To the rounding of float32 transforms."""
    frame, given = strip
    renderer = SceneRenderer(frame, GaussianResponse(frame, 40.0))
    first, rest = renderer.render(0, range(3), given[:1]), renderer.render(0, range(3), given[1:])
    scaled = [
        (lattice, Contribution(-2 * item.light, item.coarse, item.flags))
        for lattice, item in given[:1]
    ]
    both = renderer.render(0, range(3), [*scaled, *given[1:]])
    wanted = rest.flux - 2 * first.flux
    np.testing.assert_allclose(both.flux, wanted, rtol=0, atol=3e-6 * np.abs(wanted).max())


@pytest.fixture(scope="module")
def patch():
    """A frame under one skycell with some space around it, so that its edge is in sight."""
    science = Window(1044, 1000, 1044 + 120, 1000 + 120)
    frame = ccd_frame(science)
    skycell = skycell_around(frame, 1104, 1060, size=6437)
    renderer = SceneRenderer(frame, GaussianResponse(frame, 40.0))
    return frame, skycell, renderer, science


def test_counts_sum_to_the_pixels_of_the_skycell(patch):
    """Whole counts in each pixel: the sum errs as rounding does, half a pixel in each, random."""
    frame, skycell, renderer, science = patch
    scene, origin = render_window(
        renderer, science, [located(skycell, frame, contribution(skycell))]
    )
    for offset in ((0.0, 0.0), (0.25, -0.4)):
        count = sample(scene, origin, science, offset).count
        assert count.min() == 0
        assert count.sum() == pytest.approx(skycell.nx * skycell.ny, abs=100)


def test_coverage_is_one_inside_zero_outside_and_never_beyond(patch):
    frame, skycell, renderer, science = patch
    scene, origin = render_window(
        renderer, science, [located(skycell, frame, contribution(skycell))]
    )
    template = sample(scene, origin, science)
    to_skycell = PixelMap.between(skycell, frame)
    y, x = np.mgrid[science.y0 : science.y1, science.x0 : science.x1]
    px, py = to_skycell.inverse(x, y)
    depth = np.minimum.reduce([px, py, skycell.nx - 1 - px, skycell.ny - 1 - py])
    reach = 5.5 * 40 + 84
    assert (template.coverage[depth > reach] == 1).all()
    assert (template.coverage[depth < -reach] == 0).all()
    assert ((template.coverage >= 0) & (template.coverage <= 1)).all()
    np.testing.assert_array_equal(np.isnan(template.flux), template.coverage < 0.5)
    np.testing.assert_array_equal(np.isnan(template.uncertainty), template.coverage < 0.5)
    # half of the response on each side of the edge, to the stitches of 8-arcsec cells
    np.testing.assert_allclose(template.coverage[np.abs(depth) < 4], 0.5, atol=0.05)


def test_missing_data_lower_coverage_by_the_response_that_falls_on_them(patch):
    frame, skycell, renderer, science = patch
    given = contribution(skycell)
    coarse = given.coarse.copy()
    coarse[4, :100] = coarse[3, :100]
    scene, origin = render_window(
        renderer, science, [located(skycell, frame, replace(given, coarse=coarse))]
    )
    y, x = np.mgrid[science.y0 : science.y1, science.x0 : science.x1]
    px, py = PixelMap.between(skycell, frame).inverse(x, y)
    inside = (px > 400) & (px < 6000) & (py > 400) & (py < 6000)
    coverage = sample(scene, origin, science).coverage[inside]
    # Gaussian and pixel of 84 / sqrt(12), plus what the cells and their splat blur
    width = np.sqrt(40**2 + 84**2 / 12 + 32**2 / 12 + 42**2 / 4)
    wanted = 0.5 + 0.5 * erf((py[inside] - 3199.5) / (width * np.sqrt(2)))
    np.testing.assert_allclose(coverage, wanted, atol=0.02)


@pytest.fixture(scope="module", params=[40.0, "prf"])
def noises(request, patch):
    """Scenes of white noise of variance 3 in every PS1 pixel, and their origin."""
    frame, skycell, _, _ = patch
    renderer = SceneRenderer(frame, any_response(frame, request.param))
    rng = np.random.default_rng(20)
    empty = contribution(skycell, variance=3.0)
    scenes = []
    for _ in range(4):
        boxes = rng.standard_normal((3220, 3220), np.float32) * np.float32(np.sqrt(3.0 * 4))
        given = [located(skycell, frame, replace(empty, light=decimate(boxes)))]
        scene, origin = render_window(renderer, NOISY, given)
        scenes.append(scene)
    return scenes, origin


def decimate(boxes):
    """Sum boxes of 2 PS1 pixels onto cells of 8 with quadratic B-splines."""
    for axis in (0, 1):
        blocks = np.moveaxis(boxes, axis, 0)
        blocks = blocks.reshape(-1, 4, blocks.shape[1])
        inside = np.array([-3, -1, 1, 3]) / 8
        out = np.einsum("nbm,b->nm", blocks, b_spline(inside).astype(np.float32))
        out[1:] += np.einsum("nbm,b->nm", blocks[:-1], b_spline(1 - inside).astype(np.float32))
        out[:-1] += np.einsum("nbm,b->nm", blocks[1:], b_spline(1 + inside).astype(np.float32))
        boxes = np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(boxes, np.float32)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.5, -0.3)])
def test_uncertainty_is_the_scatter_of_rendered_noise(noises, offset):
    """To 5 % in variance.

    56 x 56 pixels hold some 800 independent values, four times: the scatter's own error is 2.5 %.
    """
    scenes, origin = noises
    templates = [sample(scene, origin, NOISY, offset) for scene in scenes]
    wanted = np.median(templates[0].uncertainty)
    # The splat of 8-arcsec cells onto half pixels ripples.
    np.testing.assert_allclose(templates[0].uncertainty, wanted, rtol=0.02)
    assert np.var([template.flux for template in templates]) == pytest.approx(wanted**2, rel=0.05)


@pytest.mark.parametrize("cut", [0.5, 1.0, 1.5, 1.75])
def test_a_response_is_folded_as_sampling_folds_it(cut, measured):
    """Into the transform that its samples have, also where it is not symmetric."""
    renderer = copy.copy(measured)
    highest = round(cut * renderer._side_px)
    renderer._kx = np.arange(highest + 1) / renderer._side_px
    rng = np.random.default_rng(3)
    parts = rng.normal(size=(2, 2 * highest + 1, highest + 1))
    transfer = parts[0] + 1j * parts[1]
    # That of a real function: its first column is its own mirror image, conjugate.
    transfer[:, 0] += np.roll(transfer[::-1, 0], 1).conj()
    renderer._corner_response = lambda *_: transfer
    sampled = renderer._sampled_response(0, 0)[::2, ::2]
    expected = scipy.fft.rfft2(sampled)
    # rounding of transforms of 1e5 numbers of order 1, times 4
    np.testing.assert_allclose(renderer._folded_response(0, 0), expected, rtol=0, atol=1e-11)
