"""What a person sees of a run: progress and log on stderr, the report on stdout, the exit code."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import shlex
import sys
import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich.box
import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from syndiff.commands.flags import as_flags
from syndiff.errors import ConfigError, SyndiffError, SyndiffWarning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from syndiff.pipeline import DriftReport, RunReport
    from syndiff.pointing.drift import Drift
    from syndiff.simulation import Simulation
    from syndiff.simulation.demo import DemoReport
    from syndiff.sky.visibility import Visibility
    from syndiff.stages.stage import StageReport
    from syndiff.target_run import LightCurveReport

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_PARTIAL",
    "EXIT_USAGE",
    "Terminal",
    "pipeline_command",
    "terminal",
]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_INTERRUPTED = 130

_FFI_LISTS = "https://archive.stsci.edu/missions/tess/download_scripts/sector/"
_MAX_NOTES = 10
_DRIFT_WIDTH = 150

logger = logging.getLogger(__name__)


class Terminal:
    """Shows one run.

    Parameters
    ----------
    errors : Console
        Console on stderr.
    as_json : bool
        Whether the report is printed as JSON.
    """

    def __init__(self, errors: Console, *, as_json: bool) -> None:
        self._as_json = as_json
        self._bar = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=errors,
            disable=not errors.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self.is_partial = False
        self.failure = ""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Draw how far a stage is.

        Parameters
        ----------
        stage : str
            Its name.
        done, total : int
            Tasks.
        """
        if not self._tasks:
            self._bar.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=max(total, 1))
        finished = total == done
        self._bar.update(self._tasks[stage], completed=max(total, 1) if finished else done)

    def stop(self) -> None:
        """Stop drawing."""
        self._bar.stop()

    def show(self, report: RunReport) -> None:
        """Print what was done.

        Parameters
        ----------
        report : RunReport
            The run's report.
        """
        self.stop()
        self.is_partial = report.is_partial
        self.failure = report.failure
        if self._as_json:
            stages = [asdict(stage) for stage in report.stages]
            content = {**asdict(report.detector), "partial": report.is_partial, "stages": stages}
            typer.echo(as_flags(json.dumps(content, indent=1)))
            return
        output = Console(soft_wrap=True, highlight=False)
        table = _table(f"syndiff, {report.detector}")
        for name in ("stage", "time", "result"):
            table.add_column(name)
        for stage in report.stages:
            table.add_row(stage.stage, f"{stage.seconds:.1f} s", _summarise(stage))
        output.print(table)
        for stage in report.stages:
            for line in (*_percent(stage), *_shortened(stage.notes)):
                output.print(f"{stage.stage}: {as_flags(line)}", markup=False)
        for product in report.stages[-1].products:
            output.print(product, markup=False)

    def show_drift(self, report: DriftReport) -> None:
        """Print a field's drift, and the offsets that stand for its FFIs.

        Parameters
        ----------
        report : DriftReport
            What was found.
        """
        self.stop()
        drift = report.drift
        if self._as_json:
            content = {**asdict(drift), "offset_array": drift.offset_array}
            content["products"] = report.products
            typer.echo(json.dumps(_without_nan(content), indent=1))
            return
        output = Console(soft_wrap=True, highlight=False)
        # Columns cut to a narrow window would tell nothing.
        Console(width=max(output.width, _DRIFT_WIDTH), highlight=False).print(_drift_table(drift))
        for line in _shortened(drift.notes):
            output.print(as_flags(line), markup=False)
        grouped = sum(row.group >= 0 for row in drift.rows)
        output.print(
            f"offsets within {drift.tolerance_px:g} px of {grouped} of {len(drift.rows)} FFIs: "
            f"{len(drift.offsets)}"
        )
        if drift.offsets:
            output.print(f'--multi-offset-array "{drift.offset_array}"', markup=False)
        for product in report.products:
            output.print(product, markup=False)

    def show_where(self, found: Visibility) -> None:
        """Print where TESS sees a target, and the command to run next.

        Parameters
        ----------
        found : Visibility
            What was found.
        """
        self.stop()
        if self._as_json:
            typer.echo(json.dumps(found.to_dict(), indent=1))
            return
        output = Console(soft_wrap=True, highlight=False)
        if found.name is not None:
            name = found.name
            output.print(
                f"{name.name}: {name.known_as} ({name.source}, {name.asked})", markup=False
            )
        if found.visits:
            output.print(_visit_table(found))
        else:
            output.print(f"{found.position} is on no CCD in any sector known here", markup=False)
        for line in (*found.notes, *_next_steps(found)):
            output.print(line, markup=False)

    def show_light_curve(self, report: LightCurveReport) -> None:
        """Print what was measured, how far it can be believed, and where it is.

        Parameters
        ----------
        report : LightCurveReport
            What was made.
        """
        self.stop()
        if self._as_json:
            content = {**report.curve.about, "products": report.products}
            typer.echo(json.dumps(_without_nan(content), indent=1))
            return
        output = Console(soft_wrap=True, highlight=False)
        table = _table(f"syndiff, light curve of {report.curve.name}")
        for name in ("CCD", "stage", "time", "result"):
            table.add_column(name)
        for detector, stage in report.stages:
            table.add_row(str(detector), stage.stage, f"{stage.seconds:.1f} s", _summarise(stage))
        output.print(table)
        for detector, stage in report.stages:
            for line in (*_percent(stage), *_shortened(stage.notes)):
                output.print(f"{detector}: {line}", markup=False)
        for product in report.products:
            output.print(product, markup=False)

    def show_simulation(self, simulation: Simulation) -> None:
        """Print where a simulation is, and the command to run next.

        Parameters
        ----------
        simulation : Simulation
            What was made.
        """
        self.stop()
        output = Console(soft_wrap=True, highlight=False)
        for name in ("ffi", "archive", "catalogue", "stars", "series"):
            path = getattr(simulation, name)
            if path.exists():
                output.print(f"{name:<9} {path}", markup=False)
        if simulation.config.skycells:
            output.print(f"next: {pipeline_command(simulation)}", markup=False)

    def show_demo(self, report: DemoReport) -> None:
        """Print how accurate the demonstration's templates are.

        Parameters
        ----------
        report : DemoReport
            What was found.
        """
        self.stop()
        output = Console(highlight=False)
        for draw in (_star_table, _field_table, _flux_table, _limit_table):
            output.print(draw(report))
        ffi = report.ffi
        output.print(
            f"FFI - template: zero point {ffi.zero_point:.4f} +- {ffi.zero_point_error:.4f} mag "
            f"(simulated {ffi.true_zero_point:.4f}), transient found with "
            f"{ffi.transient:.3f} +- {ffi.transient_error:.3f} of its flux, residuals "
            f"{ffi.scatter:.2f} times the FFI's noise"
        )
        output.print(f"see {report.panel}", markup=False, soft_wrap=True)


