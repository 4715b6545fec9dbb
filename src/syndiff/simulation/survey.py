"""The simulated PS1 archive: skycells with sources, noise and defects."""

import math
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from syndiff.config import BANDS, PS1_PIXEL_ARCSEC
from syndiff.constants import ZERO_POINT
from syndiff.errors import ConfigError
from syndiff.kernels.gaussians import add_elliptical, add_round, warp_bilinear
from syndiff.masks import StackMask
from syndiff.simulation.grid import skycell_border, skycell_wcs
from syndiff.simulation.profiles import GALAXY_KINDS, PsfConfig, galaxy_mixture, sky_covariance
from syndiff.simulation.sky import Cap
from syndiff.simulation.sources import Sources, unit_vectors
from syndiff.simulation.stack_writer import (
    StackHeader,
    choose_scaling,
    encode,
    write_stack_plane,
)
from syndiff.sky.tessellation import Skycell

__all__ = ["NOISE_CORRELATION", "StackConfig", "render_light", "warped_noise", "write_skycell"]

F64 = NDArray[np.float64]
Mask = NDArray[np.uint16]

NOISE_CORRELATION = 1.5
"""Noise of large sums over what independent pixels would give: bilinear warping keeps 4/9 of the
variance of white noise, averaged over where pixels fall, and all of that of large sums."""

_NOISE = (0.125, 0.14, 0.29, 0.80)
_EXPOSURES = ((40.0, 16), (45.0, 30), (30.0, 20), (30.0, 17))
_SATURATION_MAG = (13.5, 13.5, 13.0, 12.0)
_PS1_MJD = 56200.0
_GAP_PX = 400
_TURNED = (-math.cos(0.2), math.sin(0.2), math.sin(0.2), math.cos(0.2))
_BLOCK = 256
_FARTHEST = 1 << 20
# Blocks from a plane's middle: seeds can't be negative.
_BIG_ARCSEC = 6.0
_REACH_RADII = 12.0
_WAVES = 8
_LOG_WAVES = (math.log(60.0), math.log(300.0))
_HALO_PX = 400
_HALO_CORE_PX = 20.0
_HALO_AT_CORE = 1.2e-6
_CULL_DEG = 2.5 / 60
# Seeing and all but big galaxies end within 2 arcmin of their middle.


