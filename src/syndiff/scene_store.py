"""The scene on disk: `convolved_images.zarr`, written row of tiles by row of tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.errors import MissingInputError, RenderingError
from syndiff.scene import AUX_PLANES, AUX_SAMPLES_PER_PX, SAMPLES_PER_PX, SceneStrip
from syndiff.tiles import EDGE_PX, TILE_PX, TileGrid

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from syndiff.storage import Place
    from syndiff.window import Window

__all__ = ["SCENE_FORMAT", "SceneStore", "StoredScene"]

SCENE_FORMAT = 1
"""Version of the store's layout."""


@dataclass(frozen=True)
class StoredScene:
    """A part of a scene in memory.

    Parameters
    ----------
    strip : SceneStrip
        Its samples.
    origin : (float, float)
        FFI pixel (x, y) of the first sample.
    """

    strip: SceneStrip
    origin: tuple[float, float]


class SceneStore:
    """The scene of one CCD.

    Arrays begin one tile before the science window and end one after it: the edge of the scene
    lies in that ring, and every row of tiles owns whole objects. A tile counts as rendered once
    its number in ``rendered``, the digest of its inputs, is not zero; it is written last.

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

    def create(self, digest: str, attributes: dict[str, Any]) -> None:
        """Make the store ready for a scene; one with another digest is removed.

        Parameters
        ----------
        digest : str
            Digest of everything that all tiles depend on.
        attributes : dict
            What else to record, JSON.

        Raises
        ------
        StorageError
            If it can't be written.
        """
        if self.digest() == digest:
            return
        self._place.remove()
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
        group.create_array(
            "rendered", shape=(rows, columns), chunks=(1, columns), dtype="uint64", compressors=None
        )
        # Last: a store without its digest is no store.
        group.attrs.update(
            {
                **attributes,
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
        """Return the digest of the scene that is here.

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
        attributes = self._place.open_zarr("r").attrs
        version = attributes.get("format_version")
        if version is not None and version != SCENE_FORMAT:
            raise RenderingError(
                f"{self._place} has format {version}, this version reads {SCENE_FORMAT}: remove it "
                "and run `syndiff process` again"
            )
        found = attributes.get("digest")
        return None if found is None else str(found)

    def rendered(self) -> NDArray[np.uint64]:
        """Return the digest of each tile's inputs.

        Returns
        -------
        (rows, columns) uint64
            0 for tiles that are not rendered.
        """
        return np.asarray(self._array("rendered", "r")[:], np.uint64)

    def rendered_under(self, window: Window) -> NDArray[np.uint64]:
        """Return the digests of the tiles that templates of a window are sampled from.

        Parameters
        ----------
        window : Window
            FFI pixels.

        Returns
        -------
        (rows, columns) uint64
            0 for tiles that are not rendered.
        """
        return self.rendered()[self._grid.covering(window).slices]

    def check_rendered(self, window: Window) -> NDArray[np.uint64]:
        """Return `rendered_under` a window, all of it.

        Parameters
        ----------
        window : Window
            FFI pixels.

        Returns
        -------
        (rows, columns) uint64
            None of them 0.

        Raises
        ------
        MissingInputError
            If a tile is not rendered.
        """
        digests = self.rendered_under(window)
        if (digests == 0).any():
            raise MissingInputError(
                f"the scene {self._place} is not rendered for all of the window {window}: run "
                f"`{self._command()}` for it first (with the same --roi or --target)"
            )
        return digests

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
        rows, all_columns = self._grid.shape
        outer = (row == 0, row == rows - 1, columns.start == 0, columns.stop == all_columns)
        for name, samples, planes in (
            ("flux", SAMPLES_PER_PX, strip.flux),
            ("aux", AUX_SAMPLES_PER_PX, strip.aux),
            ("flags", AUX_SAMPLES_PER_PX, strip.flags),
        ):
            edge, size = EDGE_PX * samples, TILE_PX * samples
            top, bottom, left, right = (edge if side else 0 for side in outer)
            y0, x0 = (row + 1) * size - top, (columns.start + 1) * size - left
            held = planes[
                ...,
                edge - top : planes.shape[-2] - edge + bottom,
                edge - left : planes.shape[-1] - edge + right,
            ]
            target = self._array(name, "a")
            target[..., y0 : y0 + held.shape[-2], x0 : x0 + held.shape[-1]] = held
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
        """
        self.check_rendered(window)
        grown = window.grown(EDGE_PX)
        origin = (grown.x0, grown.y0)
        planes = {}
        for name, samples in (
            ("flux", SAMPLES_PER_PX),
            ("aux", AUX_SAMPLES_PER_PX),
            ("flags", AUX_SAMPLES_PER_PX),
        ):
            x0 = (grown.x0 - self._science.x0 + TILE_PX) * samples
            y0 = (grown.y0 - self._science.y0 + TILE_PX) * samples
            height, width = (side * samples for side in grown.shape)
            planes[name] = np.asarray(
                self._array(name, "r")[..., y0 : y0 + height, x0 : x0 + width]
            )
        return StoredScene(SceneStrip(planes["flux"], planes["aux"], planes["flags"]), origin)

    def _command(self) -> str:
        """Return the command that makes this scene."""
        attributes = self._place.open_zarr("r").attrs
        detector = " ".join(str(attributes.get(key, key)) for key in ("sector", "camera", "ccd"))
        return f"syndiff process {detector}"

    def _array(self, name: str, mode: str) -> Any:  # noqa: ANN401 - zarr's arrays are generic
        if self._group is None or (mode == "a" and self._group.read_only):
            self._group = self._place.open_zarr(mode)
        return self._group[name]


def _compressor(typesize: int) -> Any:  # noqa: ANN401 - zarr's codecs have no common type
    from zarr.codecs import BloscCodec

    return BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=typesize)
