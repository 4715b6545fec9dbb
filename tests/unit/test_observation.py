import gzip
import pickle
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from ffifiles import (
    SCIENCE,
    SHAPE,
    SPOC_NAME,
    TICA_NAME,
    pack,
    primary_header,
    real_header,
    tica_header,
    uncertainty_header,
    write,
    write_spoc,
    write_tica,
)
from hypothesis import given
from hypothesis import strategies as st

from syndiff import Observation, read_observation
from syndiff.errors import ObservationError
from syndiff.ffi.observation import Frame
from syndiff.layout import Detector
from syndiff.window import Window


@pytest.fixture
def frame():
    return Frame.from_header(real_header(), Detector(2, 1, 2), SHAPE, SCIENCE)


# --- what is read ---------------------------------------------------------------------------


def test_spoc_ffi_is_read_whole(tmp_path):
    path = write_spoc(tmp_path)
    observation = read_observation(str(path))
    assert observation == Observation(
        path=path,
        frame=Frame.from_header(real_header(), Detector(2, 1, 2), SHAPE, SCIENCE),
        kind="SPOC",
        image_hdu=1,
        date_obs="2018-08-23T14:36:54.294Z",
        date_end="2018-08-23T15:06:54.294Z",
        tstart=1354.109762481415,
        tstop=1354.130595809639,
        exposure_s=0.016499995954 * 86400,
        quality=32,
        bunit="electrons/s",
        uncertainty_hdu=2,
        barycorr_d=0.0050066062,
    )


def test_tica_ffi_is_read_whole(tmp_path):
    path = write_tica(tmp_path)
    observation = read_observation(path)
    assert observation == Observation(
        path=path,
        frame=Frame.from_header(tica_header(), Detector(2, 1, 2), SHAPE, SCIENCE),
        kind="TICA",
        image_hdu=0,
        date_obs="2018-08-23T14:36:54.294Z",
        date_end="2018-08-23T15:06:54.294Z",
        tstart=1354.109762481415,
        tstop=1354.130595809639,
        exposure_s=1425.6,
        quality=0,
        bunit="electrons",
    )
    assert observation.frame.wcs.wcs.crpix.tolist() == [1069, 1024]


def test_middle_and_epoch(tmp_path):
    observation = read_observation(write_spoc(tmp_path))
    assert observation.tmid == pytest.approx(1354.120179145527, abs=1e-9)
    # 2018-08-23, day 235 of 365; Julian and calendar years differ by less than a day
    assert observation.epoch_year == pytest.approx(2018 + 234.6 / 365.25, abs=2e-3)


@pytest.mark.parametrize(
    "name",
    [
        "tess2018235142541-s0002-1-2-0121-s_ffic.fits",
        "tess2018235142-s0002-1-2-0121-s_ffic.fits",
        "tess2020123456-s0002-1-2-0000-s_ffic.fits",
        "my-own-name.fits",
    ],
)
def test_any_name_that_does_not_contradict_gives_the_same_frame(tmp_path, frame, name):
    observation = read_observation(write_spoc(tmp_path, name))
    assert observation.frame == frame
    assert observation.frame.digest == frame.digest


@pytest.mark.parametrize("write_ffi", [write_spoc, write_tica])
def test_gzipped_ffi_is_the_same(tmp_path, write_ffi):
    plain = write_ffi(tmp_path)
    packed = pack(plain)
    assert read_observation(packed) == replace(read_observation(plain), path=packed)


def test_sector_comes_from_the_name_where_the_header_has_none(tmp_path):
    path = write_spoc(tmp_path, primary={"SECTOR": None})
    assert read_observation(path).frame.detector == Detector(2, 1, 2)
    assert read_observation(write_tica(tmp_path)).frame.detector == Detector(2, 1, 2)


def test_tica_name_without_orbit(tmp_path):
    name = "hlsp_tica_tess_ffi_s0002-00116470-cam1-ccd2_tess_v01_ffi.fits"
    assert read_observation(write_tica(tmp_path, name)).frame.detector.sector == 2


@pytest.mark.parametrize(
    ("flags", "quality"),
    [
        ({"QUAL_BIT": False}, 0),
        ({"QUAL_BIT": 1}, 128),
        ({"QUAL_BIT": 1, "COARSE": True}, 4),
        ({"QUAL_BIT": 0, "RW_DESAT": 1, "STRAYLT1": 1, "STRAYLT2": 0}, 32 + 2048),
        ({"QUAL_BIT": 0, "STRAYLT2": 1}, 0),
    ],
)
def test_tica_flags_take_the_bits_of_spoc(tmp_path, flags, quality):
    assert read_observation(write_tica(tmp_path, **flags)).quality == quality


