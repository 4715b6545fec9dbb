"""The difference stage: an FFI less its template, written with what it leaves of the stars."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import TESS_ZERO_POINT
from syndiff.differences.inputs import read_inputs
from syndiff.differences.matched import MatchConfig
from syndiff.differences.products import (
    DifferenceRecord,
    Packing,
)
from syndiff.differences.residuals import StarResiduals, find_stars, measure_residuals
from syndiff.differences.subtraction import subtract_inputs
from syndiff.errors import ConfigError
from syndiff.ffi.dead_pixels import describe_dead
from syndiff.masks import format_quality, spoilt_pixels
from syndiff.stages.difference_output import (
    beside,
    catalogued,
    warn_of,
    write_image,
    write_residuals,
)
from syndiff.stages.stage import StageReport, clock

if TYPE_CHECKING:
    from syndiff.stages.run import Run

__all__ = ["difference_stage", "subtract"]


BRIGHT_MAG, FAINT_MAG = 9.0, 14.0
"""TESS magnitudes of the stars that the report sums up: not saturated, not lost in noise."""


def difference_stage(run: Run, template: str, stars: str | None = None) -> StageReport:
    """Subtract a template from an FFI and write the difference, its stars and a figure.

    Parameters
    ----------
    run : Run
        The FFI and what is asked of it.
    template : str
        The template file.
    stars : str, optional
        Catalogue of the stars to measure, as `read_star_file` reads it; default: those of the
        template.

    Returns
    -------
    StageReport
        What was found; `products` are the image, the table and the figure.

    Raises
    ------
    SyndiffError
        If something can't be read, fitted or written.
    """
    settings, output = run.settings, run.settings.output
    if output is not None and not output.endswith(".fits"):
        raise ConfigError(f"`output` {output!r} must end in .fits")
    with clock() as seconds:
        record = subtract(run, template)
        measured = measure_residuals(
            record.difference,
            record.noise,
            spoilt_pixels(record.quality),
            catalogued(stars, record.inputs) or find_stars(record.difference, record.noise),
        )
        path = output or beside(template, record.inputs.window, run.observation)
        products = (
            write_image(path, record, Packing(settings.planes, settings.compress)),
            *(() if settings.residuals == "none" else write_residuals(path, record, measured)),
        )
    return StageReport(
        stage="difference",
        seconds=seconds(),
        counts={"stars measured": len(measured), "stars of the kernel": record.difference.stars},
        figures=_figures(measured),
        notes=_notes(record, measured),
        products=products,
    )


def subtract(run: Run, template: str) -> DifferenceRecord:
    """Subtract a template from an FFI; nothing is written.

    Parameters
    ----------
    run : Run
        The FFI and what is asked of it.
    template : str
        The template file.

    Returns
    -------
    DifferenceRecord
        The difference.

    Raises
    ------
    SyndiffError
        If something can't be read or fitted.
    """
    config = MatchConfig()
    pad_px = math.ceil(config.radius_px) if run.settings.kernel == "fitted" else None
    inputs = read_inputs(run.observation, template, run.layout, pad_px=pad_px)
    return subtract_inputs(inputs, config, PurePosixPath(template).name)


def _figures(stars: StarResiduals) -> dict[str, float]:
    """Return what is left of unflagged stars that stand alone, T 9 to 14: medians and worst."""
    clean = stars.clean(BRIGHT_MAG, FAINT_MAG)
    if not clean.any():
        return {}
    aperture, peak = np.abs(stars.aperture[clean]), stars.peak[clean]
    return {
        "aperture residual (median)": float(np.median(aperture)),
        "aperture residual (worst)": float(aperture.max()),
        "peak residual (median)": float(np.median(peak)),
        "peak residual (worst)": float(peak.max()),
    }


def _notes(record: DifferenceRecord, stars: StarResiduals) -> tuple[str, ...]:
    """Return what was fitted, in words."""
    difference, observation = record.difference, record.inputs.observation
    zero_point = f"{difference.zero_point:.4f} +- {difference.zero_point_error:.4f}"
    lines = [
        f"zero point {zero_point} AB mag for 1 e-/s (T = {TESS_ZERO_POINT} is 20.80 to 20.88 AB)",
        f"robust rms of DIFF / UNCERT {difference.scatter:.3f}",
        *warn_of(record),
    ]
    dead = describe_dead(record.inputs.ffi.dead)
    if dead:
        lines.append(f"of the FFI under the template {dead}: flagged TESS_DEAD and left out")
    if not (stars.isolated & ~stars.flagged).any():
        lines.append("no isolated star without flags: nothing tells how well stars are subtracted")
    if record.inputs.placing == "WCS":
        lines.append("sources moved to where the FFI's own WCS has them")
    if record.inputs.ffi.is_estimated:
        lines.append("the FFI has no uncertainty: it is estimated from its electrons")
    lines += observation.remarks
    if observation.quality:
        named = format_quality(observation.quality)
        lines.append(f"the FFI has quality flags: DQUALITY {observation.quality} ({named})")
    return tuple(lines)
