"""While one skycell is reduced the next is fetched, and no more are held than these two."""

import threading
from types import SimpleNamespace

import pytest

from syndiff.execution import LocalExecutor
from syndiff.layout import Detector, Layout
from syndiff.settings import Settings
from syndiff.sky.tessellation import Tessellation
from syndiff.stacks.provenance import Provenance
from syndiff.stages import download
from syndiff.stages.download import DownloadJob
from syndiff.transport.attempt import ArchiveConfig

PATIENCE_S = 20.0


class Atlas:
    """Holds nothing, keeps nothing."""

    def __init__(self, *_):
        pass

    def key(self, skycell, _):
        return SimpleNamespace(name=skycell.name, digest="0")

    def has(self, _):
        return False

    def write(self, *_, **__):
        return SimpleNamespace(bands=tuple("rizy"), content_digest="1", meta=Provenance())


class Stage:
    """Stands for fetching and reducing; notes who does what at the same time."""

    def __init__(self):
        self.lock = threading.Lock()
        self.held = self.most_held = self.reducing = self.most_reducing = self.fetched = 0
        self.next_is_fetched = threading.Event()

    def obtain(self, *_):
        with self.lock:
            self.held += 1
            self.fetched += 1
            self.most_held = max(self.most_held, self.held)
            if self.fetched > 1:
                self.next_is_fetched.set()
        return SimpleNamespace(all_absent=False, size=1), 1, ()

    def reduce(self, *_, **__):
        with self.lock:
            self.reducing += 1
            self.most_reducing = max(self.most_reducing, self.reducing)
        assert self.next_is_fetched.wait(PATIENCE_S), "nothing is fetched meanwhile"
        with self.lock:
            self.reducing -= 1
        return SimpleNamespace(meta=Provenance())

    def provenance(self, *_):
        with self.lock:
            self.held -= 1
        return SimpleNamespace()


@pytest.fixture
def stage(monkeypatch):
    stage = Stage()
    monkeypatch.setattr(download, "Atlas", Atlas)
    monkeypatch.setattr(download, "_obtain", stage.obtain)
    monkeypatch.setattr(download, "_planes", lambda _: {})
    monkeypatch.setattr(download, "reduce_skycell", stage.reduce)
    monkeypatch.setattr(download, "_provenance", lambda *_: {})
    monkeypatch.setattr(download, "_with_provenance", stage.provenance)
    return stage


@pytest.mark.parametrize("threads", [2, 6])
def test_fetching_goes_on_while_reducing(stage, tmp_path, threads):
    layout = Layout.under(str(tmp_path), Detector(20, 3, 3))
    job = DownloadJob(layout, Settings(), ArchiveConfig(str(tmp_path)))
    tessellation = Tessellation.rings_v3()
    tasks = [download._SkycellTask(job, tessellation[f"skycell.2556.0{k}"]) for k in range(20, 28)]
    outcomes = list(LocalExecutor(threads).run(download._reduce_one, tasks))
    assert [outcome.error for outcome in outcomes] == [None] * len(tasks)
    assert stage.most_held == 2
    assert stage.most_reducing == 1