def test_nothing_warns_in_reading_headers(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in (write_spoc(tmp_path), write_tica(tmp_path)):
            read_observation(path).frame.wcs.all_pix2world(0, 0, 0)


# --- which detector -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (SPOC_NAME.replace("s0002", "s0003"), r"SECTOR is 2 in HDU 0, 3 in the file's name"),
        (SPOC_NAME.replace("-1-2-", "-4-2-"), r"CAMERA is 1 in HDU 1, 4 in the file's name"),
        (SPOC_NAME.replace("-1-2-", "-1-3-"), r"CCD is 2 in HDU 1, 3 in the file's name"),
    ],
)
def test_name_that_contradicts_the_header(tmp_path, name, message):
    with pytest.raises(ObservationError, match=message):
        read_observation(write_spoc(tmp_path, name))


def test_tica_name_that_contradicts_the_header(tmp_path):
    with pytest.raises(ObservationError, match="CAMNUM is 1 in HDU 0, 2 in the file's name"):
        read_observation(write_tica(tmp_path, TICA_NAME.replace("cam1", "cam2")))


def test_headers_that_contradict_each_other(tmp_path):
    with pytest.raises(ObservationError, match="CAMERA is 1 in HDU 1, 2 in HDU 0, 1 in the file"):
        read_observation(write_spoc(tmp_path, primary={"CAMERA": 2}))


def test_no_sector_anywhere(tmp_path):
    path = write_spoc(tmp_path, "ffi.fits", primary={"SECTOR": None})
    with pytest.raises(ObservationError, match=r"ffi.fits: SECTOR is missing, .* file's name"):
        read_observation(path)


def test_detector_that_tess_does_not_have(tmp_path):
    with pytest.raises(ObservationError, match="CAMERA, CCD name no CCD of TESS, camera 5 is not"):
        read_observation(write_spoc(tmp_path, "ffi.fits", CAMERA=5))


# --- cards ----------------------------------------------------------------------------------

NEEDED = [
    *("CAMERA", "CCD", "TSTART", "TSTOP", "EXPOSURE", "BUNIT", "DQUALITY"),
    *("SCCSA", "SCCED", "SCIROWS", "SCIROWE"),
    *("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"),
    *("CD1_1", "CD1_2", "CD2_1", "CD2_2", "A_ORDER", "B_ORDER"),
]
NEEDED_OF_TICA = [
    *("CAMNUM", "CCDNUM", "STARTTJD", "ENDTJD", "EXPTIME", "UNITS", "QUAL_BIT", "SCIPIXS", "CTYPE1")
]


@pytest.mark.parametrize("keyword", NEEDED)
def test_missing_card(tmp_path, keyword):
    path = write_spoc(tmp_path, **{keyword: None})
    with pytest.raises(
        ObservationError, match=rf"{path.name}: {keyword} is missing, expected .*: use an FFI"
    ):
        read_observation(path)


@pytest.mark.parametrize("keyword", NEEDED_OF_TICA)
def test_missing_card_of_tica(tmp_path, keyword):
    path = write_tica(tmp_path, **{keyword: None})
    with pytest.raises(ObservationError, match=rf"{path.name}: {keyword} is missing, expected"):
        read_observation(path)


@pytest.mark.parametrize(
    ("keyword", "value", "allowed"),
    [
        ("CAMERA", 1.5, "a whole number"),
        ("CAMERA", True, "a whole number"),
        ("CCD", "two", "a whole number"),
        ("BUNIT", 3, "a text"),
        ("TSTOP", 1354.0, "later than TSTART, 1354.1"),
        ("BJDREFI", 2400000, "2457000, where TESS's dates begin"),
        ("IMAGTYPE", "raw", "'cal', a calibrated image"),
        ("DQUALITY", "good", "a whole number"),
        (
            "CTYPE1",
            "RA---TAN",
            r"'RA---TAN-SIP' beside SIP terms \(A_ORDER, B_ORDER\).* suffix -SIP back",
        ),
        ("CTYPE1", "DEC--TAN-SIP", "'RA---TAN-SIP'"),
        ("CTYPE2", "DEC--TPV", "'DEC--TAN-SIP'"),
        ("CUNIT1", "arcsec", "'deg'"),
        ("CRVAL1", "NaN", "a finite number"),
        ("CD2_1", "NaN", "a finite number"),
        ("A_2_0", "NaN", "a finite number"),
        ("AP_1_1", "NaN", "a finite number"),
        ("A_ORDER", 12, "from 2 to 9"),
        ("B_ORDER", 1, "from 2 to 9"),
        ("AP_ORDER", 2.5, "a whole number"),
    ],
)
def test_value_that_cannot_be_used(tmp_path, keyword, value, allowed):
    path = write_spoc(tmp_path, **{keyword: value})
    found = rf"{path.name}: {keyword} is {value!r}, expected {allowed}.*: use an FFI"
    with pytest.raises(ObservationError, match=found):
        read_observation(path)


