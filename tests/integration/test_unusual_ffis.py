"""FFIs at addresses and in unusual files, through the commands."""

import shutil

import numpy as np
import pytest
from astropy.io import fits
from commands import DETECTOR, ROI, invoke, refused, report, template_path
from servers import FaultyServer

from syndiff.ffi import ffi_file
from syndiff.layout import Layout


@pytest.fixture
def server(small_sky):
    """A server with the simulation's FFI and a later one."""
    ffi_file._fetch.cache_clear()
    later = small_sky.ffi.name.replace("tess2020", "tess2021")
    content = small_sky.ffi.read_bytes()
    with FaultyServer({f"ffi/{name}": content for name in (small_sky.ffi.name, later)}) as server:
        yield server
    ffi_file._fetch.cache_clear()


def test_ffis_at_addresses(small_sky, root, server, tmp_path):
    """Mapped, followed and tabulated as if they were here; names of products hold no address."""
    here, later = (f"{server.url}{path}" for path in server.files)
    where = ("--data-root", root, "--roi", ROI)
    mapped = report("mapping", here, "--skycell-wcs-csv", small_sky.catalogue, *where)
    assert mapped["stages"]["mapping"]["skipped"]
    invoke("downsample", 20, 3, 3, *where, "--follow", later)
    layout = Layout.under(str(root), DETECTOR)
    followed = layout.template_following(later.rsplit("/", 1)[-1], roi=ROI)
    local = shutil.copy(small_sky.ffi, tmp_path / later.rsplit("/", 1)[-1])
    content = fits.getdata(str(followed), "FLUX_SUM")
    np.testing.assert_array_equal(content, fits.getdata(template_path(root, roi=ROI), "FLUX_SUM"))
    again = report("downsample", 20, 3, 3, *where, "--follow", local)
    assert again["stages"]["downsample"]["skipped"]
    invoke("drift", here, later, "--data-root", root, "--output", tmp_path / "drift")
    # Once in a process, whatever reads it.
    assert set(server.hits.values()) == {1}


def test_address_without_a_file(server, tmp_path):
    line = refused("mapping", f"{server.url}none.fits", "--data-root", tmp_path / "data")
    assert "none.fits: there is no such file (404): check the address" in line
    assert not (tmp_path / "data").exists()


def test_address_of_another_kind(tmp_path):
    line = refused("mapping", "ftp://host/ffi.fits", "--data-root", tmp_path / "data", code=2)
    assert "'ftp://host/ffi.fits' is not the address of a file" in line
