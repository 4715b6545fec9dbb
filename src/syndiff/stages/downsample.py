"""The downsample stage: templates of a scene, one file per offset or FFI that is followed."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syndiff.config import MAX_SAMPLES, digest
from syndiff.errors import ConfigError, GeometryError, ObservationError, RenderingError
from syndiff.ffi.detector_flags import flag_detector
from syndiff.ffi.pixels import read_ffi_pixels
from syndiff.masks import DataQuality, format_quality
from syndiff.pointing.following import (
    check_detector,
    displacement_of,
    read_candidates,
    reason_against,
)
from syndiff.pointing.moved_wcs import moved_frame
from syndiff.pointing.refinement import refine_displacement, usable_pixels
from syndiff.scenes.metadata import SceneRecord
from syndiff.scenes.store import SceneStore
from syndiff.sky.mapping import Reference
from syndiff.stages.stage import StageReport, clock
from syndiff.storage.locks import locked
from syndiff.templates.template import Template, follow_template, sample_template
from syndiff.templates.template_file import (
    SIZE_CARD,
    Followed,
    TemplateRecord,
    inputs_table,
    read_header,
    write_template,
)
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from astropy.io import fits
    from numpy.typing import NDArray

    from syndiff.ffi.observation import Observation
    from syndiff.ffi.pixels import FfiPixels
    from syndiff.layout import Layout
    from syndiff.pointing.following import Candidate
    from syndiff.pointing.refinement import Refinement
    from syndiff.scenes.metadata import SceneMetadata
    from syndiff.scenes.store import StoredScene
    from syndiff.sky.displacement import Displacement
    from syndiff.stages.run import Run
    from syndiff.storage.place import Place

__all__ = ["downsample_stage"]

TEMPLATE_FORMAT = 3
"""Version of the template files' layout and of how pixels of FFIs are chosen to refine them."""


@dataclass(frozen=True)
class _Job:
    """One template: at an offset, or with the pointing of an FFI."""

    place: Place
    digest: str
    offset: tuple[float, float] = (0.0, 0.0)
    ffi: Candidate | None = None


@dataclass(frozen=True)
class _Request:
    """What all templates of a run have in common."""

    run: Run
    window: Window
    held: Window
    scene: SceneMetadata

    @property
    def oversample(self) -> int:
        """Samples per pixel and axis."""
        return self.run.settings.oversample

    def digest(self, pointing: Sequence[object]) -> str:
        """Return the digest of all that a template is made from."""
        sampling = [str(self.window), self.oversample, list(pointing)]
        return digest([TEMPLATE_FORMAT, [self.scene.sampled, self.scene.bright], *sampling])

    @functools.cached_property
    def canvas(self) -> Template:
        """The whole window; every template fills the same part of it, the pixels in `held`.

        One for all: memory that is given back and asked for again costs a quarter more.
        """
        return Template.blank(self.window, self.oversample)

    @functools.cached_property
    def inputs(self) -> fits.BinTableHDU:
        """The table of what went into the scene."""
        return inputs_table(self.scene)


def downsample_stage(run: Run) -> StageReport:
    """Write the templates of a CCD for its offsets, or for the FFIs to follow.

    Parameters
    ----------
    run : Run
        The CCD and what is asked of it.

    Returns
    -------
    StageReport
        What was done; `products` are the templates. FFIs that can't be followed are in its notes,
        and in `failure` if partial results were not asked for.

    Raises
    ------
    MissingInputError
        If the scene is not there for all of the window.
    ConfigError
        If the region of interest lies outside the science window, the samples are too many, or an
        FFI is of another detector.
    RenderingError
        If skycells failed and partial results were not asked for, the scene is damaged, or no FFI
        can be followed.
    """
    layout, settings = run.layout, run.settings
    with clock() as seconds:
        # Another run may be at work on the same tiles, for another region.
        with locked(layout.scene, to_read=True):
            store, request = _open(run)
            jobs, refused = _jobs(request)
            layout.templates.check_writable()
            sizes = dict(layout.templates.walk())
            todo = [job for job in jobs if settings.overwrite or not _is_done(job, sizes)]
            stored = store.read(request.held) if todo else None
        run.progress("downsample", 0, len(todo))
        reasons = {job.place: _make(job, stored, request) for job in _through(todo, run)}
        refused += [reason for reason in reasons.values() if reason]
        ready = [job for job in jobs if not reasons.get(job.place)]
        if not ready:
            raise RenderingError(f"no FFI can be followed: {'; '.join(refused)}")
        headers = [header for job in ready if (header := read_header(job.place))]
    failed = any(row.state in {"failed", "limited"} for row in request.scene.skycells)
    return StageReport(
        stage="downsample",
        seconds=seconds(),
        skipped=not todo and not refused,
        partial=failed or (bool(refused) and settings.allow_partial),
        failure=_failure(refused) if refused and not settings.allow_partial else "",
        counts={
            "templates made": len(ready) - len(jobs) + len(todo),
            "templates kept": len(jobs) - len(todo),
        }
        | ({"FFIs not followed": len(refused)} if refused else {}),
        figures=_figures(headers),
        notes=(*refused, *_followed_lines(headers), *_lost(request.scene)),
        products=tuple(str(job.place) for job in ready),
    )


