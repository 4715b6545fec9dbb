"""FFIs that are whole but unusual: read, or refused by a sentence that is true for the file."""

import bz2
import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from ffifiles import (
    SHAPE,
    SPOC_NAME,
    TICA_NAME,
    primary_header,
    real_header,
    tica_header,
    uncertainty_header,
    write,
    write_spoc,
    write_tica,
)
from servers import HTML, FaultyServer, Status, Truncate, s3_server

from syndiff import read_observation
from syndiff.errors import ArchiveUnavailableError, ConfigError, ObservationError
from syndiff.ffi import ffi_file
from syndiff.transport.addresses import name_at
from syndiff.transport.archive import locate
from syndiff.transport.attempt import ArchiveConfig

LOSSLESS = {"compression_type": "GZIP_1", "quantize_level": 0}
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "real"


def refusal(path):
    with pytest.raises(ObservationError) as caught:
        read_observation(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def pixels():
    """Noise of 5 around 137, and an uncertainty."""
    image = np.tile(np.random.default_rng(3).normal(137, 5, (1, SHAPE[1])), (SHAPE[0], 1))
    return image.astype(np.float32), np.full(SHAPE, 5, np.float32)


def save(path, *hdus):
    fits.HDUList(list(hdus)).writeto(path)
    return path


# --- compressed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options", "is_rounded"),
    [
        ("RICE_1", {"quantize_level": 16}, True),
        ("RICE_1", {"quantize_level": 4, "quantize_method": 2}, True),
        ("GZIP_2", {"quantize_level": 0}, False),
    ],
)
def test_compressed_tiles_are_read(tmp_path, method, options, is_rounded):
    image, uncertainty = pixels()
    tiled = [
        fits.CompImageHDU(plane, header, compression_type=method, **options)
        for plane, header in ((image, real_header()), (uncertainty, uncertainty_header()))
    ]
    path = save(tmp_path / f"{SPOC_NAME}.fz", fits.PrimaryHDU(header=primary_header()), *tiled)
    observation = read_observation(path)
    assert (observation.kind, observation.image_hdu, observation.uncertainty_hdu) == ("SPOC", 1, 2)
    plain = read_observation(write_spoc(tmp_path))
    assert observation.frame == plain.frame
    step = ffi_file.FfiFile(str(path)).rounding_step(1)
    assert np.abs(observation.read_image() - image).max() <= 1.01 * step
    np.testing.assert_allclose(observation.read_uncertainty(), uncertainty)
    if is_rounded:
        assert 0.1 < step < 3
        assert f"rounded to steps of up to {step:.3g} electrons/s" in observation.remarks[0]
    else:
        assert step == 0
        assert observation.remarks == ()


def test_compressed_tica_image_comes_after_an_empty_hdu(tmp_path):
    tiled = fits.CompImageHDU(pixels()[0], tica_header(), **LOSSLESS)
    observation = read_observation(save(tmp_path / f"{TICA_NAME}.fz", fits.PrimaryHDU(), tiled))
    assert (observation.kind, observation.image_hdu) == ("TICA", 1)
    np.testing.assert_array_equal(observation.read_image(), pixels()[0])


def test_damaged_compressed_tile(tmp_path):
    tiled = fits.CompImageHDU(pixels()[0], real_header(), **LOSSLESS)
    path = save(tmp_path / f"{SPOC_NAME}.fz", fits.PrimaryHDU(header=primary_header()), tiled)
    content = bytearray(path.read_bytes())
    content[-1_000_000:-900_000] = b"\x55" * 100_000
    path.write_bytes(content)
    with pytest.raises(ObservationError, match="HDU 1 can't be read"):
        read_observation(path).read_image()


