"""Measure the templates of simulated skies against the truth; prints docs/accuracy.md.

Run with ``python -m benchmarks.accuracy > docs/accuracy.md`` at the repository's root; it takes
some minutes on two cores. ``--work DIR`` keeps the simulations for the next time. ``--noise-only
PAGE`` measures the section with noise alone, and takes all else from a page.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measure import Accuracy, measure, position_errors
from benchmarks.photometry import LightKept, field_plan, measure_light
from benchmarks.prf_accuracy import NOISY, PrfRecord, measure_prf_sky, section
from benchmarks.prf_accuracy import SKIES as PRF_SKIES
from benchmarks.skies import OFFSETS, Run, Sky, run_command
from syndiff.simulation import Simulation, simulate

SKIES = tuple(
    Sky(place, fwhm, shape)
    for place in ("centre", "corner")
    for fwhm in (0.8, 1.3)
    for shape in ("gaussian", "moffat")
)
SIGMAS = (40.0, 60.0)
BACKGROUNDS = ("matched", "sep", "none")


@dataclass(frozen=True)
class Record:
    """One template, measured."""

    sky: Sky
    psf_sigma: float
    offset: tuple[float, float]
    accuracy: Accuracy
    positions_px: np.ndarray


def measure_sky(
    sky: Sky, work: Path, *, sigmas: tuple[float, ...] = SIGMAS, cores: int = 1
) -> Iterator[Record]:
    """Simulate a sky, make its templates with the command, and measure each."""
    name = str(sky).replace(" ", "_").replace('"', "").replace(",", "")
    simulation = sky.make(work / name)
    for sigma in sigmas:
        run = Run(psf_sigma=sigma, roi=sky.plan.field, cores=cores)
        products = run_command(simulation, work / f"{name}.data", run)
        for offset, product in products.items():
            yield Record(
                sky,
                sigma,
                offset,
                measure(product, simulation, psf_sigma=sigma, offset=offset),
                position_errors(product, simulation),
            )


def measure_field(work: Path) -> dict[str, LightKept]:
    """Simulate a field with noise and measure the light kept with each background."""
    plan, folder = field_plan(), work / "field"
    made = (folder / "simulation.json").is_file()
    simulation = Simulation.load(folder) if made else simulate(plan, folder)
    kept = {}
    for background in BACKGROUNDS:
        run = Run(background=background, offsets=OFFSETS[:1], roi=plan.field)
        product = run_command(simulation, work / "field.data", run)[OFFSETS[0]]
        kept[background] = measure_light(product, simulation, psf_sigma=run.psf_sigma)
    return kept


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


_HEAD = ["stars", "rms", "largest", "flux", "total", "centroid (px)", "WCS (px)"]


def _errors(records: list[Record], kind: str | None = None) -> list[str]:
    """Return the columns of `_HEAD`, worst values but for the rms."""
    stars = []
    for record in records:
        errors = record.accuracy.stars
        kinds = record.sky.kinds[errors.star.astype(int)]
        stars.append(errors if kind is None else errors[kinds == kind])
    rms, largest, flux, shift = (
        np.concatenate([getattr(part, name) for part in stars])
        for name in ("rms", "largest", "flux", "shift_px")
    )
    return [
        str(len(rms)),
        f"{np.sqrt((rms**2).mean()):.1e}",
        f"{largest.max():.1e}",
        f"{abs(flux).max():.1e}",
        f"{max(abs(record.accuracy.total) for record in records):.1e}",
        f"{shift.max():.1e}",
        f"{max(record.positions_px.max() for record in records):.1e}",
    ]


def _grouped(records: list[Record], key: Callable[[Record], tuple], names: list[str]) -> str:
    rows = [
        [
            *(f"{part:g}" if isinstance(part, float) else part for part in label),
            *_errors(list(group)),
        ]
        for label, group in itertools.groupby(sorted(records, key=key), key)
    ]
    return _table([*names, *_HEAD], rows)


def _by_kind(records: list[Record]) -> str:
    kinds = dict.fromkeys(kind for record in records for kind in record.sky.kinds)
    rows = []
    for kind in kinds:
        errors = _errors(records, kind)
        rows.append([kind, *errors[:4], errors[5]])
    return _table(["place of the star", *_HEAD[:4], _HEAD[5]], rows)


def _light_table(kept: dict[str, LightKept]) -> str:
    first = next(iter(kept.values()))

    def row(name: str, get: Callable[[LightKept], tuple[float, float, int]]) -> list[str]:
        cells = [f"{get(one)[0]:.4f} +- {get(one)[1]:.4f}" for one in kept.values()]
        return [name, str(get(first)[2]), *cells]

    rows = [row(f"stars, mag {m}", lambda one, m=m: one.stars[m]) for m in first.stars]
    rows.append(row("galaxies, mag under 22", lambda one: one.galaxies))
    rows.append(row("everything fainter", lambda one: one.faint))
    rows.append(["all light", "", *(f"{one.total:.4f}" for one in kept.values())])
    rows.append(["scatter / UNCERT", "", *(f"{one.scatter:.2f}" for one in kept.values())])
    return _table(["", "sources", *(f"`{name}`" for name in kept)], rows)


_PAGE = """\
# Accuracy

