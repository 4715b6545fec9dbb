"""What went into a scene, beside it on disk: `cell_metadata.json`."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syndiff.config import digest
from syndiff.errors import MissingInputError, RenderingError
from syndiff.ffi.tiles import TileGrid
from syndiff.window import Window

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from syndiff.layout import Layout
    from syndiff.scenes.store import SceneStore
    from syndiff.sky.mapping import Mapping

__all__ = ["METADATA_FORMAT", "SceneRecord", "read_scene_metadata", "write_scene_metadata"]

METADATA_FORMAT = 2
"""Version of the file's content."""


def write_scene_metadata(layout: Layout, content: dict[str, Any]) -> None:
    """Write `cell_metadata.json`.

    Parameters
    ----------
    layout : Layout
        Where everything lies.
    content : dict
        JSON: configuration; ``windows``, the FFI pixels that the scene holds; ``parts``, names of
        skycells; ``tiles``, each row, column, digest of its inputs and index of its part;
        ``skycells``, a row for each one that those tiles are made from.

    Raises
    ------
    StorageError
        If it can't be written.
    """
    text = json.dumps({"format_version": METADATA_FORMAT, **content}, indent=1, allow_nan=False)
    layout.cell_metadata.write(text.encode())


def read_scene_metadata(layout: Layout) -> dict[str, Any]:
    """Return the content of `cell_metadata.json`.

    Parameters
    ----------
    layout : Layout
        Where everything lies.

    Returns
    -------
    dict
        What `write_scene_metadata` was given.

    Raises
    ------
    MissingInputError
        If there is none yet.
    RenderingError
        If it is damaged or of another version.
    """
    place = layout.cell_metadata
    command = f"syndiff process {layout.detector.arguments}"
    if not place.exists():
        raise MissingInputError(f"{place} is missing: run `{command}` first")
    try:
        content: dict[str, Any] = json.loads(place.read())
        version = content["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise RenderingError(
            f"{place} is damaged ({error}): make it again with `{command}`"
        ) from error
    if version != METADATA_FORMAT:
        raise RenderingError(
            f"{place} has format {version}, this version reads {METADATA_FORMAT}: make it again "
            f"with `{command}`"
        )
    return content


@dataclass(frozen=True, eq=False)
class SceneRecord:
    """What a scene's metadata tell, beside the tiles that its store holds now.

    A tile is made from the skycells of a *part* of the sky: it holds the pixels that need no
    other skycell. Tiles of a whole CCD have one part in common, those of a region a smaller one.

    Parameters
    ----------
    content : dict
        Of `cell_metadata.json`.
    mapping : Mapping
        The CCD's skycells.
    rendered : (rows, columns) uint64
        Digest of each tile in the scene store.
    """

    content: dict[str, Any]
    mapping: Mapping
    rendered: NDArray[np.uint64]

    @classmethod
    def read(cls, layout: Layout, mapping: Mapping, store: SceneStore) -> SceneRecord:
        """Return the record of the scene that is there.

        Parameters
        ----------
        layout : Layout
            Where everything lies.
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
        """Digest and part of each tile that the metadata tell of."""
        rows = self.content["tiles"]
        return {(row, column): (int(number, 16), part) for row, column, number, part in rows}

    @functools.cached_property
    def _parts(self) -> list[frozenset[str]]:
        return [frozenset(names) for names in self.content["parts"]]

    @property
    def windows(self) -> list[Window]:
        """The windows that the scene held when the metadata were written."""
        return [Window(*corners) for corners in self.content["windows"]]

    def part(self, row: int, column: int) -> frozenset[str]:
        """Return the skycells of the part that a tile is, or was, made from.

        Parameters
        ----------
        row, column : int
            The tile.

        Returns
        -------
        frozenset of str
            Their names; none if the metadata don't tell of it.
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

    def under(self, window: Window) -> dict[str, Any]:
        """Return what is told of the scene under a window, whatever else it holds.

        Parameters
        ----------
        window : Window
            FFI pixels.

        Returns
        -------
        dict
            The content with the rows of the skycells that the window needs only, and ``sampled``:
            the digest of all that the scene is made from there, whatever it holds besides. By it a
            template and the scene that it was sampled from know each other.

        Raises
        ------
        MissingInputError
            If the scene doesn't hold all of the window.
        """
        reason = self.lack(window)
        if reason:
            detector = "{sector} {camera} {ccd}".format(**self.content)
            raise MissingInputError(
                f"{reason}: run `syndiff process {detector}` for it first (with the same --roi or "
                "--target)"
            )
        needed = self._needed(window)
        rows = [row for row in self.content["skycells"] if row["name"] in needed]
        inputs = [[row["name"], row["inputs"]] for row in rows]
        return {
            **self.content,
            "skycells": rows,
            "sampled": digest([self.content["digest"], inputs]),
        }

    def _needed(self, window: Window) -> frozenset[str]:
        """Return the names of the skycells whose light templates of a window need."""
        reach_px = self.content["response"]["reach_px"]
        inputs = TileGrid(self.mapping.frame.science).inputs(window, reach_px)
        return frozenset(member.skycell.name for member in self.mapping.touching(inputs))
