"""The shift of an FFI's stars against a scene, found again where it was put in."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import erf

from syndiff.errors import RenderingError
from syndiff.pointing.refinement import refine_displacement
from syndiff.sky.displacement import Displacement
from syndiff.window import Window

EDGE = 4
SEEING = 0.02
"""Of the scene's variance (px^2), which the FFI's stars don't have: PS1's seeing."""


def profile(distance, *, wider=0.0):
    """What pixels record along one axis of a star: a Gaussian of sigma 40 and 21"."""
    edge = np.sqrt(2 * ((40 * 0.25 / 21) ** 2 + wider))
    return 0.5 * (erf((distance + 0.5) / edge) - erf((distance - 0.5) / edge))


def draw(stars, x, y, *, wider=0.0):
    """Stars (x, y, flux) at the places of a grid's columns and rows."""
    out = np.zeros((len(y), len(x)))
    for sx, sy, flux in stars:
        near = np.abs(x - sx) < 5, np.abs(y - sy) < 5
        out[np.ix_(near[1], near[0])] += flux * np.outer(
            profile(y[near[1]] - sy, wider=wider), profile(x[near[0]] - sx, wider=wider)
        )
    return out


def field(window, density, seed, *, mags=(10.0, 15.0)):
    """Stars, so many a pixel, and the scene of them."""
    rng = np.random.default_rng(seed)
    grown = window.grown(EDGE)
    count = max(1, round(density * grown.shape[0] * grown.shape[1]))
    x = rng.uniform(grown.x0, grown.x1, count)
    y = rng.uniform(grown.y0, grown.y1, count)
    flux = 10 ** (-0.4 * (np.clip(mags[1] - rng.exponential(1.0, count), *mags) - 20.44))
    stars = np.stack([x, y, flux], -1)
    axes = [
        (low + np.arange(4 * n) / 4)
        for low, n in ((grown.x0, grown.shape[1]), (grown.y0, grown.shape[0]))
    ]
    flux_samples = draw(stars, *axes, wider=SEEING).astype(np.float32)
    return stars, SimpleNamespace(flux=flux_samples), (grown.x0, grown.y0)


def observed(stars, window, shift, *, seed=5, noise=6.0, scale=1.3):
    """The FFI: stars moved by shift(x, y), a sloping background, noise; and its uncertainty."""
    dx, dy = shift(stars[:, 0], stars[:, 1])
    moved = stars + np.stack([dx, dy, 0 * dx], -1)
    x, y = np.arange(window.x0, window.x1), np.arange(window.y0, window.y1)
    image = scale * draw(moved, x, y) + 100 + 0.2 * (x - window.x0) + 0.1 * y[:, None]
    sigma = np.sqrt(noise**2 + np.maximum(image, 0) / 1400)
    image += sigma * np.random.default_rng(seed).normal(size=image.shape)
    return image.astype(np.float32), sigma.astype(np.float32)


def refine(window, density, shift, *, seed=1, usable=None, start=(0.0, 0.0), **more):
    stars, scene, origin = field(window, density, seed)
    image, sigma = observed(stars, window, shift, **more)
    usable = np.ones(image.shape, bool) if usable is None else usable
    nodes = (window.y1 + 8, window.x1 + 8)
    return refine_displacement(
        scene,
        image,
        sigma,
        usable,
        origin=origin,
        window=window,
        displacement=Displacement.constant(start, nodes),
    )


def constant(dx, dy):
    return lambda x, y: (0 * x + dx, 0 * y + dy)


SMALL, LARGE = Window(40, 20, 104, 84), Window(40, 20, 296, 244)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.02, -0.05), (0.3, 0.1), (-0.2, 0.3)])
@pytest.mark.parametrize("density", [0.003, 0.03, 0.3], ids=["sparse", "field", "crowded"])
def test_a_shift_is_found_within_its_error(density, shift):
    found, _ = refine(SMALL, density, constant(*shift))
    pulls = (found.x[0] - shift[0]) / found.x_error[0], (found.y[0] - shift[1]) / found.y_error[0]
    assert np.abs(pulls).max() < 4.5, (found.x, found.x_error, found.y, found.y_error)
    assert max(found.x_error[0], found.y_error[0]) < 0.01


def turn(roll_px_per_px, scale, at):
    def shift(x, y):
        u, v = x - at[0], y - at[1]
        return 0.1 + scale * u - roll_px_per_px * v, -0.05 + roll_px_per_px * u + scale * v

    return shift


