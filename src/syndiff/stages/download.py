"""The download stage: stack files fetched, verified and reduced into the atlas, once for all."""

from __future__ import annotations

import functools
import logging
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import BANDS
from syndiff.errors import ArchiveError, ArchiveUnavailableError
from syndiff.ffi.tiles import REACH_PX, TileGrid
from syndiff.scenes.combine import invalid_bands
from syndiff.stacks.archive import PLANES, SkycellFiles, describe_holdings, fetch_skycell
from syndiff.stacks.atlas import Atlas
from syndiff.stacks.inventory import Inventory, InventoryEntry
from syndiff.stacks.kept_files import KeptFiles, kept_bands
from syndiff.stacks.provenance import BandOrigin, FileOrigin, Provenance
from syndiff.stacks.reduction import BandPlanes, reduce_skycell
from syndiff.stacks.stackfile import open_stackfile
from syndiff.stacks.stackheader import MIXED_OPTION
from syndiff.stacks.stackset import check_sets
from syndiff.stages.stage import StageReport, clock, run_tasks
from syndiff.transport.archive import open_archive
from syndiff.transport.asking import connection_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from syndiff.execution import Outcome
    from syndiff.layout import Layout
    from syndiff.settings import Settings
    from syndiff.sky.mapping import Mapping
    from syndiff.sky.tessellation import Skycell
    from syndiff.stacks.archive import Fetched
    from syndiff.stacks.atlas import AtlasRecord
    from syndiff.stacks.reduction import ReducedSkycell
    from syndiff.stages.run import Run
    from syndiff.transport.attempt import ArchiveConfig
    from syndiff.window import Window

__all__ = ["DownloadJob", "download_stage"]

logger = logging.getLogger(__name__)

_WRITE_EVERY = 20
"""Skycells after which the inventory is written: what an interruption can cost is a look-up."""


_SILENT_LIMIT = 4
"""Skycells in a row, for each worker, that the archive may fail to answer for."""


@dataclass(frozen=True)
class DownloadJob:
    """What every task of the stage shares; small, so that it can go to workers.

    Parameters
    ----------
    layout : Layout
        Where everything lies.
    settings : Settings
        How skycells are reduced, and what is kept.
    archive : ArchiveConfig
        Where the stack files come from; `connections` is for all processes together.
    """

    layout: Layout
    settings: Settings
    archive: ArchiveConfig


@dataclass(frozen=True)
class _SkycellTask:
    """One skycell."""

    job: DownloadJob
    skycell: Skycell

    def __str__(self) -> str:
        return self.skycell.name


def download_stage(run: Run, *, reach_px: float = REACH_PX) -> StageReport:
    """Fill the atlas with the skycells of a CCD, or of a region of interest.

    Parameters
    ----------
    run : Run
        The CCD and what is asked of it.
    reach_px : float
        How far the response carries light that the skycells are fetched for; by default the
        farthest of any response.

    Returns
    -------
    StageReport
        What was done.

    Raises
    ------
    MissingInputError
        If the mapping is not there.
    ArchiveError
        If the archive has none of the skycells, or some failed and partial results were not asked
        for. The inventory is written before.
    """
    job = DownloadJob(run.layout, run.settings, run.archive)
    with clock() as seconds:
        job.layout.atlas.check_writable()
        skycells = _needed(run.mapping, run.window, reach_px)
        inventory = Inventory.read(job.layout.inventory, job.settings)
        again, keep = job.settings.overwrite, job.settings.keep_raw
        kept = KeptFiles(job.layout.stack_files).paths() if keep else frozenset()
        todo = [cell for cell in skycells if again or not _is_done(job, inventory, cell, kept)]
        if todo:
            _run(job, todo, inventory, run)
        names = [cell.name for cell in skycells]
        _check(job, inventory, names)
        report = _report(inventory, names, len(todo), seconds())
        return replace(report, notes=(*_kept_notes(job), *report.notes))


def _kept_notes(job: DownloadJob) -> Iterator[str]:
    """Yield where stack files are kept, and that what earlier versions kept is not read."""
    place, old = job.layout.stack_files, job.layout.old_planes
    if job.settings.keep_raw:
        yield f"stack files are kept in {place}: give it as `archive` to read them again"
    if next(old.walk(), None) is not None:
        yield (
            f"{old} holds planes that an earlier version kept; they are not read: remove it, and "
            "download with `keep_raw` to keep the files themselves"
        )


