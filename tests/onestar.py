"""Stars put on 2-arcsec cells by formula, and what a TESS pixel records of them, by integral.

For tests of scene and template apart from the reduction.
"""

from types import SimpleNamespace

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from prffiles import USUAL
from scipy.special import erf

from syndiff.ffi.observation import Frame
from syndiff.ffi.tiles import EDGE_PX
from syndiff.layout import Detector
from syndiff.scenes.combine import COARSE_PLANES, Contribution
from syndiff.simulation.ffi import example_cards, example_wcs
from syndiff.simulation.prf import draw_sources
from syndiff.simulation.profiles import PsfConfig
from syndiff.simulation.sources import Sources
from syndiff.sky.pixelmap import PixelMap
from syndiff.sky.tessellation import Skycell
from syndiff.templates.template import sample_template
from syndiff.window import Window

SEEING_PX = 1.2 / 0.25 / 2.3548
"""1.2 arcsec full width at half maximum, as a standard deviation in PS1 pixels."""


def ccd_frame(science):
    """The real frame of sector 20, camera 3, CCD 3, with these science pixels."""
    header = fits.Header.fromstring(example_cards(), sep="\n")
    return Frame.from_header(header, Detector(20, 3, 3), (2078, 2136), science)


def skycell_around(frame, x, y, *, name="skycell.1234.056", turn_deg=25.0, size=6000, away_deg=1.0):
    """A skycell with FFI pixel (x, y) near its middle and a tangent point some way off."""
    ra, dec = (float(v) for v in frame.pixel_to_sky(x, y))
    crval = ra + away_deg / np.cos(np.deg2rad(dec)), dec + away_deg
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    pc, cdelt = (-c, s, s, c), (0.25 / 3600, 0.25 / 3600)
    offset = Skycell(name, size, size, crval, (0.0, 0.0), cdelt, pc).wcs.all_world2pix(ra, dec, 0)
    crpix = tuple(round(size / 2 - float(v)) + 0.25 for v in offset)
    return Skycell(name, size, size, crval, crpix, cdelt, pc)


def b_spline(t):
    t = np.abs(t)
    return np.where(t < 0.5, 0.75 - t**2, np.where(t < 1.5, 0.5 * (1.5 - t) ** 2, 0))


def light_along_axis(place, cells, seeing_px=SEEING_PX):
    """A star along one axis: PS1 pixels, boxes of two, quadratic B-splines of 8 pixels."""
    pixels = np.arange(8 * cells)
    edges = (np.append(pixels, 8 * cells) - 0.5 - place) / (seeing_px * np.sqrt(2))
    boxes = np.diff(erf(edges)).reshape(-1, 2).sum(axis=1) / 2
    centres = pixels.reshape(-1, 2).mean(axis=1)
    cell = np.rint((centres - 3.5) / 8).astype(int)
    out = np.zeros(cells)
    for step in (-1, 0, 1):
        near = np.clip(cell + step, 0, cells - 1)
        np.add.at(out, near, boxes * b_spline((centres - 3.5) / 8 - cell - step))
    return out


def full_counts(skycell):
    """PS1 pixels in each 8-arcsec cell."""
    sides = [np.minimum(32, n - np.arange(0, n, 32)) for n in skycell.shape]
    return np.outer(*sides).astype(np.float32)


