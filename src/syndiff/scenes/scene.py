"""The scene: what TESS would see, at 4 samples per pixel, rendered tile by tile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import scipy.fft
from scipy.ndimage import binary_dilation, binary_erosion

from syndiff.ffi.tiles import EDGE_PX, TILE_PX, TileGrid
from syndiff.kernels.splat import splat_cells, splat_flags
from syndiff.scenes.combine import COARSE_PLANES
from syndiff.scenes.doubt import DOUBTS
from syndiff.scenes.prf import gaussian_transfer, sky_jacobian
from syndiff.stars.noise import add_star_noise, located_errors
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from syndiff.ffi.observation import Frame
    from syndiff.scenes.combine import Contribution
    from syndiff.scenes.prf import Response
    from syndiff.sky.mapping import Lattice

__all__ = [
    "AUX_PLANES",
    "AUX_SAMPLES_PER_PX",
    "SAMPLES_PER_PX",
    "SceneRenderer",
    "SceneStrip",
]

_Scalar = TypeVar("_Scalar", np.float32, np.uint8)

SAMPLES_PER_PX = 4
"""Samples of the scene per TESS pixel and axis: its spectrum ends at 2 cycles per pixel."""

AUX_SAMPLES_PER_PX = 2
"""Samples of variance, counts and flags per TESS pixel and axis."""

AUX_PLANES = ("variance", "count", "flagged", "coverage", "faint", "faint_error")
"""Variance of a pixel's flux; PS1 pixels at a sample, valid and flagged; covered part of the
response; light at a sample that is left out, and its error."""

_CELL_VARIANCE_PX2 = 8**2 / 4 + (2**2 - 1) / 12
"""Blur of the light on 2" cells, in square PS1 pixels: quadratic B-spline and 2 x 2 boxes."""

_COARSE_VARIANCE_PX2 = (32**2 - 1) / 12
"""Blur of sums over 8" cells, in square PS1 pixels."""

_SPLAT_VARIANCE = 1 / 4
"""Blur of the splat, in square nodes: quadratic B-spline."""

_MIN_NODES_PER_PX = 8
"""What the spline folds back of stars of 0.8" in a CCD's corner: 3.3e-4 of peak at worst with 6
nodes, 2.3e-4 with 8, which cost 0.5 ms more a tile; with 4, 6e-5 rms even at sigma 60."""

_DOUBTFUL_PART = 0.01
"""Part of a sample's flux that may be wrong without a flag."""

_DOUBTFUL_SIGMAS = 0.5
"""The same over its uncertainty, if that is more."""

_LEAST_RESPONSE = 2e-5
"""Of its peak: where the spectrum is cut off, the response ends in ripples of as much."""

_SQUARE = np.ones((3, 3), np.bool_)

_PRESENT_ENOUGH = 0.98
"""The splat of a complete sky ripples by less than this leaves."""


@dataclass(frozen=True)
class SceneStrip:
    """A row of tiles, rendered.

    Parameters
    ----------
    flux : (rows, columns) float32
        Flux in a TESS pixel centred at each of 4 x 4 samples per pixel, AB zero point 25.
    aux : (6, rows / 2, columns / 2) float32
        `AUX_PLANES` at 2 x 2 samples per pixel.
    flags : (rows / 2, columns / 2) uint8
        `DataQuality` bits at 2 x 2 samples per pixel.
    """

    flux: NDArray[np.float32]
    aux: NDArray[np.float32]
    flags: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Grids:
    """What skycells add to a strip."""

    light: NDArray[np.float64]
    """(1, rows, columns) on nodes."""
    aux: NDArray[np.float64]
    """(10, rows, columns): `COARSE_PLANES` on nodes."""
    flags: NDArray[np.uint8]


