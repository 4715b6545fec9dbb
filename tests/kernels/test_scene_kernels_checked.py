"""The kernels of scene and template again, with every index checked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("switch", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_nothing_is_touched_outside_the_arrays(switch, tmp_path):
    """Without the compiler, and compiled with checks, an index outside is an error."""
    files = [str(HERE / f"test_{name}.py") for name in ("splat", "sample", "planes")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "agree", *files],
        # A cache of its own: code compiled with checks, or quickly, must not stay for others.
        env=os.environ | {switch: "1", "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
