"""Measure what becomes of faint light and of uncertainties; prints docs/faint-light.md.

Run with ``python -m benchmarks.faintlight > docs/faint-light.md`` at the repository's root; it
takes half an hour on one core. ``--work DIR`` keeps the simulations for the next time.
``--stars-only PAGE`` measures the table of UNCERT in empty sky and on stars alone, and takes all
else from a page; ``--hosts-only PAGE`` what stands in light curves in galaxies.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.special import erf

from benchmarks.accuracy import _folder
from benchmarks.photometry import _fit
from benchmarks.skies import Product, run_command
from benchmarks.skies import Run as _Run
from benchmarks.uncertainty import COUNTS_TO_24, EMPTY_MAG, SEEDS, Found, measure_star_fields
from benchmarks.uncertainty import table as uncertainty_table
from syndiff.config import BAND_WEIGHTS, BANDS
from syndiff.constants import ZERO_POINT
from syndiff.scenes.standing_in import stand_in_weights
from syndiff.simulation import (
    Simulation,
    SimulationConfig,
    TestGalaxy,
    plan_simulation,
    simulate,
)
from syndiff.simulation.ffi import wcs_of
from syndiff.simulation.grid import small_catalogue

MAGS = tuple(range(15, 24))
"""Centres of the magnitude bins of the flux ratios."""

OFFSETS = ((0.0, 0.0), (0.37, -0.21))

RIPPLE_SIGMAS = 0.03
"""Rms of the sky's ripple in a PS1 pixel's noise: 28.0 mag per square arcsec in r."""


@dataclass(frozen=True)
class Mode:
    """What counts as light."""

    background: str
    diffuse: float = 0.0

    def __str__(self) -> str:
        return f"{self.background}, diffuse {self.diffuse:g}" if self.diffuse else self.background


MODES = (Mode("matched"), Mode("sep"), Mode("none"))
DIFFUSE = (Mode("matched", 30.0),)


@dataclass(frozen=True)
class Run(_Run):
    """How the command is run."""

    diffuse: float = 0.0

    def command(self, simulation: Simulation, root: Path) -> list[str]:
        """Return the arguments of the command."""
        return [*super().command(simulation, root), "--diffuse", str(self.diffuse)]


@dataclass(frozen=True)
class Field:
    """A field with noise but without what spoils pixels.

    Parameters
    ----------
    density : float
        Stars brighter than i = 24 per square degree.
    size_px : int
        Side in TESS pixels.
    seed : int
        Of everything random.
    """

    density: float
    size_px: int
    seed: int

    @property
    def name(self) -> str:
        """For tables and folders."""
        return f"{self.density:.0e}".replace("e+0", "e")

    def plan(self, *, ripple: float) -> SimulationConfig:
        """Return what to simulate."""
        plan = plan_simulation(kind="field", size_px=self.size_px, seed=self.seed)
        sky = replace(
            plan.sky,
            star_density=self.density / COUNTS_TO_24,
            bright_mag=14.5,
            faint_mag=24.5,
        )
        return _with_larger_skycells(
            replace(
                plan,
                sky=sky,
                ffi=replace(plan.ffi, noise=False),
                stack=replace(plan.stack, artefacts=False, ripple_sigmas=ripple),
            )
        )


FIELDS = (Field(1e4, 44, 11), Field(1e5, 32, 12), Field(1e6, 20, 13))


@dataclass(frozen=True)
class BigGalaxy:
    """A galaxy much larger than a TESS pixel, in a field of 1e4 stars per square degree."""

    sersic: int
    radius_arcsec: float
    mag: float = 12.5
    axis_ratio: float = 0.7
    halo: float = 0.03

    def __str__(self) -> str:
        return f'{self.shape}, r_e {self.radius_arcsec:g}", mag {self.mag:g}'

    @property
    def shape(self) -> str:
        """Its profile, for tables."""
        return {1: "exponential", 4: "de Vaucouleurs"}[self.sersic]

    def plan(self) -> SimulationConfig:
        """Return what to simulate."""
        plan = Field(1e4, 26, 14).plan(ripple=0.0)
        x, y = middle_of(plan)
        ra, dec = (float(v) for v in wcs_of(plan.ffi.wcs_cards).all_pix2world(x, y, 0))
        galaxy = TestGalaxy(
            ra, dec, self.mag, self.sersic, self.radius_arcsec, self.axis_ratio, 30.0
        )
        return replace(
            plan,
            sky=replace(plan.sky, galaxies=(galaxy,)),
            stack=replace(plan.stack, dark_halo=self.halo),
        )


GALAXIES = (BigGalaxy(4, 30.0), BigGalaxy(1, 40.0))
ANNULI_PX = (0.0, 2.0, 4.0, 6.0, 9.0, 12.0)

HOSTS = (
    BigGalaxy(4, 3.0, 15.6, 1.0),
    BigGalaxy(4, 6.0, 15.6),
    BigGalaxy(4, 14.0, 15.6),
    BigGalaxy(4, 30.0, 15.6),
    BigGalaxy(1, 3.0, 15.6, 1.0),
    BigGalaxy(1, 14.0, 15.6, 0.3),
    BigGalaxy(1, 30.0, 15.6),
    BigGalaxy(4, 8.0, 17.0),
    BigGalaxy(1, 8.0, 17.0, 0.4),
    BigGalaxy(4, 3.0, 18.0),
    BigGalaxy(1, 5.0, 18.0),
    *GALAXIES,
)
DISTANCES_ARCSEC = (0.0, 10.0, 20.0, 40.0, 60.0)

E_PER_S = 10 ** (0.4 * (20.84 - ZERO_POINT))
"""Of a flux of 1: TESS magnitude 20.44 is one electron per second, AB about 0.4 more."""

_AROUND_PX = 8.0
# A difference's background is taken from beyond, and out to the field's edge.
_STAMP_PX = 3
_PX_ARCSEC = 20.9


def middle_of(plan: SimulationConfig) -> tuple[float, float]:
    """Return the middle of a plan's field in FFI pixels."""
    field = plan.field
    return (field.x0 + field.x1 - 1) / 2, (field.y0 + field.y1 - 1) / 2


