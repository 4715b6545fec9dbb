"""What every stage of the pipeline shares: how it is run and what it reports."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from syndiff.execution import Outcome
    from syndiff.stages.run import Run

__all__ = ["Progress", "StageReport", "clock", "holding_memory", "release_memory", "run_tasks"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


class Progress(Protocol):
    """Is told how far a stage is."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note that `done` of `total` tasks of a stage are done."""


@dataclass(frozen=True)
class StageReport:
    """What a stage did.

    Parameters
    ----------
    stage : str
        Its name.
    seconds : float
        Wall time.
    skipped : bool
        Whether everything was there already.
    partial : bool
        Whether something that failed is left out.
    failure : str
        What could not be made although the rest was, and what to do; empty if nothing.
    counts : dict of str to int
        What was made, kept, absent, failed.
    figures : dict of str to float
        Parts of a whole, 0 to 1: coverage, flagged pixels.
    notes : tuple of str
        Lines for the summary.
    products : tuple of str
        Paths of what was made or kept, where a user would look.
    """

    stage: str
    seconds: float
    skipped: bool = False
    partial: bool = False
    failure: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    products: tuple[str, ...] = ()


@contextlib.contextmanager
def clock() -> Iterator[Callable[[], float]]:
    """Measure wall time.

    Yields
    ------
    callable
        Returns the seconds since the start.
    """
    start = time.perf_counter()
    yield lambda: time.perf_counter() - start


@contextlib.contextmanager
def holding_memory() -> Iterator[None]:
    """Keep what is freed for what is asked for next, where the C library can (glibc).

    Planes of 17 and 34 MB would come from the system and go back each time: 2 core-s an FFI of a
    whole CCD, as much as its difference takes.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is None:
        yield
        return
    adjust(_MMAP_MAX, 0)
    adjust(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        # As they are by default.
        adjust(_MMAP_MAX, 65536)
        adjust(_TRIM_THRESHOLD, 128 * 1024)
        release_memory()


_MMAP_MAX, _TRIM_THRESHOLD = -4, -1
# Numbers of mallopt's parameters in malloc.h.


def release_memory() -> None:
    """Give what was freed back to the system, where the C library can (glibc).

    After a CCD is rendered 0.6 GB lie freed between what is still held; they would count beside
    all that the next stage takes.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def run_tasks(
    run: Run,
    stage: str,
    function: Callable[[T], R],
    tasks: Sequence[T],
    *,
    core_s: float = math.inf,
) -> Iterator[Outcome[T, R]]:
    """Run the tasks of a stage and tell how far it is.

    Parameters
    ----------
    run : Run
        Executor and progress.
    stage : str
        Name of the stage.
    function : callable
        Called with one task.
    tasks : sequence
        The tasks.
    core_s : float
        How long one core takes for all, roughly: few seconds are not worth starting workers.

    Yields
    ------
    Outcome
        In the order of completion; failures are logged.
    """
    logger.info("%s: %d tasks on %d processes", stage, len(tasks), run.executor.workers)
    run.progress(stage, 0, len(tasks))
    for done, outcome in enumerate(run.executor.run(function, tasks, core_s=core_s), 1):
        if outcome.error is not None:
            # Not louder: the stage sums up its failures in one error or in its report.
            logger.info("%s: %s: %s", stage, outcome.task, outcome.error)
            logger.debug("%s", outcome.details)
        else:
            logger.debug("%s: %s: done, %d of %d", stage, outcome.task, done, len(tasks))
        run.progress(stage, done, len(tasks))
        yield outcome
