"""Skycells for the simulator: a small made-up catalogue, and the file that lists them."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from syndiff.config import PS1_PIXEL_ARCSEC
from syndiff.errors import ConfigError
from syndiff.simulation.sources import unit_vectors
from syndiff.sky.tessellation import Skycell
from syndiff.window import Window

__all__ = [
    "catalogue_text",
    "skycell_border",
    "skycell_middle",
    "skycell_wcs",
    "small_catalogue",
    "write_catalogue",
]

F64 = NDArray[np.float64]

_CDELT = float(np.float32(PS1_PIXEL_ARCSEC / 3600))
_COLUMNS = (
    *("NAME", "NAXIS1", "NAXIS2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2"),
    *("PC1_1", "PC1_2", "PC2_1", "PC2_2", "RA", "DEC"),
)
_SHARED_PX = 560.0  # 140 arcsec
_TURN_DEG = 5.6
_FARTHEST_DEG = 4.0


def skycell_wcs(skycell: Skycell) -> WCS:
    """Return a skycell's WCS, made from its fields.

    Parameters
    ----------
    skycell : Skycell
        The skycell.

    Returns
    -------
    astropy.wcs.WCS
        Tangent plane; calls with origin 0 take 0-based pixels.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = skycell.crval
    wcs.wcs.crpix = skycell.crpix
    wcs.wcs.cdelt = skycell.cdelt
    wcs.wcs.pc = np.array(skycell.pc).reshape(2, 2)
    wcs.wcs.lonpole = 180.0
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def skycell_border(skycell: Skycell) -> tuple[F64, F64]:
    """Return RA and Dec (degrees) of 16 points on a skycell's border.

    Parameters
    ----------
    skycell : Skycell
        The skycell.

    Returns
    -------
    ra, dec : (16,) float64
        Degrees.
    """
    t = np.linspace(0, 1, 5)[:-1]
    x = np.concatenate([t, np.ones(4), 1 - t, np.zeros(4)]) * skycell.nx - 0.5
    y = np.concatenate([np.zeros(4), t, np.ones(4), 1 - t]) * skycell.ny - 0.5
    ra, dec = skycell_wcs(skycell).all_pix2world(x, y, 0)
    return np.asarray(ra), np.asarray(dec)


def skycell_middle(skycells: Sequence[Skycell]) -> tuple[float, float]:
    """Return the position in the middle of skycells.

    Parameters
    ----------
    skycells : sequence of Skycell
        One or more.

    Returns
    -------
    ra, dec : float
        Degrees.
    """
    borders = np.concatenate([unit_vectors(*skycell_border(cell)) for cell in skycells])
    x, y, z = borders.mean(0).tolist()
    return math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.atan2(z, math.hypot(x, y)))


def small_catalogue(
    wcs: WCS,
    field: Window,
    *,
    margin_px: float = 5.0,
    cell_px: int = 1200,
    overlap_px: int = 360,
) -> list[Skycell]:
    """Return the skycells of two projections that meet in the middle of a field.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Of the FFI.
    field : Window
        FFI pixels to cover.
    margin_px : float
        FFI pixels to cover around it.
    cell_px : int
        Side of a skycell, PS1 pixels.
    overlap_px : int
        How much neighbours in a projection overlap, PS1 pixels.

    Returns
    -------
    list of Skycell
        Two complete rectangular grids, ``skycell.0001.*`` in the east, ``skycell.0002.*`` in the
        west. Their tangent points are on either side of the field, far enough apart to rotate the
        grids by 5.6 degrees against each other (4 degrees from the field at most: less rotation
        under declinations of about 35 degrees). They share at least 140" along the meridian
        through the field's middle.

    Raises
    ------
    ConfigError
        If the cells don't overlap, or more than 100 in a projection would be needed.

    Examples
    --------
    >>> from syndiff.simulation.ffi import example_wcs
    >>> cells = small_catalogue(example_wcs(), Window(1000, 1000, 1030, 1030))
    >>> cells[0].name, cells[-1].name.split(".")[1]
    ('skycell.0001.000', '0002')
    """
    if not 0 <= overlap_px < cell_px:
        raise ConfigError(
            f"overlap_px {overlap_px} is out of range: give 0 to cell_px - 1 = {cell_px - 1}"
        )
    edge_x, edge_y = _edge(field, margin_px)
    ra, dec = wcs.all_pix2world(edge_x, edge_y, 0)
    middle = wcs.all_pix2world((field.x0 + field.x1 - 1) / 2, (field.y0 + field.y1 - 1) / 2, 0)
    ra0, dec0 = (float(value) for value in middle)
    line = np.linspace(dec.min(), dec.max(), 33)
    turn = math.radians(_TURN_DEG) / max(abs(math.sin(math.radians(dec0))), 1e-9)
    aside = min(math.degrees(turn) / 2, _FARTHEST_DEG / max(math.cos(math.radians(dec0)), 0.02))
    cells = []
    for projection, side in ((1, 1.0), (2, -1.0)):
        crval = ((ra0 + side * aside) % 360.0, dec0)
        plane = skycell_wcs(_cell("plane", crval, (0.0, 0.0), (1, 1)))
        x, y = plane.all_world2pix(ra, dec, 0)
        meet, _ = plane.all_world2pix(np.full(33, ra0), line, 0)
        # x grows to the west.
        if side > 0:
            across = x.min(), min(x.max(), meet.max() + _SHARED_PX / 2)
        else:
            across = max(x.min(), meet.min() - _SHARED_PX / 2), x.max()
        cells += _fill(projection, crval, (across, (y.min(), y.max())), (cell_px, overlap_px))
    return cells


