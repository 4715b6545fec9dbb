"""The same outcomes in process, on local workers and on a cluster that runs already."""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import execution_tasks as tasks
import pytest
from commands import take_interrupts
from distributed import LocalCluster

from syndiff import execution
from syndiff.errors import ConfigError
from syndiff.execution import LocalExecutor, available_cores, open_executor

TESTS = str(Path(__file__).parents[1])
CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=int(sys.argv[1]), threads_per_worker=1, processes=True,
                      dashboard_address=None, host="127.0.0.1", memory_limit=0,
                      scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@contextlib.contextmanager
def outside_cluster(workers):
    """A scheduler and its workers in processes that know nothing of this one; its address."""
    environment = os.environ | {
        "PYTHONPATH": TESTS,
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(workers)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate()


@pytest.fixture(scope="module")
def address():
    with outside_cluster(2) as address:
        yield address


@pytest.fixture(scope="module")
def local_workers():
    """Two workers, which take a lost worker as final at once."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        # workers unpickle the tasks of this module by name
        monkeypatch.setenv("PYTHONPATH", TESTS)
        monkeypatch.setattr(execution, "available_cores", lambda: 2)
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": 0}),
            open_executor(cores=2, threads=1) as executor,
        ):
            yield executor


@pytest.fixture(params=["in process", "threads", "local workers", "cluster"])
def executor(request):
    kind = request.param
    if kind == "local workers":
        yield request.getfixturevalue("local_workers")
    elif kind == "cluster":
        with open_executor(
            cores=1, threads=1, scheduler=request.getfixturevalue("address")
        ) as found:
            yield found
    else:
        yield LocalExecutor(1 if kind == "in process" else 3)


def outcomes(executor, function, numbers):
    return sorted(executor.run(function, numbers), key=lambda outcome: outcome.task)


def test_outcomes_are_the_same_everywhere(executor):
    found = outcomes(executor, tasks.square, list(range(20)))
    assert [(o.task, o.result, o.error, o.details) for o in found] == [
        (number, number**2, None, "") for number in range(20)
    ]


def test_errors_are_outcomes_with_their_task(executor):
    one, two, three, four = outcomes(executor, tasks.stumble, [1, 2, 3, 4])
    assert (one.result, one.error) == (1, None)
    assert (two.result, two.error) == (None, "can't read two: it is odd")
    assert (three.result, three.error) == (None, "ZeroDivisionError: three by nothing")
    assert "execution_tasks.py" in three.details
    assert three.details.rstrip().endswith("ZeroDivisionError: three by nothing")
    assert four.error is None


def test_no_tasks_are_no_outcomes(executor):
    assert list(executor.run(tasks.square, [])) == []


def test_who_stops_looking_need_not_wait(executor):
    """Of 40 tasks of a tenth of a second, those not begun are dropped."""
    start = time.perf_counter()
    for outcome in executor.run(tasks.wait, [0.1 + k / 1e6 for k in range(40)]):
        assert outcome.error is None
        break
    assert outcomes(executor, tasks.square, [3])[0].result == 9
    assert time.perf_counter() - start < 2


def test_workers_are_counted(local_workers, address):
    assert LocalExecutor().workers == 1
    assert local_workers.workers == 2
    with open_executor(cores=1, threads=1, scheduler=address) as executor:
        assert executor.workers == 2


def test_tasks_run_on_several_processes(local_workers):
    found = outcomes(local_workers, tasks.process, list(range(8)))
    pids = {outcome.result for outcome in found}
    assert len(pids) == 2
    assert os.getpid() not in pids


@pytest.mark.parametrize(
    "name",
    ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "ZARR_THREADING__MAX_WORKERS"],
)
def test_workers_use_one_thread_a_task(local_workers, name):
    (outcome,) = local_workers.run(tasks.environment, [name])
    assert outcome.result == os.environ.get(name, "1")  # what the user set comes first


def test_lost_workers_are_outcomes(local_workers):
    """A worker that dies takes its task along; what comes next is done by who is left."""
    (lost,) = local_workers.run(tasks.die, [1])
    assert (lost.task, lost.result) == (1, None)
    assert lost.error.startswith("its worker was lost: ")
    assert "\n" not in lost.error
    found = outcomes(local_workers, tasks.die, [0, 2, 3])
    assert [outcome.result for outcome in found] == [0, 2, 3]


class Interruption:
    """A function that is interrupted as by Ctrl-C in its second call."""

    def __init__(self):
        self.calls = []

    def __call__(self, task):
        self.calls.append(task)
        if len(self.calls) == 2:
            raise KeyboardInterrupt
        return task


def test_interruptions_end_the_run():
    function = Interruption()
    with pytest.raises(KeyboardInterrupt):
        list(LocalExecutor().run(function, [1, 2, 3, 4]))
    assert function.calls == [1, 2]


def test_interruptions_drop_what_has_not_begun(executor):
    """Ctrl-C while the outcomes are looked at."""
    start = time.perf_counter()

    def look():
        for _ in executor.run(tasks.wait, [0.1 + k / 1e6 for k in range(40)]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look()
    assert time.perf_counter() - start < 2


def test_one_core_needs_no_processes():
    with open_executor(cores=1, threads=2) as executor:
        assert isinstance(executor, LocalExecutor)
        assert executor.workers == 1


def test_no_more_processes_than_cores(monkeypatch):
    monkeypatch.setattr(execution, "available_cores", lambda: 1)
    with open_executor(cores=64, threads=1) as executor:
        assert isinstance(executor, LocalExecutor)


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= available_cores() <= os.cpu_count()


def test_too_few_cores_are_refused():
    with (
        pytest.raises(ConfigError, match="cores 0 is too few: give 1 or more"),
        open_executor(cores=0, threads=1),
    ):
        pass


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:9", "nonsense", "ftp://host:21", ""])
def test_schedulers_that_do_not_answer_are_refused(scheduler, monkeypatch):
    monkeypatch.setattr(execution, "_CONNECT_S", 0.3)
    with (
        pytest.raises(
            ConfigError, match=rf"scheduler '{scheduler}' can't be reached .* or leave out"
        ),
        open_executor(cores=1, threads=1, scheduler=scheduler),
    ):
        pass


def test_schedulers_without_workers_are_refused(monkeypatch):
    monkeypatch.setattr(execution, "_WORKERS_S", 0.3)
    with LocalCluster(
        n_workers=0,
        processes=False,
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
    ) as cluster:
        address = cluster.scheduler_address
        wanted = rf"scheduler '{address}' has no workers: start some with `dask worker {address}`"
        with (
            pytest.raises(ConfigError, match=wanted),
            open_executor(cores=1, threads=1, scheduler=address),
        ):
            pass


def test_workers_that_lack_the_code_say_so(address, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def task(number):\n    return number\n")
    monkeypatch.syspath_prepend(tmp_path)
    with open_executor(cores=1, threads=1, scheduler=address) as executor:
        (outcome,) = executor.run(importlib.import_module("only_here").task, [5])
    assert outcome.task == 5
    assert outcome.error.startswith("its worker can't run it (")
    assert outcome.error.endswith("syndiff and of what it needs on every worker")
    assert "\n" not in outcome.error


def run_script(tmp_path, text):
    """Start a Python script in a process group of its own; tests' modules can be imported."""
    script = tmp_path / "script.py"
    script.write_text(text)
    return subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=take_interrupts,  # noqa: PLW1509 - it sets a signal only
    )


