"""Measure whether templates scatter about the truth as UNCERT says, on many fields.

Part of docs/faint-light.md, which `benchmarks.faintlight` makes. Alone, ``python -m
benchmarks.uncertainty --work DIR`` prints the table and keeps what each field said for the next
time; ``--seeds`` and ``--backgrounds`` choose what is measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_erosion, minimum_filter

from benchmarks.skies import Product, Run, run_command
from syndiff.constants import ZERO_POINT
from syndiff.simulation import Simulation, SimulationConfig, TestStar, plan_simulation, simulate
from syndiff.simulation.ffi import FfiConfig, wcs_of, write_ffi
from syndiff.simulation.grid import small_catalogue
from syndiff.simulation.pointing import repointed
from syndiff.window import Window

MAGS = tuple(range(16, 22))
"""Magnitudes of the stars that uncertainties are checked on."""

OFFSETS = ((0.0, 0.0), (0.37, -0.21))
FOLLOW = "--follow"
View = tuple[float, float] | str
VIEWS: tuple[View, ...] = (*OFFSETS, FOLLOW)
"""Offsets, and an FFI that points elsewhere: by up to 1 px, other on each side of the CCD."""

EMPTY_MAG = 21.5
"""A pixel whose neighbourhood of 3 x 3 holds nothing brighter is empty sky."""

COUNTS_TO_24 = 26_600
"""Stars with i from 14.5 to 24 per square degree at the simulator's density of 1."""

SEEDS = tuple(range(201, 207))
"""The first two helped to set the constants of ``sep`` in `syndiff.scenes.undetected`; nothing else
was fitted to any of them."""

_CORE_PX = 20
_AROUND_PX = 32
_CELL_PX = 3700
# Two skycells, one of each projection, share the core and reach that far around it.
_RIM_PX = 3
# The response reaches beyond the skycells in pixels so close to their border.
_SPACING_PX = 5.0
_ADDED_MAGS = (16, 16, 17, 17, 18)
# Of which a field of 1e4 stars per square degree has few.


@dataclass(frozen=True)
class StarField:
    """A field with noise but without what spoils pixels, in which bright stars are added.

    Parameters
    ----------
    density : float
        Stars brighter than i = 24 per square degree.
    seed : int
        Of everything random.
    """

    density: float
    seed: int

    @property
    def plan(self) -> SimulationConfig:
        """What to simulate."""
        plain = plan_simulation(size_px=_CORE_PX, seed=self.seed)
        cells = small_catalogue(wcs_of(plain.ffi.wcs_cards), plain.field, cell_px=_CELL_PX)
        field = plain.field.grown(_AROUND_PX)
        sky = replace(
            plain.sky,
            star_density=self.density / COUNTS_TO_24,
            bright_mag=14.5,
            faint_mag=24.5,
            stars=self._added(field, plain.ffi),
        )
        return replace(
            plain,
            sky=sky,
            field=field,
            ffi=replace(plain.ffi, noise=False),
            stack=replace(plain.stack, artefacts=False, floor_sigmas=1e-4),
            skycells=tuple(cells),
        )

    def _added(self, field: Window, ffi: FfiConfig) -> tuple[TestStar, ...]:
        """Return stars on a jittered grid."""
        rng = np.random.default_rng([self.seed, 0xC42])
        x, y = (
            grid.ravel() + rng.uniform(-0.5, 0.5, grid.size)
            for grid in np.meshgrid(
                *(
                    np.arange(low + 2.5, high - 2, _SPACING_PX)
                    for low, high in ((field.x0, field.x1), (field.y0, field.y1))
                )
            )
        )
        ra, dec = wcs_of(ffi.wcs_cards).all_pix2world(x, y, 0)
        mags = np.resize(_ADDED_MAGS, x.size) + rng.uniform(-0.5, 0.5, x.size)
        colours = rng.uniform(0.0, 0.8, x.size)
        rows = np.column_stack([ra, dec, mags, colours]).tolist()
        return tuple(TestStar(a, d, m, r_minus_i=c) for a, d, m, c in rows)


