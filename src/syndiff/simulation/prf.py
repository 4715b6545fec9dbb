"""The simulated response of TESS's pixels: Gaussians that vary over the CCD, and their files.

The pipeline reads the files only. Images are drawn from the Gaussians themselves, at the exact
place of each source.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from syndiff.config import BAND_WEIGHTS, PRF_COLUMNS, PRF_ROWS, PS1_PIXEL_ARCSEC
from syndiff.errors import ConfigError
from syndiff.kernels.gaussians import add_integrated
from syndiff.layout import Detector
from syndiff.simulation.profiles import (
    FWHM_PER_SIGMA,
    GALAXY_KINDS,
    PsfConfig,
    galaxy_mixture,
    sky_covariance,
)
from syndiff.simulation.sources import Sources, unit_vectors
from syndiff.simulation.truth import seeing_nodes
from syndiff.window import Window

__all__ = [
    "PrfConfig",
    "add_gaussians",
    "draw_sources",
    "response_shares",
    "source_parts",
    "write_prf_files",
]

F64 = NDArray[np.float64]

_SAMPLES = 9
_PIXELS = 13
_NEGLIGIBLE = 1e-10
_QUADRATURE = {0.0: 8, 0.55: 6, 0.9: 5, 1.6: 4, 4.0: 3}
# Gauss-Legendre nodes an axis from some narrowest sigma (px) on: 3e-9 of the Gaussian's peak, at
# 0.4 px and more.

_MEAN_SEEING_ARCSEC = (1.2, 1.1, 1.1, 1.0)
_TAKEN_OUT_ARCSEC2 = PS1_PIXEL_ARCSEC**2 / 12 + sum(
    weight * (fwhm / FWHM_PER_SIGMA) ** 2
    for weight, fwhm in zip(BAND_WEIGHTS, _MEAN_SEEING_ARCSEC, strict=True)
)
# A template with a measured response has PS1's mean seeing (r, i, z, y) and pixel taken out.


@dataclass(frozen=True)
class PrfConfig:
    """A response of a round core, a displaced elongated flank and a halo, sharpest in one corner.

    As wide as TESS's: 1.34 to 2.14 px, median 1.60 (full width at half maximum, the pixel
    included), where MAST's files have 1.24 to 2.14, median 1.61.

    Parameters
    ----------
    core_px : float
        Standard deviation of the core where it is sharpest, TESS pixels.
    growth_px : float
        By how much it is wider in the opposite corner.
    noise : float
        Of the files, in units of what MAST's have; images are drawn without any.
    seed : int
        Of that noise.

    Raises
    ------
    ConfigError
        If the core is narrower than the quadrature can integrate, or shrinks, or noise is negative.
    """

    core_px: float = 0.45
    growth_px: float = 0.35
    noise: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.core_px >= 0.4:
            raise ConfigError(f"core_px {self.core_px} is too narrow: give 0.4 or more")
        if not self.growth_px >= 0:
            raise ConfigError(f"growth_px {self.growth_px} must not be negative")
        if not self.noise >= 0:
            raise ConfigError(f"noise {self.noise} of pixel responses must not be negative")

    def gaussians(self, row: int, column: int) -> F64:
        """Return the response at one place of the CCD, without the pixel.

        Parameters
        ----------
        row, column : int
            Place, 1-based.

        Returns
        -------
        (3, 6) float64
            Share, displacement x, y (px), covariance xx, xy, yy (px^2).
        """
        across = (column - PRF_COLUMNS[0]) / (PRF_COLUMNS[-1] - PRF_COLUMNS[0])
        up = (row - PRF_ROWS[0]) / (PRF_ROWS[-1] - PRF_ROWS[0])
        away, angle = np.hypot(across, up) / np.sqrt(2), np.arctan2(up + 0.1, across + 0.2)
        growth = self.growth_px * away**2
        core, along = self.core_px + growth, self.core_px + 0.15 + 2 * growth
        direction = np.array([np.cos(angle), np.sin(angle)])
        flank = core**2 * np.eye(2) + (along**2 - core**2) * np.outer(direction, direction)
        shift = (0.2 + 2 * growth) * direction
        halo = 1.3**2
        return np.array(
            [
                [0.68, -0.1 * across, 0.08 * up, core**2, 0.05 * growth, core**2],
                [0.25, *shift, flank[0, 0], flank[0, 1], flank[1, 1]],
                [0.07, 0.0, 0.0, halo, 0.0, halo],
            ]
        )


def add_gaussians(image: F64, blobs: F64) -> None:
    """Add Gaussians, the broad ones by fewer nodes.

    Parameters
    ----------
    image : (ny, nx) float64
        Flux per pixel; modified.
    blobs : (n, 6) float64
        As `add_integrated` takes them.
    """
    xx, xy, yy = blobs[:, 3:].T
    narrowest = np.sqrt((xx + yy) / 2 - np.hypot((xx - yy) / 2, xy))
    group = np.digitize(narrowest, list(_QUADRATURE))
    for k, count in enumerate(_QUADRATURE.values(), 1):
        nodes, weights = np.polynomial.legendre.leggauss(count)
        add_integrated(image, blobs[group == k], _NEGLIGIBLE, nodes / 2, weights / 2)


def write_prf_files(config: PrfConfig, detector: Detector, directory: Path) -> Path:
    """Write the response as MAST has TESS's: 25 files in a tree of folders.

    Parameters
    ----------
    config : PrfConfig
        The response.
    detector : Detector
        Sector, camera and CCD.
    directory : Path
        Root of the tree; made if needed.

    Returns
    -------
    Path
        The folder of the files.
    """
    rng = np.random.default_rng([config.seed, 9])
    edition, stamp = _edition(detector)
    ccd = f"{detector.camera}-{detector.ccd}"
    folder = directory / edition / f"cam{detector.camera}_ccd{detector.ccd}"
    folder.mkdir(parents=True, exist_ok=True)
    for row in PRF_ROWS:
        for column in PRF_COLUMNS:
            samples = _samples(config.gaussians(row, column))
            uncertainties = _uncertainties(samples)
            if config.noise:
                samples = _noisy(samples, config.noise, rng)
            header = _header(detector, row, column)
            main = fits.PrimaryHDU(samples, header)
            main.header["DATATYPE"] = ("PRF", "PRF or Uncertainties")
            errors = fits.ImageHDU(uncertainties, header)
            errors.header["DATATYPE"] = ("Uncertainties", "PRF or Uncertainties")
            path = folder / f"tess{stamp}-prf-{ccd}-row{row:04d}-col{column:04d}.fits"
            fits.HDUList([main, errors]).writeto(path, overwrite=True)
    return folder


def _edition(detector: Detector) -> tuple[str, str]:
    """Return folder and date of the files at MAST that a CCD's would replace."""
    place = detector.camera, detector.ccd
    if detector.sector <= 3:
        return "start_s0001", "2018243163600" if place < (2, 4) else "2018243163601"
    if place == (1, 1):
        return "start_s0004", "2019107181900"
    return "start_s0004", "2019107181901" if place <= (3, 1) else "2019107181902"


