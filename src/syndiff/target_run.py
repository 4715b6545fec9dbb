"""From a target and its frames to a light curve: scenes, measurements, files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from syndiff.errors import ConfigError, MissingInputError, ObservationError
from syndiff.ffi.ffi_file import FfiFile
from syndiff.ffi.observation import read_observation
from syndiff.layout import Detector
from syndiff.lightcurves.difference_cube import pack_cube
from syndiff.lightcurves.field_scene import REACH_PX, scene_digest
from syndiff.lightcurves.figure import draw_png
from syndiff.lightcurves.light_curve import BINS, LightCurve, parse_bin
from syndiff.lightcurves.times import parse_date
from syndiff.pipeline import run_stages
from syndiff.sky.mapping_files import read_mapping
from syndiff.sky.pixelmap import sky_to_pixel
from syndiff.stages.lightcurve import SeriesJob, lightcurve_stage
from syndiff.stages.run import Run
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syndiff.ffi.frame import Frame
    from syndiff.lightcurves.sector_curve import SectorCurve
    from syndiff.settings import Settings
    from syndiff.stages.stage import Progress, StageReport
    from syndiff.storage.place import Place

__all__ = ["LightCurveReport", "TargetJob", "list_local_ffis", "measure_field", "run_light_curve"]

DEFAULT_SIZE_PX = 64
"""Side of a field: enough stars for a kernel at most galactic latitudes."""

_IN_NAME = (
    re.compile(r"-s(?P<sector>\d{4})-(?P<camera>\d)-(?P<ccd>\d)-"),
    re.compile(r"_s(?P<sector>\d{4})-.*-cam(?P<camera>\d)-ccd(?P<ccd>\d)_"),
)


@dataclass(frozen=True)
class TargetJob:
    """A target and what is wanted of it.

    Parameters
    ----------
    name : str
        What to call it, in file names too.
    target : (float, float)
        RA and Dec, degrees.
    ffis : tuple of str
        FFIs, or folders of some.
    sector : int, optional
        Take those of this sector only.
    bins : tuple of str
        Widths of the bins.
    quiet_before : str
        Date before which the target was quiet: the mean until then is taken off. Empty for none.
    keep_images : bool
        Keep the differences of the field as one cube.

    Raises
    ------
    ConfigError
        If a bin or the date can't be read.
    """

    name: str
    target: tuple[float, float]
    ffis: tuple[str, ...]
    sector: int | None = None
    bins: tuple[str, ...] = BINS
    quiet_before: str = ""
    keep_images: bool = False

    def __post_init__(self) -> None:
        for width in self.bins:
            parse_bin(width)
        if self.quiet_before:
            parse_date(self.quiet_before)

    @property
    def stem(self) -> str:
        """The name as file names can hold it."""
        return "syndiff_lightcurve_" + re.sub(r"[^A-Za-z0-9.+-]+", "_", self.name).strip("_")


@dataclass(frozen=True, eq=False)
class LightCurveReport:
    """What a run made.

    Parameters
    ----------
    curve : LightCurve
        The light curve.
    stages : tuple of (Detector, StageReport)
        In order.
    products : tuple of str
        The files.
    """

    curve: LightCurve
    stages: tuple[tuple[Detector, StageReport], ...]
    products: tuple[str, ...]


def list_local_ffis(where: str) -> list[str]:
    """Return the FFIs of a folder, or the file itself.

    Parameters
    ----------
    where : str
        A folder, a file or an address.

    Returns
    -------
    list of str
        Sorted by name, and so by time.

    Raises
    ------
    ConfigError
        If a folder holds none.
    """
    folder = Path(where)
    if "://" in where or not folder.is_dir():
        return [where]
    names = ("*_ffic.fits*", "*_img.fits*")
    found = sorted(str(path) for name in names for path in folder.glob(name))
    if not found:
        raise ConfigError(
            f"`ffis` {where} holds no FFI (tess*_ffic.fits, hlsp_tica_*_img.fits): give another "
            "folder, or files"
        )
    return found


def run_light_curve(
    job: TargetJob, settings: Settings, progress: Progress | None = None
) -> LightCurveReport:
    """Make the light curve of a target.

    Parameters
    ----------
    job : TargetJob
        The target and its frames.
    settings : Settings
        Where everything is kept, and how scenes that are missing are made.
    progress : callable, optional
        Told after every task.

    Returns
    -------
    LightCurveReport
        What was made.

    Raises
    ------
    SyndiffError
        If it can't be made.
    """
    groups = _by_detector(job)
    curves: list[SectorCurve] = []
    stages: list[tuple[Detector, StageReport]] = []
    reasons: list[str] = []
    for detector, ffis in groups.items():
        layout = settings.layout(detector)
        reference = _reference(detector, ffis, settings)
        try:
            window = _window(job, settings, reference)
        except ConfigError as error:
            reasons.append(str(error))
            continue
        stages += _make_scene(detector, ffis, settings, (reference, window), progress)
        series = SeriesJob(layout, window, job.target, tuple(ffis), job.keep_images)
        report, curve = _measure(job, series, settings, progress)
        curves.append(curve)
        stages.append((detector, report))
    if not curves:
        raise ConfigError("; ".join(reasons))
    whole = LightCurve(job.name, *job.target, tuple(curves), job.quiet_before)
    products = _write(job, whole, settings.layout(curves[0].sighting.detector).light_curves)
    return LightCurveReport(whole, tuple(stages), products)


def measure_field(
    job: TargetJob,
    detector: Detector,
    settings: Settings,
    window: Window,
    progress: Progress | None = None,
) -> LightCurve:
    """Make the light curve of a target in one field; no table is written.

    Parameters
    ----------
    job : TargetJob
        The target and its frames.
    detector : Detector
        Sector, camera and CCD of the field.
    settings : Settings
        Where everything is kept, and how a scene that is missing is made.
    window : Window
        FFI pixels of the field.
    progress : callable, optional
        Told after every task.

    Returns
    -------
    LightCurve
        The light curve.

    Raises
    ------
    ConfigError
        If there are frames of other CCDs.
    """
    groups = _by_detector(job)
    if set(groups) != {detector}:
        others = ", ".join(str(one) for one in groups if one != detector)
        raise ConfigError(
            f"`ffis` are of {others}, the field of {detector}: give frames of the field's own CCD"
        )
    ffis = groups[detector]
    frame = _reference(detector, ffis, settings)
    _make_scene(detector, ffis, settings, (frame, window), progress)
    series = SeriesJob(settings.layout(detector), window, job.target, tuple(ffis))
    _, curve = _measure(job, series, settings, progress)
    return LightCurve(job.name, *job.target, (curve,), job.quiet_before)


def _measure(
    job: TargetJob, series: SeriesJob, settings: Settings, progress: Progress | None
) -> tuple[StageReport, SectorCurve]:
    """Run the stage, and take off the baseline if that was asked for."""
    run = Run(series.layout.detector, settings, progress)
    with run.workers():
        report, curve = lightcurve_stage(series, run)
    if not job.quiet_before:
        return report, curve
    curve = curve.quiet_before(parse_date(job.quiet_before))
    if curve.quiet:
        told = (
            f"taken off: {curve.baseline:+.2f} +- {curve.baseline_error:.2f} e-/s, the mean of "
            f"{curve.quiet} frames before {job.quiet_before}"
        )
    else:
        told = f"no good frame is before {job.quiet_before}: nothing is taken off"
    return replace(report, notes=(*report.notes, told)), curve


def _by_detector(job: TargetJob) -> dict[Detector, list[str]]:
    """Return the FFIs of each sector, camera and CCD, in the order of their names."""
    groups: dict[Detector, list[str]] = {}
    for path in (path for where in job.ffis for path in list_local_ffis(where)):
        detector = _detector_of(path)
        if job.sector in {None, detector.sector}:
            groups.setdefault(detector, []).append(path)
    if not groups:
        raise ConfigError(f"`sector` {job.sector}: none of the FFIs given is of it")
    return {detector: sorted(groups[detector], key=_name) for detector in sorted(groups)}


def _name(path: str) -> str:
    return FfiFile(path).name


def _detector_of(path: str) -> Detector:
    for pattern in _IN_NAME:
        if match := pattern.search(_name(path)):
            return Detector(*(int(match[key]) for key in ("sector", "camera", "ccd")))
    return read_observation(path).frame.detector


def _reference(detector: Detector, ffis: Sequence[str], settings: Settings) -> Frame:
    """Return the pixel grid that the CCD's scene is, or will be, made for."""
    layout = settings.layout(detector)
    if layout.skycell_list.exists():
        return read_mapping(layout).frame
    return read_observation(_first_good(ffis)).frame


