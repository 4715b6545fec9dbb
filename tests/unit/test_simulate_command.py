import re
import shlex
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from syndiff.commands.app import app
from syndiff.ffi.observation import read_observation
from syndiff.layout import Detector
from syndiff.simulation import Simulation, plan_simulation
from syndiff.simulation.series import Series
from syndiff.sky.tessellation import Tessellation


def run(*arguments):
    return CliRunner().invoke(app, ["simulate", *(str(a) for a in arguments)])


def test_simulates_a_field_and_says_what_to_run_next(tmp_path, monkeypatch):
    monkeypatch.setattr("syndiff.execution.available_cores", lambda: 1)  # no workers to wait for
    done = run(tmp_path / "sky", "--size", 4, "--kind", "isolated", "--no-noise", "--seed", 3)
    assert done.exit_code == 0, done.output
    simulation = Simulation.load(tmp_path / "sky")
    assert simulation.config.sky.seed == 3
    assert not simulation.config.stack.noise
    assert not simulation.config.ffi.noise
    assert simulation.config.field.shape == (4, 4)
    assert read_observation(simulation.ffi).frame.detector == Detector(20, 3, 3)
    cells = len(simulation.config.skycells)
    assert len(list(simulation.archive.rglob("*.fits"))) == 12 * cells
    command = shlex.split(re.search("next: (.*)", done.stdout)[1])
    assert command[:4] == ["syndiff", "pipeline", str(simulation.ffi), str(simulation.catalogue)]
    assert command[-2:] == ["--roi", str(simulation.config.field)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "empty"], "kind 'empty' is unknown"),
        (["--size", "3"], "size_px 3 is too small"),
        (["--camera", "5"], "camera 5 is not a TESS camera"),
        (["--centre", "1000"], "pixel '1000' is not X,Y"),
        (["--centre", "1,nan"], "is not X,Y"),
        (["--target", "10.0,"], "target '10.0,' is not RA,DEC"),
        (["--target", "10.0,-80.0"], "is not on the CCD"),
        (["--centre", "1,2", "--target", "1,2"], "centre and target are both given"),
    ],
)
def test_a_bad_option_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    done = run(tmp_path / "sky", *arguments)
    assert done.exit_code == 2
    assert re.fullmatch(rf"syndiff: error: [^\n]*{re.escape(message)}[^\n]*\n", done.stderr)
    assert not (tmp_path / "sky").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--skycells", "skycell.9999.000"], "no skycell 'skycell.9999.000'"),
        (["--header", "/nowhere.fits"], "header file /nowhere.fits can't be read"),
    ],
)
def test_what_is_not_there_is_one_line_and_exit_code_1(tmp_path, arguments, message):
    done = run(tmp_path / "sky", *arguments)
    assert done.exit_code == 1
    assert re.fullmatch(rf"syndiff: error: [^\n]*{re.escape(message)}[^\n]*\n", done.stderr)


def test_a_file_in_the_way_is_one_line_and_exit_code_1(tmp_path, monkeypatch):
    monkeypatch.setattr("syndiff.execution.available_cores", lambda: 1)
    (tmp_path / "sky").write_text("not a folder")
    done = run(tmp_path / "sky", "--size", 4)
    assert done.exit_code == 1
    assert re.fullmatch(r"syndiff: error: [^\n]*sky can't be written: [^\n]*\n", done.stderr)


def test_the_field_lies_in_the_middle_of_given_skycells():
    cell = Tessellation.rings_v3()["skycell.2587.050"]
    plan = plan_simulation(skycells=[cell], size_px=10)
    x, y = (plan.field.x0 + plan.field.x1 - 1) / 2, (plan.field.y0 + plan.field.y1 - 1) / 2
    from syndiff.simulation.ffi import wcs_of
    from syndiff.simulation.grid import skycell_wcs

    ra, dec = wcs_of(plan.ffi.wcs_cards).all_pix2world(x, y, 0)
    px, py = skycell_wcs(cell).all_world2pix(ra, dec, 0)
    # The field's middle is rounded to half a TESS pixel, 41 PS1 pixels.
    assert px == pytest.approx((cell.nx - 1) / 2, abs=60)
    assert py == pytest.approx((cell.ny - 1) / 2, abs=60)
    assert plan.skycells == (cell,)


def test_a_target_is_where_the_header_puts_it():
    there = plan_simulation(centre_px=(500.5, 700.5), size_px=10)
    from syndiff.simulation.ffi import wcs_of

    target = tuple(float(v) for v in wcs_of(there.ffi.wcs_cards).all_pix2world(500.5, 700.5, 0))
    assert plan_simulation(target=target, size_px=10).field == there.field


def test_help_loads_no_heavy_library():
    code = (
        "import sys\n"
        "from syndiff.commands.app import app\n"
        "for command in ('simulate', 'demo'):\n"
        "    app([command, '--help'], standalone_mode=False)\n"
        "heavy = {'matplotlib', 'tesswcs', 'astropy', 'numba', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_simulates_a_series_of_any_field_without_an_archive(tmp_path, monkeypatch):
    monkeypatch.setattr("syndiff.execution.available_cores", lambda: 1)
    arguments = ("--size", 90, "--kind", "isolated", "--no-archive", "--series", 3)
    done = run(tmp_path / "sky", *arguments, "--series-form", "both", "--series-cadence", 600)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "sky" / "archive").exists()
    series = Series.load(tmp_path / "sky" / "series")
    assert len(series.ffis) == 3
    assert f"series    {series.directory}" in done.stdout
    assert "next:" not in done.stdout
    assert read_observation(series.ffis[0]).frame.detector == Detector(20, 3, 3)
    assert "90x90" in series.cube.name
    objects = series.truth.objects
    assert list(objects.name) == ["supernova", "faint supernova", "variable star", "asteroid"]
    assert (objects.flux[-1, :2] > objects.flux[0, :2]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--series", "3", "--series-form", "film"], "`form` 'film' is unknown"),
        (["--series", "3", "--series-cadence", "7"], "`cadence_s` 7 is none of TESS's"),
        (["--series", "1300"], "a sector holds 1218 frames of 1800 s"),
        (["--series", "3", "--centre", "46,9"], "is not on the science pixels 44,0,2092,2048"),
    ],
)
def test_an_impossible_series_is_refused_before_anything_is_made(tmp_path, arguments, message):
    done = run(tmp_path / "sky", "--size", "8", *arguments)
    assert done.exit_code == 2
    assert re.fullmatch(rf"syndiff: error: [^\n]*{re.escape(message)}[^\n]*\n", done.stderr)
    assert not (tmp_path / "sky").exists()
