"""Measure a series of frames of one field against one scene."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.differences.matching import Taps, VaryingKernel
from syndiff.errors import SyndiffError
from syndiff.ffi.detector_flags import strap_columns
from syndiff.lightcurves.forced import APART_PX, measure, place_in_frame
from syndiff.lightcurves.frame_fit import FLUX_ERROR, FrameFit, Steadiness, fit_frame
from syndiff.lightcurves.frame_rows import STAMP_PX, row_type
from syndiff.lightcurves.places import Comparison
from syndiff.lightcurves.point_response import PointResponse
from syndiff.lightcurves.steady import SteadyScene, convolve_scene
from syndiff.masks import UNTRUSTED_POINTING, DataQuality, spoilt_pixels
from syndiff.sky.displacement import Displacement, displacement_between
from syndiff.templates.template import check_reach

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from syndiff.ffi.frame import Frame
    from syndiff.lightcurves.frames import FramePixels
    from syndiff.scenes.prf import Response
    from syndiff.scenes.store import StoredScene
    from syndiff.templates.template import Template
    from syndiff.window import Window

__all__ = ["FieldScene", "Series", "SteadyPart", "empty_row"]

SPOILT_REACH_PX = 3
"""As far as a kernel hands light on."""

_NODES_PX = 32
# Of displacements between frames: 2e-5 px for 2 px.
_UNLIKELY = 4.0
_LOOSER = 10.0
_LEAST_STRAP_PIXELS = 20
_DOUBTFUL = int(
    DataQuality.PARTIAL_COVERAGE | DataQuality.MISSING_BAND | DataQuality.HIGH_PROPER_MOTION
)
# Light is off by a few per cent there, by the same in every frame: it may take part in fits.
_DOUBT = 0.05
_CORE_PX = 2.5
# Where most of a star's light is.


@dataclass(frozen=True, eq=False)
class FieldScene:
    """A scene under a field.

    Parameters
    ----------
    frame : Frame
        Pixel grid of the FFI that it was made for.
    response : Response
        What it was made with.
    stored : StoredScene
        Its samples, farther than the field where the scene is.
    window : Window
        FFI pixels of the field.
    """

    frame: Frame
    response: Response
    stored: StoredScene
    window: Window

    def displacement(self, frame: Frame | None) -> Displacement:
        """Return how the sky lies in a frame.

        Parameters
        ----------
        frame : Frame or None
            Its pixel grid; None for one without a WCS: as in the scene.

        Returns
        -------
        Displacement
            By the WCS of both.

        Raises
        ------
        GeometryError
            If it has none.
        RenderingError
            If it leaves the scene.
        """
        if frame is None:
            return Displacement.constant((0.0, 0.0), self.frame.shape, spacing_px=_NODES_PX)
        found = displacement_between(self.frame, frame, spacing_px=_NODES_PX)
        check_reach(found, self.window)
        return found

    def straps(self, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return planes of the background that straps add to: a level and a slope in each column.

        Parameters
        ----------
        usable : (ny, nx) bool
            Pixels that may tell them.

        Returns
        -------
        (m, ny, nx) float64
            None for columns with fewer than 20 such pixels.
        """
        ny, nx = usable.shape
        columns = np.array(strap_columns()) + self.frame.science.x0 - self.window.x0
        held = [c for c in columns if 0 <= c < nx and usable[:, c].sum() >= _LEAST_STRAP_PIXELS]
        planes = np.zeros((2 * len(held), ny, nx))
        for k, column in enumerate(held):
            planes[2 * k, :, column] = 1.0
            planes[2 * k + 1, :, column] = np.linspace(-1, 1, ny)
        return planes