def _failure(refused: list[str]) -> str:
    """Return what to say when some FFIs could not be followed."""
    return (
        f"{len(refused)} of the FFIs can't be followed, {refused[0]}; the other templates are "
        "made: leave those out, or give `allow_partial` to end with exit code 3"
    )


def _open(run: Run) -> tuple[SceneStore, _Request]:
    """Return the scene and what it offers, checked."""
    mapping, layout = run.mapping, run.layout
    window = run.window or Window(0, 0, *mapping.frame.shape[::-1])
    held = run.window or mapping.frame.science
    _check_samples(window, run.settings.oversample)
    store = SceneStore(layout.scene, mapping.frame.science)
    scene = SceneRecord.read(layout, mapping, store).under(held)
    _check_failed(scene, layout, allow_partial=run.settings.allow_partial)
    return store, _Request(run, window, held, scene)


def _check_samples(window: Window, oversample: int) -> None:
    samples = window.shape[0] * window.shape[1] * oversample**2
    if samples > MAX_SAMPLES:
        raise ConfigError(
            f"`oversample` {oversample} of the window {window} is {samples / 1e6:.0f} million "
            f"samples, {MAX_SAMPLES / 1e6:.0f} million are allowed: give a smaller `roi` or less "
            "oversampling"
        )


def _jobs(request: _Request) -> tuple[list[_Job], list[str]]:
    """Return the templates to make, and why FFIs can't be followed."""
    layout, settings = request.run.layout, request.run.settings
    how: dict[str, Any] = {"roi": request.run.window, "oversample": request.oversample}
    if not settings.follow:
        return [
            _Job(layout.template(*offset, **how), request.digest(offset), offset)
            for offset in settings.offsets
        ], []
    candidates = read_candidates(settings.follow)
    check_detector(candidates, layout.detector)
    jobs, refused = [], []
    for ffi in candidates:
        reason = reason_against(ffi, request.run.frame, request.held)
        if reason or ffi.observation is None:
            refused.append(reason)
            continue
        place = layout.template_following(ffi.name, is_refined=settings.refine, **how)
        content = ffi.observation.sha256() if settings.refine else ""
        identity = [ffi.name, ffi.observation.frame.digest, ffi.observation.date_obs, content]
        jobs.append(_Job(place, request.digest(identity), ffi=ffi))
    return jobs, refused


def _followed_lines(headers: list[fits.Header]) -> tuple[str, ...]:
    """Return a line for each template that follows an FFI."""
    lines = []
    for header in headers:
        if "FOLLOWS" not in header:
            continue
        line = (
            "{FOLLOWS}: dx {DX_SHIFT:+.4f}, dy {DY_SHIFT:+.4f} px, roll {SHIFTROL:+.2f} arcsec, "
            "largest {SHIFTMAX:.4f} px".format_map(header)
        )
        if "REFORDER" in header:
            line += (
                "; stars moved it by {REFDX:+.4f} +- {REFDXERR:.4f}, {REFDY:+.4f} +- {REFDYERR:.4f}"
                " px (order {REFORDER})".format_map(header)
            )
        if header.get("REFDEAD"):
            line += f"; {header['REFDEAD']:,} dead pixels left out"
        if header["FFIQUAL"]:
            line += f"; DQUALITY {header['FFIQUAL']} ({format_quality(header['FFIQUAL'])})"
        lines.append(line)
    return tuple(lines)


def _check_failed(scene: SceneMetadata, layout: Layout, *, allow_partial: bool) -> None:
    """Raise if skycells failed and partial results were not asked for."""
    failed = [row.name for row in scene.skycells if row.state == "failed"]
    if failed and not allow_partial:
        raise RenderingError(
            f"{len(failed)} of {len(scene.skycells)} skycells failed, {failed[0]} among them: "
            f"run `syndiff download {layout.detector.arguments}` and `syndiff process` again, or "
            "give `allow_partial` for templates that are flagged there"
        )


