"""Stars from Gaia's archive: asynchronous TAP jobs, counted, checked and kept."""

from __future__ import annotations

import io
import logging
import re
import time
import warnings
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import numpy as np

from syndiff.config import DEFAULT_GAIA_TAP, digest
from syndiff.errors import ArchiveUnavailableError, ConfigError
from syndiff.ffi.tiles import TileGrid
from syndiff.stars.catalogue import StarCatalogue
from syndiff.stars.star_files import stars_of_table
from syndiff.transport.attempt import ArchiveConfig, TransientError
from syndiff.transport.service import WebService

if TYPE_CHECKING:
    from astropy.table import Table

    from syndiff.ffi.observation import Frame
    from syndiff.layout import Layout
    from syndiff.window import Window

__all__ = ["GaiaService", "adql_polygon", "find_gaia_stars", "query_gaia"]

logger = logging.getLogger(__name__)

FAINTEST_RP_MAG = 17.2
"""Stars down to here: T is RP to 0.2 mag, and the scale is measured on T 14.5 to 17."""

MOVING_RP_MAG = 19.0
MOVING_MAS_PER_YEAR = 40.0
"""Fainter stars that move this much are wanted too: 0.4" between PS1 (2012) and TESS (to 2022)."""

ROW_LIMIT = 3_000_000
"""What the archive gives to users without an account; as many rows as this are too many."""

MARGIN_PX = 140.0
"""TESS pixels around a region: a skycell's diagonal (110 at most) and the reach of its stars."""

_SIDE_POINTS = 8
_COLUMNS = (
    "source_id, ra, dec, pmra, pmdec, ref_epoch, phot_g_mean_mag, phot_bp_mean_mag, "
    "phot_rp_mean_mag"
)
_PHASES = frozenset({"PENDING", "QUEUED", "EXECUTING", "HELD", "SUSPENDED", "UNKNOWN"})
_MOST_POLL_S = 20.0


@dataclass(frozen=True)
class GaiaService:
    """A TAP service that holds Gaia's sources, and how patiently it is asked.

    Parameters
    ----------
    url : str
        Base address, without ``/async``.
    table : str
        The table of sources.
    retries : int
        Further attempts at each request after the first one failed.
    backoff_s : float
        Wait before the second attempt; it doubles with every further one.
    poll_s : float
        Wait before a job's phase is asked for first; it grows by half each time, to 20 s.
    job_s : float
        Longest wait for a job.
    read_timeout_s : float
        Longest silence while an answer is read.
    row_limit : int
        Rows from which a query counts as cut short.
    """

    url: str = DEFAULT_GAIA_TAP
    table: str = "gaiadr3.gaia_source"
    retries: int = 5
    backoff_s: float = 2.0
    poll_s: float = 1.0
    job_s: float = 1800.0
    read_timeout_s: float = 60.0
    row_limit: int = ROW_LIMIT

    def __post_init__(self) -> None:
        if re.fullmatch(r"[A-Za-z0-9_.]+", self.table) is None:
            raise ConfigError(
                f"table {self.table!r} is no name: give for example gaiadr3.gaia_source"
            )


def find_gaia_stars(
    layout: Layout, frame: Frame, window: Window | None, service: GaiaService
) -> StarCatalogue:
    """Return the stars around a region of a CCD, asked for once and kept.

    Parameters
    ----------
    layout : Layout
        The data root's paths.
    frame : Frame
        The FFI's pixel grid.
    window : Window, optional
        Region of interest; None for the whole CCD.
    service : GaiaService
        Whom to ask.

    Returns
    -------
    StarCatalogue
        Of this region and of all others of the CCD that were asked for before.

    Raises
    ------
    ArchiveUnavailableError
        If the service doesn't answer, or not with what was asked for.
    """
    grid = TileGrid(frame.science)
    # Complete tiles: neighbouring regions then send the same queries.
    tiles = grid.pixels(grid.covering(window or frame.science))
    condition = _condition(adql_polygon(frame, tiles))
    folder = layout.gaia_results(digest([service.url.rstrip("/"), service.table]))
    place = folder / f"{digest(condition)}.npy"
    if not place.exists():
        place.write(query_gaia(condition, service).pack())
    kept = [(folder / name).read() for name, _ in folder.walk() if name.endswith(".npy")]
    return _union([StarCatalogue.unpack(content) for content in kept])