@dataclass(frozen=True)
class StackConfig:
    """How PS1 saw the sky.

    Parameters
    ----------
    psf : PsfConfig
        Seeing.
    noise : bool
        Whether there is noise.
    artefacts : bool
        Whether there are blank borders, gaps, flagged patches, saturated stars and spikes.
    background_sigmas : float
        Amplitude of a smooth residual background, in units of a pixel's noise.
    ripple_sigmas : float
        Rms, in units of a pixel's noise, of what sky subtraction left: waves of 1 to 5 arcmin that
        belong to the exposures, and as much of a step from skycell to skycell, band by band.
    dark_halo : float
        Part of the flux of galaxies with half-light radii above 6" that sky subtraction took away,
        as a round Gaussian of four of these radii.
    floor_sigmas : float
        Surface brightness, in units of a pixel's noise, under which light is not drawn.
    exposures_centre : tuple of float, optional
        RA and Dec (degrees) around which the exposures' noise is drawn, for skycells of several
        projections to show the same; None: only skycells of one projection do.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    psf: PsfConfig = field(default_factory=PsfConfig)
    noise: bool = True
    artefacts: bool = True
    background_sigmas: float = 0.0
    ripple_sigmas: float = 0.0
    dark_halo: float = 0.0
    floor_sigmas: float = 1e-5
    exposures_centre: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.floor_sigmas <= 0.1:
            raise ConfigError(f"floor_sigmas {self.floor_sigmas} must be above 0 and at most 0.1")
        if not abs(self.background_sigmas) <= 10:
            raise ConfigError(f"background_sigmas {self.background_sigmas}: give -10 to 10")
        for name in ("ripple_sigmas", "dark_halo"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} {getattr(self, name)} is out of range: give 0 to 1")


def write_skycell(
    skycell: Skycell, sources: Sources, config: StackConfig, *, seed: int, archive: Path
) -> None:
    """Write the twelve files of a skycell.

    Parameters
    ----------
    skycell : Skycell
        The skycell.
    sources : Sources
        The sky; sources outside the skycell do no harm.
    config : StackConfig
        How PS1 saw it.
    seed : int
        With the name, seeds everything random: each skycell is the same whatever others are made.
    archive : Path
        Root of the archive, ``PPPP/CCC/rings.v3.skycell.PPPP.CCC.stk.B.unconv*.fits`` below it.
    """
    placed = _place(skycell, sources)
    for index, band in enumerate(BANDS):
        rng = np.random.default_rng([seed, zlib.crc32(skycell.name.encode()), index])
        light = _render(placed, (skycell.ny, skycell.nx), config, index)
        header = _draw_header(rng, skycell, band, config)
        planes = _observe(rng, light, header, config, placed)
        _subtract_halos(planes, placed, config, header)
        if config.ripple_sigmas:
            _add_ripple(planes, header, config, seed=seed)
        if config.noise:
            _add_noise(planes, header, config, seed=seed)
        _write_planes(planes, header, archive, config)


def render_light(skycell: Skycell, sources: Sources, config: StackConfig, *, band: int) -> F64:
    """Return the light of a skycell in one band.

    Parameters
    ----------
    skycell : Skycell
        The skycell.
    sources : Sources
        The sky.
    config : StackConfig
        How PS1 saw it; only the seeing and the floor matter.
    band : int
        Index into the bands r, i, z, y.

    Returns
    -------
    (ny, nx) float64
        Flux per pixel at zero point 25, without noise.
    """
    return _render(_place(skycell, sources), (skycell.ny, skycell.nx), config, band)


@dataclass(frozen=True)
class _Placed:
    """Positions of sources in a skycell: (n, 2) pixels, (n, 2, 2) pixels per arcsec."""

    sources: Sources
    xy: F64
    jacobian: F64


def _place(skycell: Skycell, sources: Sources) -> _Placed:
    """Find pixels and the local scale of the sources that shine into a skycell."""
    cap = Cap.around(unit_vectors(*skycell_border(skycell)), _CULL_DEG)
    towards = unit_vectors(sources.ra, sources.dec)
    big = sources.radius_arcsec > _BIG_ARCSEC
    reach_deg = _REACH_RADII * float(sources.radius_arcsec.max(initial=0.0)) / 3600
    sources = sources[cap.holds(towards) | (big & cap.holds(towards, reach_deg))]
    if not len(sources):
        return _Placed(sources, np.zeros((0, 2)), np.zeros((0, 2, 2)))
    wcs = skycell_wcs(skycell)
    step = math.radians(1 / 3600)
    towards = unit_vectors(sources.ra, sources.dec)
    ra = np.radians(sources.ra)
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], -1)

    def pixels(vectors: F64) -> F64:
        lon = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0]))
        lat = np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))
        return np.stack(wcs.all_world2pix(lon, lat, 0), -1)

    xy = np.stack(wcs.all_world2pix(sources.ra, sources.dec, 0), -1)
    columns = [pixels(towards + step * way) - xy for way in (east, np.cross(towards, east))]
    return _Placed(sources, xy, np.stack(columns, -1))


def _render(placed: _Placed, shape: tuple[int, int], config: StackConfig, band: int) -> F64:
    """Draw stars and galaxies."""
    image, sources = np.zeros(shape), placed.sources
    floor = config.floor_sigmas * _NOISE[band]
    weights, variances = config.psf.mixture(band)
    work = np.empty((2, max(image.shape) + 2))
    stars = sources.sersic == 0
    scale = np.sqrt(np.abs(np.linalg.det(placed.jacobian[stars])))
    for weight, variance in zip(weights, variances, strict=True):
        flux = weight * sources.flux[stars, band]
        rows = np.column_stack([placed.xy[stars], flux, math.sqrt(variance) * scale])
        add_round(image, rows, floor, work)
    for kind in GALAXY_KINDS:
        chosen = sources.sersic == kind
        some, jacobian = sources[chosen], placed.jacobian[chosen]
        ellipse = sky_covariance(some.radius_arcsec, some.axis_ratio, some.angle_deg)
        for share, width in zip(*galaxy_mixture(kind), strict=True):
            for weight, variance in zip(weights, variances, strict=True):
                covariance = _to_pixels(jacobian, width * ellipse + variance * np.eye(2))
                flux = share * weight * some.flux[:, band]
                rows = np.column_stack([placed.xy[chosen], flux, covariance])
                add_elliptical(image, rows, floor)
    return image


def _to_pixels(jacobian: F64, covariance: F64) -> F64:
    """Return (n, 3) xx, xy, yy of covariances in pixels, the pixel's own 1/12 included."""
    moved = jacobian @ covariance @ jacobian.transpose(0, 2, 1)
    pixel = 1 / 12
    return np.stack([moved[:, 0, 0] + pixel, moved[:, 0, 1], moved[:, 1, 1] + pixel], -1)


