"""Colour error of the composite of r, i, z, y against TESS; prints the tables of docs/colour.md.

Run with ``python -m benchmarks.colour`` at the repository's root; ``--figure FILE`` draws them.
Spectra of stars and supernovae are in benchmarks/data, those of galaxies come with GalSim.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from syndiff.config import BAND_WEIGHTS, BANDS

DATA = Path(__file__).parent / "data"
GALAXIES = ("E", "Sbc", "Scd", "Im")
REDSHIFTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
SUPERNOVA_REDSHIFTS = (0.0, 0.02, 0.05)

_LIGHT_ANGSTROM_PER_S = 2.99792458e18


@dataclass(frozen=True)
class Curve:
    """Values at wavelengths (Angstrom, ascending), straight lines between."""

    wavelength: np.ndarray
    value: np.ndarray

    def at(self, wavelength: np.ndarray) -> np.ndarray:
        """Return values at wavelengths, 0 outside."""
        return np.interp(wavelength, self.wavelength, self.value, left=0.0, right=0.0)

    def redshifted(self, z: float) -> Curve:
        """Return the spectrum seen at a redshift."""
        return Curve(self.wavelength * (1 + z), self.value)


@dataclass(frozen=True)
class Colour:
    """AB magnitudes of one spectrum.

    Parameters
    ----------
    name : str
        Of the spectrum.
    mags : dict of str to float
        By band: g, r, i, z, y, TESS.
    """

    name: str
    mags: dict[str, float]

    @property
    def g_r(self) -> float:
        """The colour g - r."""
        return self.mags["g"] - self.mags["r"]

    @property
    def r_i(self) -> float:
        """The colour r - i."""
        return self.mags["r"] - self.mags["i"]

    @property
    def error(self) -> float:
        """AB magnitude of the composite minus that of TESS: below 0, too bright."""
        fluxes = 10 ** (-0.4 * np.array([self.mags[band] for band in BANDS]))
        return float(-2.5 * np.log10(np.dot(BAND_WEIGHTS, fluxes)) - self.mags["TESS"])


@cache
def bandpasses() -> dict[str, Curve]:
    """Return the response curves per photon, by band."""
    rows = _rows("bandpasses.csv")[1:]
    return {
        band: Curve(*np.array([row[1:] for row in rows if row[0] == band], float).T)
        for band in dict.fromkeys(row[0] for row in rows)
    }


def spectra() -> dict[str, Curve]:
    """Return f_lambda of stars and supernovae, by name."""
    head, *rows = _rows("spectra.csv")
    wavelength = np.array(head[1:], float)
    found: dict[str, Curve] = {}
    for name, *values in rows:
        label = name if name not in found else f"{name} ({len(found)})"
        found[label] = Curve(wavelength, np.array(values, float))
    return found


def _rows(name: str) -> list[list[str]]:
    with (DATA / name).open() as file:
        return list(csv.reader(line for line in file if not line.startswith("#")))


def galaxies() -> dict[str, Curve]:
    """Return f_lambda of galaxies (Coleman, Wu & Weedman 1980, extended), from GalSim's files."""
    import galsim

    folder = Path(galsim.meta_data.share_dir) / "SEDs"
    # Their wavelengths are in Angstrom, their fluxes f_lambda.
    files = {name: np.loadtxt(folder / f"CWW_{name}_ext.sed") for name in GALAXIES}
    return {f"galaxy {name}": Curve(*table[:, :2].T) for name, table in files.items()}


def vega() -> Curve:
    """Return f_lambda (erg/s/cm^2/Angstrom) of Vega, CALSPEC's model, from GalSim's files."""
    import galsim

    table = np.loadtxt(Path(galsim.meta_data.share_dir) / "SEDs" / "vega.txt")
    return Curve(table[:, 0] * 10, table[:, 1] / 10)  # theirs is in nm and per nm


def ab_mag(spectrum: Curve, response: Curve) -> float:
    """Return an AB magnitude, if the spectrum is in erg/s/cm^2/Angstrom.

    Notes
    -----
    Photons: ``-2.5 log10(int f_lambda T lambda dlambda / int T / lambda dlambda)`` (Bessell &
    Murphy 2012, PASP 124, 140, eq. A12), on the union of both curves' wavelengths.
    """
    low, high = response.wavelength[[0, -1]]
    inside = (spectrum.wavelength > low) & (spectrum.wavelength < high)
    w = np.union1d(response.wavelength, spectrum.wavelength[inside])
    t = response.at(w)
    light = np.trapezoid(spectrum.at(w) * t * w, w)
    return float(-2.5 * np.log10(light / np.trapezoid(t / w, w) / _LIGHT_ANGSTROM_PER_S) - 48.6)


