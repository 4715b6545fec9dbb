"""The frames of a series: when each is taken, where it points, what befalls it."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from syndiff.constants import DAY_S
from syndiff.errors import ConfigError
from syndiff.simulation.ffi import FfiConfig, wcs_of
from syndiff.simulation.ffi_header import BTJD_ZERO_UTC, DUTY
from syndiff.simulation.series.config import EventKind, SeriesConfig
from syndiff.simulation.series.motion import aberration_maps, earth_barycentric
from syndiff.simulation.sources import unit_vectors

__all__ = [
    "PATTERNS",
    "SECTOR_DAYS",
    "Frames",
    "Quality",
    "frame_start",
    "plan_frames",
    "reference_time",
]

F64 = NDArray[np.float64]
logger = logging.getLogger(__name__)

SECTOR_DAYS = 26.4
_PAUSE_DAYS = (12.7, 13.7)
"""From the sector's begin: when the spacecraft sends its data home and takes no frames."""

PATTERNS = 5
"""Shapes of scattered light: two of the Earth, three places of the Moon's glint."""

_FIRST_FFI = datetime(2018, 7, 25, 19, 29, 42, tzinfo=UTC)
_FIRST_FFI_INDEX = 4697
_BARYCENTRIC_PIXEL = (1067.0, 1023.0)
_LOT: tuple[EventKind, ...] = (
    *("hidden_dump", "coarse", "glow", "short", "nan", "nan_pixels", "zero", "no_wcs"),
)
_SPACECRAFT = {
    1: 120,
    2: 121,
    3: 123,
    4: 124,
    5: 125,
    6: 126,
    7: 131,
    8: 136,
    9: 139,
    10: 140,
    11: 143,
    12: 144,
    13: 146,
    14: 150,
    15: 151,
    16: 152,
    17: 161,
    18: 162,
    19: 164,
    20: 165,
    21: 167,
    22: 174,
    23: 177,
    24: 180,
    25: 182,
    26: 188,
}
"""Configuration numbers in the names of real files."""


class Quality:
    """Bits of DQUALITY that the simulation sets, by lightkurve's names."""

    COARSE_POINT = 4
    DESAT = 32
    STRAYLIGHT2 = 4096


@dataclass(frozen=True)
class Frames:
    """What the frames of a series truly are, a row each.

    Parameters
    ----------
    file : (n,) str
        Name of the FFI.
    index : (n,) int64
        FFIINDEX.
    start : (n,) float64
        Begin, TDB at the spacecraft, days since JD 2457000.
    stop : (n,) float64
        End.
    barycorr : (n, 2) float64
        Days to the solar system's barycentre at begin and end, from the CCD's middle.
    exposure_s : (n,) float64
        Time on source.
    quality : (n,) int64
        DQUALITY.
    event : (n,) str
        What befell the frame; empty for nothing.
    shift : (n, 2) float64
        Displacement of stars at the reference pixel from the reference WCS, px.
    matrix : (n, 2, 2) float64
        Displacement per pixel from there.
    header_shift : (n, 2) float64
        What the header's WCS says in place of `shift`.
    blur_px : (n, 2) float64
        Standard deviation of jitter and focus along x and y.
    smear : (n, 3) float64
        dx, dy (px) that the telescope moves on at even speed, and the share of the exposure in
        which it does.
    diffuse : (n, 5) float64
        Brightness of each pattern of scattered light, e-/s.
    """

    file: NDArray[np.str_]
    index: NDArray[np.int64]
    start: F64
    stop: F64
    barycorr: F64
    exposure_s: F64
    quality: NDArray[np.int64]
    event: NDArray[np.str_]
    shift: F64
    matrix: F64
    header_shift: F64
    blur_px: F64
    smear: F64
    diffuse: F64

    def __len__(self) -> int:
        return len(self.start)


