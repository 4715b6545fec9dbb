"""What goes to workers: small tasks that name their skycell, without arrays or WCS objects."""

import contextlib
import io
import math
import pickle

import execution_tasks
import numpy as np
import pytest
from astropy.wcs import WCS

from syndiff import execution, pipeline
from syndiff.execution import LocalExecutor, open_executor
from syndiff.settings import Settings

LIMIT_BYTES = 20_000
ROI = "1001,1001,1005,1005"


class Picky(pickle.Pickler):
    """Pickles what may go to workers."""

    def reducer_override(self, item):
        assert not isinstance(item, (np.ndarray, WCS)), f"a task carries {item!r}"
        return NotImplemented


class Recorder(LocalExecutor):
    """Runs tasks as a worker would, from their pickled form, and notes what they were."""

    def __init__(self):
        super().__init__()
        self.sizes = {}
        self.names = {}
        self.core_s = {}

    def run(self, function, tasks, *, core_s=math.inf):
        self.core_s[function.__name__] = core_s
        sent = []
        for task in tasks:
            buffer = io.BytesIO()
            Picky(buffer).dump((function, task))
            self.sizes.setdefault(function.__name__, []).append(len(buffer.getvalue()))
            self.names.setdefault(function.__name__, []).append(str(task))
            sent.append(pickle.loads(buffer.getvalue())[1])
        return super().run(function, sent)


@pytest.fixture(scope="module")
def recorder(small_sky, tmp_path_factory):
    recorder = Recorder()

    @contextlib.contextmanager
    def opened(**_):
        yield recorder

    settings = Settings(
        data_root=str(tmp_path_factory.mktemp("tasks")),
        archive=str(small_sky.archive),
        catalogue=str(small_sky.catalogue),
        roi=ROI,
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("syndiff.stages.run.open_executor", opened)
        pipeline.run_pipeline(str(small_sky.ffi), settings)
    return recorder


def test_every_parallel_stage_sends_small_tasks(recorder):
    assert set(recorder.sizes) == {"_write_map", "_reduce_one", "_render_rows"}
    assert max(max(sizes) for sizes in recorder.sizes.values()) < LIMIT_BYTES


def test_tasks_are_told_by_name(recorder):
    assert all(name.startswith("skycell.") for name in recorder.names["_reduce_one"])
    assert all(name.startswith("skycell.") for name in recorder.names["_write_map"])
    assert recorder.names["_render_rows"][0].startswith("rows ")


def test_downloads_are_always_worth_workers(recorder):
    assert recorder.core_s["_reduce_one"] == math.inf
    assert 0 < recorder.core_s["_write_map"] < 1
    assert 0 < recorder.core_s["_render_rows"] < 1


def test_little_work_starts_no_workers(monkeypatch):
    monkeypatch.setattr(execution, "available_cores", lambda: 2)
    monkeypatch.setattr(execution._LocalProcesses, "_start", lambda _: pytest.fail("started"))
    with open_executor(cores=2, threads=2) as executor:
        (outcome,) = executor.run(execution_tasks.square, [3], core_s=0.1)
    assert outcome.result == 9
