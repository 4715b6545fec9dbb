"""Stack files that are packed, unpacked, laid out otherwise or mixed up, one skycell at a time."""

import bz2
import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits
from servers import FaultyServer
from stackarchives import (
    as_floats,
    as_linear_floats,
    endless,
    enormous,
    files_of,
    gzip_inside,
    gzipped,
    renamed_by_fpack,
    set_cards,
    unpacked,
    unpacked_into_primary,
)

from syndiff.errors import ArchiveError, CorruptDownloadError, SkycellNotFoundError
from syndiff.sky.tessellation import Tessellation
from syndiff.stacks.archive import PACKINGS, fetch_skycell, stack_path
from syndiff.stacks.stackfile import open_stackfile
from syndiff.stacks.stackset import check_sets
from syndiff.transport.archive import Archive
from syndiff.transport.attempt import ArchiveConfig

NAME = "skycell.0001.001"
BANDS = ("r", "z")
STEM = f"0001/001/rings.v3.{NAME}.stk"


@pytest.fixture(scope="module")
def skycell(small_sky):
    return Tessellation.from_csv(small_sky.catalogue.read_bytes())[NAME]


@pytest.fixture
def archive(small_sky, tmp_path):
    """Two bands of a skycell."""
    root = tmp_path / "archive"
    for band in BANDS:
        for path in small_sky.archive.glob(f"{STEM}.{band}.*"):
            place = root / path.relative_to(small_sky.archive)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    return root


def fetch(where, skycell, *, allow_mixed=False, **options):
    def opened(data, **which):
        return open_stackfile(data, allow_mixed=allow_mixed, **which)

    with Archive(ArchiveConfig(str(where), backoff_s=0.01, **options)) as archive:
        files = fetch_skycell(archive, skycell, bands=BANDS, open_plane=opened)
    return check_sets(files, allow_mixed=allow_mixed)


@pytest.fixture(scope="module")
def original(small_sky, skycell):
    return fetch(small_sky.archive, skycell)[0]


def assert_same(files, original):
    assert set(files.planes) == set(original.planes)
    for key, file in files.planes.items():
        one, other = file.stack, original.planes[key].stack
        np.testing.assert_array_equal(one.rows(0, one.shape[0]), other.rows(0, one.shape[0]))
        np.testing.assert_array_equal(one.rows(7, 9), other.rows(7, 9))
        if key[1] != "mask":
            np.testing.assert_array_equal(one.value_table(), other.value_table())
        assert (one.exptime_s, one.mjd_obs) == (other.exptime_s, other.mjd_obs)


@pytest.mark.parametrize(
    "change",
    [gzipped, gzip_inside, renamed_by_fpack, unpacked, unpacked_into_primary],
    ids=lambda change: change.__name__,
)
def test_other_forms_are_the_same_bitwise(archive, skycell, original, change):
    for path in files_of(archive):
        change(path)
    assert_same(fetch(archive, skycell)[0], original)


def test_gzip_of_unpacked_files(archive, skycell, original):
    for path in files_of(archive):
        unpacked(path)
        gzipped(path)
    files, _ = fetch(archive, skycell)
    assert_same(files, original)
    assert files.planes["r", "mask"].source == str(archive / f"{STEM}.r.unconv.mask.fits.gz")


def test_gzip_in_many_parts(archive, skycell, original):
    """As bgzip writes it."""
    for path in files_of(archive):
        data = path.read_bytes()
        parts = (data[start : start + 10_000] for start in range(0, len(data), 10_000))
        path.write_bytes(b"".join(gzip.compress(part, 1) for part in parts))
    assert_same(fetch(archive, skycell)[0], original)


def test_bytes_after_a_whole_gzip_do_no_harm(archive, skycell, original):
    for path in files_of(archive):
        gzip_inside(path)
        path.write_bytes(path.read_bytes() + b"junk" * 100)
    assert_same(fetch(archive, skycell)[0], original)


def fluxes(stack):
    return stack.value_table()[stack.rows(0, stack.shape[0]).view(np.uint16)]


@pytest.mark.parametrize("change", [as_floats, as_linear_floats])
def test_values_are_coded_as_finely_as_the_survey_does(archive, skycell, original, change):
    for path in files_of(archive):
        change(path)
    files, _ = fetch(archive, skycell)
    for (band, plane), file in files.planes.items():
        other = original.planes[band, plane].stack
        if plane == "mask":
            np.testing.assert_array_equal(file.stack.rows(0, 800), other.rows(0, 800))
            continue
        found, expected = fluxes(file.stack), fluxes(other)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        typical = np.nanmedian(np.abs(expected))
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=5e-4 * typical)
        assert file.stack.is_linear == (change is as_linear_floats)