@pytest.mark.parametrize(
    ("module", "name"), [(gzip, SPOC_NAME), (bz2, f"{SPOC_NAME}.packed"), (lzma, f"{SPOC_NAME}.xz")]
)
def test_files_compressed_as_a_whole_go_by_their_content(tmp_path, module, name):
    content = write_spoc(tmp_path, "plain.fits").read_bytes()
    path = tmp_path / name
    path.write_bytes(module.compress(content, **({} if module is lzma else {"compresslevel": 1})))
    observation = read_observation(path)
    assert observation.frame.detector.sector == 2
    assert not observation.read_image().any()
    path.write_bytes(path.read_bytes()[:-300])
    assert "is truncated, its compressed stream (gzip, bzip2 or xz) has no end" in refusal(path)


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"PK\x03\x04", "a zip archive: unpack it"),
        (b"\x28\xb5\x2f\xfd", "packed by zstd"),
        (b"\x1f\x9d", "packed by compress"),
        (HTML, "a web page"),
        (b"\n\n <html>", "a web page"),
        (b"\x89HDF\r\n", "an HDF5 file"),
    ],
)
def test_other_files_under_the_name_of_an_ffi(tmp_path, start, what):
    path = tmp_path / SPOC_NAME
    path.write_bytes(start + bytes(5000))
    assert f"is not a FITS file, it begins with {(start + bytes(9))[:9]!r} ({what}" in refusal(path)


# --- which HDU is what ----------------------------------------------------------------------


def empty():
    return primary_header()


def nameless(header):
    header.remove("IMAGTYPE")
    header.remove("EXTNAME")
    return header


def first(header):
    """The same header for HDU 0."""
    for keyword in ("XTENSION", "PCOUNT", "GCOUNT", "INHERIT"):
        header.remove(keyword, ignore_missing=True)
    header.insert(0, ("SIMPLE", True))
    return header


def other(name, **changes):
    return real_header(EXTNAME=name, IMAGTYPE=None, **changes)


def table():
    return fits.BinTableHDU.from_columns([fits.Column("A", "J", array=[1])]).header


@pytest.mark.parametrize(
    ("headers", "image", "uncertainty"),
    [
        ((empty(), real_header(), uncertainty_header()), 1, 2),
        ((empty(), real_header()), 1, None),
        ((primary_header(NEXTEND=2), real_header()), 1, None),
        ((first(real_header()),), 0, None),
        ((first(real_header()), uncertainty_header()), 0, 1),
        ((empty(), uncertainty_header(), real_header()), 2, 1),
        ((empty(), other("BACKGROUND"), real_header(), uncertainty_header()), 2, 3),
        ((empty(), real_header(), other("BACKGROUND")), 1, None),
        ((empty(), real_header(), other("MASK"), uncertainty_header()), 1, 3),
        ((empty(), real_header(), table(), uncertainty_header()), 1, 3),
        ((empty(), real_header(IMAGTYPE=None), uncertainty_header()), 1, 2),
        ((empty(), real_header(EXTNAME=None), uncertainty_header()), 1, 2),
        ((empty(), other("SCI"), other("ERR")), 1, 2),
        ((empty(), nameless(real_header())), 1, None),
    ],
)
def test_planes_go_by_what_they_say_they_are(tmp_path, headers, image, uncertainty):
    path = write(tmp_path / SPOC_NAME, *headers)
    observation = read_observation(path)
    assert (observation.image_hdu, observation.uncertainty_hdu) == (image, uncertainty)
    assert observation.remarks == ()


def test_uncertainty_without_a_name_is_told(tmp_path):
    path = write(tmp_path / SPOC_NAME, empty(), *(nameless(real_header()) for _ in range(2)))
    observation = read_observation(path)
    assert (observation.image_hdu, observation.uncertainty_hdu) == (1, 2)
    assert "HDU 2 is taken for the uncertainty" in observation.remarks[0]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ((empty(), real_header(), real_header()), "doesn't tell which HDU is the calibrated image"),
        ((empty(), other("A"), other("B")), "HDU 1 'A': 2136 x 2078 pixels, HDU 2 'B'"),
        (
            (empty(), real_header(), uncertainty_header(), uncertainty_header()),
            "doesn't tell which HDU is the uncertainty",
        ),
        ((empty(), uncertainty_header()), "HDU 1 is an uncertainty, and its image is not there"),
        ((empty(), real_header(IMAGTYPE="raw")), "IMAGTYPE is 'raw', expected 'cal'"),
        ((empty(), other("CAMERA.CCD 1.2 raw")), "EXTNAME is 'CAMERA.CCD 1.2 raw', expected"),
        (
            (empty(), real_header(NAXIS1=173, NAXIS2=128), uncertainty_header(NAXIS1=128)),
            "1.2 uncert': 128 x 2078 pixels): cutouts and trimmed images are not FFIs",
        ),
        ((empty(), real_header(NAXIS1=2078, NAXIS2=2136)), "1.2 cal': 2078 x 2136 pixels"),
        ((empty(), table()), "(HDU 0: empty, HDU 1: a table): it is no FFI"),
    ],
)
def test_files_whose_image_is_not_there_or_not_told(tmp_path, headers, message):
    assert message in refusal(write(tmp_path / SPOC_NAME, *headers))