def _draw_header(
    rng: np.random.Generator, skycell: Skycell, band: str, config: StackConfig
) -> StackHeader:
    """Draw the exposures that went into a stack."""
    exposure, usual = _EXPOSURES[BANDS.index(band)]
    count = int(rng.integers(round(0.8 * usual), round(1.2 * usual) + 1))
    rejected = (int(rng.integers(count)),) if config.artefacts else ()
    return StackHeader(
        skycell=skycell,
        band=band,
        exposures_s=(exposure,) * count,
        rejected=rejected,
        mjd_obs=round(_PS1_MJD + float(rng.uniform(-30, 30)), 10),
        gain=round(float(rng.uniform(1.0, 1.1)), 6),
        saturation=round(float(rng.uniform(1.1e6, 2.1e6)), 0),
        serial=int(rng.integers(3_000_000, 4_600_000)),
    )


@dataclass(frozen=True)
class _Planes:
    """Counts, their variance (both NaN where lost), mask, and the noise of an empty pixel."""

    counts: F64
    variance: F64
    mask: Mask
    noise: float


def _observe(
    rng: np.random.Generator,
    light: F64,
    header: StackHeader,
    config: StackConfig,
    placed: _Placed,
) -> _Planes:
    """Turn light into counts with their variance and mask; `light` is used up."""
    band, exptime = BANDS.index(header.band), header.exptime_s
    exposure, usual = _EXPOSURES[band]
    sigma = _NOISE[band] * math.sqrt(exposure * usual / exptime)
    variance = np.square(sigma * _unevenness(light.shape))
    variance += light / (header.gain * exptime)
    mask, lost = np.zeros(light.shape, np.uint16), np.zeros(light.shape, np.bool_)
    if config.artefacts:
        _mark_frame(rng, mask, lost)
        saturation = _saturation(placed, config.psf, band)
        for xy, flux in zip(saturation.xy, saturation.flux, strict=True):
            _add_halo(light, xy, float(flux))
        _saturate(light, mask, lost, saturation.level)
        for xy, excess in zip(saturation.xy, saturation.excess, strict=True):
            _add_spikes(light, mask, xy, (saturation.level, float(excess)))
    if config.background_sigmas:
        light += config.background_sigmas * sigma * _unevenness(light.shape)[::-1, ::-1]
    light *= exptime
    variance *= exptime**2
    light[lost] = np.nan
    variance[lost] = np.nan
    return _Planes(light, variance, mask, sigma * exptime)