Made by `python -m benchmarks.accuracy > docs/accuracy.md`.

Every figure compares templates that the real command `syndiff pipeline` made, from archive files
on disk, with the truth of a simulated sky: light profiles integrated over TESS pixels through the
FFI's WCS, which shares no code with the pipeline. Offsets: {offsets}.

## Without noise

Stars of magnitude 14.5 to 15.5, `--background none`, in the middle of the CCD and in the corner of
its science pixels that is farthest from the WCS's reference pixel. Skycells of 1200 px in two
projections, turned by 5.6 degrees against each other, meet in each field.

*rms*: root mean square of (template - truth) / peak over 5 x 5 pixels, over all stars; *largest*:
largest absolute value over 13 x 13 pixels. *flux*: largest error of a star's flux; *total*: of the
sum of all pixels. *centroid*: largest difference between the first moments of template and truth.
*WCS*: largest distance between a Gaussian fitted to a star in the template and the place where
the template's own header puts the star's catalogue position.

Limits: rms 5e-5, largest 3e-4, flux and total 1e-4, centroid 3e-4 px.

What is left: the splat's grid (most of *largest* at sigma 40), 16-bit codes of archive and atlas
(most of *flux*), and the response, which is taken at the receiving pixel while its width varies
over the CCD. The latter moves stars by 0.3e-4 (sigma 40) or 0.6e-4 px (60) in the middle of the
CCD, and by up to 0.8e-4 or 1.7e-4 px elsewhere (computed from the WCS of five CCDs).

By response and offset:

{by_offset}
By place on the CCD and PS1's seeing:

{by_sky}
By where a star stands: where four tiles meet, on the last science pixels, on the line where both
projections count half, in the middle of the overlap of two or four skycells of one projection,
anywhere:

{by_kind}
Pixels without a value inside the coverage: {blank}.

{measured}
"""

_NOISE = """\
## With noise

A field of {size} x {size} pixels at high galactic latitude, with PS1's noise and artefacts, sigma
40. One weighted least-squares fit of the template with the truth images of all groups of sources
at once and a constant; the coefficients are the ratios of fluxes, template over truth. Pixels
within 5 px of stars that PS1 saturates (brighter than magnitude 14) take no part; {used:.0%} of
the field remain. PS1's noise is about 10 units of flux a TESS pixel, a star of magnitude 22 has 16,
of which 7 fall into its brightest pixel: the last rows rest on many stars. `matched` and `sep`
leave out what PS1 does not detect, noise and faint galaxies alike; `none` keeps all of it.
*scatter / UNCERT*: robust standard deviation of (template - truth) / UNCERT; more about it, by
magnitude and density, is in [faint light](faint-light.md).
Pixels with gaps take part: three stars of magnitude 14.3 to 14.9 beside gaps come out up to 4.5 %
too bright in their pixels, which are [flagged](places.md), and raise the first row by 0.4 %.

{light}"""


def noise_free_part(records: list[Record], measured: list[PrfRecord]) -> str:
    """Return docs/accuracy.md without its last section."""
    return _PAGE.format(
        offsets=", ".join(f"({dx:g}, {dy:g})" for dx, dy in OFFSETS),
        by_offset=_grouped(records, lambda r: (r.psf_sigma, *r.offset), ["sigma", "dx", "dy"]),
        by_sky=_grouped(records, lambda r: (str(r.sky), r.psf_sigma), ["sky", "sigma"]),
        by_kind=_by_kind(records),
        blank=sum(record.accuracy.blank for record in records),
        measured=section(measured),
    )


def noise_part(kept: dict[str, LightKept]) -> str:
    """Return the last section of docs/accuracy.md."""
    return _NOISE.format(
        size=field_plan().field.shape[0],
        used=kept["matched"].used,
        light=_light_table(kept),
    )


@contextmanager
def _folder(path: Path | None) -> Iterator[Path]:
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        yield path
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder to keep the simulations in")
    parser.add_argument("--noise-only", type=Path, metavar="PAGE", help="keep the rest of a page")
    options = parser.parse_args()
    with _folder(options.work) as work:
        if options.noise_only:
            before, _, _ = options.noise_only.read_text().partition(_NOISE[: _NOISE.index("\n")])
        else:
            records = [record for sky in SKIES for record in measure_sky(sky, work)]
            measured = [
                record for sky in (*PRF_SKIES, *NOISY) for record in measure_prf_sky(sky, work)
            ]
            before = noise_free_part(records, measured)
        sys.stdout.write(before + noise_part(measure_field(work)))


if __name__ == "__main__":
    main()