@pytest.mark.parametrize(
    ("keyword", "value", "allowed"),
    [
        ("SCIPIXS", "45:2092", "'.first column:last column,first row:last row.'"),
        ("TJD_ZERO", 2400000.5, "2457000"),
        ("QUAL_BIT", 7, "T, F, 1 or 0"),
    ],
)
def test_value_of_tica_that_cannot_be_used(tmp_path, keyword, value, allowed):
    with pytest.raises(ObservationError, match=rf"{keyword} is .*, expected {allowed}"):
        read_observation(write_tica(tmp_path, **{keyword: value}))


def test_bare_nan(tmp_path):
    path = write_spoc(
        tmp_path, edit=lambda data: data.replace(b"  1.2049088954883924", b"                 NaN")
    )
    with pytest.raises(ObservationError, match="CRVAL1 holds what is no FITS value, like a bare"):
        read_observation(path)


@pytest.mark.parametrize(
    ("change", "window"),
    [
        ({"SCCED": 2137}, "45:2137,1:2048"),
        ({"SCCED": 44}, "45:44,1:2048"),
        ({"SCIROWS": 0}, "45:2092,0:2048"),
        ({"SCIROWS": 2049}, "45:2092,2049:2048"),
        ({"SCIROWE": 2079}, "45:2092,1:2079"),
    ],
)
def test_science_window_outside_the_array(tmp_path, change, window):
    message = rf"{SPOC_NAME}: SCCSA, .* give the science pixels \[{window}\]; they must lie in"
    with pytest.raises(ObservationError, match=message):
        read_observation(write_spoc(tmp_path, **change))


def test_science_window_of_tica_outside_the_array(tmp_path):
    with pytest.raises(ObservationError, match=r"SCIPIXS give the science pixels \[2092:45,1:2048"):
        read_observation(write_tica(tmp_path, SCIPIXS="[2092:45,1:2048]"))


def test_frame_whose_science_window_is_outside(frame):
    with pytest.raises(ObservationError, match=r"science window 44,0,2092,2048 .* array of 2000 x"):
        replace(frame, shape=(2078, 2000))


def test_singular_matrix(tmp_path):
    path = write_spoc(tmp_path, CD1_1=0.0, CD1_2=0.0)
    with pytest.raises(
        ObservationError, match=r"the WCS \(CTYPE1 to CD2_2\) can't be used, .*[Ss]ingular"
    ):
        read_observation(path)


@pytest.mark.parametrize(("keyword", "value"), [("NAXIS1", 2048), ("NAXIS2", 2048)])
def test_other_shape(tmp_path, keyword, value):
    path = write_spoc(tmp_path, **{keyword: value})
    with pytest.raises(ObservationError, match=r"no image of 2136 x 2078 .*2048.* are not FFIs"):
        read_observation(path)


# --- files that are no FFI, or not whole ----------------------------------------------------


def test_missing_file(tmp_path):
    with pytest.raises(ObservationError, match=r"none.fits: there is no such file: check the path"):
        read_observation(tmp_path / "none.fits")


