"""Templates that follow FFIs: time at a full CCD, error against exact. Prints tables.

Run ``python -m benchmarks.following``; it needs 2 GB of memory.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy import ndimage
from scipy.special import erf

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit"))

from onestar import ccd_frame
from smallsky import turned
from test_template_file import SCENE

from syndiff.kernels.sample import sample_field
from syndiff.sky.displacement import Displacement, displacement_between
from syndiff.storage.place import Place
from syndiff.templates.template import (
    Template,
    follow_template,
    interpolation_table,
    sample_template,
)
from syndiff.templates.template_file import TemplateRecord, write_template
from syndiff.window import Window

SCIENCE = Window(44, 0, 2092, 2048)
ARRAY = Window(0, 0, 2136, 2078)
EDGE = 4
TWIN_PX = 512


def timed(function, *arguments, **keywords):
    """Return a result and the best of three, in core-seconds."""
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        result = function(*arguments, **keywords)
        best = min(best, time.process_time() - start)
    return result, best


def full_scene():
    """A scene of a full CCD: noise, as its content costs nothing."""
    rng = np.random.default_rng(1)
    ny, nx = (side + 2 * EDGE for side in SCIENCE.shape)
    flux = rng.standard_normal((4 * ny, 4 * nx), np.float32)
    aux = rng.random((6, 2 * ny, 2 * nx), np.float32)
    aux[3] = 1
    return SimpleNamespace(flux=flux, aux=aux, flags=np.zeros((2 * ny, 2 * nx), np.uint8))


def spline(scene, field, x0, y0):
    """The twin: SciPy's quintic spline of the flux alone, at the same places."""
    y, x = np.mgrid[y0 : y0 + TWIN_PX, x0 : x0 + TWIN_PX].astype(float)
    dx, dy = field(x, y)
    places = [(y - dy - y0 + 16) * 4, (x - dx - x0 + 16) * 4]
    first = [4 * (v - 16 + EDGE) for v in (y0 - SCIENCE.y0, x0 - SCIENCE.x0)]
    size = 4 * (TWIN_PX + 32)
    part = scene.flux[first[0] : first[0] + size, first[1] : first[1] + size]
    return ndimage.map_coordinates(part, places, order=5)


def times():
    """Yield rows of the table of times."""
    reference = ccd_frame(SCIENCE)
    frame = turned(reference, roll_arcsec=10, crval=(8, -12), scale=1 + 2e-5)
    scene, origin = full_scene(), (SCIENCE.x0 - EDGE, SCIENCE.y0 - EDGE)
    where = {"origin": origin, "window": SCIENCE}
    field, between = timed(displacement_between, reference, frame)
    canvas = Template.blank(ARRAY)
    held = canvas.part(SCIENCE, ARRAY)
    _, offset_s = timed(sample_template, scene, offset=(0.37, -0.21), out=held, **where)
    _, follow_s = timed(follow_template, scene, displacement=field, out=held, **where)
    out = np.empty(SCIENCE.shape, np.float32)
    places = field.places(SCIENCE.x0, SCIENCE.y0)
    corner = 4 * origin[1], 4 * origin[0]
    _, kernel = timed(sample_field, scene.flux, corner, 4, interpolation_table(), places, out)
    _, twin = timed(spline, scene, field, 800, 800)
    twin *= SCIENCE.shape[0] * SCIENCE.shape[1] / TWIN_PX**2
    record = TemplateRecord(frame, ARRAY, (0.0, 0.0), SCENE)
    with tempfile.TemporaryDirectory() as folder:
        place = Place.at(folder) / "template.fits"
        _, write = timed(write_template, place, canvas, record, "d")
    total = between + follow_s + write
    yield "displacement field", between, "", ""
    yield "flux alone", kernel, "quintic spline", twin
    yield "eight planes, displacement field", follow_s, "at an offset", offset_s
    yield "FITS file with checksums", write, "", ""
    yield "one FFI", total, "limit", 2.0


def pixel_integral(t, sigma):
    edge = np.sqrt(2) * sigma * 0.25 / 21
    return 0.5 * (erf((t + 0.5) / edge) - erf((t - 0.5) / edge))


def errors():
    """Yield rows of the table of errors: largest of many stars, over their peak."""
    window, origin = Window(100, 50, 112, 62), (96, 46)
    x, y = (low + np.arange(4 * 20) / 4 for low in origin)
    rows, columns = np.mgrid[window.y0 : window.y1, window.x0 : window.x1]
    rng = np.random.default_rng(3)
    for sigma in (40, 60):
        worst = {}
        for _ in range(300):
            at = rng.uniform(104, 108), rng.uniform(54, 58)
            flux = np.outer(pixel_integral(y - at[1], sigma), pixel_integral(x - at[0], sigma))
            scene = SimpleNamespace(
                flux=flux.astype(np.float32),
                aux=np.ones((6, 40, 40), np.float32),
                flags=np.zeros((40, 40), np.uint8),
            )
            base = Displacement.constant(rng.uniform(-1.5, 1.5, 2), (80, 128))
            varied = base.moved(*rng.uniform(-0.1, 0.1, (2, *base.dx.shape)))
            peak = pixel_integral(0.0, sigma) ** 2
            for name, field in (("constant", base), ("varied", varied)):
                dx, dy = field(columns, rows)
                wanted = pixel_integral(columns - dx - at[0], sigma)
                wanted = wanted * pixel_integral(rows - dy - at[1], sigma) * field.area(window)
                where = {"origin": origin, "window": window}
                found = follow_template(scene, displacement=field, **where).flux
                error = np.abs(found - wanted).max() / peak
                worst[name] = max(worst.get(name, 0), error)
                if name == "constant":
                    offset = base.dx[0, 0], base.dy[0, 0]
                    found = sample_template(scene, offset=offset, **where).flux
                    error = np.abs(found - wanted).max() / peak
                    worst["offset"] = max(worst.get("offset", 0), error)
        yield sigma, worst["offset"], worst["constant"], worst["varied"]


def main() -> None:
    """Print both tables."""
    print("| full CCD | core-seconds | against | core-seconds | ratio |\n|---|---|---|---|---|")
    for name, seconds, other, theirs in times():
        ratio = f"{theirs / seconds:.1f}" if theirs else ""
        print(f"| {name} | {seconds:.2f} | {other} | {theirs and f'{theirs:.2f}'} | {ratio} |")
    print("\n| sigma | offset | constant field | field that varies |\n|---|---|---|---|")
    for sigma, *values in errors():
        print(f"| {sigma} | " + " | ".join(f"{value:.1e}" for value in values) + " |")


if __name__ == "__main__":
    main()
