"""Simulations on disk: everything is there, the record brings it back, the truth fits."""

import json
from dataclasses import replace

import numpy as np
import pytest

from syndiff.errors import ConfigError, MissingInputError
from syndiff.layout import Detector
from syndiff.simulation import (
    FfiConfig,
    PsfConfig,
    Simulation,
    SimulationConfig,
    SkyConfig,
    StackConfig,
    Transient,
    isolated_stars,
    plan_simulation,
    simulate,
)
from syndiff.simulation.ffi import example_cards, example_wcs, shifted
from syndiff.simulation.grid import small_catalogue
from syndiff.window import Window

FIELD = Window(1000, 1000, 1006, 1006)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    cells = small_catalogue(example_wcs(), FIELD, margin_px=0, cell_px=600, overlap_px=200)[:2]
    stars = isolated_stars(example_cards(), FIELD.grown(6))
    config = SimulationConfig(
        sky=SkyConfig(0.3, 0.3, stars=stars, faint_mag=21.0),
        stack=StackConfig(PsfConfig((1.0, 1.0, 0.9, 0.9), "gaussian"), noise=False),
        ffi=FfiConfig(
            Detector(20, 3, 3),
            example_cards(),
            start="2020-01-05T00:00:00",
            pointing_px=(0.1, 0.2),
            transients=(Transient(216.0, 76.2, 15.0),),
        ),
        skycells=tuple(cells),
        field=FIELD,
    )
    seen = []
    directory = tmp_path_factory.mktemp("simulation")
    simulation = simulate(config, directory, progress=lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)]
    return simulation


def test_everything_is_there(made):
    assert made.ffi.name == "tess2020005000000-s0020-3-3-0000-s_ffic.fits"
    for path in (made.ffi, made.catalogue, made.stars):
        assert path.is_file()
    files = sorted(path.relative_to(made.archive) for path in made.archive.rglob("*.fits"))
    assert len(files) == 2 * 12
    names = {str(path) for path in files}
    cell = made.config.skycells[0].name
    _, projection, number = cell.split(".")
    for suffix in ("", ".mask", ".wt"):
        stem = f"{projection}/{number}/rings.v3.{cell}.stk.z.unconv"
        assert f"{stem}{suffix}.fits" in names


def test_record_brings_the_simulation_back(made):
    back = Simulation.load(made.directory)
    assert back == made
    np.testing.assert_array_equal(back.sources.ra, made.sources.ra)


def test_truth_is_that_of_the_sources(made):
    window = FIELD.grown(12)
    star = made.sources[:1]
    image = made.truth(window, sources=star)
    assert image.sum() == pytest.approx(star.composite_flux[0], rel=1e-7)
    whole = made.truth(window)
    assert (whole >= image - 1e-12).all()
    assert made.truth().shape == FIELD.shape
    y, x = np.unravel_index(image.argmax(), image.shape)
    expected = example_wcs().all_world2pix(star.ra[0], star.dec[0], 0)
    assert abs(x + window.x0 - expected[0]) <= 0.5 + 1e-6
    assert abs(y + window.y0 - expected[1]) <= 0.5 + 1e-6


def test_another_ffi_can_be_added(made):
    later = shifted(made.config.ffi, cadences=2, pointing_px=(0.3, -0.2))
    assert made.add_ffi(later).is_file()
    with pytest.raises(ConfigError, match=r"ffic.fits is there already: give another start"):
        made.add_ffi(made.config.ffi)


def test_missing_simulation_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"simulation.json is not there: run `syndiff sim"):
        Simulation.load(tmp_path)


def test_record_of_another_version_is_refused(tmp_path):
    (tmp_path / "simulation.json").write_text(json.dumps({"format_version": 99}))
    with pytest.raises(MissingInputError, match=r"has format 99, this version reads 1"):
        Simulation.load(tmp_path)


@pytest.mark.parametrize("kind", ["field", "crowded", "isolated"])
def test_plans_differ_by_kind(kind):
    config = plan_simulation(kind=kind, noise=False, seed=3)
    assert config.field.shape == (40, 40)
    assert (config.stack.noise, config.stack.artefacts, config.ffi.noise) == (False,) * 3
    assert (config.sky.star_density, len(config.sky.stars)) == {
        "field": (1.0, 0),
        "crowded": (15.0, 0),
        "isolated": (0.0, 9),
    }[kind]


def test_isolated_stars_stand_apart():
    stars = isolated_stars(example_cards(), Window(500, 500, 560, 560), seed=2)
    x, y = example_wcs().all_world2pix([s.ra_deg for s in stars], [s.dec_deg for s in stars], 0)
    distance = np.hypot(x[:, None] - x, y[:, None] - y) + 100 * np.eye(len(stars))
    assert len(stars) == 9
    assert distance.min() > 15 - 1e-3
    assert x.min() > 503
    assert x.max() < 556
    assert all(14.5 <= star.mag <= 15.5 for star in stars)


def test_plan_takes_skycells_and_centre():
    cells = small_catalogue(example_wcs(), FIELD, cell_px=800)
    config = plan_simulation(skycells=cells, centre_px=(1003.0, 1001.5), size_px=6)
    assert config.skycells == tuple(cells)
    assert config.field == Window(1000, 999, 1006, 1005)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "galaxy"}, r"kind 'galaxy' is unknown: give 'field', 'crowded' or 'isolated'"),
        ({"size_px": 2}, r"size_px 2 is too small: give 4 or more"),
    ],
)
def test_bad_plan_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        plan_simulation(**arguments)


def test_simulation_needs_distinct_skycells(made):
    twice = (made.config.skycells[0],) * 2
    with pytest.raises(ConfigError, match=r"2 skycells have 1 names only"):
        replace(made.config, skycells=twice)
