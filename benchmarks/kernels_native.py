"""What the best kernel leaves of stars: at one sample a pixel, and at two.

Run as ``python -m benchmarks.kernels_native``. No pipeline takes part: stars are Gaussians
integrated over pixels in closed form, the template with the width of ``--psf-sigma``, the FFI with
another one; a square kernel is fitted to them without noise.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # drawers of stars

from finestars import draw

PIXEL_ARCSEC = 21.0
SIZE = 24
STARS = 40


def width_px(psf_sigma: float) -> float:
    """Standard deviation in TESS pixels of a ``--psf-sigma`` in PS1 pixels."""
    return 0.25 * psf_sigma / PIXEL_ARCSEC


def residual_of_peak(template: float, ffi: float, *, per_px: int, half_px: int = 4) -> float:
    """Return the largest residual of the best square kernel, as a part of a star's peak.

    `template` and `ffi` are widths as ``--psf-sigma``; the kernel has ``2 * half_px * per_px + 1``
    weights a side, samples lie ``per_px`` a pixel.
    """
    rng = np.random.default_rng(1)
    steps = np.arange(-half_px * per_px, half_px * per_px + 1) / per_px
    rows, targets = [], []
    pixels = np.arange(-SIZE / 2, SIZE / 2)
    inner = np.abs(pixels) <= 6
    for x, y in rng.uniform(-0.5, 0.5, (STARS, 2)):
        star = [(x, y, 1.0)]
        images = [
            draw(star, pixels[inner] + dy, pixels[inner] + dx, _round(width_px(template))).ravel()
            for dy in steps
            for dx in steps
        ]
        rows.append(np.stack(images, -1))
        targets.append(draw(star, pixels[inner], pixels[inner], _round(width_px(ffi))).ravel())
    matrix, target = np.concatenate(rows), np.concatenate(targets)
    weights = np.linalg.lstsq(matrix, target, rcond=1e-12)[0]
    left = np.abs(matrix @ weights - target).reshape(STARS, -1).max(1)
    return float((left / target.reshape(STARS, -1).max(1)).max())


def _round(sigma: float):
    return lambda *_: [(1.0, 0.0, 0.0, sigma)]


def main() -> None:
    """Print the table."""
    print("| template `--psf-sigma` | FFI | one sample, 9 x 9 | two samples, 17 x 17 |")
    print("|---|---|---|---|")
    for template in (30.0, 40.0, 50.0, 60.0):
        for ffi in (template + 4, template + 15, 60.0, 66.0):
            if ffi <= template or (ffi == 60.0 and template + 15 >= 60):
                continue
            found = [residual_of_peak(template, ffi, per_px=n) for n in (1, 2)]
            print(f"| {template:g} | {ffi:g} | {found[0]:.1e} | {found[1]:.1e} |", flush=True)


if __name__ == "__main__":
    main()