def test_folder(tmp_path):
    with pytest.raises(ObservationError, match="is a folder, not an FFI"):
        read_observation(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a FITS file, it is empty"),
        (b"<html>not found</html>", r"not a FITS file, it begins with b'<html>not'"),
        (gzip.compress(b"something", mtime=0), r"not a FITS file, it begins with b'something'"),
        (b"\x1f\x8b and then nonsense", "can't be read, Unknown compression method"),
        (b"SIMPLE  =                    T", "is truncated, a header has no END"),
        (primary_header().tostring().encode(), r"no image of 2136 x 2078 pixels \(HDU 0: empty\)"),
        (
            tica_header().tostring().replace("NAXIS1", "NAXIS7").encode(),
            "BITPIX and NAXIS of HDU 0 don't tell its size",
        ),
        (
            primary_header().tostring().replace("SECTOR", "SÉCTR").encode(),
            "a header is no text",
        ),
    ],
)
def test_file_that_is_no_ffi(tmp_path, content, message):
    path = tmp_path / SPOC_NAME
    path.write_bytes(content)
    with pytest.raises(ObservationError, match=message):
        read_observation(path)


def test_table_instead_of_the_image(tmp_path):
    path = write(tmp_path / SPOC_NAME, primary_header(), fits.BinTableHDU().header)
    with pytest.raises(ObservationError, match="HDU 1: a table"):
        read_observation(path)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (2880 + 2000, "a header has no END"),
        (2880 + 5 * 2880 + 10_000_000, "HDU 1 has less than its 17754432 bytes of data"),
        (-8000, "HDU 2 has less than its 17754432 bytes of data"),
    ],
)
@pytest.mark.parametrize("is_packed", [False, True])
def test_truncated_file(tmp_path, cut, message, is_packed):
    path = write_spoc(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    if is_packed:
        path = pack(path)
    with pytest.raises(ObservationError, match=f"is truncated, {message}: download it again"):
        read_observation(path)


def test_only_the_primary_hdu_is_left(tmp_path):
    path = write(tmp_path / SPOC_NAME, primary_header(NEXTEND=2))
    with pytest.raises(ObservationError, match="NEXTEND is 2, so part of the file is lost"):
        read_observation(path)


@pytest.mark.parametrize("rest", [b"XTENS", b"rubbish" * 500])
def test_file_that_ends_in_what_should_be_an_hdu(tmp_path, rest):
    path = write(tmp_path / SPOC_NAME, primary_header(NEXTEND=2), real_header())
    with path.open("ab") as file:
        file.write(rest)
    with pytest.raises(ObservationError, match="truncated, HDU 2 is no FITS extension and begins"):
        read_observation(path)


@pytest.mark.parametrize("rest", [b"\0" * 2880, b"rubbish"])
def test_anything_may_follow_a_whole_file(tmp_path, rest):
    path = write_spoc(tmp_path, primary={"NEXTEND": 2})
    with path.open("ab") as file:
        file.write(rest)
    assert read_observation(path).uncertainty_hdu == 2


def test_lost_padding_of_the_last_hdu_does_no_harm(tmp_path):
    path = write_spoc(tmp_path)
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size - 4)
    assert read_observation(path).kind == "SPOC"


def test_truncated_gzip_stream(tmp_path):
    path = pack(write_tica(tmp_path))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ObservationError, match=r"is truncated, its .* stream .* has no end"):
        read_observation(path)


def test_damaged_gzip_stream(tmp_path):
    path = pack(write_tica(tmp_path))
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(ObservationError, match="can't be read, CRC check failed"):
        read_observation(path)


# --- pixels ---------------------------------------------------------------------------------


def images():
    rng = np.random.default_rng(3)
    image = rng.normal(100, 5, SHAPE).astype(np.float32)
    image[0, 0] = np.nan
    return image, np.sqrt(np.abs(image))


@pytest.mark.parametrize("is_packed", [False, True])
def test_image_and_uncertainty_are_native_float32(tmp_path, is_packed):
    image, uncertainty = images()
    hdus = [fits.PrimaryHDU(header=primary_header())]
    hdus += [fits.ImageHDU(image, real_header()), fits.ImageHDU(uncertainty, uncertainty_header())]
    path = tmp_path / SPOC_NAME
    fits.HDUList(hdus).writeto(path)
    observation = read_observation(pack(path) if is_packed else path)
    for plane, expected in (
        (observation.read_image(), image),
        (observation.read_uncertainty(), uncertainty),
    ):
        assert plane.dtype == np.dtype("f4")
        assert plane.dtype.isnative
        assert plane.flags.writeable
        assert plane.flags.c_contiguous
        np.testing.assert_array_equal(plane, expected)


def with_pixels(path, *hdus):
    """Write HDUs of (pixels, header) after an empty one, or the first of them as that."""
    (first, header), *others = hdus
    made = [fits.PrimaryHDU(first, header), *(fits.ImageHDU(*hdu) for hdu in others)]
    fits.HDUList(made).writeto(path)
    return read_observation(path)


