"""The light curve stage: a target measured in every frame of one sector, camera and CCD."""

from __future__ import annotations

import functools
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import digest
from syndiff.errors import ConfigError, ObservationError, RenderingError, SyndiffError
from syndiff.ffi.ffi_file import FfiFile
from syndiff.ffi.observation import read_observation
from syndiff.lightcurves.field_scene import read_field_scene, scene_digest
from syndiff.lightcurves.flags import count_flags
from syndiff.lightcurves.frame_rows import ROWS_FORMAT, RowStore
from syndiff.lightcurves.frames import read_frame
from syndiff.lightcurves.prepare import MOST_FRAMES, find_steady_part
from syndiff.lightcurves.sector_curve import Sighting, assemble
from syndiff.lightcurves.series import Series, SteadyPart, empty_row
from syndiff.masks import DataQuality, spoilt_pixels
from syndiff.sky.pixelmap import sky_to_pixel
from syndiff.stages.stage import StageReport, clock, run_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syndiff.layout import Layout
    from syndiff.lightcurves.frames import FramePixels
    from syndiff.lightcurves.sector_curve import SectorCurve
    from syndiff.lightcurves.series import FieldScene
    from syndiff.stages.run import Run
    from syndiff.window import Window

__all__ = ["SeriesJob", "lightcurve_stage"]

logger = logging.getLogger(__name__)

_FRAMES_A_TASK = 16
_FRAME_CORE_S = 0.2
_CANDIDATES = 2 * MOST_FRAMES


@dataclass(frozen=True)
class SeriesJob:
    """What to measure.

    Parameters
    ----------
    layout : Layout
        Where everything lies.
    window : Window
        FFI pixels of the field.
    target : (float, float)
        RA and Dec, degrees.
    ffis : tuple of str
        The frames, in the order of time.
    keep_images : bool
        Whether the difference of the whole field is kept of each frame.
    """

    layout: Layout
    window: Window
    target: tuple[float, float]
    ffis: tuple[str, ...]
    keep_images: bool = False


@dataclass(frozen=True)
class _Opened:
    """A series whose steady part is on disk; workers open it from there."""

    layout: Layout
    window: Window
    place: tuple[float, float]
    folder: str
    keep_images: bool


def lightcurve_stage(job: SeriesJob, run: Run) -> tuple[StageReport, SectorCurve]:
    """Measure a target in every frame; what is measured already is kept.

    Parameters
    ----------
    job : SeriesJob
        What to measure.
    run : Run
        What runs it, and whether what is there is measured again.

    Returns
    -------
    StageReport
        What was done.
    SectorCurve
        The light curve.

    Raises
    ------
    SyndiffError
        If nothing can be measured.
    """
    with clock() as seconds:
        names = _names(job.ffis)
        field = read_field_scene(job.layout, job.window)
        place = _place_of(job, field)
        chosen = _steady_frames(job.ffis)
        key = digest(_identity(job, chosen))
        folder = job.layout.series(job.window, key)
        if run.settings.overwrite:
            folder.remove()
        steady = _steady(job, field, place, chosen, key)
        opened = _Opened(job.layout, job.window, place, str(folder), job.keep_images)
        series = Series(field, steady, place, job.keep_images)
        store = RowStore(folder / "rows", series.dtype)
        rows = {
            name: row
            for name, row in store.read(names).items()
            if row["identity"] == _stamp_of(names[name])
        }
        left = [path for name, path in names.items() if name not in rows]
        kept = len(rows)
        failures = _measure(opened, left, run)
        rows |= store.read([name for name in names if name not in rows])
        for name in names.keys() - rows.keys():
            rows[name] = empty_row(series.dtype, name, failures.get(name, "lost"))
        curve = assemble(
            np.stack([rows[name] for name in names]),
            steady,
            _sighting(job, field, place),
            job.window,
        )
    report = StageReport(
        stage="lightcurve",
        seconds=seconds(),
        skipped=not left,
        counts={
            "frames": len(names),
            "measured": len(left),
            "kept": kept,
            "flagged": int((~curve.good).sum()),
        },
        notes=tuple(_notes(curve)),
    )
    return report, curve


