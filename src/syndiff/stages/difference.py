"""The difference stage: an FFI less its template, written with what it leaves of the stars."""

from __future__ import annotations

import logging
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
    pack_difference,
    pack_residuals,
    write_difference,
)
from syndiff.differences.residuals import StarResiduals, find_stars, measure_residuals
from syndiff.differences.scaled import MOST_SCATTER
from syndiff.differences.subtraction import subtract_inputs
from syndiff.errors import ConfigError
from syndiff.ffi.dead_pixels import describe_dead
from syndiff.layout import difference_name
from syndiff.masks import format_quality, spoilt_pixels
from syndiff.plots import Plane, StarPoints, draw_residuals
from syndiff.sky.pixelmap import sky_to_pixel
from syndiff.stages.stage import StageReport, clock
from syndiff.stars.star_files import read_star_file
from syndiff.storage.place import Place
from syndiff.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.differences.inputs import DifferenceInputs
    from syndiff.ffi.observation import Observation
    from syndiff.stages.run import Run
    from syndiff.stars.catalogue import StarCatalogue

__all__ = [
    "beside",
    "catalogued",
    "difference_stage",
    "subtract",
    "warn_of",
    "write_image",
    "write_residuals",
]

logger = logging.getLogger(__name__)

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


def catalogued(
    stars: str | StarCatalogue | None, inputs: DifferenceInputs
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the places of a catalogue's stars in the window, at the FFI's epoch.

    Parameters
    ----------
    stars : str, StarCatalogue or None
        The catalogue, or its file.
    inputs : DifferenceInputs
        The FFI and its window.

    Returns
    -------
    x, y : (n,) float64
        Pixels of the window; None without a catalogue.
    """
    if stars is None:
        return None
    observation = inputs.observation
    catalogue = read_star_file(stars) if isinstance(stars, str) else stars
    ra, dec = catalogue.at(observation.epoch_year)
    x, y = sky_to_pixel(observation.frame, ra, dec)
    known = np.isfinite(x) & np.isfinite(y)
    return x[known] - inputs.held.x0, y[known] - inputs.held.y0


def beside(template: str, window: Window, observation: Observation, folder: str = "") -> str:
    """Return where a difference goes that has no place of its own.

    Parameters
    ----------
    template : str
        The template file.
    window : Window
        Its FFI pixels.
    observation : Observation
        The FFI.
    folder : str
        Where to; that of the template if empty.

    Returns
    -------
    str
        The file.
    """
    ny, nx = observation.frame.shape
    roi = None if window == Window(0, 0, nx, ny) else window
    folder = folder or template.rpartition("/")[0] or "."
    return f"{folder.rstrip('/') or '/'}/{difference_name(observation.name, roi)}.fits"


def write_image(path: str, record: DifferenceRecord, packing: Packing) -> str:
    """Write a difference file.

    Parameters
    ----------
    path : str
        Where to; ends in ``.fits``.
    record : DifferenceRecord
        The difference.
    packing : Packing
        Which planes, and how.

    Returns
    -------
    str
        The file.
    """
    folder, _, name = path.rpartition("/")
    image = Place.at(folder or ".") / name
    write_difference(image, pack_difference(record, packing))
    return str(image)


def write_residuals(path: str, record: DifferenceRecord, stars: StarResiduals) -> tuple[str, ...]:
    """Write what a difference leaves of stars, table and figure.

    Parameters
    ----------
    path : str
        The difference file.
    record : DifferenceRecord
        The difference.
    stars : StarResiduals
        What it leaves.

    Returns
    -------
    tuple of str
        The files.
    """
    folder, _, name = path.removesuffix(".fits").rpartition("/")
    table, figure = (Place.at(folder or ".") / f"{name}_stars{end}" for end in (".ecsv", ".png"))
    table.write(pack_residuals(record, stars))
    figure.write(_figure(record, stars))
    return str(table), str(figure)


def _figure(record: DifferenceRecord, stars: StarResiduals) -> bytes:
    """Draw the difference and what it leaves of stars."""
    held = record.inputs.held
    chosen = stars.isolated & ~stars.flagged
    points = StarPoints(
        stars.x[chosen] + held.x0,
        stars.y[chosen] + held.y0,
        stars.mag[chosen],
        *(getattr(stars, n)[chosen] for n in ("aperture", "aperture_error", "peak", "peak_error")),
    )
    pulls = record.difference.image / record.noise
    plane = Plane("FFI - template", pulls, "in units of UNCERT", "signed")
    ffi = record.inputs.observation.name
    return draw_residuals(plane, held, points, title=f"{ffi}\n- {record.template}")


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


def warn_of(record: DifferenceRecord) -> list[str]:
    """Return what speaks against a difference, in words; logged too.

    Parameters
    ----------
    record : DifferenceRecord
        The difference.

    Returns
    -------
    list of str
        Empty if nothing does.
    """
    difference, lines = record.difference, []
    if "response" in difference.doubts:
        lines.append(_response_doubt(record))
    if "scatter" in difference.doubts:
        lines.append(
            f"DIFF scatters {difference.scatter:.2f} times as much as UNCERT says (above "
            f"{MOST_SCATTER:g} is told): more than noise is left, or the FFI's uncertainty is too "
            "small; the errors of scale and zero point grow with it, UNCERT doesn't"
        )
    for line in lines:
        logger.warning("%s: %s", record.inputs.observation.name, line)
    return lines


def _response_doubt(record: DifferenceRecord) -> str:
    """Tell that stars are left, and what to do about it."""
    difference, header = record.difference, record.inputs.header
    left = difference.leftover
    model = header.get("PSFMODEL", "unknown")
    width = f", sigma {header['PSFSIGMA']:g}" if "PSFSIGMA" in header else ""
    many = f"median of {left.stars}; 2 to 5 % where one fits"
    found = f"{100 * left.part:.0f} % of a star is left ({many})"
    if difference.kernel is None:
        return (
            f"the template's response ({model}{width}) doesn't fit this FFI, {found}, and the zero "
            "point may be as far off: leave `kernel` at its default, which fits one, or make the "
            "template with `psf` prf"
        )
    return (
        f"the kernel doesn't make the template ({model}{width}) fit this FFI, {found}: is its "
        "response wider than the FFI's, or are its stars' fluxes wrong (`stars`)?"
    )