def _edge(field: Window, margin_px: float) -> tuple[F64, F64]:
    """Return points around a window, margin included."""
    t = np.linspace(0, 1, 9)
    one, zero = np.ones(9), np.zeros(9)
    u, v = np.concatenate([t, one, t, zero]), np.concatenate([zero, t, one, t])
    x0, y0 = field.x0 - 0.5 - margin_px, field.y0 - 0.5 - margin_px
    ny, nx = field.shape
    return x0 + u * (nx + 2 * margin_px), y0 + v * (ny + 2 * margin_px)


def _cell(
    name: str, crval: tuple[float, float], crpix: tuple[float, float], size: tuple[int, int]
) -> Skycell:
    """Return a skycell with the pixels and orientation of PS1."""
    return Skycell(
        name=name,
        nx=size[0],
        ny=size[1],
        crval=crval,
        crpix=crpix,
        cdelt=(_CDELT, _CDELT),
        pc=(-1.0, 0.0, 0.0, 1.0),
    )


def _fill(
    projection: int,
    crval: tuple[float, float],
    box: tuple[tuple[float, float], tuple[float, float]],
    cell: tuple[int, int],
) -> list[Skycell]:
    """Return the grid of skycells that covers a box in a projection's own pixels."""
    size, overlap = cell
    step = size - overlap
    # Two pixels more, for the pixels' own halves and the rounding of `starts`.
    counts = [max(1, math.ceil((high - low + 2 - overlap) / step)) for low, high in box]
    if max(counts) > 10:
        raise ConfigError(
            f"the field needs {counts[0]} x {counts[1]} skycells of {size} px in one projection, "
            "names hold 10 x 10: give a smaller field (`size` up to 70 or so), real skycells "
            "(`skycells`) or, from Python, a larger cell_px"
        )
    # Pixels of the plane whose 1-based reference pixel is (0, 0), counted from 0.
    starts = [
        math.floor((low + high) / 2 - (size + (n - 1) * step) / 2)
        for (low, high), n in zip(box, counts, strict=True)
    ]
    cells = []
    for j in range(counts[1]):
        for k in range(counts[0]):
            crpix = (-float(starts[0] + k * step), -float(starts[1] + j * step))
            cells.append(_cell(f"skycell.{projection:04d}.0{j}{k}", crval, crpix, (size, size)))
    return cells


def catalogue_text(skycells: Sequence[Skycell]) -> str:
    """Return the catalogue of skycells as CSV.

    Parameters
    ----------
    skycells : sequence of Skycell
        The skycells.

    Returns
    -------
    str
        A header line, then one line a skycell; RA, DEC are its middle (degrees).
    """
    lines = [",".join(_COLUMNS)]
    for cell in skycells:
        ra, dec = skycell_wcs(cell).all_pix2world((cell.nx - 1) / 2, (cell.ny - 1) / 2, 0)
        values = (cell.nx, cell.ny, *cell.crval, *cell.crpix, *cell.cdelt, *cell.pc)
        numbers = [repr(value) for value in (*values, float(ra), float(dec))]
        lines.append(",".join([cell.name, *numbers]))
    return "\n".join(lines) + "\n"


def write_catalogue(skycells: Sequence[Skycell], path: Path) -> None:
    """Write the catalogue of skycells.

    Parameters
    ----------
    skycells : sequence of Skycell
        The skycells.
    path : Path
        The CSV file, replaced if it is there; its folder is made if needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(catalogue_text(skycells))
