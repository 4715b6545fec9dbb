"""Files of measured pixel responses: where they are looked for, and what is refused."""

import numpy as np
import pytest
from astropy.io import fits
from prffiles import DETECTOR, FOLDER, STEM, prf_grid, prf_tree
from realdata import real
from servers import FaultyServer, Page, Status, s3_server

from syndiff.errors import (
    ArchiveUnavailableError,
    ConfigError,
    CorruptDownloadError,
    ResponseError,
)
from syndiff.layout import Detector, Layout
from syndiff.scenes.prf import PrfResponse
from syndiff.scenes.prf_files import keep_prf_grid, prf_set, read_prf_files
from syndiff.storage.place import Place

FIRST = f"{STEM}-row0001-col0045.fits"
INNER = f"{STEM}-row0513-col1069.fits"


@pytest.fixture
def tree(tmp_path):
    return prf_tree(tmp_path / "prf")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Ask again at once."""
    monkeypatch.setattr("syndiff.transport.asking.random.uniform", lambda low, high: 0.001)


def files_of(folder):
    """A server's files: the content of a folder by path."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_edition_follows_the_sector():
    assert [prf_set(sector).folder for sector in (1, 3, 4, 90)] == [
        *["start_s0001"] * 2,
        *["start_s0004"] * 2,
    ]


@pytest.mark.parametrize("below", ["", "start_s0004", FOLDER])
def test_a_tree_an_edition_or_the_files_alone(tree, below):
    grid = read_prf_files(str(tree / below), DETECTOR)
    assert grid.source == str(tree / FOLDER)
    assert grid.name == STEM
    assert grid.digest == prf_grid().digest


def test_places_are_pixels_of_the_ffi(tree):
    """FFI pixel (x, y) is column x + 1, row y + 1."""
    grid = read_prf_files(str(tree), DETECTOR)
    np.testing.assert_array_equal(grid.x, [44, 556, 1068, 1579, 2091])
    np.testing.assert_array_equal(grid.y, [0, 512, 1024, 1535, 2047])
    np.testing.assert_array_equal(grid.samples[1, 2], fits.getdata(tree / FOLDER / INNER))


def test_early_sectors_have_an_edition_of_their_own(tree):
    early = Detector(2, 3, 3)
    prf_tree(tree, detector=early)
    assert read_prf_files(str(tree), early).name == "tess2018243163601-prf-3-3"
    assert read_prf_files(str(tree), DETECTOR).name == STEM


def test_editions_side_by_side_are_told_apart(tree, tmp_path):
    early = Detector(2, 3, 3)
    prf_tree(tree, detector=early)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in tree.rglob("*.fits"):
        path.rename(flat / path.name)
    assert read_prf_files(str(flat), early).name == "tess2018243163601-prf-3-3"
    assert read_prf_files(str(flat), DETECTOR).name == STEM


def test_an_edition_of_another_date_is_found_by_listing(tree):
    for path in (tree / FOLDER).iterdir():
        path.rename(path.with_name(path.name.replace("2019107181902", "2031001000000")))
    assert read_prf_files(str(tree), DETECTOR).name == "tess2031001000000-prf-3-3"


def test_other_products_are_left_alone(tree):
    """MAST's folders also hold what was measured by photometry, and Matlab's files."""
    for name in (f"{STEM}-phot-row0001-col0045.fits", "tess1-prf-3-3-row0001-col0045_phot.fits"):
        (tree / FOLDER / name).write_bytes(b"no FITS")
    assert read_prf_files(str(tree), DETECTOR).digest == prf_grid().digest


def test_missing_files_are_named_with_where_they_come_from(tree):
    for name in (INNER, f"{STEM}-row2048-col2092.fits"):
        (tree / FOLDER / name).unlink()
    with pytest.raises(
        ResponseError,
        match=rf"2 of 25 pixel response files are missing, \S+/{INNER} among them: they come from "
        r"https://archive\.stsci\.edu/missions/tess/models/prf_fitsfiles/start_s0004/cam3_ccd3/",
    ):
        read_prf_files(str(tree), DETECTOR)


