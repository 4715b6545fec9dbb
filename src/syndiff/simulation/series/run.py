"""Make a series of frames on disk, and open it again."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from syndiff.errors import ConfigError, MissingInputError, StorageError
from syndiff.simulation.ffi import SCIENCE, FfiConfig, wcs_of
from syndiff.simulation.run import Simulation
from syndiff.simulation.series.config import SeriesConfig
from syndiff.simulation.series.cube import cube_name, write_cube
from syndiff.simulation.series.exposures import Exposures
from syndiff.simulation.series.ffi_files import frame_headers, write_frame
from syndiff.simulation.series.frames import plan_frames
from syndiff.simulation.series.truth_file import Components, SeriesTruth, read_truth, write_truth
from syndiff.simulation.sources import Sources
from syndiff.window import Window

__all__ = ["Series", "SeriesForm", "check_field", "check_form", "simulate_series", "write_series"]

SeriesForm = Literal["cube", "ffis", "both"]

logger = logging.getLogger(__name__)

_TRUTH = "series_truth.fits"
_MARGIN_PX = 16


@dataclass(frozen=True)
class Series:
    """A simulated series on disk.

    Parameters
    ----------
    directory : Path
        Where it is.
    """

    directory: Path

    @classmethod
    def load(cls, directory: str | Path) -> "Series":
        """Return the series that a directory holds.

        Parameters
        ----------
        directory : str or Path
            What was given to `simulate_series`.

        Returns
        -------
        Series
            The series.

        Raises
        ------
        MissingInputError
            If there is none.
        """
        if not (Path(directory) / _TRUTH).is_file():
            raise MissingInputError(f"{Path(directory) / _TRUTH} is not there: simulate it first")
        return cls(Path(directory))

    @property
    def ffis(self) -> list[Path]:
        """The full-frame images, in order of time; none if only a cube was written."""
        paths = (self.directory / str(name) for name in self.truth.frames.file)
        return [path for path in paths if path.is_file()]

    @property
    def cube(self) -> Path:
        """The cube in TESScut's layout.

        Raises
        ------
        MissingInputError
            If only full-frame images were written.
        """
        for path in self.directory.glob("*_astrocut.fits"):
            return path
        raise MissingInputError(f"{self.directory} holds no cube: simulate with form 'cube'")

    @cached_property
    def truth(self) -> SeriesTruth:
        """What the frames truly hold."""
        return read_truth(self.directory / _TRUTH)


def check_form(form: str) -> None:
    """Refuse what is no form of a series.

    Parameters
    ----------
    form : str
        As of `simulate_series`.

    Raises
    ------
    ConfigError
        If it is unknown.
    """
    if form not in {"cube", "ffis", "both"}:
        raise ConfigError(f"`form` {form!r} is unknown: give 'cube', 'ffis' or 'both'")


def check_field(field: Window) -> None:
    """Refuse a field that lies off the science pixels.

    Parameters
    ----------
    field : Window
        FFI pixels.

    Raises
    ------
    ConfigError
        If it does.
    """
    if not SCIENCE.contains(field):
        raise ConfigError(f"`field` {field} is not on the science pixels {SCIENCE}: move it there")


def simulate_series(
    simulation: Simulation,
    config: SeriesConfig,
    directory: str | Path | None = None,
    *,
    form: SeriesForm = "cube",
    components: bool = False,
    fill: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Series:
    """Make a sector's frames of a simulation's field.

    Parameters
    ----------
    simulation : Simulation
        Whose sky, field and FFI (as the reference pointing) to take.
    config : SeriesConfig
        The series.
    directory : str or Path, optional
        Where; default: ``series`` in the simulation's directory.
    form : {"cube", "ffis", "both"}
        A cube of the field in TESScut's layout, full-frame images, or both of the same pixels.
    components : bool
        Whether the truth holds images of what each frame is made of.
    fill : bool
        Whether full-frame images have sky and noise everywhere, or zeros farther than 16 px from
        the field.
    progress : callable, optional
        Called with the number of frames done and wanted.

    Returns
    -------
    Series
        Where everything is, and the truth.

    Raises
    ------
    ConfigError
        If `form` is unknown or the field is not on the science pixels.
    StorageError
        If something can't be written.
    """
    return write_series(
        simulation.sources,
        simulation.config.ffi,
        simulation.config.field,
        config,
        Path(directory) if directory is not None else simulation.series,
        form=form,
        components=components,
        fill=fill,
        progress=progress,
    )


def write_series(
    sources: Sources,
    ffi: FfiConfig,
    field: Window,
    config: SeriesConfig,
    directory: Path,
    *,
    form: SeriesForm = "cube",
    components: bool = False,
    fill: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Series:
    """Make a sector's frames of any sky; see `simulate_series`.

    Parameters
    ----------
    sources : Sources
        The sky that doesn't change.
    ffi : FfiConfig
        The reference: sector, camera, CCD, WCS, response.
    field : Window
        FFI pixels.
    config : SeriesConfig
        The series.
    directory : Path
        Where.
    form, components, fill, progress
        As of `simulate_series`.

    Returns
    -------
    Series
        Where everything is, and the truth.
    """
    check_form(form)
    check_field(field)
    window = _window(field, fill=fill)
    maker = Exposures(sources, ffi, config, plan_frames(config, ffi), window)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        parts = Components.empty(len(maker.frames), field.shape) if components else None
        _write(maker, field, directory, form=form, parts=parts, progress=progress)
        truth = SeriesTruth(field, _centre(ffi), maker.frames, maker.objects.truth, parts)
        write_truth(truth, directory / _TRUTH)
    except OSError as error:
        raise StorageError(f"{directory} can't be written: {error}") from error
    return Series(directory)


def _centre(ffi: FfiConfig) -> tuple[float, float]:
    """Return the reference pixel of displacements, 0-based."""
    x, y = wcs_of(ffi.wcs_cards).wcs.crpix
    return float(x) - 1, float(y) - 1


def _window(field: Window, *, fill: bool) -> Window:
    """Return the pixels that are made, the same for each form so that their noise is."""
    if fill:
        return SCIENCE
    grown = field.grown(_MARGIN_PX).intersection(SCIENCE)
    return grown if grown is not None else field


def _write(
    maker: Exposures,
    field: Window,
    directory: Path,
    *,
    form: SeriesForm,
    parts: Components | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write all frames."""
    frames, window = maker.frames, maker.window
    rows = slice(field.y0 - window.y0, field.y1 - window.y0)
    columns = slice(field.x0 - window.x0, field.x1 - window.x0)
    has_cube = form != "ffis"
    flux, error = np.empty((2, len(frames) if has_cube else 0, *field.shape), np.float32)
    for n in range(len(frames)):
        exposure = maker.expose(n)
        if has_cube:
            flux[n] = exposure.image[rows, columns]
            error[n] = exposure.uncertainty[rows, columns]
        if parts is not None:
            parts.put(n, exposure, rows, columns)
        if form != "cube":
            planes = exposure.image, exposure.uncertainty
            path = directory / str(frames.file[n])
            write_frame(path, frame_headers(maker.ffi, frames, n), planes, window)
        if progress is not None:
            progress(n + 1, len(frames))
    if has_cube:
        path = directory / cube_name(maker.ffi, field)
        write_cube(path, maker.ffi, frames, field, flux=flux, error=error)