def _later(config: FfiConfig) -> FfiConfig:
    """Return an FFI that points elsewhere."""
    return repointed(
        config,
        cadences=3,
        roll_arcsec=-9.0,
        shift_arcsec=(-12.0, 5.0),
        scale=1 + 3e-5,
        velocity_km_s=(-5, 4, 3),
    )


@dataclass(frozen=True)
class Sums:
    """Squares of (template - truth - mean) / UNCERT over pixels of one kind of one template.

    Parameters
    ----------
    seed, view, kind : int, str, str
        Which field, template and pixels.
    squares : float
        Sum of the squares.
    pulls : float
        Sum of the values.
    pixels : int
        Their number.
    """

    seed: int
    view: str
    kind: str
    squares: float
    pulls: float
    pixels: int


Found = dict[str, list[Sums]]
"""By background."""


@dataclass(frozen=True)
class _Seen:
    """The truth of a template: light, and which pixels are of which kind."""

    flux: np.ndarray
    kinds: dict[str, np.ndarray]


def _view_of(simulation: Simulation, view: View) -> _Seen:
    config = simulation.config
    is_followed = view == FOLLOW
    ffi, offset = (_later(config.ffi), (0.0, 0.0)) if is_followed else (config.ffi, view)
    flux = simulation.truth(offset=offset, ffi=ffi)
    sources, field = simulation.sources, config.field
    mags = ZERO_POINT - 2.5 * np.log10(sources.composite_flux)
    x, y = wcs_of(ffi.wcs_cards).all_world2pix(sources.ra, sources.dec, 0)
    x, y = np.rint(x + offset[0]).astype(int), np.rint(y + offset[1]).astype(int)
    wide = field.grown(1)
    inside = (x >= wide.x0) & (x < wide.x1) & (y >= wide.y0) & (y < wide.y1)
    brightest = np.full(wide.shape, 99.0)
    np.minimum.at(brightest, (y[inside] - wide.y0, x[inside] - wide.x0), mags[inside])
    inner = np.s_[1:-1, 1:-1]
    around, brightest = minimum_filter(brightest, 3)[inner], brightest[inner]
    kinds = {"all": np.ones(field.shape, bool), "sky": around > EMPTY_MAG}
    for mag in MAGS:
        kinds[f"{mag}"] = (abs(brightest - mag) <= 0.5) & (around >= brightest)
    return _Seen(flux, kinds)