def test_no_files_at_all(tree):
    with pytest.raises(
        ResponseError,
        match=r"no pixel response files of sector 20 camera 4 ccd 1 in \S+/start_s0004/cam4_ccd1, "
        r"\S+, \S+: they come from \S+start_s0004/cam4_ccd1/ \(25 files\); see `prf_dir`",
    ):
        read_prf_files(str(tree), Detector(20, 4, 1))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere does not exist: give `prf_dir` a folder"):
        read_prf_files(str(tmp_path / "nowhere"), DETECTOR)


def change(path, **cards):
    with fits.open(path, mode="update") as hdus:
        hdus[0].header.update(cards)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"CRVAL1P": 557}, "CRVAL1P is 557, 1069 belongs to this name"),
        ({"CRVAL2P": 1}, "CRVAL2P is 1, 513 belongs"),
        ({"CRPIX1P": 1}, "CRPIX1P is 1, 59 belongs"),
        ({"CAM": 1}, "CAM is 1, 3 belongs"),
        ({"CCD": 1}, "CCD is 1, 3 belongs"),
        ({"NSAMP": 4}, "NSAMP is 4, 9 belongs"),
    ],
)
def test_files_that_are_not_what_their_name_says(tree, cards, message):
    change(tree / FOLDER / INNER, **cards)
    with pytest.raises(ResponseError, match=rf"{INNER}: {message}"):
        read_prf_files(str(tree), DETECTOR)


def test_a_file_without_a_place(tree):
    with fits.open(tree / FOLDER / INNER, mode="update") as hdus:
        del hdus[0].header["CRVAL1P"]
    with pytest.raises(ResponseError, match=r"CRVAL1P is missing, 1069 belongs to this name"):
        read_prf_files(str(tree), DETECTOR)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[:-1], "the image is 116 x 117"),
        (lambda data: np.where(data > data.max() / 2, np.nan, data), "samples are not finite"),
        (lambda data: -data, r"the samples sum to -"),
    ],
)
def test_images_that_are_no_response(tree, spoil, message):
    path = tree / FOLDER / INNER
    with fits.open(path) as hdus:
        image = fits.PrimaryHDU(spoil(hdus[0].data), hdus[0].header)
    image.writeto(path, overwrite=True)
    with pytest.raises(ResponseError, match=rf"{INNER}: .*{message}"):
        read_prf_files(str(tree), DETECTOR)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>no</html>", "is no complete FITS file"),
        (b"", "is no complete FITS file"),
        (bytes(fits.PrimaryHDU().header.tostring(), "ascii"), "the first HDU holds no image"),
        ("cut", "is no complete FITS file"),
    ],
)
def test_files_that_are_not_fits(tree, content, message):
    path = tree / FOLDER / INNER
    path.write_bytes(path.read_bytes()[:60000] if content == "cut" else content)
    with pytest.raises(CorruptDownloadError, match=rf"{INNER}:? {message}.*another `prf_dir`"):
        read_prf_files(str(tree), DETECTOR)


@pytest.fixture
def server(tree):
    with FaultyServer(files_of(tree)) as server:
        yield server


def test_over_http_known_dates_are_tried(server):
    grid = read_prf_files(server.url, DETECTOR)
    assert grid.digest == prf_grid().digest
    assert grid.source == f"{server.url}{FOLDER}"
    assert server.hits.total() == 3 + 25
    assert server.hits[f"{FOLDER}/tess2019107181900-prf-3-3-row0001-col0045.fits"] == 1


@pytest.mark.parametrize("below", ["start_s0004", FOLDER])
def test_over_http_an_edition_or_the_files_alone(server, below):
    assert read_prf_files(f"{server.url}{below}", DETECTOR).digest == prf_grid().digest


def test_over_http_failures_are_sat_out(server):
    server.faults[f"{FOLDER}/{INNER}"] = [Status(503), Page()]
    assert read_prf_files(server.url, DETECTOR).digest == prf_grid().digest


