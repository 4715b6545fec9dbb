"""Figures of many skycells at once: network and reduction together, one worker and two."""

from __future__ import annotations

import contextlib
import os
import shutil
import socketserver
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler
from multiprocessing import get_context
from pathlib import Path

from benchmarks.figures import Row, isolated
from syndiff.config import BANDS
from syndiff.execution import LocalExecutor, open_executor
from syndiff.ffi.tiles import MARGIN_PX
from syndiff.layout import Layout
from syndiff.settings import Settings
from syndiff.simulation import Simulation, plan_simulation, simulate
from syndiff.simulation.ffi import example_cards, wcs_of
from syndiff.simulation.grid import small_catalogue
from syndiff.simulation.run import EXAMPLE_DETECTOR
from syndiff.sky.mapping import Reference, map_frame
from syndiff.sky.mapping_files import write_mapping
from syndiff.sky.tessellation import Tessellation
from syndiff.stacks.archive import fetch_skycell
from syndiff.stages.download import download_stage
from syndiff.stages.run import Run
from syndiff.stages.stage import clock
from syndiff.transport.archive import open_archive
from syndiff.transport.attempt import ArchiveConfig
from syndiff.window import Window

FIELD = Window(1000, 1000, 1030, 1030)
CELL_PX = 1600
LARGE_FIELD, LARGE_CELL_PX = Window(1000, 1000, 1060, 1060), 3200
"""For workers: what starts and ends a stage is not shared among them, so work enough beside it."""

TURNS = 3
"""Of each kind, one after another: a busy machine then is as busy for all."""

_PIECE = 1 << 18


class _Limited(socketserver.ThreadingTCPServer):
    """Serves a folder over HTTP; all connections share one bandwidth."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder, bytes_per_s):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.bytes_per_s = bytes_per_s
        self.lock = threading.Lock()
        self.free_at = 0.0

    def wait(self, size):
        """Wait until so many bytes may be sent."""
        with self.lock:
            now = time.perf_counter()
            start = max(now, self.free_at)
            self.free_at = start + size / self.bytes_per_s
        time.sleep(max(0.0, start - now))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Stay quiet."""

    def do_GET(self):
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            self.server.wait(len(piece))
            self.wfile.write(piece)


def _serve(folder, bytes_per_s, pipe):
    with _Limited(folder, bytes_per_s) as server:
        pipe.send(server.server_address[1])
        server.serve_forever()


@contextlib.contextmanager
def limited_server(folder, bytes_per_s):
    """Serve a folder from another process, at a bandwidth; yields the URL."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(folder, bytes_per_s, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/"
    finally:
        process.terminate()
        process.join()


def small_archive(work, *, cell_px=CELL_PX, field=FIELD) -> Simulation:
    """Return a simulated archive of skycells smaller than real ones, made if it is not there."""
    folder = Path(work) / f"small-{cell_px}"
    if (folder / "simulation.json").exists():
        return Simulation.load(folder)
    cells = small_catalogue(wcs_of(example_cards()), field, cell_px=cell_px)
    centre = (field.x0 + field.x1 - 1) / 2, (field.y0 + field.y1 - 1) / 2
    plan = plan_simulation(centre_px=centre, size_px=field.shape[0], skycells=cells)
    return simulate(plan, folder)


def _root(simulation, frame):
    """Return a new data root with the mapping of the simulation's field."""
    layout = Layout.under(tempfile.mkdtemp(dir=simulation.directory), EXAMPLE_DETECTOR)
    tessellation = Tessellation.from_csv(simulation.catalogue.read_bytes())
    days = "2020-01-01T00:00:00Z", "2020-01-01T00:30:00Z"
    reference = Reference("benchmark.fits", "SPOC", *days)
    mapping = map_frame(frame, tessellation, margin_px=MARGIN_PX, reference=reference)
    write_mapping(mapping, layout)
    return layout, mapping


def _download(simulation, frame, url, executor):
    """Download the field into a new root; return the wall time of the stage."""
    layout, mapping = _root(simulation, frame)
    try:
        run = Run(layout.detector, Settings(data_root=layout.data_root, archive=url))
        run.executor = executor
        return download_stage(run).seconds, len(mapping.members)
    finally:
        shutil.rmtree(str(layout.data_root))