def frame_start(start: float) -> datetime:
    """Return the begin of a frame as UTC.

    Parameters
    ----------
    start : float
        TDB, days since JD 2457000.

    Returns
    -------
    datetime
        To the millisecond.
    """
    moment = BTJD_ZERO_UTC + timedelta(days=start, microseconds=500)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def plan_frames(config: SeriesConfig, ffi: FfiConfig) -> Frames:
    """Decide what each frame of a series is.

    Parameters
    ----------
    config : SeriesConfig
        The series.
    ffi : FfiConfig
        The reference: sector, camera, CCD, WCS.

    Returns
    -------
    Frames
        The frames, in order of time.

    Raises
    ------
    ConfigError
        If the sector doesn't hold as many, or an event is of a frame that isn't there.
    """
    rng = np.random.default_rng([config.seed, 0x5E51])
    cadence_s = config.cadence_s or ffi.cadence_s
    first = _first_start(config, ffi)
    offsets = _offsets_days(config, cadence_s)
    start = (first - BTJD_ZERO_UTC).total_seconds() / DAY_S + offsets
    stop = start + cadence_s / DAY_S
    events = _events(config, offsets, cadence_s / DAY_S, rng)
    shift, matrix, wanted = _pointing(config, ffi, (start + stop) / 2, offsets, rng)
    blur = _blur(config, offsets, rng)
    smear = np.zeros((len(start), 3))
    diffuse = _diffuse(config, offsets)
    exposure = np.full(len(start), DUTY * cadence_s)
    quality = np.zeros(len(start), np.int64)
    for n, kind in enumerate(events):
        if kind in {"dump", "hidden_dump"}:
            smear[n] = [*rng.normal(0, 0.7, 2), rng.uniform(0.15, 0.5)]
            quality[n] |= Quality.DESAT * (kind == "dump")
        elif kind == "coarse":
            shift[n] += rng.normal(0, 0.5, 2)
            blur[n] = np.hypot(blur[n], rng.uniform(0.3, 0.8, 2))
            quality[n] |= Quality.COARSE_POINT
        elif kind == "glow":
            diffuse[n, :2] += rng.uniform(2e3, 2e4, 2)
            quality[n] |= Quality.STRAYLIGHT2
        elif kind == "short":
            exposure[n] *= rng.uniform(0.2, 0.8)
    return Frames(
        file=np.array([_file_name(t, config, ffi) for t in start]),
        index=_indices(start, cadence_s),
        start=start,
        stop=stop,
        barycorr=_barycorr(ffi, start, stop),
        exposure_s=exposure,
        quality=quality,
        event=np.array(events),
        shift=shift,
        matrix=matrix,
        header_shift=wanted,
        blur_px=blur,
        smear=smear,
        diffuse=diffuse,
    )


