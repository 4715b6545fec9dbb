"""Stack planes kept losslessly (``--keep-raw``), to reduce again without the network."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.errors import AtlasError, CorruptDownloadError, StorageError
from syndiff.stacks.archive import PLANES, Fetched, SkycellFiles
from syndiff.storage.zarr_groups import Shard, chunk_path, pack_group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from syndiff.sky.tessellation import Skycell
    from syndiff.stacks.stackfile import StackFile
    from syndiff.stacks.stackheader import Plane
    from syndiff.storage.place import Place

__all__ = ["RawStore"]

FORMAT_VERSION = 1

_RECORD = "complete.json"
_DTYPES: dict[Plane, str] = {"image": "<i2", "variance": "<i2", "mask": "<u2"}

_CHUNK_ROWS = 64
"""Rows of a chunk: the strip that the reduction asks for, so each is decoded once."""


@dataclass(frozen=True)
class RawStore:
    """The planes of skycells, band by band.

    Parameters
    ----------
    place : Place
        ``raw.zarr``.

    Notes
    -----
    A Zarr format 3 hierarchy::

        <skycell name>/<band>/complete.json           the record, or the note that it is absent
        <skycell name>/<band>/<token>/image/          (ny, nx) int16 DN
        <skycell name>/<band>/<token>/variance/       (ny, nx) int16 DN
        <skycell name>/<band>/<token>/mask/           (ny, nx) uint16 bits

    Each array is one shard of chunks of 64 rows. Headers, digests and sources of the files are in
    the record and in the group's attributes. Several writers get along as in the atlas.
    """

    place: Place

    def write_skycell(self, files: SkycellFiles, *, overwrite: bool = False) -> None:
        """Keep the planes of a skycell.

        Parameters
        ----------
        files : SkycellFiles
            From `archive.fetch_skycell`.
        overwrite : bool
            Replace bands that are kept already.

        Raises
        ------
        CorruptDownloadError
            If a row of a file can't be decoded.
        StorageError
            If the store can't be written.
        """
        for band in files.absent:
            self._finish(files.name, band, {"absent": True}, overwrite=overwrite)
        for band in files.bands:
            fetched = {plane: files.planes[band, plane] for plane in PLANES}
            self._write_band(files.name, band, fetched, overwrite=overwrite)

    def open_skycell(
        self, skycell: Skycell, bands: Sequence[str], *, allow_mixed: bool = False
    ) -> SkycellFiles | None:
        """Return the kept planes of a skycell, as if they had just been fetched.

        Parameters
        ----------
        skycell : Skycell
            Which skycell, with the geometry that the planes must have.
        bands : sequence of str
            PS1 bands.
        allow_mixed : bool
            As for `stackfile.open_stackfile`.

        Returns
        -------
        SkycellFiles or None
            None unless every band is kept, or known to be absent.

        Raises
        ------
        AtlasError
            If a record can't be read by this version.
        CorruptDownloadError
            If a kept plane is damaged or is not this skycell's.
        StorageError
            If a kept plane is lost or can't be read.
        """
        records = {band: self._read_record(skycell.name, band) for band in bands}
        if not all(records.values()):
            return None
        absent = tuple(band for band, record in records.items() if record.get("absent"))
        planes: dict[tuple[str, Plane], Fetched] = {}
        for band in bands:
            if band not in absent:
                for plane in PLANES:
                    planes[band, plane] = self._open(
                        records[band],
                        plane=plane,
                        band=band,
                        skycell=skycell,
                        allow_mixed=allow_mixed,
                    )
        return SkycellFiles(skycell.name, planes, absent)

    def _write_band(
        self, name: str, band: str, fetched: Mapping[Plane, Fetched], *, overwrite: bool
    ) -> None:
        """Write the three planes of a band, unless another writer was first."""
        if not overwrite and self._has_planes(name, band):
            return
        token = uuid.uuid4().hex
        planes = {plane: _describe(file) for plane, file in fetched.items()}
        record = {"absent": False, "data": token, "planes": planes}
        folder = self.place / name / band / token
        rows: dict[str, _Rows] = {plane: _Rows(file.stack) for plane, file in fetched.items()}
        try:
            # Rows are decoded while they are packed, so a plane is never held whole.
            for path, content in pack_group(rows, record, shard_rows=_CHUNK_ROWS).items():
                (folder / path).write(content)
        except StorageError:
            folder.remove()
            raise
        self._finish(name, band, record, overwrite=overwrite)

    def _finish(self, name: str, band: str, record: dict[str, Any], *, overwrite: bool) -> None:
        """Write the record of a band and remove the data of whoever lost."""
        place = self.place / name / band / _RECORD
        text = json.dumps({"format_version": FORMAT_VERSION, **record}, sort_keys=True).encode()
        old = self._read_record(name, band)
        # A band that was absent and isn't any more is news; one that was kept stays kept.
        if overwrite or old.get("absent"):
            place.write(text)
        else:
            place.create(text)
        standing = self._read_record(name, band).get("data")
        for token in (old.get("data"), record.get("data")):
            if token and token != standing:
                (self.place / name / band / token).remove()

    def _has_planes(self, name: str, band: str) -> bool:
        return "data" in self._read_record(name, band)

    def _read_record(self, name: str, band: str) -> dict[str, Any]:
        """Return the record of a band, empty if there is none."""
        place = self.place / name / band / _RECORD
        if not place.exists():
            return {}
        try:
            return _check_record(json.loads(place.read()))
        except (ValueError, KeyError, TypeError) as error:
            raise AtlasError(
                f"{place} is not a record of kept planes that this syndiff reads ({error}): "
                "remove it and run `syndiff download --keep-raw` again"
            ) from error

    def _open(self, record: dict[str, Any], **which: Any) -> Fetched:  # noqa: ANN401
        """Return one kept plane; `which` as for `StackFile.from_array`."""
        from syndiff.stacks.stackfile import StackFile

        plane = which["plane"]
        about = record["planes"][plane]
        folder = self.place / which["skycell"].name / which["band"] / record["data"]
        place = folder / plane / chunk_path(2)
        rows = _KeptRows(place, tuple(about["shape"]), _DTYPES[plane])
        stack = StackFile.from_array(about["header"], rows, source=str(place), **which)
        return Fetched(stack, about["sha256"], about["source"], about["size"])


class _Rows:
    """The rows of an opened stack file, sliced like an array."""

    def __init__(self, stack: StackFile) -> None:
        self._stack = stack
        self.shape: tuple[int, ...] = stack.shape
        self.dtype = np.dtype(_DTYPES[stack.plane])

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        first, last, _ = rows.indices(self.shape[0])
        return self._stack.rows(first, last)


class _KeptRows:
    """The rows of a kept plane; damage is told with the way out."""

    def __init__(self, place: Place, shape: tuple[int, int], dtype: str) -> None:
        self._place = place
        self.shape = shape
        self.dtype = np.dtype(dtype)
        content = place.read()
        try:
            self._shard = Shard(content, shape, dtype, _CHUNK_ROWS)
        except ValueError as error:
            raise self._damage(error) from error

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        try:
            return self._shard[rows]
        except ValueError as error:
            raise self._damage(error) from error

    def _damage(self, error: Exception) -> CorruptDownloadError:
        return CorruptDownloadError(
            f"{self._place}: the kept plane is damaged ({error}): fetch it again with "
            "`syndiff download --keep-raw --overwrite`"
        )


def _describe(file: Fetched) -> dict[str, Any]:
    """Return what a record says of one file."""
    return {
        "header": file.stack.header_text,
        "shape": list(file.stack.shape),
        "sha256": file.sha256,
        "source": file.source,
        "size": file.size,
    }


def _check_record(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record that is whole and of this version."""
    if record["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format version {record['format_version']}, not {FORMAT_VERSION}")
    if not record["absent"] and (not record["data"] or set(record["planes"]) != set(PLANES)):
        raise ValueError("it is neither absent nor three planes")
    return record