@dataclass(frozen=True, eq=False)
class SteadyPart:
    """What all frames of a series share, found from some of them.

    Parameters
    ----------
    cells, tap_places : (m, 4) int64, (m, 2) float64
        Of the kernel's `Taps`.
    terms, weights : (k, 2) int64, (k, m) float64
        The kernel, of mean sum 1.
    mean, sigma : (6,) float64
        Of `Steadiness`.
    order : int
        Total order of the background's polynomial.
    blank, stars : (n, 2), (m, 2) float64
        Comparison places, FFI pixels of the scene's frame.
    star_flux : (m,) float64
        Light of the stars in the template.
    constant, constant_error : float
        Light at the target that the template lacks, by its own estimate of faint light, and the
        standard deviation of what it lacks there: faint light and the template's noise, correlated
        as it is; electrons per second in the photometry of a star.
    host : float
        The template's light at the target, likewise.
    frames : int
        How many frames the kernel was found from.
    stars_of_kernel : int
        How many stars told it; 0 if they were too few and widths alone are fitted.
    """

    cells: NDArray[np.int64]
    tap_places: NDArray[np.float64]
    terms: NDArray[np.int64]
    weights: NDArray[np.float64]
    mean: NDArray[np.float64]
    sigma: NDArray[np.float64]
    order: int
    blank: NDArray[np.float64]
    stars: NDArray[np.float64]
    star_flux: NDArray[np.float64]
    constant: float
    constant_error: float
    host: float
    frames: int
    stars_of_kernel: int

    @property
    def kernel(self) -> VaryingKernel:
        """The kernel, of sum 1."""
        return VaryingKernel(Taps(self.cells, self.tap_places), self.terms, self.weights)

    @property
    def steadiness(self) -> Steadiness:
        """What is known of a frame before."""
        return Steadiness(self.mean, self.sigma)

    @property
    def comparison(self) -> Comparison:
        """The other places."""
        return Comparison(self.blank, self.stars, self.star_flux)

    def pack(self) -> bytes:
        """Return it as bytes that `unpack` reads.

        Returns
        -------
        bytes
            An ``.npz`` file.
        """
        out = io.BytesIO()
        values: dict[str, Any] = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        np.savez(out, **values)
        return out.getvalue()

    @classmethod
    def unpack(cls, content: bytes) -> SteadyPart:
        """Read what `pack` wrote.

        Parameters
        ----------
        content : bytes
            The file.

        Returns
        -------
        SteadyPart
            The same.
        """
        with np.load(io.BytesIO(content)) as found:
            values = {f.name: found[f.name] for f in fields(cls)}
        return cls(**{k: v.item() if v.ndim == 0 else v for k, v in values.items()})


