"""Simulated full-frame images of TESS, in the layouts of SPOC and TICA."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from syndiff.config import TESS_ZERO_POINT
from syndiff.constants import FRAME_CYCLE_S, ZERO_POINT
from syndiff.errors import ConfigError, MissingInputError, ObservationError
from syndiff.layout import Detector
from syndiff.simulation.ffi_header import (
    DUTY,
    READ_NOISE_E,
    spoc_header,
    spoc_primary,
    tica_header,
)
from syndiff.simulation.prf import PrfConfig, draw_sources
from syndiff.simulation.sources import AB_MINUS_TESS_MAG, Sources
from syndiff.simulation.truth import blobs_of, integrate
from syndiff.window import Window

__all__ = [
    "E_PER_S_PER_FLUX",
    "FFI_SHAPE",
    "SCIENCE",
    "FfiConfig",
    "Transient",
    "example_cards",
    "example_wcs",
    "ffi_name",
    "header_cards",
    "shifted",
    "tesswcs_cards",
    "wcs_of",
    "write_ffi",
    "zodiacal_light",
]

F64 = NDArray[np.float64]

FFI_SHAPE = (2078, 2136)
SCIENCE = Window(44, 0, 2092, 2048)

E_PER_S_PER_FLUX = 10 ** (-0.4 * (ZERO_POINT - AB_MINUS_TESS_MAG - TESS_ZERO_POINT))
"""e-/s for one unit of composite flux at AB zero point 25: 0.0215."""

_EXAMPLE = "ffi_s0020_3_3.hdr"
_WCS_KEY = re.compile(
    r"WCSAXES|CTYPE[12]|CUNIT[12]|CRVAL[12]|CRPIX[12]|CDELT[12]|CD[12]_[12]|PC[12]_[12]|LONPOLE"
    r"|LATPOLE|RADESYS|EQUINOX|[AB]P?_(ORDER|\d_\d)"
)


@dataclass(frozen=True)
class Transient:
    """Something that shines in an FFI and not in PS1.

    Parameters
    ----------
    ra_deg, dec_deg : float
        Position.
    tess_mag : float
        TESS magnitude (Vega-like).
    """

    ra_deg: float
    dec_deg: float
    tess_mag: float


@dataclass(frozen=True)
class FfiConfig:
    """How TESS saw the sky.

    Parameters
    ----------
    detector : Detector
        Sector, camera and CCD.
    wcs_cards : str
        The WCS as header cards, separated by newlines.
    start : str
        Start of the exposure as UTC, ISO 8601; empty for the middle of the sector.
    psf_sigma_px : float
        Standard deviation of the Gaussian response in PS1 pixels of 0.25".
    noise : bool
        Whether there is shot and read noise.
    sky_e_per_s : float
        Background per pixel; a tenth of it is a gradient.
    pointing_px : tuple of float
        dx, dy: displacement of every source by the pointing; the header's WCS includes it.
    jitter_px : tuple of float
        dx, dy: the same, but the header doesn't know.
    light_cards : str
        The WCS by which light falls where the header's `wcs_cards` are wrong; empty: they aren't.
    transients : tuple of Transient
        What shines only here.
    kind : {"SPOC", "TICA"}
        Layout of the file.
    is_gzipped : bool
        Whether the file is compressed.
    prf : PrfConfig, optional
        The response in place of the Gaussian.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    detector: Detector
    wcs_cards: str
    start: str = ""
    psf_sigma_px: float = 40.0
    noise: bool = True
    sky_e_per_s: float = 100.0
    pointing_px: tuple[float, float] = (0.0, 0.0)
    jitter_px: tuple[float, float] = (0.0, 0.0)
    light_cards: str = ""
    transients: tuple[Transient, ...] = ()
    kind: Literal["SPOC", "TICA"] = "SPOC"
    is_gzipped: bool = False
    prf: PrfConfig | None = None

    def __post_init__(self) -> None:
        if self.kind not in {"SPOC", "TICA"}:
            raise ConfigError(f"kind {self.kind!r} is unknown: give 'SPOC' or 'TICA'")
        if not self.sky_e_per_s >= 0:
            raise ConfigError(f"sky_e_per_s {self.sky_e_per_s} must not be negative")
        if self.start:
            _parse_start(self.start)

    @property
    def cadence_s(self) -> float:
        """Time from one FFI to the next."""
        sector = self.detector.sector
        return 1800.0 if sector <= 26 else 600.0 if sector <= 55 else 200.0

    @property
    def exposure_s(self) -> float:
        """Time on source."""
        return DUTY * self.cadence_s

    @property
    def cadence(self) -> int:
        """Number of the cadence, FFIINDEX."""
        seconds = (self.start_time - datetime(2018, 7, 25, tzinfo=UTC)).total_seconds()
        return 4000 + int(seconds / self.cadence_s)

    @property
    def start_time(self) -> datetime:
        """Start of the exposure, UTC."""
        if self.start:
            return _parse_start(self.start)
        # Sectors follow each other every 27.4 days, well enough for a date.
        return datetime(2018, 7, 25, 19, tzinfo=UTC) + timedelta(
            days=27.4 * (self.detector.sector - 0.5)
        )

    @property
    def year(self) -> float:
        """Julian year of the exposure's middle."""
        middle = self.start_time + timedelta(seconds=self.cadence_s / 2)
        return 2000.0 + (middle - datetime(2000, 1, 1, 12, tzinfo=UTC)).total_seconds() / 31557600.0


