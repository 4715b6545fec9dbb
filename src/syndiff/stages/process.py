"""The process stage: reduced skycells become the scene of a CCD."""

from __future__ import annotations

import functools
import logging
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from syndiff import __version__
from syndiff.config import BAND_WEIGHTS, BANDS, digest
from syndiff.errors import MissingInputError, RenderingError
from syndiff.ffi.tiles import MARGIN_PX, TileGrid
from syndiff.locks import locked
from syndiff.scenes.combine import (
    CombineConfig,
    Contribution,
    combine,
    contribute_nothing,
    invalid_bands,
)
from syndiff.scenes.metadata import write_scene_metadata
from syndiff.scenes.prf import response_for
from syndiff.scenes.scene import SceneRenderer
from syndiff.scenes.store import SCENE_FORMAT, SceneStore
from syndiff.sky.catalogue import read_tessellation
from syndiff.sky.mapping_files import read_mapping
from syndiff.sky.pixelmap import PixelMap
from syndiff.sky.sharing import Sharing, sharing_of
from syndiff.stacks.atlas import Atlas
from syndiff.stacks.inventory import Inventory
from syndiff.stages.stage import StageReport, clock, release_memory, run_tasks
from syndiff.stars.inputs import StarInput, write_replaced_stars
from syndiff.stars.replacement import known_cells
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from syndiff.config import ReductionConfig, SceneConfig
    from syndiff.layout import Layout
    from syndiff.sky.mapping import Mapping, Member
    from syndiff.sky.pixelmap import Lattice
    from syndiff.sky.tessellation import Skycell
    from syndiff.stacks.atlas import AtlasRecord
    from syndiff.stacks.inventory import InventoryEntry
    from syndiff.stages.stage import StageRun
    from syndiff.stars.skycell_stars import PlacedStars

