"""The scene on disk: `convolved_images.zarr`, written row of tiles by row of tiles."""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.errors import MissingInputError, RenderingError, SyndiffError
from syndiff.ffi.tiles import EDGE_PX, TILE_PX, TileGrid
from syndiff.scenes.scene import AUX_PLANES, AUX_SAMPLES_PER_PX, SAMPLES_PER_PX, SceneStrip
from syndiff.storage.records import plain_content
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import zarr
    from numpy.typing import NDArray

    from syndiff.scenes.metadata import SceneOrigin
    from syndiff.storage.place import Place

__all__ = ["SCENE_FORMAT", "SceneStore", "StoredScene"]

SCENE_FORMAT = 2
"""Version of the store's layout."""


_ARRAYS = {"flux": SAMPLES_PER_PX, "aux": AUX_SAMPLES_PER_PX, "flags": AUX_SAMPLES_PER_PX}
"""The planes of a `SceneStrip` and their samples per pixel and axis."""

_Slices = tuple[EllipsisType, slice, slice]


@dataclass(frozen=True)
class StoredScene:
    """A part of a scene in memory.

    Parameters
    ----------
    strip : SceneStrip
        Its samples.
    origin : (int, int)
        FFI pixel (x, y) of the first sample.
    """

    strip: SceneStrip
    origin: tuple[int, int]


