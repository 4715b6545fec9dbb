"""An FFI's true pointing: the shift of its stars from their positions by its WCS."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from syndiff.constants import MAD_TO_SIGMA
from syndiff.errors import RenderingError
from syndiff.masks import DataQuality
from syndiff.templates.template import follow_flux

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syndiff.scenes.scene import SceneStrip
    from syndiff.sky.displacement import Displacement
    from syndiff.window import Window

__all__ = ["Refinement", "refine_displacement", "usable_pixels"]

FloatArray = NDArray[np.float64]

BLOCK_PX = 32
"""Side of the squares that are fitted one by one: the background is a plane in each."""

MAX_ORDER = 3
"""Total order of the polynomials that the residual displacement is made of."""

BLOCKS_PER_TERM = 3
"""Squares for each of a polynomial's terms: fewer squares, a lower order."""

MAX_ERROR_PX = 0.05
"""Largest error of a mean shift that is accepted."""

MAX_SHIFT_PX = 1.0
"""Largest shift that is accepted: beyond it, stars may be confused with each other."""

_STEP_PX = 0.05
_ROUNDS = 8
_SETTLED_PX = 1e-3
_BLOCK_ERROR_PX = 0.25
_CLIP = 4.0
_CLIP_ROUNDS = 6
_MIN_PIXELS = 128
_SCALE_RANGE = (0.5, 2.0)
# Of a square's scale over the median: outside this range it holds a variable star or none.
_FLAG_REACH_PX = 2
# Around flagged pixels, where light of flagged sources is wrong too.


