"""Names of objects: where they are, asked of CDS Sesame once and kept."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import logging
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin
from xml.etree import ElementTree as ET

from syndiff.config import DEFAULT_SESAME
from syndiff.errors import ArchiveError, ArchiveUnavailableError, ConfigError
from syndiff.storage.user_cache import user_cache
from syndiff.transport.attempt import ArchiveConfig, TransientError
from syndiff.transport.service import WebService

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NameService", "ResolvedName", "position_of", "resolve_name"]

logger = logging.getLogger(__name__)

_MIRRORS = {DEFAULT_SESAME: "http://vizier.cfa.harvard.edu/viz-bin/nph-sesame"}
"""Whom to ask where a service fails."""

_QUERY = "-oxp/SNV"
"""XML, from the first of Simbad, NED and VizieR that knows the name."""

_REDIRECTS = 3


@dataclass(frozen=True)
class NameService:
    """Whom to ask for names, and how patiently.

    Parameters
    ----------
    url : str
        Address of Sesame; where CDS's own fails, its mirror is asked.
    retries : int
        Further attempts at each after the first one failed.
    timeout_s : float
        Limit on connecting, on silence, and on half of one attempt.
    """

    url: str = DEFAULT_SESAME
    retries: int = 1
    timeout_s: float = 15.0


@dataclass(frozen=True)
class ResolvedName:
    """Where an object is.

    Parameters
    ----------
    name : str
        As it was asked for.
    ra_deg, dec_deg : float
        ICRS, epoch J2000.
    known_as : str
        What the catalogue calls it.
    source : str
        The catalogue, and the service that told.
    asked : str
        Date of the answer, ISO 8601.
    motion_mas_per_year : float
        Proper motion; 0 where none was told.
    """

    name: str
    ra_deg: float
    dec_deg: float
    known_as: str
    source: str
    asked: str
    motion_mas_per_year: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.ra_deg <= 360 and abs(self.dec_deg) <= 90):
            raise ValueError(f"{self.ra_deg}, {self.dec_deg} is no place on the sky")


def position_of(
    target: tuple[float, float] | str, url: str = DEFAULT_SESAME
) -> tuple[float, float]:
    """Return the position of a target that is one, or a name.

    Parameters
    ----------
    target : (float, float) or str
        As `positions.read_target` returns it.
    url : str
        The name service.

    Returns
    -------
    (float, float)
        ICRS right ascension and declination in degrees.
    """
    if isinstance(target, str):
        found = resolve_name(target, NameService(url))
        return found.ra_deg, found.dec_deg
    return target


@functools.lru_cache(maxsize=256)
def resolve_name(name: str, service: NameService = NameService()) -> ResolvedName:
    """Return where an object is; an answer is kept in the user's cache.

    Parameters
    ----------
    name : str
        For example ``SN 2018hna``, ``M31``, ``TIC 261136679``.
    service : NameService
        Whom to ask.

    Returns
    -------
    ResolvedName
        Its place.

    Raises
    ------
    ConfigError
        If nobody knows the name.
    ArchiveUnavailableError
        If the service did not answer, or not as Sesame does.
    """
    kept = _file_of(name)
    found = _read(kept, name)
    if found is None:
        found = _ask(name, service)
        _keep(kept, found)
    return found


def _file_of(name: str) -> Path | None:
    """Return the file that a name's place is kept in."""
    cache = user_cache()
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return cache / "names" / f"{digest}.json" if cache is not None else None


def _read(kept: Path | None, name: str) -> ResolvedName | None:
    """Return what is kept of a name; None if nothing is, or nothing that can be read."""
    try:
        found = ResolvedName(**json.loads(kept.read_bytes())) if kept is not None else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        logger.info("%s can't be read (%s): the name is asked for again", kept, error)
        return None
    return found if found is not None and found.name == name else None


def _keep(kept: Path | None, found: ResolvedName) -> None:
    """Keep an answer, if there is a place to write to."""
    if kept is None:
        return
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{hashlib.sha256(repr(found).encode()).hexdigest()[:8]}")
        part.write_text(json.dumps(asdict(found), indent=1) + "\n", "utf-8")
        part.replace(kept)
    except OSError as error:
        logger.info("the place of %s is not kept: %s", found.name, error)


def _ask(name: str, service: NameService) -> ResolvedName:
    """Ask the addresses in turn until one answers."""
    failures = []
    for url in (service.url, *filter(None, [_MIRRORS.get(service.url)])):
        try:
            return _answer(_fetch(url, name, service), name, url)
        except (ArchiveError, TransientError) as error:
            logger.info("%s: %s", url, error)
            failures.append(str(error) if url in str(error) else f"{url}: {error}")
    raise ArchiveUnavailableError(
        f"where {name!r} is could not be found out: {'; '.join(failures)}. Give RA,DEC in place of "
        "the name, or try again later"
    )


def _fetch(url: str, name: str, service: NameService) -> bytes:
    """Return what one address answers."""
    limit = service.timeout_s
    config = ArchiveConfig(
        url=url,
        retries=service.retries,
        backoff_s=0.5,
        connect_timeout_s=limit,
        read_timeout_s=limit,
        total_timeout_s=2 * limit,
        option="`sesame_url`",
    )
    web = WebService(config)
    address = f"{url.rstrip('/')}/{_QUERY}?{quote(name, safe='')}"
    try:
        for _ in range(_REDIRECTS + 1):
            answer = web.ask("GET", address)
            if answer.status < 300:
                return bytes(answer.content)
            if not answer.location:
                raise ArchiveUnavailableError(f"{address} answered {answer.status} and no content")
            address = urljoin(address, answer.location)
    finally:
        web.close()
    raise ArchiveUnavailableError(f"it sends on and on, in the end to {address}")


def _answer(content: bytes, name: str, url: str) -> ResolvedName:
    """Return what Sesame's answer says."""
    try:
        root = ET.fromstring(content)  # noqa: S314 - expat limits what entities expand to
    except ET.ParseError:
        root = None
    if root is None or root.tag.rpartition("}")[2] != "Sesame":
        start = " ".join(content[:60].decode("utf-8", "replace").split())
        raise ArchiveUnavailableError(
            f"{url} answered something that is no answer of Sesame's ({start!r}): check "
            "`sesame_url`, and whether a proxy or a login page stands between"
        )
    for resolver in root.iterfind(".//{*}Resolver"):
        if resolver.find("{*}jradeg") is not None:
            return _place(resolver, name, url)
    raise ConfigError(
        f"target {name!r} is no position, and neither Simbad, NED nor VizieR knows an object of "
        f"that name ({url}): check its spelling, or give RA,DEC"
    )


def _place(resolver: ET.Element, name: str, url: str) -> ResolvedName:
    """Return the place that one catalogue gives."""

    def text(path: str) -> str:
        return " ".join((resolver.findtext(path) or "").split())

    # "S=Simbad (via url)", "Sc=Simbad (CDS, via client/server)", "N=NED", "V=VizieR (local)"
    catalogue = resolver.get("name", "").rpartition("=")[2].partition("(")[0].strip()
    try:
        motion = math.hypot(*(float(text(f".//{{*}}pm{axis}") or 0) for axis in ("RA", "DE")))
        return ResolvedName(
            name,
            float(text("{*}jradeg")),
            float(text("{*}jdedeg")),
            text("{*}oname") or name,
            f"{catalogue or 'Sesame'}, {url}",
            dt.datetime.now(dt.UTC).date().isoformat(),
            motion,
        )
    except ValueError as error:
        raise ArchiveUnavailableError(f"{url} gives {name!r} no usable place: {error}") from None