def _unevenness(shape: tuple[int, ...]) -> F64:
    """Return a smooth factor between 0.85 and 1.15."""
    ny, nx = shape
    return 1 + np.outer(0.15 * np.cos(np.arange(ny) / 900), np.sin(np.arange(nx) / 700))


def _to_exposures(skycell: Skycell, config: StackConfig) -> F64:
    """Return the matrix from a skycell's pixels to the plane that its exposures are drawn on."""
    # Turned, so that no projection's pixels run along it.
    plane = replace(
        skycell, crval=config.exposures_centre or skycell.crval, crpix=(0.0, 0.0), pc=_TURNED
    )
    return np.asarray(np.linalg.inv(plane.pixel_to_direction) @ skycell.pixel_to_direction)


def _subtract_halos(
    planes: _Planes, placed: _Placed, config: StackConfig, header: StackHeader
) -> None:
    """Take the dark halos of big galaxies out of the counts."""
    band = BANDS.index(header.band)
    ny, nx = planes.counts.shape
    for k in np.flatnonzero((placed.sources.radius_arcsec > _BIG_ARCSEC) & (config.dark_halo > 0)):
        sigma = 4 * placed.sources.radius_arcsec[k] / PS1_PIXEL_ARCSEC
        x, y = placed.xy[k]
        taken = config.dark_halo * placed.sources.flux[k, band] * header.exptime_s
        along, across = (
            np.exp(-0.5 * ((np.arange(n) - middle) / sigma) ** 2) / (math.sqrt(2 * np.pi) * sigma)
            for n, middle in ((ny, y), (nx, x))
        )
        planes.counts[:] -= taken * np.outer(along, across)


def _add_ripple(planes: _Planes, header: StackHeader, config: StackConfig, *, seed: int) -> None:
    """Add what sky subtraction left to the counts: waves of the exposures, a step of the stack."""
    warp = _to_exposures(header.skycell, config)
    warp = warp / warp[2, 2]  # a tangent plane is flat enough for waves
    waves = np.random.default_rng([seed, BANDS.index(header.band), 0x5A7E])
    name = zlib.crc32(header.skycell.name.encode())
    own = np.random.default_rng([seed, name, BANDS.index(header.band), 0x57E9])
    rms = config.ripple_sigmas * planes.noise
    length = np.exp(waves.uniform(*_LOG_WAVES, _WAVES)) / PS1_PIXEL_ARCSEC
    angle, phase = waves.uniform(0.0, 2 * np.pi, (2, _WAVES))
    per_px = 2 * np.pi / length * np.stack([np.cos(angle), np.sin(angle)])
    (kx, ky), start = warp[:2, :2].T @ per_px, phase + warp[:2, 2] @ per_px
    ny, nx = planes.counts.shape
    down, right = start + np.outer(np.arange(ny), ky), np.outer(np.arange(nx), kx)
    # cos(a + b), summed over waves
    ripple = np.cos(down) @ np.cos(right).T - np.sin(down) @ np.sin(right).T
    planes.counts[:] += rms * (math.sqrt(2 / _WAVES) * ripple + own.standard_normal())


def _add_noise(planes: _Planes, header: StackHeader, config: StackConfig, *, seed: int) -> None:
    """Add the noise that the sky's exposures have at a skycell's pixels to its counts."""
    warp = _to_exposures(header.skycell, config)
    noise = warped_noise(warp, planes.counts.shape, (seed, BANDS.index(header.band)))
    noise *= np.sqrt(planes.variance)
    planes.counts[:] += noise