@dataclass(frozen=True, eq=False)
class Refinement:
    """A smooth residual displacement, fitted to stars.

    Parameters
    ----------
    window : Window
        FFI pixels that it was fitted over.
    powers : tuple of (int, int)
        Orders (i, j) of each term: Legendre polynomials P_i(x) P_j(y) over the window.
    x, y : (terms,) float64
        Coefficients, FFI pixels: displacement of stars from their positions by the WCS.
    x_error, y_error : (terms,) float64
        Their standard deviations, scaled by how well the squares agree.
    blocks : int
        Squares that took part.
    chi2 : float
        Of the squares' shifts, per degree of freedom; 1 if there is none left.
    """

    window: Window
    powers: tuple[tuple[int, int], ...]
    x: FloatArray
    y: FloatArray
    x_error: FloatArray
    y_error: FloatArray
    blocks: int
    chi2: float

    @property
    def order(self) -> int:
        """Total order of the polynomials."""
        return max(i + j for i, j in self.powers)

    def __call__(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the residual displacement dx, dy at FFI pixels (0-based), in their shape."""
        terms = _terms(self.window, self.powers, x, y)
        return terms @ self.x, terms @ self.y

    def linear(self) -> tuple[FloatArray, FloatArray, float]:
        """Return the linear part of the displacement.

        Returns
        -------
        shift : (2,) float64
            Displacement at FFI pixel (0, 0).
        slope : (2, 2) float64
            Growth per pixel, rows dx and dy, columns along x and y.
        rest : float
            Largest displacement in the window that is left.
        """
        w = self.window
        x, y = (
            v.ravel()
            for v in np.meshgrid(
                np.linspace(w.x0, max(w.x1 - 1, w.x0 + 1), 33),
                np.linspace(w.y0, max(w.y1 - 1, w.y0 + 1), 33),
            )
        )
        values = np.stack(self(x, y), -1)
        columns = np.stack([np.ones_like(x), x, y], -1)
        if self.order == 0:
            return values[0], np.zeros((2, 2)), 0.0
        found = np.asarray(np.linalg.lstsq(columns, values, rcond=None)[0], np.float64)
        return found[0], found[1:].T, float(np.abs(values - columns @ found).max())

    def cards(self) -> Iterator[tuple[str, float | int | str, str]]:
        """Yield the header cards of a template.

        Yields
        ------
        (str, object, str)
            Keyword, value and comment.
        """
        yield "REFORDER", self.order, "order of the shift fitted to stars"
        yield "REFDX", float(self.x[0]), "[pix] shift by stars in x, mean"
        yield "REFDXERR", float(self.x_error[0]), "[pix] its standard deviation"
        yield "REFDY", float(self.y[0]), "[pix] shift by stars in y, mean"
        yield "REFDYERR", float(self.y_error[0]), "[pix] its standard deviation"
        yield "REFWCS", self.linear()[2], "[pix] largest shift that the WCS leaves out"
        yield "REFBLOCK", self.blocks, "squares with stars that took part"
        yield "REFCHI2", self.chi2, "of their shifts, per degree of freedom"
        rows = zip(self.powers, self.x, self.y, self.x_error, self.y_error, strict=True)
        for (i, j), *values in rows:
            for name, value in zip(("RFX", "RFY", "RFXE", "RFYE"), values, strict=True):
                yield f"{name}{i}_{j}", float(value), "[pix] term P_i(x) P_j(y) or its error"


def usable_pixels(quality: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return the pixels whose light is reliable, and which are not beside unreliable ones.

    Parameters
    ----------
    quality : (ny, nx) int32
        `DataQuality` bits of template and FFI.

    Returns
    -------
    (ny, nx) bool
        True where the pixel can be used to measure a star's position.
    """
    from scipy.ndimage import binary_dilation

    harmless = DataQuality.MISSING_BAND | DataQuality.HIGH_PROPER_MOTION
    spoilt = quality & ~np.int32(harmless) != 0
    # A star that was put back from a catalogue replaces the light that PS1 lost.
    spoilt &= (quality & DataQuality.REPLACED_STAR == 0) | (quality & DataQuality.NO_COVERAGE != 0)
    return ~np.asarray(binary_dilation(spoilt, iterations=_FLAG_REACH_PX))


def refine_displacement(
    scene: SceneStrip,
    image: NDArray[np.floating],
    uncertainty: NDArray[np.floating],
    usable: NDArray[np.bool_],
    *,
    origin: tuple[int, int],
    window: Window,
    displacement: Displacement,
) -> tuple[Refinement, Displacement]:
    """Fit the displacement of stars from their positions by the FFI's WCS.

    Parameters
    ----------
    scene : SceneStrip
        Scene samples that reach 4 pixels beyond the window.
    image, uncertainty : (ny, nx) float
        The FFI over the window and its standard deviation, of which only ratios matter.
    usable : (ny, nx) bool
        Pixels that can be compared with the scene.
    origin : (int, int)
        FFI pixel (x, y) of the scene's first sample.
    window : Window
        FFI pixels.
    displacement : Displacement
        By the WCS of both FFIs.

    Returns
    -------
    refinement : Refinement
        What was fitted.
    displacement : Displacement
        With it.

    Raises
    ------
    RenderingError
        If the stars can't measure it: too few of them, shifts that don't converge, or a shift so
        large that stars may be confused with each other.

    Notes
    -----
    In squares of 32 pixels, linear least squares with weights ``uncertainty**-2``::

        image = s (T + dx T_x + dy T_y + p T_xx + q T_yy) + b + b_x x + b_y y

    T is the template at the displacement so far; T_xx and T_yy account for a response that is wider
    or narrower than the scene's. Outlying pixels are clipped. The squares' shifts dx, dy,
    weighted by their errors and clipped too, give the polynomials; then everything is sampled
    anew, until nothing moves.
    """
    light, noise = image.astype(np.float64), uncertainty.astype(np.float64)
    good = usable & np.isfinite(light) & np.isfinite(noise) & (noise > 0)
    total: Refinement | None = None
    moved = displacement
    for _ in range(_ROUNDS):
        columns = _columns(scene, origin, window, moved)
        shifts = _block_shifts(light, noise, good, columns, window)
        if not len(shifts.x):
            raise RenderingError(
                f"no square of {BLOCK_PX} px has stars that measure a shift, of its pixels "
                f"{100 * good.mean():.0f} % are apart from flagged ones: give a larger region with "
                "more stars, put saturated stars back (`syndiff process` with `stars`), or "
                "follow its WCS, without `refine`"
            )
        step = _fit_polynomials(shifts, window)
        total = step if total is None else _sum(total, step)
        moved = displacement.moved(*total(*_clamped_nodes(displacement, window)))
        _check_size(total)
        if max(np.abs(step.x).sum(), np.abs(step.y).sum()) < _SETTLED_PX:
            return total, moved
    raise RenderingError(
        f"the shift of its stars doesn't converge after {_ROUNDS} rounds, the last step is "
        f"({step.x[0]:+.3f}, {step.y[0]:+.3f}) px: follow its WCS, without `refine`"
    )


def _sum(total: Refinement, step: Refinement) -> Refinement:
    """Add a step to what was found before; errors are those of the last fit."""
    x, y = (np.zeros(len(step.powers)) for _ in "xy")
    for k, powers in enumerate(step.powers):
        if powers in total.powers:
            before = total.powers.index(powers)
            x[k], y[k] = total.x[before], total.y[before]
    return Refinement(
        step.window,
        step.powers,
        x + step.x,
        y + step.y,
        step.x_error,
        step.y_error,
        step.blocks,
        step.chi2,
    )


def _check_size(total: Refinement) -> None:
    largest = float(np.hypot(total.x[0], total.y[0]))
    if largest > MAX_SHIFT_PX:
        raise RenderingError(
            f"its stars seem to be {largest:.2f} px from their positions by its WCS, up to "
            f"{MAX_SHIFT_PX:g} px can be measured: check its WCS, or follow it without `refine`"
        )
    error = float(np.hypot(total.x_error[0], total.y_error[0]))
    if not error <= MAX_ERROR_PX:
        raise RenderingError(
            f"its stars measure the shift to {error:.3f} px only, {MAX_ERROR_PX} is needed: give a "
            "larger region with more stars, or follow its WCS, without `refine`"
        )


def _clamped_nodes(displacement: Displacement, window: Window) -> tuple[FloatArray, FloatArray]:
    """Return the lattice's nodes, those far outside the window moved next to it.

    Polynomials grow without bounds where no star constrains them.
    """
    x, y = displacement.nodes()
    reach = displacement.spacing
    return (
        np.clip(x, window.x0 - reach, window.x1 - 1 + reach),
        np.clip(y, window.y0 - reach, window.y1 - 1 + reach),
    )


def _terms(
    window: Window, powers: tuple[tuple[int, int], ...], x: FloatArray, y: FloatArray
) -> FloatArray:
    """Return (..., terms) products of Legendre polynomials over a window."""
    from numpy.polynomial.legendre import legvander

    order = max(i + j for i, j in powers)
    across, down = (
        legvander((2 * v - low - high + 1) / max(high - low, 1), order)
        for v, low, high in ((x, window.x0, window.x1), (y, window.y0, window.y1))
    )
    return np.stack([across[..., i] * down[..., j] for i, j in powers], -1)


def _columns(
    scene: SceneStrip, origin: tuple[int, int], window: Window, displacement: Displacement
) -> NDArray[np.float32]:
    """Return T, T_x, T_y, T_xx and T_yy, (5, ny, nx)."""

    def flux(x: float, y: float) -> NDArray[np.float32]:
        shift = np.full_like(displacement.dx, x), np.full_like(displacement.dy, y)
        field = displacement.moved(*shift)
        return follow_flux(scene, origin=origin, window=window, displacement=field)

    # Central differences, whose error goes with h^2.
    h, middle = np.float32(_STEP_PX), flux(0.0, 0.0)
    right, left = flux(_STEP_PX, 0.0), flux(-_STEP_PX, 0.0)
    up, down = flux(0.0, _STEP_PX), flux(0.0, -_STEP_PX)
    slopes = (right - left) / (2 * h), (up - down) / (2 * h)
    curvatures = (right + left - 2 * middle) / h**2, (up + down - 2 * middle) / h**2
    return np.stack([middle, *slopes, *curvatures])


@dataclass(frozen=True, eq=False)
class _Shifts:
    """The squares' middles, their shifts (n, 2), and the shifts' variances."""

    x: FloatArray
    y: FloatArray
    shift: FloatArray
    variance: FloatArray


def _block_shifts(
    image: FloatArray,
    uncertainty: FloatArray,
    good: NDArray[np.bool_],
    columns: NDArray[np.float32],
    window: Window,
) -> _Shifts:
    """Fit every square by itself; return those that measure a shift."""
    found = []
    ny, nx = image.shape
    for rows in _parts(ny):
        for part in _parts(nx):
            inside = good[rows, part]
            if inside.sum() < _MIN_PIXELS:
                continue
            y, x = np.nonzero(inside)
            plane = np.stack([np.ones(x.size), x / BLOCK_PX - 0.5, y / BLOCK_PX - 0.5])
            matrix = np.concatenate([columns[:, rows, part][:, inside], plane])
            weight = 1 / uncertainty[rows, part][inside]
            fit = _fit_block((matrix * weight).T, image[rows, part][inside] * weight)
            if fit is not None:
                # The position of the stars that the shift comes from.
                told = ((matrix[1:3] * weight) ** 2).sum(axis=0)
                middle = np.average([x + part.start, y + rows.start], axis=1, weights=told)
                found.append((middle[0] + window.x0, middle[1] + window.y0, *fit))
    table = np.array(found).reshape(-1, 7)
    scale = table[:, 2]
    low, high = _SCALE_RANGE
    middle_scale = np.median(scale) if len(scale) else 1.0
    kept = table[(scale > low * middle_scale) & (scale < high * middle_scale)]
    return _Shifts(kept[:, 0], kept[:, 1], kept[:, 3:5], kept[:, 5:7])


def _parts(size: int) -> list[slice]:
    """Cut a side into parts of about `BLOCK_PX`."""
    count = max(1, round(size / BLOCK_PX))
    edges = [size * k // count for k in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _fit_block(matrix: FloatArray, target: FloatArray) -> tuple[float, ...] | None:
    """Return scale, shifts and their variances of one square; None if it measures none."""
    norms = np.linalg.norm(matrix, axis=0)
    if not (norms > 0).all():
        return None
    # Columns of length 1: light, slopes and curvatures are of different units and sizes, which the
    # condition number must not depend on.
    matrix = matrix / norms
    kept = np.ones(len(target), np.bool_)
    for _ in range(_CLIP_ROUNDS):
        if kept.sum() < _MIN_PIXELS:
            return None
        part = matrix[kept]
        normal = part.T @ part
        if not np.linalg.cond(normal) < 1e10:
            return None
        covariance = np.linalg.inv(normal)
        values = covariance @ (part.T @ target[kept])
        pulls = target - matrix @ values
        scatter = MAD_TO_SIGMA * float(np.median(np.abs(pulls[kept])))
        clipped = np.abs(pulls) <= _CLIP * scatter
        # Without noise half of the pulls can be 0: everything else would be clipped.
        if scatter == 0 or np.array_equal(clipped, kept):
            break
        kept = clipped
    # The median does not include the wings that clipping left, the rms does.
    scatter = max(scatter, float(np.sqrt((pulls[kept] ** 2).mean())))
    values, errors = values / norms, scatter * np.sqrt(np.diag(covariance)) / norms
    scale = values[0]
    shift, error = values[1:3] / scale, errors[1:3] / abs(scale)
    if not (scale > 10 * errors[0] and (error < _BLOCK_ERROR_PX).all()):
        return None
    return float(scale), *shift.tolist(), *(error**2).tolist()


def _fit_polynomials(shifts: _Shifts, window: Window) -> Refinement:
    """Fit polynomials to the squares' shifts; their order falls with the number of squares."""
    count = len(shifts.x)
    powers = _powers(count)
    terms = _terms(window, powers, shifts.x, shifts.y)
    kept = np.ones(count, np.bool_)
    for _ in range(_CLIP_ROUNDS):
        fits = [
            _weighted(terms[kept], shifts.shift[kept, k], shifts.variance[kept, k]) for k in (0, 1)
        ]
        pulls = (shifts.shift - terms @ np.stack([fit[0] for fit in fits], -1)) ** 2
        pulls = (pulls / shifts.variance).max(axis=1)
        limit = _CLIP**2 * max(1.0, float(np.median(pulls[kept])))
        clipped = pulls <= limit
        if np.array_equal(clipped, kept) or clipped.sum() < BLOCKS_PER_TERM * len(powers):
            break
        kept = clipped
    chi2 = sum(fit[2] for fit in fits)
    freedom = 2 * (int(kept.sum()) - len(powers))
    ratio = chi2 / freedom if freedom > 0 else 1.0
    (x, x_error, _), (y, y_error, _) = fits
    wider = np.sqrt(max(1.0, ratio))
    return Refinement(
        window, powers, x, y, wider * x_error, wider * y_error, int(kept.sum()), ratio
    )


def _powers(count: int) -> tuple[tuple[int, int], ...]:
    """Return the terms that so many squares can tell."""
    found: tuple[tuple[int, int], ...] = ((0, 0),)
    for order in range(1, MAX_ORDER + 1):
        terms = (*found, *((order - j, j) for j in range(order + 1)))
        if count < BLOCKS_PER_TERM * len(terms):
            break
        found = terms
    return found


def _weighted(
    terms: FloatArray, values: FloatArray, variance: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Return coefficients, their errors and chi squared of weighted least squares."""
    weight = 1 / np.sqrt(variance)
    matrix = terms * weight[:, None]
    covariance = np.linalg.pinv(matrix.T @ matrix)
    found = covariance @ (matrix.T @ (values * weight))
    chi2 = float((((values - terms @ found) * weight) ** 2).sum())
    return found, np.sqrt(np.diag(covariance)), chi2
