"""Find what the frames of a series share: the steady kernel, how steady it is, other places."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import fftconvolve

from syndiff.constants import MAD_TO_SIGMA
from syndiff.differences.background import order_told, polynomials
from syndiff.differences.fine_template import FINE_PER_PX, sample_finely
from syndiff.differences.matched import MatchConfig, match_template
from syndiff.differences.matching import FineModel, Taps, VaryingKernel
from syndiff.differences.scaled import subtract_template
from syndiff.errors import RenderingError, SyndiffError
from syndiff.lightcurves.forced import weights_at
from syndiff.lightcurves.frame_fit import Steadiness
from syndiff.lightcurves.places import choose_places
from syndiff.lightcurves.point_response import HALF_PX
from syndiff.lightcurves.series import Series, SteadyPart
from syndiff.templates.template import follow_flux, follow_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from syndiff.lightcurves.frames import FramePixels
    from syndiff.lightcurves.series import FieldScene

__all__ = ["MOST_FRAMES", "find_steady_part"]

logger = logging.getLogger(__name__)

MOST_FRAMES = 24
"""Frames, spread over the series, that the steady kernel is found from: its weights are then known
five times as well as from one."""

_CONFIG = MatchConfig()
_FLOOR = np.array([0.002, 0.003, 0.003, 0.003, 0.003, 0.003])
# Of what frames differ by, scale as a part: what a frame's own stars tell in a field of 64 px.


def find_steady_part(
    field: FieldScene, target: tuple[float, float], frames: Sequence[FramePixels]
) -> SteadyPart:
    """Return what the frames of a series share.

    Parameters
    ----------
    field : FieldScene
        The scene.
    target : (float, float)
        x and y, FFI pixels of the scene's frame; pixels near it take no part.
    frames : sequence of FramePixels
        Frames without quality flags, spread over the series.

    Returns
    -------
    SteadyPart
        The kernel is the mean of those fitted to each frame; where stars are too few for one,
        light is left as the scene has it, but for its width.

    Raises
    ------
    RenderingError
        If no frame can be fitted.
    """
    first = _unit_part(field)
    series = Series(field, first, target)
    kernels, stars, scales = [], [], []
    reason = "there is no frame without quality flags"
    for frame in frames:
        try:
            kernel, count, scale = _kernel_of(series, frame)
        except SyndiffError as error:
            reason = f"{frame.name}: {error}"
            logger.info("steady kernel: %s", reason)
            continue
        scales.append(scale)
        if kernel is not None:
            kernels.append(kernel)
            stars.append(count)
    if not scales:
        raise RenderingError(f"no frame can be fitted: {reason}")
    part = replace(first, frames=len(kernels), mean=Steadiness.loose(_middle(scales)).mean)
    if kernels:
        part = replace(part, **_mean_kernel(kernels), stars_of_kernel=int(np.median(stars)))
    return _with_spread(Series(field, part, target), frames)


def _middle(values: Sequence[float]) -> float:
    return float(np.median(values))


def _unit_part(field: FieldScene) -> SteadyPart:
    """Return the kernel that leaves light as it is, nothing being known."""
    pad = math.ceil(_CONFIG.radius_px)
    rows, columns = (n + 2 * pad for n in field.window.shape)
    blank = FineModel(np.zeros((FINE_PER_PX, FINE_PER_PX, rows, columns), np.float32), pad)
    taps = Taps.within(_CONFIG.radius_px, blank)
    loose = Steadiness.loose(1.0)
    nothing = np.zeros((0, 2))
    return SteadyPart(
        cells=taps.cells,
        tap_places=taps.places,
        terms=np.zeros((1, 2), np.int64),
        weights=taps.centre[None],
        mean=loose.mean,
        sigma=loose.sigma,
        order=_CONFIG.background_order,
        blank=nothing,
        stars=nothing,
        star_flux=np.zeros(0),
        constant=math.nan,
        constant_error=math.nan,
        host=math.nan,
        frames=0,
        stars_of_kernel=0,
    )


def _kernel_of(series: Series, frame: FramePixels) -> tuple[VaryingKernel | None, int, float]:
    """Return the kernel fitted to one frame, the number of its stars, and its sum."""
    field, pixels = series.field, frame.pixels
    displacement = field.displacement(frame.frame)
    stored = field.stored
    planes = follow_template(
        stored.strip, origin=stored.origin, window=field.window, displacement=displacement
    )
    usable = series.usable(frame, planes, displacement)
    model = sample_finely(
        stored.strip.flux,
        stored.origin,
        field.window,
        displacement=displacement,
        pad_px=math.ceil(_CONFIG.radius_px),
    )
    try:
        found = match_template(
            pixels.image,
            pixels.uncertainty,
            model,
            template_uncertainty=planes.uncertainty,
            excluded=~usable,
            config=_CONFIG,
        )
    except RenderingError:
        rough = subtract_template(pixels.image, pixels.uncertainty, planes.flux, excluded=~usable)
        return None, 0, rough.scale
    return found.kernel, found.stars, found.scale


def _mean_kernel(kernels: Sequence[VaryingKernel]) -> dict[str, Any]:
    """Return terms and weights of the mean of kernels that vary with the same order."""
    orders = [int(k.terms.max()) for k in kernels]
    usual = int(np.median(orders))
    alike = [k for k, order in zip(kernels, orders, strict=True) if order == usual] or kernels[:1]
    sums = [float(k.weights[0].sum()) for k in alike]
    mean = np.mean([k.weights / s for k, s in zip(alike, sums, strict=True)], axis=0)
    return {"terms": alike[0].terms, "weights": mean}


def _with_spread(series: Series, frames: Sequence[FramePixels]) -> SteadyPart:
    """Return the part with how far frames are from the mean, and with places for comparison."""
    scale = float(series.steady.mean[0])
    values, variances = [], []
    for frame in frames:
        try:
            fit = series.fit(frame, steadiness=Steadiness.loose(scale))
        except SyndiffError as error:
            logger.info("steady kernel: %s: %s", frame.name, error)
            continue
        values.append(np.concatenate([[fit.scale], fit.shift, fit.widening]))
        errors = np.concatenate([[fit.scale_error], fit.shift_error, fit.widening_error])
        variances.append(errors**2)
        last = frame
    if not values:
        raise RenderingError("no frame can be fitted with the steady kernel")
    mean = np.median(values, axis=0)
    spread = MAD_TO_SIGMA * np.median(np.abs(values - mean), axis=0)
    own = np.sqrt(np.maximum(spread**2 - np.median(variances, axis=0), 0))
    floor = _FLOOR * np.array([mean[0], *np.ones(5)])
    loose = Steadiness.loose(scale).sigma
    few = len(values) < 4
    sigma = loose if few else np.minimum(2 * np.maximum(own, floor), loose)
    part = replace(series.steady, mean=mean, sigma=sigma)
    return _with_places(_with_part(series, part), last)


def _with_part(series: Series, part: SteadyPart) -> Series:
    """Return the series with another steady part."""
    return Series(series.field, part, series.target, series.keeps_images)


def _with_places(series: Series, frame: FramePixels) -> SteadyPart:
    field, part = series.field, series.steady
    window, stored = field.window, field.stored
    still = field.displacement(None)
    planes = follow_template(stored.strip, origin=stored.origin, window=window, displacement=still)
    light = follow_flux(stored.strip, origin=stored.origin, window=window, displacement=still)
    usable = series.usable(frame, planes, still)
    order = order_told(usable, np.ones_like(usable), part.order)
    peak = series.responses[0].stamp((0.0, 0.0), np.zeros(3))[HALF_PX, HALF_PX]
    target = series.target[0] - window.x0, series.target[1] - window.y0
    found = choose_places(
        part.mean[0] * light.astype(float), frame.pixels.uncertainty, usable, target, float(peak)
    )
    corner = np.array([window.x0, window.y0])
    return replace(
        part,
        order=order,
        blank=found.blank + corner,
        stars=found.stars + corner,
        star_flux=found.star_flux / part.mean[0],
        **_constants(series, frame, usable),
    )


def _constants(series: Series, frame: FramePixels, usable: NDArray[np.bool_]) -> dict[str, Any]:
    """Return what of the template is wrong at the target by the same in every frame.

    Its noise and its faint light went through the response: they are correlated as a star's own
    light is with itself.
    """
    window, scale = series.field.window, float(series.steady.mean[0])
    planes = series.scene.planes(series.field.displacement(None))
    at = series.target[0] - window.x0, series.target[1] - window.y0
    still = np.zeros(3)
    noise = np.where(np.isfinite(planes.flux), frame.pixels.uncertainty, np.nan)
    found = weights_at(series.responses[0], at, still, noise)
    if found is None:
        return {"constant": math.nan, "constant_error": math.nan, "host": math.nan}
    box, factors, light = found
    faint = np.nan_to_num(planes.faint) - _smooth(planes.faint, usable, series.steady.order)
    alike = fftconvolve(light, light[::-1, ::-1])
    alike = np.clip(alike / alike.max(), 0, 1)
    error = factors * np.nan_to_num(planes.uncertainty[box])
    correlated = float((error * fftconvolve(error, alike, mode="same")).sum())
    smooth = float(np.abs(factors * np.nan_to_num(planes.faint_error[box])).sum())
    return {
        "constant": scale * float((factors * faint[box]).sum()),
        "constant_error": scale * math.hypot(max(correlated, 0) ** 0.5, smooth),
        "host": scale * float((factors * np.nan_to_num(planes.flux[box])).sum()),
    }


def _smooth(
    plane: NDArray[np.float32], usable: NDArray[np.bool_], order: int
) -> NDArray[np.float64]:
    """Return what a frame's background takes up of a plane."""
    known = usable & np.isfinite(plane)
    terms = polynomials(plane.shape, order)
    values = np.linalg.lstsq(terms[:, known].T, plane[known].astype(float), rcond=None)[0]
    return np.asarray(np.tensordot(values, terms, 1))
