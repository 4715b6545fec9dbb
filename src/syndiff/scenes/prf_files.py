"""TESS's pixel response files, as MAST has them: found, fetched, checked."""

from __future__ import annotations

import functools
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syndiff.config import DEFAULT_PRF_DIR, PRF_COLUMNS, PRF_ROWS
from syndiff.errors import CorruptDownloadError, ResponseError, SkycellNotFoundError
from syndiff.scenes.prf_grid import PrfGrid, check_samples
from syndiff.transport.archive import open_archive
from syndiff.transport.attempt import ArchiveConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from astropy.io import fits
    from numpy.typing import NDArray

    from syndiff.layout import Detector
    from syndiff.storage.place import Place
    from syndiff.transport.archive import Archive
    from syndiff.transport.attempt import Download

__all__ = ["PrfSet", "keep_prf_grid", "prf_set", "read_prf_files"]

_PLACES = [(row, column) for row in PRF_ROWS for column in PRF_COLUMNS]


@dataclass(frozen=True)
class PrfSet:
    """One edition of the pixel response files.

    Parameters
    ----------
    folder : str
        Its folder at MAST.
    stamps : tuple of str
        Dates in the names of its files; which one belongs to a CCD is not documented.
    """

    folder: str
    stamps: tuple[str, ...]


_EARLY = PrfSet("start_s0001", ("2018243163600", "2018243163601"))
_LATE = PrfSet("start_s0004", ("2019107181900", "2019107181901", "2019107181902"))
_FIRST_LATE_SECTOR = 4
"""TESS points more steadily since (README at MAST)."""


def prf_set(sector: int) -> PrfSet:
    """Return the edition that belongs to a sector.

    Parameters
    ----------
    sector : int
        TESS sector.

    Returns
    -------
    PrfSet
        One for sectors 1 to 3, another from sector 4 on.
    """
    return _LATE if sector >= _FIRST_LATE_SECTOR else _EARLY


@dataclass(frozen=True)
class _Stem:
    """What the files of one CCD have in common: their folder and how their names begin."""

    folder: str
    name: str

    def path(self, row: int, column: int) -> str:
        """Return a file's path below the root."""
        name = f"{self.name}-row{row:04d}-col{column:04d}.fits"
        return f"{self.folder}/{name}" if self.folder else name


def read_prf_files(where: str, detector: Detector) -> PrfGrid:
    """Return the measured pixel responses of a CCD.

    Parameters
    ----------
    where : str
        ``https://`` or ``s3://`` URL or folder: MAST's tree, one edition's folder of it, or a
        folder with the CCD's own files.
    detector : Detector
        Sector, camera and CCD.

    Returns
    -------
    PrfGrid
        The responses of the edition that belongs to the sector.

    Raises
    ------
    ConfigError
        If the address can't be used.
    ResponseError
        If files are missing, or one is not the response that its name says.
    ArchiveError
        If the server doesn't answer, or what arrives is no FITS file.
    """
    archive = _open(where)
    stem = _find(archive, detector)
    images = _fetch(archive, stem, detector)
    samples = np.stack(images).reshape(len(PRF_ROWS), len(PRF_COLUMNS), *images[0].shape)
    x, y = (np.array(places, float) - 1 for places in (PRF_COLUMNS, PRF_ROWS))
    return PrfGrid(x, y, samples, stem.name, _address(archive, stem.folder))


def keep_prf_grid(where: str, detector: Detector, kept: Place, *, again: bool) -> PrfGrid:
    """Return the measured pixel responses of a CCD, kept under the data root for every worker.

    Parameters
    ----------
    where : str
        As for `read_prf_files`.
    detector : Detector
        Sector, camera and CCD.
    kept : Place
        Where they are kept; replaced unless they are the same.
    again : bool
        Whether to fetch again what was fetched from this address before. Folders are always read.

    Returns
    -------
    PrfGrid
        The responses.

    Raises
    ------
    StorageError
        If they can't be kept.
    SyndiffError
        As `read_prf_files`.
    """
    if "://" in where and not again and kept.exists():
        held = PrfGrid.unpack(kept.read(), kept)
        if held.source in _addresses(_open(where), detector):
            return held
    grid = read_prf_files(where, detector)
    kept.write(grid.pack())
    return grid


def _folders(detector: Detector) -> tuple[str, ...]:
    """Return where the files may be below the root, the likeliest first."""
    ccd = f"cam{detector.camera}_ccd{detector.ccd}"
    return f"{prf_set(detector.sector).folder}/{ccd}", ccd, ""


def _open(where: str) -> Archive:
    """Return this process's archive at an address; no request is sent yet."""
    return open_archive(ArchiveConfig(where, option="`prf_dir`"))


def _address(archive: Archive, folder: str) -> str:
    """Return the address of a folder below the root."""
    return archive.address(folder).rstrip("/")


def _addresses(archive: Archive, detector: Detector) -> list[str]:
    """Return where the files may be, the likeliest first."""
    return [_address(archive, folder) for folder in _folders(detector)]