def _parse_start(text: str) -> datetime:
    """Read a UTC date."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"start {text!r} is no date: give ISO 8601 such as 2020-01-10T12:00:00"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def example_cards() -> str:
    """Return the built-in example: the WCS of sector 20, camera 3, CCD 3.

    Returns
    -------
    str
        Header cards separated by newlines.
    """
    return (files("syndiff") / "data" / _EXAMPLE).read_text()


def example_wcs() -> WCS:
    """Return the built-in example as a WCS.

    Returns
    -------
    astropy.wcs.WCS
        Of sector 20, camera 3, CCD 3.
    """
    return wcs_of(example_cards())


def wcs_of(cards: str) -> WCS:
    """Return the WCS that header cards describe.

    Parameters
    ----------
    cards : str
        Header cards separated by newlines.

    Returns
    -------
    astropy.wcs.WCS
        With its SIP distortion.
    """
    return WCS(fits.Header.fromstring(cards, sep="\n"))


def tesswcs_cards(detector: Detector) -> str:
    """Return the WCS of any CCD from the package tesswcs.

    Parameters
    ----------
    detector : Detector
        Sector, camera and CCD.

    Returns
    -------
    str
        Header cards separated by newlines.

    Raises
    ------
    MissingInputError
        If tesswcs is not installed.
    ConfigError
        If it doesn't know the sector.
    """
    try:
        import tesswcs
    except ImportError:
        raise MissingInputError(
            f"the WCS of {detector} needs the package tesswcs: pip install 'syndiff[tesswcs]', or "
            "give a header file"
        ) from None
    if detector.sector not in tesswcs.WCS.wcs_dicts:
        raise ConfigError(
            f"tesswcs {tesswcs.__version__} has no WCS of sector {detector.sector}: give a header "
            "file"
        )
    wcs = tesswcs.WCS.from_sector(detector.sector, detector.camera, detector.ccd)
    return _pick_cards(wcs.to_header(), f"tesswcs, {detector}")


def header_cards(path: Path) -> str:
    """Return the WCS of a header file.

    Parameters
    ----------
    path : Path
        A FITS file, or the text of a header (cards on lines of their own or of 80 characters).

    Returns
    -------
    str
        Header cards separated by newlines.

    Raises
    ------
    ObservationError
        If the file can't be read or holds no celestial WCS.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ObservationError(f"header file {path} can't be read: {error}") from error
    if content[:2] == b"\x1f\x8b" or (content[:6] == b"SIMPLE" and b"\n" not in content[:81]):
        return _pick_cards(_fits_header(path), str(path))
    text = content.decode("ascii", errors="replace")
    sep = "\n" if "\n" in text else ""
    return _pick_cards(fits.Header.fromstring(text, sep=sep), str(path))


def _fits_header(path: Path) -> fits.Header:
    """Return the first header of a FITS file that holds a WCS."""
    try:
        with fits.open(path, memmap=False) as hdus:
            headers = [hdu.header for hdu in hdus]
    except OSError as error:
        raise ObservationError(f"{path} can't be read as FITS: {error}") from error
    return next((header for header in headers if "CRVAL1" in header), headers[0])


def _pick_cards(header: fits.Header, source: str) -> str:
    """Return a header's WCS cards with a CD matrix."""
    if not {"CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CTYPE1", "CTYPE2"} <= set(header):
        raise ObservationError(
            f"{source} has no celestial WCS (CTYPE, CRVAL and CRPIX): give the header of an FFI"
        )
    out = fits.Header()
    has_cd = "CD1_1" in header
    for card in header.cards:
        if _WCS_KEY.fullmatch(card.keyword) and not card.keyword.startswith(("PC", "CDELT")):
            out.append((card.keyword, card.value, ""))
    if not has_cd:
        for i in "12":
            for j in "12":
                value = header.get(f"CDELT{i}", 1.0) * header.get(f"PC{i}_{j}", float(i == j))
                out.append((f"CD{i}_{j}", value, ""))
    return "\n".join(str(card).rstrip() for card in out.cards) + "\n"