def pipeline_command(simulation: Simulation) -> str:
    """Return the command that makes the template of a simulation's field, all in its directory.

    Parameters
    ----------
    simulation : Simulation
        What was made.

    Returns
    -------
    str
        To be pasted into a shell.
    """
    words = ("syndiff", "pipeline", simulation.ffi, simulation.catalogue)
    more = ("--archive", simulation.archive, "--data-root", simulation.directory / "data")
    prf = ("--psf", "prf", "--prf-dir", simulation.prf) if simulation.config.ffi.prf else ()
    words = (*words, *more, "--roi", simulation.config.field, *prf)
    return shlex.join(str(word) for word in words)


def _without_nan(value: object) -> object:
    """Return what JSON can hold: None for NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _next_steps(found: Visibility) -> tuple[str, ...]:
    """Return where the FFIs of a target are, and the command to run on one."""
    if found.best is None:
        return ()
    d = found.best.detector
    return (
        f"FFIs of {d}: lines with -{d.camera}-{d.ccd}- in",
        f"  {_FFI_LISTS}tesscurl_sector_{d.sector}_ffic.sh",
        f"next: syndiff pipeline FFI --target={found.position} --stars gaia",
    )


def _visit_table(found: Visibility) -> Table:
    """Return one row a visit, within 80 columns."""
    columns = ("sector", "camera", "CCD", "column", "row", "to edge")
    table = _table(f"TESS at {found.position}", columns)
    table.add_column("dates (UT)", no_wrap=True)
    table.padding = (0, 1, 0, 0)
    for visit in found.visits:
        d = visit.detector
        pixel = (f"{value:.1f}" for value in (visit.column, visit.row, visit.edge_px))
        dates = f"{visit.start} to {visit.end}" + ", planned" * visit.is_planned
        table.add_row(str(d.sector), str(d.camera), str(d.ccd), *pixel, dates)
    return table


def _drift_table(drift: Drift) -> Table:
    """Return one row an FFI."""
    title = f"Shift against {drift.reference}, {drift.detector}"
    columns = ("FFI", "BTJD", "dx (px)", "dy (px)", 'roll (")', "scale (1e-6)", "largest (px)")
    table = _table(title, (*columns, "DQUALITY", "group"))
    table.columns[0].justify = "left"
    for row in drift.rows:
        time = "" if math.isnan(row.btjd) else f"{row.btjd:.4f}"
        shift = row.shift
        cells = ("",) * 5
        if shift is not None:
            cells = (
                f"{shift.dx:+.4f}",
                f"{shift.dy:+.4f}",
                f"{shift.roll_arcsec:+.2f}",
                f"{shift.scale_ppm:+.1f}",
                f"{shift.largest_px:.4f}",
            )
        group = str(row.group) if row.group >= 0 else "-"
        table.add_row(row.ffi, time, *cells, str(row.quality), group)
    return table


def _star_table(report: DemoReport) -> Table:
    """Return the accuracy without noise, one row an offset."""
    count = len(report.stars[report.field[0].offset])
    table = _table(
        f"Without noise: {count} stars where two projections meet, the worst of them",
        ("offset", "rms / peak", "max / peak", "flux - 1", "centroid (px)"),
    )
    for offset, stars in report.stars.items():
        worst = [
            max((getattr(star, name) for star in stars), key=abs)
            for name in ("rms", "worst", "flux", "centroid_px")
        ]
        table.add_row(_offset(offset), *(f"{value:.1e}" for value in worst))
    return table


def _field_table(report: DemoReport) -> Table:
    """Return the accuracy with noise, one row an offset."""
    table = _table(
        "With noise: a field of stars and galaxies, unflagged pixels",
        ("offset", "rms / UNCERT", "flux - 1", "position (px)"),
    )
    for one in report.field:
        table.add_row(
            _offset(one.offset),
            f"{one.scatter:.2f}",
            f"{one.flux:+.4f} +- {one.flux_error:.4f}",
            f"{one.shift_px:.4f} +- {one.shift_error_px:.4f}",
        )
    return table


def _flux_table(report: DemoReport) -> Table:
    """Return the flux with noise, one row a magnitude bin."""
    table = _table(
        "With noise: flux of stars, template / truth", ("AB magnitude", "stars", "ratio")
    )
    for one in report.ratios:
        mags = f"{one.bright_mag:.1f} - {one.faint_mag:.1f}"
        table.add_row(mags, str(one.stars), f"{one.ratio:.4f} +- {one.error:.4f}")
    return table


def _limit_table(report: DemoReport) -> Table:
    """Return the promises, one row each."""
    table = _table("Promises", ("measured", "worst", "limit", ""))
    table.columns[0].justify = "left"
    for one in report.limits:
        kept = "kept" if one.is_kept else "[red]broken[/red]"
        table.add_row(one.name, f"{one.value:.2g}", f"{one.limit:.2g}", kept)
    return table


def _offset(offset: tuple[float, float]) -> str:
    return f"{offset[0]:+.2f}, {offset[1]:+.2f}"


def _table(title: str, columns: Sequence[str] = ()) -> Table:
    table = Table(title=title, box=rich.box.SIMPLE, title_justify="left", min_width=len(title))
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _summarise(stage: StageReport) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in stage.counts.items() if count)
    if stage.skipped:
        return f"nothing to do, all there already ({counts})"
    return counts or "done"


def _percent(stage: StageReport) -> tuple[str, ...]:
    """Return one line with the parts of the whole that a stage tells of."""
    parts = ", ".join(f"{name} {100 * part:.4g} %" for name, part in stage.figures.items())
    return (parts,) if parts else ()


def _shortened(notes: tuple[str, ...]) -> tuple[str, ...]:
    if len(notes) <= _MAX_NOTES:
        return notes
    return (*notes[:_MAX_NOTES], f"... and {len(notes) - _MAX_NOTES} more")


@contextlib.contextmanager
def terminal(verbose: int, *, as_json: bool) -> Iterator[Terminal]:
    """Set up logging and progress for one run; turn what it raises into an exit code.

    Parameters
    ----------
    verbose : int
        0 warnings, 1 INFO, 2 DEBUG.
    as_json : bool
        Whether the report is printed as JSON.

    Yields
    ------
    Terminal
        Takes progress and the report.

    Raises
    ------
    typer.Exit
        With code 1 (failed), 2 (usage), 3 (partial) or 130 (interrupted).
    """
    errors = Console(stderr=True)
    _log_to(errors, verbose)
    shown = Terminal(errors, as_json=as_json)
    try:
        with _warnings_to_log():
            yield shown
    except SyndiffError as error:
        shown.stop()
        sys.stderr.write(f"syndiff: error: {as_flags(' '.join(str(error).split()))}\n")
        code = EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
        raise typer.Exit(code) from error
    except KeyboardInterrupt:
        shown.stop()
        sys.stderr.write("syndiff: interrupted; the same command goes on where it stopped\n")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        shown.stop()
    if shown.failure:
        sys.stderr.write(f"syndiff: error: {as_flags(shown.failure)}\n")
        raise typer.Exit(EXIT_FAILED)
    if shown.is_partial:
        sys.stderr.write("syndiff: partial: something is left out and flagged, see above\n")
        raise typer.Exit(EXIT_PARTIAL)


@contextlib.contextmanager
def _warnings_to_log() -> Iterator[None]:
    """Log our own warnings as such, and what libraries warn of for those who want all."""

    def log(message: Warning | str, category: type[Warning], *_: object) -> None:
        ours = issubclass(category, SyndiffWarning)
        logger.log(logging.WARNING if ours else logging.DEBUG, "%s", message)

    shown = warnings.showwarning
    warnings.showwarning = log  # type: ignore[assignment]  # other parameters are not looked at
    try:
        yield
    finally:
        warnings.showwarning = shown


def _log_to(console: Console, verbose: int) -> None:
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logger = logging.getLogger("syndiff")
    handler = RichHandler(console=console, show_path=False, markup=False)
    handler.addFilter(_name_flags)
    logger.handlers = [handler]
    logger.setLevel(level)


def _name_flags(record: logging.LogRecord) -> bool:
    """Let every message pass, with options for settings."""
    record.msg, record.args = as_flags(record.getMessage()), ()
    return True
