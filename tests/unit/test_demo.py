"""The command that the README tells everybody to run first."""

import math
import re
import socket
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from syndiff.commands.app import app
from syndiff.errors import RenderingError
from syndiff.ffi.observation import read_observation
from syndiff.simulation import Simulation
from syndiff.simulation.demo import Limit, plan_field, plan_stars, run_demo, serve


def run(*arguments):
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, ["demo", *(str(a) for a in arguments)])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The whole demonstration, once: about 25 s of one core."""
    folder = tmp_path_factory.mktemp("demo") / "syndiff_demo"
    return folder, run(folder)


def test_keeps_every_promise(done):
    folder, result = done
    assert result.exit_code == 0, result.output
    assert "kept" in result.stdout
    assert "broken" not in result.stdout
    assert f"see {folder / 'demo.png'}" in result.stdout


def test_shows_four_offsets(done):
    for offset in ("+0.00, +0.00", "+0.37, -0.21", "-0.50, +0.50", "+0.25, +0.75"):
        assert len(re.findall(re.escape(offset), done[1].stdout)) == 2  # without and with noise


def test_leaves_a_panel_and_templates(done):
    folder = done[0]
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    for part in ("stars", "field"):
        assert len(list(folder.glob(f"{part}/data/templates/**/*.fits"))) == 4
        assert Simulation.load(folder / part).stars.is_file()


def test_the_same_command_goes_on_where_it_stopped(done):
    folder = done[0]
    ffi = Simulation.load(folder / "field").ffi
    template = next(folder.glob("field/data/templates/**/*.fits"))
    before = [path.stat().st_mtime_ns for path in (ffi, template)]
    report = run_demo(folder)
    assert [path.stat().st_mtime_ns for path in (ffi, template)] == before
    report.check()
    worse = replace(report, ffi=replace(report.ffi, transient=2.0, zero_point=math.nan))
    with pytest.raises(
        RenderingError, match=r"zero point, mag nan > .*; flux of the transient 1 >"
    ):
        worse.check()


def test_the_ffi_holds_the_transient_and_its_noise(done):
    simulation = Simulation.load(done[0] / "field")
    observation = read_observation(simulation.ffi)
    assert len(simulation.config.ffi.transients) == 1
    field = simulation.config.field
    noise = observation.read_uncertainty()[field.slices]
    # 100 e-/s of sky, 8.5 e- of read noise a frame, 1426 s: 0.3 e-/s, and more on stars.
    assert noise.min() == pytest.approx(0.3, abs=0.05)


def test_less_than_promised_is_exit_code_1(done, monkeypatch):
    monkeypatch.setattr(
        "syndiff.simulation.demo.DemoReport.limits", (Limit("centroid, px", 0.02, 0.01),)
    )
    result = run(done[0])
    assert result.exit_code == 1
    assert "broken" in result.stdout
    assert re.fullmatch(
        r"syndiff: error: templates are less accurate than promised: centroid, px 0.02 > 0.01: "
        r"[^\n]*\n",
        result.stderr,
    )


def test_a_limit_is_not_kept_by_what_is_no_number():
    assert Limit("x", 1.0, 1.0).is_kept
    assert not Limit("x", math.nan, 1.0).is_kept


def test_plans_are_the_same_every_time_and_after_a_round_trip():
    assert plan_stars() == plan_stars()
    assert plan_field() == plan_field()


def test_both_skies_have_two_projections_turned_against_each_other():
    for plan in (plan_stars(), plan_field()):
        names = {cell.projection_cell for cell in plan.skycells}
        assert len(names) == 2


def test_serves_a_folder_to_this_machine_only(tmp_path):
    (tmp_path / "a.fits").write_bytes(b"abc")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with serve(tmp_path) as url:
        assert url.startswith("http://127.0.0.1:")
        with opener.open(f"{url}a.fits", timeout=5) as answer:
            assert answer.read() == b"abc"
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            opener.open(f"{url}b.fits", timeout=5)
        caught.value.close()
        port = int(url.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "demo").write_text("not a folder")
    result = run(tmp_path / "demo")
    assert result.exit_code == 1
    assert re.fullmatch(r"syndiff: error: [^\n]*can't be written: [^\n]*\n", result.stderr)
