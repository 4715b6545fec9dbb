"""The atlas: reduced skycells in a versioned Zarr store that many runs may fill at once."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from syndiff import __version__
from syndiff.config import digest
from syndiff.errors import AtlasError, IncompleteAtlasError, StorageError
from syndiff.stacks.provenance import Provenance  # noqa: TC001 - records are read by it
from syndiff.storage.records import dump_record, load_record
from syndiff.storage.zarr_groups import EMPTY_GROUP, chunk_path, pack_group, unpack_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from syndiff.layout import Detector
    from syndiff.settings import Settings
    from syndiff.sky.tessellation import Skycell
    from syndiff.stacks.reduction import ReducedSkycell
    from syndiff.storage.place import Place

__all__ = ["FORMAT_VERSION", "Atlas", "AtlasKey", "AtlasRecord"]

T = TypeVar("T")

FORMAT_VERSION = 4
"""Of the layout that `Atlas` describes; part of every key."""

_RECORD = "complete.json"

_GROUPS: dict[str, tuple[str, ...]] = {
    "light": ("light",),
    "left_out": ("left_out",),
    "mask": ("mask",),
    "valid": ("valid",),
    "coarse": ("faint", "variance"),
    "counts": ("count", "left_out_count", "flagged"),
    "level": ("level",),
}
"""Zarr arrays and the planes in each. Small ones of one shape and type are stacked, so one object
each, not three; of the large ones a scene reads its part only."""

_DTYPES = {
    "light": "<i2",
    "left_out": "<i2",
    "mask": "<u2",
    "valid": "u1",
    "coarse": "<i2",
    "counts": "<u2",
    "level": "<f4",
}

_BANDS_LAST = ("light", "left_out")
"""Cells are lit in all bands or in none: side by side they take 12 % less, and as much less time to
read."""


@dataclass(frozen=True, order=True)
class AtlasKey:
    """Which reduction of which skycell.

    Parameters
    ----------
    name : str
        Skycell name.
    digest : str
        Of format version, reduction and the skycell's geometry.
    """

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}/{self.digest}"


@dataclass(frozen=True)
class AtlasRecord:
    """What the atlas knows of one complete reduction, without its planes.

    Parameters
    ----------
    name, shape, bands, light_sigma, faint_sigma, variance_sigma, noise_correlation, meta
        As in `ReducedSkycell`.
    arrays : dict
        Shape of every Zarr array.
    content_digest : str
        SHA-256 of all of the above, but for the files' addresses, and of the planes: equal
        reductions have equal digests, wherever their files came from.
    data : str
        Folder of the arrays beside the record.
    size_bytes : int
        Bytes of all planes before compression.
    written : str
        When, ISO 8601, UTC.
    software : str
        Version of syndiff that wrote it.
    """

    FORMAT: ClassVar[int] = FORMAT_VERSION

    name: str
    shape: tuple[int, int]
    bands: tuple[str, ...]
    light_sigma: tuple[float, ...]
    faint_sigma: tuple[float, ...]
    variance_sigma: tuple[float, ...]
    noise_correlation: float
    meta: Provenance
    arrays: dict[str, tuple[int, ...]]
    content_digest: str = ""
    data: str = ""
    size_bytes: int = 0
    written: str = ""
    software: str = ""

    @classmethod
    def parse(cls, text: bytes, source: object) -> AtlasRecord:
        """Read a record.

        Parameters
        ----------
        text : bytes
            JSON.
        source : object
            Where it lies, for messages.

        Returns
        -------
        AtlasRecord
            The record.

        Raises
        ------
        AtlasError
            If it is of another format version, or no record at all.
        """
        remedy = (
            "use the syndiff that wrote it or another `data_root`; if it is damaged, remove it and "
            "run `syndiff download` again"
        )
        return load_record(cls, text, source, error=AtlasError, remedy=remedy)

    def to_json(self) -> bytes:
        """Return the record as JSON.

        Returns
        -------
        bytes
            What `parse` reads.

        Raises
        ------
        AtlasError
            If a value can't be written as JSON.
        """
        try:
            return dump_record(self, indent=1, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise AtlasError(
                f"{self.name}: the provenance of this reduction can't be stored as JSON: {error}"
            ) from error


@dataclass(frozen=True)
class Atlas:
    """The store of reduced skycells; small and picklable, it opens nothing.

    Parameters
    ----------
    place : Place
        ``skycells.zarr``.
    detector : Detector, optional
        Whose work this is; messages name the command that fills in what is missing.

    Notes
    -----
    Layout, a Zarr format 3 hierarchy::

        <skycell name>/<digest>/complete.json          the record: only with it a reduction counts
        <skycell name>/<digest>/<token>/zarr.json      the record's content as attributes
        <skycell name>/<digest>/<token>/light/         (n2y, n2x, nb) int16
        .../left_out/  (n2y, n2x, nb) int16
        .../mask/    (n2y, n2x) uint16
        .../valid/   (n2y, n2x) uint8
        .../coarse/  (3 nb, n8y, n8x) int16: faint; variance of detected, undetected per band
        .../counts/  (3 nb, n8y, n8x) uint16: count, left_out_count, flagged
        .../level/   (nb, my, mx) float32

    Each array is one chunk, one Zstandard frame with its own checksum, one object. Every writer
    writes under a token of its own and then creates the record that names it, if there is none.
    So writers never touch each other's data, whoever is first wins, and readers see all or nothing.
    """

    place: Place
    detector: Detector | None = None

    def key(self, skycell: Skycell, settings: Settings) -> AtlasKey:
        """Return the key of a reduction.

        Parameters
        ----------
        skycell : Skycell
            Name and geometry.
        settings : Settings
            How it is reduced.

        Returns
        -------
        AtlasKey
            Name and digest.
        """
        content = {
            "format_version": FORMAT_VERSION,
            "reduction": settings.reduction.to_dict(),
            "skycell": skycell.digest,
        }
        return AtlasKey(skycell.name, digest(content))

    def has(self, key: AtlasKey) -> bool:
        """Tell whether a reduction is complete.

        Parameters
        ----------
        key : AtlasKey
            Which.

        Returns
        -------
        bool
            True where its record is there.
        """
        return (self._folder(key) / _RECORD).exists()

    def keys(self) -> list[AtlasKey]:
        """List the complete reductions.

        Returns
        -------
        list of AtlasKey
            By name.
        """
        paths = (path.split("/") for path, _ in self.place.walk())
        return sorted(AtlasKey(*p[:2]) for p in paths if len(p) == 3 and p[2] == _RECORD)

    def read_record(self, key: AtlasKey) -> AtlasRecord:
        """Return what is known of a reduction, without its planes.

        Parameters
        ----------
        key : AtlasKey
            Which.

        Returns
        -------
        AtlasRecord
            The record.

        Raises
        ------
        IncompleteAtlasError
            If the reduction isn't complete.
        AtlasError
            If the record can't be read by this version.
        """
        place = self._folder(key) / _RECORD
        try:
            text = place.read()
        except StorageError as error:
            if place.exists():
                raise
            arguments = self.detector.arguments if self.detector else "SECTOR CAMERA CCD"
            raise IncompleteAtlasError(
                f"skycell {key.name} (reduction {key.digest}) is not complete in {self.place}: "
                f"run `syndiff download {arguments}`"
            ) from error
        return AtlasRecord.parse(text, place)

    def read(self, key: AtlasKey, *, with_left_out: bool = True) -> ReducedSkycell:
        """Return a reduced skycell.

        Parameters
        ----------
        key : AtlasKey
            Which.
        with_left_out : bool
            False to read half as much: the plane `left_out` is (nb, 0, 0) then.

        Returns
        -------
        ReducedSkycell
            Equal to the one written, but for that plane.

        Raises
        ------
        IncompleteAtlasError
            If the reduction isn't complete.
        AtlasError
            If it is damaged, or of another format version.
        """
        return self._read(key, functools.partial(self._read_planes, with_left_out))

    def read_plane(self, key: AtlasKey, name: str) -> NDArray[Any]:
        """Return a plane of a reduced skycell, without reading the others.

        Parameters
        ----------
        key : AtlasKey
            Which.
        name : {"light", "left_out", "mask", "valid", "level"}
            One that is not stacked with others.

        Returns
        -------
        array
            As in `ReducedSkycell`.

        Raises
        ------
        IncompleteAtlasError
            If the reduction isn't complete.
        AtlasError
            If it is damaged, or of another format version.
        """
        return self._read(key, functools.partial(self._read_plane, name))

    def _read(self, key: AtlasKey, read: Callable[[AtlasKey, AtlasRecord], T]) -> T:
        """Read what a record names; another run may replace it between the two reads."""
        record = self.read_record(key)
        try:
            return read(key, record)
        except StorageError as error:
            latest = self.read_record(key)
            if latest.data == record.data:
                raise AtlasError(
                    f"{key} is complete in {self.place} but for one part: {error}. If it is "
                    "lost, run `syndiff download` with `overwrite` for the CCDs that use "
                    f"{key.name}"
                ) from error
            return read(key, latest)

    def write(
        self, key: AtlasKey, reduced: ReducedSkycell, *, overwrite: bool = False
    ) -> AtlasRecord:
        """Store a reduced skycell, unless another writer was first.

        Parameters
        ----------
        key : AtlasKey
            From `key`.
        reduced : ReducedSkycell
            What to store.
        overwrite : bool
            Put it in place of a complete one.

        Returns
        -------
        AtlasRecord
            The record that now stands: this writer's, or that of the one who was first.

        Raises
        ------
        AtlasError
            If the provenance can't be stored.
        StorageError
            If the store can't be written.
        """
        if key.name != reduced.name:
            raise AtlasError(f"{reduced.name} can't be stored under the key of {key.name}")
        arrays = _stack(reduced)
        record = _describe(reduced, arrays)
        text = record.to_json()
        (self.place / "zarr.json").create(EMPTY_GROUP)
        folder = self._folder(key)
        data = folder / record.data
        attributes = json.loads(text) | {"planes": {n: list(p) for n, p in _GROUPS.items()}}
        try:
            for path, content in pack_group(arrays, attributes).items():
                (data / path).write(content)
        except StorageError:
            data.remove()
            raise
        if overwrite:
            _replace_record(folder, text)
        else:
            (folder / _RECORD).create(text)
        # What stands decides, not what `create` said: a repeated request can lose against itself.
        standing = self.read_record(key)
        if standing.data != record.data:
            data.remove()
        return standing

    def _folder(self, key: AtlasKey) -> Place:
        return self.place / key.name / key.digest

    def _read_plane(self, name: str, key: AtlasKey, record: AtlasRecord) -> NDArray[Any]:
        folder = self._folder(key) / record.data
        return dict(_read_arrays(folder, record, [name]))[name]

    def _read_planes(
        self,
        with_left_out: bool,
        key: AtlasKey,
        record: AtlasRecord,
    ) -> ReducedSkycell:
        from syndiff.stacks.reduction import ReducedSkycell

        folder = self._folder(key) / record.data
        wanted = [name for name in record.arrays if with_left_out or name != "left_out"]
        planes = dict(_read_arrays(folder, record, wanted))
        planes.setdefault("left_out", np.empty((len(record.bands), 0, 0), np.int16))
        return ReducedSkycell(
            name=record.name,
            shape=record.shape,
            bands=record.bands,
            light_sigma=np.array(record.light_sigma, np.float64),
            faint_sigma=np.array(record.faint_sigma, np.float64),
            variance_sigma=np.array(record.variance_sigma, np.float64),
            noise_correlation=record.noise_correlation,
            meta=record.meta,
            **planes,
        )


def _replace_record(folder: Place, text: bytes) -> None:
    """Put a record in the place of another one, then remove the other one's data."""
    place = folder / _RECORD
    old = place.read() if place.exists() else b""
    place.write(text)
    token = re.search(rb'"data": "([0-9a-f]{32})"', old)
    if token:
        (folder / token[1].decode()).remove()


