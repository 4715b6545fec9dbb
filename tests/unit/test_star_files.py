"""Star catalogue files: packed, cut, damaged, of other kinds, with other delimiters."""

import gzip
import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.table import Table
from startables import gaia

from syndiff.errors import ConfigError
from syndiff.stars.star_files import read_star_file, stars_of_table

KINDS = {"fits": "fits", "ecsv": "ascii.ecsv", "csv": "ascii.csv", "vot": "votable"}


def content(kind, table=None):
    """A table of stars as a file's bytes."""
    table = gaia() if table is None else table
    if kind in {"fits", "vot"}:
        raw = io.BytesIO()
        table.write(raw, format=KINDS[kind])
        return raw.getvalue()
    text = io.StringIO()
    table.write(text, format=KINDS[kind])
    return text.getvalue().encode()


def put(folder, name, raw):
    path = folder / name
    path.write_bytes(raw)
    return path


def refusal(path):
    with pytest.raises(ConfigError) as caught:
        read_star_file(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_files_read_as_unpacked_ones(tmp_path, kind):
    raw = content(kind)
    expected = stars_of_table(gaia(), "here").digest
    for name, packed in (
        (f"a.{kind}", raw),
        (f"a.{kind}.gz", gzip.compress(raw)),
        (f"b.{kind}.gz", raw),
        (f"c.{kind}", gzip.compress(raw)),
        (f"D.{kind.upper()}.GZ", gzip.compress(raw)),
    ):
        assert read_star_file(put(tmp_path, name, packed)).digest == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["cut", "changed", "head"])
def test_damaged_gzip_is_told(tmp_path, kind, damage):
    packed = bytearray(gzip.compress(content(kind)))
    if damage == "cut":
        packed = packed[: len(packed) // 2]
    elif damage == "changed":
        packed[len(packed) // 2] ^= 0x55
    else:
        packed[2:20] = b"\0" * 18
    message = refusal(put(tmp_path, f"a.{kind}.gz", bytes(packed)))
    assert "its gzip is damaged or cut short" in message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.8, 0.97])
def test_files_cut_short_are_told(tmp_path, kind, part):
    table = gaia(200)
    raw = content(kind, table)
    cut = raw[: int(part * len(raw))]
    if kind == "csv":
        # Within a field: a whole number may be a part of one, but the line lacks the others.
        cut = cut[: cut.rindex(b",")]
    message = refusal(put(tmp_path, f"a.{kind}", cut))
    assert "can't be read as" in message
    assert "check the file" in message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "it is empty"),
        (b"\n\r\n  \n", "it is empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "it is a web page"),
        (b"\n<HTML>\n<body>503, busy</body></HTML>", "it is a web page"),
        (np.random.default_rng(1).bytes(9000), "can't be read as"),
        (b"\0" * 5760, "it is empty"),
    ],
)
def test_what_is_no_table_is_told(tmp_path, kind, raw, reason):
    assert reason in refusal(put(tmp_path, f"a.{kind}", raw))


@pytest.mark.parametrize("kind", KINDS)
def test_tables_without_rows_are_told(tmp_path, kind):
    message = refusal(put(tmp_path, f"a.{kind}", content(kind, gaia()[:0])))
    assert "has no rows: give one of this field" in message


def test_folders_and_unknown_endings_are_told(tmp_path):
    (tmp_path / "stars.csv").mkdir()
    assert "is a folder: give a file" in refusal(tmp_path / "stars.csv")
    assert "unknown ending" in refusal(put(tmp_path, "stars.xlsx", b"PK"))


CARDS = [
    ("NAXIS2", "2000000000"),
    ("NAXIS2", "999999999999999"),
    ("NAXIS2", "9" * 18),
    ("NAXIS2", "-5"),
    ("NAXIS2", "7.5"),
    ("TFIELDS", "999"),
    ("TFIELDS", "99999999"),
    ("TFIELDS", "-1"),
    ("TFIELDS", "2"),
    ("PCOUNT", "99999999999"),
    ("PCOUNT", "-2880000"),
    ("GCOUNT", "100000000"),
    ("NAXIS1", "99999999999"),
    ("NAXIS1", "80"),
    ("NAXIS1", "0"),
    ("NAXIS", "999999"),
    ("BITPIX", "'x'"),
    ("TFORM3", "'1Z'"),
]