def _with_larger_skycells(plan: SimulationConfig) -> SimulationConfig:
    """Return a plan with fewer overlaps, as real skycells have."""
    cells = small_catalogue(wcs_of(plan.ffi.wcs_cards), plan.field, cell_px=2400)
    return replace(plan, skycells=tuple(cells))


def _simulated(plan: SimulationConfig, folder: Path) -> Simulation:
    if (folder / "simulation.json").is_file():
        return Simulation.load(folder)
    return simulate(plan, folder)


def templates(simulation: Simulation, folder: Path, mode: Mode) -> dict[tuple, Product]:
    """Return the templates that the command makes of a simulation."""
    run = Run(
        background=mode.background,
        diffuse=mode.diffuse,
        offsets=OFFSETS,
        roi=simulation.config.field,
    )
    root = folder.with_name(f"{folder.name}.data")
    for part in ("convolved_results", "templates"):
        shutil.rmtree(root / part, ignore_errors=True)
    return run_command(simulation, root, run)


@dataclass(frozen=True)
class Truth:
    """What a simulation's templates should hold.

    Parameters
    ----------
    simulation : Simulation
        The simulation.
    """

    simulation: Simulation

    @cached_property
    def mags(self) -> np.ndarray:
        """Composite magnitudes of all sources."""
        return ZERO_POINT - 2.5 * np.log10(self.simulation.sources.composite_flux)

    @cached_property
    def images(self) -> list[np.ndarray]:
        """Light of the stars of each bin, of all else above magnitude 22, and of all fainter."""
        sources = self.simulation.sources
        bins = [(sources.sersic == 0) & (abs(self.mags - m) <= 0.5) for m in MAGS]
        others = ~np.any(bins, axis=0)
        groups = [*bins, others & (self.mags < 22), others & (self.mags >= 22)]
        return [self.simulation.truth(sources=sources[group]) for group in groups]

    @cached_property
    def flux(self) -> dict[tuple, np.ndarray]:
        """All light, by offset."""
        whole = np.sum(self.images, axis=0)
        return {
            offset: whole if offset == OFFSETS[0] else self.simulation.truth(offset=offset)
            for offset in OFFSETS
        }


