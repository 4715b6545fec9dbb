"""A target's flux in frames drawn in closed form: the truth is known exactly."""

import numpy as np
import pytest
from serieslight import FIELD, TARGET, frame_of, series_of, stars

from syndiff.lightcurves.flags import find_flags
from syndiff.lightcurves.reliability import judge
from syndiff.masks import FfiQuality, FrameFlag

FRAMES = 40
RNG = np.random.default_rng(3)
FLUX = np.where(np.arange(FRAMES) < 10, 0.0, 60.0)
POINTING = np.column_stack([np.linspace(0, 0.6, FRAMES), np.linspace(0.2, -0.3, FRAMES)])
JITTER = RNG.normal(0, 0.01, (FRAMES, 2))
WIDTH = 0.58 + 0.01 * np.sin(np.arange(FRAMES))


@pytest.fixture(scope="module")
def sky():
    return stars()


def make(sky, k, **changes):
    given = {
        "flux": FLUX[k],
        "pointing": POINTING[k],
        "jitter": JITTER[k],
        "sigma": WIDTH[k],
        **changes,
    }
    return frame_of(sky, k, **given)


@pytest.fixture(scope="module")
def frames(sky):
    return [make(sky, k) for k in range(FRAMES)]


@pytest.fixture(scope="module")
def series(sky, frames):
    # The steady part is found while the target shines: its pixels take no part.
    return series_of(sky, frames[::4])


@pytest.fixture(scope="module")
def rows(series, frames):
    return np.stack([series.row(frame) for frame in frames])


def test_the_flux_of_a_transient_comes_back_within_its_errors(rows):
    flux, error = rows["flux"][:, 0], rows["error"][:, 0]
    for value in (0.0, 60.0):
        mine = value == FLUX
        mean_error = error[mine].mean() / np.sqrt(mine.sum())
        # 0.5 %: the response's third moments are the template's.
        assert flux[mine].mean() == pytest.approx(value, abs=4 * mean_error + 0.005 * value)
    assert np.std((flux - FLUX)[FLUX > 0] / error[FLUX > 0]) == pytest.approx(1, abs=0.35)


def test_shift_and_width_of_each_frame_are_found(rows, series):
    apart = rows["shift"] - JITTER
    np.testing.assert_allclose(apart, np.broadcast_to(apart.mean(0), apart.shape), atol=4e-3)
    told = (rows["widening"][:, 0] + rows["widening"][:, 2]) / 2
    true = 0.85 * WIDTH**2
    np.testing.assert_allclose(told - told.mean(), true - true.mean(), atol=3e-3)
    assert series.steady.stars_of_kernel > 5


def test_blank_places_scatter_as_their_errors_say(rows, series):
    good = np.ones(FRAMES, bool)
    told = judge(
        rows,
        good,
        blank=len(series.steady.blank),
        star_flux=series.steady.star_flux * series.steady.mean[0],
    )
    assert told.places >= 15
    # 600 pulls: 0.06 is one standard deviation of chi squared.
    assert told.chi2 == pytest.approx(1, abs=0.2)
    assert told.scatter < 1.1
    assert abs(told.mean) < 4 * max(told.mean_error, 0.03)
    assert told.error(np.array([0.0]), np.array([1.0]))[0] >= 1


def test_places_keep_away_from_the_target_and_the_border(series):
    part = series.steady
    for places in (part.blank, part.stars):
        assert (np.hypot(*(places - TARGET).T) > 8).all()
        assert (places >= [FIELD.x0 + 5, FIELD.y0 + 5]).all()
        assert (places < [FIELD.x1 - 5, FIELD.y1 - 5]).all()
    assert len(part.stars) > 3


def test_a_frame_that_is_smeared_is_fitted_all_the_same_and_flagged(sky, series, frames, rows):
    smeared = make(sky, 20, sigma=0.75, jitter=(0.15, -0.2))
    changed = rows.copy()
    changed[20] = series.row(smeared)
    assert changed[20]["flux"][0] == pytest.approx(60.0, abs=4)
    flags = find_flags(changed, (changed["start"] + changed["stop"]) / 2)
    assert flags[20] == FrameFlag.Jitter
    assert (np.delete(flags, 20) == 0).all()


def test_dead_pixels_at_the_target_are_flagged_not_measured_as_zero(sky, series, rows):
    def spoil(image):
        x, y = round(TARGET[0] + POINTING[5, 0]) - FIELD.x0, round(TARGET[1]) - FIELD.y0
        image[y - 1 : y + 2, x - 1 : x + 2] = np.nan

    changed = rows.copy()
    changed[5] = series.row(make(sky, 5, spoil=spoil))
    assert np.isnan(changed[5]["flux"][0])
    flags = find_flags(changed, (changed["start"] + changed["stop"]) / 2)
    assert flags[5] & FrameFlag.DeadPixels


def test_a_cosmic_ray_beside_the_target_is_flagged(sky, series, rows):
    def spoil(image):
        x, y = round(TARGET[0] + POINTING[7, 0]) - FIELD.x0, round(TARGET[1]) - FIELD.y0
        image[y + 1, x + 1] += 12.0

    changed = rows.copy()
    changed[7] = series.row(make(sky, 7, spoil=spoil))
    flags = find_flags(changed, (changed["start"] + changed["stop"]) / 2)
    assert flags[7] == FrameFlag.CosmicRay
    assert not (np.delete(flags, 7) & FrameFlag.CosmicRay).any()


def test_an_asteroid_is_followed_past_the_target(sky, series, frames, rows):
    path = {k: (TARGET[0] + 1.2 * (k - 20), TARGET[1] + 0.4 * (k - 20)) for k in range(12, 29)}
    changed = rows.copy()
    for k, (x, y) in path.items():
        more = np.concatenate([sky, [(x, y, 40.0 / 0.0215)]])
        changed[k] = series.row(make(more, k))
    flags = find_flags(changed, (changed["start"] + changed["stop"]) / 2)
    near = {k for k, (x, y) in path.items() if np.hypot(x - TARGET[0], y - TARGET[1]) < 3}
    assert near <= set(np.flatnonzero(flags & FrameFlag.Asteroid))
    assert not flags[:15].any()


def test_header_flags_and_scattered_light_are_flagged(sky, series, rows):
    changed = rows.copy()
    changed[3] = series.row(make(sky, 3, quality=int(FfiQuality.DESATURATION)))
    changed[9] = series.row(make(sky, 9, background=400.0))
    flags = find_flags(changed, (changed["start"] + changed["stop"]) / 2)
    assert flags[3] == FrameFlag.Desat
    assert flags[9] == FrameFlag.ScatteredLight
    assert changed[9]["flux"][0] == pytest.approx(0, abs=5 * changed[9]["error"][0])


def test_a_frame_without_light_says_why(sky, series):
    row = series.row(make(sky, 4, pointing=(5.0, 0.0)))
    assert b"displaced by up to" in bytes(row["reason"])
    assert np.isnan(row["flux"]).all()
