"""A data root whose scene is drawn in closed form, and FFIs of it: no PS1 file takes part."""

import numpy as np
from astropy.io import fits
from commands import DETECTOR, invoke
from finestars import SCALE, TEMPLATE_SIGMA, crowd, draw, ffi
from sceneorigin import scene_origin

from syndiff.ffi.tiles import EDGE_PX, TILE_PX
from syndiff.layout import Layout
from syndiff.scenes.metadata import SceneMetadata, TileRow, write_scene_metadata
from syndiff.scenes.scene import SceneStrip
from syndiff.scenes.store import SceneStore
from syndiff.settings import Settings
from syndiff.simulation.ffi import SCIENCE, FfiConfig, example_cards, shifted, write_ffi
from syndiff.simulation.sky import Cap, SkyConfig, make_sources
from syndiff.sky.mapping_files import read_mapping
from syndiff.window import Window

TILE = Window(15, 16, 16, 17)
"""The one tile that is rendered."""
TILE_PIXELS = Window(1004, 1024, 1068, 1088)
ROI = Window(1012, 1032, 1060, 1080)
"""As far inside as a kernel reaches."""
AROUND_ROI = TILE_PIXELS.grown(-EDGE_PX)
"""What such a scene holds."""
AROUND = TILE_PIXELS.grown(EDGE_PX)
NOISE = 2.0
"""UNCERT of the template, flux at zero point 25: 0.04 e-/s."""


def stars_of(seed=3):
    """Stars (x, y, template flux) in FFI pixels, T 9 to 17."""
    stars = crowd(np.random.default_rng(seed), AROUND.shape)
    return stars + np.array([AROUND.x0, AROUND.y0, 0.0])


def wider(x, y):
    """TESS's response: wider than the template's, and off its place."""
    return [(0.8, 0.04, -0.03, 0.52), (0.2, 0.1, 0.05, 0.75)]


def make_root(root, stars):
    """Mapping, scene and template of `ROI` under a data root; returns the reference FFI."""
    sky = root.parent
    reference = write_image(sky, FfiConfig(DETECTOR, example_cards()), stars)
    invoke("mapping", reference, "--data-root", root, "--roi", TILE_PIXELS, "--max-workers", 1)
    layout = Layout.under(str(root), DETECTOR)
    write_scene(layout, stars)
    invoke("downsample", 20, 3, 3, "--data-root", root, "--roi", ROI)
    return reference


def write_scene(layout, stars, digest="0123456789abcdef"):
    """Write a scene of one tile."""
    strip = draw_strip(stars)
    settings = Settings(background="none", ignore_mask_bits="")
    config = settings.scene("").to_dict()
    origin = scene_origin(config=config, reduction=settings.reduction)
    store = SceneStore(layout.scene, SCIENCE)
    store.create(digest, origin)
    inputs = np.array([7], np.uint64)
    store.write(TILE.y0, range(TILE.x0, TILE.x1), strip, inputs)
    names = tuple(member.skycell.name for member in read_mapping(layout).members)
    content = SceneMetadata(
        **vars(origin),
        digest=digest,
        parts=(names,),
        tiles=(TileRow(TILE.y0, TILE.x0, f"{7:016x}", 0),),
        mapped=len(names),
        stars=None,
        skycells=(),
        windows=((AROUND_ROI.x0, AROUND_ROI.y0, AROUND_ROI.x1, AROUND_ROI.y1),),
    )
    write_scene_metadata(layout, content)


def draw_strip(stars):
    """The scene around the tile, with full coverage and constant noise."""
    y, x = (
        start + np.arange(4 * n) / 4
        for start, n in zip((AROUND.y0, AROUND.x0), AROUND.shape, strict=True)
    )
    flux = draw(stars, y, x, lambda *_: [(1, 0, 0, TEMPLATE_SIGMA)])
    size = 2 * (TILE_PX + 2 * EDGE_PX)
    aux = np.zeros((6, size, size), np.float32)
    aux[0], aux[1], aux[3] = NOISE**2, 1600, 1
    return SceneStrip(flux.astype(np.float32), aux, np.zeros((size, size), np.uint8))


def write_image(folder, config, stars, *, transients=(), seed=1):
    """Write an FFI of stars and of what shines only here, (x, y, flux in e-/s)."""
    nothing = make_sources(SkyConfig(star_density=0, galaxy_density=0), Cap((1.0, 0, 0), 1))
    path = write_ffi(nothing, config, folder, seed=1)
    dx, dy = config.pointing_px
    new = [(x, y, flux / SCALE) for x, y, flux in transients]
    moved = np.concatenate([stars, np.reshape(new, (-1, 3))])
    moved = moved + np.array([dx - AROUND.x0, dy - AROUND.y0, 0.0])
    image, sigma = ffi(moved, AROUND.shape, wider, rng=np.random.default_rng(seed))
    with fits.open(path, mode="update") as hdus:
        if config.kind == "TICA":
            hdus[0].data[AROUND.slices] = image * config.exposure_s
        else:
            hdus[1].data[AROUND.slices] = image
            hdus[2].data[AROUND.slices] = sigma
    return path


def write_later(folder, stars, *, cadences=1, pointing_px=(0.0, 0.0), **others):
    """Write another FFI, pointed elsewhere; its WCS knows."""
    base = FfiConfig(DETECTOR, example_cards())
    config = shifted(base, cadences=cadences, pointing_px=pointing_px)
    return write_image(folder, config, stars, **others)
