"""Headers of simulated FFIs, card by card as SPOC and TICA write them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from astropy.io import fits

from syndiff.constants import DAY_S, FRAME_CYCLE_S, FRAME_S

if TYPE_CHECKING:
    from syndiff.simulation.ffi import FfiConfig

__all__ = [
    "BTJD_ZERO_UTC",
    "DUTY",
    "READ_NOISE_E",
    "spoc_header",
    "spoc_primary",
    "tica_header",
    "utc",
]

DUTY = 0.792
"""Time on source over cadence: read out and cosmic ray mitigation take the rest."""

READ_NOISE_E = 8.5
"""Noise of one read."""

BTJD_ZERO_UTC = datetime(2014, 12, 8, 12, tzinfo=UTC) - timedelta(seconds=69.184)
_OUTPUTS = "ABCD"


def _wcs_header(config: "FfiConfig") -> fits.Header:
    """Return the WCS cards, pointing included."""
    header = fits.Header.fromstring(config.wcs_cards, sep="\n")
    header["CRPIX1"] += config.pointing_px[0]
    header["CRPIX2"] += config.pointing_px[1]
    return header


def _times(config: "FfiConfig") -> tuple[float, float]:
    """Return start and end in days since JD 2457000 (TDB)."""
    start = (config.start_time - BTJD_ZERO_UTC).total_seconds() / DAY_S
    return start, start + config.cadence_s / DAY_S


def utc(moment: datetime) -> str:
    """Return a date as headers have it.

    Parameters
    ----------
    moment : datetime
        UTC.

    Returns
    -------
    str
        ISO 8601 to the millisecond.
    """
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def spoc_primary(config: "FfiConfig") -> fits.Header:
    """Return the header of HDU 0.

    Parameters
    ----------
    config : FfiConfig
        The FFI.

    Returns
    -------
    Header
        Sector, camera, CCD, times.
    """
    d, start = config.detector, config.start_time
    return fits.Header(
        [
            ("ORIGIN", "SYNDIFF", "institution responsible for creating this file"),
            ("SIMDATA", True, "file is based on simulated data"),
            ("NEXTEND", 2, "number of standard extensions"),
            ("PROCVER", "syndiff-simulation", "SW version"),
            ("FILEVER", "1.0", "file format version"),
            ("TELESCOP", "TESS", "telescope"),
            ("INSTRUME", "TESS Photometer", "detector type"),
            ("DATA_REL", 27, "data release version number"),
            ("SECTOR", d.sector, "Observing sector"),
            ("CAMERA", d.camera, "Camera number"),
            ("CCD", d.ccd, "CCD chip number"),
            ("FFIINDEX", config.cadence, "number of FFI cadence interval"),
            ("DATE-OBS", utc(start), "TSTART as UTC calendar date"),
            ("TSTART", _times(config)[0], "observation start time in BTJD"),
            ("TSTOP", _times(config)[1], "observation stop time in BTJD"),
        ]
    )


def spoc_header(config: "FfiConfig", plane: str) -> fits.Header:
    """Return the header of HDU 1 or 2.

    Parameters
    ----------
    config : FfiConfig
        The FFI.
    plane : str
        ``"cal"`` for the image, ``"uncert"`` for its uncertainty.

    Returns
    -------
    Header
        The whole header, WCS included.
    """
    d, start = config.detector, config.start_time
    tstart, tstop = _times(config)
    out = fits.Header(
        [
            ("INHERIT", True, "inherit the primary header"),
            ("EXTNAME", f"CAMERA.CCD {d.camera}.{d.ccd} {plane}", "name of extension"),
            ("EXTVER", 1, "extension version number (not format version)"),
            ("SIMDATA", True, "file is based on simulated data"),
            ("TELESCOP", "TESS", "telescope"),
            ("INSTRUME", "TESS Photometer", "detector type"),
            ("CAMERA", d.camera, "Camera number"),
            ("CCD", d.ccd, "CCD chip number"),
            ("EXPOSURE", config.exposure_s / DAY_S, "[d] time on source"),
            ("TIMEREF", "SOLARSYSTEM", "barycentric correction applied to times"),
            ("TASSIGN", "SPACECRAFT", "where time is assigned"),
            ("TIMESYS", "TDB", "time system is Barycentric Dynamical Time (TDB)"),
            ("BJDREFI", 2457000, "integer part of BTJD reference date"),
            ("BJDREFF", 0.0, "fraction of the day in BTJD reference date"),
            ("TIMEUNIT", "d", "time unit for TIME, TSTART and TSTOP"),
            ("TELAPSE", tstop - tstart, "[d] TSTOP - TSTART"),
            ("LIVETIME", (tstop - tstart) * DUTY, "[d] TELAPSE multiplied by DEADC"),
            ("TSTART", tstart, "observation start time in BTJD"),
            ("TSTOP", tstop, "observation stop time in BTJD"),
            ("DATE-OBS", utc(start), "TSTART as UTC calendar date"),
            (
                "DATE-END",
                utc(start + timedelta(seconds=config.cadence_s)),
                "TSTOP as UTC calendar date",
            ),
            ("DEADC", DUTY, "deadtime correction"),
            ("TIMEPIXR", 0.5, "bin time beginning=0 middle=0.5 end=1"),
            ("TIERRELA", 1.16e-05, "[d] relative time error"),
            ("BTC_PIX1", 1068.0, "reference col for barycentric time correction"),
            ("BTC_PIX2", 1024.0, "reference row for barycentric time correction"),
            ("BUNIT", "electrons/s", "physical units of image data"),
            ("BARYCORR", 0.0, "[d] barycentric time correction"),
            ("INT_TIME", FRAME_S, "[s] photon accumulation time per frame"),
            ("READTIME", 0.02, "[s] readout time per frame"),
            ("FRAMETIM", FRAME_CYCLE_S, "[s] frame time (INT_TIME + READTIME)"),
            ("NUM_FRM", round(config.cadence_s / FRAME_CYCLE_S), "number of frames per time stamp"),
            ("TIMEDEL", config.cadence_s / DAY_S, "[d] time resolution of data"),
            ("BACKAPP", False, "background is subtracted"),
            ("DEADAPP", True, "deadtime applied"),
            ("VIGNAPP", True, "vignetting or collimator correction applied"),
        ]
    )
    out.extend(_readout_cards())
    out.extend(_wcs_header(config), strip=False, update=True)
    out.extend(_physical_cards())
    out["DQUALITY"] = (0, "data quality flags")
    out["IMAGTYPE"] = (plane, "FFI image type: raw, cal, uncert")
    return out


def _readout_cards() -> Iterator[tuple[str, float | bool, str]]:
    """Yield the cards about outputs and regions of the CCD (1-based)."""
    for name in _OUTPUTS:
        yield f"GAIN{name}", 5.2, f"[electrons/count] CCD output {name} gain"
    for name in _OUTPUTS:
        yield f"READNOI{name}", READ_NOISE_E, f"[electrons] read noise CCD output {name}"
    yield "NREADOUT", 720, "number of read per cadence"
    for i, name in enumerate(_OUTPUTS):
        first = 45 + 512 * i
        yield f"LVCS{name}", 1 + 11 * i, f"serial register col start, output {name}"
        yield f"LVCE{name}", 11 + 11 * i, "serial register col end (inclusive)"
        yield f"TVCS{name}", 2093 + 11 * i, f"trailing virtual column start, output {name}"
        yield f"TVCE{name}", 2103 + 11 * i, "trailing virtual column end (inclusive)"
        yield f"SCCS{name}", first, f"science col start, output {name}"
        yield f"SCCE{name}", first + 511, f"science col end (inclusive), output {name}"
        yield f"SCICOLH{name}", i % 2 == 0, "T science cols are read increasing order"
    yield "SCIROWS", 1, "science rows start"
    yield "SCIROWE", 2048, "science rows end (inclusive)"
    yield "VROWS", 2069, "virtual row start"
    yield "VROWE", 2078, "virtual row end (inclusive)"
    yield "SMROWS", 2059, "smear rows start"
    yield "SMROWE", 2068, "smear rows end (inclusive)"
    yield "BFROWS", 2049, "buffer rows start"
    yield "BFROWE", 2058, "buffer rows end (inclusive)"


def _physical_cards() -> list[tuple[str, str | float, str]]:
    """Return the alternate WCS 'P': the CCD's own columns and rows."""
    out: list[tuple[str, str | float, str]] = [
        ("WCSNAMEP", "PHYSICAL", "name of world coordinate system alternate P"),
        ("WCSAXESP", 2, "number of WCS physical axes"),
    ]
    for axis, name in ((1, "RAWX"), (2, "RAWY")):
        out += [
            (f"CTYPE{axis}P", name, f"physical WCS axis {axis} type"),
            (f"CUNIT{axis}P", "PIXEL", f"physical WCS axis {axis} unit"),
            (f"CRPIX{axis}P", 1, "reference pixel"),
            (f"CRVAL{axis}P", 1, "value at reference pixel"),
            (f"CDELT{axis}P", 1.0, f"physical WCS axis {axis} step"),
        ]
    return out


