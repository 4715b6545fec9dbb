"""The downsample stage: templates of a scene, one file per offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syndiff.config import digest
from syndiff.detector_flags import flag_detector
from syndiff.errors import ConfigError, RenderingError
from syndiff.mapping_files import read_mapping
from syndiff.masks import DataQuality
from syndiff.scene_metadata import part_of_scene, read_scene_metadata
from syndiff.scene_store import SceneStore
from syndiff.stage import StageReport, clock
from syndiff.template import sample_template
from syndiff.template_file import SIZE_CARD, TemplateRecord, read_header, write_template
from syndiff.tiles import TileGrid
from syndiff.window import Window

if TYPE_CHECKING:
    from astropy.io import fits

    from syndiff.config import OffsetList
    from syndiff.layout import Layout
    from syndiff.mapping import Mapping
    from syndiff.observation import Frame
    from syndiff.scene_store import StoredScene
    from syndiff.stage import StageRun
    from syndiff.storage import Place

__all__ = ["downsample_stage"]

TEMPLATE_FORMAT = 2
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
        If the region of interest lies outside the science window.
    RenderingError
        If skycells failed and partial results were not asked for, or the scene is damaged.
    """
    with clock() as seconds:
        mapping = read_mapping(layout)
        frame = mapping.frame
        window, held = _windows(frame, roi)
        store = SceneStore(layout.scene, frame.science)
        scene = _scene_under(held, layout, mapping, store)
        _check_failed(scene, layout, allow_partial=run.allow_partial)
        layout.templates.check_writable()
        content = [scene["digest"], [int(n) for n in store.rendered_under(held).ravel()]]
        content.append(scene["stars"]["bright"] if scene.get("stars") is not None else [])
        jobs = [
            _Job(layout.template(dx, dy, roi=roi), (dx, dy), _digest(content, window, (dx, dy)))
            for dx, dy in offsets
        ]
        sizes = dict(layout.templates.walk())
        todo = [job for job in jobs if overwrite or not _is_done(job, sizes)]
        run.progress("downsample", 0, len(todo))
        stored = store.read(held) if todo else None
        for done, job in enumerate(todo, 1):
            _make(job, stored, TemplateRecord(frame, window, job.offset, scene), held)
            run.progress("downsample", done, len(todo))
        figures = _figures([header for job in jobs if (header := read_header(job.place))])
    return StageReport(
        stage="downsample",
        seconds=seconds(),
        skipped=not todo,
        partial=any(row["state"] in {"failed", "limited"} for row in scene["skycells"]),
        counts={"templates made": len(todo), "templates kept": len(jobs) - len(todo)},
        figures=figures,
        notes=_lost(scene),
        products=tuple(str(job.place) for job in jobs),
    )


def _scene_under(
    held: Window, layout: Layout, mapping: Mapping, store: SceneStore
) -> dict[str, Any]:
    """Return what went into the part of the scene that a window needs."""
    content = read_scene_metadata(layout)
    rendered = store.check_rendered(held)
    grid = TileGrid(mapping.frame.science)
    names = {member.skycell.name for member in mapping.touching(grid.inputs(held))}
    return part_of_scene(content, names, grid.covering(held), rendered)


def _check_failed(scene: dict[str, Any], layout: Layout, *, allow_partial: bool) -> None:
    """Raise if skycells failed and partial results were not asked for."""
    failed = [row["name"] for row in scene["skycells"] if row["state"] == "failed"]
    if failed and not allow_partial:
        raise RenderingError(
            f"{len(failed)} of {len(scene['skycells'])} skycells failed, {failed[0]} among them: "
            f"run `syndiff download {layout.detector.arguments}` and `syndiff process` again, or "
            "pass --allow-partial for templates that are flagged there"
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


def _lost(scene: dict[str, Any]) -> tuple[str, ...]:
    """Return a line for each skycell, or band of one, that the templates are made without."""
    lines = []
    for row in scene["skycells"]:
        bands = [band["band"] for band in row["bands"] if band["state"] == "absent"]
        if row["state"] != "reduced":
            lines.append(f"made without {row['name']}: {row['state']}")
        elif bands:
            lines.append(f"made without band {', '.join(bands)} of {row['name']}: absent")
    return tuple(lines)


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


def _is_done(job: _Job, sizes: dict[str, int]) -> bool:
    header = read_header(job.place)
    if header is None or header.get(SIZE_CARD) != sizes.get(job.place.name):
        return False
    return bool(header.get("CFGDIG") == job.digest)


def _make(job: _Job, stored: StoredScene | None, record: TemplateRecord, held: Window) -> None:
    """Sample and write one template."""
    if stored is None:
        return
    template = sample_template(
        stored.strip, origin=stored.origin, window=held, offset=job.offset
    ).embedded(held, record.window)
    stars = record.scene.get("stars")
    flag_detector(
        template.quality,
        record.window,
        record.frame.science,
        bright=stars["bright"] if stars is not None else (),
        offset=job.offset,
    )
    write_template(job.place, template, record, job.digest)