def colour(name: str, spectrum: Curve) -> Colour:
    """Return a spectrum's magnitudes."""
    return Colour(name, {b: ab_mag(spectrum, curve) for b, curve in bandpasses().items()})


def groups() -> dict[str, list[Colour]]:
    """Return the colours of everything, by kind."""
    known = spectra()
    stars = [colour(*item) for item in known.items() if not item[0].startswith("SALT3")]
    late = [one for one in stars if _class(one) == "M"]
    by_class = {
        "stars O to A": [one for one in stars if _class(one) in "OBA"],
        "stars F to G": [one for one in stars if _class(one) in "FG"],
        "stars K": [one for one in stars if _class(one) == "K"],
        "M dwarfs": [one for one in late if one.name.endswith("V")],
        "M giants": [one for one in late if not one.name.endswith("V")],
    }
    for z in REDSHIFTS:
        by_class[f"galaxies, z = {z:g}"] = [
            colour(name, spectrum.redshifted(z)) for name, spectrum in galaxies().items()
        ]
    by_class["type Ia supernovae"] = [
        colour(name, spectrum.redshifted(z))
        for name, spectrum in known.items()
        if name.startswith("SALT3")
        for z in SUPERNOVA_REDSHIFTS
    ]
    return by_class


def _class(star: Colour) -> str:
    """Return the letter of a star's spectral type; names are "library type"."""
    return star.name.split()[1][0]


def _line(label: str, members: list[Colour]) -> str:
    errors = np.array([one.error for one in members])
    colours = [one.g_r for one in members]
    return (
        f"| {label} | {len(members)} | {min(colours):.2f} to {max(colours):.2f} | "
        f"{errors.mean():+.4f} | {errors.std():.4f} | {errors.min():+.4f} | {errors.max():+.4f} |"
    )


def stars_of(found: dict[str, list[Colour]]) -> list[Colour]:
    """Return the stars of all classes."""
    labels = ("stars O to A", "stars F to G", "stars K", "M dwarfs", "M giants")
    return [one for label in labels for one in found[label]]


def tables() -> str:
    """Return the tables of docs/colour.md."""
    found = groups()
    stars = stars_of(found)
    lines = [
        "| spectra | number | g - r | mean | std | smallest | largest |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for low, high in ((-1.0, 0.8), (0.8, 1.2), (1.2, 3.0)):
        some = [one for one in stars if low <= one.g_r < high]
        label = f"all stars, g - r under {high:g}" if low < 0 else f"g - r {low:g} to {high:g}"
        lines.append(_line(label if high < 3 else f"g - r over {low:g}", some))
    lines += [_line(label, members) for label, members in found.items()]
    dwarfs = [
        f"| {one.name.split()[1]} | {one.g_r:.2f} | {one.r_i:.2f} | {one.error:+.3f} |"
        for one in found["M dwarfs"]
    ]
    head = ["", "| M dwarf | g - r | r - i | error |", "| --- | --- | --- | --- |"]
    return "\n".join([*lines, *head, *dwarfs]) + "\n"


def draw(path: Path) -> None:
    """Draw errors against r - i."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    found = groups()
    kinds = {
        "stars O to K": [
            c for label, some in found.items() if label.startswith("stars") for c in some
        ],
        "M dwarfs": found["M dwarfs"],
        "M giants": found["M giants"],
        "galaxies, z = 0 to 1": [
            c for label, some in found.items() if label.startswith("gal") for c in some
        ],
        "type Ia supernovae": found["type Ia supernovae"],
    }
    for (label, members), marker in zip(kinds.items(), "osvd^", strict=True):
        x, y = zip(*((one.r_i, one.error) for one in members), strict=True)
        axes.plot(x, y, marker, ms=4, label=f"{label} ({len(members)})")
    axes.axhline(0, color="0.6", lw=0.8)
    axes.set(xlabel="r - i (AB mag)", ylabel="composite - TESS (AB mag)")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", type=Path, help="PNG to draw")
    figure = parser.parse_args().figure
    sys.stdout.write(tables())
    if figure is not None:
        draw(figure)


if __name__ == "__main__":
    main()
