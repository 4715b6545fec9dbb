"""What went into a scene, beside it on disk: `cell_metadata.json`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.config import digest
from syndiff.errors import MissingInputError, RenderingError

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from syndiff.layout import Layout
    from syndiff.window import Window

__all__ = [
    "METADATA_FORMAT",
    "part_of_scene",
    "read_scene_metadata",
    "sampled_digest",
    "write_scene_metadata",
]

METADATA_FORMAT = 1
"""Version of the file's content."""


def write_scene_metadata(layout: Layout, content: dict[str, Any]) -> None:
    """Write `cell_metadata.json`.

    Parameters
    ----------
    layout : Layout
        Where everything lies.
    content : dict
        JSON: configuration; ``tiles``, each row, column and digest of its inputs; ``skycells``, a
        row for each one that those tiles are made from.

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


def part_of_scene(
    content: dict[str, Any], names: Collection[str], tiles: Window, rendered: NDArray[np.uint64]
) -> dict[str, Any]:
    """Return what is told of some tiles, whatever else the scene holds.

    Parameters
    ----------
    content : dict
        Of `cell_metadata.json`.
    names : collection of str
        Skycells that the tiles need.
    tiles : Window
        Range of tile columns and rows.
    rendered : (rows, columns) uint64
        Digests of those tiles in the scene store.

    Returns
    -------
    dict
        `content` with the rows of those skycells only, and the `sampled_digest`.

    Raises
    ------
    MissingInputError
        If the content doesn't tell of a tile as it was rendered.
    """
    told = {(row, column): int(number, 16) for row, column, number in content["tiles"]}
    for j, i in np.ndindex(rendered.shape):
        if told.get((tiles.y0 + j, tiles.x0 + i)) != rendered[j, i]:
            detector = "{sector} {camera} {ccd}".format(**content)
            raise MissingInputError(
                f"the scene's tile ({tiles.y0 + j}, {tiles.x0 + i}) is not rendered from the "
                f"skycells as they are now: run `syndiff process {detector}` for it first (with "
                "the same --roi or --target)"
            )
    return {
        **content,
        "skycells": [row for row in content["skycells"] if row["name"] in names],
        "sampled": sampled_digest(content, rendered),
    }


def sampled_digest(content: dict[str, Any], rendered: NDArray[np.uint64]) -> str:
    """Return the digest of some tiles and of everything that they were made from.

    Parameters
    ----------
    content : dict
        Of `cell_metadata.json`.
    rendered : (rows, columns) uint64
        Digests of those tiles in the scene store.

    Returns
    -------
    str
        By which a template and the scene that it was sampled from know each other.
    """
    return digest([content["digest"], [int(number) for number in rendered.ravel()]])
