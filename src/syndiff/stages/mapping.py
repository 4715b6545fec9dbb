"""The mapping stage: which skycells an FFI needs and where they land."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syndiff.errors import ConfigError, RenderingError
from syndiff.ffi.tiles import MARGIN_PX, TileGrid
from syndiff.pointing.following import doubt_about
from syndiff.sky.mapping import Mapping, Reference, map_frame, refuse_other_frame
from syndiff.sky.mapping_files import (
    read_unlocked,
    remove_mapping,
    write_mapping,
    write_skycell_map,
)
from syndiff.stages.stage import StageReport, clock, run_tasks
from syndiff.storage.locks import locked

if TYPE_CHECKING:
    from syndiff.ffi.frame import Frame
    from syndiff.ffi.observation import Observation
    from syndiff.sky.tessellation import Skycell, Tessellation
    from syndiff.stages.run import Run
    from syndiff.storage.place import Place
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


def mapping_stage(run: Run) -> StageReport:
    """Map the skycells that an FFI needs, or a region of interest of it.

    A mapping of another region is extended: to the smallest window that holds both. With
    `overwrite` another reference FFI, catalogue, or files that are there are replaced.

    Parameters
    ----------
    run : Run
        The FFI and what is asked of it.

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
    observation, layout, tessellation = run.observation, run.layout, run.tessellation
    wanted = run.window or run.frame.science
    with clock() as seconds:
        layout.mapping.check_writable()
        with locked(layout.mapping):
            kept = _kept(run)
            mapping = kept
            if mapping is None or not mapping.window.contains(wanted):
                mapping = _extended(kept, wanted, observation, tessellation)
            is_new = mapping is not kept
            if is_new and run.catalogue is not None:
                layout.catalogue_used.write(run.catalogue.read())
            written = _write_maps(mapping, wanted, run)
            if is_new:
                write_mapping(mapping, layout)
            run.mapped(mapping)
    roles = [member.role for member in mapping.members]
    return StageReport(
        stage="mapping",
        seconds=seconds(),
        skipped=not is_new and not written,
        counts={
            "skycells on science pixels": roles.count("science"),
            "skycells in the margin": roles.count("margin"),
            "skycell maps written": written,
        },
        notes=_notes(observation, mapping),
        products=(str(layout.skycell_list), str(layout.master_map), str(layout.regions)),
    )


def _notes(observation: Observation, mapping: Mapping) -> tuple[str, ...]:
    """Return which part is mapped, and what may be wrong with the FFI that it is mapped by."""
    doubt = doubt_about(observation)
    notes = [f"{doubt}: templates by it may be off, give another FFI"] if doubt else []
    if mapping.window != mapping.frame.science:
        notes.append(f"mapped: pixels {mapping.window} of {mapping.frame.science} (x0,y0,x1,y1)")
    return (*notes, *observation.remarks)


def _kept(run: Run) -> Mapping | None:
    """Return the mapping that is there already if it is of this FFI's pixel grid."""
    layout, tessellation = run.layout, run.tessellation
    if run.settings.overwrite:
        remove_mapping(layout)
        return None
    if not (layout.skycell_list.exists() and layout.master_map.exists()):
        return None
    mapping = read_unlocked(layout)
    refuse_other_frame(mapping, run.frame, ffi=run.observation.name)
    if mapping.tessellation_digest != tessellation.digest:
        raise ConfigError(
            f"{layout.mapping} was mapped with another skycell catalogue (digest "
            f"{mapping.tessellation_digest}, now {tessellation.digest}): add `overwrite`, or give "
            "another `data_root`"
        )
    return mapping


def _extended(
    kept: Mapping | None, wanted: Window, observation: Observation, tessellation: Tessellation
) -> Mapping:
    """Return a mapping that holds the wanted pixels, and those of the one that is kept."""
    return map_frame(
        observation.frame,
        tessellation,
        margin_px=MARGIN_PX,
        reference=kept.reference if kept is not None else Reference.of(observation),
        window=kept.window.union(wanted) if kept is not None else wanted,
    )


def _write_maps(mapping: Mapping, wanted: Window, run: Run) -> int:
    """Write the maps of single skycells that are missing; return how many."""
    there = {path for path, _ in run.layout.mapping.walk()}
    places = {
        member.skycell: run.layout.skycell_map(member.skycell.name)
        for member in mapping.touching(TileGrid(mapping.frame.science).inputs(wanted))
    }
    tasks = [
        _MapTask(skycell, mapping.frame, place)
        for skycell, place in places.items()
        if place.name not in there
    ]
    outcomes = run_tasks(run, "mapping", _write_map, tasks, core_s=_CORE_S * len(tasks))
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if failed:
        raise RenderingError(
            f"{len(failed)} skycell maps failed; {failed[0].task}: {failed[0].error}"
        )
    return len(tasks)


def _write_map(task: _MapTask) -> None:
    write_skycell_map(task.skycell, task.frame, task.place)