@dataclass(frozen=True, eq=False)
class Series:
    """A field, what its frames share, and a target in it.

    Parameters
    ----------
    field : FieldScene
        The scene.
    steady : SteadyPart
        What frames share.
    target : (float, float)
        x and y, FFI pixels of the scene's frame.
    keeps_images : bool
        Whether rows hold the whole difference.
    """

    field: FieldScene
    steady: SteadyPart
    target: tuple[float, float]
    keeps_images: bool = False

    @cached_property
    def scene(self) -> SteadyScene:
        """The scene with the steady kernel."""
        window = self.field.window
        convolved = convolve_scene(self.field.stored, self.steady.kernel, window)
        return SteadyScene(convolved, window)

    @cached_property
    def places(self) -> list[tuple[float, float]]:
        """Where is measured, FFI pixels of the scene's frame: target, blank places, stars."""
        others = np.concatenate([self.steady.blank, self.steady.stars]).tolist()
        return [self.target, *((x, y) for x, y in others)]

    @cached_property
    def responses(self) -> list[PointResponse]:
        """The response at each of them."""
        field = self.field
        return [
            PointResponse(field.frame, field.response, self.steady.kernel, field.window, place)
            for place in self.places
        ]

    @property
    def dtype(self) -> np.dtype[np.void]:
        """Type of a frame's row."""
        shape = self.field.window.shape if self.keeps_images else None
        return row_type(len(self.places), shape)

    def fit(self, frame: FramePixels, *, steadiness: Steadiness | None = None) -> FrameFit:
        """Fit the template to a frame.

        Parameters
        ----------
        frame : FramePixels
            The frame.
        steadiness : Steadiness, optional
            What is known before; that of the series if not given, which counts for little where
            the frame clearly differs.

        Returns
        -------
        FrameFit
            What was found.

        Raises
        ------
        SyndiffError
            If it can't be fitted.
        """
        displacement = self.field.displacement(frame.frame)
        planes = self.scene.planes(displacement)
        usable = self.usable(frame, planes, displacement)
        doubtful = (planes.quality & _DOUBTFUL) != 0
        straps = self.field.straps(usable)
        known = steadiness or self.steady.steadiness
        if frame.frame is None or frame.quality & UNTRUSTED_POINTING:
            known = Steadiness(known.mean, _LOOSER * known.sigma)

        def fitted(known: Steadiness) -> FrameFit:
            return fit_frame(
                frame.pixels.image,
                frame.pixels.uncertainty,
                usable,
                scene=self.scene,
                displacement=displacement,
                steadiness=known,
                background=straps,
                order=self.steady.order,
                flux_error=np.where(doubtful, _DOUBT, FLUX_ERROR),
            )

        found = fitted(known)
        if steadiness is None and _is_unlikely(found, known):
            found = fitted(Steadiness(known.mean, _LOOSER * known.sigma))
        return found

    def usable(
        self, frame: FramePixels, planes: Template, displacement: Displacement
    ) -> NDArray[np.bool_]:
        """Return which pixels may take part in fits: light is right, the target is not near.

        Parameters
        ----------
        frame : FramePixels
            The frame.
        planes : Template
            The template's, where the frame looks.
        displacement : Displacement
            Where that is.

        Returns
        -------
        (ny, nx) bool
            True for those.
        """
        from scipy.ndimage import binary_dilation

        pixels = frame.pixels
        spoilt = (
            spoilt_pixels(planes.quality & ~_DOUBTFUL)
            | pixels.saturated
            | ~np.isfinite(pixels.image)
        )
        spoilt = binary_dilation(spoilt, np.ones((3, 3)), iterations=SPOILT_REACH_PX)
        return np.asarray(~spoilt & ~self._near_target(displacement), np.bool_)

    def _near_target(self, displacement: Displacement) -> NDArray[np.bool_]:
        window = self.field.window
        dx, dy = displacement(np.array([self.target[0]]), np.array([self.target[1]]))
        y, x = np.ogrid[window.y0 : window.y1, window.x0 : window.x1]
        away = np.hypot(x - self.target[0] - dx[0], y - self.target[1] - dy[0])
        return np.asarray(away <= APART_PX)

    def row(self, frame: FramePixels) -> NDArray[np.void]:
        """Measure all places in a frame.

        Parameters
        ----------
        frame : FramePixels
            The frame.

        Returns
        -------
        () structured array
            Of `dtype`; with a reason and without fluxes where the frame can't be fitted.
        """
        row = empty_row(self.dtype, frame.name)
        row["start"], row["stop"] = frame.start, frame.stop
        row["exposure"], row["quality"] = frame.exposure_s, frame.quality
        try:
            fit = self.fit(frame)
        except SyndiffError as error:
            row["reason"] = str(error).encode("ascii", "replace")
            return row
        self._fill(row, frame, fit)
        return row

    def _fill(self, row: NDArray[np.void], frame: FramePixels, fit: FrameFit) -> None:
        window = self.field.window
        noise = np.where(frame.pixels.saturated, np.nan, frame.pixels.uncertainty)
        blank = len(self.steady.blank)
        for k, (place, response) in enumerate(zip(self.places, self.responses, strict=True)):
            x, y = place_in_frame(fit, place)
            at = x - window.x0, y - window.y0
            found = measure(fit, noise, response, at, is_apart=k == 0 or k > blank)
            for name in ("flux", "noise", "error", "chi2", "worst"):
                row[name][k] = getattr(found, name)
            if k == 0:
                row["place"] = x, y
                self._fill_surroundings(row, frame, fit, at)
        row["scale"], row["scale_error"] = fit.scale, fit.scale_error
        row["scatter"] = fit.scatter
        row["shift"], row["shift_error"] = fit.shift, fit.shift_error
        row["widening"], row["widening_error"] = fit.widening, fit.widening_error
        row["sky_noise"] = np.median(frame.pixels.uncertainty[fit.used])
        if self.keeps_images:
            row["difference"] = fit.residual

    def _fill_surroundings(
        self, row: NDArray[np.void], frame: FramePixels, fit: FrameFit, at: tuple[float, float]
    ) -> None:
        half = STAMP_PX // 2
        y, x = np.ogrid[: fit.model.shape[0], : fit.model.shape[1]]
        near = np.hypot(x - at[0], y - at[1]) <= _CORE_PX
        row["dead"] = (near & (frame.pixels.dead > 0)).sum()
        row["saturated"] = (near & frame.pixels.saturated).sum()
        column, last_x = (round(at[0]), fit.model.shape[1] - 1)
        line, last_y = (round(at[1]), fit.model.shape[0] - 1)
        row["background"] = fit.background[min(max(line, 0), last_y), min(max(column, 0), last_x)]
        for stamp, plane in zip(
            row["stamps"], (frame.pixels.image, fit.model, fit.residual), strict=True
        ):
            padded = np.pad(plane, half, constant_values=np.nan)
            stamp[...] = padded[line : line + STAMP_PX, column : column + STAMP_PX]


def _is_unlikely(fit: FrameFit, known: Steadiness) -> bool:
    """Tell whether a frame is farther from the others than they are from each other."""
    found = np.concatenate([[fit.scale], fit.shift, fit.widening])
    errors = np.concatenate([[fit.scale_error], fit.shift_error, fit.widening_error])
    return bool((np.abs(found - known.mean) > _UNLIKELY * np.hypot(known.sigma, errors)).any())


def empty_row(dtype: np.dtype[np.void], name: str, reason: str = "") -> NDArray[np.void]:
    """Return a row without measurements.

    Parameters
    ----------
    dtype : dtype
        Of `row_type`.
    name : str
        The frame's.
    reason : str
        Why nothing was measured.

    Returns
    -------
    () structured array
        NaN in every number.
    """
    row = np.zeros((), dtype)
    for field in dtype.names or ():
        if dtype[field].base.kind == "f":
            row[field] = np.nan
    row["name"], row["reason"] = name.encode(), reason.encode("ascii", "replace")
    return row