def ffi_name(config: FfiConfig) -> str:
    """Return an FFI's file name.

    Parameters
    ----------
    config : FfiConfig
        The FFI.

    Returns
    -------
    str
        For example ``tess2020010120000-s0020-3-3-0000-s_ffic.fits``.
    """
    d, start = config.detector, config.start_time
    end = ".gz" if config.is_gzipped else ""
    if config.kind == "TICA":
        return (
            f"hlsp_tica_tess_ffi_s{d.sector:04d}-o1-{config.cadence:08d}-cam{d.camera}-ccd{d.ccd}"
            f"_tess_v01_img.fits{end}"
        )
    return f"tess{start:%Y%j%H%M%S}-s{d.sector:04d}-{d.camera}-{d.ccd}-0000-s_ffic.fits{end}"


def write_ffi(sources: Sources, config: FfiConfig, directory: Path, *, seed: int) -> Path:
    """Write an FFI.

    Parameters
    ----------
    sources : Sources
        The sky.
    config : FfiConfig
        How TESS saw it.
    directory : Path
        Where to put it.
    seed : int
        Seed of the noise, together with the start of the exposure.

    Returns
    -------
    Path
        The file.
    """
    image = _draw(sources, config)
    # Four readouts of 2 s frames a cadence; 20 % of the frames go to cosmic ray mitigation.
    read_variance = 0.8 * config.cadence_s / FRAME_CYCLE_S * READ_NOISE_E**2
    sigma = np.sqrt(np.maximum(image, 0) * config.exposure_s + read_variance) / config.exposure_s
    if config.noise:
        rng = np.random.default_rng([seed, config.cadence])
        image += sigma * rng.standard_normal(image.shape)
    path = directory / ffi_name(config)
    directory.mkdir(parents=True, exist_ok=True)
    if config.kind == "TICA":
        counts = (image * config.exposure_s).astype(np.float32)
        hdus = [fits.PrimaryHDU(counts, tica_header(config))]
    else:
        planes = ((image, "cal"), (sigma, "uncert"))
        hdus = [fits.PrimaryHDU(header=spoc_primary(config))]
        hdus += [
            fits.ImageHDU(plane.astype(np.float32), spoc_header(config, kind))
            for plane, kind in planes
        ]
    fits.HDUList(hdus).writeto(path, overwrite=True, checksum=True)
    return path


def _draw(sources: Sources, config: FfiConfig) -> F64:
    """Return the noiseless image in e-/s, collateral pixels included."""
    image = np.zeros(FFI_SHAPE)
    image[SCIENCE.slices] = zodiacal_light(config)
    offset = (
        config.pointing_px[0] + config.jitter_px[0],
        config.pointing_px[1] + config.jitter_px[1],
    )
    sources, sigma = _with_transients(sources, config), config.psf_sigma_px
    wcs, year = wcs_of(config.light_cards or config.wcs_cards), config.year
    if config.prf is not None:
        flux = draw_sources(sources, config.prf, wcs, SCIENCE, year=year, offset=offset)
    else:
        blobs = blobs_of(sources, psf_sigma_px=sigma, seeing=None, year=year)
        flux = integrate(blobs, wcs, SCIENCE, offset=offset, psf_sigma_px=sigma)
    image[SCIENCE.slices] += E_PER_S_PER_FLUX * flux
    return image


def zodiacal_light(config: FfiConfig) -> F64:
    """Return zodiacal light with a gradient over the science pixels.

    Parameters
    ----------
    config : FfiConfig
        The FFI.

    Returns
    -------
    (2048, 2048) float64
        e-/s in each pixel.
    """
    ny, nx = SCIENCE.shape
    y, x = np.ogrid[-1 : 1 : ny * 1j, -1 : 1 : nx * 1j]
    return np.asarray(config.sky_e_per_s * (1 + 0.07 * x + 0.03 * y + 0.02 * x * y))


def _with_transients(sources: Sources, config: FfiConfig) -> Sources:
    """Return sources and transients, these with the same flux in each band."""
    n = len(config.transients)
    if not n:
        return sources
    mags = np.array([t.tess_mag for t in config.transients])
    # The bands' weights sum to one.
    flux = 10 ** (-0.4 * (mags - TESS_ZERO_POINT)) / E_PER_S_PER_FLUX
    still = np.zeros(n)
    new = Sources(
        np.array([t.ra_deg for t in config.transients]),
        np.array([t.dec_deg for t in config.transients]),
        still,
        still,
        np.repeat(flux[:, None], 4, 1),
        np.zeros(n, np.int64),
        still,
        np.ones(n),
        still,
    )
    return sources.joined(new)


def shifted(config: FfiConfig, *, cadences: int, pointing_px: tuple[float, float]) -> FfiConfig:
    """Return a later FFI of the same CCD, pointed a little elsewhere.

    Parameters
    ----------
    config : FfiConfig
        The first one.
    cadences : int
        How many cadences later.
    pointing_px : tuple of float
        dx, dy: displacement of every source; the header's WCS includes it.

    Returns
    -------
    FfiConfig
        The later one.
    """
    later = config.start_time + timedelta(seconds=cadences * config.cadence_s)
    return replace(config, start=later.isoformat(), pointing_px=pointing_px)
