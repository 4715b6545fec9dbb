"""Plane files of PS1 stacks: what they decode to, and everything that can be wrong with them."""

import gzip
import io
import math
import mmap
import re
import sys
import threading
import warnings
from dataclasses import replace

import numpy as np
import obstore
import pytest
from astropy.io import fits
from stackplanes import (
    CDELT,
    compressed,
    expected_values,
    mask_like,
    plane_cards,
    plane_file,
    sky_like,
    small_skycell,
)

from syndiff.errors import CorruptDownloadError
from syndiff.stacks.fitstiles import find_image
from syndiff.stacks.stackfile import open_stackfile

SKYCELL = small_skycell()
DN = sky_like(SKYCELL.shape)
BITS = mask_like(SKYCELL.shape)
RAW = {"image": DN, "variance": DN, "mask": BITS}
SOURCE = "https://archive/2180/097/plane.fits"
REAL_CARDS = """
CTYPE1  = 'RA---TAN'
CTYPE2  = 'DEC--TAN'
CRVAL1  =     121.764701843296
CRVAL2  =     41.9999999999986
CRPIX1  =             -11440.5
CRPIX2  =              -22976.
CDELT1  = 6.94444461259988E-05
CDELT2  = 6.94444461259988E-05
PC001001=                  -1.
PC001002=                   0.
PC002001=                   0.
PC002002=                   1.
HISTORY ppStack at 2015-02-20T07:34:01.841145
SKYCELL = 'skycell.2180.097'   / type of stack
HIERARCH FPA.FOCUS = 'NaN     ' / Telescope focus
HIERARCH FPA.FILTERID = 'y.00000 ' / Filter used (parsed, abstract name)
HIERARCH FPA.ZP =          25. / Magnitude zero point
HIERARCH CELL.BIASSEC = ''
EXPTIME =                 500. / Exposure time (sec)
MJD-OBS =      55916.822668887 / Time of exposure
BZERO   =   3.632996916771E+00 / Scaling: TRUE = BZERO + BSCALE * DISK
BSCALE  =   1.908685283002E-04 / Scaling: TRUE = BZERO + BSCALE * DISK
BSOFTEN =   4.137191922843E+02 / Scaling: LINEAR = 2 * BSOFTEN * sinh(TRUE/a)
BOFFSET =   1.732926559448E+01 / Scaling: UNCOMP = BOFFSET + LINEAR
BLANK   =                32767 / Value for undefined pixels
ZBLANK  =                32767 / Value for undefined pixels
"""


def opened(data, plane="image", **changes):
    options = {"source": SOURCE, "plane": plane, "band": "y", "skycell": SKYCELL} | changes
    return open_stackfile(data, **options)


def changed(change, plane="image"):
    return plane_file(plane, RAW[plane], SKYCELL, change=change)


def assert_refused(data, message, plane="image", **changes):
    """Check that the error names the source and says what is expected of it."""
    with pytest.raises(CorruptDownloadError, match=message) as caught:
        opened(data, plane, **changes)
    assert str(caught.value).startswith(SOURCE)


@pytest.fixture(params=["image", "variance", "mask"])
def plane(request):
    return request.param


# what comes out


def test_rows_are_the_raw_ones(plane):
    stack = opened(plane_file(plane, RAW[plane], SKYCELL), plane)
    rows = stack.rows(0, SKYCELL.ny)
    assert rows.dtype == (np.uint16 if plane == "mask" else np.int16)
    np.testing.assert_array_equal(rows, RAW[plane])
    assert (stack.plane, stack.band, stack.shape) == (plane, "y", SKYCELL.shape)
    assert (stack.exptime_s, stack.mjd_obs) == (500.0, 55916.822668887)


