"""The order of the stages: what is asked of a CCD in, stages run, a report out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syndiff.differences.exports import check_tool
from syndiff.differences.inputs import read_ffi, read_inputs, template_detector
from syndiff.errors import ConfigError, ObservationError
from syndiff.ffi.listing import list_ffis
from syndiff.ffi.observation import read_observation
from syndiff.ffi.pixels import check_frame
from syndiff.ffi.tiles import REACH_PX
from syndiff.pointing.following import check_detector, doubt_about, read_candidates
from syndiff.sky.mapping_files import read_mapping
from syndiff.stages.difference import difference_stage
from syndiff.stages.difference_series import DifferenceSeries
from syndiff.stages.download import download_stage
from syndiff.stages.downsample import downsample_stage
from syndiff.stages.export import export_stage
from syndiff.stages.mapping import mapping_stage
from syndiff.stages.process import process_stage
from syndiff.stages.run import Run
from syndiff.storage.place import Place
from syndiff.transport.connect import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syndiff.differences.exports import Tool
    from syndiff.ffi.observation import Observation
    from syndiff.layout import Detector
    from syndiff.pointing.drift import Drift
    from syndiff.settings import Settings
    from syndiff.stages.stage import Progress, StageReport

__all__ = [
    "STAGES",
    "DriftReport",
    "Run",
    "RunReport",
    "run_difference",
    "run_drift",
    "run_export",
    "run_pipeline",
    "run_stages",
]

logger = logging.getLogger(__name__)

STAGES = ("mapping", "download", "process", "downsample")
"""From an FFI to its templates."""


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


def run_stages(run: Run, *names: str) -> RunReport:
    """Run stages, one after the other.

    Parameters
    ----------
    run : Run
        The CCD and what is asked of it.
    *names : str
        Of `STAGES`, in their order; each needs what those before it made, now or earlier.

    Returns
    -------
    RunReport
        What was done.

    Raises
    ------
    SyndiffError
        Whatever a stage raises.
    """
    _check(run, names)
    with run.workers():
        if len(names) > 1:
            run.layout.check_writable()
        return RunReport(run.detector, tuple(_logged(_stage(run, name, names)) for name in names))


def _check(run: Run, names: Sequence[str]) -> None:
    """Ask for all that may not be had before anything is fetched or computed."""
    _ = run.window
    if "download" in names:
        connect(run.archive).close()  # refuses an address that can't be used; asks nothing
    if "process" in names:
        _ = run.response
    if "mapping" in names:
        _ = run.tessellation
    if "process" in names:
        _ = run.stars


def _stage(run: Run, name: str, names: Sequence[str]) -> StageReport:
    if name == "mapping":
        return mapping_stage(run)
    if name == "download":
        # A response that is not known yet may reach as far as any.
        return download_stage(
            run, reach_px=run.response.reach_px if "process" in names else REACH_PX
        )
    return process_stage(run) if name == "process" else downsample_stage(run)


def _logged(report: StageReport) -> StageReport:
    """Log what a stage did."""
    counts = ", ".join(f"{name} {count}" for name, count in report.counts.items())
    logger.info("%s: %.1f s, %s", report.stage, report.seconds, counts)
    return report


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

    Examples
    --------
    >>> import syndiff
    >>> settings = syndiff.Settings(
    ...     data_root="data",
    ...     archive="sky/archive",
    ...     catalogue="sky/skycell_wcs.csv",
    ...     target="14:23:37.7 +76:11:57.7",
    ...     size=64,
    ... )
    >>> report = syndiff.run_pipeline(
    ...     "sky/tess2020011021200-s0020-3-3-0000-s_ffic.fits", settings
    ... )
    >>> [stage.stage for stage in report.stages]
    ['mapping', 'download', 'process', 'downsample']
    >>> template, header = syndiff.read_template(report.stages[-1].products[0])
    """
    return run_stages(Run(ffi, settings, progress), *STAGES)


