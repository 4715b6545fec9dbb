"""TESScut cubes in place of FFIs: a target pixel file whose rows are a region's frames."""

from __future__ import annotations

import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from syndiff.errors import ConfigError, ObservationError
from syndiff.ffi.dead_pixels import find_dead
from syndiff.ffi.header_cards import HeaderCards, card_value
from syndiff.ffi.observation import estimate_uncertainty
from syndiff.ffi.pixels import pixels_of
from syndiff.frames.region_frame import FrameTime, RegionFrame
from syndiff.layout import Detector
from syndiff.window import Window

if TYPE_CHECKING:
    from astropy.io.fits import FITS_rec, Header
    from astropy.wcs import WCS
    from numpy.typing import NDArray

__all__ = ["Cutout", "read_cutout"]

_SCIENCE = Window(44, 0, 2092, 2048)
# The pixels of an FFI that see the sky; a cube's headers don't tell.

_REMEDY = "use a cube as TESScut delivers it (tess-s*_astrocut.fits), or FFIs"

_ON_SOURCE = 0.8 * 0.99
# Part of a cadence that is time on source: 1.98 s of every 2 s, and eight frames of ten, as the
# brightest and the faintest value of a pixel are left out on board against cosmic rays.


@dataclass(frozen=True)
class Cutout:
    """A TESScut cube: the same region in many frames.

    Parameters
    ----------
    path : str
        The file.
    detector : Detector
        Sector, camera and CCD.
    kind : {"SPOC", "TICA"}
        Which pipeline calibrated the FFIs.
    window : Window
        FFI pixels that it holds; what lies beside the science pixels is left out.
    cadence_s, exposure_s : float
        Time from frame to frame, and on source, in seconds.
    wcs : WCS or None
        One for all frames, fitted by TESScut, in pixels of the window.
    table : FITS_rec
        The rows, one a frame.
    inside : tuple of slice
        The window's part of their images.
    is_estimated : bool
        Whether the cube has no uncertainties (TICA).
    """

    path: str
    detector: Detector
    kind: Literal["SPOC", "TICA"]
    window: Window
    cadence_s: float
    exposure_s: float
    wcs: WCS | None = field(compare=False)
    table: FITS_rec = field(repr=False, compare=False)
    inside: tuple[slice, slice] = field(repr=False)
    is_estimated: bool = False

    def __len__(self) -> int:
        return len(self.table)

    def frame(self, number: int, window: Window | None = None) -> RegionFrame:
        """Return one frame.

        Parameters
        ----------
        number : int
            Row of the cube, from 0.
        window : Window, optional
            FFI pixels wanted; None for all that the cube holds.

        Returns
        -------
        RegionFrame
            With `cut_wcs` and without a `frame`: where TESS looked in it is not told.

        Raises
        ------
        ConfigError
            If the cube doesn't hold the window.
        """
        window = window or self.window
        if not self.window.contains(window):
            raise ConfigError(
                f"{self.path} holds the FFI pixels {self.window} (x0,y0,x1,y1), not all of {window}"
            )
        row = self.table[number]
        y0, x0 = window.y0 - self.window.y0, window.x0 - self.window.x0
        part = (slice(y0, y0 + window.shape[0]), slice(x0, x0 + window.shape[1]))
        image, sigma = self._planes(row)
        dead = find_dead(image, sigma)[part]
        image64, sigma64 = (plane[part].astype(np.float64) for plane in (image, sigma))
        pixels = pixels_of(image64, sigma64, dead, is_estimated=self.is_estimated)
        return RegionFrame(
            name=self._name(number),
            source=self.path,
            detector=self.detector,
            window=window,
            pixels=pixels,
            time=self._time(row),
            quality=self._quality(int(row["QUALITY"])),
            frame=None,
            cut_wcs=self.wcs[part] if self.wcs is not None else None,
        )

    def _planes(self, row: FITS_rec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return image and uncertainty in electrons per second."""
        unit = np.float32(1.0 if self.kind == "SPOC" else 1.0 / self.exposure_s)
        image = np.asarray(row["FLUX"], np.float32)[self.inside]
        if self.is_estimated:
            sigma = estimate_uncertainty(image, float(unit), self.exposure_s)
        else:
            sigma = np.asarray(row["FLUX_ERR"], np.float32)[self.inside]
        return image * unit, sigma * unit

    def _time(self, row: FITS_rec) -> FrameTime:
        middle, half = float(row["TIME"]), self.cadence_s / 86400.0 / 2
        is_known = self.kind == "SPOC" and "TIMECORR" in self.table.names
        return FrameTime(
            middle - half,
            middle + half,
            "BTJD" if self.kind == "SPOC" else "TJD",
            float(row["TIMECORR"]) if is_known else None,
            self.exposure_s,
        )

    def _name(self, number: int) -> str:
        """Return the FFI's name, of which TESScut keeps 38 characters."""
        given = str(self.table["FFI_FILE"][number]) if "FFI_FILE" in self.table.names else ""
        return given.strip() or f"{Path(self.path).name}[{number}]"

    def _quality(self, stated: int) -> int:
        """Return SPOC's bits; TICA's only bit is that an image is bad, SPOC's bit 8."""
        return stated if self.kind == "SPOC" else 128 * bool(stated)


def read_cutout(path: str | Path) -> Cutout:
    """Return a TESScut cube.

    Parameters
    ----------
    path : str or Path
        A file ``tess-sNNNN-c-k_ra_dec_XxY_astrocut.fits``.

    Returns
    -------
    Cutout
        Its frames, to be read one by one.

    Raises
    ------
    ObservationError
        If it is none, is damaged, or doesn't tell where on the CCD it lies.
    """
    from astropy.io import fits

    name = str(path)
    try:
        with warnings.catch_warnings(), fits.open(path) as hdus:
            warnings.simplefilter("ignore")
            if len(hdus) < 2 or not {"TIME", "FLUX", "QUALITY"} <= set(_columns(hdus[1])):
                raise ObservationError(
                    f"{name} is no TESScut cube, it has no table with TIME, FLUX and QUALITY: "
                    f"{_REMEDY}"
                )
            headers = [hdu.header for hdu in hdus]
            table = hdus[1].data
            return _cutout(name, headers, table)
    except FileNotFoundError:
        raise ObservationError(f"{name}: there is no such file: check the path") from None
    except (OSError, TypeError, ValueError, EOFError, zlib.error) as error:
        raise ObservationError(f"{name} can't be read, {error}: {_REMEDY}") from error


def _columns(hdu: object) -> list[str]:
    return list(getattr(getattr(hdu, "columns", None), "names", ()))


def _cutout(name: str, headers: list[Header], table: FITS_rec) -> Cutout:
    cards = HeaderCards(name, {0: headers[0], 1: headers[1]})
    detector = _detector(cards)
    is_tica = card_value(headers[0], "FFI_TYPE") == "TICA" or _unit(headers[1]) == "e-"
    ny, nx = table["FLUX"].shape[1:]
    held = _place(name, headers[1], table.names.index("FLUX") + 1, ny, nx)
    window = held.intersection(_SCIENCE)
    if window is None or not len(table):
        raise ObservationError(f"{name} holds no science pixels of an FFI: {_REMEDY}")
    inside = (
        slice(window.y0 - held.y0, window.y1 - held.y0),
        slice(window.x0 - held.x0, window.x1 - held.x0),
    )
    cadence_s = _cadence_s(cards, table)
    stated = cards.get("EXPOSURE")
    error = table["FLUX_ERR"] if "FLUX_ERR" in table.names else np.zeros(1)
    wcs = _wcs(headers)
    return Cutout(
        path=name,
        detector=detector,
        kind="TICA" if is_tica else "SPOC",
        window=window,
        cadence_s=cadence_s,
        exposure_s=cards.number("EXPOSURE") * 86400.0 if stated else cadence_s * _ON_SOURCE,
        wcs=wcs[inside] if wcs is not None else None,
        table=table,
        is_estimated=not np.nan_to_num(error[0]).any() and not np.nan_to_num(error).any(),
        inside=inside,
    )


def _detector(cards: HeaderCards) -> Detector:
    try:
        return Detector(*(cards.integer(key) for key in ("SECTOR", "CAMERA", "CCD")))
    except ConfigError as error:
        raise ObservationError(f"{cards.source}: {error}: {_REMEDY}") from error


def _unit(header: Header) -> str:
    """Return the unit of the fluxes."""
    number = next((n for n in range(1, 50) if header.get(f"TTYPE{n}") == "FLUX"), 0)
    return str(header.get(f"TUNIT{number}", "")).strip()


def _place(name: str, header: Header, number: int, ny: int, nx: int) -> Window:
    """Return the FFI pixels of the cube: its first pixel's 1-based column and row are told."""
    keys = (f"1CRV{number}P", f"2CRV{number}P")
    column, row = (card_value(header, key) for key in keys)
    if not isinstance(column, int | float) or not isinstance(row, int | float):
        raise ObservationError(
            f"{name} doesn't tell where on the CCD it lies ({', '.join(keys)} in HDU 1): {_REMEDY}"
        )
    x0, y0 = round(column) - 1, round(row) - 1
    return Window(x0, y0, x0 + nx, y0 + ny)


def _cadence_s(cards: HeaderCards, table: FITS_rec) -> float:
    """Return the time from frame to frame: the commonest, or of a lone frame its own."""
    times = np.asarray(table["TIME"], np.float64)
    steps = np.diff(np.sort(times[np.isfinite(times)]))
    steps = steps[steps > 0]
    days = np.median(steps) if steps.size else cards.number("TSTOP") - cards.number("TSTART")
    return float(days) * 86400.0


def _wcs(headers: list[Header]) -> WCS | None:
    """Return the WCS of the aperture's HDU, which is that of all frames."""
    from astropy.wcs import WCS

    aperture = next((h for h in headers[2:] if "CTYPE1" in h and "CRVAL1" in h), None)
    if aperture is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(aperture)