def _follow(simulation: Simulation, root: Path) -> Product:
    """Return the template of the FFI that points elsewhere, by the command."""
    later = _later(simulation.config.ffi)
    # Only its WCS matters.
    dark = simulation.sources[:0]
    ffi = write_ffi(dark, later, simulation.directory, seed=simulation.config.sky.seed)
    arguments = ["downsample", "20", "3", "3", "--data-root", root, FOLLOW, ffi]
    arguments += ["--roi", simulation.config.field]
    done = subprocess.run(
        [sys.executable, "-m", "syndiff", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"syndiff ended with {done.returncode}:\n{done.stderr}")
    return Product.read(Path(done.stdout.splitlines()[-1]))


def _templates(simulation: Simulation, root: Path, background: str) -> list[Product]:
    """Return the templates of `VIEWS`, by the commands."""
    for part in ("convolved_results", "templates"):
        shutil.rmtree(root / part, ignore_errors=True)
    run = Run(background=background, offsets=OFFSETS, roi=simulation.config.field)
    products = run_command(simulation, root, run)
    return [*(products[offset] for offset in OFFSETS), _follow(simulation, root)]


def measure_star_field(
    field: StarField, folder: Path, backgrounds: Iterable[str]
) -> dict[str, list[Sums]]:
    """Simulate a field in a folder, make its templates and sum what they err by.

    Returns
    -------
    dict of str to list of Sums
        By background.
    """
    simulation = simulate(field.plan, folder / "sky")
    views = [_view_of(simulation, view) for view in VIEWS]
    found: Found = {}
    for background in backgrounds:
        products = _templates(simulation, folder / "data", background)
        found[background] = [
            one
            for name, view, product in zip(VIEWS, views, products, strict=True)
            for one in _sums(field.seed, str(name), view, product)
        ]
    return found


def _sums(seed: int, name: str, view: _Seen, product: Product) -> list[Sums]:
    residual = product.flux - view.flux
    whole = (product.planes["DQ"] == 0) & (product.planes["COVERAGE"] == 1)
    whole = binary_erosion(whole, iterations=_RIM_PX)
    pulls = (residual - residual[whole].mean()) / product.planes["UNCERT"]
    kinds = {kind: where & whole for kind, where in view.kinds.items()}
    return [
        Sums(seed, name, kind, float((pulls[w] ** 2).sum()), float(pulls[w].sum()), int(w.sum()))
        for kind, w in kinds.items()
    ]


def measure_star_fields(
    density: float, backgrounds: Sequence[str], seeds: Iterable[int], work: Path
) -> Found:
    """Measure many fields; what a field said is kept in `work`, the field itself is not."""
    found: Found = defaultdict(list)
    work.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        records = {b: work / f"{density:.0e}_{seed}_{b}.json" for b in backgrounds}
        lacking = [b for b, path in records.items() if not path.is_file()]
        if lacking:
            folder = work / f"{density:.0e}_{seed}"
            for background, sums in measure_star_field(
                StarField(density, seed), folder, lacking
            ).items():
                records[background].write_text(json.dumps([asdict(one) for one in sums]))
            shutil.rmtree(folder)
        for background, path in records.items():
            found[background] += [Sums(**one) for one in json.loads(path.read_text())]
    return found


@dataclass(frozen=True)
class MeanSquare:
    """Mean square of (template - truth - mean) / UNCERT.

    Parameters
    ----------
    value, error : float
        It, and its standard deviation by how fields differ.
    pixels : int
        How many it is of.
    """

    value: float
    error: float
    pixels: int


def mean_square(
    sums: Iterable[Sums], kinds: Collection[str], view: View | None = None
) -> MeanSquare:
    """Return the mean square over pixels of some kinds, of one view or of all.

    Parameters
    ----------
    sums : iterable of Sums
        Of one background.
    kinds : collection of str
        ``all``, ``sky`` or magnitudes.
    view : View, optional
        One of `VIEWS`; default: all of them.

    Returns
    -------
    MeanSquare
        Its error is the jackknife's, leaving out one field at a time; NaN for a single field.
    """
    fields: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(2))
    for one in sums:
        if one.kind in kinds and (view is None or str(view) == one.view):
            fields[one.seed] += (one.squares, one.pixels)
    parts = np.array(list(fields.values()))
    total = parts.sum(axis=0)
    error, n = np.nan, len(parts)
    if n > 1:
        without = total - parts
        ratios = without[:, 0] / without[:, 1]
        error = float(np.sqrt((n - 1) / n * ((ratios - ratios.mean()) ** 2).sum()))
    return MeanSquare(float(total[0] / total[1]), error, int(total[1]))


KINDS: dict[str, tuple[str, ...]] = {
    "all": ("all",),
    "sky": ("sky",),
    **{f"on stars of mag {mag}": (str(mag),) for mag in MAGS},
    "on all these stars": tuple(map(str, MAGS)),
}
"""What pixels are told apart in tables, and the kinds they are of."""


def table(found: Found) -> str:
    """Return the mean squares of all views together and of each, a row for each kind of pixels."""
    lines = [["background", "pixels", "number", *map(_name, (None, *VIEWS))], ["---"] * 7]
    for background, (what, kinds) in itertools.product(found, KINDS.items()):
        cells = [mean_square(found[background], kinds, view) for view in (None, *VIEWS)]
        values = (f"{cell.value:.2f} ± {cell.error:.2f}" for cell in cells)
        lines.append([f"`{background}`", what, f"{cells[1].pixels}", *values])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _name(view: View | None) -> str:
    if view is None:
        return "all three"
    return "follow" if view == FOLLOW else str(view)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder to keep results in")
    parser.add_argument("--density", type=float, default=1e4)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--backgrounds", nargs="+", default=["matched", "none", "sep"])
    options = parser.parse_args()
    found = measure_star_fields(options.density, options.backgrounds, options.seeds, options.work)
    sys.stdout.write(table(found))


if __name__ == "__main__":
    main()
