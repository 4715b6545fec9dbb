"""The options of the single stages, in both spellings, on a region of interest."""

import shutil

import pytest
from astropy.io import fits
from typer.testing import CliRunner

from syndiff.commands.app import app

ROI = "1002,1002,1006,1006"


@pytest.fixture(scope="module")
def mapped_root(small_sky, tmp_path_factory):
    """A data root with the mapping and the atlas of a region of interest."""
    root = tmp_path_factory.mktemp("mapped") / "data"
    invoke("mapping", small_sky.ffi, *shared(root), "--skycell_wcs_csv", small_sky.catalogue)
    invoke(
        *("download", 20, 3, 3, *shared(root)),
        *("--use_local_files", "--local_data_path", small_sky.archive, "--cores", 1),
    )
    return root


@pytest.fixture
def root(mapped_root, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(mapped_root, tmp_path / "data")


def shared(root):
    return ("--data-root", root, "--roi", ROI)


def invoke(*arguments, code=0):
    """Run a command in this process; returns what it printed."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize(
    "names",
    [
        ("--skycell-wcs-csv", "--output-path", "--max-workers"),
        ("--skycell_wcs_csv", "--output_path", "--max_workers"),
    ],
)
def test_mapping_options(small_sky, tmp_path, names):
    values = (small_sky.catalogue, tmp_path / "maps", 1)
    options = [item for pair in zip(names, values, strict=True) for item in pair]
    invoke("mapping", small_sky.ffi, *shared(tmp_path / "data"), *options)
    folder = tmp_path / "maps" / "sector_0020" / "camera_3" / "ccd_3"
    assert (folder / "tess_s0020_3_3_master_skycells_list.csv").is_file()
    assert not (tmp_path / "data" / "mapping_output").exists()


@pytest.mark.parametrize("flag", ["--overwrite", "--no-overwrite"])
def test_mapping_overwrites_when_told(small_sky, root, flag):
    result = invoke(
        *("mapping", small_sky.ffi, *shared(root), flag, "--max-workers", 1),
        *("--skycell-wcs-csv", small_sky.catalogue),
    )
    assert ("nothing to do" in result.output) == (flag == "--no-overwrite")


def test_download_into_another_folder(root, small_sky, tmp_path):
    invoke(
        *("download", 20, 3, 3, *shared(root), "--archive", small_sky.archive, "--cores", 1),
        *("--num-workers", 4, "--zarr-output-dir", tmp_path / "atlas"),
        *("--ignore-mask-bits", "12,SAT"),
    )
    assert (tmp_path / "atlas" / "skycells.zarr" / "zarr.json").is_file()
    assert (tmp_path / "atlas" / "sector_0020_camera_3_ccd_3.zarr" / "zarr.json").is_file()


def test_process_and_downsample_elsewhere(root, tmp_path):
    invoke("process", 20, 3, 3, *shared(root), "--psf-sigma", 60, "--cores", 1)
    scene = root / "convolved_results"
    moved = scene.rename(tmp_path / "scenes")
    result = invoke(
        *("downsample", *shared(root), "--convolved-dir", moved),
        *("--output_base", tmp_path / "out", "--multi_offset_array", "0.37,-0.21"),
    )
    name = "syndiff_template_s0020_3_3_dx+0.370_dy-0.210_1002-1002-1006-1006.fits"
    assert name in result.output
    path = tmp_path / "out" / "sector_0020" / "camera_3" / "ccd_3" / name
    assert fits.getheader(path)["PSFSIGMA"] == 60.0


def test_limit_is_partial(root):
    result = invoke("process", 20, 3, 3, *shared(root), "--limit", 1, "--cores", 1, code=3)
    assert "tiles rendered" in result.output
