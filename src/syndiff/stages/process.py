"""The process stage: reduced skycells become the scene of a CCD."""

from __future__ import annotations

import functools
import logging
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from syndiff.config import BANDS
from syndiff.errors import RenderingError
from syndiff.ffi.tiles import MARGIN_PX, TileGrid
from syndiff.scenes.combine import (
    CombineConfig,
    Contribution,
    combine,
    contribute_nothing,
    invalid_bands,
)
from syndiff.scenes.metadata import write_scene_metadata
from syndiff.scenes.scene_inputs import SceneInputs, SceneJob
from syndiff.scenes.store import SceneStore
from syndiff.sky.chosen_tessellation import read_tessellation
from syndiff.sky.pixelmap import PixelMap
from syndiff.sky.sharing import Sharing, sharing_of
from syndiff.stages.stage import StageReport, clock, release_memory, run_tasks
from syndiff.stars.replacement import known_cells
from syndiff.stars.scene_stars import write_replaced_stars
from syndiff.storage.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from syndiff.sky.mapping import Member
    from syndiff.sky.pixelmap import Lattice
    from syndiff.sky.tessellation import Skycell
    from syndiff.stages.stage import StageRun
    from syndiff.stars.skycell_stars import PlacedStars
    from syndiff.window import Window

__all__ = ["process_stage"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_CORE_S = 0.1
"""Of a tile, its skycells included."""


@dataclass(frozen=True)
class _RowsTask:
    """Neighbouring rows of tiles, for one worker."""

    job: SceneJob
    stamp: str
    part: frozenset[str]
    """Names of the skycells that the tiles are made from, wherever they lie."""
    first_column: int
    rows: tuple[tuple[int, tuple[int, ...]], ...]
    """Row of tiles and the digest of each of its tiles' inputs."""

    def __str__(self) -> str:
        return f"rows {self.rows[0][0]}-{self.rows[-1][0]} of tiles"


def process_stage(
    job: SceneJob, *, roi: Window | None, run: StageRun, overwrite: bool = False
) -> StageReport:
    """Render the scene of a CCD, or the part of it that a region of interest needs.

    Parameters
    ----------
    job : SceneJob
        What to make.
    roi : Window, optional
        FFI pixels; None for the whole science window.
    run : StageRun
        Executor, progress and policy.
    overwrite : bool
        Render again what is there already.

    Returns
    -------
    StageReport
        What was done.

    Raises
    ------
    MissingInputError
        If an earlier stage's product is not there.
    RenderingError
        If a skycell failed to arrive and partial results were not asked for, or a tile fails.
    ConfigError
        If the response can't be rendered.
    """
    with clock() as seconds, locked(job.layout.scene):
        inputs = SceneInputs.read(job)
        window = roi or inputs.mapping.frame.science
        grid = TileGrid(inputs.mapping.frame.science)
        tiles = grid.covering(window)
        inputs.check_complete(window, allow_partial=run.allow_partial)
        renderer = inputs.renderer()
        store = SceneStore(job.layout.scene, grid.science)
        if overwrite:
            job.layout.scene.remove()
        store.create(inputs.scene_digest, inputs.describe(renderer))
        before = inputs.record(store, renderer)
        part = inputs.part(window, before)
        wanted = inputs.tile_digests(tiles, part)
        todo = (wanted != store.rendered()[tiles.slices]) & ~inputs.kept_tiles(window, before)
        rows = [
            (tiles.y0 + int(k), tuple(wanted[k].tolist())) for k in np.flatnonzero(todo.any(axis=1))
        ]
        blocks = _blocks(rows, run.executor.workers)
        tasks = [_RowsTask(job, inputs.stamp, part, tiles.x0, block) for block in blocks]
        outcomes = run_tasks(run, "process", _render_rows, tasks, core_s=_CORE_S * todo.sum())
        failures = [outcome for outcome in outcomes if outcome.error]
        _worker.cache_clear()  # what this process holds, if it rendered itself
        release_memory()
        if failures:
            raise RenderingError(
                f"{len(failures)} of {len(tasks)} blocks of tiles failed; {failures[0].task}: "
                f"{failures[0].error}"
            )
        windows = [window, *before.windows]
        metadata = inputs.metadata(renderer, store.rendered(), before, part, windows)
        write_scene_metadata(job.layout, metadata)
        store.tell_windows(metadata.windows)
        if metadata.stars is not None:
            write_replaced_stars(job.layout, metadata.stars)
    return StageReport(
        stage="process",
        seconds=seconds(),
        skipped=not rows,
        partial=inputs.is_partial(window),
        counts={"tiles rendered": int(todo.sum()), "tiles kept": int((~todo).sum())},
    )


def _blocks(rows: Sequence[T], workers: int) -> list[tuple[T, ...]]:
    """Cut rows into runs of neighbours, one for each worker: neighbours share skycells.

    Those on a border are read twice: of a whole CCD 5 % with two workers, 16 % with four. With
    three runs for each worker it would be 28 % and 58 %.
    """
    size = 1 if workers == 1 else max(1, math.ceil(len(rows) / workers))
    return [tuple(rows[k : k + size]) for k in range(0, len(rows), size)]


_KEPT_INVALID = 160
"""Skycells of which it is kept what they lack."""


def _lacking(plane: Callable[[str], NDArray[Any]], placed: PlacedStars | None) -> NDArray[np.uint8]:
    """Return which bands a skycell lacks, cell by cell, once stars are put back."""
    valid = plane("valid")
    if placed is not None:
        valid = known_cells(plane("mask"), valid, placed)
    return invalid_bands(valid)


class _Worker:
    """A process's part of the stage: what it keeps from one row of tiles to the next."""

    def __init__(self, job: SceneJob, part: frozenset[str]) -> None:
        self._inputs = SceneInputs.read(job)
        self._part = part
        self._tessellation = read_tessellation(job.layout, self._inputs.mapping.tessellation_digest)
        self._store = SceneStore(job.layout.scene, self._inputs.mapping.frame.science)
        self._renderer = self._inputs.renderer()
        self._combine = CombineConfig(
            job.config.background,
            job.reduction.ignore_mask_bits,
            diffuse_arcsec=job.config.diffuse_arcsec,
            star_scale_mag=job.config.star_scale_mag,
        )
        self._held: dict[str, tuple[Lattice, Contribution]] = {}
        self._invalid: dict[str, NDArray[np.uint8]] = {}

    def render(self, row: int, first_column: int, digests: tuple[int, ...]) -> None:
        """Render and store neighbouring tiles of a row."""
        columns = range(first_column, first_column + len(digests))
        window = self._renderer.window(row, columns).grown(MARGIN_PX)
        around = self._inputs.mapping.mapped_under(window)
        members = [member for member in around if member.skycell.name in self._part]
        names = {member.skycell.name for member in members}
        for name in set(self._held) - names:
            del self._held[name]
        skycells = map(self._contribution, members)
        strip = self._renderer.render(row, columns, skycells, goes_on=True)
        self._renderer.forget_rows_before(row)
        self._store.write(row, columns, strip, np.array(digests, np.uint64))

    def _contribution(self, member: Member) -> tuple[Lattice, Contribution]:
        """Return where a member lands and what it adds; read once while rows need it."""
        skycell = member.skycell
        if skycell.name not in self._held:
            lattice = PixelMap.between(skycell, self._inputs.mapping.frame).lattice()
            sharing = sharing_of(self._tessellation, skycell)
            self._held[skycell.name] = lattice, self._contribute(member, sharing)
        return self._held[skycell.name]

    def _contribute(self, member: Member, sharing: Sharing) -> Contribution:
        skycell = member.skycell
        holes = self._holes(sharing)
        state = self._inputs.state(skycell.name)
        if state != "reduced":
            failed = state != "absent"
            return contribute_nothing(skycell, sharing=sharing, holes=holes, failed=failed)
        atlas = self._inputs.atlas
        key = atlas.key(skycell, self._inputs.job.reduction)
        reduced = atlas.read(key, with_left_out=False)
        stars = self._inputs.stars
        placed = stars.place(skycell, reduced.meta) if stars is not None else None
        if reduced.meta.invalid_cells:
            plane = functools.partial(getattr, reduced)
            self._keep_invalid(skycell.name, _lacking(plane, placed))
        made = combine(
            reduced,
            skycell=skycell,
            sharing=sharing,
            holes=holes,
            config=self._combine,
            stars=placed,
        )
        if stars is not None:
            stars.record(skycell, made)
        return made

    def _holes(self, sharing: Sharing) -> dict[str, NDArray[np.uint8] | int]:
        """Return which neighbours lack valid data, and where.

        A neighbour that is no part of what is rendered reaches no pixel that counts.
        """
        holes: dict[str, NDArray[np.uint8] | int] = {}
        for name in sharing.neighbours:
            if name not in self._part:
                continue
            if self._inputs.state(name) != "reduced":
                holes[name] = (1 << len(BANDS)) - 1
            elif self._inputs.atlas_record(self._tessellation[name]).meta.invalid_cells:
                holes[name] = self._invalid_of(self._tessellation[name])
        return holes

    def _invalid_of(self, skycell: Skycell) -> NDArray[np.uint8]:
        """Return which bands a reduced skycell lacks, cell by cell; read if it is not kept."""
        cells = self._invalid.get(skycell.name)
        if cells is None:
            atlas, stars = self._inputs.atlas, self._inputs.stars
            key = atlas.key(skycell, self._inputs.job.reduction)
            meta = self._inputs.atlas_record(skycell).meta
            placed = stars.place(skycell, meta) if stars is not None else None
            cells = _lacking(functools.partial(atlas.read_plane, key), placed)
        self._keep_invalid(skycell.name, cells)
        return cells

    def _keep_invalid(self, name: str, cells: NDArray[np.uint8]) -> None:
        """Keep which bands a skycell lacks for its neighbours; forget what was long not asked for.

        A row of tiles meets some 100 skycells, 0.7 MB each, that its skycells have as neighbours.
        """
        self._invalid.pop(name, None)
        self._invalid[name] = cells
        while len(self._invalid) > _KEPT_INVALID:
            del self._invalid[next(iter(self._invalid))]


@functools.lru_cache(maxsize=1)
def _worker(job: SceneJob, stamp: str, part: frozenset[str]) -> _Worker:  # noqa: ARG001
    # Another stamp, another worker: the inputs have changed.
    return _Worker(job, part)


_RENDERING = threading.Lock()
"""One task renders at a time in a process: more would share neither memory nor skycells."""


def _render_rows(task: _RowsTask) -> int:
    """Render rows of tiles; returns how many."""
    with _RENDERING:
        worker = _worker(task.job, task.stamp, task.part)
        for row, digests in task.rows:
            worker.render(row, task.first_column, digests)
    return len(task.rows)
