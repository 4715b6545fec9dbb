"""One skycell's stack planes reduced to light on 2" cells, independent of any CCD."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from syndiff.config import BANDS
from syndiff.errors import RenderingError
from syndiff.kernels import decimate, detect
from syndiff.kernels.boxes import BoxSums
from syndiff.masks import StackMask
from syndiff.settings import Settings
from syndiff.stacks.coding import asinh_decode, asinh_encode, variance_decode, variance_encode
from syndiff.stacks.detection import CellSums, Detection, detect_light
from syndiff.stacks.plausible import check_absurd
from syndiff.stacks.provenance import BandOrigin, Provenance
from syndiff.stacks.stack_sums import STRIP_ROWS, BandPlanes, BandSums, StackPlane, sum_strips

if TYPE_CHECKING:
    from syndiff.sky.tessellation import Skycell

__all__ = [
    "BandPlanes",
    "ReducedSkycell",
    "StackPlane",
    "asinh_decode",
    "asinh_encode",
    "reduce_skycell",
    "variance_decode",
    "variance_encode",
]


_WHOLE = 15 / 16
"""Part of a cell's pixels with data for the cell to be valid.

Half of them would do for noise, but a star on the rim of a gap loses 12 % of its flux then, where
other bands or skycells could replace the cell.
"""


@dataclass(frozen=True, eq=False)
class ReducedSkycell:
    """A skycell's light, variance, counts and masks, as the atlas keeps them.

    Sizes: ``n2 = ceil(n / 8)`` cells of 2", ``n8 = ceil(n / 32)`` cells of 8",
    ``m = ceil(n / 256)`` mesh cells of 64"; ``nb`` bands, in the order of `config.BANDS`.
    Flux has zero point 25. A cell of 2" ``I`` covers PS1 pixels ``8 I`` to ``8 I + 7``.

    Parameters
    ----------
    name : str
        Skycell.
    shape : tuple of int
        (ny, nx) in PS1 pixels.
    bands : tuple of str
        Bands present.
    light : (nb, n2y, n2x) int16
        Detected light above the level under a quadratic B-spline; `asinh_encode`.
    light_sigma : (nb,) float64
        Sigma of the codes of `light` and `left_out`.
    left_out : (nb, n2y, n2x) int16
        Light above the level of the pixels that were left out, as `light`.
    faint : (nb, n8y, n8x) int16
        Undetected light above the level, box sums, in extended light as much as around it;
        `asinh_encode`.
    faint_sigma : (nb,) float64
        Sigma of its codes.
    level : (nb, my, mx) float32
        Background level per PS1 pixel.
    variance : (nb, 2, n8y, n8x) int16
        Box sums of the variance of [detected, undetected] contributing pixels; `variance_encode`.
    variance_sigma : (nb,) float64
        Sigma of its codes.
    count : (nb, n8y, n8x) uint16
        Contributing pixels.
    left_out_count : (nb, n8y, n8x) uint16
        Left-out pixels that hold data.
    flagged : (nb, n8y, n8x) uint16
        Pixels with any mask bit, with data or without.
    mask : (n2y, n2x) uint16
        OR of the mask bits of all pixels and bands.
    valid : (n2y, n2x) uint8
        Bit b is set where band ``BANDS[b]`` has data in all but a sixteenth of the pixels of the
        cell, and of each of the eight around it, or more.
    noise_correlation : float
        How much larger the noise of sums of pixels is than their variance says.
    meta : Provenance
        What it was reduced from.

    Notes
    -----
    ``light + left_out + faint + level x (count + left_out_count)``, summed over the skycell, is all
    the light in it, but for the coding and for what the spline loses at the outer edge.
    """

    name: str
    shape: tuple[int, int]
    bands: tuple[str, ...]
    light: NDArray[np.int16]
    light_sigma: NDArray[np.float64]
    left_out: NDArray[np.int16]
    faint: NDArray[np.int16]
    faint_sigma: NDArray[np.float64]
    level: NDArray[np.float32]
    variance: NDArray[np.int16]
    variance_sigma: NDArray[np.float64]
    count: NDArray[np.uint16]
    left_out_count: NDArray[np.uint16]
    flagged: NDArray[np.uint16]
    mask: NDArray[np.uint16]
    valid: NDArray[np.uint8]
    noise_correlation: float
    meta: Provenance = field(default_factory=Provenance)

    @cached_property
    def variances(self) -> NDArray[np.float32]:
        """`variance` decoded, (nb, 2, n8y, n8x) float32; done once."""
        planes = zip(self.variance, self.variance_sigma, strict=True)
        decoded = [variance_decode(codes, sigma) for codes, sigma in planes]
        return np.array(decoded, np.float32).reshape(self.variance.shape)


def reduce_skycell(
    planes: Mapping[str, BandPlanes],
    *,
    skycell: "Skycell",
    settings: Settings,
    strip_rows: int = STRIP_ROWS,
) -> ReducedSkycell:
    """Reduce the stacks of one skycell.

    Parameters
    ----------
    planes : mapping of str to BandPlanes
        The bands present, any order; read front to back.
    skycell : Skycell
        Its name and size.
    settings : Settings
        Bits to leave out, detection.
    strip_rows : int
        Image rows taken at a time; the result doesn't depend on it.

    Returns
    -------
    ReducedSkycell
        With exposure times, epochs and counts of absurd pixels in ``meta.bands``.

    Raises
    ------
    RenderingError
        If there is no band, an unknown one, a plane of another shape than the skycell's, too many
        absurd pixels, light that can't be coded, or SEP's buffers overflow.
    """
    _check_planes(planes, skycell)
    bands = tuple(band for band in BANDS if band in planes)
    images = {band: planes[band].image for band in bands}
    sums = sum_strips({band: planes[band] for band in bands}, settings, strip_rows)
    about = {
        band: _about(images[band], sums[band], f"{skycell.name} band {band}") for band in bands
    }
    # The next steps need memory; the files' bytes are not needed any more.
    del planes, images
    cells = {band: _cell_sums(sums[band].boxes) for band in bands}
    mask = sums[bands[0]].boxes.mask
    detection = detect_light(
        cells, settings=settings, saturated=_saturated_cells(mask), name=skycell.name
    )
    coded = [
        _code_band(sums[band], cells[band], detection, k, name=f"{skycell.name} band {band}")
        for k, band in enumerate(bands)
    ]
    return ReducedSkycell(
        name=skycell.name,
        shape=(skycell.ny, skycell.nx),
        bands=bands,
        mask=mask,
        valid=_valid_bits({band: sums[band].boxes.usable for band in bands}, skycell),
        noise_correlation=detection.noise_correlation,
        meta=Provenance(about),
        **{key: np.stack([band[key] for band in coded]) for key in coded[0]},
    )


def _check_planes(planes: Mapping[str, BandPlanes], skycell: "Skycell") -> None:
    """Raise `RenderingError` unless `planes` are the skycell's."""
    if not planes:
        raise RenderingError(f"{skycell.name} has no band to reduce: give at least one of {BANDS}")
    for band, trio in planes.items():
        if band not in BANDS:
            raise RenderingError(f"{skycell.name}: band {band!r} is unknown: give bands of {BANDS}")
        for kind in ("image", "variance", "mask"):
            shape = tuple(getattr(trio, kind).shape)
            if shape != (skycell.ny, skycell.nx):
                raise RenderingError(
                    f"{skycell.name} band {band}: {kind} has shape {shape}, but the skycell has "
                    f"{(skycell.ny, skycell.nx)}: fetch the file of this skycell"
                )