@pytest.mark.parametrize("kind", ["SPOC", "TICA"])
def test_uncertainty_is_estimated_where_there_is_none(tmp_path, kind):
    """720 frames of 1.98 s, in each 10 electrons of read noise; and the photons' noise."""
    electrons = np.full(SHAPE, 1e5, np.float32)
    electrons[5, 7], electrons[5, 8] = -300, np.nan
    if kind == "SPOC":
        per_second, exposure = electrons / np.float32(1425.6), 1425.6
        primary = (None, primary_header(NEXTEND=2))
        observation = with_pixels(tmp_path / SPOC_NAME, primary, (per_second, real_header()))
    else:
        exposure = 1.0
        observation = with_pixels(tmp_path / TICA_NAME, (electrons, tica_header()))
    assert observation.uncertainty_source == "estimated"
    sigma = observation.read_uncertainty() * exposure
    assert sigma.dtype == np.float32
    assert sigma[0, 0] == pytest.approx(np.sqrt(1e5 + 720 * 100), rel=1e-5)
    assert sigma[5, 7] == pytest.approx(np.sqrt(720 * 100), rel=1e-5)
    assert np.isnan(sigma[5, 8])
    image = observation.read_image()
    np.testing.assert_array_equal(observation.read_uncertainty(image) * exposure, sigma)


def test_uncertainty_of_another_shape(tmp_path):
    small = uncertainty_header(NAXIS1=20, NAXIS2=10)
    path = write(tmp_path / SPOC_NAME, primary_header(), real_header(), small)
    with pytest.raises(ObservationError, match=r"HDU 2 has the shape \(10, 20\), it must be"):
        read_observation(path).read_uncertainty()


def test_file_that_vanished(tmp_path):
    observation = read_observation(write_tica(tmp_path))
    observation.path.unlink()
    with pytest.raises(ObservationError, match=r"there is no such file"):
        observation.read_image()


# --- the frame ------------------------------------------------------------------------------


def test_frame_has_the_wcs_of_the_ffi_to_the_last_bit(frame):
    reference = WCS(real_header())
    x, y = np.meshgrid(np.linspace(0, 2135, 40), np.linspace(0, 2077, 40))
    np.testing.assert_array_equal(frame.pixel_to_sky(x, y), reference.all_pix2world(x, y, 0))
    for name in ("a", "b", "ap", "bp"):
        np.testing.assert_array_equal(getattr(frame.wcs.sip, name), getattr(reference.sip, name))


def test_cards_hold_the_wcs_and_nothing_else(frame):
    header = frame.header()
    foreign = ("DATE", "MJD", "NAXIS", "TSTART", "WCSNAME", "A_DMAX", "CRPIX1P", "COMMENT")
    assert not [key for key in header if key.startswith(foreign) or key.endswith("P")]
    assert header["RADESYS"] == "ICRS"
    assert header["EQUINOX"] == 2000.0
    assert sum(key.startswith(("A_", "B_")) for key in header) == 2 * (1 + 12)
    assert sum(key.startswith(("AP_", "BP_")) for key in header) == 2 * (1 + 14)


def test_frame_survives_a_fits_file(tmp_path, frame):
    header = fits.PrimaryHDU(np.zeros((3, 4), np.float32)).header
    header.extend(frame.header())
    fits.PrimaryHDU(np.zeros((3, 4), np.float32), header).writeto(tmp_path / "map.fits")
    written = fits.getheader(tmp_path / "map.fits")
    again = Frame.from_header(written, frame.detector, frame.shape, frame.science)
    assert again == frame
    assert again.digest == frame.digest


def test_frame_survives_pickling_and_hashes(frame):
    assert frame.wcs is frame.wcs
    again = pickle.loads(pickle.dumps(frame))
    assert again == frame
    assert hash(again) == hash(frame)
    assert len(pickle.dumps(frame)) < 10_000


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_digit_is_lost(value):
    header = fits.Header.fromstring(f"A_2_0   = {value!r}", sep="\n")
    header = fits.Header([*real_header(A_2_0=None).cards, *header.cards])
    frame = Frame.from_header(header, Detector(2, 1, 2), SHAPE, SCIENCE)
    assert frame.header()["A_2_0"] == value
    assert Frame.from_header(frame.header(), Detector(2, 1, 2), SHAPE, SCIENCE) == frame