@dataclass(frozen=True)
class Measured:
    """One mode's templates of one field against the truth.

    Parameters
    ----------
    bias, rms, uncertainty : float
        Mean and scatter of (template - truth) at offset (0, 0), and the rms of UNCERT.
    light : float
        Mean of the truth.
    ratios : list of (float, float)
        Fitted flux over true flux of stars, and its error, by `MAGS`.
    chi2 : float
        Mean square of (template - truth - bias) / UNCERT over both offsets.
    """

    bias: float
    rms: float
    uncertainty: float
    light: float
    ratios: list[tuple[float, float]]
    chi2: float


def measure(products: dict[tuple, Product], truth: Truth) -> Measured:
    """Compare templates with the truth."""
    residuals = {offset: products[offset].flux - truth.flux[offset] for offset in OFFSETS}
    noise = {offset: products[offset].planes["UNCERT"].astype(float) for offset in OFFSETS}
    pulls = {o: (residuals[o] - residuals[o].mean()) / noise[o] for o in OFFSETS}
    first = OFFSETS[0]
    return Measured(
        float(residuals[first].mean()),
        float(residuals[first].std()),
        float(np.sqrt((noise[first] ** 2).mean())),
        float(truth.flux[first].mean()),
        _ratios(products[first].flux, noise[first], truth.images),
        float(np.mean([(p**2).mean() for p in pulls.values()])),
    )


def _ratios(
    flux: np.ndarray, noise: np.ndarray, images: list[np.ndarray]
) -> list[tuple[float, float]]:
    """Return how much of each bin's light a template holds, by one weighted fit of all."""
    design = np.stack([*(i.ravel() for i in images), np.ones(flux.size)], -1)
    lit = abs(design).max(axis=0) > 0
    weight = 1 / noise.ravel()
    found, errors = np.full(lit.size, np.nan), np.full(lit.size, np.nan)
    found[lit], errors[lit] = _fit(design[:, lit] * weight[:, None], flux.ravel() * weight)
    return list(zip(found.tolist(), errors.tolist(), strict=True))[: len(MAGS)]


def profile(image: np.ndarray, plan: SimulationConfig) -> list[float]:
    """Return the mean of an image in annuli around a field's middle."""
    x, y = middle_of(plan)
    field = plan.field
    yy, xx = np.mgrid[field.y0 : field.y1, field.x0 : field.x1]
    radius = np.hypot(xx - x, yy - y)
    return [
        float(image[(radius >= a) & (radius < b)].mean()) for a, b in itertools.pairwise(ANNULI_PX)
    ]


def constants(residual: np.ndarray, plan: SimulationConfig) -> list[float]:
    """Return what a light curve by PSF fits has too much, in e-/s, at `DISTANCES_ARCSEC`.

    Parameters
    ----------
    residual : (ny, nx) float
        What a template adds to the truth: a difference has as much too little.
    plan : SimulationConfig
        Of the field with a galaxy in its middle.

    Returns
    -------
    list of float
        Means over eight places at each distance, less the mean far from the galaxy.
    """
    x, y = middle_of(plan)
    field = plan.field
    yy, xx = np.mgrid[field.y0 : field.y1, field.x0 : field.x1]
    left = residual[np.hypot(xx - x, yy - y) > _AROUND_PX].mean() - residual
    sigma = 10.0 / _PX_ARCSEC
    found = []
    for distance in DISTANCES_ARCSEC:
        fluxes = []
        for angle in 2 * np.pi * np.arange(8) / 8:
            u = x + distance / _PX_ARCSEC * np.cos(angle) - field.x0
            v = y + distance / _PX_ARCSEC * np.sin(angle) - field.y0
            near = np.s_[
                round(v) - _STAMP_PX : round(v) + _STAMP_PX + 1,
                round(u) - _STAMP_PX : round(u) + _STAMP_PX + 1,
            ]
            shape = np.outer(
                _in_pixels(yy[near][:, 0] - field.y0 - v, sigma),
                _in_pixels(xx[near][0] - field.x0 - u, sigma),
            )
            fluxes.append((shape * left[near]).sum() / (shape**2).sum())
        found.append(float(np.mean(fluxes)) * E_PER_S)
    return found


