"""The mapping stage: which skycells an FFI needs and where they land."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syndiff.errors import ConfigError, RenderingError
from syndiff.ffi.tiles import MARGIN_PX, TileGrid
from syndiff.pointing.following import doubt_about
from syndiff.sky.catalogue import find_catalogue, open_tessellation
from syndiff.sky.mapping import Mapping, Reference, map_frame, refuse_other_frame
from syndiff.sky.mapping_files import (
    read_mapping,
    remove_mapping,
    write_mapping,
    write_skycell_map,
)
from syndiff.stages.stage import StageReport, clock, run_tasks

if TYPE_CHECKING:
    from syndiff.ffi.frame import Frame
    from syndiff.ffi.observation import Observation
    from syndiff.layout import Layout
    from syndiff.sky.tessellation import Skycell, Tessellation
    from syndiff.stages.stage import StageRun
    from syndiff.storage import Place
    from syndiff.window import Window

__all__ = ["mapping_stage"]


_CORE_S = 0.05
"""Of a full-size skycell's map."""


@dataclass(frozen=True)
class _MapTask:
    """One skycell's map."""

    skycell: Skycell
    frame: Frame
    place: Place

    def __str__(self) -> str:
        return self.skycell.name


def mapping_stage(
    observation: Observation,
    layout: Layout,
    *,
    catalogue: str | None,
    roi: Window | None,
    run: StageRun,
    overwrite: bool = False,
) -> StageReport:
    """Map the skycells that an FFI needs.

    The list and the master map are always of the whole CCD; maps of single skycells are written
    for the region of interest only.

    Parameters
    ----------
    observation : Observation
        The FFI.
    layout : Layout
        Where everything lies.
    catalogue : str, optional
        The user's skycell catalogue.
    roi : Window, optional
        FFI pixels; None for the whole science window.
    run : StageRun
        Executor and progress.
    overwrite : bool
        Replace another reference FFI, catalogue, or files that are there.

    Returns
    -------
    StageReport
        What was done.

    Raises
    ------
    ConfigError
        If the data root holds a mapping of another FFI or another catalogue.
    MissingInputError, GeometryError
        If the catalogue is not there or can't be used.
    RenderingError
        If a map can't be written.
    """
    with clock() as seconds:
        source = find_catalogue(layout, catalogue)
        tessellation = open_tessellation(source)
        layout.mapping.check_writable()
        mapping = _kept(observation, layout, tessellation, overwrite=overwrite)
        is_new = mapping is None
        if mapping is None:
            mapping = map_frame(
                observation.frame,
                tessellation,
                margin_px=MARGIN_PX,
                reference=Reference.of(observation),
            )
            if source is not None:
                layout.catalogue_used.write(source.read())
        tasks = _missing_maps(mapping, layout, roi)
        core_s = _CORE_S * len(tasks)
        outcomes = run_tasks(run, "mapping", _write_map, tasks, core_s=core_s)
        failed = [outcome for outcome in outcomes if outcome.error is not None]
        if failed:
            raise RenderingError(
                f"{len(failed)} skycell maps failed; {failed[0].task}: {failed[0].error}"
            )
        if is_new:
            write_mapping(mapping, layout)
    roles = [member.role for member in mapping.members]
    return StageReport(
        stage="mapping",
        seconds=seconds(),
        skipped=not is_new and not tasks,
        counts={
            "skycells on science pixels": roles.count("science"),
            "skycells in the margin": roles.count("margin"),
            "skycell maps written": len(tasks),
        },
        notes=_notes(observation),
        products=(str(layout.skycell_list), str(layout.master_map), str(layout.regions)),
    )


def _notes(observation: Observation) -> tuple[str, ...]:
    """Return what may be wrong with the FFI that everything is mapped by."""
    doubt = doubt_about(observation)
    lines = (f"{doubt}: templates by it may be off, give another FFI",) if doubt else ()
    return (*lines, *observation.remarks)


def _kept(
    observation: Observation, layout: Layout, tessellation: Tessellation, *, overwrite: bool
) -> Mapping | None:
    """Return the mapping that is there already if it is of this FFI's pixel grid."""
    if overwrite:
        remove_mapping(layout)
        return None
    if not (layout.skycell_list.exists() and layout.master_map.exists()):
        return None
    mapping = read_mapping(layout)
    refuse_other_frame(mapping, observation.frame, ffi=observation.name)
    if mapping.tessellation_digest != tessellation.digest:
        raise ConfigError(
            f"{layout.mapping} was mapped with another skycell catalogue (digest "
            f"{mapping.tessellation_digest}, now {tessellation.digest}): add --overwrite, or give "
            "another --data-root"
        )
    return mapping


def _missing_maps(mapping: Mapping, layout: Layout, roi: Window | None) -> list[_MapTask]:
    """Return the maps to be written."""
    window = TileGrid(mapping.frame.science).inputs(roi or mapping.frame.science)
    written = {path for path, _ in layout.mapping.walk()}
    tasks = [
        _MapTask(m.skycell, mapping.frame, layout.skycell_map(m.skycell.name))
        for m in mapping.touching(window)
    ]
    return [task for task in tasks if task.place.name not in written]


def _write_map(task: _MapTask) -> None:
    write_skycell_map(task.skycell, task.frame, task.place)