def contribution(skycell, stars=(), frame=None, *, variance=0.0):
    """All of a skycell's sky with stars (x, y, flux) at FFI pixels; variance per PS1 pixel."""
    ny, nx = (-(-n // 8) for n in skycell.shape)
    light = np.zeros((ny, nx))
    for x, y, flux in stars:
        px, py = (float(v) for v in PixelMap.between(skycell, frame).inverse(x, y))
        light += flux * np.outer(light_along_axis(py, ny), light_along_axis(px, nx))
    full = full_counts(skycell)
    planes = {"variance": variance * full, "count": full, "full": full}
    coarse = np.stack([planes.get(name, 0 * full) for name in COARSE_PLANES]).astype(np.float32)
    return Contribution(light.astype(np.float32), coarse, np.zeros((ny, nx), np.uint8))


def located(skycell, frame, given):
    """A contribution with where it lands."""
    return PixelMap.between(skycell, frame).lattice(), given


def exact_flux(frame, star, sigma_px, window, offset=(0.0, 0.0), seeing_px=SEEING_PX):
    """What the pixels of a window record of a star (x, y, flux), from the WCS by quadrature.

    A Gaussian in true angle: on a plane that touches the sky at the star; times the local area of
    a pixel. Its variance: response, seeing and the PS1 pixel.
    """
    u, w = np.polynomial.legendre.leggauss(8)
    u, w = u / 2, w / 2
    y, x = np.mgrid[window.y0 : window.y1, window.x0 : window.x1].astype(float)
    x = x[:, :, None, None] - offset[0] + u
    y = y[:, :, None, None] - offset[1] + u[:, None]
    plane = WCS(naxis=2)
    plane.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    plane.wcs.crval = frame.wcs.all_pix2world(star[0], star[1], 0)
    plane.wcs.cdelt = [0.25 / 3600] * 2
    plane.wcs.crpix = [1, 1]

    def project(x, y):
        x, y = np.broadcast_arrays(x, y)
        sky = frame.wcs.all_pix2world(x.ravel(), y.ravel(), 0)
        return np.array(plane.all_world2pix(*sky, 0)).reshape(2, *x.shape)

    step = 1e-3
    place = project(x, y)
    a = (project(x + step, y) - project(x - step, y)) / (2 * step)
    b = (project(x, y + step) - project(x, y - step)) / (2 * step)
    variance = sigma_px**2 + seeing_px**2 + 1 / 12
    density = np.exp(-(place**2).sum(axis=0) / (2 * variance)) / (2 * np.pi * variance)
    return star[2] * np.einsum("yxab,a,b->yx", density * np.abs(a[0] * b[1] - a[1] * b[0]), w, w)


def prf_flux(star, window, offset=(0.0, 0.0), config=None, seeing_px=SEEING_PX):
    """What the pixels of a window record of a star (x, y, flux) with the simulated response.

    Of PS1's seeing, what it differs by from the mean that a measured response takes out.
    """
    wcs = example_wcs()
    ra, dec = (np.atleast_1d(v) for v in wcs.all_pix2world(star[0], star[1], 0))
    none = np.zeros(1)
    shape = np.zeros(1, int), none, np.ones(1), none
    sources = Sources(ra, dec, none, none, np.full((1, 4), star[2]), *shape)
    seeing = PsfConfig((seeing_px * 2.3548 / 4,) * 4, "gaussian")
    response = config or USUAL
    return draw_sources(sources, response, wcs, window, year=2012.75, seeing=seeing, offset=offset)


def render_window(renderer, window, contributions):
    """Render the tiles under a window, put them together, and return samples and their origin.

    What neighbouring tiles both hold of the edge is taken from the tile that owns the pixel.
    """
    tiles = renderer.grid.covering(window)
    held = renderer.grid.pixels(tiles)
    strips = [
        renderer.render(row, range(tiles.x0, tiles.x1), contributions)
        for row in range(tiles.y0, tiles.y1)
    ]

    def join(planes, samples):
        edge = EDGE_PX * samples
        parts = []
        for k, plane in enumerate(planes):
            start = 0 if k == 0 else edge
            stop = plane.shape[-2] - (0 if k == len(planes) - 1 else edge)
            parts.append(plane[..., start:stop, :])
        return np.concatenate(parts, axis=-2)

    scene = SimpleNamespace(
        flux=join([strip.flux for strip in strips], 4),
        aux=join([strip.aux for strip in strips], 2),
        flags=join([strip.flags for strip in strips], 2),
    )
    return scene, (held.x0 - EDGE_PX, held.y0 - EDGE_PX)


def sample(scene, origin, window, offset=(0.0, 0.0)):
    return sample_template(scene, origin=origin, window=window, offset=offset)


def window_around(x, y, reach):
    x, y = round(x), round(y)
    return Window(x - reach, y - reach, x + reach + 1, y + reach + 1)