def _figures(headers: list[fits.Header]) -> dict[str, float]:
    """Return the parts of the science pixels that have a flux, and that carry each flag.

    Of several templates, those of the one with the least flux or the most flags.
    """
    flags = {
        bit.name: max(header[f"DQF{k:02d}"] for header in headers)
        for k, bit in enumerate(DataQuality)
    }
    return {"coverage": min(header["COVERED"] for header in headers)} | {
        name: part for name, part in flags.items() if name and part
    }


def _lost(scene: SceneMetadata) -> tuple[str, ...]:
    """Return a line for each skycell, or band of one, that the templates are made without."""
    lines = []
    for row in scene.skycells:
        bands = [band.band for band in row.bands if band.state == "absent"]
        if row.state != "reduced":
            lines.append(f"made without {row.name}: {row.state}")
        elif bands:
            lines.append(f"made without band {', '.join(bands)} of {row.name}: absent")
    return tuple(lines)


def _is_done(job: _Job, sizes: dict[str, int]) -> bool:
    header = read_header(job.place)
    if header is None or header.get(SIZE_CARD) != sizes.get(job.place.name):
        return False
    return bool(header.get("CFGDIG") == job.digest)


def _through(jobs: list[_Job], run: Run) -> Iterator[_Job]:
    """Yield jobs and tell how many are done."""
    for done, job in enumerate(jobs, 1):
        yield job
        run.progress("downsample", done, len(jobs))


def _make(job: _Job, stored: StoredScene | None, request: _Request) -> str:
    """Sample and write one template; return why it can't be, or nothing."""
    if stored is None:
        return ""
    canvas = request.canvas
    held = canvas.part(request.held, request.window)
    if job.ffi is not None and job.ffi.observation is not None:
        try:
            record = _follow(job.ffi.observation, stored, held, request)
        except (GeometryError, ObservationError, RenderingError) as error:
            reason = str(error)
            return reason if job.ffi.name in reason else f"{job.ffi.name}: {reason}"
    else:
        sample_template(
            stored.strip,
            origin=stored.origin,
            window=request.held,
            offset=job.offset,
            oversample=request.oversample,
            out=held,
        )
        frame, window = request.run.frame, request.window
        record = TemplateRecord(frame, window, job.offset, request.scene, request.oversample)
    _flag_detector(canvas.quality, request.window, record.offset, request)
    write_template(job.place, canvas, record, job.digest, inputs=request.inputs)
    return ""


def _flag_detector(
    quality: NDArray[np.int32], window: Window, offset: tuple[float, float], request: _Request
) -> None:
    """Add what TESS's own detector spoils."""
    science = request.run.frame.science
    flag_detector(quality, window, science, bright=request.scene.bright, offset=offset)


def _follow(
    ffi: Observation, stored: StoredScene, out: Template, request: _Request
) -> TemplateRecord:
    """Sample a template with the pointing of an FFI; return what its file says of it."""
    frame = ffi.frame
    cards: tuple[tuple[str, float | int | str, str], ...] = ()
    displacement = displacement_of(ffi, request.run.frame, request.held)
    if request.run.settings.refine:
        pixels = read_ffi_pixels(ffi, request.held)
        refinement, displacement = _refine(pixels, stored, displacement, request)
        frame = moved_frame(frame, *refinement.linear()[:2])
        dead = int((pixels.dead > 0).sum())
        cards = (*refinement.cards(), ("REFDEAD", dead, "dead pixels of the FFI, left out"))
    follow_template(
        stored.strip,
        origin=stored.origin,
        window=request.held,
        displacement=displacement,
        oversample=request.oversample,
        out=out,
    )
    shift = displacement.shift(request.held)
    times = ffi.date_obs, ffi.date_end, ffi.tmid
    followed = Followed(Reference.of(ffi).name, *times, ffi.quality, shift, cards)
    where = frame, request.window, (shift.dx, shift.dy)
    return TemplateRecord(*where, request.scene, request.oversample, followed)


def _refine(
    pixels: FfiPixels, stored: StoredScene, displacement: Displacement, request: _Request
) -> tuple[Refinement, Displacement]:
    """Let the FFI's stars correct the displacement."""
    held = request.held
    quality = follow_template(
        stored.strip, origin=stored.origin, window=held, displacement=displacement
    ).quality
    shift = displacement.shift(held)
    _flag_detector(quality, held, (shift.dx, shift.dy), request)
    return refine_displacement(
        stored.strip,
        pixels.image,
        pixels.uncertainty,
        usable_pixels(quality | pixels.flags()),
        origin=stored.origin,
        window=held,
        displacement=displacement,
    )
