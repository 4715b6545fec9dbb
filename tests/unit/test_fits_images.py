"""FITS files written without astropy's detours are what astropy writes."""

import io
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from syndiff.storage.fits_images import card_text, pack_hdus, packed_size


def make_hdus(seed=0):
    rng = np.random.default_rng(seed)
    header = fits.Header([("SECTOR", 20, "TESS sector"), ("PHOTSYS", "AB", "")])
    flux = rng.normal(size=(13, 17)).astype(np.float32)
    flux[3, 4] = np.nan
    counts = rng.integers(-(2**31), 2**31, (5, 6)).astype(np.int32)
    table = fits.table_to_hdu(Table({"NAME": ["a", "bcd"], "MJD": [55000.5, np.nan]}))
    table.name = "INPUTS"
    return [
        fits.PrimaryHDU(header=header),
        fits.ImageHDU(flux, header=header, name="FLUX"),
        fits.ImageHDU(counts, name="COUNT"),
        fits.ImageHDU(rng.normal(size=(3, 4)), name="DOUBLE"),
        fits.ImageHDU(flux.astype(">f4"), name="SWAPPED"),
        fits.ImageHDU(flux.T, name="TURNED"),
        table,
    ]


def through_astropy(hdus):
    together = fits.HDUList(hdus)
    together.update_extend()
    for hdu in together:
        hdu.add_checksum(when="of this HDU")
    buffer = io.BytesIO()
    together.writeto(buffer)
    return buffer.getvalue()


def test_bytes_are_those_of_astropy():
    assert bytes(pack_hdus(make_hdus())) == through_astropy(make_hdus())


def test_size_is_known_before():
    hdus = make_hdus()
    size = packed_size(hdus)
    assert len(pack_hdus(hdus)) == size


@pytest.mark.parametrize("seed", range(20))
def test_checksums_hold(seed):
    """Different content, different checksums: every path of their encoding."""
    packed = bytes(pack_hdus(make_hdus(seed)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(io.BytesIO(packed), checksum=True) as hdus:
            assert [hdu.verify_checksum() for hdu in hdus] == [1] * len(hdus)
            assert [hdu.verify_datasum() for hdu in hdus] == [1] * len(hdus)
    assert len(packed) % 2880 == 0


def test_one_wrong_bit_is_noticed():
    packed = bytearray(pack_hdus(make_hdus()))
    packed[2 * 2880 + 5] ^= 1
    with (
        pytest.warns(UserWarning, match="verification failed for HDU"),
        fits.open(io.BytesIO(packed), checksum=True) as hdus,
    ):
        [hdu.verify_checksum() for hdu in hdus]


def test_cards_hold_any_name():
    assert (
        fits.Card("FFI", card_text("\N{LATIN SMALL LETTER E WITH ACUTE}.fits")).value
        == r"\xe9.fits"
    )
