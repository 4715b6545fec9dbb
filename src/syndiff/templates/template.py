"""The product: templates sampled from a scene, at an offset or at another FFI's pointing."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

import numpy as np

from syndiff.config import MAX_OFFSET_PX
from syndiff.errors import RenderingError
from syndiff.kernels.planes import Limits, Sampled, finish_noise, finish_planes
from syndiff.kernels.sample import pick_flags, sample_boxes, sample_constant, sample_field
from syndiff.masks import DataQuality
from syndiff.scenes.scene import AUX_SAMPLES_PER_PX, SAMPLES_PER_PX, SceneStrip

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from syndiff.kernels.sample import Places
    from syndiff.sky.displacement import Displacement
    from syndiff.window import Window

__all__ = [
    "MIN_COVERAGE",
    "Template",
    "check_reach",
    "follow_flux",
    "follow_noise",
    "follow_template",
    "interpolation_table",
    "interpolation_taps",
    "near_flags",
    "sample_template",
]

MIN_COVERAGE = 0.5
"""Below this part of the response covered, the flux is dominated by the gap."""

_TAPS = 12
_KAISER_BETA = 12.0
_WHOLE = 0.9998
"""Coverage below which a pixel is flagged as covered in part. Where nothing is missing it is above
0.9999; at 0.9996, beside a gap, pixels err by up to 1.7 %."""

_LIMITS = Limits(
    np.float32(_WHOLE),
    np.float32(MIN_COVERAGE),
    np.int32(DataQuality.PARTIAL_COVERAGE),
    np.int32(DataQuality.NO_COVERAGE),
)
_STRIP_ROWS = 64
_TABLE_STEPS = 1024
# Taps interpolated between entries this close err by 1e-6 of a star's peak.


@dataclass(frozen=True, repr=False)
class Template:
    """A template's planes over a window of the FFI.

    With N samples per pixel and axis, a sample's flux is what a whole TESS pixel centred there
    records, over N^2; so are its counts and its uncertainty. Sums over samples are those over
    pixels; neighbouring samples see the same light.

    Parameters
    ----------
    flux : (ny, nx) float32
        TESS-weighted PS1 flux in the pixel, AB zero point 25; NaN where less than half of the
        response is covered.
    count, mask : (ny, nx) int32
        PS1 pixels that contributed (weighted over bands), and those with any mask bit.
    uncertainty : (ny, nx) float32
        One standard deviation of `flux`; NaN as `flux`.
    coverage : (ny, nx) float32
        Part of the pixel's response that falls on valid data, 0 to 1.
    quality : (ny, nx) int32
        `DataQuality` bits.
    faint : (ny, nx) float32
        Estimate of the light in the pixel that `flux` leaves out, smoothed; NaN as `flux`.
    faint_error : (ny, nx) float32
        One standard deviation of it; NaN as `flux`.

    Examples
    --------
    >>> from syndiff import Template, Window
    >>> template = Template.blank(Window(0, 0, 4, 3))
    >>> template
    <Template of 4 x 3: flux, count, mask, uncertainty, coverage, quality, faint, faint_error>
    >>> template.flux.shape, float(template.coverage.max()), int(template.quality[0, 0])
    ((3, 4), 0.0, 1)
    """

    flux: NDArray[np.float32]
    count: NDArray[np.int32]
    mask: NDArray[np.int32]
    uncertainty: NDArray[np.float32]
    coverage: NDArray[np.float32]
    quality: NDArray[np.int32]
    faint: NDArray[np.float32]
    faint_error: NDArray[np.float32]

    def __repr__(self) -> str:
        ny, nx = self.flux.shape
        return f"<Template of {nx} x {ny}: {', '.join(_DTYPES)}>"

    @classmethod
    def blank(cls, window: Window, oversample: int = 1) -> Template:
        """Return a template without coverage.

        Parameters
        ----------
        window : Window
            FFI pixels to hold.
        oversample : int
            Samples per pixel and axis.

        Returns
        -------
        Template
            Its planes.
        """
        outside = dict.fromkeys(("flux", "uncertainty", "faint", "faint_error"), np.nan)
        outside["quality"] = DataQuality.NO_COVERAGE
        shape = oversample * window.shape[0], oversample * window.shape[1]
        planes = {
            name: np.full(shape, outside.get(name, 0), dtype) for name, dtype in _DTYPES.items()
        }
        return cls(**planes)

    def part(self, held: Window, window: Window) -> Template:
        """Return a part of the template, on the same memory.

        Parameters
        ----------
        held : Window
            FFI pixels wanted.
        window : Window
            FFI pixels of this template; contains `held`.

        Returns
        -------
        Template
            Views of the planes.
        """
        samples = self.flux.shape[0] // window.shape[0]
        y, x = samples * (held.y0 - window.y0), samples * (held.x0 - window.x0)
        ny, nx = samples * held.shape[0], samples * held.shape[1]
        return self.cut(slice(y, y + ny), slice(x, x + nx))

    def fill(self, planes: Template) -> None:
        """Copy all planes from another template of the same shape.

        Parameters
        ----------
        planes : Template
            What to copy.
        """
        for field in fields(self):
            getattr(self, field.name)[...] = getattr(planes, field.name)

    def cut(self, rows: slice, columns: slice) -> Template:
        """Return some rows and columns of every plane, on the same memory.

        Parameters
        ----------
        rows, columns : slice
            Of samples.

        Returns
        -------
        Template
            Views of the planes.
        """
        planes = {field.name: getattr(self, field.name) for field in fields(self)}
        return Template(**{name: plane[rows, columns] for name, plane in planes.items()})


_DTYPES: dict[str, type[np.generic]] = {
    "flux": np.float32,
    "count": np.int32,
    "mask": np.int32,
    "uncertainty": np.float32,
    "coverage": np.float32,
    "quality": np.int32,
    "faint": np.float32,
    "faint_error": np.float32,
}


def interpolation_taps(fraction: float) -> NDArray[np.float32]:
    """Return the weights that interpolate a scene between its samples.

    Parameters
    ----------
    fraction : float
        Place between two samples, 0 to 1.

    Returns
    -------
    (12,) float32
        Weights of samples -5 to 6; they sum to one.

    Notes
    -----
    Sinc with a Kaiser window, beta 12: errs by 2e-6 to 6e-6 of a star's peak at 4 samples per
    pixel (beta 6: 3e-4; 8 taps: 1e-4). Taps that don't sum to one err by 6e-4 pixel.
    """
    distance = np.arange(_TAPS) - (_TAPS // 2 - 1) - fraction
    inside = np.clip(1 - (distance / (_TAPS / 2)) ** 2, 0, None)
    taps = np.sinc(distance) * np.i0(_KAISER_BETA * np.sqrt(inside))
    return np.asarray(taps / taps.sum(), np.float32)


@functools.cache
def interpolation_table() -> NDArray[np.float32]:
    """Return `interpolation_taps` at evenly spaced fractions, for fields of displacements.

    Returns
    -------
    (1025, 12) float32
        Weights at 0, 1/1024, ... 1; what is interpolated between rows sums to one too.
    """
    return _table(interpolation_taps, _TABLE_STEPS)


def sample_template(
    scene: SceneStrip,
    *,
    origin: tuple[int, int],
    window: Window,
    offset: tuple[float, float],
    oversample: int = 1,
    out: Template | None = None,
) -> Template:
    """Sample a scene at the pixels of a window, moved by an offset.

    Parameters
    ----------
    scene : SceneStrip
        Scene samples that reach 4 pixels beyond the window.
    origin : (int, int)
        FFI pixel (x, y) of the scene's first sample.
    window : Window
        FFI pixels of the template.
    offset : (float, float)
        (dx, dy): every source is (+dx, +dy) TESS pixels from its position by the WCS.
    oversample : int
        Samples per pixel and axis, see `Template`.
    out : Template, optional
        Receives the planes.

    Returns
    -------
    Template
        The planes over the window; `out` where given.
    """
    whole = Template.blank(window, oversample) if out is None else out

    def sampler(x: float, y: float, rows: slice) -> _Regular:
        start = (window.x0 + x - offset[0] - origin[0], window.y0 + y - offset[1] - origin[1])
        return _Regular(start, (rows.stop - rows.start, window.shape[1]), rows.start)

    area = np.broadcast_to(np.float32(1 / oversample**2), window.shape)
    _sample_strips(scene, sampler, area, whole, oversample)
    return whole


def follow_template(
    scene: SceneStrip,
    *,
    origin: tuple[int, int],
    window: Window,
    displacement: Displacement,
    oversample: int = 1,
    out: Template | None = None,
) -> Template:
    """Sample a scene at the pointing of another FFI.

    Parameters
    ----------
    scene : SceneStrip
        Scene samples that reach 4 pixels beyond the window.
    origin : (int, int)
        FFI pixel (x, y) of the scene's first sample.
    window : Window
        Pixels of the FFI that is followed.
    displacement : Displacement
        That FFI against the one the scene was made for.
    oversample : int
        Samples per pixel and axis, see `Template`.
    out : Template, optional
        Receives the planes.

    Returns
    -------
    Template
        The planes over the window; `out` where given.

    Raises
    ------
    RenderingError
        If the displacement leaves the scene somewhere in the window.

    Notes
    -----
    Fluxes grow with the pixels' area on the sky, the Jacobian of the displacement.
    """
    check_reach(displacement, window)
    whole = Template.blank(window, oversample) if out is None else out
    corner = origin[1], origin[0]

    def sampler(x: float, y: float, rows: slice) -> _Followed:
        places = displacement.places(window.x0, window.y0 + rows.start, beside=(x, y))
        return _Followed(places, corner, (rows.stop - rows.start, window.shape[1]))

    area = displacement.area(window) * np.float32(1 / oversample**2)
    near = SceneStrip(scene.flux, scene.aux, near_flags(scene.flags))
    _sample_strips(near, sampler, area, whole, oversample)
    return whole


def _sample_strips(
    scene: SceneStrip,
    sampler: Callable[[float, float, slice], _Sampler],
    area: NDArray[np.float32],
    out: Template,
    oversample: int,
) -> None:
    """Fill a template strip by strip; `sampler` is given a position in the pixel and rows.

    What a strip takes in between stays in the cache, and memory is not asked for again.
    """
    steps, ny = _steps(oversample), len(area)
    for (j, y), (i, x) in itertools.product(enumerate(steps), repeat=2):
        samples = out.cut(slice(j, None, oversample), slice(i, None, oversample))
        for first in range(0, ny, _STRIP_ROWS):
            rows = slice(first, min(first + _STRIP_ROWS, ny))
            strip = _template(scene, sampler(x, y, rows), area[rows])
            samples.cut(rows, slice(None)).fill(strip)


def follow_flux(
    scene: SceneStrip, *, origin: tuple[int, int], window: Window, displacement: Displacement
) -> NDArray[np.float32]:
    """Return the flux alone of `follow_template`, whatever the coverage.

    Parameters
    ----------
    scene, origin, window, displacement
        As of `follow_template`.

    Returns
    -------
    (ny, nx) float32
        Flux in each pixel.

    Raises
    ------
    RenderingError
        If the displacement leaves the scene somewhere in the window.
    """
    check_reach(displacement, window)
    places = displacement.places(window.x0, window.y0)
    sampler = _Followed(places, (origin[1], origin[0]), window.shape)
    return sampler.interpolate(scene.flux, SAMPLES_PER_PX, _FLUX) * displacement.area(window)


def follow_noise(
    scene: SceneStrip, *, origin: tuple[int, int], window: Window, displacement: Displacement
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the uncertainty and the flags of `follow_template` alone.

    Parameters
    ----------
    scene : SceneStrip
        Of its ``aux`` the variance and the coverage alone, and flags of `near_flags`.
    origin, window, displacement
        As of `follow_template`.

    Returns
    -------
    uncertainty : (ny, nx) float32
        One standard deviation; NaN where less than half of the response is covered.
    quality : (ny, nx) int32
        `DataQuality` bits.

    Raises
    ------
    RenderingError
        If the displacement leaves the scene somewhere in the window.
    """
    check_reach(displacement, window)
    sampler = _Followed(displacement.places(window.x0, window.y0), origin[::-1], window.shape)
    variance, coverage = (
        sampler.interpolate(plane, AUX_SAMPLES_PER_PX, kernel)
        for plane, kernel in zip(scene.aux, (_AUX_KERNELS[0], _AUX_KERNELS[3]), strict=True)
    )
    uncertainty, quality = np.empty(window.shape, np.float32), np.empty(window.shape, np.int32)
    flags = sampler.combine(scene.flags)
    finish_noise(
        (variance, coverage), displacement.area(window), flags, _LIMITS, (uncertainty, quality)
    )
    return uncertainty, quality