def test_target_pixel_file(tmp_path):
    columns = [fits.Column(name, "4E", dim="(2,2)", array=np.zeros((1, 4))) for name in ("FLUX",)]
    columns.append(fits.Column("TIME", "D", array=[1.0]))
    path = save(tmp_path / "tp.fits", fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns))
    assert "target pixel files and TESScut cutouts are not FFIs" in refusal(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "tess2018206192942-s0001-1-4-0120-s_ffic.fits",
            "HDU 1 'CAMERA.CCD 1.4 cal': 173 x 128 pixels",
        ),
        ("tesscut/*.fits", "target pixel files and TESScut cutouts are not FFIs"),
    ],
)
def test_real_files_that_are_no_ffis(name, message):
    paths = sorted(REAL.glob(name))
    if not paths:
        pytest.skip(f"needs {REAL / name}")
    assert message in refusal(paths[0])


def test_estimated_noise_is_that_of_a_real_ffi(tmp_path):
    """The corner's own uncertainty (columns 0-127, as its noise tells) against the estimate."""
    paths = sorted(REAL.glob("tess2018206192942-*_ffic.fits"))
    if not paths:
        pytest.skip(f"needs {REAL}")
    image = np.zeros(SHAPE, np.float32)
    with fits.open(paths[0]) as hdus:
        image[:128, :173] = hdus[1].data
        stated, header = np.array(hdus[2].data), hdus[1].header
        whole = fits.HDUList([hdus[0], fits.ImageHDU(image, header)])
        whole.writeto(tmp_path / paths[0].name)
    observation = read_observation(tmp_path / paths[0].name)
    assert observation.frame.detector.arguments == "1 1 4"
    ratio = stated[:, 44:] / observation.read_uncertainty(image)[:128, 44:128]
    # It leaves out what calibration adds: 3 to 5 %.
    assert 1.02 < np.percentile(ratio, 1) < np.percentile(ratio, 99) < 1.06


@pytest.mark.parametrize("kind", ["i2", "u2", "i4", "f8", "scaled"])
def test_numbers_of_any_kind(tmp_path, kind):
    values = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % 1000
    values = values.astype("i2" if kind == "scaled" else kind)
    hdu = fits.ImageHDU(values, real_header())
    if kind == "scaled":
        hdu.header["BLANK"] = 999
        hdu.header["BSCALE"], hdu.header["BZERO"] = 0.5, 100.0
    path = save(tmp_path / SPOC_NAME, fits.PrimaryHDU(header=empty()), hdu)
    image = read_observation(path).read_image()
    assert image.dtype == np.float32
    assert image.dtype.isnative
    if kind == "scaled":
        assert np.isnan(image[0, 999])
        assert image[0, 7] == 103.5
    else:
        np.testing.assert_array_equal(image, values)


# --- cards ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1.0, "1", "1.0", " 1 "])
def test_numbers_as_floats_or_text(tmp_path, value):
    assert read_observation(write_spoc(tmp_path, CAMERA=value)).frame.detector.camera == 1
    path = write_spoc(tmp_path, SPOC_NAME.replace("-1-2-", "-3-2-"), CAMERA=value)
    assert "CAMERA is 1 in HDU 1, 3 in the file's name" in refusal(path)


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        (f"{SPOC_NAME}.1", True),
        (SPOC_NAME.replace(".fits", " (1).fits"), True),
        (f"copy-of-{SPOC_NAME.upper()}", True),
        ("ffi.fits", False),
    ],
)
def test_sector_by_the_name_alone(tmp_path, name, is_known):
    path = write_spoc(tmp_path, name, primary={"SECTOR": None})
    if is_known:
        assert read_observation(path).frame.detector.sector == 2
    else:
        assert "SECTOR is missing, expected in the header or the file's name, as MAST" in refusal(
            path
        )


@pytest.mark.parametrize("value", ["electrons", "DN", "ADU"])
def test_unit_that_would_be_taken_for_another(tmp_path, value):
    path = write_spoc(tmp_path, BUNIT=value)
    assert f"BUNIT is {value!r}, expected 'electrons/s'" in refusal(path)