@pytest.mark.parametrize(("key", "value"), CARDS)
def test_fits_headers_that_can_t_be_right_are_told(tmp_path, key, value):
    raw = bytearray(content("fits"))
    place = raw.rindex(key.ljust(8).encode() + b"=")
    raw[place : place + 80] = f"{key:<8}= {value:>20}".ljust(80).encode()
    message = refusal(put(tmp_path, "a.fits", bytes(raw)))
    assert "damaged" in message


def test_a_fits_header_without_end_is_told(tmp_path):
    raw = content("fits").replace(b"END" + b" " * 77, b" " * 80)
    assert "a header has no END" in refusal(put(tmp_path, "a.fits", raw))


def test_fits_files_without_a_table_are_told(tmp_path):
    image = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(np.ones((4, 4)))]).writeto(image)
    assert "it holds an image, no table" in refusal(put(tmp_path, "a.fits", image.getvalue()))
    packed = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.ones((40, 40)))]).writeto(packed)
    message = refusal(put(tmp_path, "b.fits", packed.getvalue()))
    assert "it holds an empty part and an image, no table" in message


def test_the_first_of_several_tables_is_read(tmp_path):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.ones(3)), fits.table_to_hdu(gaia())]
    hdus.append(fits.table_to_hdu(Table({"a": [1]})))
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    assert len(read_star_file(tmp_path / "a.fits")) == 6


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_line_ends_and_byte_order_marks(tmp_path, delimiter, end, mark):
    lines = content("csv").decode().split("\n")
    text = end.join(["# of my own", *(line.replace(",", delimiter) for line in lines)])
    stars = read_star_file(put(tmp_path, "a.csv", text.encode(mark)))
    assert stars.digest == stars_of_table(gaia(), "here").digest


def test_names_in_a_comment(tmp_path):
    path = put(tmp_path, "a.csv", b"# made by hand\n# " + content("csv"))
    assert len(read_star_file(path)) == 6


def test_quoted_fields_and_empty_ones(tmp_path):
    lines = content("csv").decode().split("\n")
    names = lines[0] + ",name"
    rows = [f'{line},"a, b {k}"' for k, line in enumerate(lines[1:7])]
    rows[2] = rows[2].replace(",13.4,", ",,")
    rows[3] = rows[3].replace(",14.4,", ",null,")
    stars = read_star_file(put(tmp_path, "a.csv", "\n".join([names, *rows]).encode()))
    assert np.isnan(stars.colour).tolist() == [False, False, True, True, False, False]


def test_vizier_s_text_with_units_and_dashes(tmp_path):
    text = "#\n#   VizieR Astronomical Server\n#Name: I/355/gaiadr3\n\n"
    names = ["RA_ICRS", "DE_ICRS", "Source", "pmRA", "pmDE", "Gmag", "BPmag", "RPmag"]
    rows = [names, ["deg", "deg", "", "mas/yr", "mas/yr", "mag", "mag", "mag"], ["-" * 9] * 8]
    for k, pm in enumerate(("  30.000", "        ", "  30.000")):
        row = [f"{100 + k / 60:.11f}", "+30.00000000000", str(4 * 10**18 + k), pm, pm]
        rows.append([*row, "11.000000", "11.400000", "         " if k == 2 else "10.400000"])
    text += "\n".join("\t".join(row) for row in rows) + "\n\n"
    stars = read_star_file(put(tmp_path, "asu.tsv", text.encode()))
    assert stars.pmra.tolist() == [30.0, 0.0, 30.0]
    assert stars.epoch.tolist() == [2016.0] * 3
    assert stars.identity.tolist() == [4 * 10**18 + k for k in range(3)]
    assert np.isnan(stars.colour).tolist() == [False, False, True]


def test_a_votable_that_the_service_cut_is_told(tmp_path, caplog):
    tree = from_table(gaia())
    raw = io.BytesIO()
    tree.to_xml(raw)
    info = b'<RESOURCE type="results">\n<INFO name="QUERY_STATUS" value="OVERFLOW"/>'
    marked = raw.getvalue().replace(b'<RESOURCE type="results">', info)
    assert len(read_star_file(put(tmp_path, "a.xml", marked))) == 6
    assert "is marked OVERFLOW after 6 rows" in caplog.text


def test_as_many_rows_as_a_service_s_limit_are_told(tmp_path, caplog):
    read_star_file(put(tmp_path, "a.csv", content("csv", gaia(50))))
    assert "has exactly 50 rows, at which services stop by default" in caplog.text