def warped_noise(warp: F64, shape: tuple[int, int], seed: tuple[int, ...]) -> NDArray[np.float32]:
    """Return white noise of a plane as the pixels of another one see it, warped bilinearly.

    Parameters
    ----------
    warp : (3, 3) float64
        Homogeneous matrix from pixels to the plane.
    shape : tuple of int
        (ny, nx) of the pixels.
    seed : tuple of int
        Of the plane's noise: the same plane always has the same noise.

    Returns
    -------
    (ny, nx) float32
        Noise of unit variance, on average over where pixels fall between the plane's nodes.
    """
    ny, nx = shape
    corners = warp @ np.array([[0, nx, nx, 0], [0, 0, ny, ny], [1, 1, 1, 1]], float)
    ends = corners[:2] / corners[2]
    first = np.floor(ends.min(axis=1)).astype(np.int64) // _BLOCK
    last = np.floor(ends.max(axis=1) + 1).astype(np.int64) // _BLOCK
    columns, rows = (last - first + 1).tolist()
    white = np.empty((rows * _BLOCK, columns * _BLOCK), np.float32)
    for j, i in np.ndindex(rows, columns):
        place = (int(first[1]) + j + _FARTHEST, int(first[0]) + i + _FARTHEST)
        rng = np.random.default_rng([*seed, *place])
        block = np.s_[j * _BLOCK : (j + 1) * _BLOCK, i * _BLOCK : (i + 1) * _BLOCK]
        white[block] = rng.standard_normal((_BLOCK, _BLOCK), dtype=np.float32)
    out = np.empty(shape, np.float32)
    warp_bilinear(white, warp, (first * _BLOCK).astype(np.float64), out)
    out *= np.float32(NOISE_CORRELATION)
    return out


