"""Run independent tasks: here, on local worker processes, or on a Dask cluster.

The task boundary: an error inside a task is returned as a value with the task's name, and the
caller decides. Tasks carry keys, paths and configuration, never arrays.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import signal
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from syndiff.errors import ConfigError, SyndiffError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Executor", "LocalExecutor", "Outcome", "available_cores", "open_executor"]

logger = logging.getLogger(__name__)

_CONNECT_S = 20.0
_WORKERS_S = 60.0
"""Workers of a batch system may start some time after their scheduler."""

_WORTH_WORKERS_S = 8.0
"""Core-seconds below which local workers cost more than they save: two take 6 to start."""

WORKER_SETTINGS = {
    # One thread for a task: in place of Dask's own list, whose MALLOC_TRIM_THRESHOLD_ makes every
    # large array come fresh from the system (a third more time, most of it in page faults).
    "distributed.nanny.pre-spawn-environ": {
        "OMP_NUM_THREADS": 1,
        "MKL_NUM_THREADS": 1,
        "OPENBLAS_NUM_THREADS": 1,
        "NUMBA_NUM_THREADS": 1,
        "BLOSC_NTHREADS": 1,
        "ZARR_THREADING__MAX_WORKERS": 1,
    },
    # Samples every thread's stack a hundred times a second for a dashboard that isn't there.
    "distributed.worker.profile.enabled": False,
}
"""How Dask starts local workers."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """The outcome of a task: its result, or its error.

    Parameters
    ----------
    task : T
        The task.
    result : R or None
        What it returned; None if it failed.
    error : str or None
        Why it failed, in one line.
    kind : str
        Class of the error.
    details : str
        The traceback, for the log.
    """

    task: T
    result: R | None
    error: str | None = None
    kind: str = ""
    details: str = ""


class Executor(Protocol):
    """Runs tasks and yields their outcomes as they finish."""

    @property
    def workers(self) -> int:
        """Number of worker processes."""

    def run(
        self, function: Callable[[T], R], tasks: Sequence[T], *, core_s: float = math.inf
    ) -> Iterator[Outcome[T, R]]:
        """Run `function` on every task and yield the outcomes in the order of completion.

        `core_s` is how long one core takes for all, roughly.
        """


@functools.cache
def _prepare() -> None:
    """Compile or load the kernels once per process."""
    from syndiff.kernels.warm import warm

    warm()


def _run_task(function: Callable[[T], R], task: T) -> Outcome[T, R]:
    """Run one task; every error becomes an outcome."""
    try:
        return Outcome(task, function(task))
    except Exception as error:  # noqa: BLE001 - the task boundary: reported, never swallowed
        kind = type(error).__name__
        text = str(error) if isinstance(error, SyndiffError) else f"{kind}: {error}"
        return Outcome(task, None, text, kind, traceback.format_exc())


def _run_on_worker(function: Callable[[T], R], task: T) -> Outcome[T, R]:
    """Run one task in a process that may be on a machine where nothing is compiled yet."""
    _prepare()
    return _run_task(function, task)


class LocalExecutor:
    """Runs tasks in this process, on a few threads.

    Parameters
    ----------
    threads : int
        Tasks at a time; more than one only helps tasks that wait for the network.
    """

    workers = 1

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def run(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        core_s: float = math.inf,  # noqa: ARG002 - here they run in any case
    ) -> Iterator[Outcome[T, R]]:
        """Run `function` on every task.

        Parameters
        ----------
        function : callable
            Called with one task.
        tasks : sequence
            The tasks.
        core_s : float
            How long one core takes for all, roughly.

        Yields
        ------
        Outcome
            In the order of completion.
        """
        if self._threads == 1:
            for task in tasks:
                yield _run_task(function, task)
            return
        pool = ThreadPoolExecutor(self._threads)
        try:
            futures = [pool.submit(_run_task, function, task) for task in tasks]
            for future in as_completed(futures):
                yield future.result()
        finally:
            # Don't wait for running tasks: the caller may stop because they take too long.
            pool.shutdown(wait=False, cancel_futures=True)


class _DaskExecutor:
    """Runs tasks on the workers of a Dask cluster."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - distributed has no types
        self._client = client

    @property
    def workers(self) -> int:
        """Number of worker processes."""
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def run(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        core_s: float = math.inf,  # noqa: ARG002 - its workers are there in any case
    ) -> Iterator[Outcome[T, R]]:
        """Run `function` on every task; see `LocalExecutor.run`."""
        from distributed import as_completed as completed

        futures = {
            self._client.submit(_run_on_worker, function, task, pure=False): task for task in tasks
        }
        try:
            for future in completed(list(futures)):
                task = futures.pop(future)
                if future.status == "finished":
                    yield future.result()
                else:
                    yield Outcome(task, None, _reason(future))
        finally:
            self._client.cancel(list(futures))


