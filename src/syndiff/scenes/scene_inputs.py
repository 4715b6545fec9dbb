"""What a scene is made from: a CCD's skycells as they are now, and which tiles hold them."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from syndiff import __version__
from syndiff.config import BAND_WEIGHTS, BANDS, digest
from syndiff.errors import MissingInputError, RenderingError
from syndiff.ffi.tiles import MARGIN_PX, TileGrid
from syndiff.scenes.metadata import (
    BandRow,
    SceneMetadata,
    SceneOrigin,
    SceneRecord,
    SkycellRow,
    TileRow,
    read_scene_metadata,
)
from syndiff.scenes.scene import SceneRenderer
from syndiff.scenes.store import SCENE_FORMAT
from syndiff.stacks.atlas import Atlas
from syndiff.stacks.inventory import Inventory
from syndiff.stacks.provenance import FileOrigin
from syndiff.stars.scene_stars import StarInput
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from syndiff.layout import Layout
    from syndiff.scenes.prf import Response
    from syndiff.scenes.store import SceneStore
    from syndiff.settings import Settings
    from syndiff.sky.mapping import Mapping, Member
    from syndiff.sky.tessellation import Skycell
    from syndiff.stacks.atlas import AtlasRecord
    from syndiff.stars.scale import StarScale

__all__ = ["SceneInputs"]


class SceneInputs:
    """What a scene is made from: a CCD's mapping, inventory, atlas records and stars, as they are.

    Parameters
    ----------
    layout : Layout
        The data root's paths.
    settings : Settings
        Which reduction, how it becomes a scene, and from how many projections.
    mapping : Mapping
        The CCD's skycells.
    response : Response
        The response of its pixels.
    """

    def __init__(
        self, layout: Layout, settings: Settings, mapping: Mapping, response: Response
    ) -> None:
        self.settings = settings
        self.mapping = mapping
        self.entries = Inventory.read(layout.inventory, settings).entries
        self.atlas = Atlas(layout.atlas, layout.detector)
        self.stars = StarInput.read(layout, mapping.reference) if settings.stars != "none" else None
        self._layout = layout
        self._response = response
        self._config = settings.scene(response.digest).to_dict()
        self._grid = TileGrid(mapping.frame.science)
        self._records: dict[str, AtlasRecord] = {}
        self._around: dict[tuple[int, int], tuple[Member, ...]] = {}
        self.members = self._limited(settings.limit)
        self.kept = frozenset(member.skycell.name for member in self.members)

    @property
    def stamp(self) -> str:
        """Digest of the inputs, by which workers notice that they changed."""
        content = [[e.name, e.state, e.content_digest] for e in self.entries.values()]
        stars = [self.stars.year, self.stars.stars.digest] if self.stars is not None else []
        return digest([self.scene_digest, content, stars])

    def atlas_record(self, skycell: Skycell) -> AtlasRecord:
        """Return what the atlas says of a reduced skycell.

        Parameters
        ----------
        skycell : Skycell
            The skycell.

        Returns
        -------
        AtlasRecord
            Its record.
        """
        if skycell.name not in self._records:
            key = self.atlas.key(skycell, self.settings)
            self._records[skycell.name] = self.atlas.read_record(key)
        return self._records[skycell.name]

    def _limited(self, limit: int | None) -> tuple[Member, ...]:
        if limit is None:
            return self.mapping.members
        projections = sorted({m.skycell.projection_cell for m in self.mapping.members})[:limit]
        return tuple(m for m in self.mapping.members if m.skycell.projection_cell in projections)

    def state(self, name: str) -> str:
        """Return the state of a skycell.

        Parameters
        ----------
        name : str
            Of the skycell.

        Returns
        -------
        str
            The inventory's, 'limited' where `limit` leaves it out, or 'unknown'.
        """
        if name not in self.kept:
            return "limited"
        return self.entries[name].state if name in self.entries else "unknown"

    def needed(self, window: Window) -> list[str]:
        """Return the names of the skycells whose light templates of a window need.

        Parameters
        ----------
        window : Window
            FFI pixels.

        Returns
        -------
        list of str
            In order.
        """
        inputs = self._grid.inputs(window, self._response.reach_px)
        return [member.skycell.name for member in self.mapping.touching(inputs)]

    def check_complete(self, window: Window, *, allow_partial: bool) -> None:
        """Raise unless every skycell that a window needs is reduced or known to be absent.

        Parameters
        ----------
        window : Window
            FFI pixels.
        allow_partial : bool
            Go on without those that failed.

        Raises
        ------
        MissingInputError, RenderingError
            If some are not in the inventory, or failed.
        """
        needed = [name for name in self.needed(window) if name in self.kept]
        arguments = self._layout.detector.arguments
        unknown = [name for name in needed if name not in self.entries]
        if unknown:
            raise MissingInputError(
                f"{len(unknown)} of {len(needed)} skycells are not in the inventory yet, "
                f"{unknown[0]} among them: run `syndiff download {arguments}` first, with the same "
                "`roi` or `target`, `background` and `ignore_mask_bits`"
            )
        failed = [name for name in needed if self.entries[name].state == "failed"]
        if failed and not allow_partial:
            raise RenderingError(
                f"{len(failed)} of {len(needed)} skycells failed, {failed[0]} among them "
                f"({self.entries[failed[0]].message}): run `syndiff download {arguments}` "
                "again, or pass `allow_partial` for templates that are flagged there"
            )

    def is_partial(self, window: Window) -> bool:
        """Tell whether a skycell that a window needs is left out.

        Parameters
        ----------
        window : Window
            FFI pixels.

        Returns
        -------
        bool
            True if one is.
        """
        return any(self.state(name) in {"failed", "limited"} for name in self.needed(window))

    def renderer(self) -> SceneRenderer:
        """Return what renders the tiles.

        Returns
        -------
        SceneRenderer
            With the response of the job.
        """
        return SceneRenderer(self.mapping.frame, self._response)

    def record(self, store: SceneStore, renderer: SceneRenderer) -> SceneRecord:
        """Return the record of the existing scene; None if it was another one.

        Parameters
        ----------
        store : SceneStore
            The scene.
        renderer : SceneRenderer
            From `renderer`.

        Returns
        -------
        SceneRecord
            The record.
        """
        content = None
        with contextlib.suppress(MissingInputError, RenderingError):  # written anew at the end
            content = read_scene_metadata(self._layout)
        if content is None or content.digest != self.scene_digest:
            content = self._metadata(renderer, [], [], set())
        return SceneRecord(content, self.mapping, store.rendered())

    def part(self, window: Window, before: SceneRecord) -> frozenset[str]:
        """Return the skycells to render a window's tiles from.

        Parameters
        ----------
        window : Window
            FFI pixels.
        before : SceneRecord
            From `record`.

        Returns
        -------
        frozenset of str
            All that it needs, and those that its tiles were rendered from before: what they hold
            of other windows they keep.
        """
        held: set[str] = set().union(*(before.part(*tile) for tile in self._tiles(window)))
        mapped = {member.skycell.name for member in self.mapping.members}
        known = {name for name in held & mapped if self.state(name) != "unknown"}
        return frozenset(known.union(self.needed(window)))

    def kept_tiles(self, window: Window, before: SceneRecord) -> NDArray[np.bool_]:
        """Return which of a window's tiles hold all of it, from skycells that haven't changed.

        Parameters
        ----------
        window : Window
            FFI pixels.
        before : SceneRecord
            From `record`.

        Returns
        -------
        (rows, columns) bool
            True where a tile can be kept.
        """
        needed = frozenset(self.needed(window))
        tiles = self._tiles(window)
        held = [needed <= before.part(*tile) and self._is_current(tile, before) for tile in tiles]
        return np.array(held).reshape(self._grid.covering(window).shape)

    def _is_current(self, tile: tuple[int, int], before: SceneRecord) -> bool:
        return self._tile_digest(*tile, before.part(*tile)) == int(before.rendered[tile])

    def _tiles(self, window: Window) -> list[tuple[int, int]]:
        """Return row and column of each tile that templates of a window are sampled from."""
        tiles = self._grid.covering(window)
        return [(tiles.y0 + j, tiles.x0 + i) for j, i in np.ndindex(tiles.shape)]

    @functools.cached_property
    def scene_digest(self) -> str:
        """Digest of what every tile depends on."""
        return digest(
            {
                "format": SCENE_FORMAT,
                "frame": self.mapping.frame.digest,
                "tessellation": self.mapping.tessellation_digest,
                "config": self._config,
                "reduction": self.settings.reduction.to_dict(),
                "weights": dict(zip(BANDS, BAND_WEIGHTS, strict=True)),
            }
        )

    def tile_digests(self, tiles: Window, part: frozenset[str]) -> NDArray[np.uint64]:
        """Return the digest of each tile's inputs.

        Parameters
        ----------
        tiles : Window
            Range of tile columns and rows.
        part : frozenset of str
            From `part`.

        Returns
        -------
        (rows, columns) uint64
            Never zero.
        """
        out = np.empty(tiles.shape, np.uint64)
        for j, i in np.ndindex(tiles.shape):
            out[j, i] = self._tile_digest(tiles.y0 + j, tiles.x0 + i, part)
        return out

    def _tile_digest(self, row: int, column: int, part: frozenset[str]) -> int:
        members = self._tile_members(row, column, part)
        content = [[m.skycell.name, self._identity(m.skycell)] for m in members]
        return int(digest([self.scene_digest, content]), 16) or 1

    def _tile_members(self, row: int, column: int, part: frozenset[str]) -> list[Member]:
        """Return the skycells of a part of the sky that reach into a tile's grid."""
        if (row, column) not in self._around:
            tile = self._grid.pixels(Window(column, row, column + 1, row + 1))
            self._around[row, column] = self.mapping.mapped_under(tile.grown(MARGIN_PX))
        return [m for m in self._around[row, column] if m.skycell.name in part]

    def _identity(self, skycell: Skycell) -> str:
        """Return the digest of a skycell's contribution to the scene."""
        found = [self.state(skycell.name), self._content(skycell.name)]
        return digest(found + ([self.stars.digest(skycell)] if self.stars is not None else []))

    def _content(self, name: str) -> str:
        return self.entries[name].content_digest if self.state(name) == "reduced" else ""

    def describe(self, renderer: SceneRenderer) -> SceneOrigin:
        """Return what the scene store and the metadata both record.

        Parameters
        ----------
        renderer : SceneRenderer
            From `renderer`.

        Returns
        -------
        SceneOrigin
            The record.
        """
        detector = self.mapping.frame.detector
        return SceneOrigin(
            software=f"syndiff {__version__}",
            sector=detector.sector,
            camera=detector.camera,
            ccd=detector.ccd,
            ffi=self.mapping.reference.name,
            frame_digest=self.mapping.frame.digest,
            config=self._config,
            reduction=self.settings.reduction,
            response=renderer.response.record(renderer.nodes_per_px, renderer.margin_px),
        )

    def metadata(
        self,
        renderer: SceneRenderer,
        rendered: NDArray[np.uint64],
        before: SceneRecord,
        part: frozenset[str],
        windows: Sequence[Window],
    ) -> SceneMetadata:
        """Return the content of `cell_metadata.json`.

        Parameters
        ----------
        renderer : SceneRenderer
            From `renderer`.
        rendered : (rows, columns) uint64
            Digests of the tiles in the store.
        before : SceneRecord
            From `record`.
        part : frozenset of str
            From `part`.
        windows : sequence of Window
            Those that the scene may hold.

        Returns
        -------
        SceneMetadata
            It lists all tiles that were rendered from what the inventory holds now, in whatever
            run, and of the windows that these hold, none within another.
        """
        parts: dict[frozenset[str], int] = {}
        tiles: list[TileRow] = []
        used: set[str] = set()
        for row, column in np.argwhere(rendered != 0).tolist():
            for names in (part, before.part(row, column)):
                number = self._tile_digest(row, column, names)
                if number == rendered[row, column]:
                    index = parts.setdefault(names, len(parts))
                    tiles.append(TileRow(row, column, f"{number:016x}", index))
                    used |= {m.skycell.name for m in self._tile_members(row, column, names)}
                    break
        content = self._metadata(renderer, list(parts), tiles, used)
        record = SceneRecord(content, self.mapping, rendered)
        held = [w for w in dict.fromkeys(windows) if record.holds(w)]
        largest = sorted(w for w in held if not any(o != w and o.contains(w) for o in held))
        return replace(content, windows=tuple((w.x0, w.y0, w.x1, w.y1) for w in largest))

    def _metadata(
        self,
        renderer: SceneRenderer,
        parts: Sequence[frozenset[str]],
        tiles: Sequence[TileRow],
        used: set[str],
    ) -> SceneMetadata:
        """Return the content of `cell_metadata.json`, but for the windows."""
        members = self.mapping.members
        return SceneMetadata(
            **vars(self.describe(renderer)),
            digest=self.scene_digest,
            parts=tuple(tuple(sorted(names)) for names in parts),
            tiles=tuple(tiles),
            mapped=len(members),
            stars=self.stars.describe(self.mapping, used) if self.stars is not None else None,
            skycells=tuple(self._row(m) for m in members if m.skycell.name in used),
            windows=(),
        )

    def _row(self, member: Member) -> SkycellRow:
        """Return the metadata of one skycell."""
        name = member.skycell.name
        state = self.state(name)
        entry = self.entries.get(name)
        record = self.atlas_record(member.skycell) if state == "reduced" else None
        return SkycellRow(
            name=name,
            role=member.role,
            state=state,
            digest=self._content(name),
            inputs=self._identity(member.skycell),
            message=entry.message if entry is not None else "",
            noise_correlation=record.noise_correlation if record is not None else None,
            star_scale=self._star_scale(member.skycell) if record is not None else None,
            bands=tuple(_band_row(band, state, record) for band in BANDS),
        )

    def _star_scale(self, skycell: Skycell) -> StarScale | None:
        """Return the scale of the stars put back in a skycell, as its record has it."""
        recorded = self.stars.recorded(skycell) if self.stars is not None else None
        return recorded.scale if recorded is not None else None


def _band_row(band: str, state: str, record: AtlasRecord | None) -> BandRow:
    """Return one row of the inputs: a band's source, or why it is missing."""
    found = record.meta.bands.get(band) if record is not None else None
    if found is None:
        return BandRow(band, "", "", None, None, "absent" if record is not None else state)
    image = found.files.get("image", FileOrigin("", "", 0))
    return BandRow(band, image.source, image.sha256, found.mjd_obs, found.exptime_s, state)