__all__ = ["SceneJob", "process_stage"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_CORE_S = 0.1
"""Of a tile, its skycells included."""


@dataclass(frozen=True)
class SceneJob:
    """What every task of the stage shares; small, so that it can go to workers.

    Parameters
    ----------
    layout : Layout
        Where everything lies.
    reduction : ReductionConfig
        Which reduction of the skycells.
    config : SceneConfig
        How they become a scene.
    limit : int, optional
        Use the skycells of the first projections only.
    """

    layout: Layout
    reduction: ReductionConfig
    config: SceneConfig
    limit: int | None = None


@dataclass(frozen=True)
class _RowsTask:
    """Neighbouring rows of tiles, for one worker."""

    job: SceneJob
    stamp: str
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
        inputs = _Inputs.read(job)
        window = roi or inputs.mapping.frame.science
        grid = TileGrid(inputs.mapping.frame.science)
        tiles = grid.covering(window)
        inputs.check_complete(grid.inputs(window), allow_partial=run.allow_partial)
        renderer = inputs.renderer()
        store = SceneStore(job.layout.scene, grid.science)
        if overwrite:
            job.layout.scene.remove()
        store.create(inputs.scene_digest, inputs.describe(renderer))
        wanted = inputs.tile_digests(tiles)
        todo = wanted != store.rendered()[tiles.slices]
        rows = [
            (tiles.y0 + int(k), tuple(wanted[k].tolist())) for k in np.flatnonzero(todo.any(axis=1))
        ]
        blocks = _blocks(rows, run.executor.workers)
        tasks = [_RowsTask(job, inputs.stamp, tiles.x0, block) for block in blocks]
        outcomes = run_tasks(run, "process", _render_rows, tasks, core_s=_CORE_S * todo.sum())
        failures = [outcome for outcome in outcomes if outcome.error]
        _worker.cache_clear()  # what this process holds, if it rendered itself
        release_memory()
        if failures:
            raise RenderingError(
                f"{len(failures)} of {len(tasks)} blocks of tiles failed; {failures[0].task}: "
                f"{failures[0].error}"
            )
        metadata = inputs.metadata(renderer, store.rendered())
        write_scene_metadata(job.layout, metadata)
        if metadata["stars"] is not None:
            write_replaced_stars(job.layout, metadata["stars"])
    return StageReport(
        stage="process",
        seconds=seconds(),
        skipped=not rows,
        partial=inputs.is_partial(grid.inputs(window)),
        counts={"tiles rendered": int(todo.sum()), "tiles kept": int((~todo).sum())},
    )


def _blocks(rows: Sequence[T], workers: int) -> list[tuple[T, ...]]:
    """Cut rows into runs of neighbours, one for each worker: neighbours share skycells.

    Those on a border are read twice: of a whole CCD 5 % with two workers, 16 % with four. With
    three runs for each worker it would be 28 % and 58 %.
    """
    size = 1 if workers == 1 else max(1, math.ceil(len(rows) / workers))
    return [tuple(rows[k : k + size]) for k in range(0, len(rows), size)]


class _Inputs:
    """What the stage reads: mapping, inventory and atlas records of one CCD."""

    def __init__(self, job: SceneJob, mapping: Mapping, entries: dict[str, InventoryEntry]) -> None:
        self.job = job
        self.mapping = mapping
        self.entries = entries
        self.atlas = Atlas(job.layout.atlas, job.layout.detector)
        self.stars = (
            StarInput.read(job.layout, mapping.reference) if job.config.stars != "none" else None
        )
        self._records: dict[str, AtlasRecord] = {}
        self._touching: dict[tuple[int, int], tuple[Member, ...]] = {}
        self.members = self._limited(job.limit)
        self.kept = frozenset(member.skycell.name for member in self.members)

    @classmethod
    def read(cls, job: SceneJob) -> _Inputs:
        """Read them for a job."""
        mapping = read_mapping(job.layout)
        return cls(job, mapping, Inventory.read(job.layout.inventory, job.reduction).entries)

    @property
    def stamp(self) -> str:
        """Digest of the inputs, by which workers notice that they changed."""
        content = [[e.name, e.state, e.content_digest] for e in self.entries.values()]
        stars = [self.stars.year, self.stars.stars.digest] if self.stars is not None else []
        return digest([self.scene_digest, content, stars])

    def record(self, skycell: Skycell) -> AtlasRecord:
        """Return what the atlas says of a reduced skycell."""
        if skycell.name not in self._records:
            key = self.atlas.key(skycell, self.job.reduction)
            self._records[skycell.name] = self.atlas.read_record(key)
        return self._records[skycell.name]

    def _limited(self, limit: int | None) -> tuple[Member, ...]:
        if limit is None:
            return self.mapping.members
        projections = sorted({m.skycell.projection_cell for m in self.mapping.members})[:limit]
        return tuple(m for m in self.mapping.members if m.skycell.projection_cell in projections)

    def state(self, name: str) -> str:
        """Return the inventory's state, 'limited' where --limit leaves it out, or 'unknown'."""
        if name not in self.kept:
            return "limited"
        return self.entries[name].state if name in self.entries else "unknown"

    def check_complete(self, window: Window, *, allow_partial: bool) -> None:
        """Raise unless every skycell that the window needs is here or known to be absent."""
        needed = [
            m.skycell.name for m in self.mapping.touching(window) if m.skycell.name in self.kept
        ]
        arguments = self.job.layout.detector.arguments
        unknown = [name for name in needed if name not in self.entries]
        if unknown:
            raise MissingInputError(
                f"{len(unknown)} of {len(needed)} skycells are not in the inventory yet, "
                f"{unknown[0]} among them: run `syndiff download {arguments}` first, with the same "
                "--roi or --target, --background and --ignore-mask-bits"
            )
        failed = [name for name in needed if self.entries[name].state == "failed"]
        if failed and not allow_partial:
            raise RenderingError(
                f"{len(failed)} of {len(needed)} skycells failed, {failed[0]} among them "
                f"({self.entries[failed[0]].message}): run `syndiff download {arguments}` "
                "again, or pass --allow-partial for templates that are flagged there"
            )

    def is_partial(self, window: Window) -> bool:
        """Tell whether a skycell that the window needs is left out."""
        names = (m.skycell.name for m in self.mapping.touching(window))
        return any(self.state(name) in {"failed", "limited"} for name in names)

    def renderer(self) -> SceneRenderer:
        """Return what renders the tiles."""
        frame = self.mapping.frame
        response = response_for(frame, self.job.config, self.job.layout.pixel_response)
        return SceneRenderer(frame, response)

    @functools.cached_property
    def scene_digest(self) -> str:
        """Digest of what every tile depends on."""
        return digest(
            {
                "format": SCENE_FORMAT,
                "frame": self.mapping.frame.digest,
                "tessellation": self.mapping.tessellation_digest,
                "config": self.job.config.to_dict(),
                "reduction": self.job.reduction.to_dict(),
                "weights": dict(zip(BANDS, BAND_WEIGHTS, strict=True)),
            }
        )

    def tile_digests(self, tiles: Window) -> NDArray[np.uint64]:
        """Return the digest of each tile's inputs; never zero."""
        out = np.empty(tiles.shape, np.uint64)
        for j, i in np.ndindex(tiles.shape):
            out[j, i] = self._tile_digest(tiles.y0 + j, tiles.x0 + i)
        return out

    def _tile_digest(self, row: int, column: int) -> int:
        skycells = [member.skycell for member in self._tile_members(row, column)]
        content = [[c.name, self.state(c.name), self._content(c.name)] for c in skycells]
        if self.stars is not None:
            content += [[self.stars.digest(skycell)] for skycell in skycells]
        return int(digest([self.scene_digest, content]), 16) or 1

    def _tile_members(self, row: int, column: int) -> tuple[Member, ...]:
        grid = TileGrid(self.mapping.frame.science)
        tile = grid.pixels(Window(column, row, column + 1, row + 1))
        if (row, column) not in self._touching:
            self._touching[row, column] = self.mapping.touching(tile.grown(MARGIN_PX))
        return self._touching[row, column]

    def _content(self, name: str) -> str:
        return self.entries[name].content_digest if self.state(name) == "reduced" else ""

    def describe(self, renderer: SceneRenderer) -> dict[str, Any]:
        """Return what scene store and metadata both record."""
        detector = self.mapping.frame.detector
        return {
            "software": f"syndiff {__version__}",
            "sector": detector.sector,
            "camera": detector.camera,
            "ccd": detector.ccd,
            "ffi": self.mapping.reference.name,
            "frame_digest": self.mapping.frame.digest,
            "config": self.job.config.to_dict(),
            "reduction": self.job.reduction.to_dict(),
            "response": {
                **renderer.response.provenance,
                "nodes_per_px": renderer.nodes_per_px,
                "margin_px": renderer.margin_px,
            },
        }

    def metadata(self, renderer: SceneRenderer, rendered: NDArray[np.uint64]) -> dict[str, Any]:
        """Return the content of `cell_metadata.json`.

        It tells of all tiles that were rendered from what the inventory holds now, in whatever run.
        """
        tiles = {
            (int(row), int(column)): int(rendered[row, column])
            for row, column in np.argwhere(rendered != 0)
            if self._tile_digest(row, column) == rendered[row, column]
        }
        used = {member.skycell.name for tile in tiles for member in self._tile_members(*tile)}
        return {
            **self.describe(renderer),
            "digest": self.scene_digest,
            "tiles": [[*tile, f"{number:016x}"] for tile, number in tiles.items()],
            "mapped": len(self.mapping.members),
            "stars": self.stars.describe(self.mapping, used) if self.stars is not None else None,
            "skycells": [
                self._describe_member(member)
                for member in self.mapping.members
                if member.skycell.name in used
            ],
        }

    def _describe_member(self, member: Member) -> dict[str, Any]:
        name = member.skycell.name
        state = self.state(name)
        entry = self.entries.get(name)
        record = self.record(member.skycell) if state == "reduced" else None
        return {
            "name": name,
            "role": member.role,
            "state": state,
            "digest": self._content(name),
            "message": entry.message if entry is not None else "",
            "noise_correlation": record.noise_correlation if record is not None else None,
            "star_scale": self._star_scale(member.skycell) if record is not None else None,
            "bands": [_describe_band(band, state, record) for band in BANDS],
        }

    def _star_scale(self, skycell: Skycell) -> dict[str, Any] | None:
        """Return the scale of the stars put back in a skycell, as its record has it."""
        recorded = self.stars.recorded(skycell) if self.stars is not None else None
        return recorded["scale"] if recorded is not None else None


def _describe_band(band: str, state: str, record: AtlasRecord | None) -> dict[str, Any]:
    """Return one row of the inputs: where a band came from, or why it isn't there."""
    found = record.meta["bands"].get(band) if record is not None else None
    image = found["files"]["image"] if found is not None else {}
    return {
        "band": band,
        "source": image.get("source", ""),
        "sha256": image.get("sha256", ""),
        "mjd_obs": found["mjd_obs"] if found is not None else None,
        "exptime_s": found["exptime_s"] if found is not None else None,
        "state": "absent" if record is not None and found is None else state,
    }


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

    def __init__(self, job: SceneJob) -> None:
        self._inputs = _Inputs.read(job)
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
        members = self._inputs.mapping.touching(window)
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
        if reduced.meta["invalid_cells"]:
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

        A neighbour that is not in the inventory touches nothing that is rendered.
        """
        holes: dict[str, NDArray[np.uint8] | int] = {}
        for name in sharing.neighbours:
            if name not in self._inputs.entries:
                continue
            if self._inputs.state(name) != "reduced":
                holes[name] = (1 << len(BANDS)) - 1
            elif self._inputs.record(self._tessellation[name]).meta["invalid_cells"]:
                holes[name] = self._invalid_of(self._tessellation[name])
        return holes

    def _invalid_of(self, skycell: Skycell) -> NDArray[np.uint8]:
        """Return which bands a reduced skycell lacks, cell by cell; read if it is not kept."""
        cells = self._invalid.get(skycell.name)
        if cells is None:
            atlas, stars = self._inputs.atlas, self._inputs.stars
            key = atlas.key(skycell, self._inputs.job.reduction)
            meta = self._inputs.record(skycell).meta
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
def _worker(job: SceneJob, stamp: str) -> _Worker:  # noqa: ARG001 - another stamp, another worker
    return _Worker(job)


_RENDERING = threading.Lock()
"""One task renders at a time in a process: more would share neither memory nor skycells."""


def _render_rows(task: _RowsTask) -> int:
    """Render rows of tiles; returns how many."""
    with _RENDERING:
        worker = _worker(task.job, task.stamp)
        for row, digests in task.rows:
            worker.render(row, task.first_column, digests)
    return len(task.rows)