def test_over_http_what_is_missing_is_named(server):
    del server.files[f"{FOLDER}/{INNER}"]
    with pytest.raises(ResponseError, match=rf"1 of 25 .* missing, {server.url}{FOLDER}/{INNER}"):
        read_prf_files(server.url, DETECTOR)
    server.files.clear()
    with pytest.raises(ResponseError, match=rf"no pixel response files .* in {server.url}{FOLDER}"):
        read_prf_files(server.url, DETECTOR)


def test_over_http_refusals_name_the_option(server):
    server.faults[f"{FOLDER}/{INNER}"] = [Status(403)] * 9
    with pytest.raises(ArchiveUnavailableError, match=r"access denied .* check `prf_dir`"):
        read_prf_files(server.url, DETECTOR)


def test_from_s3_by_listing(tree, monkeypatch):
    with s3_server(monkeypatch, "stpubdata") as client:
        for path, content in files_of(tree).items():
            newer = path.replace("2019107181902", "2031001000000")
            client.put_object(Bucket="stpubdata", Key=f"tess/prf/{newer}", Body=content)
        grid = read_prf_files("s3://stpubdata/tess/prf", DETECTOR)
    assert grid.name == "tess2031001000000-prf-3-3"
    assert grid.digest == prf_grid().digest


def test_kept_under_the_data_root_and_fetched_once(server, tmp_path):
    kept = Layout.under(str(tmp_path / "data"), DETECTOR).pixel_response
    first = keep_prf_grid(server.url, DETECTOR, kept, again=False)
    asked = server.hits.total()
    assert keep_prf_grid(server.url, DETECTOR, kept, again=False).digest == first.digest
    assert server.hits.total() == asked
    keep_prf_grid(server.url, DETECTOR, kept, again=True)
    assert server.hits.total() == 2 * asked
    keep_prf_grid(f"{server.url}start_s0004", DETECTOR, kept, again=False)
    assert server.hits.total() == 2 * asked


def test_folders_are_read_again(tree, tmp_path):
    kept = Place.at(tmp_path) / "kept.npz"
    first = keep_prf_grid(str(tree), DETECTOR, kept, again=False)
    path = tree / FOLDER / INNER
    with fits.open(path, mode="update") as hdus:
        hdus[0].data = hdus[0].data * 2
    assert keep_prf_grid(str(tree), DETECTOR, kept, again=False).digest != first.digest


@pytest.mark.parametrize(
    ("ccd", "lost"), [((1, 1, 4), 2.4e-2), ((20, 3, 3), 2.2e-2), ((20, 4, 3), 3.7e-2)]
)
def test_masts_own_files_are_taken_as_they_are(ccd, lost):
    """Noise from sample to sample is left out and told."""
    grid = read_prf_files(str(real("prf")), Detector(*ccd))
    response = PrfResponse(grid)
    assert response.cut == 1.5
    assert response.discarded == pytest.approx(lost, rel=0.03)
    widths = 2 * np.sqrt((grid.samples > grid.samples.max((2, 3), keepdims=True) / 2).sum((2, 3)))
    assert 1.55 < np.median(widths) / np.sqrt(np.pi) / 9 < 1.75


@pytest.mark.parametrize("line", [np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]])
def test_lines_of_zeros_at_the_edge_are_filled(tree, line):
    """Some files of MAST's lack one."""
    path = tree / FOLDER / INNER
    with fits.open(path, mode="update") as hdus:
        hdus[0].data[line] = 0
    (samples,) = read_prf_files(str(tree), DETECTOR).samples[1:2, 2]
    whole = prf_grid().samples[1, 2]
    assert samples[line].min() > 0
    np.testing.assert_allclose(samples, whole, atol=1e-5 * whole.max())


def test_sets_that_are_no_responses_are_refused_by_file(tree):
    for path in (tree / FOLDER).iterdir():
        with fits.open(path, mode="update") as hdus:
            hdus[0].data[:] = 1.0
    with pytest.raises(ResponseError, match=r"row0001-col0045\.fits: 0\.17 of the light is within"):
        read_prf_files(str(tree), DETECTOR)