def _samples(gaussians: F64) -> F64:
    """Return what pixels record at every ninth of a pixel from a star, (117, 117)."""
    out = np.empty((_PIXELS, _SAMPLES, _PIXELS, _SAMPLES))
    middle = (_PIXELS * _SAMPLES - 1) // 2
    for j in range(_SAMPLES):
        for i in range(_SAMPLES):
            star = np.array([middle - i, middle - j]) / _SAMPLES
            blobs = np.column_stack([star + gaussians[:, 1:3], gaussians[:, [0, 3, 4, 5]]])
            image = np.zeros((_PIXELS, _PIXELS))
            add_gaussians(image, blobs)
            out[:, j, :, i] = image
    return out.reshape(_PIXELS * _SAMPLES, _PIXELS * _SAMPLES)


def _noisy(samples: F64, amount: float, rng: np.random.Generator) -> F64:
    """Return a response with noise as MAST's files have it, their 81 sums of 13 x 13 still one.

    Measured on three CCDs beyond 1.5 cycles per pixel: 0.5 % of the peak there, less than in
    proportion to the light elsewhere, twice as much in some files as in others; neighbours
    correlate by 0.2, files not at all. Its largest is 1.0 to 3.7 % of a file's peak.
    """
    peak = samples.max()
    noise = rng.standard_normal(samples.shape)
    for axis in (0, 1):
        noise += 0.2 * (np.roll(noise, 1, axis) + np.roll(noise, -1, axis))
    level = amount * rng.uniform(0.7, 1.6) * 7.5e-3 * peak * (samples / peak) ** 0.7
    pixels = np.maximum(samples + level * noise, 0).reshape((_PIXELS, _SAMPLES) * 2)
    return np.asarray((pixels / pixels.sum(axis=(0, 2), keepdims=True)).reshape(samples.shape))