def _first_good(ffis: Sequence[str]) -> str:
    """Return the first FFI without quality flags, or the first that can be read."""
    flagged, reason = "", ""
    for path in ffis:
        try:
            if read_observation(path).quality == 0:
                return path
        except ObservationError as error:
            reason = str(error)
            continue
        flagged = flagged or path
    if not flagged:
        raise ObservationError(reason)
    return flagged


def _window(job: TargetJob, settings: Settings, frame: Frame) -> Window:
    """Return the field around the target."""
    x, y = sky_to_pixel(frame, *job.target)
    if not frame.science.holds(float(x), float(y)):
        raise ConfigError(
            f"`target` {job.target[0]:.6g},{job.target[1]:.6g} is not on {frame.detector}: it "
            f"would fall on pixel ({x:.1f}, {y:.1f}), the science pixels are {frame.science}"
        )
    size = settings.size or DEFAULT_SIZE_PX
    x0, y0 = round(float(x)) - size // 2, round(float(y)) - size // 2
    square = Window(x0, y0, x0 + size, y0 + size)
    return square.intersection(frame.science) or frame.science


def _make_scene(
    detector: Detector,
    ffis: Sequence[str],
    settings: Settings,
    field: tuple[Frame, Window],
    progress: Progress | None,
) -> list[tuple[Detector, StageReport]]:
    """Make the scene under a field unless it is there; return what was done."""
    layout, (frame, window) = settings.layout(detector), field
    try:
        scene_digest(layout, window)
    except MissingInputError:
        pass
    else:
        return []
    science = frame.science
    around = window.grown(REACH_PX).intersection(science) or window
    asked = replace(settings, roi=around, target=None, size=None)
    source: str | Detector = detector
    stages = ["download", "process"]
    is_mapped = layout.skycell_list.exists()
    if not (is_mapped and read_mapping(layout).window.contains(around)):
        name = read_mapping(layout).reference.name if is_mapped else ""
        same = (path for path in ffis if _name(path) == name)
        source, stages = next(same, _first_good(ffis)), ["mapping", *stages]
    report = run_stages(Run(source, asked, progress), *stages)
    return [(detector, stage) for stage in report.stages]


def _write(job: TargetJob, curve: LightCurve, folder: Place) -> tuple[str, ...]:
    """Write table, bins, FITS, figure and, if asked for, the cube of differences."""
    files = curve.pack(job.bins)
    files[".png"] = draw_png(curve, job.bins[0] if job.bins else BINS[0])
    if job.keep_images:
        for one in curve.curves:
            tag = one.sighting.detector.tag
            files[f"_{tag}_differences.fits.gz"] = pack_cube(one, job.name)
    products = []
    for ending, content in files.items():
        place = folder / f"{job.stem}{ending}"
        place.write(content)
        products.append(str(place))
    return tuple(products)
