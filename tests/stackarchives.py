"""A simulated archive's files in other forms: packed, unpacked, of values, laid out otherwise."""

import gzip

import numpy as np
from astropy.io import fits
from stackplanes import compressed

STRUCTURE = {
    *("XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT"),
    *("TFIELDS", "TTYPE1", "TFORM1", "EXTNAME"),
}


def files_of(root):
    """Every stack file below a folder."""
    return sorted(root.rglob("*.fits"))


def gzipped(path):
    """Rename a file to .fits.gz, packed."""
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    path.unlink()


def gzip_inside(path):
    """Pack a file under its own name, as servers and browsers do by accident."""
    path.write_bytes(gzip.compress(path.read_bytes(), 1))


def renamed_by_fpack(path):
    path.rename(path.with_name(f"{path.name}.fz"))


def unpacked(path, *, primary=False):
    """Undo the tiles as funpack does: 16-bit integers and all of the survey's cards."""
    with fits.open(path, disable_image_compression=True) as hdus:
        cards = [
            card
            for card in hdus[1].header.cards
            if not card.keyword.startswith("Z") and card.keyword not in STRUCTURE
        ]
    with fits.open(path, do_not_scale_image_data=True) as hdus:
        words = hdus[1].data.astype(">i2")
    start = [("SIMPLE", True)] if primary else [("XTENSION", "IMAGE")]
    axes = [("NAXIS", 2), ("NAXIS1", words.shape[1]), ("NAXIS2", words.shape[0])]
    groups = [] if primary else [("PCOUNT", 0), ("GCOUNT", 1)]
    header = fits.Header([*start, ("BITPIX", 16), *axes, *groups])
    for card in cards:
        header.append(card, end=True)
    before = b"" if primary else fits.PrimaryHDU().header.tostring().encode()
    data = words.tobytes()
    path.write_bytes(before + header.tostring().encode() + data + bytes(-len(data) % 2880))


def unpacked_into_primary(path):
    unpacked(path, primary=True)


def as_floats(path):
    """Write what astropy reads back: float32, and no BZERO, BSCALE and BLANK any more."""
    with fits.open(path) as hdus:
        data, header = hdus[1].data.copy(), hdus[1].header.copy()
    fits.PrimaryHDU(data, header).writeto(path, overwrite=True)


def as_linear_floats(path):
    """Write linear values, as the cutout service does."""
    with fits.open(path) as hdus:
        data, header = hdus[1].data.copy(), hdus[1].header.copy()
    if "BSOFTEN" in header:
        bend = np.sinh(data.astype(float) / 1.0857362047581294)
        data = (header["BOFFSET"] + 2 * header["BSOFTEN"] * bend).astype(np.float32)
        del header["BOFFSET"], header["BSOFTEN"]
    fits.PrimaryHDU(data, header).writeto(path, overwrite=True)


def set_cards(path, **cards):
    """Change cards of a compressed file's own header."""
    with fits.open(path, mode="update", disable_image_compression=True) as hdus:
        for key, value in cards.items():
            hdus[1].header[key] = value


def endless(path):
    """Let gzip go on for 40 MB after the image."""
    path.write_bytes(gzip.compress(path.read_bytes() + bytes(40_000_000), 1))


def enormous(path):
    """Let a header promise 80 GB, in a small gzip."""
    header = fits.PrimaryHDU().header
    header.update({"BITPIX": -64, "NAXIS": 2})
    header.extend([("NAXIS1", 100_000), ("NAXIS2", 100_000)])
    path.write_bytes(gzip.compress(header.tostring().encode() + bytes(4_000_000), 1))


def with_pixel(path, value, place):
    """Give a pixel a flux that the file's own scaling has no code for: code all pixels anew."""
    with fits.open(path, disable_image_compression=True) as hdus:
        cards = hdus[1].header.copy()
    with fits.open(path) as hdus:
        v = hdus[1].data.astype(float)
    linear = value * cards["EXPTIME"] - cards["BOFFSET"]
    v[place] = 1.0857362047581294 * np.arcsinh(linear / (2 * cards["BSOFTEN"]))
    low, high = np.nanmin(v), np.nanmax(v)
    bscale = (high - low) / 65534
    bzero = low + 32768 * bscale
    dn = np.where(np.isnan(v), 32767, np.rint((v - bzero) / bscale)).astype(np.int16)
    header, data = compressed(dn, "RICE_1")
    for card in cards.cards:
        if card.keyword not in header:
            header.append(card, end=True)
    header.update({"BZERO": bzero, "BSCALE": bscale})
    head = fits.PrimaryHDU().header.tostring() + header.tostring()
    path.write_bytes(head.encode() + data)
