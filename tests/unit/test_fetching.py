"""FFIs from servers: what a region needs of them, bitwise the same, whatever the server does."""

import gzip
import logging

import numpy as np
import pytest
from astropy.io import fits
from ffifiles import SHAPE, SPOC_NAME, primary_header, real_header, tica_header, uncertainty_header
from servers import HTML, FaultyServer, LyingPart, Status, s3_server

from syndiff.errors import ArchiveUnavailableError, ConfigError, ObservationError
from syndiff.ffi.observation import read_observation
from syndiff.frames.fetching import fetch_frames
from syndiff.frames.region_frame import read_frame
from syndiff.layout import Detector, Layout
from syndiff.transport.attempt import ArchiveConfig
from syndiff.window import Window

WINDOW = Window(1000, 900, 1064, 964)
TICA_NAME = "hlsp_tica_tess_ffi_s0002-o1-00116470-cam1-ccd2_tess_v01_img.fits"
QUICK = ArchiveConfig(option="the address", retries=3, backoff_s=0.001)


def hdu(kind, header, rng, low):
    pixels = rng.normal(low + 100, low / 30, SHAPE).astype(">f4")
    return kind(pixels, header)


def packed(*hdus, checksum=True):
    for one in hdus if checksum else ():
        one.add_checksum()
    return b"".join(h.header.tostring().encode() + _data(h) for h in hdus)


def _data(one):
    octets = b"" if one.data is None else one.data.tobytes()
    return octets + bytes(-len(octets) % 2880)


@pytest.fixture(scope="module")
def ffi():
    """A SPOC FFI with noise in all of its pixels and a few that are stuck."""
    rng = np.random.default_rng(5)
    image = hdu(fits.ImageHDU, real_header(), rng, 300.0)
    image.data[930:940, 1010] = 123.5
    image.data[950, 1020] = np.nan
    return packed(
        fits.PrimaryHDU(header=primary_header()),
        image,
        hdu(fits.ImageHDU, uncertainty_header(), rng, 30.0),
    )