def test_cdelt_and_pc_do_as_well_as_cd(frame):
    header = real_header()
    for i in (1, 2):
        header[f"CDELT{i}"] = 0.005
        for j in (1, 2):
            header[f"PC{i}_{j}"] = header.pop(f"CD{i}_{j}") / 0.005
    scaled = Frame.from_header(header, frame.detector, SHAPE, SCIENCE)
    # rounding of the division: some 1e-16 of a CCD's 12 degrees
    np.testing.assert_allclose(
        scaled.pixel_to_sky([0, 2000], [0, 2000]),
        frame.pixel_to_sky([0, 2000], [0, 2000]),
        atol=1e-12,
        rtol=0,
    )


def test_poles_and_missing_radesys(frame):
    header = real_header(RADESYS=None, EQUINOX=None, LONPOLE=170.0, LATPOLE=0.0)
    turned = Frame.from_header(header, frame.detector, SHAPE, SCIENCE)
    assert turned.wcs.wcs.lonpole == 170
    assert "RADESYS" not in turned.header()


def test_wcs_without_inverse_polynomials(frame):
    header = frame.header()
    for keyword in [key for key in header if key.startswith(("AP_", "BP_"))]:
        del header[keyword]
    forward = Frame.from_header(header, frame.detector, SHAPE, SCIENCE)
    assert forward.pixel_to_sky(3, 4) == frame.pixel_to_sky(3, 4)
    assert forward.digest != frame.digest


def test_one_inverse_polynomial_without_the_other(frame):
    header = frame.header()
    del header["BP_ORDER"]
    with pytest.raises(ObservationError, match=r"sector 2 camera 1 ccd 2: the WCS .*AP_ORDER"):
        Frame.from_header(header, frame.detector, SHAPE, SCIENCE)


@pytest.mark.parametrize(
    "other",
    [
        {"detector": Detector(3, 1, 2)},
        {"shape": (2079, 2136)},
        {"science": Window(44, 0, 2092, 2047)},
    ],
)
def test_digest_tells_frames_apart(frame, other):
    assert replace(frame, **other).digest != frame.digest


def test_digest_ignores_comments_order_and_notation(frame):
    header = fits.Header(reversed(real_header(CRPIX1=1045, CRVAL2=-26.0576271210793).cards))
    header.comments["CRVAL1"] = "another comment"
    assert Frame.from_header(header, frame.detector, SHAPE, SCIENCE).digest == frame.digest


def test_pixel_to_sky_broadcasts(frame):
    ra, dec = frame.pixel_to_sky(np.arange(3), np.arange(2)[:, np.newaxis])
    assert ra.shape == dec.shape == (2, 3)
    assert ra.dtype == dec.dtype == np.float64
    assert (ra[1, 2], dec[1, 2]) == frame.pixel_to_sky(2, 1)


def test_pixels_count_from_zero(frame):
    # SIP vanishes at the reference pixel, FITS pixel (1045, 1001)
    ra, dec = frame.pixel_to_sky(1044, 1000)
    assert ra == pytest.approx(1.2049088954883924, abs=1e-12)
    assert dec == pytest.approx(-26.0576271210793, abs=1e-12)


def unit(ra, dec):
    ra, dec = np.deg2rad([ra, dec])
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


@pytest.mark.parametrize("margin", [0, 20])
def test_footprint_runs_along_the_science_border(frame, margin):
    points = frame.footprint(margin)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-15)
    low, left = -0.5 - margin, 43.5 - margin
    corners = unit(*frame.pixel_to_sky([left, left + 2048 + 2 * margin], [low, low]))
    np.testing.assert_array_equal(points[0], corners[0])
    assert np.abs(points - corners[1]).max(axis=1).min() < 1e-15
    assert len(np.unique(points, axis=0)) == len(points) == 4 * (128 if margin == 0 else 131)


def test_footprint_follows_the_curved_border(frame):
    points = frame.footprint()[:128]  # the lowest row, every 16 px
    middle = unit(*frame.pixel_to_sky(43.5 + 8 + 16 * np.arange(127), np.full(127, -0.5)))
    normal = np.cross(points[:-1], points[1:])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    distance_arcsec = np.rad2deg(np.abs((normal * middle).sum(axis=1))) * 3600
    assert distance_arcsec.max() < 0.2  # 0.01 px


def test_import_is_light():
    import subprocess

    code = "import syndiff.ffi.observation, sys; print(*[m for m in sys.modules if m == 'astropy'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