def _union(parts: list[StarCatalogue]) -> StarCatalogue:
    """Return every star once."""
    columns = (np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(StarCatalogue))
    everything = StarCatalogue(*columns)
    _, first = np.unique(everything.identity, return_index=True)
    return everything.select(first).sorted()


def adql_polygon(frame: Frame, window: Window) -> str:
    """Return the ADQL polygon around a window of the FFI, with a margin.

    Parameters
    ----------
    frame : Frame
        The FFI's pixel grid.
    window : Window
        FFI pixels.

    Returns
    -------
    str
        ``POLYGON(ra, dec, ra, dec, ...)``.

    Notes
    -----
    Eight points a side: between them the curved edge leaves a great circle by less than a pixel,
    and the margin is 140.
    """
    left, right = window.x0 - MARGIN_PX, window.x1 + MARGIN_PX
    low, high = window.y0 - MARGIN_PX, window.y1 + MARGIN_PX
    part = np.arange(_SIDE_POINTS) / _SIDE_POINTS
    across, up = left + (right - left) * part, low + (high - low) * part
    still = np.ones(_SIDE_POINTS)
    x = np.concatenate([across, right * still, left + right - across, left * still])
    y = np.concatenate([low * still, up, high * still, low + high - up])
    ra, dec = frame.pixel_to_sky(x, y)
    numbers = ", ".join(f"{r:.5f}, {d:.5f}" for r, d in zip(ra, dec, strict=True))
    return f"POLYGON({numbers})"


def _condition(polygon: str) -> str:
    """Return the WHERE clause of the stars that a scene needs."""
    return (
        f"1 = CONTAINS(POINT(ra, dec), {polygon}) AND (phot_rp_mean_mag < {FAINTEST_RP_MAG} OR "
        f"(phot_rp_mean_mag IS NULL AND phot_g_mean_mag < {FAINTEST_RP_MAG}) OR "
        f"(phot_rp_mean_mag < {MOVING_RP_MAG} AND pm > {MOVING_MAS_PER_YEAR})) AND "
        "phot_g_mean_mag IS NOT NULL"
    )


def query_gaia(condition: str, service: GaiaService) -> StarCatalogue:
    """Ask for all stars that meet a condition.

    Parameters
    ----------
    condition : str
        ADQL, after WHERE.
    service : GaiaService
        Whom to ask.

    Returns
    -------
    StarCatalogue
        As many stars as the service counts.

    Raises
    ------
    ArchiveUnavailableError
        If the service doesn't answer, answers something else, or with fewer rows than it counts.
    """
    client = _Client(service)
    try:
        source = f"FROM {service.table} WHERE {condition}"
        count = _single_count(client.run(f"SELECT COUNT(*) AS n {source}", 10), service)
        if count >= service.row_limit:
            raise ArchiveUnavailableError(
                f"{service.url} counts {count} stars in the region, and gives fewer than "
                f"{service.row_limit} at once: give `roi` or `target` for a smaller region, or a "
                "file with `stars`"
            )
        logger.info("%s counts %d stars", service.url, count)
        table = client.run(f"SELECT {_COLUMNS} {source}", count + 1, rows=count)
    finally:
        client.close()
    return stars_of_table(table, service.url)


def _single_count(table: Table, service: GaiaService) -> int:
    """Return the number that a count query answers."""
    if len(table) != 1 or len(table.colnames) != 1:
        raise ArchiveUnavailableError(
            f"{service.url} answered a count with {len(table)} rows of {len(table.colnames)} "
            "columns, not with one number: check `gaia_url`"
        )
    return int(table[table.colnames[0]][0])