@pytest.fixture(scope="module")
def whole(ffi, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / SPOC_NAME
    path.write_bytes(ffi)
    return path


@pytest.fixture
def layout(tmp_path):
    return Layout.under(str(tmp_path / "root"), Detector(2, 1, 2))


@pytest.fixture
def server(ffi):
    with FaultyServer({SPOC_NAME: ffi}) as running:
        running.gives_ranges = True
        yield running


def fetch(server, layout, window=WINDOW, name=SPOC_NAME):
    (found,) = fetch_frames([server.url + name], window, layout, patience=QUICK)
    return found


def assert_same_frame(path, whole, window=WINDOW):
    """Pixels, dead ones, header and WCS are those of the whole file."""
    kept, told = read_frame(path, window), read_frame(whole, window)
    for plane in ("image", "uncertainty", "saturated", "dead"):
        np.testing.assert_array_equal(getattr(kept.pixels, plane), getattr(told.pixels, plane))
    assert kept.pixels.dead.any()
    assert (kept.name.removesuffix(".gz"), kept.time, kept.quality, kept.frame) == (
        told.name,
        told.time,
        told.quality,
        told.frame,
    )
    part, all_of_it = read_observation(path), read_observation(whole)
    np.testing.assert_array_equal(part.read_image(window), all_of_it.read_image()[window.slices])
    np.testing.assert_array_equal(
        part.read_uncertainty(window=window), all_of_it.read_uncertainty()[window.slices]
    )


def test_a_region_costs_its_rows_and_is_bitwise_the_whole_ffis(server, layout, whole):
    found = fetch(server, layout)
    assert found.problem == ""
    assert found.fetched_bytes == server.sent_bytes < 1.5e6
    assert server.hits[SPOC_NAME] == 4
    assert_same_frame(found.path, whole)


def test_other_targets_share_what_is_kept(server, layout, whole):
    fetch(server, layout)
    inside, beside, apart = (
        Window(x, y, x + 40, y + 40) for x, y in ((60, 910), (300, 940), (1400, 30))
    )
    assert fetch(server, layout, inside).fetched_bytes == 0
    assert fetch(server, layout, beside).fetched_bytes == 2 * 4 * 2136 * 16
    assert fetch(server, layout, apart).fetched_bytes == 2 * 4 * 2136 * 48
    for window in (inside, beside, apart):
        kept, told = (
            read_frame(str(layout.kept_ffi_part(SPOC_NAME)), window),
            read_frame(whole, window),
        )
        np.testing.assert_array_equal(kept.pixels.image, told.pixels.image)
    assert [name for name, _ in layout.ffis.walk()] == [f"{SPOC_NAME}.part.zip"]


def test_what_is_not_kept_is_an_error_not_zeros(server, layout):
    path = fetch(server, layout).path
    with pytest.raises(
        ObservationError, match=r"rows 1996 to 2047 of HDU 1 can't be read.*only parts"
    ):
        read_frame(path, Window(1000, 2000, 1064, 2048))
    with pytest.raises(ObservationError, match="holds some rows of"):
        read_observation(path).read_image()


@pytest.mark.parametrize(
    ("how", "request_number"),
    [
        ("from elsewhere", 0),
        ("shorter", 1),
        ("fewer bytes than said", 2),
        ("cut off", 3),
        ("no place", 1),
        ("no size", 2),
        ("from elsewhere", 3),
    ],
)
def test_a_part_that_is_not_what_was_asked_for_is_asked_for_again(
    server, layout, whole, how, request_number
):
    server.faults[SPOC_NAME] = [None] * request_number + [LyingPart(how)]
    found = fetch(server, layout)
    assert found.problem == ""
    assert server.hits[SPOC_NAME] == 5
    if request_number == 3:
        assert_same_frame(found.path, whole)


def test_a_server_that_goes_on_lying_is_told(server, layout):
    server.faults[SPOC_NAME] = [LyingPart("from elsewhere")] * 99
    problem = fetch(server, layout).problem
    assert "bytes 0-23039 were asked for, and 2880-25919 of" in problem
    assert "(after 3 attempts" in problem
    assert not list(layout.ffis.walk())


@pytest.mark.parametrize("request_number", [1, 2, 3])
def test_a_file_that_changes_meanwhile_is_fetched_from_its_start(
    server, layout, tmp_path, ffi, request_number
):
    changed = bytearray(ffi)
    changed[-5000:-4996] = b"1234"

    def answers(path, ask=server.next_fault):
        fault = ask(path)
        if server.hits[path] == request_number + 1:
            server.files[path] = bytes(changed)
        return fault

    server.next_fault = answers
    found = fetch(server, layout)
    assert found.problem == ""
    again = tmp_path / "again" / SPOC_NAME
    again.parent.mkdir()
    again.write_bytes(changed)
    assert_same_frame(found.path, again)


def test_rows_of_two_states_of_a_file_are_never_joined(server, layout, ffi, caplog):
    fetch(server, layout)
    changed = bytearray(ffi)
    changed[4_000_000:4_000_004] = b"1234"
    server.files[SPOC_NAME] = bytes(changed)
    other = Window(1000, 300, 1064, 364)
    with caplog.at_level(logging.WARNING):
        found = fetch(server, layout, other)
    assert "is fetched again" in caplog.text
    assert read_frame(found.path, other)
    with pytest.raises(ObservationError, match="only parts are held"):
        read_frame(found.path, WINDOW)


def test_a_file_of_another_size_each_time_is_given_up(server, layout):
    server.faults[SPOC_NAME] = [None, LyingPart("another size")] * 9
    assert "was changed while parts of it were fetched" in fetch(server, layout).problem


@pytest.mark.parametrize("lie", ["whole", "gzip"])
def test_servers_without_ranges_give_the_whole_file_once(server, layout, whole, lie):
    if lie == "whole":
        server.gives_ranges = False
    else:
        server.faults[SPOC_NAME] = [LyingPart("gzip")]
    found = fetch(server, layout)
    assert found.path == str(layout.kept_ffi(SPOC_NAME))
    assert_same_frame(found.path, whole)
    hits = server.hits[SPOC_NAME]
    assert fetch(server, layout, Window(100, 100, 120, 120)).fetched_bytes == 0
    assert server.hits[SPOC_NAME] == hits == 2


def test_another_ffi_under_the_name_is_refused(layout, ffi):
    name = SPOC_NAME.replace("-1-2-", "-1-3-")
    with FaultyServer({name: ffi}) as server:
        server.gives_ranges = True
        problem = fetch(server, layout, name=name).problem
    assert "CCD is 2 in HDU 1, 3 in the file's name" in problem


def test_an_ffi_of_another_hour_under_the_name_is_refused(layout, ffi):
    name = SPOC_NAME.replace("tess2018235142541", "tess2018236142541")
    with FaultyServer({name: ffi}) as server:
        server.gives_ranges = True
        problem = fetch(server, layout, name=name).problem
    assert "begins 2018-08-23 14:" in problem
    assert "another FFI" in problem


def test_pages_and_noise_instead_of_an_ffi_are_told(server, layout, ffi):
    server.files["page"] = HTML * 3
    assert "is not a FITS file" in fetch(server, layout, name="page").problem
    rng = np.random.default_rng(1)
    start = ffi.index(b"XTENSION") + 17280
    noise = rng.integers(0, 256, len(ffi) - start, np.uint8).tobytes()
    server.files[SPOC_NAME] = (
        ffi[:start] + noise[: 4 * 2078 * 2136] + ffi[start + 4 * 2078 * 2136 :]
    )
    assert "beyond what a pixel can hold" in fetch(server, layout).problem


def test_a_large_region_takes_the_whole_file_and_checks_its_sums(server, layout, ffi, whole):
    large = Window(44, 0, 2092, 1500)
    spoilt = bytearray(ffi)
    spoilt[-10_000] ^= 1
    server.files[SPOC_NAME] = bytes(spoilt)
    problem = fetch(server, layout, large).problem
    assert "Datasum verification failed" in problem
    assert not list(layout.ffis.walk())
    server.files[SPOC_NAME] = ffi
    found = fetch(server, layout, large)
    assert found.path == str(layout.kept_ffi(SPOC_NAME))
    assert_same_frame(found.path, whole, large)


def test_packed_ffis_come_whole(server, layout, ffi, whole):
    server.files[f"{SPOC_NAME}.gz"] = gzip.compress(ffi, 0)
    found = fetch(server, layout, name=f"{SPOC_NAME}.gz")
    assert_same_frame(found.path, whole)


def test_tica_has_one_plane(layout, tmp_path):
    rng = np.random.default_rng(2)
    content = packed(hdu(fits.PrimaryHDU, tica_header(), rng, 3e5))
    path = tmp_path / TICA_NAME
    path.write_bytes(content)
    with FaultyServer({TICA_NAME: content}) as server:
        server.gives_ranges = True
        found = fetch(server, layout, name=TICA_NAME)
    assert found.fetched_bytes < 0.8e6
    kept, told = read_frame(found.path, WINDOW), read_frame(path, WINDOW)
    np.testing.assert_array_equal(kept.pixels.image, told.pixels.image)
    np.testing.assert_array_equal(kept.pixels.uncertainty, told.pixels.uncertainty)
    assert kept.pixels.is_estimated
    assert kept.time.scale == "TJD"


def test_ffis_in_a_bucket_are_had_by_ranges(layout, ffi, whole, monkeypatch):
    key = f"tess/public/ffi/s0002/2018/235/1-2/{SPOC_NAME}"
    with s3_server(monkeypatch, "frames-bucket", acl="public-read") as client:
        client.put_object(Bucket="frames-bucket", Key=key, Body=ffi, ACL="public-read")
        sources = [f"s3://frames-bucket/{key}", f"s3://frames-bucket/{key}-absent"]
        found, absent = fetch_frames(sources, WINDOW, layout, patience=QUICK)
    assert 1.2e6 < found.fetched_bytes < 1.5e6
    assert_same_frame(found.path, whole)
    assert "there is no such file (404)" in absent.problem


def test_local_files_are_not_copied_and_absent_ones_are_told(server, layout, whole):
    sources = [str(whole), server.url + "nowhere.fits", server.url + SPOC_NAME]
    local, absent, remote = fetch_frames(sources, WINDOW, layout, patience=QUICK)
    assert local.path == str(whole)
    assert "404" in absent.problem
    assert remote.path


def test_interrupted_runs_go_on_and_a_damaged_part_is_fetched_again(server, layout, caplog):
    fetch(server, layout)
    place = layout.kept_ffi_part(SPOC_NAME)
    place.write(place.read()[:-3000])
    assert fetch(server, layout).fetched_bytes > 1e6
    assert "is no whole file of parts" in caplog.text
    assert fetch(server, layout).fetched_bytes == 0


def test_a_server_that_is_down_is_not_asked_for_all(server, layout):
    names = [f"{n}.fits" for n in range(50)]
    for name in names:
        server.files[name] = b""
        server.faults[name] = [Status(503)] * 9
    urls = [server.url + name for name in names]
    with pytest.raises(ArchiveUnavailableError, match=r"503 .*What is done is kept"):
        list(
            fetch_frames(
                urls,
                WINDOW,
                layout,
                patience=ArchiveConfig(retries=1, backoff_s=0.001, connections=2),
            )
        )
    assert len(server.hits) < 20


def test_regions_beside_the_science_pixels_are_refused(server, layout):
    with pytest.raises(ConfigError, match="doesn't lie in the science pixels"):
        fetch(server, layout, Window(0, 0, 64, 64))