def test_absurd_values_do_not_coarsen_the_others(archive, skycell, original):
    path = archive / f"{STEM}.r.unconv.fits"
    as_linear_floats(path)
    with fits.open(path, mode="update") as hdus:
        hdus[0].data[400, 400:404] = [1e30, -1e30, np.inf, -np.inf]
    as_linear_floats(archive / f"{STEM}.r.unconv.wt.fits")
    found = fluxes(fetch(archive, skycell)[0].planes["r", "image"].stack)
    expected = fluxes(original.planes["r", "image"].stack)
    assert (np.abs(found[400, 400:404]) > [1e5, 2e3, 1e5, 2e3]).all()
    others = np.ones(found.shape, bool)
    others[400, 400:404] = False
    np.testing.assert_allclose(found[others], expected[others], rtol=5e-4, atol=1e-4)


def test_floats_with_a_scaling_are_refused(archive, skycell):
    path = archive / f"{STEM}.r.unconv.fits"
    as_floats(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CELL.BAD =", b"CELL.BAX =", 1))
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header["BSCALE"] = 1.9e-4
        hdus[0].header["BZERO"] = 0.0
    with pytest.raises(ArchiveError, match=r"BSCALE is 0.00019, expected 1 for floating-point"):
        fetch(archive, skycell)


@pytest.mark.parametrize("where", ["", "mirror", "projection"])
def test_layouts(archive, skycell, original, tmp_path, where):
    root = tmp_path / "other"
    target = {
        "": root,
        "mirror": root / "ps1images.stsci.edu" / "rings.v3.skycell" / "0001" / "001",
        "projection": root / "0001",
    }[where]
    target.mkdir(parents=True)
    for path in files_of(archive):
        shutil.copy(path, target)
    assert_same(fetch(root, skycell)[0], original)


@pytest.mark.parametrize(("suffix", "encoding"), [(".gz", None), ("", None), ("", "gzip")])
def test_gzip_from_a_server(archive, skycell, original, suffix, encoding):
    content = {
        f"{path.relative_to(archive)}{suffix}": gzip.compress(path.read_bytes(), 1)
        for path in files_of(archive)
    }
    with FaultyServer(content) as server:
        server.encoding = encoding
        assert_same(fetch(server.url, skycell)[0], original)


def test_a_server_that_calls_plain_files_compressed(archive, skycell, original):
    content = {str(p.relative_to(archive)): p.read_bytes() for p in files_of(archive)}
    with FaultyServer(content) as server:
        server.encoding = "gzip"
        assert_same(fetch(server.url, skycell)[0], original)


def test_packed_names_are_asked_for_until_the_server_had_one(archive):
    path = stack_path(NAME, "r", "image")
    with FaultyServer({path: b""}) as server, Archive(ArchiveConfig(server.url)) as remote:
        with pytest.raises(SkycellNotFoundError, match=r"\.i\.unconv\.fits: the archive does not"):
            remote.fetch(stack_path(NAME, "i", "image"), bytes, endings=PACKINGS)
        assert server.hits.total() == 3
        remote.fetch(path, lambda download: download, endings=PACKINGS)
        with pytest.raises(SkycellNotFoundError):
            remote.fetch(stack_path(NAME, "i", "image"), bytes, endings=PACKINGS)
        assert server.hits.total() == 5


def cut(path):
    gzip_inside(path)
    path.write_bytes(path.read_bytes()[:-2000])


def spoilt(path):
    gzip_inside(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def wrong_sum(path):
    gzip_inside(path)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)


def doubly(path):
    gzip_inside(path)
    gzip_inside(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "is truncated: its .* bytes of gzip end before the file in it does"),
        (spoilt, "is gzip that can't be unpacked"),
        (wrong_sum, "is gzip that can't be unpacked .*checksum"),
        (endless, "its gzip stream continues for more than 16 MB after the image"),
        (enormous, "its header demands 80000003520 bytes, expected at most 6168576 for 640000"),
        (doubly, "is packed by gzip a second time; plain FITS, .*: unpack it"),
        (lambda path: path.write_bytes(bz2.compress(path.read_bytes())), "packed by bzip2"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:40000]),
            "is truncated: it has 40000 bytes, its headers demand",
        ),
        (lambda path: path.write_bytes(b""), "is empty, expected a FITS file"),
        (lambda path: path.write_bytes(b"<html>"), "is an HTML page"),
    ],
    ids=[
        *("cut", "spoilt", "sum", "endless", "enormous", "doubly", "bzip2", "half", "empty"),
        "page",
    ],
)
def test_a_local_file_is_refused_at_once_and_truly(archive, skycell, spoil, message):
    path = archive / f"{STEM}.r.unconv.fits"
    spoil(path)
    with pytest.raises(CorruptDownloadError, match=message) as caught:
        fetch(archive, skycell)
    assert str(path) in str(caught.value)
    assert "attempt" not in str(caught.value)