def _in_pixels(distance: np.ndarray, sigma: float) -> np.ndarray:
    """Return which part of a Gaussian falls into pixels at distances from it."""
    edges = np.stack([distance - 0.5, distance + 0.5]) / (np.sqrt(2) * sigma)
    return 0.5 * np.diff(erf(edges), axis=0)[0]


Results = dict[tuple[str, bool], dict[str, Measured]]


def measure_fields(work: Path, fields: Iterable[Field] = FIELDS) -> Results:
    """Measure all modes on all fields, with and without a ripple of the sky."""
    results: Results = {}
    for field, ripple in itertools.product(fields, (0.0, RIPPLE_SIGMAS)):
        folder = work / f"{field.name}{'_ripple' if ripple else ''}"
        simulation = _simulated(field.plan(ripple=ripple), folder)
        truth = Truth(simulation)
        results[field.name, bool(ripple)] = {
            str(mode): measure(templates(simulation, folder, mode), truth)
            for mode in (*MODES, *DIFFUSE)
        }
    return results


def measure_galaxies(work: Path) -> dict[str, dict[str, list[float]]]:
    """Measure the residual's profile around big galaxies in all modes; "truth" is the light."""
    found: dict[str, dict[str, list[float]]] = {}
    for number, galaxy in enumerate(GALAXIES):
        folder = work / f"galaxy{number}"
        simulation = _simulated(galaxy.plan(), folder)
        truth = simulation.truth()
        rows = {"truth": profile(truth, simulation.config)}
        for mode in (*MODES, *DIFFUSE):
            product = templates(simulation, folder, mode)[OFFSETS[0]]
            rows[str(mode)] = profile(product.flux - truth, simulation.config)
        found[str(galaxy)] = rows
    return found


@dataclass(frozen=True)
class Left:
    """What one mode's template of a galaxy leaves.

    Parameters
    ----------
    constants, told : list of float
        What a light curve has too much at `DISTANCES_ARCSEC`, and what FAINT says of it, e-/s.
    """

    constants: list[float]
    told: list[float]


def measure_hosts(work: Path) -> dict[BigGalaxy, dict[str, Left]]:
    """Measure what stands in light curves of transients in galaxies."""
    found: dict[BigGalaxy, dict[str, Left]] = {}
    for number, galaxy in enumerate(HOSTS):
        folder = work / f"host{number}"
        simulation = _simulated(galaxy.plan(), folder)
        truth = simulation.truth()
        found[galaxy] = {}
        for mode in (MODES[0], MODES[2]):
            product = templates(simulation, folder, mode)[OFFSETS[0]]
            faint = product.planes["FAINT"].astype(float)
            found[galaxy][str(mode)] = Left(
                constants(product.flux - truth, simulation.config),
                constants(-faint, simulation.config),
            )
    return found


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _bias_table(results: Results) -> str:
    rows = [
        [
            field,
            "yes" if ripple else "no",
            f"{one.light:.0f}",
            f"`{mode}`",
            f"{one.bias:+.1f}",
            f"{one.rms:.1f}",
            f"{one.uncertainty:.1f}",
        ]
        for (field, ripple), modes in results.items()
        for mode, one in modes.items()
    ]
    head = ["stars / deg²", "ripple", "light / px", "background", "bias", "rms", "UNCERT"]
    return _table(head, rows)


