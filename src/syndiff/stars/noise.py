"""What the flux errors of stars that are put back add to the variance of a scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from syndiff.ffi.tiles import REACH_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.scenes.combine import Contribution
    from syndiff.sky.mapping import Lattice

    Floats = NDArray[np.float64]

__all__ = ["add_star_noise", "located_errors"]

_FINE = 2
"""Samples of the response along a sample of the variance."""


def located_errors(lattice: Lattice, contribution: Contribution) -> Floats:
    """Return the flux errors of a skycell's stars where they land.

    Parameters
    ----------
    lattice : Lattice
        Where the skycell lands.
    contribution : Contribution
        What it adds.

    Returns
    -------
    (n, 3) float64
        x, y in FFI pixels, squared error; only those that land anywhere.
    """
    errors = contribution.star_errors
    if errors is None or not len(errors):
        return np.zeros((0, 3))
    found = np.stack([*lattice(errors[:, 0], errors[:, 1]), errors[:, 2]], -1)
    return found[np.isfinite(found).all(axis=1)]


def add_star_noise(
    plane: Floats, response: Floats, errors: Floats, corner: Floats, samples_per_px: int
) -> None:
    """Add the squared error of each star's flux times the squared response.

    Parameters
    ----------
    plane : (ny, nx) float64
        Variance; added to.
    response : (2 ny, 2 nx) float64
        Response on twice as fine a grid, centred on sample (0, 0), wrapped.
    errors : (n, 3) float64
        x, y in FFI pixels and squared flux error.
    corner : (2,) float64
        FFI pixel (x, y) of the plane's first sample.
    samples_per_px : int
        Samples of the plane along a pixel.

    Notes
    -----
    The error of a star is one number: all its pixels are off by it together, each by the response.
    The response between samples is cubic (Catmull & Rom 1974): 0.5 % of its peak at sigma 40.
    Splatting the squared errors as the noise of light is would ring: the squared response is
    sharper than its grid, and a bright star's error is 1e6 times the noise beside it.
    """
    reach = REACH_PX * samples_per_px
    way = np.arange(-reach, reach + 1)
    # A star needs only this much of the response, and the cubic's taps.
    ends = _FINE * (reach + 1) + 2
    needed = np.arange(-ends, ends + 1)
    response = response[np.ix_(needed % len(response), needed % response.shape[1])]
    for x, y, square in errors.tolist():
        column, row = ((v - c) * samples_per_px for v, c in ((x, corner[0]), (y, corner[1])))
        j, i = round(row), round(column)
        rows, columns = j + way, i + way
        if rows[-1] < 0 or columns[-1] < 0 or rows[0] >= len(plane) or columns[0] >= plane.shape[1]:
            continue
        across = _between(response, _FINE * (columns - column), ends, 1)
        shifted = _between(across, _FINE * (rows - row), ends, 0)
        ok_rows = (rows >= 0) & (rows < plane.shape[0])
        ok_columns = (columns >= 0) & (columns < plane.shape[1])
        part = shifted[np.ix_(ok_rows, ok_columns)]
        plane[np.ix_(rows[ok_rows], columns[ok_columns])] += square * part**2


def _between(plane: Floats, places: Floats, middle: int, axis: int) -> Floats:
    """Return a plane at places, a whole number apart, from a sample along one axis."""
    first = int(np.floor(places[0]))
    t = float(places[0]) - first
    whole = np.floor(places + 0.5 - t).astype(np.int64) if t else places.astype(np.int64)
    whole += middle
    taps = (
        (-t + 2 * t**2 - t**3) / 2,
        (2 - 5 * t**2 + 3 * t**3) / 2,
        (t + 4 * t**2 - 3 * t**3) / 2,
        (-(t**2) + t**3) / 2,
    )
    out = taps[0] * np.take(plane, whole - 1, axis)
    for k, tap in enumerate(taps[1:]):
        out += tap * np.take(plane, whole + k, axis)
    return np.asarray(out, np.float64)