def test_tica_before_its_calibration(tmp_path):
    assert "UNITS is 'ADU', expected 'electrons'" in refusal(write_tica(tmp_path, UNITS="ADU"))


def test_no_exposure(tmp_path):
    assert "EXPOSURE is 0.0, expected above 0" in refusal(write_spoc(tmp_path, EXPOSURE=0.0))


def test_value_that_is_none_of_fits(tmp_path):
    def unquoted(data):
        return data.replace(b"'cal     '", b"cal       ")

    path = write_spoc(tmp_path, edit=unquoted, EXTNAME=None)
    assert "IMAGTYPE holds what is no FITS value" in refusal(path)


def test_pipe_instead_of_a_file(tmp_path):
    import os

    os.mkfifo(tmp_path / SPOC_NAME)
    assert "is not a file but a pipe or device" in refusal(tmp_path / SPOC_NAME)


def test_long_texts_over_several_cards(tmp_path):
    path = write_spoc(tmp_path, ORIGFILE="https://mast.stsci.edu/" + 40 * "longer/")
    assert read_observation(path).kind == "SPOC"


# --- the WCS --------------------------------------------------------------------------------

TAN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}


def sip_of(header, names):
    return [key for key in header if key.split("_")[0] in names and "MAX" not in key]


def without(names, *, orders_stay=False, **changes):
    """A header without SIP polynomials."""
    header = real_header(**changes)
    for key in sip_of(header, names):
        if not (orders_stay and key.endswith("ORDER")):
            del header[key]
    return header


def zeroed(names):
    header = real_header()
    for key in sip_of(header, names):
        if not key.endswith("ORDER"):
            header[key] = 0.0
    return header


def scaled(factor, **changes):
    header = real_header()
    for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        header[key] *= factor
    header.update(changes)
    return header


def as_cdelt(*kept):
    """CDELT and those elements of PC in place of CD."""
    header = real_header(CDELT1=0.0057, CDELT2=0.0057)
    for i in "12":
        for j in "12":
            value = header.pop(f"CD{i}_{j}")
            if f"PC{i}_{j}" in kept:
                header[f"PC{i}_{j}"] = value / 0.0057
    return header


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            without(["A", "B", "AP", "BP"], **TAN),
            "'RA---TAN-SIP' with the terms A_ORDER, A_2_0",
        ),
        (without(["AP", "BP"], **TAN), "beside SIP terms (A_ORDER, B_ORDER)"),
        (without(["A", "AP", "BP"], **TAN), "beside SIP terms (B_ORDER)"),
        (without(["A", "B", "AP", "BP"]), "A_ORDER is missing"),
        (without(["B", "BP"]), "B_ORDER is missing"),
        (without(["A"], orders_stay=True), "A_ORDER is 4, expected the order of terms A_2_0"),
        (without(["B"], orders_stay=True), "B_ORDER is 4, expected the order of terms B_2_0"),
        (zeroed(["A", "B"]), "all of these are missing or zero. Without them pixels lie up to 69"),
        (real_header(CTYPE2="DEC--TAN"), "CTYPE2 is 'DEC--TAN', expected 'DEC--TAN-SIP' beside"),
        (real_header(CTYPE1="RA---TPV", CTYPE2="DEC--TPV"), "CTYPE1 is 'RA---TPV', expected"),
        (real_header(CTYPE1="GLON-TAN-SIP"), "CTYPE1 is 'GLON-TAN-SIP', expected"),
        (real_header(CTYPE1=None), "CTYPE1 is missing, expected 'RA---TAN-SIP' (some FFIs were"),
        (real_header(RADESYS="FK4"), "RADESYS is 'FK4', expected 'ICRS'"),
        (real_header(EQUINOX=1950.0), "EQUINOX is 1950.0, expected 2000"),
        (as_cdelt(), "CD1_1 is missing"),
        (as_cdelt("PC1_1", "PC2_2"), "PC1_2 is missing"),
        (real_header(PC1_1=1.0), "PC1_1 is 1.0, expected absent where CD1_1 is there"),
        (scaled(3600), "TESS's are about 20"),
        (scaled(0.5), "TESS's are about 20"),
        (scaled(1, CD2_1=0.0, CD2_2=0.001), "TESS's are about 20"),
    ],
)
def test_wcs_that_would_put_the_sky_elsewhere(tmp_path, header, message):
    assert message in refusal(write(tmp_path / SPOC_NAME, empty(), header))