def _ratio_table(results: Results) -> str:
    shown = {f: modes for (f, ripple), modes in results.items() if not ripple}
    head = ["mag", *(f"{field} `{mode}`" for field in shown for mode in MODES)]
    rows = []
    for k, mag in enumerate(MAGS):
        cells = [shown[field][str(mode)].ratios[k] for field in shown for mode in MODES]
        rows.append([str(mag), *(_ratio(*cell) for cell in cells)])
    return _table(head, rows)


_WORTH_SHOWING = 0.5


def _ratio(value: float, error: float) -> str:
    return f"{value:.3f} ± {error:.3f}" if error < _WORTH_SHOWING else "-"


def _chi_table(results: Results) -> str:
    shown = {f: modes for (f, ripple), modes in results.items() if not ripple}
    rows = [
        [field, *(f"{modes[str(mode)].chi2:.2f}" for mode in MODES)]
        for field, modes in shown.items()
    ]
    return _table(["stars / deg²", *(f"`{mode}`" for mode in MODES)], rows)


def _galaxy_table(found: dict[str, dict[str, list[float]]]) -> str:
    head = ["galaxy", "", *(f"{a:g}-{b:g} px" for a, b in itertools.pairwise(ANNULI_PX))]
    rows = [
        [galaxy, mode if mode == "truth" else f"`{mode}`", *(f"{v:+.1f}" for v in values)]
        for galaxy, modes in found.items()
        for mode, values in modes.items()
    ]
    return _table(head, rows)


def _host_table(found: dict[BigGalaxy, dict[str, Left]]) -> str:
    distances = [f'{distance:g}"' for distance in DISTANCES_ARCSEC]
    head = ["profile", "r_e", "mag", "b/a", "background", *distances, 'FAINT at 10"']
    rows = [
        [
            galaxy.shape,
            f'{galaxy.radius_arcsec:g}"',
            f"{galaxy.mag:g}",
            f"{galaxy.axis_ratio:g}",
            f"`{mode}`",
            *(f"{value:+.2f}" for value in left.constants),
            f"{left.told[1]:+.2f}",
        ]
        for galaxy, modes in found.items()
        for mode, left in modes.items()
    ]
    return _table(head, rows)


_HOSTS_TITLE = "## What stands in a light curve in a galaxy\n"
_AFTER_HOSTS = "## Around a big galaxy\n"

_HOSTS = """\
What a light curve of point-source fits (sigma 40) has too much at distances from the middle of a
galaxy, in e-/s (a flux of 1 is {e_per_s:.4f} e-/s): mean over eight places, less the mean of the
field beyond {around:g} px, to which a difference's background is fitted. Fields of 1e4 stars per
square degree, all with the same stars and noise, which alone leaves what `none` shows of galaxies
with r_e of 6" and less. Of larger ones, PS1's sky subtraction takes {halo:.0%} away as a broad dark
halo (4 r_e): what `none` leaves more, and nothing brings it back. Before extended light was looked
for, `matched` left +4.6 at 10" from the galaxy of 14" and +5.5 from that of 30". *FAINT*: what that
plane tells of what is left, by the same fits; it errs by some 0.4.

{hosts}
"""


def hosts_part(found: dict[BigGalaxy, dict[str, Left]]) -> str:
    """Return the part of docs/faint-light.md about light curves in galaxies."""
    halo = HOSTS[0].halo
    table = _host_table(found)
    text = _HOSTS.format(e_per_s=E_PER_S, around=_AROUND_PX, halo=halo, hosts=table)
    return f"{_HOSTS_TITLE}\n{text.rstrip()}\n\n"


def with_hosts(page: str, part: str) -> str:
    """Return a page with another part about light curves in galaxies."""
    before, _, rest = page.partition(_HOSTS_TITLE)
    _, end, after = (rest or page).partition(_AFTER_HOSTS)
    if not end:
        raise ValueError("the page has no part about galaxies: run without --hosts-only")
    if not rest:
        before = page[: page.index(_AFTER_HOSTS)]
    return f"{before}{part}{end}{after}"