def test_roll_and_scale_are_found_over_a_large_field():
    shift = turn(4e-4, -2e-4, (168, 132))
    found, moved = refine(LARGE, 0.03, shift)
    assert found.order >= 1
    y, x = np.mgrid[30:240:9, 50:290:11].astype(float)
    wanted, told = np.stack(shift(x, y)), np.stack(moved(x, y))
    # 20 to 60 stars a square tell it to a few 1e-3 px; the turn moves the corners by 0.07 px
    assert np.abs(told - wanted).max() < 0.01
    assert 0.3 < found.chi2 < 3


def test_errors_are_as_large_as_what_is_wrong():
    """The mean of squared pulls over many skies; 0.5 to 2 is three times its scatter."""
    pulls = []
    for seed in range(12):
        found, _ = refine(SMALL, 0.05, constant(0.07, -0.04), seed=seed)
        pulls += [(found.x[0] - 0.07) / found.x_error[0], (found.y[0] + 0.04) / found.y_error[0]]
    assert 0.4 < np.square(pulls).mean() < 2.5


def test_what_the_wcs_tells_is_kept():
    """The sum is found, whatever part of it the WCS knew."""
    whole, _ = refine(SMALL, 0.05, constant(0.3, -0.2))
    rest, moved = refine(SMALL, 0.05, constant(0.3, -0.2), start=(0.25, -0.3))
    assert rest.x[0] + 0.25 == pytest.approx(whole.x[0], abs=2e-3)
    assert rest.y[0] - 0.3 == pytest.approx(whole.y[0], abs=2e-3)
    np.testing.assert_allclose(moved(70, 50), (whole.x[0], whole.y[0]), atol=2e-3)


def test_variable_stars_and_transients_do_not_matter():
    stars, scene, origin = field(LARGE, 0.03, 1)
    changed = stars.copy()
    changed[::7, 2] *= 3
    more = np.array([[100.4, 90.2, 5e3], [222.1, 180.8, 2e4]])
    image, sigma = observed(np.concatenate([changed, more]), LARGE, constant(0.1, 0.05))
    found, _ = refine_displacement(
        scene,
        image,
        sigma,
        np.ones(image.shape, bool),
        origin=origin,
        window=LARGE,
        displacement=Displacement.constant((0.0, 0.0), (260, 310)),
    )
    assert (found.x[0], found.y[0]) == pytest.approx((0.1, 0.05), abs=0.01)


@pytest.mark.parametrize(
    ("window", "order"), [(SMALL, 0), (Window(40, 20, 136, 116), 1), (LARGE, 3)]
)
def test_the_order_falls_with_the_squares(window, order):
    found, _ = refine(window, 0.05, constant(0.1, 0.1))
    assert found.order == order
    cards = {key: value for key, value, _ in found.cards()}
    assert cards["REFORDER"] == order
    assert cards["REFDX"] == pytest.approx(0.1, abs=0.01)
    assert len([key for key in cards if key.startswith("RFXE")]) == (order + 1) * (order + 2) / 2


def test_the_linear_part_of_what_was_found():
    found, _ = refine(LARGE, 0.05, turn(3e-4, 1e-4, (168, 132)))
    shift, slope, rest = found.linear()
    x, y = np.meshgrid(np.linspace(40, 295, 9), np.linspace(20, 243, 9))
    linear = shift[:, None, None] + np.einsum("ab,bij->aij", slope, np.stack([x, y]))
    assert np.abs(linear - np.stack(found(x, y))).max() <= rest
    np.testing.assert_allclose(slope, [[1e-4, -3e-4], [3e-4, 1e-4]], atol=3e-5)


@pytest.mark.parametrize(
    ("density", "shift", "more", "message"),
    [
        (0.0002, (0.1, 0.0), {"noise": 3e4}, "no square of 32 px has stars that measure a shift"),
        (0.02, (3.0, 0.0), {}, "stars|settle"),
        (0.02, (0.1, 0.0), {"scale": 0.0}, "no square of 32 px has stars"),
    ],
)
def test_what_stars_do_not_tell_is_refused(density, shift, more, message):
    with pytest.raises(RenderingError, match=message):
        refine(SMALL, density, constant(*shift), **more)


def test_without_usable_pixels_nothing_is_told():
    with pytest.raises(
        RenderingError, match=r"0 % are apart from flagged ones: .*process` with `stars`"
    ):
        refine(SMALL, 0.05, constant(0, 0), usable=np.zeros((64, 64), bool))