@pytest.mark.parametrize(("j0", "j1"), [(0, 0), (0, 1), (3, 9), (30, 37), (36, 37), (37, 37)])
def test_any_rows_into_any_array(plane, j0, j1):
    stack = opened(plane_file(plane, RAW[plane], SKYCELL), plane)
    out = np.zeros((j1 - j0, SKYCELL.nx), RAW[plane].dtype)
    assert stack.rows(j0, j1, out=out) is out
    np.testing.assert_array_equal(out, RAW[plane][j0:j1])


@pytest.mark.parametrize(
    "options",
    [
        {"method": "RICE_1"},
        {"method": "RICE_1", "tile_shape": (2, 301)},
        {"method": "RICE_1", "tile_shape": (16, 100)},
        {"method": "GZIP_1"},
        {"method": "GZIP_1", "tile_shape": (5, 50)},
        {"method": "GZIP_2"},
        {"method": "PLIO_1"},
        {"method": "NOCOMPRESS"},
    ],
    ids=str,
)
def test_whatever_compression_the_standard_allows(plane, options):
    raw = RAW[plane]
    if options["method"] == "PLIO_1":
        raw = raw | 0x8000 if plane == "mask" else np.abs(raw.clip(-32767))
    stack = opened(plane_file(plane, raw, SKYCELL, **options), plane)
    np.testing.assert_array_equal(stack.rows(0, SKYCELL.ny), raw)
    np.testing.assert_array_equal(stack.rows(7, 20), raw[7:20])


def test_rice_of_four_bytes_a_pixel(plane):
    dn = (RAW[plane] ^ 0x8000).view(np.int16) if plane == "mask" else RAW[plane]
    data = plane_file(
        plane,
        RAW[plane],
        SKYCELL,
        content=compressed(dn.astype(np.int32), "RICE_1"),
        change={"ZBITPIX": 16},
    )
    assert find_image(data, "x").cards.get("ZVAL2") == 4
    np.testing.assert_array_equal(opened(data, plane).rows(2, 30), RAW[plane][2:30])


def with_row_5_elsewhere(data, column):
    """Move row 5 of a RICE_1 file to a second column, as astropy and fpack do now and then."""
    with fits.open(io.BytesIO(data), disable_image_compression=True) as hdus:
        header = hdus[1].header
        cells = list(hdus[1].data["COMPRESSED_DATA"])
    row = DN[5].astype(">i2")
    others = [np.zeros(0, np.uint8)] * len(cells)
    others[5], form = row, "1PI()"
    if column == "GZIP_COMPRESSED_DATA":
        others[5], form = np.frombuffer(gzip.compress(row.tobytes()), np.uint8), "1PB()"
    cells[5] = np.zeros(0, np.uint8)
    columns = [("COMPRESSED_DATA", "1PB()", cells), (column, form, others)]
    hdu = fits.BinTableHDU.from_columns(
        [fits.Column(name, form, array=np.array(array, object)) for name, form, array in columns]
    )
    hdu.header.extend(header.cards[header.index("TFORM1") + 1 :], strip=False)
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA"])
def test_rows_that_stand_in_another_column(name):
    stack = opened(with_row_5_elsewhere(plane_file("image", DN, SKYCELL), name))
    np.testing.assert_array_equal(stack.rows(0, SKYCELL.ny), DN)


def test_values(plane):
    stack = opened(plane_file(plane, RAW[plane], SKYCELL), plane)
    if plane == "mask":
        with pytest.raises(ValueError, match="a mask has bits, not values"):
            stack.value_table()
        return
    table = stack.value_table()
    assert (table.shape, table.dtype) == ((65536,), np.float32)
    assert np.flatnonzero(np.isnan(table)).tolist() == [32767]
    power = 1 if plane == "image" else 2
    expected = expected_values(DN[:4], plane_cards(plane, SKYCELL), power)
    # float32 rounds to 6e-8
    np.testing.assert_allclose(table[DN[:4].view(np.uint16)], expected, rtol=7e-8)