def _run(job: DownloadJob, skycells: Sequence[Skycell], inventory: Inventory, run: Run) -> None:
    """Bring skycells into the atlas and take note of each in the inventory.

    An archive that does not answer for several skycells in a row is not asked for the others.
    """
    workers = run.executor.workers
    limit = connection_limit(job.archive.url, job.archive.connections)
    spread = replace(job, archive=replace(job.archive, connections=max(1, limit // workers)))
    tasks = [_SkycellTask(spread, skycell) for skycell in skycells]
    silent = 0
    try:
        for done, outcome in enumerate(run_tasks(run, "download", _reduce_one, tasks), 1):
            inventory.record(_entry(job, outcome))
            silent = silent + 1 if outcome.kind == ArchiveUnavailableError.__name__ else 0
            if silent >= _SILENT_LIMIT * workers:
                raise ArchiveUnavailableError(
                    f"the archive {job.archive.url} failed for {silent} skycells in a row, "
                    f"{len(tasks) - done} were not tried. Last: {outcome.error}. Run the same "
                    "command again later; what arrived is kept"
                )
            if done % _WRITE_EVERY == 0:
                inventory.write()
    finally:
        inventory.write()


def _needed(mapping: Mapping, roi: Window | None, reach_px: float) -> list[Skycell]:
    """Return the skycells that templates of the window need."""
    science = mapping.frame.science
    window = TileGrid(science).inputs(roi or science, reach_px)
    return [member.skycell for member in mapping.touching(window)]


def _is_done(
    job: DownloadJob, inventory: Inventory, skycell: Skycell, kept: frozenset[str]
) -> bool:
    """Tell whether a skycell needs nothing more; `kept` are the files that are kept."""
    entry = inventory.entries.get(skycell.name)
    atlas = Atlas(job.layout.atlas, job.layout.detector)
    key = atlas.key(skycell, job.settings)
    if entry is None or entry.key_digest != key.digest or entry.state == "failed":
        return False
    if entry.state == "absent":
        return entry.source == job.archive.url
    if entry.mixed and not job.settings.allow_mixed:
        return False
    if job.settings.keep_raw and not _are_kept(entry, kept):
        return False
    return atlas.has(key) and atlas.read_record(key).content_digest == entry.content_digest


def _are_kept(entry: InventoryEntry, kept: frozenset[str]) -> bool:
    """Tell whether all files of a reduced skycell are kept."""
    return {*BANDS} - {*entry.absent_bands} <= kept_bands(entry.name, kept)


def _entry(job: DownloadJob, outcome: Outcome[_SkycellTask, InventoryEntry]) -> InventoryEntry:
    """Return what the inventory says of a task."""
    if outcome.result is not None:
        return outcome.result
    skycell = outcome.task.skycell
    key = Atlas(job.layout.atlas).key(skycell, job.settings)
    return InventoryEntry(
        skycell.name,
        "failed",
        key.digest,
        source=job.archive.url,
        message=outcome.error or "unknown",
    )


def _check(job: DownloadJob, inventory: Inventory, names: Sequence[str]) -> None:
    """Raise if nothing is there, or too little of it."""
    states = inventory.states(names)
    if states["absent"] == len(names):
        raise ArchiveError(
            f"the archive {job.archive.url} has none of the {len(names)} skycells, from {names[0]} "
            f"to {names[-1]}: {describe_holdings(open_archive(job.archive))}"
            "check `archive` (its folders are PPPP/CCC/), or PS1 has no data there"
        )
    failed = [inventory.entries[name] for name in names if _state(inventory, name) == "failed"]
    if failed and (not job.settings.allow_partial or len(failed) == len(names)):
        raise ArchiveError(
            f"{len(failed)} of {len(names)} skycells failed, the others are kept. First: "
            f"{failed[0].name}: {failed[0].message}. Run the same command again to try just "
            "these, or pass `allow_partial` for templates that are flagged there"
        )


def _state(inventory: Inventory, name: str) -> str:
    return inventory.entries[name].state


def _report(inventory: Inventory, names: Sequence[str], tried: int, seconds: float) -> StageReport:
    states = inventory.states(names)
    entries = [inventory.entries[name] for name in names]
    notes = [f"absent in the archive: {e.name}" for e in entries if e.state == "absent"]
    notes += [f"{e.name}: no {', '.join(e.absent_bands)} band" for e in entries if _lacks(e)]
    notes += [f"{e.name} band {text}" for e in entries for text in e.mixed]
    notes += _absurd_notes(entries)
    notes += [f"failed: {e.name}: {e.message}" for e in entries if e.state == "failed"]
    return StageReport(
        stage="download",
        seconds=seconds,
        skipped=tried == 0,
        partial=states["failed"] > 0,
        counts={
            "skycells reduced now": tried - states["failed"],
            "skycells in the atlas": states["reduced"],
            "absent": states["absent"],
            "failed": states["failed"],
        },
        notes=tuple(notes),
    )


def _absurd_notes(entries: Iterable[InventoryEntry]) -> list[str]:
    """Return a line on pixels that were left out for their values, if there are any."""
    counts = {entry.name: entry.absurd_pixels for entry in entries if entry.absurd_pixels}
    if not counts:
        return []
    most = sorted(counts, key=lambda name: -counts[name])[:5]
    listed = ", ".join(f"{name}: {counts[name]}" for name in most)
    more = f" and {len(counts) - len(most)} skycells more" if len(counts) > len(most) else ""
    return [
        f"left out for values that PS1 can't have: {sum(counts.values())} pixels ({listed}{more})"
    ]


def _lacks(entry: InventoryEntry) -> bool:
    return entry.state == "reduced" and bool(entry.absent_bands)


_HOLDING = threading.BoundedSemaphore(2)
"""Skycells whose files a process holds, however many threads it has: one that is reduced, one that
is fetched meanwhile. Of a full-size one they take 0.43 GB at most."""

_REDUCING = threading.Lock()
"""One skycell is reduced at a time in a process: a second reduction would gain nothing on the same
core and double the memory."""


def _reduce_one(task: _SkycellTask) -> InventoryEntry:
    """Bring one skycell into the atlas."""
    job, skycell = task.job, task.skycell
    atlas = Atlas(job.layout.atlas, job.layout.detector)
    key = atlas.key(skycell, job.settings)
    entry = InventoryEntry(skycell.name, "reduced", key.digest, source=job.archive.url)
    if atlas.has(key) and not job.settings.overwrite:
        record = atlas.read_record(key)
        _check_mixed(job, record)
        return replace(_completed(entry, record), fetched_bytes=_keep(job, skycell))
    with _HOLDING:
        files, fetched_bytes, mixed = _obtain(job, skycell)
        if files.all_absent:
            return replace(entry, state="absent", absent_bands=tuple(BANDS))
        meta, planes = _provenance(files, mixed), [_planes(files)]
        del files
        with _REDUCING:
            # Nobody else holds the files: their bytes are free once the reduction has read them.
            reduced = reduce_skycell(planes.pop(), skycell=skycell, settings=job.settings)
            reduced = _with_provenance(reduced, meta)
            record = atlas.write(key, reduced, overwrite=job.settings.overwrite)
    return replace(_completed(entry, record), fetched_bytes=fetched_bytes)


def _completed(entry: InventoryEntry, record: AtlasRecord) -> InventoryEntry:
    """Return the entry of a skycell that is complete in the atlas."""
    absent = tuple(band for band in BANDS if band not in record.bands)
    return replace(
        entry,
        content_digest=record.content_digest,
        absent_bands=absent,
        absurd_pixels=record.meta.absurd_pixels,
        mixed=record.meta.mixed,
    )


def _check_mixed(job: DownloadJob, record: AtlasRecord) -> None:
    """Raise for a reduction that this run would not have made."""
    mixed = record.meta.mixed
    if mixed and not job.settings.allow_mixed:
        raise ArchiveError(
            f"{record.name} was reduced with {MIXED_OPTION} from files that contradict each other "
            f"(band {mixed[0]}): pass it again, or `overwrite` to fetch the right files"
        )


def _keep(job: DownloadJob, skycell: Skycell) -> int:
    """Keep the files of a skycell that is reduced already, if asked to; return bytes fetched."""
    if not job.settings.keep_raw:
        return 0
    with _HOLDING:
        return _obtain(job, skycell)[1]


def _obtain(
    job: DownloadJob, skycell: Skycell
) -> tuple[SkycellFiles, int, dict[str, tuple[str, ...]]]:
    """Return a skycell's files, those kept before if they are complete.

    With them the bytes fetched, and what the files of a band disagree on.
    """
    store = KeptFiles(job.layout.stack_files)
    open_plane = functools.partial(open_stackfile, allow_mixed=job.settings.allow_mixed)
    kept = None if job.settings.overwrite else store.read(skycell, BANDS, open_plane)
    fetched = kept or fetch_skycell(
        open_archive(job.archive),
        skycell,
        bands=BANDS,
        open_plane=open_plane,
        with_octets=job.settings.keep_raw,
    )
    files, found = check_sets(fetched, allow_mixed=job.settings.allow_mixed)
    if kept is not None:
        return files, 0, found
    if job.settings.keep_raw:
        store.keep(fetched)
    return files, files.size, found


def _planes(files: SkycellFiles) -> dict[str, BandPlanes]:
    """Return the opened planes of each band."""
    return {
        band: BandPlanes(
            image=files.planes[band, "image"].stack,
            variance=files.planes[band, "variance"].stack,
            mask=files.planes[band, "mask"].stack,
        )
        for band in files.bands
    }


def _provenance(files: SkycellFiles, mixed: dict[str, tuple[str, ...]]) -> Provenance:
    """Return what the atlas records of a reduction's inputs; the reduction adds to it."""
    bands = {}
    for band in files.bands:
        image = files.planes[band, "image"].stack
        trio: dict[str, Fetched] = {plane: files.planes[band, plane] for plane in PLANES}
        origins = {k: FileOrigin(f.source, f.sha256, f.size) for k, f in trio.items()}
        contradictions = tuple(mixed.get(band, ()))
        bands[band] = BandOrigin(image.exptime_s, image.mjd_obs, 0, origins, contradictions)
    return Provenance(bands, files.absent)


def _with_provenance(reduced: ReducedSkycell, meta: Provenance) -> ReducedSkycell:
    """Return a reduction whose metadata tell of its inputs."""
    bands = {
        band: replace(origin, files=meta.bands[band].files, mixed=meta.bands[band].mixed)
        for band, origin in reduced.meta.bands.items()
    }
    invalid = int(np.count_nonzero(invalid_bands(reduced.valid)))
    return replace(reduced, meta=replace(meta, bands=bands, invalid_cells=invalid))