def _reason(future: Any) -> str:  # noqa: ANN401 - distributed has no types
    """Return why a task has no outcome."""
    from distributed.scheduler import KilledWorker

    if future.status != "error":
        return f"its worker was lost: the task is {future.status}"
    error = future.exception()
    if isinstance(error, KilledWorker):
        return f"its worker was lost: {error}"
    return (
        f"its worker can't run it ({type(error).__name__}: {' '.join(str(error).split())}): "
        "install the same versions of syndiff and of what it needs on every worker"
    )


class _LocalProcesses:
    """Runs tasks on processes of this machine, started on first use and ended by `stack`."""

    def __init__(self, stack: contextlib.ExitStack, processes: int, threads: int) -> None:
        self._stack = stack
        self._threads = threads
        self._started: _DaskExecutor | None = None
        self.workers = processes

    def run(
        self, function: Callable[[T], R], tasks: Sequence[T], *, core_s: float = math.inf
    ) -> Iterator[Outcome[T, R]]:
        """Run `function` on every task; see `LocalExecutor.run`."""
        if not tasks:
            return
        if self._started is None and core_s < _WORTH_WORKERS_S:
            yield from LocalExecutor().run(function, tasks)
            return
        if self._started is None:
            self._started = self._start()
        yield from self._started.run(function, tasks)

    def _start(self) -> _DaskExecutor:
        import dask
        import distributed

        start = time.perf_counter()
        with _held_interrupts():
            loop = distributed.utils.LoopRunner()
            loop.start()
        self._stack.callback(loop.stop)
        self._stack.enter_context(_hidden_program())
        self._stack.enter_context(dask.config.set(WORKER_SETTINGS))
        cluster = self._stack.enter_context(
            distributed.LocalCluster(
                n_workers=self.workers,
                threads_per_worker=self._threads,
                processes=True,
                dashboard_address=None,
                # Its HTTP server starts anyway; on the default port two runs would collide.
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                # Tasks limit their own memory; Dask's limit counts the page cache too and would
                # kill workers for it.
                memory_limit=0,
                # Errors are returned with their task; other messages are about late heartbeats.
                silence_logs=logging.CRITICAL,
                loop=loop.loop,
            )
        )
        client = self._stack.enter_context(distributed.Client(cluster))
        logger.debug("%d workers started in %.1f s", self.workers, time.perf_counter() - start)
        return _DaskExecutor(client)


@contextlib.contextmanager
def _held_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back from threads started here, and from the processes that they start.

    A terminal interrupts the workers together with the command; only the command should react, and
    it ends them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Started later, in such a thread, the tracker would unblock interrupts there. Its warnings
    # about semaphores left by an interrupted command are not useful.
    sys.warnoptions.append("ignore:resource_tracker")
    resource_tracker.ensure_running()
    sys.warnoptions.remove("ignore:resource_tracker")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _hidden_program() -> Iterator[None]:
    """Keep new processes from importing the program that starts them.

    They need syndiff's modules only. A script without ``if __name__ == "__main__":`` would start
    its work again in each of them, and `multiprocessing` would refuse it with pages of text.
    """
    program = vars(sys.modules["__main__"])
    names = ("__spec__", "__file__")
    hidden: dict[str, Any] = {name: program[name] for name in names if name in program}
    program.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        program.update(hidden)


def available_cores() -> int:
    """Return how many cores this process may use.

    Returns
    -------
    int
        At least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def open_executor(*, cores: int, threads: int, scheduler: str | None = None) -> Iterator[Executor]:
    """Open what runs the tasks of a stage.

    Parameters
    ----------
    cores : int
        Worker processes to start here, at most as many as there are cores; 1 runs in process.
    threads : int
        Tasks at a time in every process.
    scheduler : str, optional
        Address of a Dask scheduler that is already running, for example ``tcp://node1:8786``;
        its workers decide how many tasks they take.

    Yields
    ------
    Executor
        Closed at the end.

    Raises
    ------
    ConfigError
        If `cores` is below 1 or the scheduler can't be reached.
    """
    if cores < 1:
        raise ConfigError(f"cores {cores} is too few: give 1 or more")
    _prepare()
    if scheduler is not None:
        with _open_client(scheduler) as client:
            yield _DaskExecutor(client)
        return
    processes = min(cores, available_cores())
    if processes == 1:
        yield LocalExecutor(threads)
        return
    with contextlib.ExitStack() as stack:
        yield _LocalProcesses(stack, processes, threads)


@contextlib.contextmanager
def _open_client(address: str) -> Iterator[Any]:
    """Connect to a running scheduler."""
    import distributed

    try:
        client = distributed.Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"scheduler {address!r} can't be reached ({error}): start one with `dask scheduler` "
            "and workers with `dask worker ADDRESS`, or leave out `scheduler`"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except TimeoutError as error:
            raise ConfigError(
                f"scheduler {address!r} has no workers: start some with `dask worker {address}`, "
                "or leave out `scheduler`"
            ) from error
        yield client
