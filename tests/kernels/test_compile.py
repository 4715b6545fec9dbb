"""Where machine code is kept, and that all of it is compiled ahead."""

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import syndiff.kernels
from syndiff.kernels import compile as compiling
from syndiff.kernels import warm as warming
from syndiff.kernels.compile import cache_folder, njit


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """No cache chosen yet, and a user whose cache is empty."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(compiling.tempfile, "gettempdir", lambda: str(tmp_path))
    compiling.cache_folder.cache_clear()
    yield tmp_path
    compiling.cache_folder.cache_clear()


def test_folder_is_the_users_and_names_versions_and_cpu(folder):
    found = Path(cache_folder())
    assert found.parent == folder / "cache/syndiff/kernels"
    assert f"numba{numba.__version__}-" in found.name
    assert not (folder / "cache").exists()


def test_folder_without_xdg(folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert Path(cache_folder()).is_relative_to(folder / "home/.cache/syndiff")


def test_folder_on_a_mac(folder, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Path(cache_folder()).is_relative_to(folder / "home/Library/Caches/syndiff")


def test_what_the_user_set_comes_first(folder, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder / "chosen"))
    assert cache_folder() == str(folder / "chosen")


def test_homes_that_cannot_be_written_leave_the_temporary_folder(folder):
    (folder / "cache").write_text("a file where the folder should be")
    found = Path(cache_folder())
    assert found.is_relative_to(folder / f"syndiff-{os.getuid()}")
    assert (folder / f"syndiff-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_temporary_folders_of_others_are_not_used(folder):
    (folder / "cache").write_text("")
    (folder / f"syndiff-{os.getuid()}").mkdir()
    (folder / f"syndiff-{os.getuid()}").chmod(0o777)
    assert cache_folder() is None


def test_temporary_folders_are_no_links(folder):
    (folder / "cache").write_text("")
    (folder / "elsewhere").mkdir()
    (folder / f"syndiff-{os.getuid()}").symlink_to(folder / "elsewhere")
    assert cache_folder() is None


def test_no_temporary_folder_at_all(folder, monkeypatch):
    def fail():
        raise FileNotFoundError

    (folder / "cache").write_text("")
    monkeypatch.setattr(compiling.tempfile, "gettempdir", fail)
    assert cache_folder() is None


def test_without_a_cache_kernels_work_all_the_same(monkeypatch):
    monkeypatch.setattr(compiling, "cache_folder", lambda: None)
    monkeypatch.setattr(warming, "cache_folder", lambda: None)
    monkeypatch.setattr(warming, "compile_all", pytest.fail)
    double = njit(cache=True, nogil=True)(_double)
    assert double(4) == 8
    warming.warm()


def _double(number):
    return 2 * number


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_only_our_functions_go_to_our_cache(folder):
    ours = njit(cache=True, nogil=True)(_double)
    theirs = numba.njit(cache=True)(_double)
    assert Path(ours.stats.cache_path).is_relative_to(folder / "cache")
    assert not Path(theirs.stats.cache_path).is_relative_to(folder)
    assert numba.config.CACHE_DIR == ""


@pytest.fixture
def compilations(folder, monkeypatch):
    """What is compiled is written down instead."""
    found = []
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)
    monkeypatch.setattr(warming, "compile_all", lambda: found.append(1))
    return found


def test_kernels_are_compiled_once(compilations):
    warming.warm()
    warming.warm()
    assert len(compilations) == 1


def test_other_sources_are_compiled_again(compilations, monkeypatch):
    warming.warm()
    monkeypatch.setattr(warming, "_source_digest", lambda: "other")
    warming.warm()
    assert len(compilations) == 2


def test_who_waited_does_not_compile(compilations, monkeypatch):
    """Another process finishes while this one waits for the lock."""
    locked = warming._locked

    def wait(folder):
        (folder / f"compiled-{warming._source_digest()}").parent.mkdir(parents=True)
        (folder / f"compiled-{warming._source_digest()}").touch()
        return locked(folder)

    monkeypatch.setattr(warming, "_locked", wait)
    warming.warm()
    assert compilations == []


def test_caches_that_cannot_be_written_are_done_without(compilations, folder, monkeypatch, caplog):
    (folder / "file").write_text("")
    monkeypatch.setattr(warming, "cache_folder", lambda: str(folder / "file/kernels"))
    with caplog.at_level("INFO", "syndiff"):
        warming.warm()
    assert compilations == []
    assert "can't be written" in caplog.text


def test_wrong_types_are_told_and_done_without(compilations, monkeypatch, caplog):
    def fail():
        raise numba.core.errors.TypingError("no such attribute")

    monkeypatch.setattr(warming, "compile_all", fail)
    warming.warm()
    assert "not all kernels were compiled ahead" in caplog.text
    assert "no such attribute" in caplog.text


def test_importing_writes_nothing(tmp_path):
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "XDG_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", "import syndiff.kernels.compile, syndiff.kernels.warm"],
        env=environment | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, list(tmp_path.iterdir())) == (b"", [])


def python_called():
    """Kernels that are public: Python code calls them, not only other kernels."""
    for module in pkgutil.iter_modules(syndiff.kernels.__path__):
        found = importlib.import_module(f"syndiff.kernels.{module.name}")
        for name in found.__all__:
            if isinstance(getattr(found, name), Dispatcher):
                yield getattr(found, name)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_all_kernels_are_compiled_ahead():
    named = {id(kernel) for kernel, _ in warming.signatures()}
    left = {kernel.__name__ for kernel in python_called() if id(kernel) not in named}
    assert left == set()


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_types_are_those_that_kernels_take():
    """Every kernel accepts them; all is in the cache but after a change of the source."""
    warming.compile_all()
    for kernel, arguments in warming.signatures():
        assert tuple(numba.typeof(a) for a in arguments) in kernel.signatures


def test_examples_hold_no_data():
    for _, arguments in warming.signatures():
        assert all(a.size == 0 for a in arguments if isinstance(a, np.ndarray))
