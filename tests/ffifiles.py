"""FFIs with the headers of real ones; their pixels are holes in the file, which are zeros."""

import gzip
from pathlib import Path

from astropy.io import fits

from syndiff.ffi.frame import Frame
from syndiff.layout import Detector
from syndiff.window import Window

REAL = (Path(__file__).parent / "unit" / "data" / "tess_ffi_s0002_1_2_header.txt").read_text()
SHAPE = (2078, 2136)
SCIENCE = Window(44, 0, 2092, 2048)
SPOC_NAME = "tess2018235142541-s0002-1-2-0121-s_ffic.fits"
TICA_NAME = "hlsp_tica_tess_ffi_s0002-o1-00116470-cam1-ccd2_tess_v01_img.fits"


def real_header(**changes):
    """Header of HDU1 of a real FFI; a value of None takes the card out."""
    header = fits.Header.fromstring(REAL, sep="\n")
    return changed(header, changes)


def uncertainty_header(**changes):
    """Header of HDU2 of a real FFI, as far as it differs from HDU1's."""
    return real_header(EXTNAME="CAMERA.CCD 1.2 uncert", IMAGTYPE="uncert", **changes)


def changed(header, changes):
    for keyword, value in changes.items():
        if value is None:
            header.remove(keyword)
        else:
            header[keyword] = value
    return header


def primary_header(**changes):
    header = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
    header["SECTOR"] = 2
    return changed(header, changes)


def tica_header(**changes):
    cards = [("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", 2136), ("NAXIS2", 2078)]
    cards += [("CAMNUM", 1), ("CCDNUM", 2), ("STARTTJD", 1354.109762481415)]
    cards += [("MIDTJD", 1354.120179145527), ("ENDTJD", 1354.130595809639), ("TJD_ZERO", 2457000.0)]
    cards += [("EXPTIME", 1425.6), ("QUAL_BIT", 0), ("UNITS", "electrons")]
    header = fits.Header([*cards, ("SCIPIXS", "[45:2092,1:2048]")])
    header.extend(Frame.from_header(real_header(), Detector(2, 1, 2), SHAPE, SCIENCE).header())
    header["CRPIX1"], header["CRPIX2"] = 1069.0, 1024.0
    return changed(header, changes)


def write(path, *headers, edit=lambda data: data):
    """Write a FITS file of these headers; its data is a hole, so it takes no disk."""
    with path.open("wb") as file:
        for header in headers:
            file.write(edit(header.tostring().encode()))
            file.truncate(file.tell() + header.data_size_padded)
            file.seek(0, 2)
    return path


def write_spoc(folder, name=SPOC_NAME, *, primary=None, edit=lambda data: data, **changes):
    image = real_header(**changes)
    return write(
        folder / name, primary_header(**(primary or {})), image, uncertainty_header(), edit=edit
    )


def write_tica(folder, name=TICA_NAME, **changes):
    return write(folder / name, tica_header(**changes))


def pack(path, data=None):
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes() if data is None else data, 1))
    return packed
