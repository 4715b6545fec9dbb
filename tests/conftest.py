"""What several test modules need: one small simulated sky, made once a session."""

import pytest

from syndiff.simulation import Simulation, plan_simulation, simulate
from syndiff.simulation.ffi import example_cards, wcs_of
from syndiff.simulation.grid import small_catalogue
from syndiff.window import Window

SMALL_FIELD = Window(1000, 1000, 1008, 1008)
"""FFI pixels under the skycells of `small_sky`."""


@pytest.fixture(scope="session")
def small_sky(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """Sector 20, camera 3, CCD 3 with noise, and 8 skycells of 800 px around 8 x 8 of its pixels.

    Read it, don't write into it: it is everybody's.
    """
    cells = small_catalogue(
        wcs_of(example_cards()), SMALL_FIELD, margin_px=1, cell_px=800, overlap_px=200
    )
    middle = (SMALL_FIELD.x0 + SMALL_FIELD.x1 - 1) / 2
    config = plan_simulation(size_px=8, centre_px=(middle, middle), skycells=cells)
    return simulate(config, tmp_path_factory.mktemp("small_sky"))
