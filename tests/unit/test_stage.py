"""How stages run their tasks and tell of them."""

import logging
import time
from types import SimpleNamespace

import execution_tasks as tasks
import pytest

from syndiff.execution import LocalExecutor
from syndiff.layout import Detector
from syndiff.settings import Settings
from syndiff.stages.run import Run
from syndiff.stages.stage import StageReport, clock, release_memory, run_tasks

DETECTOR = Detector(20, 3, 3)


def test_progress_is_told_after_every_task():
    told = []
    run = Run(DETECTOR, Settings(), lambda *seen: told.append(seen))
    outcomes = list(run_tasks(run, "process", tasks.square, [1, 2, 3]))
    assert [outcome.result for outcome in outcomes] == [1, 4, 9]
    assert told == [("process", done, 3) for done in range(4)]


def test_failures_are_handed_on_and_logged(caplog):
    caplog.set_level(logging.DEBUG, logger="syndiff")
    outcomes = list(run_tasks(Run(DETECTOR, Settings()), "download", tasks.stumble, [1, 2, 3]))
    assert [outcome.error is None for outcome in outcomes] == [True, False, False]
    messages = [record.getMessage() for record in caplog.records]
    assert "download: 2: can't read two: it is odd" in messages
    assert any("Traceback" in message for message in messages)


def test_runs_are_in_process_unless_told_otherwise():
    run = Run(DETECTOR, Settings())
    assert isinstance(run.executor, LocalExecutor)
    run.progress("anything", 1, 2)


def test_clocks_go_on_while_they_are_asked():
    with clock() as seconds:
        first = seconds()
        time.sleep(0.01)
        assert seconds() >= first + 0.009
    assert first >= 0


def test_reports_start_empty():
    report = StageReport("mapping", 1.5)
    assert not report.skipped
    assert not report.partial
    assert report.counts == {}
    assert report.counts is not StageReport("mapping", 1.5).counts
    with pytest.raises(AttributeError):
        report.stage = "download"


@pytest.mark.parametrize("has_trim", [True, False])
def test_freed_memory_is_given_back_where_the_c_library_can(monkeypatch, has_trim):
    calls = []
    library = SimpleNamespace(malloc_trim=calls.append) if has_trim else SimpleNamespace()
    monkeypatch.setattr("ctypes.CDLL", lambda name: library if name is None else None)
    release_memory()
    assert calls == [0] * has_trim
