"""A finished run on the small sky, and copies of it that a test may spoil."""

import shutil

import pytest
from commands import invoke, pipeline
from differencesky import make_root, stars_of


@pytest.fixture(scope="session")
def finished(small_sky, tmp_path_factory):
    """Data root of a whole run; read it, don't write into it."""
    root = tmp_path_factory.mktemp("finished") / "data"
    invoke(*pipeline(small_sky, root))
    return root


@pytest.fixture
def root(finished, tmp_path):
    """A copy of the finished run's data root."""
    return shutil.copytree(finished, tmp_path / "data")


@pytest.fixture(scope="session")
def starry(tmp_path_factory):
    """Data root with stars enough for a kernel, its reference FFI, and the stars; read only."""
    root = tmp_path_factory.mktemp("starry") / "data"
    stars = stars_of()
    return root, make_root(root, stars), stars