def _names(ffis: Sequence[str]) -> dict[str, str]:
    """Return the frames' paths by their names without ending."""
    names: dict[str, str] = {}
    for path in ffis:
        name = FfiFile(path).name
        for end in (".gz", ".fits"):
            name = name.removesuffix(end)
        if name in names:
            raise ConfigError(f"{name} is given more than once: give each FFI once")
        names[name] = path
    if not names:
        raise ConfigError("there is no FFI: give a folder that holds some, or files")
    return names


def _place_of(job: SeriesJob, field: FieldScene) -> tuple[float, float]:
    x, y = (float(v) for v in sky_to_pixel(field.frame, *job.target))
    if not (math.isfinite(x) and math.isfinite(y) and job.window.holds(x, y)):
        raise ConfigError(
            f"`target` {job.target[0]:.6g},{job.target[1]:.6g} is not in the field {job.window} of "
            f"{job.layout.detector}"
        )
    return x, y


def _steady_frames(ffis: Sequence[str]) -> tuple[str, ...]:
    """Return frames without quality flags, spread over the series."""
    spread = np.unique(np.linspace(0, len(ffis) - 1, min(_CANDIDATES, len(ffis))).astype(int))
    fit = []
    for path in (ffis[k] for k in spread):
        try:
            if read_observation(path).quality == 0:
                fit.append(path)
        except ObservationError as error:
            logger.info("not for the steady kernel: %s", error)
    thinned = np.unique(np.linspace(0, len(fit) - 1, min(MOST_FRAMES, len(fit))).astype(int))
    return tuple(fit[k] for k in thinned) if fit else ()


def _identity(job: SeriesJob, chosen: Sequence[str]) -> list[object]:
    """Return all that rows depend on besides their frames."""
    return [
        ROWS_FORMAT,
        scene_digest(job.layout, job.window),
        list(job.target),
        [FfiFile(path).name for path in chosen],
        job.keep_images,
    ]


def _stamp_of(path: str) -> int:
    """Return a number that changes with a local file; 0 for an address."""
    file = Path(path)
    if "://" in path or not file.exists():
        return 0
    status = file.stat()
    return int(digest([status.st_size, status.st_mtime_ns]), 16) >> 2


def _steady(
    job: SeriesJob,
    field: FieldScene,
    place: tuple[float, float],
    chosen: Sequence[str],
    key: str,
) -> SteadyPart:
    """Return what the frames share; found once, and kept."""
    kept = job.layout.series(job.window, key) / "steady.npz"
    if kept.exists():
        try:
            return SteadyPart.unpack(kept.read())
        except (ValueError, KeyError, OSError) as error:
            logger.warning("%s is damaged (%s), it is made again", kept, error)
    frames: list[FramePixels] = []
    for path in chosen:
        try:
            frames.append(read_frame(path, job.window))
        except SyndiffError as error:
            logger.info("not for the steady kernel: %s", error)
    if not frames:
        raise RenderingError(
            f"no frame of {job.layout.detector} can be used: of {len(job.ffis)} none without "
            "quality flags can be read"
        )
    steady = find_steady_part(field, place, frames)
    kept.write(steady.pack())
    return steady


@functools.lru_cache(maxsize=1)
def _open(opened: _Opened) -> Series:
    """Open a series in a process that measures frames of it."""
    from syndiff.storage.place import Place

    field = read_field_scene(opened.layout, opened.window)
    steady = SteadyPart.unpack((Place.at(opened.folder) / "steady.npz").read())
    return Series(field, steady, opened.place, opened.keep_images)


@dataclass(frozen=True)
class _FramesTask:
    """Frames to measure, one after another."""

    series: _Opened
    ffis: tuple[str, ...]

    def __str__(self) -> str:
        return f"{FfiFile(self.ffis[0]).name} and {len(self.ffis) - 1} more"


