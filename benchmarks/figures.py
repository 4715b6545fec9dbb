"""What a benchmark hands back, how its cost is measured, and the table it becomes."""

from __future__ import annotations

import os
import platform
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Cost:
    """What a piece of work took.

    Parameters
    ----------
    cpu_s, wall_s : float
        CPU seconds of all threads and finished child processes; wall time.
    peak_gb : float
        Largest resident size of the process, from its start (10^9 bytes); NaN if others shared it.
    """

    cpu_s: float
    wall_s: float
    peak_gb: float = float("nan")


@dataclass(frozen=True)
class Row:
    """A line of the table; costs are CPU seconds for the same work.

    Parameters
    ----------
    what : str
        The work.
    ours : float
        syndiff.
    promises : dict
        What was promised, in words -> whether this run kept it.
    textbook, stronger : float
        The twins; NaN where there is none.
    peak_gb : float
        Peak resident size of syndiff's process.
    note : str
        Parts, scaling, sizes.
    """

    what: str
    ours: float
    promises: dict[str, bool] = field(default_factory=dict)
    textbook: float = float("nan")
    stronger: float = float("nan")
    peak_gb: float = float("nan")
    note: str = ""


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that ended."""
    both = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def measured(function, *args, repeats=1):
    """Return what a function returns and the least of its costs over some repeats."""
    costs = []
    for _ in range(repeats):
        cpu, wall = cpu_seconds(), time.perf_counter()
        result = function(*args)
        costs.append(Cost(cpu_seconds() - cpu, time.perf_counter() - wall))
    return result, min(costs, key=lambda cost: cost.cpu_s)


def _alone(function, args):
    start, wall = cpu_seconds(), time.perf_counter()
    result = function(*args)
    return result, Cost(cpu_seconds() - start, time.perf_counter() - wall, peak_gb())


def isolated(function, *args):
    """Run a function in a process of its own; return its result and cost, with the peak memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_alone, function, args).result()


def peak_gb() -> float:
    """Return the largest resident size of this process so far; NaN where Linux doesn't tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    # Not ru_maxrss: a child inherits its parent's.
    lines = (line.split() for line in status.read_text().splitlines())
    return next(int(words[1]) * 1024 / 1e9 for words in lines if words[0] == "VmHWM:")


def table(rows) -> str:
    """Return the rows as a Markdown table."""
    twins = "textbook", "ratio", "stronger", "ratio"
    head = "work", "syndiff", "promise", "kept", *twins, "peak GB", "note"
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(_cells(row)) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _cells(row):
    return (
        row.what,
        _seconds(row.ours),
        "; ".join(row.promises),
        _kept(row.promises),
        _seconds(row.textbook),
        _ratio(row.textbook, row.ours),
        _seconds(row.stronger),
        _ratio(row.stronger, row.ours),
        "" if np.isnan(row.peak_gb) else f"{row.peak_gb:.2f}",
        row.note,
    )


def _kept(promises):
    broken = [promise for promise, kept in promises.items() if not kept]
    if not promises:
        return ""
    return f"no: {'; '.join(broken)}" if broken else "yes"


def _seconds(value):
    return "" if np.isnan(value) else f"{value:.3g} s"


def _ratio(twin, ours):
    return "" if np.isnan(twin) or np.isnan(ours) else f"{twin / ours:.3g}"


def machine() -> str:
    """Return a line about the machine and how busy it is."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{_processor()}, {cores} cores, Python {platform.python_version()}, "
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, load {load}"
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
