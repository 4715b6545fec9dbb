"""Where the spectrum of measured pixel responses ends: what is beyond must be noise."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from syndiff.errors import ResponseError
from syndiff.ffi.tiles import REACH_PX
from syndiff.scenes.prf_grid import SAMPLES_PER_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.scenes.prf_grid import PrfGrid

__all__ = ["CUT_TOLERANCE", "lost_part", "measured_cut", "taper"]

logger = logging.getLogger(__name__)

CUT_TOLERANCE = 2e-5
"""Part of a star's peak that cutting the spectrum may change."""

MAX_MEASURED_CUT = 1.5
"""Highest spatial frequency of a measured response, in cycles per TESS pixel.

Templates are interpolated from 4 samples per pixel by 12 taps, which change a wave of 1 cycle per
pixel by 0.3 %, of 1.25 by 3 %, of 1.5 by 17 %, of 1.75 by 50 %. A response of 1.5 px (full width
at half maximum) has 2e-5 of its peak beyond 1.25.
"""

STRUCTURE_TOLERANCE = 1e-2
"""Part of the peak that cutting measured responses may change at every place of the CCD alike.

What the mean over the places has beyond `MAX_MEASURED_CUT` is structure: too sharp a core, or kinks
between the 121 places inside a pixel that the mission fitted. MAST's have 3e-3 there, a fifth of
what single files have, as noise that differs from file to file would. A Gaussian of 0.25 px and the
pixel have 8e-3, of 0.2 px 2.4e-2.
"""

NOISE_TOLERANCE = 0.1
"""Part of its peak that the cut may change in any one response.

MAST's files have 1.0e-2 to 3.7e-2 of noise there, all but white. A third of that is below
`MAX_MEASURED_CUT`, where an eighth as many waves are, and stays: 0.1 leaves 3 %, and responses are
good to 1 to 5 % (README at MAST).
"""


_TAPER = 1.25
"""Where the spectrum of a noisy response begins to fall, in cycles per TESS pixel.

It ends at `MAX_MEASURED_CUT` as a cosine. Cut off in full height, the noise of MAST's files rings:
4e-4 of a star's peak 7 px from it, 2e-4 at 16; so it is 2e-5 and 2e-6.
"""


_SIZE = 2 * SAMPLES_PER_PX * REACH_PX
"""Side of the transforms, in samples: twice what a response reaches, so that nothing wraps."""


def _spectra(
    nodes: NDArray[np.float64],
) -> tuple[NDArray[np.complex128], NDArray[np.float64], NDArray[np.float64]]:
    """Return responses' transforms and their frequencies along x and y, none negative."""
    kx = scipy.fft.rfftfreq(_SIZE, 1 / SAMPLES_PER_PX)
    ky = np.abs(scipy.fft.fftfreq(_SIZE, 1 / SAMPLES_PER_PX))
    return scipy.fft.rfft2(nodes, s=(_SIZE, _SIZE)), kx, ky


def taper(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return responses whose spectrum ends smoothly at the highest frequency that is kept.

    Parameters
    ----------
    nodes : (ny, nx, n, n) float64
        Responses, 9 samples per TESS pixel.

    Returns
    -------
    (ny, nx, n, n) float64
        The same without noise beyond, and with less of it just below.
    """
    spectra, kx, ky = _spectra(nodes)
    fall_y, fall_x = (
        0.5 + 0.5 * np.cos(np.pi * np.clip((k - _TAPER) / (MAX_MEASURED_CUT - _TAPER), 0, 1))
        for k in (ky, kx)
    )
    smooth = scipy.fft.irfft2(spectra * fall_y[:, None] * fall_x, s=(_SIZE, _SIZE))
    return np.asarray(smooth[..., : nodes.shape[-2], : nodes.shape[-1]], np.float64)


def measured_cut(nodes: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Return the spatial frequency beyond which measured responses are dropped.

    Parameters
    ----------
    nodes : (ny, nx, n, n) float64
        Responses, 9 samples per TESS pixel.

    Returns
    -------
    cut : float
        Smallest multiple of 1/4 cycle per pixel such that what is beyond changes no sample by
        more than 2e-5 of the peak, at most 1.5.
    changes : (ny, nx, m, m) float64
        What is beyond, in units of each response's peak.
    """
    spectra, kx, ky = _spectra(nodes / nodes.max(axis=(2, 3), keepdims=True))
    for cut in np.arange(0.5, MAX_MEASURED_CUT + 0.25, 0.25):
        # A sampled frequency represents its surroundings: half of those at the cut are below it.
        below_y, below_x = (np.clip((cut - k) / kx[1] + 0.5, 0, 1) for k in (ky, kx))
        beyond = 1 - below_y[:, None] * below_x
        changes = scipy.fft.irfft2(spectra * beyond, s=(_SIZE, _SIZE))
        if np.abs(changes).max() <= CUT_TOLERANCE:
            break
    return float(cut), np.asarray(changes, np.float64)


def lost_part(grid: PrfGrid, cut: float, changes: NDArray[np.float64]) -> float:
    """Return the largest change by a cut, in units of the peak; it is logged too.

    Parameters
    ----------
    grid : PrfGrid
        The responses, for messages.
    cut : float
        Cycles per pixel.
    changes : (ny, nx, m, m) float64
        What the cut leaves out (`measured_cut`).

    Returns
    -------
    float
        Of the file that loses most.

    Raises
    ------
    ResponseError
        If that is more than noise: structure that all places share, or too much in one.
    """
    each, common = np.abs(changes).max(axis=(2, 3)), float(np.abs(changes.mean((0, 1))).max())
    if common > STRUCTURE_TOLERANCE:
        raise ResponseError(
            f"{grid.source}: what the pixel responses of all places have beyond {cut:g} cycles per "
            f"pixel is {common:.1e} of their peak, at most {STRUCTURE_TOLERANCE:g} can be left "
            "out: they are sharper than TESS's or not pixel responses; give another `prf_dir`"
        )
    row, column = np.unravel_index(each.argmax(), each.shape)
    if each[row, column] > NOISE_TOLERANCE:
        raise ResponseError(
            f"{grid.source}: what the pixel response at row {grid.y[row] + 1:g}, column "
            f"{grid.x[column] + 1:g} has beyond {cut:g} cycles per pixel is "
            f"{each[row, column]:.1e} of its peak, at most {NOISE_TOLERANCE:g} of noise can be "
            "left out: get that file again, or give another `prf_dir`"
        )
    logger.info(
        "prf %s: cut at %g cycles per pixel, which leaves out up to %.1e of the peak (noise), "
        "%.1e at all places alike",
        grid.name,
        cut,
        each.max(),
        common,
    )
    return float(each.max())
