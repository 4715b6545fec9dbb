"""The figure of a light curve: curve and bins, comparison places, stamps of the target."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.constants import MAD_TO_SIGMA
from syndiff.lightcurves.times import BTJD_ZERO

if TYPE_CHECKING:
    from astropy.table import QTable
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from syndiff.lightcurves.light_curve import LightCurve
    from syndiff.lightcurves.sector_curve import SectorCurve

__all__ = ["draw", "draw_png"]

_DPI = 130
_LIMITS = 3.0
_SHOWN_STARS = 4
_STAMPS = "FFI", "template", "difference"


def draw_png(curve: LightCurve, bins: str) -> bytes:
    """Draw a light curve.

    Parameters
    ----------
    curve : LightCurve
        The curve.
    bins : str
        Width of the bins.

    Returns
    -------
    bytes
        A PNG file.
    """
    buffer = io.BytesIO()
    draw(curve, bins).savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def draw(curve: LightCurve, bins: str) -> Figure:
    """Draw a light curve.

    Parameters
    ----------
    curve : LightCurve
        The curve.
    bins : str
        Width of the bins.

    Returns
    -------
    Figure
        Above, the fluxes of frames (grey; crosses: flagged) and bins (limits as triangles), and the
        constant by which all may be off (band); below, comparison stars and the mean of blank
        places; beside them the target before, at and after its peak.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 6)
    above = figure.add_subplot(grid[:2, :4])
    below = figure.add_subplot(grid[2, :4], sharex=above)
    binned = curve.binned(bins)
    _draw_curve(above, curve, binned, bins)
    _draw_comparison(below, curve)
    stamps = grid[:, 4:].subgridspec(3, 3)
    _draw_stamps(figure, stamps, _brightest(curve))
    quiet = f", mean before {curve.quiet_before} taken off" if curve.quiet_before else ""
    figure.suptitle(f"{curve.name}  {curve.ra:.5f} {curve.dec:+.5f}{quiet}", fontsize=11)
    return figure


def _draw_curve(axes: Any, curve: LightCurve, binned: QTable, bins: str) -> None:  # noqa: ANN401
    table = curve.table
    time, flux = table["bjd_tdb"].value - BTJD_ZERO, table["flux_ujy"].value
    flagged = table["quality"] != 0
    axes.plot(time[~flagged], flux[~flagged], ".", ms=2.5, color="0.7", label="frames")
    when, mean, error = (binned[name].value for name in ("bjd_tdb", "flux_ujy", "flux_ujy_err"))
    when = when - BTJD_ZERO
    seen = mean > _LIMITS * error
    look = {"fmt": "o", "ms": 3.5, "lw": 1}
    axes.errorbar(when[seen], mean[seen], error[seen], color="C0", label=f"{bins} bins", **look)
    axes.errorbar(when[~seen], mean[~seen], error[~seen], color="C0", mfc="w", alpha=0.5, **look)
    axes.plot(when[~seen], _LIMITS * error[~seen], "v", ms=4, color="C3", label="3 sigma limits")
    low, high = _range(np.concatenate([[0.0], mean, _LIMITS * error[~seen]]), error)
    axes.set_ylim(low, high)
    shown = flagged & (flux > low) & (flux < high)
    axes.plot(time[shown], flux[shown], "x", ms=4, color="C1", label="flagged")
    for one in curve.curves:
        part = np.nanmedian(one.ujy) * one.constant_error
        mine = one.times.btjd[np.isfinite(one.times.btjd)]
        if mine.size:
            axes.fill_between([mine.min(), mine.max()], -part, part, color="C2", alpha=0.15, lw=0)
    axes.axhline(0, color="k", lw=0.6)
    axes.set_ylabel("flux beyond the template (uJy)")
    axes.tick_params(labelbottom=False)
    axes.legend(fontsize=8, loc="upper left", ncols=4)


