"""What went into a scene, beside it on disk: `cell_metadata.json`."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from syndiff.config import ReductionConfig, SceneConfig, digest
from syndiff.errors import MissingInputError, RenderingError
from syndiff.ffi.tiles import TileGrid
from syndiff.stars.scale import StarScale  # noqa: TC001 - records are read by it
from syndiff.stars.scene_stars import SceneStars  # noqa: TC001 - records are read by it
from syndiff.storage.records import dump_record, load_record
from syndiff.window import Window

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from syndiff.layout import Layout
    from syndiff.scenes.store import SceneStore
    from syndiff.sky.mapping import Mapping

__all__ = [
    "BandRow",
    "GaussianRecord",
    "PrfRecord",
    "ResponseRecord",
    "SceneMetadata",
    "SceneOrigin",
    "SceneRecord",
    "SkycellRow",
    "TileRow",
    "read_scene_metadata",
    "write_scene_metadata",
]


@dataclass(frozen=True)
class GaussianRecord:
    """What a Gaussian response is, and how it is rendered.

    Parameters
    ----------
    model : str
        ``gaussian``.
    sigma_px : float
        Standard deviation in PS1 pixels of 0.25".
    nodes_per_px : int
        Samples per TESS pixel of the light that it is applied to.
    margin_px : int
        TESS pixels around a tile that are rendered with it.
    reach_px : float
        TESS pixels beyond which it is nothing.
    """

    model: Literal["gaussian"]
    sigma_px: float
    nodes_per_px: int
    margin_px: int
    reach_px: float


@dataclass(frozen=True)
class PrfRecord:
    """What a measured response is, and how it is rendered.

    Parameters
    ----------
    model : str
        ``prf``.
    set : str
        Prefix of its files' names.
    source : str
        Their source.
    digest : str
        Of their content.
    cut : float
        Frequency, cycles per TESS pixel, at which its spectrum ends.
    discarded : float
        Part of its peak that is beyond.
    seeing_variance_px2 : float
        Blur of PS1 that is taken out, square PS1 pixels.
    nodes_per_px, margin_px, reach_px
        As in `GaussianRecord`.
    """

    model: Literal["prf"]
    set: str
    source: str
    digest: str
    cut: float
    discarded: float
    seeing_variance_px2: float
    nodes_per_px: int
    margin_px: int
    reach_px: float


ResponseRecord = GaussianRecord | PrfRecord


class TileRow(NamedTuple):
    """A rendered tile: where it is, digest of its inputs (hexadecimal), index of its part."""

    row: int
    column: int
    inputs: str
    part: int


@dataclass(frozen=True)
class BandRow:
    """One band of a skycell: its source, or why it is missing.

    Parameters
    ----------
    band : str
        PS1 band.
    source, sha256 : str
        Of the image; empty where there is none.
    mjd_obs, exptime_s : float or None
        When and how long it was exposed.
    state : str
        As a skycell's.
    """

    band: str
    source: str
    sha256: str
    mjd_obs: float | None
    exptime_s: float | None
    state: str


@dataclass(frozen=True)
class SkycellRow:
    """One skycell that the scene is made from.

    Parameters
    ----------
    name, role : str
        As the mapping has them.
    state : str
        'reduced', 'absent', 'failed', or 'limited' where `limit` leaves it out.
    digest : str
        Of its reduction; empty unless reduced.
    inputs : str
        Digest of its contribution, its stars included.
    message : str
        Why it failed.
    noise_correlation : float or None
        As in `ReducedSkycell`.
    star_scale : StarScale or None
        Scale of the stars that were put back.
    bands : tuple of BandRow
        Of `config.BANDS`.
    """

    name: str
    role: str
    state: str
    digest: str
    inputs: str
    message: str
    noise_correlation: float | None
    star_scale: StarScale | None
    bands: tuple[BandRow, ...]


@dataclass(frozen=True)
class SceneOrigin:
    """What the scene store and the metadata both record.

    Parameters
    ----------
    software : str
        Version of syndiff.
    sector, camera, ccd : int
        The detector.
    ffi : str
        File name of the reference FFI.
    frame_digest : str
        Of its pixel grid.
    config : dict
        `SceneConfig.to_dict`.
    reduction : ReductionConfig
        How the skycells were reduced.
    response : GaussianRecord or PrfRecord
        The pixel response of TESS.
    """

    software: str
    sector: int
    camera: int
    ccd: int
    ffi: str
    frame_digest: str
    config: dict[str, Any]
    reduction: ReductionConfig
    response: GaussianRecord | PrfRecord

    @functools.cached_property
    def settings(self) -> SceneConfig:
        """The settings by which the scene is made from the reduced skycells."""
        return SceneConfig(**self.config)

    @property
    def command(self) -> str:
        """The command that makes the scene."""
        return f"syndiff process {self.sector} {self.camera} {self.ccd}"


@dataclass(frozen=True)
class SceneMetadata(SceneOrigin):
    """The content of `cell_metadata.json`.

    Parameters
    ----------
    software, sector, camera, ccd, ffi, frame_digest, config, reduction, response
        As in `SceneOrigin`.
    digest : str
        Of what every tile depends on.
    parts : tuple of tuple of str
        Names of skycells.
    tiles : tuple of TileRow
        The rendered ones.
    mapped : int
        Skycells of the mapping.
    stars : SceneStars or None
        The stars in place of saturated ones.
    skycells : tuple of SkycellRow
        Those that the tiles are made from.
    windows : tuple of (x0, y0, x1, y1)
        FFI pixels that the scene holds.
    """

    FORMAT: ClassVar[int] = 2

    digest: str
    parts: tuple[tuple[str, ...], ...]
    tiles: tuple[TileRow, ...]
    mapped: int
    stars: SceneStars | None
    skycells: tuple[SkycellRow, ...]
    windows: tuple[tuple[int, int, int, int], ...]

    @property
    def sampled(self) -> str:
        """Digest of all skycells listed here.

        It identifies the scene that a template was sampled from, whatever else the scene
        holds.
        """
        return digest([self.digest, [[row.name, row.inputs] for row in self.skycells]])

    @property
    def bright(self) -> tuple[tuple[float, float, float], ...]:
        """FFI pixel x, y and T of stars that TESS may saturate; none without a catalogue."""
        return self.stars.bright if self.stars is not None else ()


def write_scene_metadata(layout: Layout, content: SceneMetadata) -> None:
    """Write `cell_metadata.json`.

    Parameters
    ----------
    layout : Layout
        The data root's paths.
    content : SceneMetadata
        The content.

    Raises
    ------
    StorageError
        If it can't be written.
    """
    layout.cell_metadata.write(dump_record(content, indent=1))


def read_scene_metadata(layout: Layout) -> SceneMetadata:
    """Return the content of `cell_metadata.json`.

    Parameters
    ----------
    layout : Layout
        The data root's paths.

    Returns
    -------
    SceneMetadata
        What `write_scene_metadata` was given.

    Raises
    ------
    MissingInputError
        If there is none yet.
    RenderingError
        If it is damaged or of another version.
    """
    place = layout.cell_metadata
    command = f"`syndiff process {layout.detector.arguments}`"
    if not place.exists():
        raise MissingInputError(f"{place} is missing: run {command} first")
    remedy = f"make it again with {command}"
    return load_record(SceneMetadata, place.read(), place, error=RenderingError, remedy=remedy)


@dataclass(frozen=True, eq=False)
class SceneRecord:
    """A scene's metadata, together with the tiles that its store holds now.

    A tile is made from the skycells of a *part* of the sky: it holds the pixels that need no
    other skycell. Tiles of a whole CCD have one part in common, those of a region a smaller one.

    Parameters
    ----------
    content : SceneMetadata
        Of `cell_metadata.json`.
    mapping : Mapping
        The CCD's skycells.
    rendered : (rows, columns) uint64
        Digest of each tile in the scene store.
    """

    content: SceneMetadata
    mapping: Mapping
    rendered: NDArray[np.uint64]

    @classmethod
    def read(cls, layout: Layout, mapping: Mapping, store: SceneStore) -> SceneRecord:
        """Return the record of the existing scene.

        Parameters
        ----------
        layout : Layout
            The data root's paths.
        mapping : Mapping
            The CCD's skycells.
        store : SceneStore
            The scene.

        Returns
        -------
        SceneRecord
            The record.

        Raises
        ------
        MissingInputError, RenderingError
            As `read_scene_metadata` and the store do.
        """
        return cls(read_scene_metadata(layout), mapping, store.rendered())

    @functools.cached_property
    def _told(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Digest and part of each tile in the metadata."""
        rows = self.content.tiles
        return {(row, column): (int(inputs, 16), part) for row, column, inputs, part in rows}

    @functools.cached_property
    def _parts(self) -> list[frozenset[str]]:
        return [frozenset(names) for names in self.content.parts]

    @property
    def windows(self) -> list[Window]:
        """The windows that the scene held when the metadata were written."""
        return [Window(*corners) for corners in self.content.windows]

    def part(self, row: int, column: int) -> frozenset[str]:
        """Return the skycells of the part that a tile is, or was, made from.

        Parameters
        ----------
        row, column : int
            The tile.

        Returns
        -------
        frozenset of str
            Their names; none if the tile is not in the metadata.
        """
        told = self._told.get((row, column))
        return self._parts[told[1]] if told is not None else frozenset()

    def lack(self, window: Window) -> str:
        """Return why templates of a window can't be sampled from the scene.

        Parameters
        ----------
        window : Window
            FFI pixels.

        Returns
        -------
        str
            The reason; empty if they can.
        """
        tiles = TileGrid(self.mapping.frame.science).covering(window)
        needed = self._needed(window)
        is_whole = [needed <= part for part in self._parts]
        for row in range(tiles.y0, tiles.y1):
            for column in range(tiles.x0, tiles.x1):
                number, part = self._told.get((row, column), (0, 0))
                if number == 0 or number != self.rendered[row, column]:
                    return (
                        f"the scene's tile ({row}, {column}) is not rendered from the skycells "
                        "as they are now"
                    )
                if not is_whole[part]:
                    held = "; ".join(map(str, self.windows))
                    return f"the scene is not rendered for all of the window {window}, but {held}"
        return ""

    def holds(self, window: Window) -> bool:
        """Tell whether templates of a window can be sampled from the scene.

        Parameters
        ----------
        window : Window
            FFI pixels; part of them may not be mapped.

        Returns
        -------
        bool
            True if they can.
        """
        return self.mapping.window.contains(window) and not self.lack(window)

    def under(self, window: Window) -> SceneMetadata:
        """Return the metadata of the scene under a window, whatever else it holds.

        Parameters
        ----------
        window : Window
            FFI pixels.

        Returns
        -------
        SceneMetadata
            The content with the rows of the skycells that the window needs only.

        Raises
        ------
        MissingInputError
            If the scene doesn't hold all of the window.
        """
        reason = self.lack(window)
        if reason:
            raise MissingInputError(
                f"{reason}: run `{self.content.command}` for it first (with the same `roi` or "
                "`target`)"
            )
        needed = self._needed(window)
        rows = tuple(row for row in self.content.skycells if row.name in needed)
        return replace(self.content, skycells=rows)

    def _needed(self, window: Window) -> frozenset[str]:
        """Return the names of the skycells whose light templates of a window need."""
        reach_px = self.content.response.reach_px
        inputs = TileGrid(self.mapping.frame.science).inputs(window, reach_px)
        return frozenset(member.skycell.name for member in self.mapping.touching(inputs))