def _fetch_only(simulation, frame, url):
    """Return the wall time of fetching the field's files."""
    layout, mapping = _root(simulation, frame)
    shutil.rmtree(str(layout.data_root))
    archive = open_archive(ArchiveConfig(url))
    with clock() as seconds:
        for member in mapping.members:
            fetch_skycell(archive, member.skycell, bands=BANDS)
        return seconds()


def run_overlap(simulation, frame):
    """Return the costs of the network alone, the reduction alone and both, and the bytes.

    Each is the least wall time of some turns: other work on the machine only adds.
    """
    local = str(simulation.archive)
    _download(simulation, frame, local, LocalExecutor())
    alone, count = _download(simulation, frame, local, LocalExecutor())
    size = sum(p.stat().st_size for p in simulation.archive.rglob("*.fits"))
    turns = []
    with limited_server(simulation.archive, size / alone) as url:
        for _ in range(TURNS):
            network = _fetch_only(simulation, frame, url)
            both, _ = _download(simulation, frame, url, LocalExecutor(threads=2))
            again, _ = _download(simulation, frame, local, LocalExecutor())
            turns.append((network, again, both))
    network, again, both = (min(seconds) for seconds in zip(*turns, strict=True))
    return network, again, both, size, count, size / alone


def run_workers(simulation, frame):
    """Return the least wall times and CPU seconds of one worker and of two, taken in turns.

    One worker is held to one core: its threads that fetch would take part of the second one.
    """
    cores = os.sched_getaffinity(0)
    executors = {n: open_executor(cores=n, threads=1) for n in (1, 2)}
    walls, cpus = {1: [], 2: []}, {1: [], 2: []}
    with contextlib.ExitStack() as stack:
        opened = {n: stack.enter_context(executor) for n, executor in executors.items()}
        for turn in range(TURNS + 1):
            for n, executor in opened.items():
                start = _all_cpu_seconds()
                os.sched_setaffinity(0, {min(cores)} if n == 1 else cores)
                seconds, _ = _download(simulation, frame, str(simulation.archive), executor)
                if turn:  # the first one starts workers
                    walls[n].append(seconds)
                    cpus[n].append(_all_cpu_seconds() - start)
    return {n: min(w) for n, w in walls.items()}, {n: min(c) for n, c in cpus.items()}


def _all_cpu_seconds():
    """Return the CPU time of this process and of the workers it has started, running or not."""
    import psutil

    own = psutil.Process()
    times = [process.cpu_times() for process in [own, *own.children(recursive=True)]]
    return sum(time.user + time.system for time in times)


def rows(inputs, *, quick=False):
    """Yield rows of overlap and scaling; here the figures are wall times."""
    simulation = small_archive(inputs.work, cell_px=1000 if quick else CELL_PX)
    found, cost = isolated(run_overlap, simulation, inputs.frame)
    network, alone, both, size, count, speed = found
    slower = max(network, alone)
    yield Row(
        "network and reduction together (wall)",
        both,
        {"<= 1.1 x the slower of the two": both <= 1.1 * slower},
        peak_gb=cost.peak_gb,
        note=f"{both / slower:.2f} x: network alone {network:.1f} s, reduction alone "
        f"{alone:.1f} s, least of {TURNS} turns; {count} skycells of {CELL_PX} px, "
        f"{size / 1e6:.0f} MB at {speed / 1e6:.0f} MB/s",
    )
    if not quick:
        simulation = small_archive(inputs.work, cell_px=LARGE_CELL_PX, field=LARGE_FIELD)
    (wall, cpu), _ = isolated(run_workers, simulation, inputs.frame)
    yield Row(
        "two workers (wall)",
        wall[2],
        {">= 0.85 x 2 the throughput": wall[1] / wall[2] >= 0.85 * 2},
        note=f"one worker on one core {wall[1]:.1f} s: {wall[1] / wall[2]:.2f} x the throughput, "
        f"least of {TURNS} turns, {len(simulation.config.skycells)} skycells of "
        f"{simulation.config.skycells[0].nx} px. For the same work one takes "
        f"{cpu[1]:.1f} core-s, two {cpu[2]:.1f}: "
        f"{cpu[1] / cpu[2]:.2f} x the work for each core-second",
    )
