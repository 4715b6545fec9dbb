"""Figures, as the bytes of a PNG or for a notebook; the only module that imports matplotlib."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from syndiff.constants import MAD_TO_SIGMA
from syndiff.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astropy.wcs import WCS
    from numpy.typing import NDArray

    from syndiff.pointing.drift import Drift
    from syndiff.window import Window

__all__ = [
    "Plane",
    "StarPoints",
    "Stretch",
    "draw_drift",
    "draw_panel",
    "draw_residuals",
    "show_sky",
]

Stretch = Literal["light", "signed", "fraction"]

_DPI = 150
_ALONE = {"color": "k", "marker": "x"}


@dataclass(frozen=True)
class Plane:
    """One image of a panel.

    Parameters
    ----------
    title : str
        What it is.
    values : (ny, nx) float
        The image; NaN is drawn grey.
    unit : str
        Of the values, beside the colour bar.
    stretch : {"light", "signed", "fraction"}
        From the faintest to the brightest pixel, so that faint light shows; even around zero, out
        to 5 times the robust noise; up to 1, from the tenth below the smallest.
    crossed : (ny, nx) bool, optional
        Pixels to cross out.
    """

    title: str
    values: NDArray[np.floating]
    unit: str
    stretch: Stretch
    crossed: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class StarPoints:
    """Stars of a difference image, one value each.

    Parameters
    ----------
    x, y : (n,) float
        FFI pixels.
    mag : (n,) float
        Magnitudes.
    aperture, aperture_error, peak, peak_error : (n,) float
        Residuals as parts of the star, and their noise.
    """

    x: NDArray[np.floating]
    y: NDArray[np.floating]
    mag: NDArray[np.floating]
    aperture: NDArray[np.floating]
    aperture_error: NDArray[np.floating]
    peak: NDArray[np.floating]
    peak_error: NDArray[np.floating]


def draw_panel(
    planes: Sequence[Plane],
    window: Window,
    *,
    title: str = "",
    marks: Sequence[tuple[float, float]] = (),
) -> bytes:
    """Draw images of the same pixels side by side.

    Parameters
    ----------
    planes : sequence of Plane
        The images.
    window : Window
        FFI pixels that they hold, for the axes.
    title : str
        Above all of them.
    marks : sequence of (float, float)
        x, y of FFI pixels to circle.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    ConfigError
        If there is no image, or one has another shape than the window.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not planes:
        raise ConfigError("a panel needs images: give at least one")
    columns = 2 if len(planes) > 1 else 1
    rows = -(-len(planes) // columns)
    figure = Figure(figsize=(5.4 * columns, 4.6 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=11)
    for number, plane in enumerate(planes, 1):
        if plane.values.shape != window.shape:
            raise ConfigError(
                f"{plane.title} has the shape {plane.values.shape}, its window {window} has "
                f"{window.shape}: give the same pixels"
            )
        _draw(figure, figure.add_subplot(rows, columns, number), (plane, window), marks)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def show_sky(plane: Plane, wcs: WCS, axes: Any = None) -> Any:  # noqa: ANN401
    """Draw an image over right ascension and declination, for a notebook.

    Parameters
    ----------
    plane : Plane
        The image; pixels to cross out are outlined.
    wcs : WCS
        Of its pixels.
    axes : WCSAxes, optional
        Where to draw; a new figure of pyplot's if not given.

    Returns
    -------
    WCSAxes
        The axes.

    Raises
    ------
    ConfigError
        If the axes have no WCS.
    """
    from astropy.visualization.wcsaxes import WCSAxes
    from matplotlib import colormaps
    from matplotlib import pyplot as plt

    if axes is None:
        figure = plt.figure(figsize=(6.8, 5.6), layout="constrained")
        axes = figure.add_subplot(projection=wcs)
    elif not isinstance(axes, WCSAxes):
        raise ConfigError(
            f"`axes` {axes!r} has no WCS: make it with plt.subplot(projection=image.wcs)"
        )
    colours, norm = _look(plane)
    shown = axes.imshow(
        np.ma.masked_invalid(plane.values),
        origin="lower",
        cmap=colormaps[colours].with_extremes(bad="0.6"),
        norm=norm,
        interpolation="nearest",
    )
    if plane.crossed is not None and plane.crossed.any() and not plane.crossed.all():
        axes.contour(plane.crossed, [0.5], colors="tab:orange", linewidths=0.8)
    axes.set_title(plane.title, fontsize=9)
    for axis, label in zip(axes.coords, ("right ascension", "declination"), strict=True):
        axis.set_axislabel(label)
        axis.set_ticks(number=5)
    _add_bar(axes.figure, axes, shown, plane)
    return axes


def draw_residuals(plane: Plane, window: Window, stars: StarPoints, *, title: str) -> bytes:
    """Draw the residuals of stars against magnitude and over the field, and the difference image.

    Parameters
    ----------
    plane : Plane
        The difference image.
    window : Window
        FFI pixels that it holds.
    stars : StarPoints
        The residual of each star.
    title : str
        Above everything.

    Returns
    -------
    bytes
        A PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 9.0), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    for number, (name, values, noise, limit) in enumerate(
        (
            ("aperture, 5 x 5 pixels", np.abs(stars.aperture), stars.aperture_error, 0.01),
            ("largest pixel, over the peak", stars.peak, stars.peak_error, 0.02),
        ),
        1,
    ):
        axes = figure.add_subplot(2, 2, number)
        axes.set(title=f"Residual: {name}", xlabel="TESS magnitude", ylabel="part of the star")
        if not len(stars.mag):
            axes.set(xticks=[], yticks=[])
            _say_none(axes)
            continue
        axes.plot(stars.mag, values, ".", ms=4, color="tab:blue", label="isolated stars")
        axes.plot(stars.mag, noise, ".", ms=2, color="0.6", label="noise")
        axes.axhline(limit, color="tab:orange", lw=1, label=f"{100 * limit:g} %")
        axes.set_yscale("log")
        axes.legend(fontsize=8)
    _draw(figure, figure.add_subplot(2, 2, 3), (plane, window), ())
    _draw_field(figure, figure.add_subplot(2, 2, 4), window, stars)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def _draw_field(
    figure: Any,  # noqa: ANN401
    axes: Any,  # noqa: ANN401
    window: Window,
    stars: StarPoints,
) -> None:
    """Draw the stars' residuals at their positions."""
    shown = axes.scatter(
        stars.x, stars.y, c=100 * stars.aperture, s=12, cmap="RdBu_r", vmin=-1, vmax=1
    )
    axes.set(
        title="Residual: aperture, over the field",
        xlabel="FFI column (px)",
        ylabel="FFI row (px)",
        xlim=(window.x0 - 0.5, window.x1 - 0.5),
        ylim=(window.y0 - 0.5, window.y1 - 0.5),
        aspect="equal",
    )
    figure.colorbar(shown, ax=axes, label="% of the star", shrink=0.9, extend="both")
    if not len(stars.mag):
        _say_none(axes)


def _say_none(
    axes: Any,  # noqa: ANN401
) -> None:
    """Write in an empty panel that there is nothing to show."""
    place = {"transform": axes.transAxes, "ha": "center", "va": "center", "color": "0.4"}
    axes.text(0.5, 0.5, "no isolated star without flags", **place)


def _draw(
    figure: Any,  # noqa: ANN401 - matplotlib is loaded only when something is drawn
    axes: Any,  # noqa: ANN401
    image: tuple[Plane, Window],
    marks: Sequence[tuple[float, float]],
) -> None:
    """Draw one image with its colour bar."""
    from matplotlib import colormaps

    plane, window = image
    colours, norm = _look(plane)
    shown = axes.imshow(
        np.ma.masked_invalid(plane.values),
        origin="lower",
        extent=(window.x0 - 0.5, window.x1 - 0.5, window.y0 - 0.5, window.y1 - 0.5),
        cmap=colormaps[colours].with_extremes(bad="0.6"),
        norm=norm,
        interpolation="nearest",
    )
    for x, y in marks:
        axes.plot(x, y, "o", ms=22, mfc="none", mec="tab:orange", mew=1.5)
    if plane.crossed is not None:
        rows, columns = np.nonzero(plane.crossed)
        axes.plot(columns + window.x0, rows + window.y0, "x", ms=6, color="0.4")
    axes.set(title=plane.title, xlabel="FFI column (px)", ylabel="FFI row (px)")
    axes.locator_params(integer=True, nbins=6)
    axes.ticklabel_format(useOffset=False)
    _add_bar(figure, axes, shown, plane)


def _add_bar(
    figure: Any,  # noqa: ANN401
    axes: Any,  # noqa: ANN401
    shown: Any,  # noqa: ANN401
    plane: Plane,
) -> None:
    """Draw an image's colour bar."""
    bar = figure.colorbar(shown, ax=axes, label=plane.unit, shrink=0.9)
    if plane.stretch == "light":
        bar.set_ticks(shown.norm.inverse(np.linspace(0, 1, 6)))
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{float(f'{value:.3g}'):g}")
        bar.ax.minorticks_off()


def _look(plane: Plane) -> tuple[str, Any]:
    """Return the colour map and the stretch of an image."""
    from matplotlib.colors import FuncNorm, Normalize

    known = plane.values[np.isfinite(plane.values)]
    if not known.size:
        return "viridis", Normalize(0, 1)
    low, middle, high = (float(v) for v in np.percentile(known, (0, 50, 100)))
    if plane.stretch == "fraction":
        return "viridis", Normalize(min(math.floor(10 * low) / 10, 0.9), 1)
    if plane.stretch == "signed":
        noise = MAD_TO_SIGMA * float(np.median(np.abs(known - middle)))
        reach = 5 * noise or 1.0
        return "RdBu_r", Normalize(-reach, reach)
    # Linear over the fainter half of the pixels, logarithmic above.
    width = max(middle - low, 1e-3 * (high - low)) or 1.0

    def forward(value: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.arcsinh((value - low) / width)

    def inverse(value: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.sinh(value) * width + low

    return "cividis", FuncNorm((forward, inverse), low, high if high > low else low + 1.0)


def draw_drift(drift: Drift) -> bytes:
    """Draw how a field drifts with time, and the offsets chosen for its FFIs.

    Parameters
    ----------
    drift : Drift
        The drift.

    Returns
    -------
    bytes
        A PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = [(row.btjd, row.shift, row.group) for row in drift.rows if row.shift is not None]
    time = np.array([row[0] for row in known])
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{drift.detector}, against {drift.reference}", fontsize=11)
    axes = figure.subplots(2, 2)
    for place, label, names in (
        (axes[0, 0], "mean shift (px)", {"dx": "x", "dy": "y"}),
        (axes[1, 0], "largest shift (px)", {"largest_px": "along x or y"}),
        (axes[1, 1], "change", {"roll_arcsec": "roll (arcsec)", "scale_ppm": "scale (1e-6)"}),
    ):
        for name, legend in names.items():
            place.plot(time, [getattr(row[1], name) for row in known], ".", ms=4, label=legend)
        unknown = [row.btjd for row in drift.rows if row.shift is None and row.btjd == row.btjd]
        for moment in unknown:
            place.axvline(moment, color="0.8", lw=0.8, zorder=0)
        place.set(xlabel="BTJD (d); grey: no shift known", ylabel=label)
        place.ticklabel_format(useOffset=False)
        place.locator_params(axis="x", nbins=5)
        place.legend(fontsize=8)
    _draw_groups(axes[0, 1], drift)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def _draw_groups(
    axes: Any,  # noqa: ANN401 - matplotlib is loaded only when something is drawn
    drift: Drift,
) -> None:
    """Draw the shifts in the plane, and the squares within the tolerance of an offset."""
    from matplotlib.patches import Rectangle

    rows = [(row.shift, row.group) for row in drift.rows if row.shift is not None]
    for group in sorted({group for _, group in rows}):
        x, y = zip(*((shift.dx, shift.dy) for shift, own in rows if own == group), strict=True)
        look = {"color": f"C{group % 10}", "marker": "."} if group >= 0 else _ALONE
        axes.plot(x, y, ls="", **look)
    reach = drift.tolerance_px
    for k, (dx, dy) in enumerate(drift.offsets):
        corner = (dx - reach, dy - reach)
        axes.add_patch(Rectangle(corner, 2 * reach, 2 * reach, fill=False, ec=f"C{k % 10}", lw=1))
    title = f"offsets within {reach:g} px: {len(drift.offsets)}; crosses: none"
    axes.set(xlabel="mean shift in x (px)", ylabel="in y (px)", title=title)
    axes.autoscale_view()
    axes.set_aspect("equal", "datalim")
