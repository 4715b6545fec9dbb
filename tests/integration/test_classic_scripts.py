"""The scripts at the repository's root, in every form that their users know."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from syndiff.layout import Detector, Layout
from syndiff.window import Window

ROOT = Path(__file__).parents[2]
EXAMPLE_FFI = "tess2020123456-s0020-1-3-0000-s_ffic.fits"
# The archive's default is the real one, which tests leave alone; the field makes no difference.
FIELD = Window(1002, 1002, 1006, 1006)

pytestmark = pytest.mark.skipif(
    not (ROOT / "pipeline.py").exists(), reason="the scripts belong to a source tree"
)


@pytest.fixture(scope="module")
def desk(small_sky, tmp_path_factory):
    """A working folder as users have it: FFIs, a catalogue in its default place, nothing made."""
    folder = tmp_path_factory.mktemp("desk")
    catalogue = folder / "data" / "SkyCells" / "skycell_wcs.csv"
    catalogue.parent.mkdir(parents=True)
    shutil.copy(small_sky.catalogue, catalogue)
    shutil.copy(small_sky.catalogue, folder / "custom-catalog.csv")
    shutil.copy(small_sky.ffi, folder / "tess-ffi.fits")
    with fits.open(small_sky.ffi) as hdus:
        for hdu in hdus[1:]:
            hdu.header["CAMERA"], hdu.header["CCD"] = 1, 3
        hdus[0].header["CAMERA"], hdus[0].header["CCD"] = 1, 3
        hdus.writeto(folder / EXAMPLE_FFI)
    return folder


def run_script(desk, script, *arguments):
    """Run a script of the repository in the working folder; returns what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    finished = subprocess.run(
        [sys.executable, ROOT / script, *map(str, arguments)],
        cwd=desk,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished


def check_template(root, detector, *, dx=0.0, dy=0.0):
    """A full-frame template is there, has light where the skycells are and nothing elsewhere."""
    path = Path(str(Layout.under(root, detector).template(dx, dy)))
    with fits.open(path) as hdus:
        header = hdus["FLUX_SUM"].header
        flux, coverage = hdus["FLUX_SUM"].data, hdus["COVERAGE"].data
    assert flux.shape == (2078, 2136)
    assert (header["SECTOR"], header["CAMERA"], header["CCD"]) == (
        detector.sector,
        detector.camera,
        detector.ccd,
    )
    assert (header["DX_SHIFT"], header["DY_SHIFT"]) == (dx, dy)
    assert np.isfinite(flux[FIELD.slices]).all()
    assert flux[FIELD.slices].sum() > 0
    assert np.isnan(flux[:900]).all()
    assert (coverage[:900] == 0).all()


class TestComponents:
    """`python pancakes_v2.py FFI` and so on, each with the options that its users know."""

    DETECTOR = Detector(20, 3, 3)

    def test_four_components_in_order(self, desk, small_sky):
        mapped = run_script(desk, "pancakes_v2.py", "tess-ffi.fits")
        assert "skycells on science pixels 8" in " ".join(mapped.stdout.split())
        run_script(
            desk,
            *("download_and_store_zarr.py", 20, 3, 3),
            *("--use-local-files", "--local-data-path", small_sky.archive),
        )
        run_script(desk, "process_ps1.py", 20, 3, 3)
        run_script(desk, "multi_offset_downsampling.py", 20, 3, 3)
        check_template(desk / "data", self.DETECTOR)

    def test_catalogue_is_found_in_its_default_place(self, desk):
        run_script(desk, "pancakes_v2.py", "tess-ffi.fits")
        layout = Layout.under(desk / "data", self.DETECTOR)
        assert layout.catalogue_used.read() == (desk / "custom-catalog.csv").read_bytes()


class TestQuickStart:
    """`python pipeline.py FFI [CATALOGUE]` with the options of the classic quick start."""

    DETECTOR = Detector(20, 3, 3)

    @pytest.mark.parametrize("extra", [(), ("custom-catalog.csv",), ("-v",)])
    def test_default_data_root(self, desk, small_sky, extra):
        finished = run_script(
            desk, "pipeline.py", "tess-ffi.fits", *extra, "--archive", small_sky.archive
        )
        check_template(desk / "data", self.DETECTOR)
        assert "syndiff_template_s0020_3_3_dx+0.000_dy+0.000.fits" in finished.stdout

    def test_other_data_root_and_parameters(self, desk, small_sky):
        run_script(
            desk,
            *("pipeline.py", "tess-ffi.fits", "custom-catalog.csv"),
            *("--data-root", "custom/data/path", "--cores", 16, "--jobs", 100, "--overwrite"),
            *("--archive", small_sky.archive),
        )
        check_template(desk / "custom" / "data" / "path", self.DETECTOR)


class TestNamedExamples:
    """The examples with a 10-digit time stamp, of camera 1, CCD 3."""

    DETECTOR = Detector(20, 1, 3)

    @pytest.mark.parametrize(
        "extra",
        [
            (),
            ("--cores", "32", "--jobs", "200", "--verbose"),
            ("--multi-offset-array", "0.0,0.0,0.5,0.0,0.0,0.5,0.5,0.5"),
            ("custom-catalog.csv",),
        ],
        ids=["basic", "parallel", "offsets", "catalogue"],
    )
    def test_example(self, desk, small_sky, extra):
        run_script(desk, "pipeline.py", EXAMPLE_FFI, *extra, "--archive", small_sky.archive)
        check_template(desk / "data", self.DETECTOR)
        if "--multi-offset-array" in extra:
            for dx, dy in ((0.5, 0.0), (0.0, 0.5), (0.5, 0.5)):
                check_template(desk / "data", self.DETECTOR, dx=dx, dy=dy)