def test_a_script_needs_no_guard(tmp_path):
    """Workers that imported the script would run it again, and its workers too."""
    process = run_script(
        tmp_path,
        "print('begins', flush=True)\n"
        "from execution_tasks import square\n"
        "from syndiff.execution import open_executor\n"
        "with open_executor(cores=2, threads=1) as executor:\n"
        "    print(sorted(outcome.result for outcome in executor.run(square, [1, 2, 3])))\n"
        "print(__file__.rsplit('/', 1)[-1])\n",
    )
    assert process.communicate() == ("begins\n[1, 4, 9]\nscript.py\n", "")


def test_an_interrupt_reaches_the_command_alone(tmp_path):
    """A terminal sends it to workers too: they say nothing, and end with the command."""
    process = run_script(
        tmp_path,
        "import os\n"
        "from execution_tasks import square, wait\n"
        "from syndiff.execution import open_executor\n"
        "try:\n"
        "    with open_executor(cores=2, threads=1) as executor:\n"
        "        list(executor.run(square, [1, 2, 3]))\n"
        "        print('works', flush=True)\n"
        "        list(executor.run(wait, [60, 60]))\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', flush=True)\n"
        "    os._exit(130)\n",
    )
    assert process.stdout.readline() == "works\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate() == ("stopped\n", "")
    assert process.returncode == 130
