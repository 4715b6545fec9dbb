import numpy as np
import pytest
from finestars import draw, fine_model

from syndiff.differences.fine_template import refine_file, sample_finely
from syndiff.errors import RenderingError
from syndiff.sky.displacement import Displacement
from syndiff.window import Window

WINDOW = Window(110, 200, 130, 218)
STARS = [(118.3, 207.2, 1000.0), (112.7, 213.9, 400.0), (126.4, 203.1, 700.0)]


def scene(around, per_px=4, first=0.0):
    y, x = (
        start + first + np.arange(per_px * n) / per_px
        for start, n in zip((around.y0, around.x0), around.shape, strict=True)
    )
    return draw(STARS, y, x, lambda *_: [(1, 0, 0, 0.5)]).astype(np.float32)


def wanted(offset=(0.0, 0.0), first=0.0):
    moved = [(x + offset[0] - WINDOW.x0, y + offset[1] - WINDOW.y0, f) for x, y, f in STARS]
    return fine_model(moved, WINDOW.shape, first=first).phases


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.37, -1.21)])
def test_samples_are_those_of_the_moved_stars(offset):
    around = WINDOW.grown(8)
    found = sample_finely(
        scene(around),
        (around.x0, around.y0),
        WINDOW,
        displacement=Displacement.constant(offset, (400, 400)),
        pad_px=3,
    )
    # 6e-6 of a peak of 300 is what the interpolation leaves, and float32.
    np.testing.assert_allclose(found.phases, wanted(offset), atol=3e-3)


def test_unknown_where_the_scene_ends():
    around = WINDOW.grown(4)
    found = sample_finely(
        scene(around),
        (around.x0, around.y0),
        WINDOW,
        displacement=Displacement.constant((0.0, 0.0), (400, 400)),
        pad_px=3,
    )
    inside = np.s_[:, :, 1:-2, 1:-2]
    np.testing.assert_allclose(found.phases[inside], wanted()[inside], atol=3e-3)
    assert np.isnan(found.phases[:, :, 0]).all()
    assert np.isnan(found.phases[..., -1]).all()


@pytest.mark.parametrize(("oversample", "first"), [(2, -0.25), (4, 0.0)])
def test_oversampled_files(oversample, first):
    flux = scene(WINDOW, oversample, 0.5 / oversample - 0.5) / oversample**2
    found = refine_file(flux, oversample, WINDOW, pad_px=3)
    assert found.first_px == first
    inside = np.s_[:, :, 6:-6, 6:-6]
    np.testing.assert_allclose(found.phases[inside], wanted(first=first)[inside], atol=3e-3)
    assert np.isnan(found.phases[:, :, :3]).all()


def test_other_numbers_of_samples():
    with pytest.raises(RenderingError, match="a template of 3 samples per pixel can't be conv"):
        refine_file(np.zeros((54, 60), np.float32), 3, WINDOW, pad_px=3)
