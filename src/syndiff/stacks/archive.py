"""The stack files of a skycell in the PS1 archive: what they are called, all of them fetched."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from syndiff.errors import ArchiveError, GeometryError, SkycellNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from syndiff.sky.tessellation import Skycell
    from syndiff.stacks.stackfile import StackFile
    from syndiff.stacks.stackheader import Plane
    from syndiff.transport.archive import Archive
    from syndiff.transport.attempt import Download

__all__ = [
    "PACKINGS",
    "PLANES",
    "UNFINISHED",
    "Fetched",
    "OpenPlane",
    "SkycellFiles",
    "describe_holdings",
    "fetch_skycell",
    "stack_folder",
    "stack_path",
]

PLANES: tuple[Plane, ...] = ("image", "variance", "mask")
"""The planes of a stack that the reduction needs."""

_SUFFIXES: dict[Plane, str] = {"image": "", "variance": ".wt", "mask": ".mask"}

_NAME = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")

PACKINGS = ("", ".gz", ".fz")
"""What may follow a stack file's name: as the survey names it, gzipped, renamed by fpack."""

UNFINISHED = "unfinished"
"""File beside a skycell's files while they are being written: others may still be missing."""


@dataclass(frozen=True)
class Fetched:
    """One file that arrived and was found good.

    Parameters
    ----------
    stack : StackFile
        The opened file.
    sha256 : str
        Digest of the file as the archive sent it, 64 hexadecimal digits.
    source : str
        Its source.
    size : int
        Bytes read over the network or from disk.
    octets : memoryview, optional
        The file's bytes as fetched, if they were requested.
    """

    stack: StackFile
    sha256: str
    source: str
    size: int
    octets: memoryview | None = None


@dataclass(frozen=True)
class SkycellFiles:
    """The files of one skycell.

    Parameters
    ----------
    name : str
        Skycell name.
    planes : mapping of (band, plane) to Fetched
        All three `PLANES` of every band that the archive has.
    absent : tuple of str
        Bands whose image the archive doesn't have.
    """

    name: str
    planes: Mapping[tuple[str, Plane], Fetched]
    absent: tuple[str, ...] = ()

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that are there, in the order asked for."""
        return tuple(dict.fromkeys(band for band, _ in self.planes))

    @property
    def all_absent(self) -> bool:
        """Whether the archive has nothing of this skycell."""
        return not self.planes

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(fetched.size for fetched in self.planes.values())


class OpenPlane(Protocol):
    """Opens and checks one stack file; raises CorruptDownloadError."""

    def __call__(
        self, data: bytes | memoryview, *, source: str, plane: Plane, band: str, skycell: Skycell
    ) -> StackFile:
        """Return the opened file."""


def stack_path(name: str, band: str, plane: Plane) -> str:
    """Return a stack file's path below the archive's root.

    Parameters
    ----------
    name : str
        Skycell name ``word.projection.cell``, e.g. ``skycell.2556.082``.
    band : str
        PS1 band.
    plane : {"image", "variance", "mask"}
        Which of the stack's files.

    Returns
    -------
    str
        For example ``2556/082/rings.v3.skycell.2556.082.stk.r.unconv.wt.fits``.

    Raises
    ------
    GeometryError
        If the name doesn't have the three parts that the path is made of.

    Examples
    --------
    >>> stack_path("skycell.2556.082", "r", "mask")
    '2556/082/rings.v3.skycell.2556.082.stk.r.unconv.mask.fits'
    """
    return f"{stack_folder(name)}/rings.v3.{name}.stk.{band}.unconv{_SUFFIXES[plane]}.fits"


def stack_folder(name: str) -> str:
    """Return the folder of a skycell's files below the archive's root.

    Parameters
    ----------
    name : str
        Skycell name.

    Returns
    -------
    str
        For example ``2556/082``.

    Raises
    ------
    GeometryError
        If the name doesn't have the three parts that the path is made of.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise GeometryError(
            f"skycell name {name!r} can't be made into an archive path: names are "
            "word.projection.cell (letters, digits, _ and -), such as skycell.2556.082"
        )
    return "/".join(parts.groups())