def test_values_are_those_of_astropy_where_linear():
    data = changed({"BOFFSET": None, "BSOFTEN": None})
    stack = opened(data)
    with fits.open(io.BytesIO(data)) as hdus:
        expected = hdus[1].data / 500.0
    values = stack.value_table()[stack.rows(0, SKYCELL.ny).view(np.uint16)]
    # astropy adds 3.6 and -3.2 in float32, which rounds to 2e-7; the result is divided by 500
    np.testing.assert_allclose(values, expected, atol=1e-9)


def test_the_survey_s_own_cards():
    """Cards as a real file has them, byte for byte."""
    file = plane_file("image", DN, SKYCELL, change=dict.fromkeys(plane_cards("image", SKYCELL)))
    end = file.index(b"END" + b" " * 77, 2880)
    cards = "".join(line.ljust(80) for line in REAL_CARDS.strip().split("\n"))
    text = file[2880:end] + cards.encode() + b"END".ljust(80)
    body = file[2880 + -(-(end + 80 - 2880) // 2880) * 2880 :]
    stack = opened(file[:2880] + text + b" " * (-len(text) % 2880) + body)
    np.testing.assert_array_equal(stack.rows(0, SKYCELL.ny), DN)
    v = 3.632996916771 + 1.908685283002e-4 * -17000
    linear = 17.32926559448 + 2 * 413.7191922843 * math.sinh(v / 1.0857362)
    assert stack.value_table()[-17000] == pytest.approx(linear / 500, rel=1e-6)


def test_any_buffer_will_do(tmp_path):
    data = plane_file("image", DN, SKYCELL)
    path = tmp_path / "plane.fits"
    path.write_bytes(data)
    store = obstore.store.MemoryStore()
    obstore.put(store, "plane", data)
    with path.open("rb") as file:
        buffers = [
            bytearray(data),
            memoryview(data),
            np.frombuffer(data, np.uint8),
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ),
            obstore.get(store, "plane").bytes(),
        ]
    for buffer in buffers:
        np.testing.assert_array_equal(opened(buffer).rows(0, SKYCELL.ny), DN)


def test_rows_out_of_range(plane):
    stack = opened(plane_file(plane, RAW[plane], SKYCELL), plane)
    for j0, j1 in ((-1, 3), (5, 4), (30, 38)):
        with pytest.raises(ValueError, match=f"rows {j0} to {j1} are not within 0 to 37"):
            stack.rows(j0, j1)
    with pytest.raises(ValueError, match="out is float32 of shape"):
        stack.rows(0, 2, out=np.empty((2, 301), np.float32))
    with pytest.raises(ValueError, match="give C-contiguous"):
        stack.rows(0, 2, out=np.empty((301, 2), RAW[plane].dtype).T)


def test_decoding_releases_the_gil(plane):
    """With no turns by time, another thread runs only where the GIL is let go on purpose."""
    stack = opened(plane_file(plane, RAW[plane], SKYCELL), plane)
    stack.rows(0, 8)
    finished = []

    def work():
        for _ in range(300):
            stack.rows(0, SKYCELL.ny)
        finished.append(True)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(100.0)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        ran_meanwhile = not finished
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert ran_meanwhile


# what is refused


def test_an_html_page():
    page = b"\n<!DOCTYPE html><html><body>Down for maintenance</body></html>"
    assert_refused(page, r"is an HTML page \(b'<!DOCTYPE html><html>.*'...\), expected a FITS file")


@pytest.mark.parametrize("data", [b"no", b"\x00" * 99, b"XTENSION= 'BINTABLE'"])
def test_what_is_not_fits(data):
    assert_refused(data, "is not FITS: it begins with .*, expected b'SIMPLE  ='")


@pytest.mark.parametrize("size", [100, 2880, 2881, 4000, 2880 * 3, -2880, -1])
def test_truncation_anywhere(plane, size):
    data = plane_file(plane, RAW[plane], SKYCELL)
    message = (
        "ends after 2880 bytes without an image"
        if size == 2880
        else f"is truncated: it has {len(data[:size])} bytes"
    )
    assert_refused(data[:size], message, plane)


def test_bytes_that_no_header_holds():
    data = bytearray(plane_file("image", DN, SKYCELL))
    data[2880 + 700] = 0xC3
    assert_refused(data, "header block at byte 2880 holds bytes that are not printable ASCII")


def test_a_file_without_an_image():
    buffer = io.BytesIO()
    table = fits.BinTableHDU.from_columns([fits.Column("A", "J", array=np.arange(1000))])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(buffer)
    assert_refused(buffer.getvalue(), "without an image, expected one with two axes, compressed by")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ZCMPTYPE": "ZSTD_9"}, "ZCMPTYPE is 'ZSTD_9', expected RICE_1 or "),
        ({"ZCMPTYPE": None}, "ZCMPTYPE is missing, expected RICE_1 or "),
        ({"ZNAXIS": 3}, "ZNAXIS is 3, expected 2"),
        ({"ZNAXIS1": 300}, "ZNAXIS1 is 300, expected 301"),
        ({"ZNAXIS2": 6284}, "ZNAXIS2 is 6284, expected 37"),
        ({"ZNAXIS1": None}, "ZNAXIS1 is missing, expected 301"),
        ({"SKYCELL": "skycell.2180.098"}, "SKYCELL is .*098', expected 'skycell.2180.097'"),
        ({"HIERARCH FPA.FILTERID": "r.00000"}, "FPA.FILTERID is 'r.00000', expected band 'y'"),
        ({"HIERARCH FPA.ZP": 24.5}, r"FPA.ZP is 24.5, expected 25.0"),
        ({"HIERARCH FPA.ZP": "high"}, "FPA.ZP is 'high', expected a finite number"),
        ({"EXPTIME": 0.0}, "EXPTIME is 0.0, expected 0.1 to 1e\\+07 s"),
        ({"EXPTIME": -3}, "EXPTIME is -3, expected 0.1 to 1e\\+07 s"),
        ({"EXPTIME": 1e-9}, "EXPTIME is 1e-09, expected 0.1"),
        ({"EXPTIME": True}, "EXPTIME is True, expected a finite number"),
        ({"MJD-OBS": "later"}, "MJD-OBS is 'later', expected a finite number"),
        ({"CTYPE1": "RA---SIN"}, "CTYPE1 is 'RA---SIN', expected 'RA---TAN'"),
        ({"CRVAL1": 121.7648}, "CRVAL1 is 121.7648, expected 121.764701843296 within 0.01 px"),
        ({"CRVAL2": 42.000001}, "CRVAL2 is 42.000001, expected"),
        ({"CRPIX1": -11440.48}, "CRPIX1 is -11440.48, expected -11440.5 within 0.01 px"),
        ({"CRPIX2": None}, "CRPIX2 is missing"),
        (
            {"CDELT1": 0.25 / 3600 * 1.000001},
            r"CDELT1 \* PC001001 is .*, expected -6.94.*e-05 within",
        ),
        ({"CDELT2": "NaN"}, "CDELT2 is missing"),
        ({"PC001001": 1.0}, r"CDELT1 \* PC001001 is 6.9.*, expected -6.9.* within 0.01 px"),
        ({"PC001002": 1e-6}, r"CDELT1 \* PC001002 is 6.9.*e-11, expected 0.0 within 0.01 px"),
        ({"PC002001": 1e-3}, r"CDELT2 \* PC002001 is 6.9"),
        ({"PC001001": None}, r"CDELT1 \* PC1_1 is 6.9.*, expected -6.9"),
    ],
)
def test_cards_of_any_plane(plane, change, message):
    assert_refused(changed(change, plane), message, plane)


