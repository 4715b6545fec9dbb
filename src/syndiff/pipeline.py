"""The order of the stages: settings in, stages run, a report out."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from syndiff.differences.inputs import read_ffi
from syndiff.errors import ConfigError, ObservationError
from syndiff.execution import open_executor
from syndiff.ffi.observation import read_observation
from syndiff.ffi.pixels import check_frame
from syndiff.ffi.tiles import REACH_PX
from syndiff.layout import Layout
from syndiff.pointing.following import (
    Following,
    check_detector,
    doubt_about,
    read_candidates,
)
from syndiff.scenes.prf import response_for
from syndiff.scenes.prf_files import keep_prf_grid
from syndiff.scenes.scene_inputs import SceneJob
from syndiff.sky.chosen_tessellation import find_catalogue, open_tessellation
from syndiff.sky.mapping_files import read_mapping
from syndiff.sky.pixelmap import sky_to_pixel
from syndiff.stages.difference import difference_stage
from syndiff.stages.download import DownloadJob, download_stage
from syndiff.stages.downsample import downsample_stage
from syndiff.stages.mapping import mapping_stage
from syndiff.stages.process import process_stage
from syndiff.stages.stage import StageReport, StageRun
from syndiff.stars.coverage import check_coverage
from syndiff.stars.gaia import GaiaService, find_gaia_stars
from syndiff.stars.scene_stars import store_stars
from syndiff.stars.star_files import read_star_file
from syndiff.storage.place import Place
from syndiff.transport.attempt import ArchiveConfig
from syndiff.transport.connect import connect
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from syndiff.config import SceneConfig
    from syndiff.ffi.frame import Frame
    from syndiff.ffi.observation import Observation
    from syndiff.layout import Detector
    from syndiff.pointing.drift import Drift
    from syndiff.settings import Settings
    from syndiff.stages.difference import DifferenceJob
    from syndiff.stages.stage import Progress
    from syndiff.stars.catalogue import StarCatalogue

__all__ = [
    "DriftReport",
    "RunReport",
    "region",
    "run_difference",
    "run_download",
    "run_downsample",
    "run_drift",
    "run_mapping",
    "run_pipeline",
    "run_process",
]


logger = logging.getLogger(__name__)

_SIZE_PX = 64
"""Side of the square around a target: enough stars for a kernel at most galactic latitudes."""


def region(settings: Settings, frame: Frame) -> Window | None:
    """Return the region of interest that the settings name.

    Parameters
    ----------
    settings : Settings
        `roi`, or `target` and `size`.
    frame : Frame
        The FFI's pixel grid.

    Returns
    -------
    Window or None
        FFI pixels; None for the full frame.

    Raises
    ------
    ConfigError
        If the region lies off the science pixels.
    """
    window = settings.roi
    if settings.target is not None:
        window = _around(settings.target, settings.size or _SIZE_PX, frame)
    if window is None:
        return None
    held = window.intersection(frame.science)
    if held is None:
        raise ConfigError(
            f"region of interest {window} holds no science pixel of {frame.detector}: those "
            f"are {frame.science} (x0,y0,x1,y1)"
        )
    return held


def _around(target: tuple[float, float], size: int, frame: Frame) -> Window:
    """Return the square around a position on the sky."""
    x, y = (float(v) for v in sky_to_pixel(frame, *target))
    science = frame.science
    if not science.holds(x, y):
        raise ConfigError(
            f"`target` {target[0]:.6g},{target[1]:.6g} is not on {frame.detector}: it would fall "
            f"on pixel ({x:.1f}, {y:.1f}), the science pixels are {science} (x0,y0,x1,y1)"
        )
    x0, y0 = round(x) - size // 2, round(y) - size // 2
    return Window(x0, y0, x0 + size, y0 + size)


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Parameters
    ----------
    detector : Detector
        Sector, camera and CCD.
    stages : tuple of StageReport
        In order.
    """

    detector: Detector
    stages: tuple[StageReport, ...] = field(default=())

    @property
    def is_partial(self) -> bool:
        """Whether something that failed is left out."""
        return any(stage.partial for stage in self.stages)

    @property
    def failure(self) -> str:
        """What could not be made although the rest was; empty if nothing."""
        return "; ".join(stage.failure for stage in self.stages if stage.failure)


@contextlib.contextmanager
def _open_run(settings: Settings, progress: Progress | None) -> Iterator[StageRun]:
    """Open the executor that all stages of a run share."""
    # Two tasks a process: one fetches while the other computes.
    with open_executor(cores=settings.cores, threads=2, scheduler=settings.scheduler) as executor:
        run = StageRun(executor=executor, allow_partial=settings.allow_partial)
        yield replace(run, progress=progress) if progress is not None else run


