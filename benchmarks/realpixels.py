"""Templates of a corner of a real FFI against its pixels, for docs/real-pixels.md.

``python -m benchmarks.realpixels FOLDER --figure docs/figures/real-pixels.png`` with a folder of
real files: the FFI's corner, its stars, and MAST's pixel response files below ``prf``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS, FITSFixedWarning
from scipy.interpolate import RectBivariateSpline
from scipy.optimize import least_squares

from benchmarks.skies import Product
from syndiff.layout import Detector, Layout
from syndiff.scenes.prf_files import read_prf_files
from syndiff.scenes.prf_grid import SIDE, PrfGrid
from syndiff.simulation.grid import small_catalogue, write_catalogue
from syndiff.simulation.sky import Cap, SkyConfig, TestStar, make_sources
from syndiff.simulation.sources import unit_vectors
from syndiff.simulation.survey import StackConfig, write_skycell
from syndiff.sky.tessellation import Skycell
from syndiff.window import Window

FFI = "tess2018206192942-s0001-1-4-0120-s_ffic.fits"
STARS = "stars_s0001_1_4_corner.ecsv"
DETECTOR = Detector(1, 1, 4)
CORNER = Window(44, 0, 173, 128)
"""Science pixels of the corner."""

UNBLENDED = (
    *((57.4, 22.8), (121.5, 8.6), (68.5, 30.8), (58.7, 34.0), (91.1, 13.1), (93.4, 73.5)),
    *((54.4, 45.8), (108.0, 121.8), (70.3, 6.7), (84.9, 109.6), (100.6, 104.1), (162.5, 26.6)),
    (128.7, 80.2),
)
"""Stars (FFI pixel x, y) of which direct rendering at a free place leaves less than 7 %.

The table of stars ends at T = 12; others have neighbours that it lacks.
"""

ARCHIVE_ZERO_POINT = 23.83
"""AB magnitude of 1 e-/s in the archive: 3 more than in the sky, as PS1 would saturate.

Templates are scaled to the FFI, so that shapes and places are compared.
"""

_REACH = 4
_FRAME = (2078, 2136)
_HELD = 7


@dataclass(frozen=True)
class Corner:
    """The real pixels, their stars and their response.

    Parameters
    ----------
    folder : Path
        Of the real files.
    """

    folder: Path

    @cached_property
    def image(self) -> np.ndarray:
        """Pixels of rows 0 to 127, columns 0 to 172 of the FFI (e-/s, float64)."""
        return fits.getdata(self.folder / FFI, 1).astype(float)

    @cached_property
    def wcs(self) -> WCS:
        """The FFI's own."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)  # dates
            return WCS(fits.getheader(self.folder / FFI, 1))

    @cached_property
    def stars(self) -> Table:
        """Stars in and around the corner, with FFI pixels x, y by the WCS."""
        table = Table.read(self.folder / STARS)
        table["x"], table["y"] = self.wcs.all_world2pix(table["ra"], table["dec"], 0)
        return table

    @cached_property
    def responses(self) -> PrfGrid:
        """MAST's files of the CCD."""
        return read_prf_files(str(self.folder / "prf"), DETECTOR)

    def pixels(self, window: Window) -> np.ndarray:
        """Return the real pixels of a window."""
        return self.image[window.slices]

    def write_ffi(self, folder: Path) -> Path:
        """Write the corner as a whole FFI with its own headers; returns the file."""
        with fits.open(self.folder / FFI) as hdus:
            for hdu in hdus[1:]:
                frame = np.zeros(_FRAME, np.float32)
                held = hdu.data[:, : self.image.shape[1]]
                frame[: held.shape[0], : held.shape[1]] = held
                # The uncertainties of the last columns are not in the file.
                frame[: held.shape[0], held.shape[1] : self.image.shape[1]] = np.median(held)
                hdu.data = frame
            hdus.writeto(folder / FFI, overwrite=True)
        return folder / FFI

    def rendered(self, window: Window, flux: np.ndarray) -> np.ndarray:
        """Return the stars with these fluxes through the files' response, rendered directly."""
        return self._stamps(window).T.dot(flux).reshape(window.shape)

    def flux(self, window: Window) -> np.ndarray:
        """Return the stars' fluxes (e-/s) that fit a window's pixels best, beside a plane."""
        v, u = np.indices(window.shape).reshape(2, -1) / 100
        parts = np.vstack([self._stamps(window), np.ones_like(u), u, v])
        seen = np.abs(parts).max(axis=1) > 1e-3
        found = np.zeros(len(parts))
        found[seen] = np.linalg.lstsq(parts[seen].T, self.pixels(window).ravel(), rcond=None)[0]
        return np.clip(found[:-3], 0, None)

    def _stamps(self, window: Window) -> np.ndarray:
        """Return what each star of one e-/s sends into a window's pixels."""
        x, y = np.arange(window.x0, window.x1), np.arange(window.y0, window.y1)
        out = []
        for star in self.stars:
            spline = _spline(self.responses, star["x"], star["y"])
            down, across = y - star["y"], x - star["x"]
            held = (np.abs(down) < _HELD - 0.5)[:, None] & (np.abs(across) < _HELD - 0.5)
            out.append(np.where(held, spline(down, across), 0).ravel())
        return np.array(out)


