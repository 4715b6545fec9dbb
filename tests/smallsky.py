"""Frames of real CCDs and of small made-up ones, and a small catalogue of skycells."""

import functools

import numpy as np
from astropy.io import fits

from syndiff.ffi.observation import Frame
from syndiff.layout import Detector
from syndiff.sky.tessellation import Tessellation
from syndiff.window import Window

SCIENCE = Window(44, 0, 2092, 2048)
SMALL_SCIENCE = Window(4, 0, 44, 36)

CATALOGUE_COLUMNS = (
    "NAME,NAXIS1,NAXIS2,CRVAL1,CRVAL2,CRPIX1,CRPIX2,CDELT1,CDELT2,PC1_1,PC1_2,PC2_1,PC2_2"
)


@functools.cache
def ccd_frame(sector, camera, ccd):
    """The frame of a real CCD."""
    import tesswcs

    header = tesswcs.WCS.from_sector(sector, camera, ccd).to_header()
    return Frame.from_header(header, Detector(sector, camera, ccd), (2078, 2136), SCIENCE)


def small_frame(ra=0.0, dec=40.0, *, roll_deg=25.0, science=SMALL_SCIENCE, shape=(40, 48)):
    """A frame of a few pixels of 21" with strong distortion, `ra`, `dec` in its middle."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["CRVAL1"], header["CRVAL2"] = ra, dec
    header["CRPIX1"], header["CRPIX2"] = shape[1] / 2, shape[0] / 2
    scale, roll = 21 / 3600, np.deg2rad(roll_deg)
    header["CD1_1"], header["CD1_2"] = -scale * np.cos(roll), scale * np.sin(roll)
    header["CD2_1"], header["CD2_2"] = scale * np.sin(roll), scale * np.cos(roll)
    header["A_ORDER"], header["B_ORDER"] = 2, 3
    header["A_2_0"], header["A_1_1"], header["B_0_2"], header["B_1_2"] = 3e-4, -2e-4, 4e-4, 2e-6
    return Frame.from_header(header, Detector(20, 3, 3), shape, science)


def turned(frame, *, roll_arcsec=0.0, scale=1.0, crval=(0.0, 0.0), crpix=(0.0, 0.0)):
    """A frame that points a little elsewhere; crval in arcsec on the sky."""
    header = frame.header()
    keys = [[f"{'CD' if 'CD1_1' in header else 'PC'}{i}_{j}" for j in (1, 2)] for i in (1, 2)]
    matrix = np.array([[header[key] for key in row] for row in keys])
    angle = np.deg2rad(roll_arcsec / 3600)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for row, values in zip(keys, scale * turn @ matrix, strict=True):
        header.update(zip(row, values.tolist(), strict=True))
    header["CRVAL1"] += crval[0] / 3600 / np.cos(np.deg2rad(header["CRVAL2"]))
    header["CRVAL2"] += crval[1] / 3600
    header["CRPIX1"] += crpix[0]
    header["CRPIX2"] += crpix[1]
    return Frame.from_header(header, frame.detector, frame.shape, frame.science)


def small_catalogue(ra=0.0, dec=40.0, *, side=1000, overlap=200, across=4):
    """CSV of two turned projections of `across` x `across` skycells that meet at (ra, dec)."""
    rows = [CATALOGUE_COLUMNS]
    for projection, (turn_deg, shift) in enumerate([(4.0, -0.5), (-19.0, 0.5)]):
        turn = np.deg2rad(turn_deg)
        c, s = np.cos(turn), np.sin(turn)
        reach = across * (side - overlap) - 2 * overlap
        for j in range(across):
            for i in range(across):
                crpix1 = 0.5 + side / 2 + (across / 2 - 0.5 - i) * (side - overlap) - shift * reach
                crpix2 = 0.5 + side / 2 + (across / 2 - 0.5 - j) * (side - overlap)
                values = [ra % 360, dec, crpix1, crpix2, 0.25 / 3600, 0.25 / 3600, -c, s, s, c]
                name = f"skycell.{7000 + projection}.{across * j + i:03d}"
                numbers = ",".join(repr(float(value)) for value in values)
                rows.append(f"{name},{side},{side},{numbers}")
    return "\n".join(rows) + "\n"


def small_tessellation(ra=0.0, dec=40.0, **keywords):
    """The tessellation of `small_catalogue`."""
    return Tessellation.from_csv(small_catalogue(ra, dec, **keywords).encode())