def _mark_frame(rng: np.random.Generator, mask: Mask, lost: NDArray[np.bool_]) -> None:
    """Add the blank border, gaps between chips and flagged patches; both planes are modified."""
    ny, nx = mask.shape
    for edge in (np.s_[:3], np.s_[-3:], np.s_[:, :3], np.s_[:, -3:]):
        lost[edge] = True
    for axis, width in ((0, 10), (1, 16)):
        if rng.random() < 0.5:
            y, x = int(rng.integers(ny)), int(rng.integers(nx))
            h, w = (width, _GAP_PX) if axis == 0 else (_GAP_PX, width)
            lost[y : y + h, x : x + w] = True
    mask[lost] |= np.uint16(StackMask.BLANK)
    flags = (StackMask.LOW, StackMask.SUSPECT, StackMask.CONV_POOR)
    for _ in range(2 + ny * nx // 1_000_000):
        for flag in flags:
            x, y = int(rng.integers(nx)), int(rng.integers(ny))
            w, h = (int(v) for v in rng.integers(5, 60, 2))
            mask[y : y + h, x : x + w] |= np.uint16(flag)
    for _ in range(ny * nx // 20_000):
        mask[int(rng.integers(ny)), int(rng.integers(nx))] |= np.uint16(StackMask.CR)
    _mark_ghost_and_streak(rng, mask)


def _mark_ghost_and_streak(rng: np.random.Generator, mask: Mask) -> None:
    """Flag a ghost's disc and a streak across the skycell; `mask` is modified."""
    ny, nx = mask.shape
    radius = int(rng.integers(20, 60))
    x, y = int(rng.integers(nx)), int(rng.integers(ny))
    y0, x0 = max(0, y - radius), max(0, x - radius)
    box = mask[y0 : y + radius + 1, x0 : x + radius + 1]
    yy, xx = np.ogrid[y0 : y0 + box.shape[0], x0 : x0 + box.shape[1]]
    box[(xx - x) ** 2 + (yy - y) ** 2 <= radius**2] |= np.uint16(StackMask.GHOST)
    columns = np.arange(nx)
    rows = np.rint(rng.uniform(0, ny) + rng.uniform(-0.5, 0.5) * columns).astype(int)
    for shift in range(4):
        inside = (rows + shift >= 0) & (rows + shift < ny)
        mask[rows[inside] + shift, columns[inside]] |= np.uint16(StackMask.STREAK)


@dataclass(frozen=True)
class _Saturation:
    """The flux per pixel that saturates, and the stars beyond it: where, factor, flux."""

    level: float
    xy: F64
    excess: F64
    flux: F64


def _saturation(placed: _Placed, psf: PsfConfig, band: int) -> _Saturation:
    """Find the stars that saturate in single exposures."""
    weights, variances = psf.mixture(band)
    per_flux = float((weights / (2 * np.pi * variances)).sum()) * PS1_PIXEL_ARCSEC**2
    level = per_flux * 10 ** (0.4 * (ZERO_POINT - _SATURATION_MAG[band]))
    excess = placed.sources.flux[:, band] * per_flux / level * (placed.sources.sersic == 0)
    beyond = excess > 1
    flux = placed.sources.flux[beyond, band]
    return _Saturation(level, placed.xy[beyond], excess[beyond], flux)


def _add_halo(light: F64, xy: F64, flux: float) -> None:
    """Add the light that the telescope scatters around a bright star; `light` is modified.

    Surface brightness falls as r^-2.5 from 5" to 100" (King 1971, PASP 83, 199, finds r^-2): half
    a percent of the star in all. TESS's own view has nothing of it.
    """
    x0, y0 = (max(0, round(float(v)) - _HALO_PX) for v in xy)
    x1, y1 = (max(0, round(float(v)) + _HALO_PX + 1) for v in xy)
    box = light[y0:y1, x0:x1]
    if box.size:
        y, x = np.ogrid[y0 : y0 + box.shape[0], x0 : x0 + box.shape[1]]
        radius = np.hypot(x - xy[0], y - xy[1])
        halo = flux * _HALO_AT_CORE * (np.maximum(radius, _HALO_CORE_PX) / _HALO_CORE_PX) ** -2.5
        box += np.where(radius <= _HALO_PX, halo, 0.0)


def _saturate(light: F64, mask: Mask, lost: NDArray[np.bool_], level: float) -> None:
    """Flag and clip saturated cores, lose the brightest; the three planes are modified."""
    mask[light > level] |= np.uint16(StackMask.SAT | StackMask.STARCORE)
    lost |= light > 4 * level
    np.minimum(light, 1.3 * level, out=light)


def _add_spikes(light: F64, mask: Mask, xy: F64, strength: tuple[float, float]) -> None:
    """Add four faint arms to a saturated star; both planes are modified."""
    level, excess = strength
    length = min(30.0 * math.sqrt(excess), 600.0)
    r = np.arange(4.0, length, 0.5)
    for arm in range(4):
        angle = math.radians(35 + 90 * arm)
        for side in (-1, 0, 1):
            x = np.rint(xy[0] + r * math.cos(angle) - side * math.sin(angle)).astype(int)
            y = np.rint(xy[1] + r * math.sin(angle) + side * math.cos(angle)).astype(int)
            inside = (x >= 0) & (x < light.shape[1]) & (y >= 0) & (y < light.shape[0])
            mask[y[inside], x[inside]] |= np.uint16(StackMask.SPIKE)
            glow = 1e-4 * level * np.exp(-r[inside] / length)
            np.add.at(light, (y[inside], x[inside]), glow)


def _write_planes(planes: _Planes, header: StackHeader, archive: Path, config: StackConfig) -> None:
    """Write image, variance and mask of one band; the planes are used up."""
    _, projection, cell = header.skycell.name.split(".")
    folder = archive / projection / cell
    stem = f"rings.v3.{header.skycell.name}.stk.{header.band}.unconv"
    noise, level = planes.noise, planes.noise**2
    for suffix, values, width, offset in (
        ("", planes.counts, noise, 0.044 * noise),
        (".wt", planes.variance, level, 0.0),
    ):
        limits = float(np.nanmin(values)), float(np.nanmax(values))
        scaling = choose_scaling(
            limits, noise=width, offset=offset, clip_brightest=config.artefacts and not suffix
        )
        dn = encode(values, scaling)
        write_stack_plane(folder / f"{stem}{suffix}.fits", dn, header, scaling)
    write_stack_plane(folder / f"{stem}.mask.fits", planes.mask, header)