_PAGE = """\
# Faint light and uncertainties

Made by `python -m benchmarks.faintlight > docs/faint-light.md`.

Templates that `syndiff pipeline` made of simulated fields with PS1's noise, sigma 40, against the
noise-free truth with all sources in it, down to i = 24.5 (stars) and 25 (galaxies). Stars are
counted to i = 24. Noise is that of the exposures: skycells that overlap show the same, as in PS1.
*ripple*: what sky subtraction may leave, waves of 1 to 5 arcmin and steps from skycell to skycell
of {ripple} of a PS1 pixel's noise each, band by band (28 mag per square arcsec in r). Fluxes per
TESS pixel, AB zero point 25: 1 is magnitude 25, 10 is 22.5.

## What is missing, and what scatters

*bias*: mean of template less truth. *rms*: its scatter about that mean. A constant does no harm
where the sky of the FFI is fitted anyway; the scatter does.

{bias}
## Which background to take

{choice}
## Flux of stars by magnitude

Template over truth, one weighted fit of all magnitudes at once.

{ratios}
## Is UNCERT right?

Mean square of (template - truth - bias) / UNCERT: 1 if it is. Over all pixels and two offsets,
{offsets}, of the fields above without ripple, which tell it to some 6 to
14 % (pixels are correlated, some four make one independent one):

{chi2}
{stars}

UNCERT counts, squared and on top of PS1's noise of the light that is in: for `none` nothing; for
`matched` and `sep` the peaks and troughs of the noise that are taken for light, the scatter of
undetected sources, which grows with the part of the sky that is detected, and what is cut off
around detected light, but for that of galaxies, where all is in. The last two are fitted to
simulations of 1e4 and 1e5 stars per square degree with other seeds. They are not to be relied on at
1e6, where the level itself, which is taken from what is dark, is wrong by more than the noise (a
larger field gave 2.6 for `matched`); and there the noise correlation, measured on what is dark too,
holds the scatter of undetected stars, so that UNCERT of `none` is a quarter too large. UNCERT does
not count: the bias above, PS1's zero points (0.01 mag), colours, positions, the ripple of the sky.

{hosts}## Around a big galaxy

Mean of template less truth in annuli around galaxies in a field of 1e4 stars per square degree.
PS1's sky subtraction takes {halo:.0%} of the galaxy's light away as a broad dark halo (4 r_e).
*truth*: the light itself.

{galaxies}
## Bands that are missing

Light of a star in a band that nobody has comes from its own light in the other bands, by weights
fitted to the stellar locus (r - i from -0.1 to 1.4), and scaled to what the skycell's bright light
says. Largest error of the composite flux for stars with r - i of 0 to 1, against one mean
colour for all stars, and the noise relative to that of all four bands:

{bands}"""


_CHOICE = """\
`matched` is the default: it keeps stars to magnitude 23, it stands between the sky's ripple and the
template, and its scatter stays below the some 15 units (0.3 e-/s) of TESS's own noise in an FFI of
30 minutes under a dark sky. `sep` is quieter, at 1e4 by a fifth and under a ripple by a third, at
1e5 by 6 and 17 %, but loses half of the light of stars of magnitude 23; take it for the quietest
differences. Both keep all light around galaxies, as `none` does, on the sky around them. `none` is
for tests without noise, and for fields as crowded as 1e6 stars per square degree, where there is no
dark sky to take a level from, so that the others lose light and scatter more, if PS1's sky is flat
there; a ripple that nobody sees in PS1 costs it more even so, and ruins it elsewhere: a TESS pixel
sums 7000 PS1 pixels. UNCERT knows nothing of a ripple. `--diffuse` adds more noise, ripple and
error of the level than light in all of these fields: it is off by default. What is left out at a
pixel, smoothed, is in the planes FAINT and FAINTERR of a template.
"""