class _Client:
    """Runs jobs, all of it again where that may help."""

    def __init__(self, service: GaiaService) -> None:
        self._service = service
        self._web = WebService(
            ArchiveConfig(
                service.url,
                connections=1,
                retries=service.retries,
                backoff_s=service.backoff_s,
                read_timeout_s=service.read_timeout_s,
                option="`gaia_url`",
                advice="Try again later, or give a star catalogue file with `stars`",
            )
        )

    def close(self) -> None:
        self._web.close()

    def run(self, query: str, max_rows: int, *, rows: int | None = None) -> Table:
        """Return the table of a query, with `rows` rows if that is known."""
        return self._web.repeat(lambda: self._run_once(query, max_rows, rows))

    def _run_once(self, query: str, max_rows: int, rows: int | None) -> Table:
        job = self._start(query, max_rows)
        try:
            self._wait(job)
            result = f"{job}/results/result"
            body = self._web.ask("GET", result)
            if body.location and body.status in {302, 303, 307}:
                body = self._web.ask("GET", urljoin(result, body.location))
            table = _parse(bytes(body.content))
        finally:
            self._delete(job)
        if rows is not None and len(table) != rows:
            raise TransientError(f"it sent {len(table)} rows, and counts {rows}")
        return table

    def _start(self, query: str, max_rows: int) -> str:
        """Make a job, set it running, and return its address."""
        form = {
            "REQUEST": "doQuery",
            "LANG": "ADQL",
            "FORMAT": "votable",
            "MAXREC": str(max_rows),
            "PHASE": "RUN",
            "QUERY": query,
        }
        address = f"{self._service.url.rstrip('/')}/async"
        answer = self._web.ask_once("POST", address, form)
        if not answer.location:
            raise TransientError(f"it made no job but answered {_first_words(answer.content)}")
        job = urljoin(address, answer.location).rstrip("/")
        # Behind a proxy some services take themselves for http.
        secure = address.startswith("https:") and job.startswith("http:")
        return job.replace("http:", "https:", 1) if secure else job

    def _wait(self, job: str) -> None:
        """Wait until a job is done."""
        service = self._service
        deadline = time.monotonic() + service.job_s
        pause = service.poll_s
        started = False
        while True:
            answer = self._web.ask("GET", f"{job}/phase")
            phase = bytes(answer.content[:100]).decode("ascii", "replace").strip().upper()
            if phase == "COMPLETED":
                return
            if phase in {"ERROR", "ABORTED"}:
                raise TransientError(f"the job ended in {phase}: {self._complaint(job)}")
            if phase not in _PHASES:
                raise TransientError(f"the job's phase is {_first_words(answer.content)}")
            if phase == "PENDING" and not started:
                self._web.ask("POST", f"{job}/phase", {"PHASE": "RUN"})
                started = True
            if time.monotonic() > deadline:
                raise TransientError(f"the job is still {phase} after {service.job_s:.0f} s")
            time.sleep(pause)
            pause = min(1.5 * pause, _MOST_POLL_S)

    def _complaint(self, job: str) -> str:
        """Return what a failed job says."""
        try:
            return _first_words(self._web.ask_once("GET", f"{job}/error").content)
        except (TransientError, ArchiveUnavailableError) as error:
            return f"no reason given ({error})"

    def _delete(self, job: str) -> None:
        """Clean up behind us; services forget jobs by themselves too."""
        try:
            self._web.ask_once("DELETE", job)
        except (TransientError, ArchiveUnavailableError) as error:
            logger.debug("%s can't be deleted: %s", job, error)


def _first_words(content: memoryview) -> str:
    """Return the start of an answer on one line, without markup."""
    text = re.sub(r"<[^>]*>", " ", bytes(content[:4000]).decode("utf-8", "replace"))
    return " ".join(text.split())[:300] or "nothing"


def _parse(content: bytes) -> Table:
    """Return the table of a VOTable answer, if it is a whole one."""
    from astropy.io.votable import parse
    from astropy.utils.exceptions import AstropyWarning

    if b"<VOTABLE" not in content[:2000]:
        raise TransientError(f"it sent no VOTable but {_first_words(memoryview(content))}")
    try:
        with warnings.catch_warnings():
            # The archive's tables violate the standard in small ways that don't matter here.
            warnings.simplefilter("ignore", AstropyWarning)
            resource = parse(io.BytesIO(content), verify="ignore").resources[0]
            table = resource.tables[0].to_table(use_names_over_ids=True)
    except (ValueError, IndexError, OSError, EOFError, TypeError, KeyError) as error:
        raise TransientError(f"its table can't be read: {error}") from error
    status = {info.value.upper() for info in resource.infos if info.name == "QUERY_STATUS"}
    if "OVERFLOW" in status or "ERROR" in status:
        raise TransientError(f"its table is marked {', '.join(sorted(status))}")
    return table
