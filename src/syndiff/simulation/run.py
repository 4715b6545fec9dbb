"""Plan a simulation from a few choices, make it on disk, load it again."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from syndiff.config import PsfModel
from syndiff.errors import ConfigError, MissingInputError, StorageError
from syndiff.execution import Executor, LocalExecutor
from syndiff.layout import Detector
from syndiff.simulation.ffi import (
    SCIENCE,
    FfiConfig,
    example_cards,
    ffi_name,
    header_cards,
    tesswcs_cards,
    wcs_of,
    write_ffi,
)
from syndiff.simulation.grid import (
    skycell_border,
    skycell_middle,
    small_catalogue,
    write_catalogue,
)
from syndiff.simulation.prf import PrfConfig, draw_sources, write_prf_files
from syndiff.simulation.sky import Cap, SkyConfig, TestStar, make_sources
from syndiff.simulation.sources import (
    PS1_EPOCH_YEAR,
    Sources,
    read_sources,
    unit_vectors,
    write_sources,
    write_star_catalogue,
)
from syndiff.simulation.survey import StackConfig, write_skycell
from syndiff.simulation.truth import blobs_of, integrate
from syndiff.sky.tessellation import Skycell
from syndiff.storage.records import dump_record, load_record
from syndiff.window import Window

__all__ = [
    "FieldKind",
    "Simulation",
    "SimulationConfig",
    "isolated_stars",
    "plan_simulation",
    "simulate",
]

F64 = NDArray[np.float64]
FieldKind = Literal["field", "crowded", "isolated"]

logger = logging.getLogger(__name__)

EXAMPLE_DETECTOR = Detector(20, 3, 3)
EXAMPLE_CENTRE_PX = (1000.0, 1020.0)

_RECORD = "simulation.json"
_SKY_MARGIN_DEG = 3.0 / 60
_DISTORTION_PX = 200


@dataclass(frozen=True)
class SimulationConfig:
    """Everything that a simulation is made from.

    Parameters
    ----------
    sky : SkyConfig
        What is in the sky.
    stack : StackConfig
        How PS1 saw it.
    ffi : FfiConfig
        How TESS saw it.
    skycells : tuple of Skycell
        Skycells of the archive; none for a sky without one, of any size.
    field : Window
        FFI pixels that the skycells are meant to cover.

    Raises
    ------
    ConfigError
        If two skycells have one name.
    """

    sky: SkyConfig
    stack: StackConfig
    ffi: FfiConfig
    skycells: tuple[Skycell, ...]
    field: Window

    def __post_init__(self) -> None:
        names = {cell.name for cell in self.skycells}
        if len(names) < len(self.skycells):
            raise ConfigError(f"{len(self.skycells)} skycells have {len(names)} names only")


@dataclass(frozen=True)
class _Record:
    """What a simulation was made from, as it is stored."""

    FORMAT: ClassVar[int] = 1

    config: SimulationConfig


@dataclass(frozen=True)
class Simulation:
    """A simulation on disk.

    Parameters
    ----------
    directory : Path
        Where it is.
    config : SimulationConfig
        What it was made from.
    """

    directory: Path
    config: SimulationConfig

    @classmethod
    def load(cls, directory: str | Path) -> "Simulation":
        """Return the simulation that a directory holds.

        Parameters
        ----------
        directory : str or Path
            What was given to `simulate`.

        Returns
        -------
        Simulation
            The simulation; nothing but its record is read.

        Raises
        ------
        MissingInputError
            If there is none, or one that is damaged or of another version.
        """
        path = Path(directory) / _RECORD
        if not path.is_file():
            raise MissingInputError(f"{path} is not there: run `syndiff simulate` first")
        remedy = "run `syndiff simulate` again"
        text = path.read_bytes()
        record = load_record(_Record, text, path, error=MissingInputError, remedy=remedy)
        return cls(Path(directory), record.config)

    @property
    def ffi(self) -> Path:
        """The FFI."""
        return self.directory / ffi_name(self.config.ffi)

    @property
    def archive(self) -> Path:
        """Root of the PS1 archive."""
        return self.directory / "archive"

    @property
    def catalogue(self) -> Path:
        """The CSV of skycells."""
        return self.directory / "skycell_wcs.csv"

    @property
    def stars(self) -> Path:
        """The ECSV of stars and galaxies."""
        return self.directory / "stars.ecsv"

    @property
    def prf(self) -> Path:
        """Root of the pixel response files, if the FFI was not made with a Gaussian."""
        return self.directory / "prf"

    @property
    def star_catalogue(self) -> Path:
        """The ECSV of stars as Gaia would list them, for `stars`."""
        return self.directory / "gaia_stars.ecsv"

    @property
    def series(self) -> Path:
        """Folder of a series of frames, if one was made."""
        return self.directory / "series"

    @cached_property
    def sources(self) -> Sources:
        """Stars and galaxies, as the catalogue file lists them."""
        return read_sources(self.stars)

    def truth(
        self,
        window: Window | None = None,
        *,
        psf_sigma_px: float | None = None,
        offset: tuple[float, float] = (0.0, 0.0),
        sources: Sources | None = None,
        ffi: FfiConfig | None = None,
        year: float = PS1_EPOCH_YEAR,
    ) -> F64:
        """Return the template that a perfect pipeline would make.

        Parameters
        ----------
        window : Window, optional
            FFI pixels wanted; default: the simulation's field.
        psf_sigma_px : float, optional
            Standard deviation of the Gaussian response in PS1 pixels of 0.25", in true angle;
            default: the simulation's measured response if it has one, or else 40.
        offset : tuple of float
            dx, dy (px): displacement of sources from their positions by the FFI's WCS.
        sources : Sources, optional
            Some of `self.sources`, for one star's own image; default: all.
        ffi : FfiConfig, optional
            The FFI whose WCS and pixels to take; default: the simulation's.
        year : float
            Epoch of the sources' positions, Julian year; the FFI's is ``config.ffi.year``.

        Returns
        -------
        (ny, nx) float64
            Composite flux per TESS pixel at AB zero point 25, without noise or background.
            PS1's seeing and pixel are included; with a measured response, only what
            they differ by from the mean.
        """
        sources = self.sources if sources is None else sources
        seeing, window = self.config.stack.psf, window or self.config.field
        seen = ffi or self.config.ffi
        wcs, prf = wcs_of(seen.wcs_cards), seen.prf
        if psf_sigma_px is None and prf is not None:
            return draw_sources(sources, prf, wcs, window, year=year, seeing=seeing, offset=offset)
        sigma = 40.0 if psf_sigma_px is None else psf_sigma_px
        blobs = blobs_of(sources, psf_sigma_px=sigma, seeing=seeing, year=year)
        return integrate(blobs, wcs, window, offset=offset, psf_sigma_px=sigma)

    def add_ffi(self, config: FfiConfig) -> Path:
        """Write another FFI of the same sky.

        Parameters
        ----------
        config : FfiConfig
            How TESS saw it.

        Returns
        -------
        Path
            The file, in the simulation's directory.

        Raises
        ------
        ConfigError
            If it would replace the simulation's own FFI.
        """
        if ffi_name(config) == ffi_name(self.config.ffi):
            raise ConfigError(f"{ffi_name(config)} is there already: give another start")
        return write_ffi(self.sources, config, self.directory, seed=self.config.sky.seed)


def simulate(
    config: SimulationConfig,
    directory: str | Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
) -> Simulation:
    """Make an FFI, a PS1 archive, catalogues and a record of them.

    Parameters
    ----------
    config : SimulationConfig
        What to make.
    directory : str or Path
        Where; made if needed. Files of the same names are replaced.
    progress : callable, optional
        Called with the number of skycells done and wanted.
    executor : Executor, optional
        What writes the skycells; default: this process. The files are the same with any.

    Returns
    -------
    Simulation
        Where everything is, and the truth.

    Raises
    ------
    StorageError
        If something can't be written.
    """
    simulation = Simulation(Path(directory), config)
    sources = make_sources(config.sky, _cap(config))
    logger.info("%s sources, %s skycells", len(sources), len(config.skycells))
    try:
        simulation.directory.mkdir(parents=True, exist_ok=True)
        write_sources(sources, simulation.stars)
        write_star_catalogue(sources, simulation.star_catalogue, seed=config.sky.seed)
        if config.skycells:
            write_catalogue(config.skycells, simulation.catalogue)
        write_ffi(sources, config.ffi, simulation.directory, seed=config.sky.seed)
        if config.ffi.prf is not None:
            write_prf_files(config.ffi.prf, config.ffi.detector, simulation.prf)
    except OSError as error:
        raise StorageError(f"{directory} can't be written: {error}") from error
    tasks = [_SkycellTask(cell, sources, simulation) for cell in config.skycells]
    for done, outcome in enumerate((executor or LocalExecutor()).run(_write, tasks), 1):
        if outcome.error is not None:
            raise StorageError(f"{outcome.task.skycell.name} can't be written: {outcome.error}")
        if progress:
            progress(done, len(tasks))
    record = dump_record(_Record(config), indent=1)
    (simulation.directory / _RECORD).write_bytes(record + b"\n")
    return simulation


def _cap(config: SimulationConfig) -> Cap:
    """Return the part of the sky that has to be there: around the skycells, or the field."""
    borders = [unit_vectors(*skycell_border(cell)) for cell in config.skycells]
    if not borders:
        field, wcs = config.field, wcs_of(config.ffi.wcs_cards)
        x, y = np.meshgrid(np.linspace(field.x0, field.x1, 9), np.linspace(field.y0, field.y1, 9))
        borders = [unit_vectors(*wcs.all_pix2world(x.ravel(), y.ravel(), 0))]
    return Cap.around(np.concatenate(borders), _SKY_MARGIN_DEG)


@dataclass(frozen=True)
class _SkycellTask:
    """One skycell to write."""

    skycell: Skycell
    sources: Sources
    simulation: Simulation


def _write(task: _SkycellTask) -> None:
    config = task.simulation.config
    archive = task.simulation.archive
    write_skycell(task.skycell, task.sources, config.stack, seed=config.sky.seed, archive=archive)


def plan_simulation(
    *,
    kind: FieldKind = "field",
    noise: bool = True,
    detector: Detector = EXAMPLE_DETECTOR,
    header: str | Path | None = None,
    centre_px: tuple[float, float] | None = None,
    target: tuple[float, float] | None = None,
    size_px: int = 40,
    skycells: Sequence[Skycell] = (),
    archive: bool = True,
    faint_mag: float = 24.0,
    psf: PsfModel = "gaussian",
    seed: int = 1,
) -> SimulationConfig:
    """Return the configuration of a small simulation from a few choices.

    Parameters
    ----------
    kind : {"field", "crowded", "isolated"}
        A field at high galactic latitude, one with 15 times as many stars, or only bright stars
        15 or more pixels apart.
    noise : bool
        Whether there are noise and bad pixels.
    detector : Detector
        Sector, camera and CCD; their WCS comes from `header`, from the built-in example
        (sector 20, camera 3, CCD 3) or from the package tesswcs.
    header : str or Path, optional
        File with the WCS of an FFI.
    centre_px : tuple of float, optional
        x, y of the field's middle, FFI array pixels; default: the middle of `skycells`, or else
        of the CCD.
    target : tuple of float, optional
        RA and Dec of the field's middle instead, degrees.
    size_px : int
        Side of the field in FFI pixels.
    skycells : sequence of Skycell, optional
        Skycells of the archive, real ones for example; default: `small_catalogue`.
    archive : bool
        Whether there is one; without, the field can be as large as the CCD.
    faint_mag : float
        Faintest i magnitude of drawn stars; galaxies reach half a magnitude deeper.
    psf : {"gaussian", "prf"}
        TESS's response: a Gaussian, or one that varies over the CCD, with files as MAST has them.
    seed : int
        Seed of everything random.

    Returns
    -------
    SimulationConfig
        For `simulate`; fields can be replaced before.

    Raises
    ------
    ConfigError
        If `kind` or `psf` is unknown, `size_px` too small for one star, or the middle is given
        twice or is off the science pixels.
    """
    if kind not in {"field", "crowded", "isolated"}:
        raise ConfigError(f"kind {kind!r} is unknown: give 'field', 'crowded' or 'isolated'")
    if psf not in {"gaussian", "prf"}:
        raise ConfigError(f"psf {psf!r} is unknown: give 'gaussian' or 'prf'")
    if not size_px >= 4:
        raise ConfigError(f"size_px {size_px} is too small: give 4 or more")
    if header is not None:
        cards = header_cards(Path(header))
    elif detector == EXAMPLE_DETECTOR:
        cards = example_cards()
    else:
        cards = tesswcs_cards(detector)
    if centre_px is not None and target is not None:
        raise ConfigError("centre and target are both given: give one of them")
    if target is None and skycells:
        target = skycell_middle(skycells)
    middle = centre_px or (EXAMPLE_CENTRE_PX if target is None else _pixel_of(target, cards))
    x0, y0 = (round(value - (size_px - 1) / 2) for value in middle)
    if centre_px is None and target is None:  # a field as large as the CCD has to fit on it
        x0 = max(min(x0, SCIENCE.x1 - size_px), SCIENCE.x0)
        y0 = max(min(y0, SCIENCE.y1 - size_px), SCIENCE.y0)
    field = Window(x0, y0, x0 + size_px, y0 + size_px)
    if kind == "isolated":
        stars = isolated_stars(cards, field, seed=seed)
        sky = SkyConfig(star_density=0.0, galaxy_density=0.0, stars=stars, seed=seed)
    else:
        density = 15.0 if kind == "crowded" else 1.0
        sky = SkyConfig(star_density=density, faint_mag=faint_mag, seed=seed)
    cells = _skycells(skycells, cards, field) if archive else ()
    prf = PrfConfig(noise=float(noise), seed=seed) if psf == "prf" else None
    seen_from = skycell_middle(cells) if cells else None
    return SimulationConfig(
        sky=sky,
        stack=StackConfig(noise=noise, artefacts=noise, exposures_centre=seen_from),
        ffi=FfiConfig(detector, cards, noise=noise, prf=prf),
        skycells=cells,
        field=field,
    )


def _skycells(skycells: Sequence[Skycell], cards: str, field: Window) -> tuple[Skycell, ...]:
    """Return given skycells, or else made-up ones that cover a field."""
    return tuple(skycells) or tuple(small_catalogue(wcs_of(cards), field))


def _pixel_of(target: tuple[float, float], cards: str) -> tuple[float, float]:
    """Return the science pixel of a position on the sky."""
    wcs = wcs_of(cards)
    # Without the distortion first: that has no solution far from the CCD.
    x, y = (float(v) for v in wcs.wcs_world2pix(*target, 0))
    if SCIENCE.grown(_DISTORTION_PX).holds(x, y):
        x, y = (float(v) for v in wcs.all_world2pix(*target, 0))
    if not SCIENCE.holds(x, y):
        raise ConfigError(
            f"RA {target[0]}, Dec {target[1]} is not on the CCD: give another target or header, or "
            "another sector, camera and CCD"
        )
    return x, y


def isolated_stars(
    wcs_cards: str,
    field: Window,
    *,
    spacing_px: float = 16.0,
    mags: tuple[float, float] = (14.5, 15.5),
    seed: int = 1,
) -> tuple[TestStar, ...]:
    """Return isolated bright stars on a jittered grid of FFI pixels.

    Parameters
    ----------
    wcs_cards : str
        The FFI's WCS as header cards.
    field : Window
        Where to put them; one is in its middle.
    spacing_px : float
        Step of the grid; stars are at least one pixel closer to or farther from each other.
    mags : tuple of float
        Range of composite AB magnitudes: under PS1's saturation, far above its noise.
    seed : int
        Seed of positions and magnitudes.

    Returns
    -------
    tuple of TestStar
        Stars 3.5 px or more from the field's border, row after row; they don't move.
    """
    rng = np.random.default_rng([seed, 0x57A2])
    axes = [
        (low + high - 1) / 2 + spacing_px * np.arange(-reach, reach + 1)
        for low, high in ((field.x0, field.x1), (field.y0, field.y1))
        for reach in [max(0, int(((high - low) / 2 - 4.0) // spacing_px))]
    ]
    x, y = (a.ravel() for a in np.meshgrid(*axes))
    x, y = x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, x.size)
    ra, dec = wcs_of(wcs_cards).all_pix2world(x, y, 0)
    mag, colour = rng.uniform(*mags, x.size), rng.uniform(0.0, 0.8, x.size)
    rows = np.column_stack([ra, dec, mag, colour]).tolist()
    return tuple(TestStar(a, d, m, r_minus_i=c) for a, d, m, c in rows)