def _range(values: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[float, float]:
    """Return limits of an axis that bins fit into."""
    known = values[np.isfinite(values)]
    if not known.size:
        return -1.0, 1.0
    margin = 0.12 * float(np.ptp(known)) + 2 * float(np.median(errors))
    return float(known.min()) - margin, float(known.max()) + 1.6 * margin


def _draw_comparison(axes: Any, curve: LightCurve) -> None:  # noqa: ANN401
    """Draw what is left of stars and of blank places, in units of their errors, with offsets."""
    step = 8.0
    for one in curve.curves:
        good, first = one.good, 1 + len(one.steady.blank)
        time = one.times.btjd[good]
        blank = one.rows["flux"][good, 1:first]
        if blank.size:
            mean = np.nanmean(blank, axis=1)
            sigma = MAD_TO_SIGMA * np.nanmedian(np.abs(mean - np.nanmedian(mean)))
            _pulls(axes, time, (mean - np.nanmedian(mean)) / max(sigma, 1e-9), 0, "0.4")
        flux = one.steady.star_flux * one.steady.mean[0]
        order = np.argsort(-flux)
        shown = order[np.linspace(0, len(order) - 1, min(_SHOWN_STARS, len(order))).astype(int)]
        for k, star in enumerate(shown if len(order) else []):
            left = one.rows["flux"][good, first + star]
            pull = (left - np.nanmedian(left)) / one.rows["error"][good, first + star]
            _pulls(axes, time, pull, (k + 1) * step, f"C{k}")
            if one is curve.curves[0] and time.size:
                label = f" {flux[star]:.3g} e-/s"
                axes.annotate(label, (time.max(), (k + 1) * step), fontsize=7, va="center")
        if one is curve.curves[0] and time.size:
            axes.annotate(" blank places", (time.max(), 0), fontsize=7, va="center")
    axes.set(ylabel="stars, blank places (sigma)", xlabel="BJD - 2457000 (TDB, d)")
    axes.ticklabel_format(useOffset=False)


def _pulls(
    axes: Any,  # noqa: ANN401
    time: NDArray[np.float64],
    pulls: NDArray[np.float64],
    offset: float,
    colour: str,
) -> None:
    axes.axhline(offset, color="0.85", lw=0.6, zorder=0)
    axes.plot(time, offset + np.clip(pulls, -5, 5), ".", ms=2, color=colour)


def _brightest(curve: LightCurve) -> SectorCurve:
    """Return the sector with the brightest frames."""

    def height(one: SectorCurve) -> float:
        flux = (one.flux * one.ujy)[one.good]
        return float(np.percentile(flux, 95)) if flux.size else -np.inf

    return max(curve.curves, key=height)


def _draw_stamps(figure: Any, grid: Any, curve: SectorCurve) -> None:  # noqa: ANN401
    """Draw FFI, template and difference around the target, before, at and after its peak."""
    good = np.flatnonzero(curve.good)
    if not good.size:
        return
    flux = curve.flux[good]
    width = max(1, len(good) // 20)
    smooth = np.convolve(flux, np.ones(width) / width, mode="same")
    peak = good[int(np.argmax(smooth))]
    moments = (("before", good[0]), ("peak", peak), ("after", good[-1]))
    stamps = {name: curve.rows["stamps"][frame].astype(float) for name, frame in moments}
    top = max(float(np.nanmax(np.abs(s[2]))) for s in stamps.values())
    for row, (name, frame) in enumerate(moments):
        low, high = np.nanpercentile(stamps[name][:2], [2, 99.5])
        level = np.nanmedian(stamps[name][0] - stamps[name][1])
        for column, title in enumerate(_STAMPS):
            axes = figure.add_subplot(grid[row, column])
            image = stamps[name][column] + (level if title == "template" else 0.0)
            signed = {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
            light = {"cmap": "gray", "vmin": low + level * (low < level / 2), "vmax": high}
            axes.imshow(image, origin="lower", **(signed if column == 2 else light))
            x, y = image.shape[0] // 2 + _within_pixel(curve, frame)
            axes.plot(x, y, "o", ms=12, mfc="none", mec="C1", lw=0.8)
            axes.set(xticks=[], yticks=[])
            if row == 0:
                axes.set_title(title, fontsize=8)
            if column == 0:
                axes.set_ylabel(f"{name}\n{curve.times.btjd[frame]:.2f}", fontsize=8)


def _within_pixel(curve: SectorCurve, frame: int) -> NDArray[np.float64]:
    """Return where the target is from the middle of its pixel, x and y."""
    place = curve.rows["place"][frame]
    return np.asarray(place - np.rint(place))
