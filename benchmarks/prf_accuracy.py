"""Measure templates with TESS's measured response, for docs/accuracy.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.measure import Accuracy, StarErrors, measure
from benchmarks.skies import Product, Run, Sky, run_command
from syndiff.simulation import Simulation
from syndiff.simulation.ffi import wcs_of
from syndiff.simulation.prf import draw_sources
from syndiff.simulation.sources import PS1_EPOCH_YEAR

SKIES = tuple(
    Sky(place, fwhm, shape, size_px=22, psf="prf")
    for place in ("centre", "node", "corner")
    for fwhm, shape in ((0.8, "gaussian"), (1.112, "gaussian"), (1.112, "moffat"), (1.4, "moffat"))
)
"""1.112" is the mean seeing in the composite band."""

NOISY = tuple(replace(sky, prf_noise=1.0) for sky in SKIES if sky.shape == "gaussian")[1::2]
"""With noise in the files as MAST's have it: one at each place, with the mean seeing."""


@dataclass(frozen=True)
class PrfRecord:
    """One template, measured against its own truth and against what TESS sees."""

    sky: Sky
    offset: tuple[float, float]
    accuracy: Accuracy
    seen: StarErrors


def measure_prf_sky(sky: Sky, work: Path) -> Iterator[PrfRecord]:
    """Simulate a sky, make its templates with the command, and measure each."""
    name = str(sky).replace(" ", "_").replace('"', "").replace(",", "")
    simulation = sky.make(work / name)
    products = run_command(
        simulation, work / f"{name}.data", Run(psf_sigma=None, roi=sky.plan.field)
    )
    for offset, product in products.items():
        yield PrfRecord(
            sky,
            offset,
            measure(product, simulation, psf_sigma=None, offset=offset),
            leftover(product, simulation, offset=offset),
        )


def leftover(
    product: Product, simulation: Simulation, *, offset: tuple[float, float]
) -> StarErrors:
    """Return how far a template is from what TESS sees, which has none of PS1's seeing."""

    def seen(window, sources):
        config = simulation.config.ffi
        wcs = wcs_of(config.wcs_cards)
        return draw_sources(sources, config.prf, wcs, window, year=PS1_EPOCH_YEAR, offset=offset)

    return measure(product, simulation, psf_sigma=None, offset=offset, draw=seen).stars


_HEAD = ["stars", "rms", "largest", "flux", "centroid (px)"]


def _row(parts: list[StarErrors]) -> list[str]:
    """Return the columns of `_HEAD`, worst values but for the rms."""
    rms, largest, flux, shift = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("rms", "largest", "flux", "shift_px")
    )
    return [
        str(len(rms)),
        f"{np.sqrt((rms**2).mean()):.1e}",
        f"{largest.max():.1e}",
        f"{abs(flux).max():.1e}",
        f"{shift.max():.1e}",
    ]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


_SECTION = """\
## With TESS's measured response

`--psf prf`, with files in MAST's form of a simulated response: asymmetric and as wide as TESS's,
1.34 to 2.14 px (full width at half maximum, median 1.60; MAST's 1.24 to 2.14, median 1.61), its
peak 2.6 times lower in one corner of the CCD than in the opposite one. Places: the middle of the
CCD, the corner of its science pixels, and *node*, where the bilinear interpolation between measured
places has its kinks, one pixel beside the corner of four tiles.

Against the truth with PS1's seeing as it is in the stacks, less the mean that the template takes
out: what the processing errs by, files without noise. By offset, then by place:

{by_offset}
{by_place}
With noise in the files as MAST's have it (0.5 % of the peak from sample to sample, up to 1 to 2.5 %
that is cut off), against the same truth, which has none. This is what to expect of `prf`; how well
MAST's files are TESS is told by [real pixels](real-pixels.md):

{by_noise}
Against what TESS sees, without any of PS1's seeing: what stays in a template because PS1's seeing
is taken out as a Gaussian of its mean (1.2, 1.1, 1.1, 1.0" in r, i, z, y):

{by_seeing}"""


def section(records: list[PrfRecord]) -> str:
    """Return the part of docs/accuracy.md."""
    offsets = dict.fromkeys(record.offset for record in records)
    places = dict.fromkeys(record.sky.place for record in records)
    noisy = [record for record in records if record.sky.prf_noise]
    records = [record for record in records if not record.sky.prf_noise]
    seeings = dict.fromkeys((record.sky.fwhm_arcsec, record.sky.shape) for record in records)
    return _SECTION.format(
        by_offset=_table(
            ["dx", "dy", *_HEAD],
            [
                [
                    *(f"{v:g}" for v in o),
                    *_row([r.accuracy.stars for r in records if r.offset == o]),
                ]
                for o in offsets
            ],
        ),
        by_place=_table(
            ["place", *_HEAD],
            [[p, *_row([r.accuracy.stars for r in records if r.sky.place == p])] for p in places],
        ),
        by_noise=_table(
            ["place", *_HEAD],
            [[p, *_row([r.accuracy.stars for r in noisy if r.sky.place == p])] for p in places],
        ),
        by_seeing=_table(
            ["seeing", *_HEAD],
            [
                [
                    f'{shape} {fwhm}"',
                    *_row(
                        [
                            r.seen
                            for r in records
                            if (r.sky.fwhm_arcsec, r.sky.shape) == (fwhm, shape)
                        ]
                    ),
                ]
                for fwhm, shape in seeings
            ],
        ),
    )