# --- addresses ------------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch):
    """Nothing is remembered, and nothing is waited for."""
    ffi_file._fetch.cache_clear()
    ffi_file._digest_at.cache_clear()
    monkeypatch.setattr("syndiff.transport.asking.random.uniform", lambda low, high: 0.001)
    yield
    ffi_file._fetch.cache_clear()
    ffi_file._digest_at.cache_clear()


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A gzipped FFI, for it is small."""
    path = write_spoc(tmp_path_factory.mktemp("ffi"), primary={"SECTOR": None})
    return gzip.compress(path.read_bytes(), 1)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "path", [f"ffi/s0002/{SPOC_NAME}", f"api/Download/file?uri=mast:TESS/product/{SPOC_NAME}"]
)
def test_ffi_over_http_is_fetched_once(content, path):
    with FaultyServer({path: content}) as server:
        server.faults[path] = [Status(503), Truncate()]
        observation = read_observation(server.url + path)
        assert observation.path == server.url + path
        assert observation.name == SPOC_NAME
        assert observation.frame.detector.sector == 2
        assert observation.read_image().shape == SHAPE
        assert len(observation.sha256()) == 64
        assert server.hits[path] == 3


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("fault", "attempts", "message"),
    [
        (Status(404), 1, "there is no such file (404): check the address"),
        (Status(403), 2, "access denied (403 Forbidden): there is no such file, or it is not"),
    ],
)
def test_address_without_a_file(fault, attempts, message):
    with FaultyServer({SPOC_NAME: b""}) as server:
        server.faults[SPOC_NAME] = [fault] * 9
        assert message in refusal(server.url + SPOC_NAME)
        assert server.hits[SPOC_NAME] == attempts


@pytest.mark.usefixtures("patient")
def test_page_instead_of_an_ffi():
    with FaultyServer({SPOC_NAME: HTML}) as server:
        assert "(a web page, as servers send" in refusal(server.url + SPOC_NAME)


@pytest.mark.usefixtures("patient")
def test_server_that_stays_down():
    config = ArchiveConfig(retries=2, backoff_s=0.001)
    with FaultyServer({SPOC_NAME: b""}) as server:
        archive, path = locate(server.url + SPOC_NAME, config)
        server.faults[SPOC_NAME] = [Status(503)] * 3
        with pytest.raises(ArchiveUnavailableError, match=r"503 .*\(after 3 attempts\)"):
            archive.fetch(path, bytes)
        server.faults[SPOC_NAME] = [Status(503, retry_after="1000")]
        with pytest.raises(ArchiveUnavailableError, match=r"\(after 1 attempt; .* left alone for"):
            archive.fetch(path, bytes)


@pytest.mark.usefixtures("patient")
def test_ffi_in_a_bucket(content, monkeypatch):
    key = f"tess/public/ffi/s0002/2018/235/1-2/{SPOC_NAME}"
    with s3_server(monkeypatch, "stpubdata", acl="public-read") as client:
        client.put_object(Bucket="stpubdata", Key=key, Body=content, ACL="public-read")
        observation = read_observation(f"s3://stpubdata/{key}")
        assert observation.name == SPOC_NAME
        assert not observation.read_image().any()
        assert "there is no such file (404)" in refusal(f"s3://stpubdata/{key}.not")


@pytest.mark.parametrize(
    "address", ["ftp://host/ffi.fits", "https://", "https://host/", "s3://bucket", "file:///x.fits"]
)
def test_address_that_is_none_of_a_file(address):
    with pytest.raises(ConfigError, match="is not the address of a file"):
        read_observation(address)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3://b/k/x.fits", "x.fits"),
        ("https://h/a/x.fits.gz?X-Amz-Credential=A%2Fb%2Fs3", "x.fits.gz"),
        ("https://h/Download/file?uri=mast:TESS/product/x.fits", "x.fits"),
        ("https://h/Download/file/?uri=mast%3ATESS%2Fproduct%2Fx.fits", "x.fits"),
        ("https://h/some/thing", "thing"),
    ],
)
def test_name_of_a_file_at_an_address(address, name):
    assert name_at(address) == name