def _about(image: StackPlane, sums: BandSums, name: str) -> BandOrigin:
    """Return what is kept about a band's stack; raise where its pixels make no sense."""
    usable = int(sums.boxes.usable.sum(dtype=np.int64))
    check_absurd(sums.absurd, usable, image.exptime_s, name)
    return BandOrigin(image.exptime_s, image.mjd_obs, sums.absurd)


def _cell_sums(boxes: BoxSums) -> CellSums:
    """Return the 1" sums of one band."""
    flux = np.empty(boxes.variance.shape, np.float32)
    count = np.empty(boxes.variance.shape, np.uint8)
    detect.sum_cells(boxes.flux, boxes.counts, flux, count)
    return CellSums(flux, boxes.variance, count)


def _saturated_cells(mask: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Return the 8" cells with a saturated pixel in any band, (n8y, n8x)."""
    is_saturated = mask & np.uint16(StackMask.SAT) != 0
    padded = np.pad(is_saturated, [(0, -side % 4) for side in mask.shape])
    rows, columns = (side // 4 for side in padded.shape)
    return np.asarray(padded.reshape(rows, 4, columns, 4).any(axis=(1, 3)))


def _code_band(
    sums: BandSums,
    cells: CellSums,
    detection: Detection,
    k: int,
    *,
    name: str,
) -> dict[str, Any]:
    """Return the fields of band `k` of those present, coded."""
    light, left_out, left_out_count = _split_band(sums, detection, k)
    variance = np.zeros((2, *light.faint.shape))
    decimate.split_variance(cells.variance, detection.detected, variance)
    sigma = _typical_sigma(cells)
    try:
        return {
            "light": asinh_encode(light.light, sigma),
            "light_sigma": np.float64(sigma),
            "left_out": asinh_encode(left_out, sigma),
            "faint": asinh_encode(light.faint, 4 * sigma),
            "faint_sigma": np.float64(4 * sigma),
            "level": detection.levels[k],
            "variance": variance_encode(variance, 4 * sigma),
            "variance_sigma": np.float64(4 * sigma),
            "count": light.counts,
            "left_out_count": left_out_count,
            "flagged": sums.boxes.flagged,
        }
    except RenderingError as error:
        raise RenderingError(f"{name}: {error}") from error


def _split_band(
    sums: BandSums, detection: Detection, k: int
) -> tuple[decimate.CoarseSums, NDArray[np.float64], NDArray[np.uint16]]:
    """Bring the boxes of the k-th band present to the grids that are kept.

    Returns detected and undetected light above the level and counts, left-out light (2" cells), and
    the number of left-out pixels (8" cells).

    Detected + undetected + left-out light + level x counts is all the light, but for what the
    spline loses at the skycell's edge.
    """
    shape = sums.boxes.usable.shape
    light = decimate.CoarseSums(
        np.zeros(shape, np.float32),
        np.zeros(sums.boxes.flagged.shape),
        np.zeros(sums.boxes.flagged.shape, np.uint16),
    )
    level = detection.levels[k]
    boxes = decimate.Boxes(
        sums.boxes.flux, sums.boxes.counts, detection.detected, level, detection.pedestals[k]
    )
    decimate.split_light(boxes, decimate.SPLINE, light)
    left_out = np.zeros(shape)
    left_out_count = np.zeros(sums.boxes.flagged.shape, np.uint16)
    row, column, flux, count = sums.left_out_boxes()
    above = (flux - level[row >> 7, column >> 7] * count).astype(np.float32)
    decimate.scatter_light(row, column, above, decimate.SPLINE, left_out)
    np.add.at(left_out_count, (row >> 4, column >> 4), count)
    return light, left_out, left_out_count


def _typical_sigma(cells: CellSums) -> float:
    """Return the noise of a typical 2" cell; 1 if no variance is above 0.

    1 is what PS1 reaches in r (0.125 per pixel, 64 pixels): codes then step by 1/16, and light up
    to 2.8e6 fits.
    """
    sample = cells.variance[::3, ::3][cells.count[::3, ::3] == 16]
    some = sample[sample > 0]
    if some.size == 0:
        some = cells.variance[cells.variance > 0]
    # four cells of 1"
    return float(np.sqrt(4 * detect.median(some))) if some.size else 1.0


def _valid_bits(usable: Mapping[str, NDArray[np.uint8]], skycell: "Skycell") -> NDArray[np.uint8]:
    """Return the bands that have data in `_WHOLE` of the pixels of each 2" cell and of all around.

    The spline takes a cell's light from its neighbours too.
    """
    rows, columns = (
        np.minimum(8, size - np.arange(0, size, 8)) for size in (skycell.ny, skycell.nx)
    )
    inside = rows[:, None] * columns
    bits = np.zeros(inside.shape, np.uint8)
    lost = np.zeros([size + 2 for size in inside.shape], np.uint8)
    for band, count in usable.items():
        bit = np.uint8(1 << BANDS.index(band))
        bits |= bit
        lost[1:-1, 1:-1][count < _WHOLE * inside] |= bit
    ny, nx = inside.shape
    for j, i in itertools.product(range(3), range(3)):
        bits &= ~lost[j : j + ny, i : i + nx]
    return bits
