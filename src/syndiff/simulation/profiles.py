"""Light profiles of the simulated sky as sums of Gaussians: seeing, stars, galaxies."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from syndiff.errors import ConfigError

__all__ = ["GALAXY_KINDS", "PsfConfig", "galaxy_mixture", "gauss_nodes", "sky_covariance"]

F64 = NDArray[np.float64]

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))

MOFFAT_WEIGHTS = (0.23221122, 0.52159205, 0.21640129, 0.02979544)
MOFFAT_SIGMAS = (0.33446109, 0.53689915, 0.92012272, 1.82225126)
"""Four Gaussians (sigma in units of the FWHM) that approximate a Moffat profile, beta = 3.

Least squares between 0.005 and 6 FWHM: within 0.5 % of the Moffat profile out to 1 FWHM, 5 % to 3,
11 % to 5; never farther from it than 0.2 % of its peak. In the simulator the mixture *is* the
seeing, so nothing is approximated.
"""

GALAXY_KINDS = {1: "exponential", 4: "de Vaucouleurs"}
"""Sersic indices that galaxies can have."""

_GALAXIES = {
    1: (
        (2.23364214e-01, 1.17949102e00, 4.33873750e00, 5.99820770e00),
        (3.91463084e-02, 1.39976817e-01, 4.60962500e-01, 1.50159566e00),
    ),
    4: (
        (0.685907632, 1.51937350, 2.83627243, 4.46467501, 5.72440830, 5.60989349),
        (4.18731126e-3, 1.69432589e-2, 6.84850479e-2, 2.87207080e-1, 1.33320254, 8.40215071),
    ),
}
# Weights (not normalised) and variances in units of the half-light radius squared, after
# Hogg & Lang (2013, PASP 125, 719), without the narrowest Gaussians, which hold 0.3 and 1.3 %.


@dataclass(frozen=True)
class PsfConfig:
    """The seeing of the simulated PS1 stacks.

    Parameters
    ----------
    fwhm_arcsec : tuple of float
        Full width at half maximum per band r, i, z, y.
    shape : {"moffat", "gaussian"}
        A Moffat profile of beta 3 as four Gaussians, or one Gaussian.

    Raises
    ------
    ConfigError
        If a width is under 0.6" (pixels of 0.25" would undersample it) or a shape is unknown.
    """

    fwhm_arcsec: tuple[float, ...] = (1.2, 1.1, 1.1, 1.0)
    shape: Literal["moffat", "gaussian"] = "moffat"

    def __post_init__(self) -> None:
        if len(self.fwhm_arcsec) != 4 or not all(0.6 <= w <= 5.0 for w in self.fwhm_arcsec):
            raise ConfigError(
                f"fwhm_arcsec {self.fwhm_arcsec} is not four widths from 0.6 to 5 arcsec: give one "
                "for each of the bands r, i, z, y"
            )
        if self.shape not in {"moffat", "gaussian"}:
            raise ConfigError(f"shape {self.shape!r} is unknown: give 'moffat' or 'gaussian'")

    def mixture(self, band: int) -> tuple[F64, F64]:
        """Return the Gaussians of one band's seeing.

        Parameters
        ----------
        band : int
            Index into the bands r, i, z, y.

        Returns
        -------
        weights, variances : (k,) float64
            Weights that sum to one; variances in arcsec^2.
        """
        fwhm = self.fwhm_arcsec[band]
        if self.shape == "gaussian":
            return np.ones(1), np.array([(fwhm / FWHM_PER_SIGMA) ** 2])
        weights = np.array(MOFFAT_WEIGHTS)
        return weights / weights.sum(), (np.array(MOFFAT_SIGMAS) * fwhm) ** 2


def galaxy_mixture(sersic: int) -> tuple[F64, F64]:
    """Return the Gaussians of a galaxy's profile.

    Parameters
    ----------
    sersic : int
        Sersic index, 1 or 4.

    Returns
    -------
    weights, variances : (k,) float64
        Weights that sum to one; variances in units of the half-light radius squared.
    """
    weights, variances = (np.array(values) for values in _GALAXIES[sersic])
    return weights / weights.sum(), variances


def sky_covariance(radius_arcsec: F64, axis_ratio: F64, angle_deg: F64) -> F64:
    """Return the covariance on the sky of an ellipse whose half-light radius is one sigma.

    Parameters
    ----------
    radius_arcsec : (n,) float64
        Half-light radius along the major axis.
    axis_ratio : (n,) float64
        Minor over major axis.
    angle_deg : (n,) float64
        Position angle of the major axis, from north to east.

    Returns
    -------
    (n, 2, 2) float64
        Covariance in arcsec^2, axes east and north.
    """
    angle = np.radians(angle_deg)
    major = np.stack([np.sin(angle), np.cos(angle)], -1)
    minor = np.stack([np.cos(angle), -np.sin(angle)], -1)
    r2 = (radius_arcsec**2)[:, None, None]
    outer = major[:, :, None] * major[:, None, :]
    across = (axis_ratio**2)[:, None, None] * minor[:, :, None] * minor[:, None, :]
    return np.asarray(r2 * (outer + across))


def gauss_nodes(weights: F64, positions: F64, n: int) -> tuple[F64, F64]:
    """Return the n-point Gauss quadratures of discrete distributions.

    Parameters
    ----------
    weights : (s, m) float64
        One distribution a row; all weights >= 0 and at least one > 0.
    positions : (m,) float64
        Position of the weights, the same for all rows.
    n : int
        Number of nodes.

    Returns
    -------
    weights, positions : (s, n) float64
        Nodes that have the first 2n moments of each row. Fewer are used (the others have weight
        zero) where fewer than n positions differ.

    Notes
    -----
    A sum of round Gaussians of variances V + v_k acts, for v_k well below V, as its quadrature in
    v does. Golub & Welsch (1969), the recurrence by Stieltjes' procedure.
    """
    span = max(float(np.ptp(positions)), 1e-300)
    t = (positions - positions.min()) / span
    jacobi = np.zeros((len(weights), n, n))
    mass = weights.sum(1)
    p, before, norm = np.ones_like(weights), np.zeros_like(weights), mass.copy()
    for j in range(n):
        alive = norm > 1e-26 * mass
        safe = np.where(alive, norm, 1.0)
        centre = np.where(alive, (weights * t * p * p).sum(1) / safe, 0.0)
        jacobi[:, j, j] = centre
        spread = jacobi[:, j, j - 1] ** 2 if j else np.zeros(len(weights))
        p, before = (t - centre[:, None]) * p - spread[:, None] * before, p
        grown = (weights * p * p).sum(1)
        grown = np.where(grown > 1e-26 * mass, grown, 0.0)
        if j + 1 < n:
            ratio = np.where(alive, grown / safe, 0.0)
            jacobi[:, j, j + 1] = jacobi[:, j + 1, j] = np.sqrt(ratio)
        norm = grown
    values, vectors = np.linalg.eigh(jacobi)
    return mass[:, None] * vectors[:, 0, :] ** 2, values * span + positions.min()
