"""Bytes and Zarr groups at a place: a folder or an ``s3://`` prefix, read and written alike."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from syndiff.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zarr
    from obstore.store import ObjectStore

__all__ = ["Place"]


@functools.cache
def _open_store(root: str) -> ObjectStore:
    """Open the object store at `root` once in every process."""
    from obstore.exceptions import BaseError
    from obstore.store import LocalStore, from_url

    try:
        return from_url(root) if "://" in root else LocalStore(prefix=root, mkdir=True)
    except (BaseError, OSError, ValueError) as error:
        raise _failure("open", root, error) from error


def _failure(action: str, place: object, error: Exception) -> StorageError:
    """Return the error to raise: one line, without obstore's debug dump."""
    reason = str(error).split("\n\nDebug source", 1)[0].replace("\n", " ").strip()
    return StorageError(
        f"can't {action} {place}: {reason}. Check that the path exists, that you may read and "
        "write there and that the disk isn't full, or give another place (`data_root`, or the "
        "option that named this one)"
    )


@dataclass(frozen=True)
class Place:
    """A folder or prefix under a root; small, hashable and safe to send to workers.

    Parameters
    ----------
    root : str
        An absolute folder or an ``s3://bucket/prefix`` URL (credentials and endpoint from the
        usual ``AWS_*`` variables).
    key : str
        Path below the root, with forward slashes; empty for the root itself.

    Examples
    --------
    >>> from syndiff import Place
    >>> place = Place.at("s3://bucket/data") / "templates" / "template.fits"
    >>> str(place), place.name, place.is_local
    ('s3://bucket/data/templates/template.fits', 'template.fits', False)
    """

    root: str
    key: str = ""

    @classmethod
    def at(cls, where: str | Path) -> Place:
        """Return the place that a user's path or URL names.

        Parameters
        ----------
        where : str or Path
            A folder, relative or absolute, or a URL.

        Returns
        -------
        Place
            The place; nothing is created.

        Raises
        ------
        ConfigError
            If a URL names no bucket.
        """
        text = str(where)
        if "://" in text:
            bare = text.rstrip("/")
            if "://" not in bare:
                raise ConfigError(f"{text!r} names no bucket: give s3://bucket/prefix or a folder")
            return cls(bare)
        return cls(str(Path(text).expanduser().absolute()))

    def __truediv__(self, name: str) -> Place:
        return Place(self.root, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"{self.root}/{self.key}" if self.key else self.root

    @property
    def name(self) -> str:
        """The last part of the path."""
        return str(self).rsplit("/", 1)[-1]

    @property
    def is_local(self) -> bool:
        """Whether this is a folder of this machine."""
        return "://" not in self.root

    def exists(self) -> bool:
        """Tell whether an object (a file, not a folder) is here.

        Returns
        -------
        bool
            True where it is.

        Raises
        ------
        StorageError
            If the store can't be asked.
        """
        return bool(self.version())

    def version(self) -> str:
        """Return a tag that distinguishes this object from one that replaces it.

        Returns
        -------
        str
            Empty if there is none.

        Raises
        ------
        StorageError
            If the store can't be asked.
        """
        import obstore
        from obstore.exceptions import BaseError

        path = Path(str(self))
        if self.is_local and not path.is_file():
            return ""
        try:
            if self.is_local:
                found = path.stat()
                return f"{found.st_ino} {found.st_mtime_ns} {found.st_size}"
            head = obstore.head(_open_store(self.root), self.key)
        except FileNotFoundError:
            return ""
        except (BaseError, OSError) as error:
            raise _failure("read", self, error) from error
        return f"{head['e_tag']} {head['last_modified']} {head['size']}"

    def read(self, size: int | None = None) -> bytes:
        """Return the object's bytes.

        Parameters
        ----------
        size : int, optional
            Bytes wanted from its start; None for all of it.

        Returns
        -------
        bytes
            The content, or its start.

        Raises
        ------
        StorageError
            If there is no such object or it can't be read.
        """
        import obstore
        from obstore.exceptions import BaseError

        try:
            if self.is_local:
                with Path(str(self)).open("rb") as file:
                    return file.read(-1 if size is None else size)
            store = _open_store(self.root)
            if size is not None:
                return bytes(obstore.get_range(store, self.key, start=0, end=size))
            return bytes(obstore.get(store, self.key).bytes())
        except (BaseError, OSError) as error:
            raise _failure("read", self, error) from error

    def write(self, data: bytes | memoryview) -> None:
        """Write the object completely or not at all, replacing an existing one.

        Parameters
        ----------
        data : bytes or memoryview
            The content.

        Raises
        ------
        StorageError
            If it can't be written.
        """
        self._put(data, "overwrite")

    def create(self, data: bytes | memoryview) -> bool:
        """Write the object unless there is one already.

        Parameters
        ----------
        data : bytes or memoryview
            The content.

        Returns
        -------
        bool
            False if another writer was first; then nothing is changed.

        Raises
        ------
        StorageError
            If it can't be written.
        """
        from obstore.exceptions import AlreadyExistsError

        try:
            self._put(data, "create")
        except StorageError as error:
            if isinstance(error.__cause__, AlreadyExistsError):
                return False
            raise
        return True

    def _put(self, data: bytes | memoryview, mode: Literal["create", "overwrite"]) -> None:
        import obstore
        from obstore.exceptions import BaseError

        try:
            # One request, so that `create` is atomic on S3 too.
            obstore.put(_open_store(self.root), self.key, data, mode=mode, use_multipart=False)
        except (BaseError, OSError) as error:
            raise _failure("write", self, error) from error

    def walk(self) -> Iterator[tuple[str, int]]:
        """List every object below this place.

        Yields
        ------
        tuple[str, int]
            Path relative to this place and size in bytes.

        Raises
        ------
        StorageError
            If it can't be listed.
        """
        import obstore
        from obstore.exceptions import BaseError

        if self.is_local and not Path(str(self)).is_dir():
            return
        prefix = f"{self.key}/" if self.key else ""
        try:
            for batch in obstore.list(_open_store(self.root), self.key or None):
                for item in batch:
                    yield item["path"].removeprefix(prefix), item["size"]
        except (BaseError, OSError) as error:
            raise _failure("list", self, error) from error

    def remove(self) -> None:
        """Remove the object, or everything below the folder, that is here.

        Raises
        ------
        StorageError
            If something can't be removed.
        """
        import obstore
        from obstore.exceptions import BaseError

        try:
            paths = [f"{self.key}/{path}" if self.key else path for path, _ in self.walk()]
            if not paths and self.exists():
                paths = [self.key]
            if self.is_local:
                for path in paths:
                    # Another process may be removing the same.
                    with contextlib.suppress(FileNotFoundError):
                        obstore.delete(_open_store(self.root), path)
            elif paths:
                obstore.delete(_open_store(self.root), paths)
        except (BaseError, OSError) as error:
            raise _failure("remove", self, error) from error

    @contextlib.contextmanager
    def telling(self, action: str) -> Iterator[None]:
        """Turn what stores raise in the block into `StorageError`.

        Parameters
        ----------
        action : str
            What the block does here, ``"read"`` or ``"write"``.

        Raises
        ------
        StorageError
            If it can't be done.
        """
        from obstore.exceptions import BaseError

        try:
            yield
        except StorageError:
            raise
        except (BaseError, OSError) as error:
            raise _failure(action, self, error) from error

    def check_writable(self) -> None:
        """Make sure that objects can be created here, before hours of work depend on it.

        Raises
        ------
        StorageError
            If a small object can't be written and removed again.
        """
        probe = self / ".syndiff-write-check"
        probe.write(b"")
        probe.remove()

    def open_zarr(self, mode: str = "r") -> zarr.Group:
        """Open the Zarr group at this place.

        Parameters
        ----------
        mode : str
            ``"r"`` to read, ``"a"`` to create it if needed.

        Returns
        -------
        zarr.Group
            The group.

        Raises
        ------
        StorageError
            If there is none (``"r"``), it is damaged, or it can't be made (``"a"``).
        """
        import zarr
        from obstore.exceptions import BaseError
        from zarr.storage import ObjectStore

        try:
            if mode == "r" and self.is_local:
                # Opening the store would make the folder.
                Path(str(self)).stat()
            # Rooted here: Zarr would write metadata into every folder above a path.
            store = ObjectStore(_open_store(str(self)), read_only=mode == "r")
            return zarr.open_group(store, mode=mode, zarr_format=3)  # type: ignore[arg-type]
        except (BaseError, OSError) as error:
            raise _failure("open", self, error) from error
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(
                f"can't open {self}: its zarr.json is not a Zarr group's ({error}); remove "
                f"{self} and run the command that makes it again"
            ) from error
