"""What a person sees of a run: progress and log on stderr, the report on stdout, the exit code."""

from __future__ import annotations

import contextlib
import json
import logging
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

from syndiff.errors import ConfigError, SyndiffError, SyndiffWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syndiff.pipeline import RunReport
    from syndiff.simulation import Simulation
    from syndiff.stage import StageReport

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_PARTIAL", "EXIT_USAGE", "Terminal", "terminal"]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_INTERRUPTED = 130

_MAX_NOTES = 10

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
        if self._as_json:
            stages = [asdict(stage) for stage in report.stages]
            content = {**asdict(report.detector), "partial": report.is_partial, "stages": stages}
            typer.echo(json.dumps(content, indent=1))
            return
        output = Console(soft_wrap=True, highlight=False)
        table = Table(
            title=f"syndiff, {report.detector}", box=rich.box.SIMPLE, title_justify="left"
        )
        for name in ("stage", "time", "result"):
            table.add_column(name)
        for stage in report.stages:
            table.add_row(stage.stage, f"{stage.seconds:.1f} s", _summarise(stage))
        output.print(table)
        for stage in report.stages:
            for line in (*_percent(stage), *_shortened(stage.notes)):
                output.print(f"{stage.stage}: {line}", markup=False)
        for product in report.stages[-1].products:
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
        for name in ("ffi", "archive", "catalogue", "stars"):
            output.print(f"{name:<9} {getattr(simulation, name)}", markup=False)
        output.print(f"next: {simulation.pipeline_command}", markup=False)


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
        sys.stderr.write(f"syndiff: error: {' '.join(str(error).split())}\n")
        code = EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
        raise typer.Exit(code) from error
    except KeyboardInterrupt:
        shown.stop()
        sys.stderr.write("syndiff: interrupted; the same command goes on where it stopped\n")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        shown.stop()
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
    logger.handlers = [RichHandler(console=console, show_path=False, markup=False)]
    logger.setLevel(level)
