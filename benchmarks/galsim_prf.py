"""TESS's pixel response files as GalSim sees them."""

from __future__ import annotations

from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits

from benchmarks.galsim_sky import REACH_PX, Seeing

MEAN_SEEING = Seeing("gaussian", (1.2, 1.1, 1.1, 1.0))
"""What a template with a measured response has taken out: such a star's image is the response."""

_SAMPLES_PER_PX = 9
_ACCURACY = galsim.GSParams(folding_threshold=1e-6, kvalue_accuracy=1e-8, maximum_fft_size=16384)


def response_stamp(
    folder: Path, place: tuple[float, float], offset: tuple[float, float]
) -> np.ndarray:
    """Return the 13 x 13 pixels that a star of unit flux lights, around its nearest pixel.

    Parameters
    ----------
    folder : Path
        Of one CCD's 25 files.
    place : tuple of float
        FFI pixel x, y of the star at offset (0, 0), 0-based.
    offset : tuple of float
        dx, dy.

    Returns
    -------
    (13, 13) float64
        The response at the star's own place: bilinear between the files, quintic within them (4e-6
        of the peak; Lanczos 7 would err by 5e-4).
    """
    at = {}
    for path in sorted(folder.glob("*-prf-*-row*-col*.fits")):
        samples, header = fits.getdata(path, header=True)
        at[header["CRVAL1P"], header["CRVAL2P"]] = samples
    shares = [_shares(sorted({key[axis] for key in at}), place[axis] + 1) for axis in (0, 1)]
    image = sum(
        a * b * at[x, y] / at[x, y].sum()
        for x, a in shares[0].items()
        for y, b in shares[1].items()
    )
    response = galsim.InterpolatedImage(
        galsim.ImageD(np.ascontiguousarray(image, float), scale=1 / _SAMPLES_PER_PX),
        x_interpolant=galsim.Quintic(gsparams=_ACCURACY),
        flux=1.0,
        gsparams=_ACCURACY,
    )
    stamp = galsim.ImageD(2 * REACH_PX + 1, 2 * REACH_PX + 1, scale=1.0)
    moved = (place[0] + offset[0], place[1] + offset[1])
    shift = tuple(value - round(value) for value in moved)
    return response.drawImage(stamp, method="no_pixel", offset=shift).array


def _shares(nodes: list[int], value: float) -> dict[int, float]:
    """Return the weights of linear interpolation, the ends held."""
    weights = [np.interp(value, nodes, np.eye(len(nodes))[k]) for k in range(len(nodes))]
    return {node: weight for node, weight in zip(nodes, weights, strict=True) if weight}