def run_pipeline(ffi: str, settings: Settings, progress: Progress | None = None) -> RunReport:
    """Make the templates of an FFI: mapping, download, process, downsample.

    Parameters
    ----------
    ffi : str
        Path of the FFI.
    settings : Settings
        Everything else.
    progress : callable, optional
        Told after every task.

    Returns
    -------
    RunReport
        What was done.

    Raises
    ------
    SyndiffError
        Whatever a stage raises.
    """
    observation = read_observation(ffi)
    window = region(settings, observation.frame)
    detector = observation.frame.detector
    _check_archive(settings)
    layout = settings.layout(detector)
    scene = _scene(settings, observation.frame)
    reach_px = response_for(observation.frame, scene, layout.pixel_response).reach_px
    open_tessellation(find_catalogue(layout, settings.catalogue))
    # Asked for before anything is fetched: what can't be had is said now.
    stars = _stars(settings, observation.frame, window)
    with _open_run(settings, progress) as run:
        layout.check_writable()
        stages = (
            _logged(_map(observation, settings, window, run)),
            _logged(_download(detector, settings, window, run, reach_px=reach_px)),
            _logged(_process(detector, settings, (scene, stars), window, run)),
            _logged(_downsample(detector, settings, window, run)),
        )
    return RunReport(detector, stages)


def _logged(report: StageReport) -> StageReport:
    """Log what a stage did."""
    counts = ", ".join(f"{name} {count}" for name, count in report.counts.items())
    logger.info("%s: %.1f s, %s", report.stage, report.seconds, counts)
    return report


def run_mapping(ffi: str, settings: Settings, progress: Progress | None = None) -> RunReport:
    """Run the mapping stage alone; arguments as in `run_pipeline`.

    Parameters
    ----------
    ffi : str
        Path of the FFI.
    settings : Settings
        Everything else.
    progress : callable, optional
        Told after every task.

    Returns
    -------
    RunReport
        What was done.
    """
    observation = read_observation(ffi)
    window = region(settings, observation.frame)
    with _open_run(settings, progress) as run:
        stage = _logged(_map(observation, settings, window, run))
    return RunReport(observation.frame.detector, (stage,))


def run_download(
    detector: Detector, settings: Settings, progress: Progress | None = None
) -> RunReport:
    """Run the download stage alone.

    Parameters
    ----------
    detector : Detector
        Sector, camera and CCD, mapped before.
    settings : Settings
        Everything else.
    progress : callable, optional
        Told after every task.

    Returns
    -------
    RunReport
        What was done.
    """
    window = _window(detector, settings)
    _check_archive(settings)
    with _open_run(settings, progress) as run:
        return RunReport(detector, (_logged(_download(detector, settings, window, run)),))


def run_process(
    detector: Detector, settings: Settings, progress: Progress | None = None
) -> RunReport:
    """Run the process stage alone; arguments as in `run_download`.

    Parameters
    ----------
    detector : Detector
        Sector, camera and CCD, mapped and downloaded before.
    settings : Settings
        Everything else.
    progress : callable, optional
        Told after every task.

    Returns
    -------
    RunReport
        What was done.
    """
    window = _window(detector, settings)
    frame = read_mapping(settings.layout(detector)).frame
    given = _scene(settings, frame), _stars(settings, frame, window)
    with _open_run(settings, progress) as run:
        return RunReport(detector, (_logged(_process(detector, settings, given, window, run)),))


def run_downsample(
    detector: Detector, settings: Settings, progress: Progress | None = None
) -> RunReport:
    """Run the downsample stage alone; arguments as in `run_download`.

    Parameters
    ----------
    detector : Detector
        Sector, camera and CCD, processed before.
    settings : Settings
        Everything else.
    progress : callable, optional
        Told after every template.

    Returns
    -------
    RunReport
        What was done.
    """
    window = _window(detector, settings)
    run = StageRun(allow_partial=settings.allow_partial)
    if progress is not None:
        run = replace(run, progress=progress)
    return RunReport(detector, (_logged(_downsample(detector, settings, window, run)),))


@dataclass(frozen=True)
class DriftReport:
    """What was found out about a field's drift.

    Parameters
    ----------
    drift : Drift
        The drift.
    products : tuple of str
        Table and plot.
    """

    drift: Drift
    products: tuple[str, ...]


