"""Skies rendered by the real command, and what their templates may differ from the truth by."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.measure import measure, position_errors
from benchmarks.skies import Products, Run, Sky, run_command
from syndiff.masks import DataQuality
from syndiff.simulation import Simulation

RMS = 5e-5
"""Of a star's peak, over 5 x 5 pixels of all stars; the splat's grid leaves 2.4e-5 at worst."""

LARGEST = 3e-4
"""Of a star's peak, any pixel."""

FLUX = 1e-4
"""Of a star, and of the total; 16-bit codes of archive and atlas leave 5e-6 to 5e-5."""

ALIKE = 2e-6
"""Of the brightest peak: what a response still carries from beyond its reach, where the skycells
that are only there take part in one of two runs."""

SHIFT_PX = 3e-4
"""Centroids of template and truth; the lattice's bilinear places leave 6e-6 to 7e-5."""

POSITION_PX = 3e-4
"""Star in the template against its header's WCS; up to 1e-4 of it is the fitted Gaussian's, which
a distorted star with wings is not quite."""


class Rendered(NamedTuple):
    """A sky, its simulation, and the templates of it by response width."""

    sky: Sky
    simulation: Simulation
    products: dict[float | None, Products]


def render(sky: Sky, folder: Path, *sigmas: float | None) -> Rendered:
    """Simulate a sky and make its templates with the command; None is the measured response."""
    simulation = sky.make(folder / "sky")
    products = {
        sigma: run_command(simulation, folder / "data", Run(psf_sigma=sigma, roi=sky.plan.field))
        for sigma in sigmas
    }
    return Rendered(sky, simulation, products)


def check_stars(errors, label):
    """Compare errors of stars with the limits."""
    assert np.sqrt((errors.rms**2).mean()) <= RMS, label
    assert errors.largest.max() <= LARGEST, label
    assert abs(errors.flux).max() <= FLUX, label
    assert errors.shift_px.max() <= SHIFT_PX, label


def check_templates(rendered: Rendered, psf_sigma: float | None) -> None:
    """Compare the templates of one response, at every offset, with the truth."""
    for offset, product in rendered.products[psf_sigma].items():
        label = f"{rendered.sky}, sigma {psf_sigma}, offset {offset}"
        found = measure(product, rendered.simulation, psf_sigma=psf_sigma, offset=offset)
        assert len(found.stars.star) >= 4, label
        check_stars(found.stars, label)
        assert abs(found.total) <= FLUX, label
        assert np.isfinite(product.flux).all(), label
        assert product.planes["COVERAGE"].min() == 1, label
        # Straps lie beneath some columns of any field.
        assert not (product.planes["DQ"] & ~DataQuality.TESS_STRAP).any(), label
        # Measured responses are asymmetric: where a star seems to be is not where it is.
        if psf_sigma is not None:
            assert position_errors(product, rendered.simulation).max() <= POSITION_PX, label


def check_same(products: Products, wanted: Products) -> None:
    """Compare all planes over the pixels that two runs have in common."""
    for offset, product in products.items():
        common = product.window.intersection(wanted[offset].window)
        ours, theirs = (one.cropped(common) for one in (product, wanted[offset]))
        assert ours.keys() == theirs.keys()
        for name, plane in ours.items():
            np.testing.assert_array_equal(plane, theirs[name], err_msg=f"{name} at {offset}")


def check_alike(ours, theirs, label=""):
    """Compare the planes of runs for two windows, over the same pixels, by name."""
    peak = np.nanmax(theirs["FLUX_SUM"])
    for name in ("COUNT", "MASK", "DQ"):
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=f"{name} {label}")
    for name, tolerances in (
        ("FLUX_SUM", {"rtol": 0, "atol": ALIKE * peak}),
        ("UNCERT", {"rtol": 1e-3, "atol": ALIKE * peak}),
        ("COVERAGE", {"rtol": 0, "atol": 1e-6}),
    ):
        np.testing.assert_allclose(
            ours[name], theirs[name], **tolerances, err_msg=f"{name} {label}"
        )


def check_products(products: Products, wanted: Products) -> None:
    """Compare all planes over the pixels that runs for two windows have in common."""
    for offset, product in products.items():
        common = product.window.intersection(wanted[offset].window)
        ours, theirs = (one.cropped(common) for one in (product, wanted[offset]))
        assert ours.keys() == theirs.keys()
        check_alike(ours, theirs, f"at {offset}")


def check_edges(products: Products, simulation: Simulation) -> None:
    """Expect values where there is coverage, nowhere else, and stars where the header says."""
    for product in products.values():
        covered = product.planes["COVERAGE"] >= 0.5
        np.testing.assert_array_equal(np.isfinite(product.flux), covered)
        assert not covered.all()
        assert position_errors(product, simulation).max() <= POSITION_PX