def _stack(reduced: ReducedSkycell) -> dict[str, NDArray[Any]]:
    """Return the Zarr arrays of a reduced skycell."""
    arrays = {}
    for group, names in _GROUPS.items():
        planes = [getattr(reduced, name) for name in names]
        if len(planes) > 1:
            planes = [np.concatenate([p.reshape(-1, *p.shape[-2:]) for p in planes])]
        plane = planes[0].astype(_DTYPES[group], casting="safe", copy=False)
        if group in _BANDS_LAST:
            plane = plane.transpose(1, 2, 0)
        arrays[group] = np.ascontiguousarray(plane)
    return arrays


def _unstack(group: str, array: NDArray[Any], bands: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the planes of a Zarr array, in their own shapes and types."""
    names, yx = _GROUPS[group], array.shape[1:]
    if group in _BANDS_LAST:
        yield group, array.transpose(2, 0, 1)
    elif group == "coarse":
        yield "faint", array[:bands]
        yield "variance", array[bands:].reshape(bands, 2, *yx)
    elif len(names) == 1:
        yield names[0], array
    else:
        yield from zip(names, array.reshape(len(names), bands, *yx), strict=True)


def _describe(reduced: ReducedSkycell, arrays: dict[str, NDArray[Any]]) -> AtlasRecord:
    """Return the record of a reduced skycell, under a new token."""
    record = AtlasRecord(
        name=reduced.name,
        shape=reduced.shape,
        bands=tuple(reduced.bands),
        light_sigma=tuple(reduced.light_sigma.tolist()),
        faint_sigma=tuple(reduced.faint_sigma.tolist()),
        variance_sigma=tuple(reduced.variance_sigma.tolist()),
        noise_correlation=float(reduced.noise_correlation),
        meta=reduced.meta,
        arrays={name: array.shape for name, array in arrays.items()},
        size_bytes=sum(array.nbytes for array in arrays.values()),
    )
    content = hashlib.sha256(replace(record, meta=record.meta.without_sources()).to_json())
    for array in arrays.values():
        content.update(array.data)
    return replace(
        record,
        content_digest=content.hexdigest(),
        data=uuid.uuid4().hex,
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        software=__version__,
    )


def _read_arrays(
    folder: Place, record: AtlasRecord, groups: Iterable[str]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield every plane of some arrays of a reduction."""
    for group in groups:
        shape = record.arrays[group]
        place = folder / group / chunk_path(len(shape))
        content = place.read()
        try:
            array = unpack_array(content, shape, _DTYPES[group])
        except ValueError as error:
            raise AtlasError(
                f"{place} is damaged ({error}): run `syndiff download` with `overwrite` for the "
                f"CCDs that use {record.name}"
            ) from error
        yield from _unstack(group, array, len(record.bands))