def run_drift(
    ffis: Sequence[str],
    *,
    data_root: str,
    reference: str | None,
    tolerance_px: float,
    output: str | None,
) -> DriftReport:
    """Tabulate how the field of FFIs drifts, and plot it.

    Parameters
    ----------
    ffis : sequence of str
        FFIs of one sector, camera and CCD.
    data_root : str
        Where its reference FFI is known from, and the result goes.
    reference : str, optional
        FFI that shifts are counted from; default: that of the data root, or else the first.
    tolerance_px : float
        How far an offset may be from the field of an FFI that it stands for.
    output : str, optional
        Folder for table and plot.

    Returns
    -------
    DriftReport
        The drift and where it is written.

    Raises
    ------
    ConfigError
        If FFIs are of several detectors.
    ObservationError
        If none of them, or not the reference, tells where it looks.
    """
    from syndiff.plots import draw_drift
    from syndiff.pointing.drift import find_drift

    candidates = read_candidates(ffis)
    given = _reference_of(reference) if reference is not None else None
    first = given or next((c.observation for c in candidates if not c.reason), None)
    if first is None:
        raise ObservationError(
            f"none of {len(candidates)} FFIs tells where it looks: {candidates[0].reason}"
        )
    detector = first.frame.detector
    check_detector(candidates, detector)
    layout = Layout.under(data_root, detector)
    frame, name = first.frame, first.name
    if given is None and layout.skycell_list.exists():
        mapping = read_mapping(layout)
        frame, name = mapping.frame, mapping.reference.name
    drift = find_drift(candidates, frame, name, tolerance_px=tolerance_px)
    places = layout.drift_files(Place.at(output) if output is not None else layout.drift)
    for place, content in zip(places, (drift.table(), draw_drift(drift)), strict=True):
        place.write(content)
    return DriftReport(drift, tuple(str(place) for place in places))


def _reference_of(path: str) -> Observation:
    """Read the FFI that shifts are to be counted from."""
    observation = read_observation(path)
    check_frame(observation)
    doubt = doubt_about(observation)
    if doubt:
        raise ObservationError(f"{doubt}: give another --reference")
    return observation


def run_difference(job: DifferenceJob, settings: Settings) -> RunReport:
    """Subtract a template from an FFI.

    Parameters
    ----------
    job : DifferenceJob
        What to subtract from what.
    settings : Settings
        Where the data root is.

    Returns
    -------
    RunReport
        What was found.
    """
    ffi = read_ffi(job.ffi)
    return RunReport(ffi.frame.detector, (_logged(difference_stage(job, settings, ffi)),))


def _check_archive(settings: Settings) -> None:
    """Raise for an archive's address that can't be used; nothing is asked of the archive."""
    connect(_archive(settings)).close()


def _archive(settings: Settings) -> ArchiveConfig:
    return ArchiveConfig(settings.archive, connections=settings.jobs)


def _window(detector: Detector, settings: Settings) -> Window | None:
    """Return the region of interest of a CCD that is mapped."""
    return region(settings, read_mapping(settings.layout(detector)).frame)


def _map(
    observation: Observation, settings: Settings, window: Window | None, run: StageRun
) -> StageReport:
    return mapping_stage(
        observation,
        settings.layout(observation.frame.detector),
        catalogue=settings.catalogue,
        roi=window,
        run=run,
        overwrite=settings.overwrite,
    )


def _download(
    detector: Detector,
    settings: Settings,
    window: Window | None,
    run: StageRun,
    *,
    reach_px: float = REACH_PX,
) -> StageReport:
    job = DownloadJob(
        settings.layout(detector),
        settings.reduction,
        _archive(settings),
        keep_raw=settings.keep_raw,
        reach_px=reach_px,
        overwrite=settings.overwrite,
        allow_mixed=settings.allow_mixed,
    )
    return download_stage(job, roi=window, run=run)


def _scene(settings: Settings, frame: Frame) -> SceneConfig:
    """Return how the scene is made; raise for a response that can't be had or rendered.

    Measured responses are read here, once, and kept under the data root for every worker.
    """
    scene, kept = settings.scene, settings.layout(frame.detector).pixel_response
    if scene.psf == "prf":
        grid = keep_prf_grid(settings.prf_dir, frame.detector, kept, again=settings.overwrite)
        scene = replace(scene, prf_digest=grid.digest)
    response_for(frame, scene, kept)
    return scene


def _stars(settings: Settings, frame: Frame, window: Window | None) -> StarCatalogue | None:
    """Return the stars that the settings ask for; None for none."""
    if settings.stars == "none":
        return None
    if settings.stars == "gaia":
        service = GaiaService(settings.gaia_url)
        return find_gaia_stars(settings.layout(frame.detector), frame, window, service)
    stars = read_star_file(settings.stars)
    check_coverage(stars, frame, window, settings.stars)
    return stars


def _process(
    detector: Detector,
    settings: Settings,
    given: tuple[SceneConfig, StarCatalogue | None],
    window: Window | None,
    run: StageRun,
) -> StageReport:
    layout = settings.layout(detector)
    scene, stars = given
    if stars is not None:
        store_stars(layout, stars)
    job = SceneJob(layout, settings.reduction, scene, limit=settings.limit)
    return process_stage(job, roi=window, run=run, overwrite=settings.overwrite)


def _downsample(
    detector: Detector, settings: Settings, window: Window | None, run: StageRun
) -> StageReport:
    return downsample_stage(
        settings.layout(detector),
        settings.offsets,
        roi=window,
        run=run,
        overwrite=settings.overwrite,
        oversample=settings.oversample,
        following=Following(settings.follow, settings.refine) if settings.follow else None,
    )