def _uncertainties(samples: F64) -> F64:
    """Return what MAST states of such a response: 4 % at its peak, half of the light far out."""
    peak = samples.max()
    return np.asarray(peak * (0.04 * (samples / peak) ** 0.75 + 3e-4))


def _header(detector: Detector, row: int, column: int) -> fits.Header:
    """Return the cards of a file, as the mission's own script writes them."""
    header = fits.Header()
    header["ORIGIN"] = ("SIMULATION", "organization that generated this file")
    header["TELESCOP"] = "TESS"
    if detector.sector > 3:
        header["VERSION"] = ("UPDATED_2.0", "PRF is valid from Sector 4 and beyond")
    header["CAM"], header["CCD"] = detector.camera, detector.ccd
    header["CCD_RREF"] = (row, "CCD row coordinate of center PRF pixel")
    header["CCD_CREF"] = (column, "CCD column reference of center PRF pixel")
    header["NSAMP"] = (_SAMPLES, "Number of PRF pixels per TESS pixel")
    header["PRF_RES"] = (2.35, "resolution of super-sampled PRF (arcseconds)")
    header["WCSNAMEP"], header["WCSAXESP"] = "PHYSICAL", 2
    for axis, name, value in ((1, "RAWX", column), (2, "RAWY", row)):
        header[f"CTYPE{axis}P"], header[f"CUNIT{axis}P"] = name, "PIXEL"
        header[f"CRPIX{axis}P"] = (_PIXELS * _SAMPLES + 1) // 2
        header[f"CRVAL{axis}P"], header[f"CDELT{axis}P"] = value, 1 / _SAMPLES
    return header


def draw_sources(
    sources: Sources,
    config: PrfConfig,
    wcs: WCS,
    window: Window,
    *,
    year: float,
    seeing: PsfConfig | None = None,
    offset: tuple[float, float] = (0.0, 0.0),
) -> F64:
    """Return the flux that sources send into each pixel of a window.

    Parameters
    ----------
    sources : Sources
        The sky.
    config : PrfConfig
        The response: bilinear in the source's own place, between the places of the files.
    wcs : astropy.wcs.WCS
        Of the image.
    window : Window
        Pixels wanted; they may be outside the image.
    year : float
        Epoch of the positions, Julian year.
    seeing : PsfConfig, optional
        PS1's seeing, of which a template has the mean taken out; None for TESS's own view.
    offset : tuple of float
        dx, dy (px): displacement of sources from their positions by `wcs`.

    Returns
    -------
    (ny, nx) float64
        Flux per pixel, in the unit of the sources' flux.

    Notes
    -----
    A source's blur on the sky is added to the Gaussians' covariances by the WCS's derivatives at
    its place; what seeing is sharper than the mean is taken off.
    """
    places = np.stack(wcs.all_world2pix(*sources.at(year), 0, tolerance=1e-9, quiet=True), -1)
    x, y = (places + np.array(offset) - [window.x0, window.y0]).T
    ny, nx = window.shape
    near = (x > -_REACH_PX) & (x < nx + _REACH_PX) & (y > -_REACH_PX) & (y < ny + _REACH_PX)
    image = np.zeros(window.shape)
    for chosen, flux, blur in source_parts(sources[near], places[near], wcs, seeing):
        for share in response_shares(places[near][chosen], config):
            blobs = np.column_stack([x[near][chosen], y[near][chosen], flux, blur])
            blobs[:, :3] += np.column_stack([share[:, 1:3], 0 * flux])
            blobs[:, 2] *= share[:, 0]
            blobs[:, 3:] += share[:, 3:]
            add_gaussians(image, blobs[share[:, 0] > 0])
    return image