def run_difference(
    ffis: Sequence[str],
    template: str,
    settings: Settings,
    stars: str | None = None,
    progress: Progress | None = None,
) -> RunReport:
    """Subtract a template from FFIs.

    Parameters
    ----------
    ffis : sequence of str
        FFIs of one CCD; a folder stands for those in it.
    template : str
        The template file.
    settings : Settings
        Where the data root is, whether a kernel is fitted, where differences go.
    stars : str, optional
        Catalogue of the stars to measure; default: those of the template.
    progress : callable, optional
        Told after every one of several.

    Returns
    -------
    RunReport
        What was found.
    """
    found = list_ffis(ffis)
    if found == list(ffis) and len(found) == 1:
        run = Run(read_ffi(found[0]), settings)
        return RunReport(run.detector, (_logged(difference_stage(run, template, stars)),))
    detector = template_detector(template)
    series = DifferenceSeries(Run(detector, settings, progress), template, stars)
    return RunReport(detector, (_logged(series.make(found)),))


def run_export(ffis: Sequence[str], template: str, tool: Tool, settings: Settings) -> RunReport:
    """Write an FFI and a template as another tool reads them; nothing is subtracted.

    Parameters
    ----------
    ffis : sequence of str
        The FFI: a file, or a folder that holds one.
    template : str
        The template.
    tool : {"hotpants", "sfft"}
        Which tool.
    settings : Settings
        Where the data root is, and the folder to write to (`output`). `kernel` ``fitted``: the
        template's sources are moved, with the scene, to where the FFI's own WCS has them; ``none``:
        the template is taken as it is.

    Returns
    -------
    RunReport
        Files and command.

    Raises
    ------
    ConfigError
        If there is no such tool, or more than one FFI.
    """
    check_tool(tool)
    found = list_ffis(ffis)
    if len(found) != 1:
        raise ConfigError(f"`export` takes one FFI, these are {len(found)}: give one of them")
    run = Run(read_ffi(found[0]), settings)
    # The planes alone are wanted, no samples around them.
    pad_px = 1 if settings.kernel == "fitted" else None
    inputs = read_inputs(run.observation, template, run.layout, pad_px=pad_px)
    return RunReport(
        run.detector, (_logged(export_stage(inputs, template, tool, settings.output)),)
    )


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


def run_drift(ffis: Sequence[str], settings: Settings) -> DriftReport:
    """Tabulate how the field of FFIs drifts, and plot it.

    Parameters
    ----------
    ffis : sequence of str
        FFIs of one sector, camera and CCD.
    settings : Settings
        The data root, from which their reference FFI is known, and `reference`, `tolerance` and
        `output`.

    Returns
    -------
    DriftReport
        The drift and where it is written.

    Raises
    ------
    ConfigError
        If FFIs are of several detectors.
    ObservationError
        If none of them, or not the reference, has a pointing that can be used.
    """
    from syndiff.plots import draw_drift
    from syndiff.pointing.drift import find_drift

    candidates = read_candidates(ffis)
    given = _reference_of(settings.reference) if settings.reference is not None else None
    first = given or next((c.observation for c in candidates if not c.reason), None)
    if first is None:
        raise ObservationError(
            f"none of {len(candidates)} FFIs has a pointing that can be used: "
            f"{candidates[0].reason}"
        )
    detector = first.frame.detector
    check_detector(candidates, detector)
    layout = settings.layout(detector)
    frame, name = first.frame, first.name
    if given is None and layout.skycell_list.exists():
        mapping = read_mapping(layout)
        frame, name = mapping.frame, mapping.reference.name
    drift = find_drift(candidates, frame, name, tolerance_px=settings.tolerance)
    folder = layout.drift if settings.output is None else Place.at(settings.output)
    places = layout.drift_files(folder)
    for place, content in zip(places, (drift.table(), draw_drift(drift)), strict=True):
        place.write(content)
    return DriftReport(drift, tuple(str(place) for place in places))


def _reference_of(path: str) -> Observation:
    """Read the FFI that shifts are to be counted from."""
    observation = read_observation(path)
    check_frame(observation)
    doubt = doubt_about(observation)
    if doubt:
        raise ObservationError(f"{doubt}: give another `reference`")
    return observation