def _measure(opened: _Opened, left: Sequence[str], run: Run) -> dict[str, str]:
    """Measure frames; return why those could not be whose task failed."""
    tasks = [
        _FramesTask(opened, tuple(left[k : k + _FRAMES_A_TASK]))
        for k in range(0, len(left), _FRAMES_A_TASK)
    ]
    failures: dict[str, str] = {}
    core_s = _FRAME_CORE_S * len(left)
    for outcome in run_tasks(run, "lightcurve", _measure_frames, tasks, core_s=core_s):
        if outcome.error is not None:
            failures |= dict.fromkeys(_names(outcome.task.ffis), outcome.error)
    return failures


def _measure_frames(task: _FramesTask) -> int:
    """Measure frames and write a row for each; return how many."""
    from syndiff.storage.place import Place

    series = _open(task.series)
    store = RowStore(Place.at(task.series.folder) / "rows", series.dtype)
    for name, path in _names(task.ffis).items():
        stamp = _stamp_of(path)
        try:
            row = series.row(read_frame(path, task.series.window))
        except SyndiffError as error:
            row = empty_row(series.dtype, name, str(error))
        row["name"], row["identity"] = name.encode(), stamp
        store.write(name, row)
    return len(task.ffis)


def _sighting(job: SeriesJob, field: FieldScene, place: tuple[float, float]) -> Sighting:
    science = field.frame.science
    middle = (science.x0 + science.x1 - 1) / 2, (science.y0 + science.y1 - 1) / 2
    ra, dec = (float(v) for v in field.frame.pixel_to_sky(*middle))
    kinds = {_kind_of(path) for path in job.ffis} - {None}
    if len(kinds) > 1:
        raise ConfigError(
            "FFIs of SPOC and of TICA are mixed, their times and units differ: give those of one"
        )
    return Sighting(
        job.layout.detector, job.target, (ra, dec), "TICA" not in kinds, _doubt(field, place)
    )


def _kind_of(path: str) -> str | None:
    name = FfiFile(path).name.lower()
    return "TICA" if "tica" in name else "SPOC" if name.startswith("tess") else None


def _doubt(field: FieldScene, place: tuple[float, float]) -> str:
    """Return which flags of the template lie within a pixel of the target."""
    from syndiff.templates.template import follow_template

    window, stored = field.window, field.stored
    planes = follow_template(
        stored.strip,
        origin=stored.origin,
        window=window,
        displacement=field.displacement(None),
    )
    column, row = round(place[0]) - window.x0, round(place[1]) - window.y0
    near = planes.quality[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    if not spoilt_pixels(near).any():
        return ""
    names = [bit.name or "" for bit in DataQuality if (near & int(bit)).any()]
    return f"the template's light at the target is doubtful: {', '.join(names)}"


def _notes(curve: SectorCurve) -> list[str]:
    """Return what a user should know, in words."""
    told, steady = curve.reliability, curve.steady
    flags = ", ".join(f"{name} {count}" for name, count in count_flags(curve.flags).items())
    lines = [f"frames by flag: {flags}" if flags else "no frame is flagged"]
    if steady.frames:
        lines.append(
            f"steady kernel from {steady.frames} frames, {steady.stars_of_kernel} stars each"
        )
    else:
        lines.append(
            "too few stars for a kernel: the scene's own response is taken, widened as each frame "
            "has it; give a larger `size`"
        )
    if told.places:
        lines.append(
            f"{told.places} blank places: mean {told.mean:+.2f} +- {told.mean_error:.2f} e-/s, "
            f"chi2 {told.chi2:.3f}, scatter {told.scatter:.3f} times photons and read noise; "
            f"errors are multiplied by {told.factor:.3f}"
        )
    else:
        lines.append("there is no blank place in the field: nothing tells how right errors are")
    if told.stars:
        lines.append(
            f"{told.stars} stars like the target scatter by {100 * told.star_spread:.2f} % of "
            "their flux beyond their errors"
        )
    lines.append(
        f"all fluxes may be off by the same {curve.constant_error:.2f} e-/s (the template there: "
        f"{steady.host:.1f} e-/s, faint light that it lacks {steady.constant:+.2f})"
    )
    if curve.sighting.warning:
        lines.append(curve.sighting.warning)
    return lines