def check_reach(displacement: Displacement, window: Window) -> None:
    """Raise if a displacement is larger than what scenes hold around their window.

    Parameters
    ----------
    displacement : Displacement
        The field.
    window : Window
        Pixels of the FFI that is followed.

    Raises
    ------
    RenderingError
        If it is larger than 2 pixels along x or y somewhere in the window.
    """
    largest = displacement.largest(window)
    if not largest <= MAX_OFFSET_PX:
        raise RenderingError(
            f"the sky is displaced by up to {largest:.2f} px from the scene's reference FFI, a "
            f"scene reaches {MAX_OFFSET_PX:g} px: run `syndiff pipeline` with this FFI as "
            "TESS_FITS and another `data_root`"
        )


def _steps(oversample: int) -> list[float]:
    """Return where a pixel's samples are along an axis, from its centre."""
    return [(k + 0.5) / oversample - 0.5 for k in range(oversample)]


class _Sampler(Protocol):
    """Takes the planes of a scene to pixels."""

    def interpolate(
        self, plane: NDArray[np.float32], samples_per_px: int, kernel: _Kernel
    ) -> NDArray[np.float32]:
        """Return a plane's values at the pixels."""

    def combine(self, flags: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the flags within one pixel of each pixel's centre, where most of its light is."""


@dataclass(frozen=True)
class _Kernel:
    """Weights of samples around a place, and how many straight lines describe them."""

    taps: Callable[[float], NDArray[np.float32]]
    pieces: int


@dataclass(frozen=True)
class _Regular:
    """Pixels one after another, from row `first` on.

    `start` is the place of row 0's first one, in pixels from the scene's: the same for all rows, so
    that rounding is.
    """

    start: tuple[float, float]
    shape: tuple[int, int]
    first: int

    def interpolate(
        self, plane: NDArray[np.float32], samples_per_px: int, kernel: _Kernel
    ) -> NDArray[np.float32]:
        x, y = self.start
        (row, down), (column, right) = (_split(v * samples_per_px) for v in (y, x))
        out = np.empty(self.shape, np.float32)
        vertical, horizontal = _taps(kernel, down), _taps(kernel, right)
        before = vertical.size // 2 - 1
        first = row + self.first * samples_per_px - before, column - before
        sample_constant(plane, *first, samples_per_px, vertical, horizontal, out)
        return out

    def combine(self, flags: NDArray[np.uint8]) -> NDArray[np.uint8]:
        x, y = self.start
        row, column = (round(v * AUX_SAMPLES_PER_PX) - AUX_SAMPLES_PER_PX for v in (y, x))
        row += self.first * AUX_SAMPLES_PER_PX
        out = np.empty(self.shape, np.uint8)
        sample_boxes(flags, row, column, AUX_SAMPLES_PER_PX, _FLAG_BOX, out)
        return out


@dataclass(frozen=True)
class _Followed:
    """Pixels where another FFI's are; `corner` is the scene's first row and column, FFI pixels.

    Flags are those of `near_flags`.
    """

    places: Places
    corner: tuple[int, int]
    shape: tuple[int, int]

    def interpolate(
        self, plane: NDArray[np.float32], samples_per_px: int, kernel: _Kernel
    ) -> NDArray[np.float32]:
        out = np.empty(self.shape, np.float32)
        corner = self.corner[0] * samples_per_px, self.corner[1] * samples_per_px
        table = _table(kernel.taps, kernel.pieces)
        sample_field(plane, corner, samples_per_px, table, self.places, out)
        return out

    def combine(self, flags: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = np.empty(self.shape, np.uint8)
        row, column = (v * AUX_SAMPLES_PER_PX + AUX_SAMPLES_PER_PX for v in self.corner)
        pick_flags(flags, (row, column), AUX_SAMPLES_PER_PX, self.places, out)
        return out


@functools.lru_cache(maxsize=16)
def _taps(kernel: _Kernel, fraction: float) -> NDArray[np.float32]:
    """Return a kernel's weights; every strip of a template asks for the same."""
    return kernel.taps(fraction)


@functools.cache
def _table(taps: Callable[[float], NDArray[np.float32]], pieces: int) -> NDArray[np.float32]:
    """Return weights at evenly spaced fractions, without outer ones that are always zero."""
    table = np.stack([taps(k / pieces) for k in range(pieces + 1)])
    while not table[:, [0, -1]].any():
        table = np.ascontiguousarray(table[:, 1:-1])
    return table


def near_flags(flags: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return, for every flag but the outermost, those within one pixel of it.

    Parameters
    ----------
    flags : (rows, columns) uint8
        Of a scene.

    Returns
    -------
    (rows - 4, columns - 4) uint8
        Combined by "or".
    """
    boxes = np.empty(tuple(side - _FLAG_BOX + 1 for side in flags.shape), np.uint8)
    sample_boxes(flags, 0, 0, 1, _FLAG_BOX, boxes)
    return boxes


def _template(scene: SceneStrip, sampler: _Sampler, area: NDArray[np.float32]) -> Template:
    """Return the planes; `area` is that of a pixel (or sample) relative to the scene's."""
    flux = sampler.interpolate(scene.flux, SAMPLES_PER_PX, _FLUX)
    sampled = Sampled(
        flux,
        *(
            sampler.interpolate(plane, AUX_SAMPLES_PER_PX, kernel)
            for plane, kernel in zip(scene.aux, _AUX_KERNELS, strict=True)
        ),
    )
    counts, masked, quality = (np.empty(flux.shape, np.int32) for _ in range(3))
    shares = np.ascontiguousarray(area)
    flags = sampler.combine(scene.flags)
    finish_planes(sampled, shares, flags, _LIMITS, (counts, masked, quality))
    return Template(
        flux,
        counts,
        masked,
        sampled.variance,
        sampled.coverage,
        quality,
        sampled.faint,
        sampled.faint_error,
    )


def _split(value: float) -> tuple[int, float]:
    whole = math.floor(value)
    return whole, value - whole


def _linear_taps(fraction: float) -> NDArray[np.float32]:
    """Return weights of two samples for a linear interpolation; first sample 0."""
    return np.array([0, 1 - fraction, fraction, 0], np.float32)


def _box_taps(fraction: float) -> NDArray[np.float32]:
    """Return how much of each of four samples is within a pixel.

    The pixel is centred between the second and the third; a sample is half a pixel wide.
    """
    distance = np.abs(np.arange(-1, 3) - fraction)
    return np.asarray(np.clip(1.5 - distance, 0, 1), np.float32)


_FLUX = _Kernel(interpolation_taps, _TABLE_STEPS)
_LINEAR = _Kernel(_linear_taps, 1)
_BOX = _Kernel(_box_taps, 2)
_AUX_KERNELS = _LINEAR, _BOX, _BOX, _LINEAR, _BOX, _BOX
_FLAG_BOX = 2 * AUX_SAMPLES_PER_PX + 1