def exptime(archive, plane, factor):
    path = archive / f"{STEM}.r.unconv{plane}.fits"
    set_cards(path, EXPTIME=fits.getheader(path, 1)["EXPTIME"] * factor)


def change_card(plane, **cards):
    return lambda archive: set_cards(archive / f"{STEM}.r.unconv{plane}.fits", **cards)


def variance_of_z(archive):
    shutil.copy(archive / f"{STEM}.z.unconv.wt.fits", archive / f"{STEM}.r.unconv.wt.fits")


MIXED = {
    "variance's time": (
        lambda archive: exptime(archive, ".wt", 0.5),
        r"band r: EXPTIME is \S+ s in .*wt.fits, \S+ s in .*unconv.fits: the files are not of one",
    ),
    "mask's time": (
        lambda archive: exptime(archive, ".mask", 2),
        r"band r: EXPTIME is \S+ s in .*mask.fits, \S+ s in ",
    ),
    "band": (variance_of_z, "FPA.FILTERID is 'z.00000', expected band 'r' as in the image"),
    "skycell": (
        change_card(".mask", SKYCELL="skycell.0001.000"),
        "SKYCELL is 'skycell.0001.000', expected 'skycell.0001.001' as in the image",
    ),
    "WCS": (
        change_card(".wt", CRPIX1=12.0),
        "CRPIX1 is 12.0, expected .* within 0.01 px as in the image",
    ),
    "zero point": (
        change_card(".wt", **{"FPA.ZP": 24.0}),
        "FPA.ZP is 24.0, expected 25.0 as in the image",
    ),
    "scaling": (
        change_card(".wt", BSOFTEN="NaN", BOFFSET="NaN"),
        r"wt.fits has no BOFFSET and BSOFTEN, .*fits has BOFFSET and BSOFTEN",
    ),
}


@pytest.mark.parametrize("what", MIXED)
def test_files_of_other_stacks_are_refused_unless_allowed(archive, skycell, original, what):
    mix, message = MIXED[what]
    mix(archive)
    with pytest.raises(ArchiveError, match=message) as caught:
        fetch(archive, skycell)
    assert "`allow_mixed`" in str(caught.value)
    files, found = fetch(archive, skycell, allow_mixed=True)
    assert list(found) == ["r"]
    assert all(isinstance(text, str) for text in found["r"])
    variance, image = (files.planes["r", plane].stack for plane in ("variance", "image"))
    assert variance.exptime_s == image.exptime_s == original.planes["r", "image"].stack.exptime_s
    if what == "variance's time":
        assert_same(files, original)


@pytest.mark.parametrize("change", [{"SKYCELL": "skycell.0001.000"}, {"FPA.FILTERID": "z.00000"}])
def test_an_image_of_another_stack_is_always_refused(archive, skycell, change):
    change_card("", **change)(archive)
    with pytest.raises(ArchiveError, match=f"{next(iter(change))} is") as caught:
        fetch(archive, skycell, allow_mixed=True)
    assert "`allow_mixed`" not in str(caught.value)


def test_an_image_of_another_size_is_always_refused(archive, skycell):
    path = archive / f"{STEM}.r.unconv.mask.fits"
    set_cards(path, ZNAXIS1=801)
    with pytest.raises(ArchiveError, match="ZNAXIS1 is 801, expected 800"):
        fetch(archive, skycell, allow_mixed=True)


@pytest.mark.parametrize("allow_mixed", [False, True])
def test_one_file_given_twice_is_refused(archive, skycell, allow_mixed):
    shutil.copy(archive / f"{STEM}.r.unconv.fits", archive / f"{STEM}.r.unconv.wt.fits")
    with pytest.raises(ArchiveError, match=r"band r: .*wt.fits is the same file as .*unconv.fits"):
        fetch(archive, skycell, allow_mixed=allow_mixed)


def test_last_digits_and_what_changes_no_flux_may_differ(archive, skycell, original):
    for path in files_of(archive):
        if path.name.endswith(".wt.fits"):
            header = fits.getheader(path, 1)
            set_cards(
                path,
                **{
                    "EXPTIME": header["EXPTIME"] * (1 + 1e-7),
                    "CRVAL1": header["CRVAL1"] + 1e-10,
                    "STK_TYPE": "OTHER",
                    "MJD-OBS": header["MJD-OBS"] + 0.01,
                },
            )
    files, found = fetch(archive, skycell)
    assert found == {}
    image, variance = (files.planes["r", plane].stack for plane in ("image", "variance"))
    assert variance.mjd_obs == pytest.approx(image.mjd_obs + 0.01)
    for key, file in files.planes.items():
        np.testing.assert_array_equal(
            file.stack.rows(0, 800), original.planes[key].stack.rows(0, 800)
        )