def _spline(grid: PrfGrid, x: float, y: float) -> RectBivariateSpline:
    """Return the response of a star's own place, bilinear between the files."""
    down, across = (np.interp(v, nodes, np.arange(5)) for v, nodes in ((y, grid.y), (x, grid.x)))
    weights = np.clip(1 - np.abs(np.array([down, across])[:, None] - np.arange(5)), 0, 1)
    samples = np.einsum("j,i,jikl->kl", *weights, grid.samples)
    u = (np.arange(SIDE) - SIDE // 2) / 9
    return RectBivariateSpline(u, u, samples * 81 / samples.sum())


def write_archive(corner: Corner, window: Window, folder: Path) -> tuple[Skycell, ...]:
    """Write the stars as a PS1 archive without noise, and its catalogue of skycells.

    Magnitudes are those that the stars have in the FFI (most of the table's are rough), colours
    those of BP - RP.
    """
    flux = corner.flux(window)
    seen = flux > 0
    stars = corner.stars[seen]
    colours = np.nan_to_num(np.asarray(stars["bp_rp"], float), nan=1.0)
    mags = ARCHIVE_ZERO_POINT - 2.5 * np.log10(flux[seen])
    rows = np.column_stack([stars["ra"], stars["dec"], mags, 0.4 * (colours - 0.5)]).tolist()
    sky = SkyConfig(0.0, 0.0, stars=tuple(TestStar(a, d, m, r_minus_i=c) for a, d, m, c in rows))
    cells = tuple(
        small_catalogue(corner.wcs, window, cell_px=1200 if max(window.shape) < 60 else 2400)
    )
    middle = unit_vectors(np.array([corner.wcs.wcs.crval[0]]), np.array([corner.wcs.wcs.crval[1]]))
    sources = make_sources(sky, Cap.around(middle, 60.0))
    for cell in cells:
        write_skycell(
            cell,
            sources,
            StackConfig(noise=False, artefacts=False),
            seed=1,
            archive=folder / "archive",
        )
    write_catalogue(cells, folder / "skycell_wcs.csv")
    return cells


def make_template(window: Window, folder: Path, *response: str) -> Product:
    """Return a window's template that the command makes of FFI, archive and response."""
    root = folder / "data"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "syndiff", "pipeline"),
            *(str(folder / FFI), str(folder / "skycell_wcs.csv")),
            *("--archive", str(folder / "archive"), "--data-root", str(root)),
            *("--background", "none", "--roi", str(window), "--cores", "1", *response),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"syndiff ended with {done.returncode}:\n{done.stderr}")
    return Product.read(Path(str(Layout.under(str(root), DETECTOR).template(0.0, 0.0, roi=window))))


@dataclass(frozen=True)
class Residual:
    """What a model leaves of a star: parts of the norm of its 9 x 9 pixels, and of its peak."""

    norm: float
    peak: float
    scale: float


def residual(image: np.ndarray, model: np.ndarray, x: float, y: float) -> Residual:
    """Fit scale and constant of a model to the 9 x 9 pixels around a star."""
    i, j = round(x), round(y)
    box = np.s_[j - _REACH : j + _REACH + 1, i - _REACH : i + _REACH + 1]
    data, shape = image[box].ravel(), model[box].ravel()
    (scale, level), *_ = np.linalg.lstsq(
        np.column_stack([shape, np.ones_like(shape)]), data, rcond=None
    )
    left, light = data - scale * shape - level, data - level
    return Residual(
        float(np.linalg.norm(left) / np.linalg.norm(light)),
        float(np.abs(left).max() / light.max()),
        float(scale),
    )


def free_residual(corner: Corner, star: Table.Row) -> float:
    """Return what direct rendering leaves of a star that may stand elsewhere."""
    spline = _spline(corner.responses, star["x"], star["y"])
    i, j, reach = round(star["x"]), round(star["y"]), np.arange(-_REACH, _REACH + 1)
    stamp = corner.image[j - _REACH : j + _REACH + 1, i - _REACH : i + _REACH + 1]

    def left(shift: np.ndarray) -> np.ndarray:
        model = spline(reach + j - star["y"] - shift[1], reach + i - star["x"] - shift[0])
        parts = np.column_stack([model.ravel(), np.ones(model.size)])
        fitted = np.linalg.lstsq(parts, stamp.ravel(), rcond=None)[0]
        light = np.linalg.norm(stamp - fitted[1])
        return np.asarray((stamp.ravel() - parts @ fitted) / light)

    return float(np.linalg.norm(left(least_squares(left, np.zeros(2), diff_step=1e-3).x)))