@pytest.mark.parametrize("name", ["image", "variance"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"EXPTIME": None}, "EXPTIME is missing, expected a finite number"),
        ({"EXPTIME": "NaN"}, "EXPTIME is missing, expected a finite number"),
        ({"BZERO": None}, "BZERO is missing"),
        ({"BSCALE": "NaN"}, "BSCALE is missing"),
        ({"BSCALE": 0.0}, "BSCALE is 0.0, expected another value than 0"),
        ({"BSCALE": 1.0}, "BSCALE is 1.0, expected values within float32"),
        ({"BOFFSET": None}, "BOFFSET is missing"),
        ({"BSOFTEN": None}, "BSOFTEN is missing"),
        ({"BSOFTEN": "NaN"}, "BSOFTEN is missing"),
        ({"BSOFTEN": -1.0}, "BSOFTEN is -1.0, expected more than 0"),
        ({"BLANK": None, "ZBLANK": None}, "BLANK is missing, expected 32767"),
        ({"BLANK": -32768}, "BLANK is -32768, expected 32767"),
        ({"ZBLANK": 0}, "ZBLANK is 0, expected 32767"),
    ],
)
def test_cards_that_give_pixels_their_value(name, change, message):
    assert_refused(changed(change, name), message, name)


def test_cards_of_a_mask():
    assert_refused(changed({"BZERO": None}, "mask"), "BZERO is missing", "mask")
    assert_refused(changed({"BZERO": 0}, "mask"), "BZERO is 0, expected 32768", "mask")
    assert_refused(changed({"BSCALE": 2}, "mask"), "BSCALE is 2, expected 1", "mask")
    stack = opened(changed({"EXPTIME": None, "BSCALE": None}, "mask"), "mask")
    assert math.isnan(stack.exptime_s)


