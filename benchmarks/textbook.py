"""The same work as a competent astronomer does it with general tools, at full resolution.

Each step is a function of arrays, so that it can be run on a stated part. Images are float32, as
astropy reads them, and nothing is done twice.
"""

from __future__ import annotations

import numpy as np
from astropy.io import fits
from astropy.wcs.utils import skycoord_to_pixel
from scipy import ndimage

from syndiff.config import BAND_WEIGHTS

A = 2.5 / np.log(10)


def decode(paths):
    """Decode files with astropy to the numbers they hold."""
    planes = []
    for path in paths:
        with fits.open(path, do_not_scale_image_data=True) as hdus:
            planes.append(hdus[1].data)
    return planes


def read(path, *, power):
    """Return flux (power 1) or variance (power 2) per second of a stack file, float32."""
    with fits.open(path) as hdus:
        header, image = hdus[1].header, hdus[1].data
        linear = header["BOFFSET"] + 2 * header["BSOFTEN"] * np.sinh(image / np.float32(A))
        return (linear / header["EXPTIME"] ** power).astype(np.float32, copy=False)


def combine(images, variances, masks, *, ignore):
    """Return the weighted sum of bands and its variance; invalid pixels are 0."""
    flux = np.zeros(images[0].shape, np.float32)
    variance = np.zeros_like(flux)
    for weight, image, noise, mask in zip(BAND_WEIGHTS, images, variances, masks, strict=True):
        valid = np.isfinite(image) & np.isfinite(noise) & ((mask & ignore) == 0)
        flux += np.where(valid, np.float32(weight) * image, 0)
        variance += np.where(valid, np.float32(weight) ** 2 * noise, 0)
    return flux, variance


def detect(flux, variance):
    """Return the light of detected sources, everything else set to 0."""
    import sep

    sep.set_extract_pixstack(10_000_000)
    sep.set_sub_object_limit(100_000)
    background = sep.Background(flux, bw=256, bh=256)
    light = flux - background.back()
    noise = np.sqrt(np.maximum(variance, 1e-12))
    _, segments = sep.extract(light, 1.5, err=noise, minarea=5, segmentation_map=True)
    return np.where(segments > 0, light, np.float32(0))


def convolve(light, *, sigma_px=40.0):
    """Return the light under the response."""
    return ndimage.gaussian_filter(light, sigma_px, mode="constant")


def pixels_of(skycell_wcs, ffi_wcs, rows, nx):
    """Return the FFI pixels (x, y) of whole rows of a skycell, pixel by pixel."""
    x, y = np.meshgrid(np.arange(nx), rows)
    return skycoord_to_pixel(skycell_wcs.pixel_to_world(x, y), ffi_wcs, origin=0, mode="all")


def add_pixels(light, x, y, template):
    """Add PS1 pixels to the TESS pixels that their centres fall in."""
    column, row = np.rint(x).astype(np.intp), np.rint(y).astype(np.intp)
    inside = (row >= 0) & (row < template.shape[0]) & (column >= 0) & (column < template.shape[1])
    np.add.at(template, (row[inside], column[inside]), light[inside])
