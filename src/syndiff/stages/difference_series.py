"""Differences of many FFIs from one template: what is the same for all is made once."""

from __future__ import annotations

import io
import logging
import math
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff import __version__
from syndiff.config import digest
from syndiff.differences.inputs import TemplateSource, read_ffi
from syndiff.differences.matched import MatchConfig
from syndiff.differences.products import (
    Packing,
    finished_header,
    pack_difference,
    write_difference,
)
from syndiff.differences.residuals import find_stars, measure_residuals
from syndiff.differences.subtraction import subtract_inputs
from syndiff.errors import ConfigError, SyndiffError
from syndiff.masks import spoilt_pixels
from syndiff.stages.difference_output import (
    beside,
    catalogued,
    warn_of,
    write_residuals,
)
from syndiff.stages.stage import StageReport, clock, holding_memory
from syndiff.stars.star_files import read_star_file
from syndiff.storage.place import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astropy.io.fits import Header

    from syndiff.differences.products import DifferenceRecord
    from syndiff.ffi.observation import Observation
    from syndiff.layout import Detector
    from syndiff.stages.run import Run

__all__ = ["DifferenceSeries"]

logger = logging.getLogger(__name__)

_COLUMNS = (
    ("ffi", "FFI", "U1", ""),
    ("date_obs", "DATE-OBS", "U1", ""),
    ("tstart", "TSTART", "f8", "d"),
    ("tstop", "TSTOP", "f8", "d"),
    ("quality", "DQUALITY", "i8", ""),
    ("placing", "PLACING", "U1", ""),
    ("zero_point_ab", "ZPAB", "f8", "mag"),
    ("zero_point_error", "ZPABERR", "f8", "mag"),
    ("scale", "SCALE", "f8", ""),
    ("scale_error", "SCALEERR", "f8", ""),
    ("scatter", "SCATTER", "f8", ""),
    ("star_left", "STARLEFT", "f8", ""),
    ("doubt", "FITDOUBT", "U1", ""),
    ("dead_pixels", "DEADPIX", "i8", ""),
)
"""Of the table of a series: column, card of the difference's header, type, unit."""


