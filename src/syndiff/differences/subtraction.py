"""An FFI less its template: which pixels take part, the fit, noise and flags of the result."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from syndiff.differences.leftover import measure_leftover
from syndiff.differences.matched import match_template, refine_background
from syndiff.differences.products import DifferenceRecord
from syndiff.differences.scaled import DifferenceConfig, subtract_template
from syndiff.errors import RenderingError
from syndiff.ffi.dead_pixels import describe_dead
from syndiff.kernels.widen import widen
from syndiff.masks import DataQuality, spoilt_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.differences.inputs import DifferenceInputs
    from syndiff.differences.matched import MatchConfig
    from syndiff.differences.scaled import Difference

__all__ = ["subtract_inputs"]

_SPOILT_REACH_PX = 3
# As far as a kernel hands light on.
_LEAST_SIGNIFICANCE = 3.0
# Scale over its error: below it the field's light isn't found.


def subtract_inputs(
    inputs: DifferenceInputs, config: MatchConfig, template: str
) -> DifferenceRecord:
    """Return the difference with its noise and flags.

    Parameters
    ----------
    inputs : DifferenceInputs
        An FFI and a template of the same pixels.
    config : MatchConfig
        How a kernel is fitted, where the inputs have a model for one.
    template : str
        The template's name.

    Returns
    -------
    DifferenceRecord
        The difference.

    Raises
    ------
    RenderingError
        If scale, background or kernel can't be told, or the template's light doesn't show.
    """
    ffi, planes = inputs.ffi, inputs.template
    spoilt = spoilt_pixels(planes.quality) | ffi.saturated | ~np.isfinite(ffi.image)
    excluded = widen(spoilt, _SPOILT_REACH_PX, _SPOILT_REACH_PX)
    try:
        found = _fit(inputs, excluded, config)
    except RenderingError as error:
        dead = describe_dead(ffi.dead)
        raise RenderingError(f"{error}; of the FFI here {dead}" if dead else str(error)) from error
    if not found.scale > _LEAST_SIGNIFICANCE * found.scale_error:
        raise RenderingError(
            f"the template's light doesn't show in {inputs.observation.name}: its scale is "
            f"{found.scale:.4g} +- {found.scale_error:.2g}: give the template of a larger region, "
            "or of the FFI's own field"
        )
    noise = np.hypot(ffi.uncertainty, found.scale * planes.uncertainty)
    leftover = measure_leftover(found.image, found.model, noise, ~spoilt)
    # A kernel takes up the response, and its fit allows for errors of stars' fluxes.
    missed = leftover.misses(config.flux_error) if inputs.model is None else 0.0
    scale_error = math.hypot(found.scale_error, missed * found.scale)
    found = replace(found, leftover=leftover, scale_error=scale_error)
    return DifferenceRecord(inputs, template, found, noise, _quality(inputs, found))


def _fit(inputs: DifferenceInputs, excluded: NDArray[np.bool_], config: MatchConfig) -> Difference:
    """Return the difference through a kernel, or without one."""
    ffi, planes = inputs.ffi, inputs.template
    if inputs.model is not None:
        return match_template(
            ffi.image,
            ffi.uncertainty,
            inputs.model,
            template_uncertainty=planes.uncertainty,
            excluded=excluded,
            config=config,
        )
    found = subtract_template(
        ffi.image,
        ffi.uncertainty,
        planes.flux,
        excluded=excluded,
        config=DifferenceConfig(least_scatter=1.0),
    )
    noise = np.hypot(ffi.uncertainty, found.scale * planes.uncertainty)
    return refine_background(found, noise, excluded=excluded, mesh_px=config.mesh_px)


def _quality(inputs: DifferenceInputs, difference: Difference) -> NDArray[np.int32]:
    """Return the template's flags with those of the FFI and of the kernel's reach."""
    quality = inputs.template.quality.copy()
    unknown = (quality & DataQuality.NO_COVERAGE) != 0
    near = widen(unknown, _SPOILT_REACH_PX, _SPOILT_REACH_PX)
    quality[near] |= np.int32(DataQuality.PARTIAL_COVERAGE)
    quality[~np.isfinite(difference.image)] |= np.int32(DataQuality.NO_COVERAGE)
    return quality | inputs.ffi.flags()