def _find(archive: Archive, detector: Detector) -> _Stem:
    """Return the stem of the CCD's files, from a listing or else by requesting one of them."""
    for folder in _folders(detector):
        names = archive.names(folder)
        stems = _asked(archive, folder, detector) if names is None else _listed(names, detector)
        name = next(iter(stems), None)
        if name is not None:
            return _Stem(folder, name)
    folders = ", ".join(_addresses(archive, detector))
    raise ResponseError(f"no pixel response files of {detector} in {folders}: {_remedy(detector)}")


def _remedy(detector: Detector) -> str:
    return f"they come from {DEFAULT_PRF_DIR}{_folders(detector)[0]}/ (25 files); see `prf_dir`"


def _stems(detector: Detector) -> list[str]:
    """Return known stems, those of the sector's own edition first."""
    own = prf_set(detector.sector)
    other = _EARLY if own is _LATE else _LATE
    tail = f"-prf-{detector.camera}-{detector.ccd}"
    return [f"tess{stamp}{tail}" for stamp in (*own.stamps, *other.stamps)]


def _listed(names: Sequence[str], detector: Detector) -> list[str]:
    """Return the stems in a listing, those of the sector's own edition first."""
    pattern = re.compile(
        rf"(tess\d+-prf-{detector.camera}-{detector.ccd})-row\d{{4}}-col\d{{4}}\.fits"
    )
    found = {match[1] for match in map(pattern.fullmatch, names) if match}
    known = [stem for stem in _stems(detector) if stem in found]
    # Newer editions than we know have later stamps.
    return known or sorted(found, reverse=True)


def _asked(archive: Archive, folder: str, detector: Detector) -> Iterator[str]:
    """Yield the known stems of which the archive has the first file."""
    for name in _stems(detector):
        try:
            archive.fetch(_Stem(folder, name).path(*_PLACES[0]), bool)
        except SkycellNotFoundError:
            continue
        yield name


def _fetch(archive: Archive, stem: _Stem, detector: Detector) -> list[NDArray[np.float64]]:
    """Return the images of all places of the grid, checked."""
    stop = threading.Event()
    jobs: list[Future[fits.PrimaryHDU]] = []
    try:
        for place in _PLACES:
            path = stem.path(*place)
            accept = functools.partial(_parse, source=archive.address(path))
            jobs.append(archive.submit(path, accept, stop))
        found = [_arrived(job) for job in jobs]
    finally:
        stop.set()
        for job in jobs:
            job.cancel()
    paths = [archive.address(stem.path(*place)) for place in _PLACES]
    missing = [path for path, hdu in zip(paths, found, strict=True) if hdu is None]
    if missing:
        raise ResponseError(
            f"{len(missing)} of {len(_PLACES)} pixel response files are missing, {missing[0]} "
            f"among them: {_remedy(detector)}"
        )
    return [
        _image(hdu, detector, place, path)
        for place, path, hdu in zip(_PLACES, paths, found, strict=True)
        if hdu is not None
    ]


def _arrived(job: Future[fits.PrimaryHDU]) -> fits.PrimaryHDU | None:
    """Wait for a file; None where the archive doesn't have it."""
    try:
        return job.result()
    except SkycellNotFoundError:
        return None


def _parse(file: Download, source: str) -> fits.PrimaryHDU:
    """Return a file's first HDU; the second one holds uncertainties."""
    from astropy.io import fits

    try:
        hdu = fits.PrimaryHDU.fromstring(bytes(file.octets))
        image = hdu.data
    except (OSError, TypeError, ValueError, fits.VerifyError) as error:
        raise CorruptDownloadError(f"{source} is no complete FITS file ({error})") from error
    if image is None:
        raise CorruptDownloadError(f"{source}: the first HDU holds no image")
    return hdu


def _image(
    hdu: fits.PrimaryHDU, detector: Detector, place: tuple[int, int], source: str
) -> NDArray[np.float64]:
    """Return a file's response; raise if it is not the one of its name."""
    header, (row, column) = hdu.header, place
    wanted = {
        "CRVAL1P": (column, True),
        "CRVAL2P": (row, True),
        "CRPIX1P": (59, False),
        "CRPIX2P": (59, False),
        "NSAMP": (9, False),
        "CAM": (detector.camera, False),
        "CCD": (detector.ccd, False),
    }
    for key, (value, is_needed) in wanted.items():
        if (key in header or is_needed) and header.get(key) != value:
            raise ResponseError(
                f"{source}: {key} is {header.get(key, 'missing')}, {value} belongs to this name: "
                "the file is not what its name says, get it again"
            )
    samples = np.array(hdu.data, np.float64)
    if samples.ndim == 2:
        _fill_edges(samples)
    check_samples(samples, source)
    return samples


def _fill_edges(samples: NDArray[np.float64]) -> None:
    """Replace a line of zeros at the edge by its neighbour: 4 of 75 of MAST's files have one."""
    for lines in (samples, samples.T):
        for edge, neighbour in ((0, 1), (-1, -2)):
            if len(lines) > 1 and not lines[edge].any():
                lines[edge] = lines[neighbour]
