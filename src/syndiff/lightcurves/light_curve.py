"""The light curve of a target as an object: table, bins, figure, files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from syndiff.errors import ConfigError
from syndiff.lightcurves.light_curve_file import pack_ecsv, pack_fits
from syndiff.lightcurves.table import QUALITY_BITS, ZERO_POINT_NOTE, binned_table, describe
from syndiff.lightcurves.table import frame_table as frames_of

if TYPE_CHECKING:
    from astropy.table import QTable
    from astropy.timeseries import TimeSeries

    from syndiff.lightcurves.sector_curve import SectorCurve

__all__ = ["BINS", "LightCurve", "parse_bin"]

BINS = ("6h", "1d")
"""Widths of the bins that are written if no others are asked for."""

_UNITS = {"min": 1 / 1440, "h": 1 / 24, "d": 1.0}


def parse_bin(text: str) -> float:
    """Return a bin's width in days.

    Parameters
    ----------
    text : str
        A number with ``min``, ``h`` or ``d``.

    Returns
    -------
    float
        Days.

    Raises
    ------
    ConfigError
        If it is none.

    Examples
    --------
    >>> parse_bin("6h")
    0.25
    """
    for unit, days in _UNITS.items():
        if text.endswith(unit):
            try:
                found = float(text.removesuffix(unit)) * days
            except ValueError:
                break
            if 0 < found < math.inf:
                return found
    raise ConfigError(f"bin {text!r} is no width of a bin: give 30min, 6h or 1d")


@dataclass(frozen=True, repr=False, eq=False)
class LightCurve:
    """Fluxes of a target over time, beyond what Pan-STARRS1 saw there.

    `Field.light_curve` makes one, ``syndiff lightcurve`` too.

    Parameters
    ----------
    name : str
        The target's.
    ra, dec : float
        Degrees.
    curves : tuple of SectorCurve
        One for each sector, camera and CCD.
    quiet_before : str
        Date before which its mean was taken off; empty for none.

    Examples
    --------
    >>> curve = field.light_curve("ffis/")  # doctest: +SKIP
    >>> curve.table["mjd", "flux_ujy", "flux_ujy_err", "quality"]  # doctest: +SKIP
    >>> curve.plot()  # doctest: +SKIP
    >>> curve.binned("6h")  # doctest: +SKIP
    """

    name: str
    ra: float
    dec: float
    curves: tuple[SectorCurve, ...]
    quiet_before: str = ""

    @cached_property
    def table(self) -> QTable:
        """One row for each frame, in the order of time; flagged frames are there, flagged."""
        table = frames_of(self.curves)
        table.meta = self.about
        return table

    def binned(self, width: str = "6h") -> QTable:
        """Return weighted means over bins of time, of frames without flags.

        Parameters
        ----------
        width : str
            ``30min``, ``6h``, ``1d``, ...

        Returns
        -------
        QTable
            One row for each bin that holds a good frame.

        Raises
        ------
        ConfigError
            If it is no width.
        """
        table = binned_table(self.curves, parse_bin(width))
        table.meta = {**self.about, "bin": width}
        return table

    @property
    def about(self) -> dict[str, Any]:
        """What is known of the curve besides its numbers: constants, errors, counts of flags."""
        from syndiff import __version__

        return {
            "name": self.name,
            "ra": self.ra,
            "dec": self.dec,
            "software": __version__,
            "quiet_before": self.quiet_before,
            "note": ZERO_POINT_NOTE,
            "quality_bits": QUALITY_BITS,
            "sectors": [describe(curve) for curve in self.curves],
        }

    def to_timeseries(self) -> TimeSeries:
        """Return the frames that have a time as an astropy time series.

        Returns
        -------
        TimeSeries
            ``time`` is barycentric, TDB; the other columns are those of `table`.
        """
        import numpy as np
        from astropy.time import Time
        from astropy.timeseries import TimeSeries

        table = self.table[np.isfinite(self.table["bjd_tdb"].value)]
        time = Time(table["bjd_tdb"].value, format="jd", scale="tdb")
        series = TimeSeries(time=time)
        for column in table.colnames[1:]:
            series[column] = table[column]
        series.meta = self.about
        return series

    def pack(self, bins: tuple[str, ...] = BINS) -> dict[str, bytes]:
        """Return the curve as files.

        Parameters
        ----------
        bins : tuple of str
            Widths of the bins.

        Returns
        -------
        dict of str to bytes
            By what their names end with: ``.ecsv``, ``_6h.ecsv``, ..., ``.fits``.
        """
        binned = {width: self.binned(width) for width in bins}
        files = {".ecsv": pack_ecsv(self.table, self.about)}
        files |= {f"_{width}.ecsv": pack_ecsv(one, one.meta) for width, one in binned.items()}
        named = {f"BINNED_{width.upper()}": one for width, one in binned.items()}
        files[".fits"] = pack_fits(self.table, named, self.about)
        return files

    def plot(self, bins: str = "6h") -> Any:  # noqa: ANN401 - matplotlib is loaded to draw only
        """Draw the curve: frames, bins, limits, comparison stars, stamps of the target.

        Parameters
        ----------
        bins : str
            Width of the bins.

        Returns
        -------
        Figure
            ``figure.savefig("curve.png")`` keeps it.
        """
        from syndiff.lightcurves.figure import draw

        return draw(self, bins)

    def __repr__(self) -> str:
        good = sum(int(curve.good.sum()) for curve in self.curves)
        frames = sum(len(curve.rows) for curve in self.curves)
        where = "; ".join(str(curve.sighting.detector) for curve in self.curves)
        return (
            f"<LightCurve of {self.name}, {self.ra:.5f} {self.dec:+.5f}, {where}\n"
            f" {frames} frames, {frames - good} of them flagged and left out of bins\n"
            ' .table .binned("6h") .to_timeseries() .plot() .about>'
        )