def chosen_stars(corner: Corner, window: Window) -> Table:
    """Return the unblended stars of a window, those within 5 px of its edges left out."""
    stars = corner.stars
    known = np.hypot(*(np.subtract.outer(stars[k], np.array(UNBLENDED)[:, n]) for n, k in PAIRS))
    inner = window.grown(-5)
    held = (stars["x"] > inner.x0) & (stars["x"] < inner.x1 - 1)
    held &= (stars["y"] > inner.y0) & (stars["y"] < inner.y1 - 1)
    table = stars[(known.min(axis=1) < 0.2) & held]
    table.sort("tmag")
    return table


PAIRS = ((0, "x"), (1, "y"))


def place_in(window: Window, star: Table.Row) -> tuple[float, float]:
    """Return a star's pixel in a window."""
    return star["x"] - window.x0, star["y"] - window.y0


RESPONSES = {"prf": ("--psf", "prf"), "gaussian": ("--psf-sigma", "40")}


def measure(corner: Corner, window: Window, folder: Path, *names: str) -> dict[str, np.ndarray]:
    """Return models of a window by name: direct rendering and templates with `RESPONSES`."""
    corner.write_ffi(folder)
    write_archive(corner, window, folder)
    models = {"direct": corner.rendered(window, corner.flux(window))}
    for name in names or tuple(RESPONSES):
        options = RESPONSES[name]
        more = ("--prf-dir", str(corner.folder / "prf")) if name == "prf" else ()
        models[name] = make_template(window, folder, *options, *more).flux
    return models


def table(corner: Corner, window: Window, models: dict[str, np.ndarray]) -> str:
    """Return the table of stars."""
    image = corner.pixels(window)
    lines = [
        "| pixel x, y | T | template `prf` | direct | direct, free place | template sigma 40 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for star in chosen_stars(corner, window):
        left = {
            name: residual(image, model, *place_in(window, star)) for name, model in models.items()
        }
        free = free_residual(corner, star)
        values = (left["prf"].norm, left["direct"].norm, free, left["gaussian"].norm)
        lines.append(
            f"| {star['x']:.1f}, {star['y']:.1f} | {star['tmag']:.2f} | "
            + " | ".join(f"{100 * value:.1f} %" for value in values)
            + " |"
        )
    return "\n".join(lines)


def subtracted(image: np.ndarray, model: np.ndarray) -> tuple[np.ndarray, float]:
    """Return image less model times a scale and a plane, fitted, and their correlation."""
    v, u = np.indices(image.shape).reshape(2, -1) / 100
    parts = np.column_stack([model.ravel(), np.ones_like(u), u, v])
    fitted = np.linalg.lstsq(parts, image.ravel(), rcond=None)[0]
    level = (parts[:, 1:] @ fitted[1:]).reshape(image.shape)
    correlation = np.corrcoef((image - level).ravel(), model.ravel())[0, 1]
    return image - (parts @ fitted).reshape(image.shape), float(correlation)


def draw(corner: Corner, window: Window, models: dict[str, np.ndarray], path: Path) -> None:
    """Draw the FFI, the template and what subtraction leaves."""
    from matplotlib.figure import Figure

    image = corner.pixels(window)
    level = float(np.median(image))
    left = {name: subtracted(image, models[name])[0] for name in ("prf", "gaussian")}
    panels = {
        "real pixels": image - level,
        "template, --psf prf": image - level - left["prf"],
        "difference, --psf prf": left["prf"],
        "difference, --psf-sigma 40": left["gaussian"],
    }
    figure = Figure(figsize=(11, 11), layout="constrained")
    for axes, (title, panel) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        shown = axes.imshow(
            np.arcsinh(panel / 30),
            origin="lower",
            vmin=-4,
            vmax=4,
            cmap="RdBu_r",
            extent=(window.x0 - 0.5, window.x1 - 0.5, window.y0 - 0.5, window.y1 - 0.5),
        )
        axes.set_title(title)
    bar = figure.colorbar(shown, ax=figure.axes, shrink=0.6, label="e-/s over the sky's level")
    ticks = np.array([-800, -300, -100, -30, 0, 30, 100, 300, 800])
    bar.set_ticks(np.arcsinh(ticks / 30), labels=[f"{tick}" for tick in ticks])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the real files")
    parser.add_argument("--figure", type=Path, help="picture to draw")
    parser.add_argument("--work", type=Path, help="folder to make things in and keep them")
    options = parser.parse_args()
    corner = Corner(options.folder)
    with tempfile.TemporaryDirectory() as temporary:
        models = measure(corner, CORNER, options.work or Path(temporary))
    print(table(corner, CORNER, models))
    for name, model in models.items():
        print(f"{name}: correlation {subtracted(corner.pixels(CORNER), model)[1]:.4f}")
    if options.figure:
        draw(corner, CORNER, models, options.figure)


if __name__ == "__main__":
    main()