def _band_table() -> str:
    """Return the errors of bands that stand in, on the simulator's stellar locus."""
    colours = np.linspace(0, 1, 11)
    flux = 10 ** (0.4 * np.outer(colours, [-1.0, 0.0, 0.46, 0.7]))
    weights, sky = np.array(BAND_WEIGHTS), np.array([0.125, 0.14, 0.29, 0.8])
    composite = flux @ weights
    mean = flux[3]
    rows = []
    for missing in (1, 2, 4, 8, 3, 12):
        is_there = np.array([not missing >> band & 1 for band in range(len(BANDS))])
        made = flux @ stand_in_weights()[missing] / composite - 1
        plain = (flux * weights)[:, is_there].sum(axis=1) * (mean @ weights)
        plain = plain / (mean * weights)[is_there].sum() / composite - 1
        noise = np.hypot.reduce(stand_in_weights()[missing] * sky) / np.hypot.reduce(weights * sky)
        names = ", ".join(band for band, there in zip(BANDS, is_there, strict=True) if not there)
        rows.append([names, f"{abs(made).max():.1%}", f"{abs(plain).max():.1%}", f"{noise:.2f}"])
    return _table(["missing", "error", "with one colour", "noise"], rows)


_STARS = """\
By where a pixel is, in {fields} other fields of 1e4 stars per square degree, in which stars of
magnitude 16 to 18 stand on a grid of 5 pixels on top. *sky*: nothing brighter than {empty} in 3 x 3
pixels; *on stars*: the pixel in which a star stands that is the brightest in 3 x 3 pixels.
*follow*: the template of an FFI that points elsewhere (shift, roll, scale, aberration), by
`--follow`. Errors are from how fields differ (jackknife); the three templates of a field show the
same light and noise, only the pixels lie elsewhere, so that their columns agree more than their
errors say. *number*: pixels of one template; on stars, chance alone leaves the root of 2 / number.
The first two fields helped to set the constants of `sep`; nothing else was fitted to any of these
fields.

{stars}
"""


def stars_part(found: Found) -> str:
    """Return the part of docs/faint-light.md about empty sky and stars."""
    some = next(iter(found.values()))
    fields = len({one.seed for one in some})
    return _STARS.format(fields=fields, empty=EMPTY_MAG, stars=uncertainty_table(found)).strip()


def with_stars(page: str, part: str) -> str:
    """Return a page with another part about empty sky and stars."""
    before, begin, rest = page.partition(_STARS[: _STARS.index(",")])
    _, end, after = rest.partition("\nUNCERT counts")
    if not (begin and end):
        raise ValueError("the page has no part about stars: run without --stars-only")
    return f"{before}{part}\n{end}{after}"


def page(
    results: Results, galaxies: dict[str, dict[str, list[float]]], stars: str, hosts: str
) -> str:
    """Return docs/faint-light.md."""
    return _PAGE.format(
        ripple=RIPPLE_SIGMAS,
        bias=_bias_table(results),
        choice=_CHOICE,
        ratios=_ratio_table(results),
        offsets=" and ".join(f"({dx:g}, {dy:g})" for dx, dy in OFFSETS),
        chi2=_chi_table(results),
        stars=stars,
        hosts=hosts,
        halo=GALAXIES[0].halo,
        galaxies=_galaxy_table(galaxies),
        bands=_band_table(),
    )


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder to keep the simulations in")
    parser.add_argument("--stars-only", type=Path, metavar="PAGE", help="keep the rest of a page")
    parser.add_argument("--hosts-only", type=Path, metavar="PAGE", help="keep the rest of a page")
    options = parser.parse_args()
    with _folder(options.work) as work:
        if options.hosts_only:
            part = hosts_part(measure_hosts(work))
            sys.stdout.write(with_hosts(options.hosts_only.read_text("utf-8"), part))
            return
        modes = [str(mode) for mode in MODES]
        stars = stars_part(measure_star_fields(FIELDS[0].density, modes, SEEDS, work / "stars"))
        if options.stars_only:
            sys.stdout.write(with_stars(options.stars_only.read_text("utf-8"), stars))
        else:
            hosts = hosts_part(measure_hosts(work))
            galaxies = measure_galaxies(work)
            sys.stdout.write(page(measure_fields(work), galaxies, stars, hosts))


if __name__ == "__main__":
    main()
