"""What a full-size skycell takes on disk, at worst: every cell lit, every coarse cell noisy."""

import numpy as np

from syndiff.layout import Detector, Layout
from syndiff.settings import Settings
from syndiff.simulation.ffi import example_cards
from syndiff.sky.mapping_files import index_skycell, write_skycell_map
from syndiff.sky.tessellation import Tessellation
from syndiff.stacks.atlas import Atlas
from syndiff.stacks.reduction import ReducedSkycell
from syndiff.window import Window

NAME = "skycell.2611.028"
"""In the middle of the simulator's CCD."""

ATLAS_BYTES = 7e6
ATLAS_OBJECTS = 16
MAP_BYTES = 1e6
SIGMA_STEPS = 16
"""Steps of the code in one sigma of the noise."""


def crowded(skycell, seed=1):
    """A skycell whose every 2" cell holds detected light of 3 to 100 sigma."""
    rng = np.random.default_rng(seed)
    nb = 4
    yx2, yx8, yx64 = ((-(-skycell.ny // n), -(-skycell.nx // n)) for n in (8, 32, 256))
    light = rng.uniform(3, 100, (nb, *yx2)) * SIGMA_STEPS
    noise = {name: rng.normal(0, SIGMA_STEPS, (nb, *yx8)) for name in ("faint", "one", "two")}
    variance = np.stack([noise["one"], noise["two"]], axis=1)
    counts = rng.integers(900, 1025, (3, nb, *yx8)).astype(np.uint16)
    sigma = np.ones(nb)
    return ReducedSkycell(
        name=skycell.name,
        shape=(skycell.ny, skycell.nx),
        bands=("r", "i", "z", "y"),
        light=light.astype(np.int16),
        light_sigma=sigma,
        left_out=np.zeros((nb, *yx2), np.int16),
        faint=noise["faint"].astype(np.int16),
        faint_sigma=sigma,
        level=rng.normal(size=(nb, *yx64)).astype(np.float32),
        variance=variance.astype(np.int16),
        variance_sigma=sigma,
        count=counts[0],
        left_out_count=np.zeros_like(counts[1]),
        flagged=counts[2],
        mask=np.where(rng.random(yx2) < 0.1, 1 << 5, 0).astype(np.uint16),
        valid=np.full(yx2, 15, np.uint8),
        noise_correlation=1.5,
    )


def test_atlas_takes_little_of_a_crowded_skycell(tmp_path):
    skycell = Tessellation.rings_v3()[NAME]
    layout = Layout.under(str(tmp_path), Detector(20, 3, 3))
    atlas = Atlas(layout.atlas, layout.detector)
    atlas.write(atlas.key(skycell, Settings()), crowded(skycell))
    sizes = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(sizes) < ATLAS_BYTES
    # Beside them the root, one for all skycells.
    assert len(sizes) <= ATLAS_OBJECTS + 1


def test_maps_take_little(tmp_path):
    """In the middle of a CCD, where every cell has a pixel of its own."""
    skycell = Tessellation.rings_v3()[NAME]
    layout = Layout.under(str(tmp_path), Detector(20, 3, 3))
    assert (index_skycell(skycell, frame())[0] >= 0).all()
    write_skycell_map(skycell, frame(), layout.skycell_map(skycell.name))
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.stat().st_size < MAP_BYTES


def frame():
    from astropy.io import fits

    from syndiff.ffi.frame import Frame

    header = fits.Header.fromstring(example_cards(), sep="\n")
    return Frame.from_header(header, Detector(20, 3, 3), (2078, 2136), Window(44, 0, 2092, 2048))
