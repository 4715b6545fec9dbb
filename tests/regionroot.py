"""A data root of 32 small skycells around the corner of four tiles, without any stack file."""

import functools
from dataclasses import replace

import numpy as np
from astropy.io import fits
from reduced_samples import dark_skycell
from smallsky import small_catalogue

from syndiff.config import BANDS
from syndiff.ffi.frame import Frame
from syndiff.ffi.tiles import MARGIN_PX
from syndiff.layout import Detector, Layout
from syndiff.settings import Settings
from syndiff.simulation.ffi import SCIENCE, example_cards
from syndiff.sky.mapping import Reference, map_frame
from syndiff.sky.mapping_files import write_mapping
from syndiff.sky.tessellation import Tessellation
from syndiff.stacks.atlas import Atlas
from syndiff.stacks.inventory import Inventory, InventoryEntry
from syndiff.stacks.provenance import BandOrigin, Provenance
from syndiff.stages.downsample import downsample_stage
from syndiff.stages.process import process_stage
from syndiff.stages.run import Run
from syndiff.window import Window

CORNER = (1004, 1024)
"""FFI pixel (x, y) where four tiles meet, in the middle of the skycells."""
LARGE = Window(984, 1004, 1024, 1044)
"""Needs all of the skycells: more than they cover."""
REFERENCE = Reference("tess1.fits", "SPOC", "2020-01-01T00:00:00", "2020-01-01T00:30:00")
BRIGHTEST = 3e5
"""Flux of the brightest cells."""


def layout_of(root, name="data"):
    """A layout with the atlas of `root` and all else of its own."""
    return Layout.under(str(root / name), frame().detector, atlas=str(root / "atlas"))


def frame():
    """The pixel grid of the simulator's FFIs, which can be followed."""
    header = fits.Header.fromstring(example_cards(), sep="\n")
    return Frame.from_header(header, Detector(20, 3, 3), (2078, 2136), SCIENCE)


@functools.cache
def catalogue():
    ra, dec = frame().pixel_to_sky(CORNER[0] - 0.5, CORNER[1] - 0.5)
    return small_catalogue(float(ra), float(dec))


def map_pixels(layout, window=None):
    """Map a region, or the whole CCD."""
    tessellation = Tessellation.from_csv(catalogue().encode())
    layout.catalogue_used.write(catalogue().encode())
    mapping = map_frame(
        frame(), tessellation, margin_px=MARGIN_PX, reference=REFERENCE, window=window
    )
    write_mapping(mapping, layout)
    return mapping


def fill_atlas(root):
    """Give every skycell light of its own: points of any brightness, and holes here and there."""
    layout, config = layout_of(root), Settings()
    inventory = Inventory.read(layout.inventory, config)
    atlas = Atlas(layout.atlas, layout.detector)
    for number, cell in enumerate(Tessellation.from_csv(catalogue().encode())):
        key = atlas.key(cell, config)
        if number % 11 == 7:
            inventory.record(InventoryEntry(cell.name, "absent", key.digest))
            continue
        record = atlas.write(key, starry_skycell(cell, number))
        inventory.record(
            InventoryEntry(cell.name, "reduced", key.digest, record.content_digest, source="made")
        )
    inventory.write()


def starry_skycell(cell, seed):
    """A skycell with a point of light in every hundredth cell."""
    rng = np.random.default_rng(seed)
    dark = dark_skycell(cell)
    shape = dark.light.shape[1:]
    codes = rng.integers(0, 3200 * np.arcsinh(BRIGHTEST / 200), shape)
    light = np.where(rng.random(shape) < 0.01, codes, 0).astype(np.int16)
    valid = dark.valid.copy()
    if seed % 3 == 1:
        valid[20:60, 30:50] = rng.choice([0, 3], 2)[0]
    meta = Provenance(
        dict.fromkeys(BANDS, BandOrigin(900.0, 55500.0, 0)),
        invalid_cells=int((valid != 15).sum()),
    )
    return replace(dark, light=np.stack([light] * 4), valid=valid, meta=meta)


def run_of(layout, roi, **settings):
    """A run of the CCD in a layout."""
    roots = {"data_root": layout.data_root, "atlas": layout.atlas_root}
    return Run(layout.detector, Settings(**roots, roi=roi, **settings))


def render(layout, roi, **config):
    """Render the scene of a region."""
    return process_stage(run_of(layout, roi, **config))


def sample(layout, roi, offset=(0.0, 0.0), **how):
    """Write the template of a region; returns its planes by name."""
    done = downsample_stage(run_of(layout, roi, offsets=[offset], **how))
    with fits.open(done.products[0]) as hdus:
        return {hdu.name: np.array(hdu.data) for hdu in hdus[1:] if hdu.is_image}


def cut(planes, large, small, oversample=1):
    """The part of planes that a smaller window is."""
    y, x = oversample * (small.y0 - large.y0), oversample * (small.x0 - large.x0)
    ny, nx = (oversample * side for side in small.shape)
    return {name: plane[y : y + ny, x : x + nx] for name, plane in planes.items()}
