"""One CCD's inventory: the status of every skycell that its templates need."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from syndiff.config import digest
from syndiff.errors import AtlasError
from syndiff.storage.locks import locked
from syndiff.storage.place import Place
from syndiff.storage.records import dump_record, load_record
from syndiff.storage.zarr_groups import EMPTY_GROUP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from syndiff.settings import Settings

__all__ = ["Inventory", "InventoryEntry", "State"]

State = Literal["reduced", "absent", "failed"]
"""Complete in the atlas; the archive has no band of it; anything else."""


@dataclass(frozen=True)
class InventoryEntry:
    """The status of one skycell.

    Parameters
    ----------
    name : str
        Skycell name.
    state : {"reduced", "absent", "failed"}
        How its download and reduction ended.
    key_digest : str
        Digest of its key in the atlas.
    content_digest : str
        Of the reduction in the atlas; empty unless reduced.
    absent_bands : tuple of str
        Bands whose image the archive doesn't have.
    fetched_bytes : int
        Bytes that this CCD's runs fetched for it; 0 if it was in the atlas already.
    source : str
        Archive that it was fetched from.
    message : str
        Why it failed, one line.
    absurd_pixels : int
        Pixels of all bands left out because PS1 can't have their values.
    mixed : tuple of str
        Contradictions between files of one stack that were used nevertheless.

    Raises
    ------
    AtlasError
        If the state is unknown.
    """

    name: str
    state: State
    key_digest: str
    content_digest: str = ""
    absent_bands: tuple[str, ...] = ()
    fetched_bytes: int = 0
    source: str = ""
    message: str = ""
    absurd_pixels: int = 0
    mixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.state not in get_args(State):
            raise AtlasError(
                f"{self.name}: state {self.state!r} is unknown: give one of {get_args(State)}"
            )


@dataclass(frozen=True)
class _Entries:
    """All entries, as they are stored."""

    FORMAT: ClassVar[int] = 2

    skycells: tuple[InventoryEntry, ...]


@dataclass(frozen=True)
class _Group:
    """A Zarr group's metadata; the entries are its attributes."""

    attributes: _Entries
    zarr_format: Literal[3] = 3
    node_type: Literal["group"] = "group"


@dataclass
class Inventory:
    """The entries of one CCD and one reduction.

    Written by the download stages' main processes, each putting in what it did itself; readers see
    the last complete version.

    Parameters
    ----------
    place : Place
        Zarr group whose attributes hold the entries, ``<inventory>/<digest of the reduction>``.
    entries : dict of str to InventoryEntry
        By skycell name.

    Notes
    -----
    The group is a single object, so that one request replaces it whole. Reductions with other
    settings have their own groups beside it.
    """

    place: Place
    entries: dict[str, InventoryEntry] = field(default_factory=dict)
    _own: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @classmethod
    def read(cls, place: Place, settings: Settings) -> Inventory:
        """Return the inventory of one reduction, empty if there is none yet.

        Parameters
        ----------
        place : Place
            ``layout.inventory``.
        settings : Settings
            The reduction.

        Returns
        -------
        Inventory
            The entries.

        Raises
        ------
        AtlasError
            If it can't be read by this version.
        """
        group = place / digest(settings.reduction.to_dict())
        return cls(group, _read_entries(group))

    def record(self, entry: InventoryEntry) -> None:
        """Put in an entry, in place of an older one of the same skycell.

        Parameters
        ----------
        entry : InventoryEntry
            The entry; it is stored by the next `write`.
        """
        self.entries[entry.name] = entry
        self._own.add(entry.name)

    def write(self) -> None:
        """Store all entries at once, with those that other runs stored meanwhile.

        Raises
        ------
        StorageError
            If it can't be written.
        """
        root = Place(self.place.root, self.place.key.rpartition("/")[0])
        with locked(root):
            others = _read_entries(self.place)
            self.entries = {
                **self.entries,
                **{name: entry for name, entry in others.items() if name not in self._own},
            }
            (root / "zarr.json").create(EMPTY_GROUP)
            entries = tuple(self.entries[name] for name in sorted(self.entries))
            (self.place / "zarr.json").write(dump_record(_Group(_Entries(entries))))

    def states(self, names: Iterable[str]) -> Counter[str]:
        """Count the states of some skycells.

        Parameters
        ----------
        names : iterable of str
            Skycell names.

        Returns
        -------
        Counter
            State -> skycells; those without an entry count as ``"missing"``.
        """
        return Counter(
            self.entries[name].state if name in self.entries else "missing" for name in names
        )


def _read_entries(group: Place) -> dict[str, InventoryEntry]:
    """Return the entries that are stored, none if there is no inventory yet."""
    metadata = group / "zarr.json"
    if not metadata.exists():
        return {}
    remedy = "remove it and run `syndiff download` again"
    found = load_record(_Group, metadata.read(), metadata, error=AtlasError, remedy=remedy)
    return {entry.name: entry for entry in found.attributes.skycells}