class SceneRenderer:
    """Renders the tiles of one CCD with one response.

    Parameters
    ----------
    frame : Frame
        Pixel grid of the FFI.
    response : Response
        The pixel response.

    Notes
    -----
    Light on 2" cells is scattered with quadratic B-splines onto f nodes per TESS pixel (f at
    least 4 times the cut, so that what the spline folds back stays below 3e-5 of a peak),
    transformed once a tile, multiplied by the response with the blur of cells and splat undone,
    and transformed back at 4 samples per pixel. The responses of the tile's four corners are
    blended bilinearly.
    """

    def __init__(self, frame: Frame, response: Response) -> None:
        self.frame = frame
        self.grid = TileGrid(frame.science)
        self.nodes_per_px = max(_MIN_NODES_PER_PX, math.ceil(4 * response.cut))
        self.margin_px = 4 * math.ceil((EDGE_PX + response.reach_px) / 4)
        self.response = response
        self._side_px = TILE_PX + 2 * self.margin_px
        highest = round(response.cut * self._side_px)
        self._kx = np.arange(highest + 1) / self._side_px
        self._ky = np.concatenate([self._kx, -self._kx[:0:-1]])
        self._transfers: dict[tuple[int, ...], NDArray[np.float32] | NDArray[np.complex64]] = {}
        self._corner_jacobians = self._all_corner_jacobians()
        self._last: tuple[int, range, _Grids] | None = None

    def _all_corner_jacobians(self) -> NDArray[np.float64]:
        """Return the Jacobians of every tile corner of the CCD, whatever part is rendered."""
        rows, columns = self.grid.shape
        x = self.frame.science.x0 + TILE_PX * np.arange(columns + 1.0)
        y = self.frame.science.y0 + TILE_PX * np.arange(rows + 1.0)
        return sky_jacobian(self.frame, *np.meshgrid(x, y))

    def transfer(
        self, row: int, column: int, patch: tuple[int, int]
    ) -> NDArray[np.float32] | NDArray[np.complex64]:
        """Return what the light's spectrum is multiplied by at a corner of the tiles.

        Parameters
        ----------
        row, column : int
            The corner that tile (row, column) starts at.
        patch : (int, int)
            Patch of the response that a tile at this corner is on.

        Returns
        -------
        (nky, nkx) float32 or complex64
            Response with the blur of cells and splat undone; complex where it is not symmetric.
        """
        key = row, column, *patch
        if key not in self._transfers:
            jacobian = self._corner_jacobians[row, column]
            blur = _CELL_VARIANCE_PX2 * jacobian @ jacobian.T
            blur += _SPLAT_VARIANCE / self.nodes_per_px**2 * np.eye(2)
            product = self._corner_response(row, column, patch)
            product = product * gaussian_transfer(-blur, self._kx, self._ky)
            self._transfers[key] = (
                product.astype(np.complex64)
                if np.iscomplexobj(product)
                else product.astype(np.float32)
            )
        return self._transfers[key]

    def _corner_response(
        self, row: int, column: int, patch: tuple[int, int]
    ) -> NDArray[np.float64] | NDArray[np.complex128]:
        """Return the transform of the response at the corner that tile (row, column) starts at."""
        science = self.frame.science
        place = science.x0 + TILE_PX * column, science.y0 + TILE_PX * row
        jacobian = self._corner_jacobians[row, column]
        return self.response.transfer(place, patch, jacobian, self._kx, self._ky)

    def _patch(self, row: int, column: int) -> tuple[int, int]:
        """Return the patch of the response that the middle of a tile is on."""
        tile = self.window(row, range(column, column + 1))
        return self.response.patch((tile.x0 + tile.x1 - 1) / 2, (tile.y0 + tile.y1 - 1) / 2)

    def forget_rows_before(self, row: int) -> None:
        """Free the responses of corners above a row of tiles.

        Parameters
        ----------
        row : int
            Row of tiles that comes next.
        """
        for key in [key for key in self._transfers if key[0] < row]:
            del self._transfers[key]

    def render(
        self,
        row: int,
        columns: range,
        contributions: Iterable[tuple[Lattice, Contribution]],
        *,
        goes_on: bool = False,
    ) -> SceneStrip:
        """Render neighbouring tiles of one row.

        Parameters
        ----------
        row : int
            Row of tiles.
        columns : range
            Columns of tiles, step 1.
        contributions : iterable of (Lattice, Contribution)
            Skycells in name order: the sum is taken in this order, so that it is bitwise the
            same for any part of the CCD.
        goes_on : bool
            Whether all calls with True are about the same sky: sums that the last one has in common
            with this one are kept then, a fifth of them where it was of the row before.

        Returns
        -------
        SceneStrip
            The tiles side by side, with `EDGE_PX` more pixels on each side.
        """
        grids, top_px = self._begin(row, columns, goes_on=goes_on)
        origin = np.array([self.frame.science.x0, self.frame.science.y0], float) - self.margin_px
        fine, coarse = self.nodes_per_px, AUX_SAMPLES_PER_PX
        corner = np.array([row, columns.start], np.int64) * TILE_PX
        errors = [np.zeros((0, 3))]
        for lattice, contribution in contributions:
            places = lattice.x, lattice.y, origin
            light, flags = contribution.light[None], contribution.flags
            splat_cells(light, 8, *places, fine, corner * fine, top_px * fine, grids.light)
            at = coarse, corner * coarse, top_px * coarse
            splat_cells(contribution.coarse, 2, *places, *at, grids.aux)
            splat_flags(flags, 8, *places, *at, grids.flags)
            errors.append(located_errors(lattice, contribution))
        if goes_on:
            self._last = row, columns, grids
        return self._render_grids(row, columns, grids, np.concatenate(errors))

    def _begin(self, row: int, columns: range, *, goes_on: bool) -> tuple[_Grids, int]:
        """Return grids to add to, and how many pixels' rows of them have their sums already."""
        last, self._last = self._last, None
        if not goes_on or last is None or last[:2] != (row - 1, columns):
            return self._empty_grids(len(columns)), 0
        grids = last[2]
        for grid in (grids.light, grids.aux, grids.flags):
            kept = grid.shape[-2] * 2 * self.margin_px // self._side_px
            grid[..., :kept, :] = grid[..., -kept:, :]
            grid[..., kept:, :] = 0
        return grids, 2 * self.margin_px

    def _empty_grids(self, tiles: int) -> _Grids:
        width = TILE_PX * tiles + 2 * self.margin_px
        fine, coarse = self.nodes_per_px, AUX_SAMPLES_PER_PX
        return _Grids(
            np.zeros((1, self._side_px * fine, width * fine)),
            np.zeros((len(COARSE_PLANES), self._side_px * coarse, width * coarse)),
            np.zeros((self._side_px * coarse, width * coarse), np.uint8),
        )

    def _render_grids(
        self, row: int, columns: range, grids: _Grids, errors: NDArray[np.float64]
    ) -> SceneStrip:
        height, width = TILE_PX + 2 * EDGE_PX, TILE_PX * len(columns) + 2 * EDGE_PX
        flux = np.zeros((height * SAMPLES_PER_PX, width * SAMPLES_PER_PX), np.float32)
        planes = np.zeros(
            (len(AUX_PLANES), height * AUX_SAMPLES_PER_PX, width * AUX_SAMPLES_PER_PX), np.float32
        )
        drop = (self.margin_px - EDGE_PX) * AUX_SAMPLES_PER_PX
        inner = grids.flags[drop : grids.flags.shape[0] - drop, drop : grids.flags.shape[1] - drop]
        doubtful = np.zeros_like(inner)
        for k, column in enumerate(columns):
            tile_light = self._cut(grids.light[0], k, self.nodes_per_px)
            tile_aux = self._cut(grids.aux, k, AUX_SAMPLES_PER_PX)
            where = k, len(columns)
            rendered = np.zeros((height * SAMPLES_PER_PX,) * 2, np.float32)
            if _is_lit(tile_light):
                rendered = self._render_tile(tile_light.astype(np.float32), row, column)
                self._place(rendered, flux, *where, SAMPLES_PER_PX)
            if _is_lit(tile_aux):
                rendered_aux, doubts = self._render_aux(tile_aux, row, column, errors)
                self._place(rendered_aux, planes, *where, AUX_SAMPLES_PER_PX)
                flags = _flag_doubts(doubts, rendered, rendered_aux[0])
                self._place(flags, doubtful, *where, AUX_SAMPLES_PER_PX)
        return SceneStrip(flux, planes, inner | doubtful)

    def _cut(self, grid: NDArray[np.float64], k: int, nodes: int) -> NDArray[np.float64]:
        """Return the part of a strip's grid that tile `k` of it needs."""
        start = TILE_PX * nodes * k
        return grid[..., start : start + self._side_px * nodes]

    @staticmethod
    def _place(
        tile: NDArray[_Scalar], strip: NDArray[_Scalar], k: int, tiles: int, samples: int
    ) -> None:
        """Put a tile (with its edge) into a strip; inner edges belong to the neighbours."""
        edge, size = EDGE_PX * samples, TILE_PX * samples
        start = edge if k > 0 else 0
        stop = edge + size + (edge if k == tiles - 1 else 0)
        strip[..., k * size + start : k * size + stop] = tile[..., start:stop]

    def _render_tile(
        self, light: NDArray[np.float32], row: int, column: int
    ) -> NDArray[np.float32]:
        """Return the flux of one tile and its edge, (rows, columns) float32.

        The blend in y is taken between the two one-dimensional transforms, the blend in x after
        them: four transforms in y on the kept columns only, and two in x.
        """
        kept = self._kx.size
        spectrum = scipy.fft.rfft(light, axis=1)[:, :kept]
        spectrum = scipy.fft.fft(spectrum, axis=0)[self._kept_rows(light.shape[0])]
        samples = self._side_px * SAMPLES_PER_PX
        inner = slice(
            (self.margin_px - EDGE_PX) * SAMPLES_PER_PX,
            (self.margin_px + TILE_PX + EDGE_PX) * SAMPLES_PER_PX,
        )
        place = (np.arange(samples) / SAMPLES_PER_PX - self.margin_px) / TILE_PX
        down = place[inner, None].astype(np.float32)
        patch = self._patch(row, column)
        sides = []
        for side in (0, 1):
            top, bottom = (
                self._inverse_rows(
                    spectrum * self.transfer(row + k, column + side, patch), samples
                )[inner]
                for k in (0, 1)
            )
            sides.append(scipy.fft.irfft(top + (bottom - top) * down, n=samples, axis=1)[:, inner])
        left, right = sides
        flux = left + (right - left) * down[:, 0]
        return np.asarray(flux * np.float32(SAMPLES_PER_PX**2), np.float32)

    def _kept_rows(self, size: int) -> NDArray[np.intp]:
        """Return the rows of a transform of `size` rows that the cut keeps."""
        highest = self._kx.size - 1
        return np.concatenate([np.arange(highest + 1), np.arange(size - highest, size)])

    def _inverse_rows(self, spectrum: NDArray[np.complex64], samples: int) -> NDArray[np.complex64]:
        padded = np.zeros((samples, spectrum.shape[1]), np.complex64)
        padded[self._kept_rows(samples)] = spectrum
        return np.asarray(scipy.fft.ifft(padded, axis=0, overwrite_x=True), np.complex64)

    def _render_aux(
        self, aux: NDArray[np.float64], row: int, column: int, errors: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return `AUX_PLANES` and `DOUBTS` of one tile and its edge, (k, rows, columns) float32.

        Variance is convolved with the square of the response at the tile's first corner, the
        covered part and the doubts with the response.
        """
        inner = slice(
            (self.margin_px - EDGE_PX) * AUX_SAMPLES_PER_PX,
            (self.margin_px + TILE_PX + EDGE_PX) * AUX_SAMPLES_PER_PX,
        )
        kernel = self._folded_response(row, column)
        response = scipy.fft.irfft2(kernel, s=aux.shape[1:])
        variance, count, flagged, full, missing, faint, faint_error, *doubts = aux

        jacobian = self._corner_jacobians[row, column]
        whole = 1 / abs(np.linalg.det(jacobian))
        present = _convolve(full, kernel) / whole
        coverage = np.clip(present / _PRESENT_ENOUGH, 0, 1)
        if missing.any():
            lost = _convolve(missing, kernel) / np.maximum(whole * present, 1e-3)
            coverage *= np.clip(1 - lost, 0, 1)
        # Deviations from zero and one are rounding errors of the transforms, not coverage.
        coverage[coverage < 1e-6] = 0
        coverage[coverage > 1 - 1e-6] = 1
        squared = scipy.fft.rfft2(response**2) * self._coarse_sharpening(jacobian)
        noise = np.maximum(_convolve(variance, squared), 0)
        corner = np.array([self.frame.science.x0, self.frame.science.y0], float) - self.margin_px
        corner += TILE_PX * np.array([column, row])
        if errors.size:
            fine = self._sampled_response(row, column)
            add_star_noise(noise, fine, errors, corner, AUX_SAMPLES_PER_PX)
        planes = (
            noise,
            count,
            flagged,
            coverage,
            faint,
            faint_error,
        )
        reached = [_convolve_part(plane, response)[inner, inner] for plane in doubts]
        return (
            np.stack([plane[inner, inner] for plane in planes]).astype(np.float32),
            np.stack(reached).astype(np.float32),
        )

    def _coarse_sharpening(self, jacobian: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the transform that undoes the blur of 8" cells and of their splat."""
        samples = self._side_px * AUX_SAMPLES_PER_PX
        blur = _COARSE_VARIANCE_PX2 * jacobian @ jacobian.T
        blur += _SPLAT_VARIANCE / AUX_SAMPLES_PER_PX**2 * np.eye(2)
        spacing = 1 / AUX_SAMPLES_PER_PX
        return gaussian_transfer(
            -blur, scipy.fft.rfftfreq(samples, spacing), scipy.fft.fftfreq(samples, spacing)
        )

    def _folded_response(self, row: int, column: int) -> NDArray[np.inexact[Any]]:
        """Return the transform of the response at the samples of `AUX_PLANES`, (n, n / 2 + 1).

        What the response holds beyond their Nyquist frequency is folded back, as sampling does.
        """
        # At n samples a side, waves k and k - n are the same numbers: their transforms add up.
        #
        #     kept     -highest [.. a ..] -n/2 [...... b ......] n/2 [.. c ..] highest
        #     folded                      -n/2 [. c . b ..  b . a .] n/2       a + n, c - n
        #
        # In x, k >= 0 alone is stored, since T(-kx, -ky) is the conjugate of T(kx, ky): a comes
        # from c reversed (`negative`), and what c adds is below 0. In y rows are 0 ... highest,
        # then -highest ... -1.
        transfer: NDArray[Any] = self._corner_response(row, column, self._patch(row, column))
        samples = self._side_px * AUX_SAMPLES_PER_PX
        half, highest = samples // 2, self._kx.size - 1
        # Both signs of kx, a period apart where one folds; rows likewise.
        columns = np.zeros((transfer.shape[0], half + 1), transfer.dtype)
        columns[:, : min(half, highest) + 1] = transfer[:, : half + 1]
        negative = np.roll(transfer[::-1], 1, axis=0).conj()
        folding = np.arange(half, highest + 1)
        columns[:, samples - folding] += negative[:, folding]
        # kx = samples, if it is kept at all, is kx = 0 once more.
        columns[:, :1] += transfer[:, samples : samples + 1].sum(axis=1, keepdims=True)
        out = np.zeros((samples, half + 1), transfer.dtype)
        for first in range(0, highest + 1, samples):
            part = columns[first : min(first + samples, highest + 1)]
            out[: len(part)] += part
        out[samples - highest :] += columns[highest + 1 :]
        return np.asarray(out * AUX_SAMPLES_PER_PX**2)

    def _sampled_response(self, row: int, column: int) -> NDArray[np.float64]:
        """Return the response at 4 samples per pixel, centred on sample (0, 0), wrapped.

        A node's light times this is what a pixel there records; its sum over samples is 16.
        """
        fine = 2 * AUX_SAMPLES_PER_PX
        samples = self._side_px * fine
        transfer = self._corner_response(row, column, self._patch(row, column))
        padded = np.zeros((samples, samples // 2 + 1), transfer.dtype)
        padded[self._kept_rows(samples), : self._kx.size] = transfer
        sampled = scipy.fft.irfft2(padded, s=(samples, samples)) * fine**2
        return np.asarray(sampled, np.float64)

    def window(self, row: int, columns: range) -> Window:
        """Return the FFI pixels of neighbouring tiles of one row.

        Parameters
        ----------
        row : int
            Row of tiles.
        columns : range
            Columns of tiles.

        Returns
        -------
        Window
            Without the edge.
        """
        return self.grid.pixels(Window(columns.start, row, columns.stop, row + 1))


def _is_lit(grid: NDArray[np.float64]) -> bool:
    """Tell whether a tile's grid holds anything; most often the first rows do."""
    return bool(grid[..., ::16, :].any() or grid.any())


def _convolve(plane: NDArray[np.float64], kernel: NDArray[np.inexact[Any]]) -> NDArray[np.float64]:
    """Convolve a plane with a kernel given by its transform."""
    return np.asarray(scipy.fft.irfft2(scipy.fft.rfft2(plane) * kernel, s=plane.shape), np.float64)


def _convolve_part(
    plane: NDArray[np.float64], response: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Convolve a mostly empty plane with a response, leaving out the ripples that it ends in."""
    if not plane.any():
        return plane
    whole = np.where(response > _LEAST_RESPONSE * response.max(), response, 0)
    return _convolve(plane, scipy.fft.rfft2(whole))


def _flag_doubts(
    doubts: NDArray[np.float32], flux: NDArray[np.float32], variance: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Flag the samples that light reaches which may be wrong by more than a little.

    A template's pixel has the flags of all samples within a pixel of it. So these are drawn in by
    half a pixel first, where they are as wide: they end half a pixel from where they should.
    """
    step = SAMPLES_PER_PX // AUX_SAMPLES_PER_PX
    allowed = _DOUBTFUL_PART * np.abs(flux[::step, ::step])
    np.maximum(allowed, _DOUBTFUL_SIGMAS * np.sqrt(variance), out=allowed)
    flags = np.zeros(variance.shape, np.uint8)
    for plane, bit in zip(doubts, DOUBTS.values(), strict=True):
        is_reached = plane > allowed
        if is_reached.any():
            core = binary_erosion(is_reached, _SQUARE, border_value=1)
            core |= is_reached & ~binary_dilation(core, _SQUARE)
            flags[core] |= np.uint8(bit)
    return flags
