"""Two skies without noise, simulated once a session, and their templates."""

import pytest
from rendered import Rendered, render

from benchmarks.skies import Sky


@pytest.fixture(scope="session")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The middle of the CCD, where four tiles and two projections meet; usual seeing."""
    sky = Sky("centre", 1.3, "moffat", size_px=24)
    return render(sky, tmp_path_factory.mktemp("centre"), 40.0, 60.0)


@pytest.fixture(scope="session")
def corner(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The last pixels of the science window, with the sharpest seeing: the hardest place."""
    sky = Sky("corner", 0.8, "gaussian", size_px=18)
    return render(sky, tmp_path_factory.mktemp("corner"), 40.0)