class SceneStore:
    """The scene of one CCD.

    Arrays begin one tile before the science window and end one after it: the edge of the scene
    lies in that ring, and every row of tiles owns whole objects. A tile counts as rendered once
    its number in ``rendered``, the digest of its inputs, is not zero; it is written last. Its
    CRC-32 in ``checksum`` shows when an object was lost or damaged since: Zarr reads a lost one as
    zeros.

    Parameters
    ----------
    place : Place
        The Zarr group.
    science : Window
        The CCD's science window.
    """

    def __init__(self, place: Place, science: Window) -> None:
        self._place = place
        self._science = science
        self._grid = TileGrid(science)
        self._group: zarr.Group | None = None

    def create(self, digest: str, origin: SceneOrigin) -> None:
        """Prepare the store for a scene; one with another digest is removed.

        Parameters
        ----------
        digest : str
            Digest of everything that all tiles depend on.
        origin : SceneOrigin
            What else to record.

        Raises
        ------
        StorageError
            If it can't be written.
        """
        if self.digest() == digest:
            return
        self._place.remove()
        with self._place.telling("write"):
            self._create(digest, origin)

    def _create(self, digest: str, origin: SceneOrigin) -> None:
        self._group = group = self._place.open_zarr("a")
        rows, columns = self._grid.shape
        for name, samples, planes, dtype in (
            ("flux", SAMPLES_PER_PX, None, "float32"),
            ("aux", AUX_SAMPLES_PER_PX, len(AUX_PLANES), "float32"),
            ("flags", AUX_SAMPLES_PER_PX, None, "uint8"),
        ):
            size = TILE_PX * samples
            lead = () if planes is None else (planes,)
            group.create_array(
                name,
                shape=(*lead, (rows + 2) * size, (columns + 2) * size),
                chunks=(*lead, size, size),
                shards=(*lead, size, (columns + 2) * size),
                dtype=dtype,
                compressors=_compressor(np.dtype(dtype).itemsize),
            )
        for name, dtype in (("checksum", "uint32"), ("rendered", "uint64")):
            group.create_array(
                name, shape=(rows, columns), chunks=(1, columns), dtype=dtype, compressors=None
            )
        # Last: a store without its digest is no store.
        group.attrs.update(
            {
                **plain_content(origin),
                "format_version": SCENE_FORMAT,
                "samples_per_px": SAMPLES_PER_PX,
                "aux_planes": list(AUX_PLANES),
                "aux_samples_per_px": AUX_SAMPLES_PER_PX,
                "tile_px": TILE_PX,
                "science": [self._science.x0, self._science.y0, self._science.x1, self._science.y1],
                "digest": digest,
            }
        )

    def digest(self) -> str | None:
        """Return the digest of the stored scene.

        Returns
        -------
        str or None
            None if there is no scene.

        Raises
        ------
        RenderingError
            If another version of syndiff wrote it.
        """
        if not (self._place / "zarr.json").exists():
            return None
        with self._reading():
            attributes = self._place.open_zarr("r").attrs
        version = attributes.get("format_version")
        if version is not None and version != SCENE_FORMAT:
            raise RenderingError(
                f"{self._place} has format {version}, this version reads {SCENE_FORMAT}: remove it "
                "and run `syndiff process` again"
            )
        found = attributes.get("digest")
        return None if found is None else str(found)

    def tell_windows(self, windows: Sequence[tuple[int, int, int, int]]) -> None:
        """Write which FFI pixels the scene holds: a tile may hold a part of its own only.

        Parameters
        ----------
        windows : sequence of (x0, y0, x1, y1)
            Templates of these windows, and of all in them, can be sampled.

        Raises
        ------
        StorageError
            If it can't be written.
        """
        with self._reading(), self._place.telling("write"):
            group = self._place.open_zarr("a")
            told = list(map(list, windows))
            if group.attrs.get("windows") != told:
                group.attrs["windows"] = told

    def rendered(self) -> NDArray[np.uint64]:
        """Return the digest of each tile's inputs.

        Returns
        -------
        (rows, columns) uint64
            0 for tiles that are not rendered.
        """
        with self._reading(), self._place.telling("read"):
            return np.asarray(self._array("rendered", "r")[:], np.uint64)

    def _check_rendered(self, window: Window) -> None:
        """Raise unless the tiles that templates of a window are sampled from are rendered."""
        if (self.rendered()[self._grid.covering(window).slices] == 0).any():
            raise MissingInputError(
                f"the scene {self._place} is not rendered for all of the window {window}: run "
                f"`{self._command()}` for it first (with the same `roi` or `target`)"
            )

    def write(
        self, row: int, columns: range, strip: SceneStrip, inputs: NDArray[np.uint64]
    ) -> None:
        """Write neighbouring tiles of one row, the marks last.

        Parameters
        ----------
        row : int
            Row of tiles; no one else may write it at the same time.
        columns : range
            Columns of tiles.
        strip : SceneStrip
            The tiles with their edge; edges inside the CCD belong to the neighbours.
        inputs : (columns,) uint64
            Digest of each tile's inputs, not zero.
        """
        tiles = Window(columns.start, row, columns.stop, row + 1)
        origin = self._grid.pixels(tiles).grown(EDGE_PX)
        checksums = [self._checksum(strip, origin, row, column) for column in columns]
        with self._reading(), self._place.telling("write"):
            for name, samples in _ARRAYS.items():
                target = self._box(tiles, samples)
                held = getattr(strip, name)[_inside(target, self._corner(origin, samples))]
                self._array(name, "a")[target] = held
            self._array("checksum", "a")[row, columns.start : columns.stop] = checksums
            self._array("rendered", "a")[row, columns.start : columns.stop] = inputs

    def read(self, window: Window) -> StoredScene:
        """Read what templates of a window need.

        Parameters
        ----------
        window : Window
            FFI pixels in the science window.

        Returns
        -------
        StoredScene
            Samples that reach `EDGE_PX` beyond the window.

        Raises
        ------
        MissingInputError
            If a tile is not rendered.
        RenderingError
            If a tile is damaged.
        """
        self._check_rendered(window)
        tiles = self._grid.covering(window)
        around = self._grid.pixels(tiles).grown(EDGE_PX)
        with self._reading(), self._place.telling("read"):
            planes = {name: self._read_plane(name, around) for name in _ARRAYS}
            stored = np.asarray(self._array("checksum", "r")[:])
        strip = SceneStrip(**planes)
        for row in range(tiles.y0, tiles.y1):
            for column in range(tiles.x0, tiles.x1):
                if self._checksum(strip, around, row, column) != stored[row, column]:
                    raise self._damage(f"tile ({row}, {column}) is not as it was written")
        grown = window.grown(EDGE_PX)
        cut = {
            name: plane[_inside(self._slices(grown, samples), self._corner(around, samples))]
            for (name, samples), plane in zip(_ARRAYS.items(), planes.values(), strict=True)
        }
        return StoredScene(SceneStrip(**cut), (grown.x0, grown.y0))

    def _read_plane(self, name: str, window: Window) -> NDArray[Any]:
        """Read a part of an array, one row of objects after another: all at once are held twice.

        Straight into place: Zarr's own arrays would be memory from the system, to be copied.
        """
        from zarr.buffer.cpu import NDBuffer

        samples, array = _ARRAYS[name], self._array(name, "r")
        lead, rows, columns = self._slices(window, samples)
        size = TILE_PX * samples
        shape = rows.stop - rows.start, columns.stop - columns.start
        out = np.empty((*array.shape[:-2], *shape), array.dtype)
        for first in range(rows.start // size * size, rows.stop, size):
            part = slice(max(first, rows.start), min(first + size, rows.stop))
            held = slice(part.start - rows.start, part.stop - rows.start)
            target = NDBuffer.from_numpy_array(out[lead, held, :])
            array.get_basic_selection((lead, part, columns), out=target)
        return out

    def _corner(self, window: Window, samples: int) -> tuple[int, int]:
        """Return row and column, in an array, of a window's first sample."""
        return (
            (window.y0 - self._science.y0 + TILE_PX) * samples,
            (window.x0 - self._science.x0 + TILE_PX) * samples,
        )

    def _slices(self, window: Window, samples: int) -> _Slices:
        """Return the part of an array that a window of FFI pixels is."""
        y0, x0 = self._corner(window, samples)
        height, width = (side * samples for side in window.shape)
        return ..., slice(y0, y0 + height), slice(x0, x0 + width)

    def _box(self, tiles: Window, samples: int) -> _Slices:
        """Return the part of an array that tiles own: at the CCD's border, the edge too."""
        rows, columns = self._grid.shape
        window = self._grid.pixels(tiles)
        owned = Window(
            window.x0 - (EDGE_PX if tiles.x0 == 0 else 0),
            window.y0 - (EDGE_PX if tiles.y0 == 0 else 0),
            window.x1 + (EDGE_PX if tiles.x1 == columns else 0),
            window.y1 + (EDGE_PX if tiles.y1 == rows else 0),
        )
        return self._slices(owned, samples)

    def _checksum(self, strip: SceneStrip, origin: Window, row: int, column: int) -> int:
        """Return the CRC-32 of what a tile owns of a strip that begins with a window."""
        tile = Window(column, row, column + 1, row + 1)
        crc = 0
        for name, samples in _ARRAYS.items():
            box = _inside(self._box(tile, samples), self._corner(origin, samples))
            crc = zlib.crc32(getattr(strip, name)[box].tobytes(), crc)
        return crc

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what Zarr raises for damaged objects into one error."""
        try:
            yield
        except SyndiffError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
            raise self._damage(f"{type(error).__name__}: {error}") from error

    def _damage(self, what: str) -> RenderingError:
        return RenderingError(
            f"the scene {self._place} is damaged ({what}): make it again with `syndiff process "
            "SECTOR CAMERA CCD` with `overwrite`"
        )

    def _command(self) -> str:
        """Return the command that makes this scene."""
        attributes = self._place.open_zarr("r").attrs
        detector = " ".join(str(attributes.get(key, key)) for key in ("sector", "camera", "ccd"))
        return f"syndiff process {detector}"

    def _array(self, name: str, mode: str) -> Any:  # noqa: ANN401 - zarr's arrays are generic
        if self._group is None or (mode == "a" and self._group.read_only):
            self._group = self._place.open_zarr(mode)
        return self._group[name]


def _inside(part: _Slices, corner: tuple[int, int]) -> _Slices:
    """Return a part of an array, counted from a corner."""
    _, rows, columns = part
    y, x = corner
    return ..., slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)


def _compressor(typesize: int) -> Any:  # noqa: ANN401 - zarr's codecs have no common type
    from zarr.codecs import BloscCodec

    return BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle", typesize=typesize)
