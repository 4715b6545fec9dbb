"""Real files for tests, which lie beside the checkout and are not committed."""

from pathlib import Path

import pytest

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "real"


def real(name):
    """Return a file or folder of real data; skips the test where there is none."""
    path = REAL / name
    if not path.exists():
        pytest.skip(f"there is no {path}: real data are not part of the project")
    return path