def describe_holdings(archive: Archive) -> str:
    """Return what a local folder holds instead of what was looked for.

    Parameters
    ----------
    archive : Archive
        The archive.

    Returns
    -------
    str
        Words for messages; empty for a server.
    """
    found = archive.holdings()
    if found is None:
        return ""
    if not found:
        return "the folder holds no FITS file; "
    return (
        f"it holds FITS files such as {found[0]}, but files are looked for by names such as "
        f"{stack_path('skycell.PPPP.CCC', 'B', 'image')} (.gz or .fz may follow; folders may be "
        "left out); "
    )


def fetch_skycell(
    archive: Archive,
    skycell: Skycell,
    *,
    bands: Sequence[str],
    open_plane: OpenPlane | None = None,
    with_octets: bool = False,
) -> SkycellFiles:
    """Return every stack file of a skycell that the reduction needs, verified.

    Parameters
    ----------
    archive : Archive
        Where to fetch from.
    skycell : Skycell
        Which skycell.
    bands : sequence of str
        PS1 bands.
    open_plane : callable, optional
        Opens and checks a file (default: `syndiff.stacks.stackfile.open_stackfile`).
    with_octets : bool
        Hold the files' bytes too, to keep them.

    Returns
    -------
    SkycellFiles
        The files, and the bands whose image the archive doesn't have.

    Raises
    ------
    ArchiveError
        If an image is there but not its mask or variance, a file can't be had or read, or the
        folder is a copy that isn't finished.
    """
    if open_plane is None:
        from syndiff.stacks.stackfile import open_stackfile

        open_plane = open_stackfile
    stop = threading.Event()
    jobs: dict[tuple[str, Plane], Future[Fetched]] = {}
    try:
        # Images first: if one is absent, its other planes are rarely requested.
        for plane in PLANES:
            for band in bands:
                path = stack_path(skycell.name, band, plane)
                accept = _acceptance(open_plane, plane, band, skycell, with_octets)
                jobs[band, plane] = archive.submit(path, accept, stop, endings=PACKINGS)
        return _collect(archive, skycell.name, bands, jobs)
    finally:
        stop.set()
        _cancel(jobs.values())


def _acceptance(
    open_plane: OpenPlane, plane: Plane, band: str, skycell: Skycell, with_octets: bool
) -> Callable[[Download], Fetched]:
    """Return what turns one file's bytes into a verified file."""

    def accept(file: Download) -> Fetched:
        stack = open_plane(file.octets, source=file.source, plane=plane, band=band, skycell=skycell)
        octets = file.octets if with_octets else None
        return Fetched(stack, file.sha256, file.source, len(file.octets), octets)

    return accept


def _collect(
    archive: Archive,
    name: str,
    bands: Sequence[str],
    jobs: Mapping[tuple[str, Plane], Future[Fetched]],
) -> SkycellFiles:
    """Wait for all files; an absent image makes its band absent."""
    images: dict[str, Fetched] = {}
    for band in bands:
        try:
            images[band] = jobs[band, "image"].result()
        except SkycellNotFoundError:
            _cancel(jobs[band, plane] for plane in PLANES)
            _check_finished(archive, name)
    planes: dict[tuple[str, Plane], Fetched] = {}
    for band, image in images.items():
        planes[band, "image"] = image
        for plane in PLANES[1:]:
            try:
                planes[band, plane] = jobs[band, plane].result()
            except SkycellNotFoundError as error:
                raise ArchiveError(
                    f"{name}: the archive has the {band} image but not its {plane} "
                    f"({archive.address(stack_path(name, band, plane))}): the skycell can't be "
                    "reduced. Try again later, give another `archive`, or go on without it by "
                    "`allow_partial`"
                ) from error
    return SkycellFiles(name, planes, tuple(band for band in bands if band not in images))


def _check_finished(archive: Archive, name: str) -> None:
    """Raise if what is absent from a folder may be yet to come."""
    folder = stack_folder(name)
    if UNFINISHED in (archive.names(folder) or ()):
        raise ArchiveError(
            f"{name}: the copy in {archive.address(folder)} is not finished: run the download with "
            "`keep_raw` that makes it again"
        )


def _cancel(jobs: Iterable[Future[Fetched]]) -> None:
    for job in jobs:
        job.cancel()