def test_a_card_that_cannot_be_parsed():
    data = plane_file("image", DN, SKYCELL)
    place = data.index(b"EXPTIME =")
    broken = data[:place] + b"EXPTIME = 5 0 0 'x".ljust(80) + data[place + 80 :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        assert_refused(broken, "EXPTIME holds what is no FITS value")


@pytest.mark.parametrize(
    "change",
    [
        {"SKYCELL": None, "HIERARCH FPA.FILTERID": None, "HIERARCH FPA.ZP": None},
        {"HIERARCH FPA.ZP": "NaN", "HIERARCH FPA.FILTERID": "NaN", "MJD-OBS": "NaN"},
        {"BLANK": None},
        {"ZBLANK": None},
        {"CRVAL1": 121.764701843296 - 360},
        {"CRPIX1": -11440.495, "CRVAL2": 41.9999999},
    ],
    ids=str,
)
def test_what_may_be_missing_or_a_little_off(change):
    stack = opened(changed(change))
    np.testing.assert_array_equal(stack.rows(0, 5), DN[:5])
    assert stack.mjd_obs == (None if "MJD-OBS" in change else 55916.822668887)


def test_pc_cards_as_the_standard_names_them():
    names = ("PC001001", "PC001002", "PC002001", "PC002002")
    # without PC001001 the standard's cards count, and what of them is missing is the unit matrix
    stack = opened(changed(dict.fromkeys(names) | {"PC1_1": -1.0}))
    assert stack.shape == SKYCELL.shape
    turned = replace(SKYCELL, pc=(-0.8, 0.6, 0.6, 0.8))
    change = dict.fromkeys(names) | {"PC1_1": -0.8, "PC1_2": 0.6, "PC2_1": 0.6, "PC2_2": 0.8}
    assert opened(changed(change), skycell=turned).shape == SKYCELL.shape
    assert_refused(changed(change), r"CDELT1 \* PC1_1 is -5.5.*, expected -6.9")
    mirrored = replace(SKYCELL, cdelt=(-CDELT, CDELT), pc=(1.0, 0.0, 0.0, 1.0))
    assert opened(changed({}), skycell=mirrored).shape == SKYCELL.shape


def test_right_ascension_counts_fully_at_the_pole():
    """There CRVAL1 shifts nothing but turns the grid."""
    pole = replace(SKYCELL, crval=(0.0, 90.0))
    wcs = {"CRVAL1": 1e-4, "CRVAL2": 90.0}
    assert_refused(changed(wcs), "CRVAL1 is 0.0001, expected 0.0 within", skycell=pole)
    assert opened(changed({"CRVAL1": 1e-9, "CRVAL2": 90.0}), skycell=pole)
    assert pytest.approx(0.25 / 3600, rel=1e-6) == CDELT


# rows that can't be


def heap(data):
    """Where the table and the heap of a file begin."""
    with fits.open(io.BytesIO(data), disable_image_compression=True) as hdus:
        table = hdus[1].fileinfo()["datLoc"]
        return table, table + hdus[1].header["NAXIS1"] * hdus[1].header["NAXIS2"]


@pytest.mark.parametrize("pair", [(0, 0), (-1, 0), (99999999, 0), (5, -1), (5, 2**31 - 3)])
def test_row_descriptors_outside_the_heap(plane, pair):
    data = bytearray(plane_file(plane, RAW[plane], SKYCELL))
    table, _ = heap(data)
    data[table + 8 * 4 : table + 8 * 5] = np.array(pair, ">i4").tobytes()
    message = f"row 4 is said to have {pair[0]} bytes at {pair[1]}, expected at least 1 byte"
    assert_refused(data, message, plane)


def test_a_heap_that_begins_elsewhere():
    assert_refused(changed({"THEAP": 3}), "THEAP is 3, expected an integer from 296")
    data = changed({"THEAP": 304})
    _, begin = heap(data)
    moved = data[:begin] + bytes(8) + data[begin:-8]
    pcount = int(re.search(rb"PCOUNT  = +(\d+)", moved)[1])
    moved = moved.replace(b"%20d" % pcount, b"%20d" % (pcount + 8))
    np.testing.assert_array_equal(opened(moved).rows(0, SKYCELL.ny), DN)


@pytest.mark.parametrize("row", [0, 3, 5, 35])
@pytest.mark.parametrize("change", [-9, -1, 1])
def test_a_rice_row_of_another_length(row, change):
    data = bytearray(plane_file("image", DN, SKYCELL))
    table, _ = heap(data)
    place = table + 8 * row
    length = int.from_bytes(data[place : place + 4], "big")
    data[place : place + 4] = (length + change).to_bytes(4, "big")
    stack = opened(data)
    match = rf"plane.fits: row {row} can't be decoded: RICE_1: its codes don't fill its"
    with pytest.raises(CorruptDownloadError, match=match):
        stack.rows(0, SKYCELL.ny)
    with pytest.raises(CorruptDownloadError, match=match):
        stack.rows(row, row + 1)


@pytest.mark.parametrize("row", [0, 5, 36])
def test_a_gzip_row_that_does_not_inflate(row):
    data = bytearray(plane_file("mask", BITS, SKYCELL))
    table, begin = heap(data)
    length, offset = np.frombuffer(data, ">i4", 2, table + 8 * row)
    data[begin + offset + length // 2] ^= 0x10
    stack = opened(data, "mask")
    with pytest.raises(CorruptDownloadError, match=f"row {row} can't be decoded: GZIP_1: "):
        stack.rows(0, SKYCELL.ny)


def test_a_gzip_row_of_another_length():
    wide = np.zeros((37, 310), np.uint16)
    change = {"ZNAXIS1": 301, "ZTILE1": 301}
    data = plane_file("mask", wide, SKYCELL, change=change)
    with pytest.raises(CorruptDownloadError, match=r"row 2 .* inflates to 620 bytes, expected 602"):
        opened(data, "mask").rows(2, 3)


def test_a_row_that_astropy_cannot_decode(plane):
    data = bytearray(plane_file(plane, RAW[plane], SKYCELL, method="GZIP_2"))
    begin = heap(data)[1]
    data[begin + 2000 : begin + 2400] = bytes(400)
    with pytest.raises(
        CorruptDownloadError, match=r"plane.fits: one of rows 0 to 36 can't be decoded: "
    ):
        opened(data, plane).rows(0, 37)
