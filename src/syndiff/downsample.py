"""The downsample stage: templates of a scene, one file per offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syndiff.config import digest
from syndiff.errors import ConfigError
from syndiff.mapping_files import read_mapping
from syndiff.scene_store import SceneStore, read_scene_metadata
from syndiff.stage import StageReport, clock
from syndiff.template import sample_template
from syndiff.template_file import TemplateRecord, read_header, write_template
from syndiff.window import Window

if TYPE_CHECKING:
    from syndiff.config import OffsetList
    from syndiff.layout import Layout
    from syndiff.observation import Frame
    from syndiff.scene_store import StoredScene
    from syndiff.stage import StageRun
    from syndiff.storage import Place

__all__ = ["downsample_stage"]

TEMPLATE_FORMAT = 1
"""Version of the template files' layout."""


@dataclass(frozen=True)
class _Job:
    """One template."""

    place: Place
    offset: tuple[float, float]
    digest: str


def downsample_stage(
    layout: Layout,
    offsets: OffsetList,
    *,
    roi: Window | None,
    run: StageRun,
    overwrite: bool = False,
) -> StageReport:
    """Write the templates of a CCD for a list of offsets.

    Parameters
    ----------
    layout : Layout
        Where everything lies.
    offsets : tuple of (float, float)
        (dx, dy) in TESS pixels.
    roi : Window, optional
        FFI pixels; None for the full frame.
    run : StageRun
        Progress and policy.
    overwrite : bool
        Write again what is there already.

    Returns
    -------
    StageReport
        What was done; `products` are the templates.

    Raises
    ------
    MissingInputError
        If the scene is not there for all of the window.
    ConfigError
        If the region of interest lies outside the science window, or a partial scene may not be
        used.
    """
    with clock() as seconds:
        scene = read_scene_metadata(layout)
        frame = read_mapping(layout).frame
        window, held = _windows(frame, roi)
        store = SceneStore(layout.scene, frame.science)
        content = [scene["digest"], [int(n) for n in store.rendered_under(held).ravel()]]
        jobs = [
            _Job(layout.template(dx, dy, roi=roi), (dx, dy), _digest(content, window, (dx, dy)))
            for dx, dy in offsets
        ]
        todo = [job for job in jobs if overwrite or not _is_done(job)]
        run.progress("downsample", 0, len(todo))
        stored = store.read(held) if todo else None
        for done, job in enumerate(todo, 1):
            _make(job, stored, TemplateRecord(frame, window, job.offset, scene), held)
            run.progress("downsample", done, len(todo))
    return StageReport(
        stage="downsample",
        seconds=seconds(),
        skipped=not todo,
        partial=any(row["state"] in {"failed", "limited"} for row in scene["skycells"]),
        counts={"templates made": len(todo), "templates kept": len(jobs) - len(todo)},
        products=tuple(str(job.place) for job in jobs),
    )


def _windows(frame: Frame, roi: Window | None) -> tuple[Window, Window]:
    """Return the pixels of the template, and those of them that see the sky."""
    ny, nx = frame.shape
    array = Window(0, 0, nx, ny)
    window = roi or array
    held = window.intersection(frame.science)
    if held is None or not array.contains(window):
        raise ConfigError(
            f"region of interest {window} is not in the FFI: its array is {array} and its science "
            f"pixels are {frame.science} (x0,y0,x1,y1)"
        )
    return window, held


def _digest(content: list[Any], window: Window, offset: tuple[float, float]) -> str:
    return digest([TEMPLATE_FORMAT, content, str(window), list(offset)])


def _is_done(job: _Job) -> bool:
    header = read_header(job.place)
    return header is not None and header.get("CFGDIG") == job.digest


def _make(job: _Job, stored: StoredScene | None, record: TemplateRecord, held: Window) -> None:
    """Sample and write one template."""
    if stored is None:
        return
    template = sample_template(
        stored.strip, origin=stored.origin, window=held, offset=job.offset
    ).embedded(held, record.window)
    write_template(job.place, template, record, job.digest)
