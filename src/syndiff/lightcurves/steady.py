"""What does not change from frame to frame: a scene that a steady kernel has been applied to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.legendre import legvander

from syndiff.scenes.scene import SAMPLES_PER_PX, SceneStrip
from syndiff.templates.template import follow_flux, follow_template

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.differences.matching import VaryingKernel
    from syndiff.scenes.store import StoredScene
    from syndiff.sky.displacement import Displacement
    from syndiff.templates.template import Template
    from syndiff.window import Window

__all__ = ["MODEL_COLUMNS", "SteadyScene", "convolve_scene"]

MODEL_COLUMNS = 6
"""Light, its change with a shift in x and y, and with a variance added in x, in xy and in y."""

_STEP_PX = 0.1
# Of the differences: smaller ones show the rounding of single precision, larger ones are no slopes.


@dataclass(frozen=True, eq=False)
class SteadyScene:
    """A scene as TESS sees it on average, to be sampled where each frame looks.

    Parameters
    ----------
    scene : StoredScene
        The scene; its flux is convolved with the steady kernel and NaN where that lacks light.
    window : Window
        FFI pixels of the field.
    """

    scene: StoredScene
    window: Window

    def columns(self, displacement: Displacement) -> NDArray[np.float64]:
        """Return the field's light in a frame and how it changes with shift and width.

        Parameters
        ----------
        displacement : Displacement
            How far sources stand in the frame from where they stand in the scene.

        Returns
        -------
        (6, ny, nx) float64
            `MODEL_COLUMNS`. The first is for scale 1, the next two per pixel of shift, the last
            three per square pixel of variance (xx, xy, yy) that the response gains.
        """
        h = _STEP_PX
        at = {
            (i, j): self._flux(displacement, i * h, j * h) for i in (-1, 0, 1) for j in (-1, 0, 1)
        }
        middle = at[0, 0]
        return np.stack(
            [
                middle,
                (at[1, 0] - at[-1, 0]) / (2 * h),
                (at[0, 1] - at[0, -1]) / (2 * h),
                (at[1, 0] + at[-1, 0] - 2 * middle) / (2 * h**2),
                (at[1, 1] + at[-1, -1] - at[1, -1] - at[-1, 1]) / (4 * h**2),
                (at[0, 1] + at[0, -1] - 2 * middle) / (2 * h**2),
            ]
        )

    def _flux(self, displacement: Displacement, x: float, y: float) -> NDArray[np.float64]:
        moved = moved_by(displacement, (x, y))
        flux = follow_flux(
            self.scene.strip, origin=self.scene.origin, window=self.window, displacement=moved
        )
        return flux.astype(np.float64)

    def planes(self, displacement: Displacement) -> Template:
        """Return the template's planes where a frame looks; the flux is the convolved one.

        Parameters
        ----------
        displacement : Displacement
            As of `columns`.

        Returns
        -------
        Template
            Flags, uncertainty, faint light.
        """
        return follow_template(
            self.scene.strip,
            origin=self.scene.origin,
            window=self.window,
            displacement=displacement,
        )


def moved_by(displacement: Displacement, shift: tuple[float, float]) -> Displacement:
    """Return a displacement with a constant shift added.

    Parameters
    ----------
    displacement : Displacement
        The field.
    shift : (float, float)
        x and y, FFI pixels.

    Returns
    -------
    Displacement
        The sum.
    """
    x, y = shift
    return displacement.moved(np.full_like(displacement.dx, x), np.full_like(displacement.dy, y))


def convolve_scene(scene: StoredScene, kernel: VaryingKernel, window: Window) -> StoredScene:
    """Return a scene that a kernel is applied to.

    Parameters
    ----------
    scene : StoredScene
        The scene.
    kernel : VaryingKernel
        Its taps lie on the scene's samples.
    window : Window
        FFI pixels that the kernel's polynomials are of.

    Returns
    -------
    StoredScene
        NaN in flux where the kernel reaches beyond the samples that there are.
    """
    flux = scene.strip.flux.astype(np.float64)
    steps = np.rint(kernel.taps.places * SAMPLES_PER_PX).astype(int)
    reach = int(np.abs(steps).max())
    rows, columns = (n - 2 * reach for n in flux.shape)
    total = np.zeros((rows, columns))
    for term, weights in zip(kernel.terms, kernel.weights, strict=True):
        part = np.zeros((rows, columns))
        for (y, x), weight in zip(steps + reach, weights, strict=True):
            part += weight * flux[y : y + rows, x : x + columns]
        total += part * _polynomial(term, scene.origin, window, (rows, columns), reach)
    out = np.full(flux.shape, np.nan, np.float32)
    out[reach : reach + rows, reach : reach + columns] = total
    return type(scene)(SceneStrip(out, scene.strip.aux, scene.strip.flags), scene.origin)


def _polynomial(
    term: NDArray[np.int64],
    origin: tuple[int, int],
    window: Window,
    shape: tuple[int, int],
    first: int,
) -> NDArray[np.float64]:
    """Return a kernel's polynomial at the samples of a scene from row and column `first` on."""
    factors: list[NDArray[np.float64]] = []
    for axis, (low, high) in enumerate(((window.y0, window.y1), (window.x0, window.x1))):
        pixel = origin[1 - axis] + (np.arange(shape[axis]) + first) / SAMPLES_PER_PX
        place = 2 * (pixel - low) / max(high - low - 1, 1) - 1
        factors.append(np.asarray(legvander(place, int(term[axis]))[:, -1], np.float64))
    return np.outer(*factors)