def tica_header(config: "FfiConfig") -> fits.Header:
    """Return the header of a TICA image.

    Parameters
    ----------
    config : FfiConfig
        The FFI.

    Returns
    -------
    Header
        The whole header, WCS included.
    """
    tstart, tstop = _times(config)
    out = fits.Header(
        [
            ("TELESCOP", "TESS", "telescope"),
            ("INSTRUME", "TESS Photometer", "detector type"),
            ("SIMDATA", True, "file is based on simulated data"),
            ("CAMNUM", config.detector.camera, "Camera Number"),
            ("CCDNUM", config.detector.ccd, "CCD Number"),
            ("CADENCE", config.cadence, "cadence number"),
            ("TJD_ZERO", 2457000.0, "JD of TJD 0"),
            ("STARTTJD", tstart, "TJD of exposure start"),
            ("MIDTJD", (tstart + tstop) / 2, "TJD of exposure middle"),
            ("ENDTJD", tstop, "TJD of exposure end"),
            ("EXPTIME", config.exposure_s, "[s] effective exposure time"),
            ("INT_TIME", config.cadence_s, "[s] integration time"),
            ("UNITS", "electrons", "units of the image"),
            ("QUAL_BIT", 0, "0: good"),
            ("COARSE", False, "coarse pointing"),
            ("RW_DESAT", False, "reaction wheel desaturation"),
            ("SCIPIXS", "[45:2092,1:2048]", "science pixels"),
        ]
    )
    out.extend(_wcs_header(config), strip=False, update=True)
    return out