_REACH_PX = 40.0
# Farther than a galaxy's outskirts shine.


def response_shares(places: F64, config: PrfConfig) -> Iterator[F64]:
    """Yield the Gaussians of the response at some places.

    Parameters
    ----------
    places : (n, 2) float64
        x, y (px).
    config : PrfConfig
        The response.

    Yields
    ------
    (n, 6) float64
        Share, displacement x, y (px), covariance xx, xy, yy (px^2).
    """
    axes = [np.array(nodes) - 1.0 for nodes in (PRF_ROWS, PRF_COLUMNS)]
    for j, row in enumerate(PRF_ROWS):
        down = np.interp(places[:, 1], axes[0], np.arange(len(PRF_ROWS)) == j)
        for i, column in enumerate(PRF_COLUMNS):
            weight = down * np.interp(places[:, 0], axes[1], np.arange(len(PRF_COLUMNS)) == i)
            if not weight.any():
                continue
            for gaussian in config.gaussians(row, column):
                share = np.tile(gaussian, (len(places), 1))
                share[:, 0] *= weight
                yield share


def source_parts(
    sources: Sources,
    places: F64,
    wcs: WCS,
    seeing: PsfConfig | None,
    *,
    extra_arcsec2: float = 0.0,
) -> Iterator[tuple[NDArray[np.int64], F64, F64]]:
    """Yield sources as parts, each blurred by one Gaussian.

    Parameters
    ----------
    sources : Sources
        The sky.
    places : (n, 2) float64
        Their positions, px.
    wcs : astropy.wcs.WCS
        Of the image.
    seeing : PsfConfig or None
        As of `draw_sources`.
    extra_arcsec2 : float
        Variance of a round Gaussian on the sky that widens all of them, without `seeing`.

    Yields
    ------
    index : (k,) int64
        Of the sources.
    flux : (k,) float64
        Of their part.
    blur : (k, 3) float64
        Its covariance xx, xy, yy (px^2).
    """
    if seeing is None:
        flux, variance = sources.composite_flux[:, None], np.full((len(sources), 1), extra_arcsec2)
    else:
        flux, variance = seeing_nodes(sources, seeing)
        variance = variance + PS1_PIXEL_ARCSEC**2 / 12 - _TAKEN_OUT_ARCSEC2
    jacobians = _jacobians(places, wcs)
    shape = sky_covariance(sources.radius_arcsec, sources.axis_ratio, sources.angle_deg)
    for kind in (0, *GALAXY_KINDS):
        chosen = np.flatnonzero(sources.sersic == kind)
        shares, sizes = galaxy_mixture(kind) if kind else (np.ones(1), np.zeros(1))
        for share, size in zip(shares, sizes, strict=True):
            for node in range(flux.shape[1]):
                sky = variance[chosen, node, None, None] * np.eye(2) + size * shape[chosen]
                blur = jacobians[chosen] @ sky @ jacobians[chosen].transpose(0, 2, 1)
                if chosen.size:
                    part = flux[chosen, node] * share
                    yield chosen, part, blur.reshape(-1, 4)[:, [0, 1, 3]]


def _jacobians(places: F64, wcs: WCS) -> F64:
    """Return pixels per arcsecond to the east and north, (n, 2, 2), by central differences."""
    x, y = places.T

    def towards(dx: float, dy: float) -> F64:
        return unit_vectors(*wcs.all_pix2world(x + dx, y + dy, 0))

    middle = towards(0, 0)
    east = np.stack([-middle[:, 1], middle[:, 0], np.zeros(len(x))], -1)
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    frame = np.stack([east, np.cross(middle, east)], 1)
    steps = [towards(0.5, 0) - towards(-0.5, 0), towards(0, 0.5) - towards(0, -0.5)]
    slopes = np.stack([np.einsum("nij,nj->ni", frame, step) for step in steps], -1)
    return np.asarray(np.linalg.inv(np.degrees(slopes) * 3600))