class DifferenceSeries:
    """The differences of many FFIs of one CCD from one template, in one process.

    Template, scene and star catalogue are read once, each FFI too. A difference that is there,
    whole and made from the same, is kept; an FFI that fails doesn't stop the others.

    Parameters
    ----------
    run : Run
        Settings, and the first FFI that can be read.
    template : str
        The template file.
    stars : str, optional
        Catalogue of the stars to measure; default: those of the template.

    Raises
    ------
    ConfigError
        If `output` is a file.
    SyndiffError
        If the template or the catalogue can't be read.
    """

    def __init__(self, run: Run, template: str, stars: str | None = None) -> None:
        self.run = run
        self.template = template
        if (run.settings.output or "").endswith(".fits"):
            raise ConfigError(
                f"`output` {run.settings.output!r} is a file, there are several FFIs: give a folder"
            )
        self._source = TemplateSource(template, run.layout)
        self._stars = None if stars is None else read_star_file(stars)
        folder = run.settings.output or template.rpartition("/")[0] or "."
        self._folder = Place.at(folder)
        self._sizes = dict(self._folder.walk())

    @property
    def detector(self) -> Detector:
        """Sector, camera and CCD."""
        return self.run.detector

    def make(self, ffis: Sequence[str]) -> StageReport:
        """Make the differences that are missing, and a table of all.

        Parameters
        ----------
        ffis : sequence of str
            FFIs of the template's CCD.

        Returns
        -------
        StageReport
            What was made, kept and failed; `failure` if any failed and partial results were not
            asked for.
        """
        made: list[Header] = []
        kept: list[Header] = []
        failed: list[str] = []
        with clock() as seconds, holding_memory():
            self.run.progress("difference", 0, len(ffis))
            for done, ffi in enumerate(ffis, 1):
                try:
                    header, is_new = self._take(ffi)
                    (made if is_new else kept).append(header)
                except SyndiffError as error:
                    failed.append(f"{PurePosixPath(ffi).name}: {error}")
                    logger.warning("%s", failed[-1])
                self.run.progress("difference", done, len(ffis))
            products = self._write_table([*made, *kept])
        may_fail = self.run.settings.allow_partial
        return StageReport(
            stage="difference",
            seconds=seconds(),
            skipped=not made and not failed,
            partial=bool(failed) and may_fail,
            failure=_failure(failed, len(ffis)) if failed and not may_fail else "",
            counts={"differences made": len(made), "differences kept": len(kept)}
            | ({"FFIs failed": len(failed)} if failed else {}),
            notes=(*failed, *_summary([*made, *kept])),
            products=products,
        )

    def _take(self, ffi: str) -> tuple[Header, bool]:
        """Return the header of an FFI's difference, and whether it was made now."""
        observation = read_ffi(ffi)
        folder = self.run.settings.output or ""
        path = beside(self.template, self._source.window, observation, folder)
        place = self._folder / path.rpartition("/")[2]
        packing = self._packing(observation)
        size = None if self.run.settings.overwrite else self._sizes.get(place.name)
        header = finished_header(place, size, packing)
        if header is not None:
            return header, False
        record = self._subtract(observation)
        content = pack_difference(record, packing)
        write_difference(place, content)
        if self.run.settings.residuals == "all":
            self._write_residuals(path, record)
        warn_of(record)
        found = finished_header(place, len(content), packing)
        if found is None:
            raise ConfigError(f"{place} isn't as it was written: is another run at work there?")
        return found, True

    def _packing(self, observation: Observation) -> Packing:
        """Return how an FFI's difference is written, with the digest of all that it depends on."""
        settings, header = self.run.settings, self._source.header
        content = [
            *(__version__, _FORMAT, observation.name, observation.sha256(), settings.kernel),
            *(header["CFGDIG"], header.get("SCENEDIG"), self._source.checksum),
            *(settings.planes, settings.compress),
        ]
        return Packing(settings.planes, settings.compress, digest(content))

    def _subtract(self, observation: Observation) -> DifferenceRecord:
        config = MatchConfig()
        pad_px = math.ceil(config.radius_px) if self.run.settings.kernel == "fitted" else None
        inputs = self._source.inputs(observation, pad_px=pad_px)
        return subtract_inputs(inputs, config, PurePosixPath(self.template).name)

    def _write_residuals(self, path: str, record: DifferenceRecord) -> None:
        places = catalogued(self._stars, record.inputs)
        measured = measure_residuals(
            record.difference,
            record.noise,
            spoilt_pixels(record.quality),
            places or find_stars(record.difference, record.noise),
        )
        write_residuals(path, record, measured)

    def _write_table(self, headers: list[Header]) -> tuple[str, ...]:
        """Write a row for each difference, in order of time; return the folder and the table."""
        from astropy.table import Table

        if not headers:
            return ()
        headers = sorted(headers, key=lambda header: float(header["TSTART"]))
        table = Table()
        for name, card, kind, unit in _COLUMNS:
            values: list[Any] = [header[card] for header in headers]
            table[name] = np.array(values, None if kind == "U1" else kind)
            table[name].unit = unit or None
        table.meta = {"template": PurePosixPath(self.template).name}
        out = io.StringIO()
        table.write(out, format="ascii.ecsv")
        place = self._folder / f"syndiff_differences_{self.detector.tag}.ecsv"
        place.write(out.getvalue().encode())
        return str(self._folder), str(place)


_FORMAT = 1
"""Version of how differences of a series are made and laid out."""


def _failure(failed: list[str], count: int) -> str:
    """Return what to say when some FFIs failed."""
    return (
        f"{len(failed)} of {count} FFIs failed, {failed[0]}; the other differences are made: leave "
        "those out, or pass `allow_partial` to end with exit code 3"
    )


def _summary(headers: list[Header]) -> tuple[str, ...]:
    """Return what the differences have in common, in words."""
    if not headers:
        return ()
    lines = []
    for card, text in (
        ("ZPAB", "zero points {} AB mag"),
        ("SCATTER", "robust rms of DIFF / UNCERT {}"),
    ):
        low, middle, high = np.percentile([header[card] for header in headers], [0, 50, 100])
        lines.append(text.format(f"{middle:.4f} ({low:.4f} to {high:.4f})"))
    doubted = [header["FFI"] for header in headers if header["FITDOUBT"] != "none"]
    if doubted:
        lines.append(f"{len(doubted)} differences are in doubt (FITDOUBT), {doubted[0]} among them")
    return tuple(lines)
