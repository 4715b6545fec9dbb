"""Which FFIs there are of a CCD in a sector: in a bucket, at MAST, in a folder."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syndiff.config import DEFAULT_FFIS, DEFAULT_TESS_MAST
from syndiff.errors import ObservationError, SkycellNotFoundError
from syndiff.ffi.ffi_file import PATIENCE, telling_address
from syndiff.transport.addresses import is_address, name_at
from syndiff.transport.archive import locate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from syndiff.layout import Detector
    from syndiff.transport.attempt import ArchiveConfig, Download

__all__ = ["list_ffis"]

_SPOC = re.compile(
    r"tess(?P<stamp>\d{10}(?:\d{3})?)-s(?P<sector>\d{4})-(?P<camera>\d)-(?P<ccd>\d)-\d{4}-\w_ffic"
    r"\.fits(?:\.gz|\.fz|\.part\.zip)?"
)
_TICA = re.compile(
    r"hlsp_tica_tess_ffi_s(?P<sector>\d{4})-(?:o\w+-)?(?P<stamp>\d+)-cam(?P<camera>\d)"
    r"-ccd(?P<ccd>\d)_tess_v\d+_img\.fits(?:\.gz|\.fz|\.part\.zip)?"
)
_ADDRESS = re.compile(r"(?:https?|s3)://[^\s'\"]+")

_TICA_ORBITS = ("o1", "o2", "o1a", "o1b", "o2a", "o2b")
"""Parts of a sector that have a script each."""


def list_ffis(
    where: str = DEFAULT_FFIS, *, detector: Detector, patience: ArchiveConfig = PATIENCE
) -> tuple[str, ...]:
    """Return the calibrated FFIs of a CCD in a sector, in the order of time.

    Parameters
    ----------
    where : str
        A folder, whose subfolders are searched too; ``s3://stpubdata/tess/public/ffi/`` or another
        bucket laid out like it; ``https://archive.stsci.edu/missions/tess/`` or a mirror of it;
        ``https://archive.stsci.edu/hlsps/tica/`` for TICA's; or one download script
        (``tesscurl_sector_20_ffic.sh``), a file or an address.
    detector : Detector
        Sector, camera and CCD.
    patience : ArchiveConfig
        How servers are asked; its address doesn't count.

    Returns
    -------
    tuple of str
        Paths or addresses, each FFI once.

    Raises
    ------
    ObservationError
        If there is none.
    ArchiveError
        If a server doesn't answer.
    ConfigError
        If the address can't be used.

    Notes
    -----
    In the bucket FFIs lie in ``s0020/2019/358/3-3/``, by the day of their name. Where it can't be
    listed, MAST's script tells the names, and they are turned into keys. MAST's scripts name
    addresses of a service that answers few requests at once; its own folders are used instead.
    """
    root = where if where.endswith("/") else f"{where}/"
    if where.endswith(".sh"):
        found = _addresses(_read_script(where, patience), DEFAULT_TESS_MAST)
    elif not is_address(where):
        found = [str(path) for path in sorted(Path(where).expanduser().rglob("*.fits*"))]
    elif where.startswith("s3://"):
        found = _in_bucket(root, detector, patience)
    elif "/tica" in urlsplit(where).path:
        found = _at_mast_of_tica(root, detector, patience)
    else:
        script = f"{root}{_script(detector)}"
        found = _addresses(_read_script(script, patience), root)
    chosen = _of(detector, found)
    if not chosen:
        named = f", but {Path(name_at(found[0])).name} and others" if found else ""
        raise ObservationError(
            f"{where} has no calibrated FFI of {detector} (tess*-s{detector.sector:04d}-"
            f"{detector.camera}-{detector.ccd}-*_ffic.fits){named}: check the sector, camera and "
            "CCD, or give another place"
        )
    return chosen


def _script(detector: Detector) -> str:
    return f"download_scripts/sector/tesscurl_sector_{detector.sector}_ffic.sh"


def _read_script(where: str, patience: ArchiveConfig) -> str:
    """Return the text of a download script."""
    if not is_address(where):
        try:
            return Path(where).expanduser().read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ObservationError(f"the script {where} can't be read, {error}") from error
    archive, path = locate(where, patience)
    with telling_address(where):
        return archive.fetch(path, _as_text)


def _as_text(file: Download) -> str:
    return bytes(file.octets).decode("utf-8", "replace")


def _addresses(script: str, mast: str) -> list[str]:
    """Return the addresses in a script; FFIs of MAST's service at its folder instead."""
    found = [match[0] for match in _ADDRESS.finditer(script)]
    return [
        f"{mast}ffi/{_folder(name_at(address))}/{name_at(address)}"
        if "uri=mast:TESS/product/" in address and _SPOC.fullmatch(name_at(address))
        else address
        for address in found
    ]


def _folder(name: str) -> str:
    """Return the folder of an FFI of SPOC below the bucket's and MAST's."""
    match = _SPOC.fullmatch(name)
    assert match is not None
    stamp = match["stamp"]
    return f"s{match['sector']}/{stamp[:4]}/{stamp[4:7]}/{match['camera']}-{match['ccd']}"


def _in_bucket(root: str, detector: Detector, patience: ArchiveConfig) -> list[str]:
    """Return the FFIs of a bucket, by its own listing or else by MAST's script."""
    archive, path = locate(root, patience)
    sector = f"{path.rstrip('/')}/s{detector.sector:04d}"
    years = archive.folders(sector)
    if years is None:
        script = _read_script(f"{DEFAULT_TESS_MAST}{_script(detector)}", patience)
        names = [name_at(address) for address in _addresses(script, DEFAULT_TESS_MAST)]
        return [f"{root}{_folder(name)}/{name}" for name in names if _SPOC.fullmatch(name)]
    days = [day for year in years for day in archive.folders(year) or ()]
    folders = [f"{day}/{detector.camera}-{detector.ccd}" for day in days]
    return [
        archive.address(f"{folder}/{name}")
        for folder in folders
        for name in archive.names(folder) or ()
    ]


def _at_mast_of_tica(root: str, detector: Detector, patience: ArchiveConfig) -> list[str]:
    """Return TICA's FFIs at MAST, from the scripts of the sector's orbits."""
    found: list[str] = []
    d = detector
    for orbit in _TICA_ORBITS:
        name = (
            f"bundles/s{d.sector:04d}/hlsp_tica_tess_ffi_s{d.sector:04d}-{orbit}-cam{d.camera}-"
            f"ccd{d.ccd}_tess_v01_ffis.sh"
        )
        archive, path = locate(f"{root}{name}", patience)
        with contextlib.suppress(SkycellNotFoundError):
            found += _addresses(archive.fetch(path, _as_text), DEFAULT_TESS_MAST)
    return found


def _of(detector: Detector, found: Iterable[str]) -> tuple[str, ...]:
    """Return the FFIs of a CCD by their names, each once, in order of time."""
    wanted = (detector.sector, detector.camera, detector.ccd)
    chosen: dict[str, tuple[str, str]] = {}
    for address in found:
        name = name_at(address) if is_address(address) else Path(address).name
        match = _SPOC.fullmatch(name) or _TICA.fullmatch(name)
        if match and wanted == tuple(int(match[key]) for key in ("sector", "camera", "ccd")):
            chosen.setdefault(name.split(".fits")[0], (match["stamp"], address))
    return tuple(address for _, address in sorted(chosen.values()))