def _first_start(config: SeriesConfig, ffi: FfiConfig) -> datetime:
    """Return when the first frame begins."""
    if not config.start:
        return ffi.start_time - timedelta(days=SECTOR_DAYS / 2)
    try:
        moment = datetime.fromisoformat(config.start)
    except ValueError:
        raise ConfigError(
            f"`start` {config.start!r} is no date: give ISO 8601 such as 2019-12-28T12:00:00"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _offsets_days(config: SeriesConfig, cadence_s: float) -> F64:
    """Return when the frames begin, in days from the first; none in the pause."""
    step = cadence_s / DAY_S
    all_days = np.arange(int(SECTOR_DAYS / step)) * step
    days = all_days[(all_days + step <= _PAUSE_DAYS[0]) | (all_days >= _PAUSE_DAYS[1])]
    every = config.step or max(1, len(days) // config.frames)
    taken = days[::every][: config.frames]
    if len(taken) < config.frames:
        raise ConfigError(
            f"a sector holds {len(days)} frames of {cadence_s:g} s, so {len(taken)} with `step` "
            f"{every}, not `frames` {config.frames}: give fewer frames or a smaller step"
        )
    return np.asarray(taken)


def _events(
    config: SeriesConfig, offsets: F64, length: float, rng: np.random.Generator
) -> list[str]:
    """Return what befalls each frame."""
    events = [""] * len(offsets)
    lot = rng.random(len(offsets)) < config.spoilt
    for n in np.flatnonzero(lot):
        events[n] = _LOT[rng.integers(len(_LOT))]
    if config.dump_days:
        dumps = np.arange(0.6 * config.dump_days, SECTOR_DAYS, config.dump_days)
        for n in np.flatnonzero(
            ((dumps >= offsets[:, None]) & (dumps < offsets[:, None] + length)).any(1)
        ):
            events[n] = "dump"
    for event in config.events:
        if not -len(events) <= event.frame < len(events):
            raise ConfigError(
                f"`events` name frame {event.frame} of {len(events)}: give one from 0 to "
                f"{len(events) - 1}"
            )
        events[event.frame] = event.kind
    return events


def _pointing(
    config: SeriesConfig, ffi: FfiConfig, middle: F64, offsets: F64, rng: np.random.Generator
) -> tuple[F64, F64, F64]:
    """Return shift and matrix of each frame, and the shift that headers tell."""
    motion, n = config.motion, len(middle)
    wcs = wcs_of(ffi.wcs_cards)
    centre = np.array(wcs.wcs.crpix) - 1
    affine = np.zeros((n, 2, 3))
    if motion.aberration:
        _, beta = earth_barycentric(np.append(middle, reference_time(ffi)))
        maps = aberration_maps(wcs, ffi.detector.camera, centre)
        affine += np.einsum("na,aij->nij", beta[:-1] - beta[-1], maps)
    affine[:, :, 0] += _wander(motion.drift_px, offsets, rng)
    affine[:, :, 0] += rng.normal(0, motion.scatter_px, (n, 2)) + np.array(ffi.pointing_px)
    roll = np.radians(rng.normal(0, motion.roll_arcsec, n) / 3600)
    affine[:, 0, 2] -= roll
    affine[:, 1, 1] += roll
    shift = affine[:, :, 0].copy()
    told = shift + rng.normal(0, motion.header_error_px, (n, 2))
    return shift, affine[:, :, 1:].copy(), told


def reference_time(ffi: FfiConfig) -> float:
    """Return when the reference WCS holds: the middle of its FFI.

    Parameters
    ----------
    ffi : FfiConfig
        The reference.

    Returns
    -------
    float
        TDB at the spacecraft, days since JD 2457000.
    """
    middle = ffi.start_time + timedelta(seconds=ffi.cadence_s / 2)
    return (middle - BTJD_ZERO_UTC).total_seconds() / DAY_S


def _wander(size_px: float, offsets: F64, rng: np.random.Generator) -> F64:
    """Return a smooth random path, (n, 2), a new one in each orbit."""
    out = np.zeros((len(offsets), 2))
    for inside in _orbits(offsets):
        u = 2 * (offsets[inside] / _PAUSE_DAYS[0] % 1.08) - 1
        waves = np.polynomial.chebyshev.chebvander(u, 4)
        out[inside] = waves @ (rng.normal(size=(5, 2)) / np.arange(1, 6)[:, None])
    largest = np.abs(out).max()
    return out * (size_px / largest if largest else 0.0)


def _orbits(offsets: F64) -> Iterator[NDArray[np.bool_]]:
    """Yield which frames belong to each of the two orbits."""
    yield offsets < _PAUSE_DAYS[0]
    yield offsets >= _PAUSE_DAYS[0]


def _blur(config: SeriesConfig, offsets: F64, rng: np.random.Generator) -> F64:
    """Return the standard deviation of jitter and focus along x and y."""
    jitter = config.motion.jitter_px * np.exp(rng.normal(0, 0.3, (len(offsets), 2)))
    since = np.where(offsets < _PAUSE_DAYS[1], offsets, offsets - _PAUSE_DAYS[1])
    return np.asarray(np.hypot(jitter, config.motion.focus_px * np.exp(-since)[:, None]))


def _diffuse(config: SeriesConfig, offsets: F64) -> F64:
    """Return how bright each pattern of scattered light is in each frame."""
    late = offsets >= _PAUSE_DAYS[1]
    begin = np.where(late, _PAUSE_DAYS[1], 0.0)
    end = np.where(late, SECTOR_DAYS, _PAUSE_DAYS[0])
    # The Earth turns, and its light with it.
    day = 1 + 0.3 * np.sin(2 * np.pi * offsets)
    near = np.exp((offsets - end) / 0.7) + 0.4 * np.exp((begin - offsets) / 0.4) + 0.01
    out = np.zeros((len(offsets), PATTERNS))
    out[:, 0] = config.diffuse.earth_e_per_s * near * day
    out[:, 1] = 0.5 * config.diffuse.earth_e_per_s * np.exp((offsets - end) / 0.35) * (2 - day)
    progress = (offsets - begin) / (end - begin)
    for k in range(3):
        out[:, 2 + k] = config.diffuse.moon_e_per_s * np.exp(
            -0.5 * ((progress - 0.3 - 0.06 * k) / 0.04) ** 2
        )
    return out


def _barycorr(ffi: FfiConfig, start: F64, stop: F64) -> F64:
    """Return the correction to the barycentre at begin and end, days."""
    towards = unit_vectors(*wcs_of(ffi.wcs_cards).all_pix2world(*_BARYCENTRIC_PIXEL, 0))
    return np.stack([earth_barycentric(t)[0] @ towards for t in (start, stop)], -1)


def _indices(start: F64, cadence_s: float) -> NDArray[np.int64]:
    """Return FFIINDEX."""
    first = (_FIRST_FFI - BTJD_ZERO_UTC).total_seconds() / DAY_S
    return _FIRST_FFI_INDEX + np.rint((start - first) * DAY_S / cadence_s).astype(np.int64)


def _file_name(start: float, config: SeriesConfig, ffi: FfiConfig) -> str:
    """Return a frame's file name, as real ones are."""
    d = ffi.detector
    number = config.spacecraft or _SPACECRAFT.get(d.sector, 0)
    stamp = f"{frame_start(start):%Y%j%H%M%S}"
    return f"tess{stamp}-s{d.sector:04d}-{d.camera}-{d.ccd}-{number:04d}-s_ffic.fits"
