"""What the difference stage writes and says of an FFI, alone or one of many."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from syndiff.differences.products import pack_difference, pack_residuals, write_difference
from syndiff.differences.scaled import MOST_SCATTER
from syndiff.layout import difference_name
from syndiff.plots import Plane, StarPoints, draw_residuals
from syndiff.sky.pixelmap import sky_to_pixel
from syndiff.stars.star_files import read_star_file
from syndiff.storage.place import Place
from syndiff.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.differences.inputs import DifferenceInputs
    from syndiff.differences.products import DifferenceRecord, Packing
    from syndiff.differences.residuals import StarResiduals
    from syndiff.ffi.observation import Observation
    from syndiff.stars.catalogue import StarCatalogue

__all__ = ["beside", "catalogued", "warn_of", "write_image", "write_residuals"]

logger = logging.getLogger(__name__)


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
