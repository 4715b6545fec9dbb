"""Constants that settings and stages share, and the digest of what a product depends on."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from syndiff.errors import ConfigError
from syndiff.layout import format_offset

__all__ = [
    "BANDS",
    "BAND_WEIGHTS",
    "DEFAULT_ARCHIVE",
    "DEFAULT_FFIS",
    "DEFAULT_GAIA_TAP",
    "DEFAULT_PRF_DIR",
    "DEFAULT_SESAME",
    "DEFAULT_TESS_MAST",
    "DETECTION_SIGMA",
    "DIFFUSE_ARCSEC",
    "MAX_OVERSAMPLE",
    "MAX_SAMPLES",
    "PRF_COLUMNS",
    "PRF_ROWS",
    "PS1_PIXEL_ARCSEC",
    "TESS_ZERO_POINT",
    "Background",
    "Compression",
    "Kernel",
    "OffsetList",
    "Planes",
    "PsfModel",
    "ReductionConfig",
    "SceneConfig",
    "StarSource",
    "check_offsets",
    "digest",
    "parse_offsets",
    "parse_pixel",
]

BANDS = ("r", "i", "z", "y")
"""PS1 bands that TESS's passband covers."""

BAND_WEIGHTS = (0.238, 0.344, 0.283, 0.135)
"""Weights on flux of `BANDS` that reproduce TESS AB magnitudes.

To 0.006 mag (standard deviation over 200 stellar spectra with g-r < 0.8, synthetic photometry
through the PS1 and TESS curves); M dwarfs come out 4 % too bright.
"""

PS1_PIXEL_ARCSEC = 0.25
"""Pixel of the PS1 stacks."""

DEFAULT_ARCHIVE = "https://ps1images.stsci.edu/rings.v3.skycell/"
"""Root of the PS1 stack skycells at STScI."""

DEFAULT_PRF_DIR = "https://archive.stsci.edu/missions/tess/models/prf_fitsfiles/"
"""Root of the TESS pixel response files at MAST."""

DEFAULT_FFIS = "s3://stpubdata/tess/public/ffi/"
"""TESS's calibrated FFIs in a public bucket."""

DEFAULT_TESS_MAST = "https://archive.stsci.edu/missions/tess/"
"""TESS at MAST: download scripts of each sector, and the FFIs below ``ffi/``."""

PRF_ROWS = (1, 513, 1025, 1536, 2048)
PRF_COLUMNS = (45, 557, 1069, 1580, 2092)
"""Where on a CCD its 25 pixel responses were measured, 1-based as in the files' names."""

TESS_ZERO_POINT = 20.44
"""TESS magnitude of 1 e-/s (TESS Instrument Handbook, Vanderspek et al. 2018; +-0.05).

In an aperture: 15,000 e-/s are T = 10. A star's whole flux, which templates and differences have,
is more: fits of the measured response gave 20.55 on camera 1, CCD 4 of sector 1.
"""

DEFAULT_GAIA_TAP = "https://gea.esac.esa.int/tap-server/tap"
"""ESA's Gaia archive, Table Access Protocol."""

DEFAULT_SESAME = "https://cds.unistra.fr/cgi-bin/nph-sesame"
"""CDS's name service."""

MAX_OFFSET_PX = 2.0
"""Largest offset of a template; the scene reaches a little farther."""

MAX_OVERSAMPLE = 8
"""Samples per TESS pixel and axis of a template; finer ones hold nothing more."""

MAX_SAMPLES = 80_000_000
"""Samples of one template: a full frame at 4 per pixel, 1.8 GB in memory and on disk."""

DETECTION_SIGMA = 3.0
"""Signal-to-noise ratio from which light counts as detected."""

DIFFUSE_ARCSEC = (8.0, 300.0)
"""Range of widths that undetected light can be smoothed by: its cells, and beyond its level's mesh
of 64" nothing is left to smooth."""

Background = Literal["matched", "sep", "none"]
PsfModel = Literal["gaussian", "prf"]
StarSource = Literal["none", "file", "gaia"]
Kernel = Literal["fitted", "none"]
Planes = Literal["all", "difference"]
Compression = Literal["none", "rice"]
Residuals = Literal["all", "some", "none"]
OffsetList = tuple[tuple[float, float], ...]


def digest(content: object) -> str:
    """Return the short digest of a configuration or record.

    Parameters
    ----------
    content : object
        Anything JSON can hold; dictionaries in any order.

    Returns
    -------
    str
        16 hexadecimal digits of SHA-256 over canonical JSON.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ReductionConfig:
    """What the reduction of a skycell depends on; given by `Settings.reduction`.

    Parameters
    ----------
    ignore_mask_bits : int
        PS1 mask bits whose pixels are left out.
    detection : {"matched", "sep"}
        How light is separated from background: a matched filter on 1" sums, or SEP extraction.
    threshold_sigma : float
        `DETECTION_SIGMA`.
    """

    ignore_mask_bits: int
    detection: Literal["matched", "sep"]
    threshold_sigma: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, for digests and provenance.

        Returns
        -------
        dict
            Field names and values.
        """
        return asdict(self)


@dataclass(frozen=True)
class SceneConfig:
    """What a scene depends on besides its skycells and stars; given by `Settings.scene`.

    Parameters
    ----------
    background : {"matched", "sep", "none"}
        What counts as light.
    diffuse_arcsec : float
        Width by which undetected light is smoothed; 0: left out.
    psf : {"gaussian", "prf"}
        The response.
    stars : {"none", "file", "gaia"}
        Source of the stars that replace saturated ones.
    star_scale_mag : float, optional
        AB less TESS magnitude of these; None: measured.
    psf_sigma_px : float, optional
        Standard deviation of a Gaussian response, PS1 pixels.
    prf_digest : str, optional
        Digest of the measured responses.
    """

    background: Background
    diffuse_arcsec: float
    psf: PsfModel
    stars: StarSource
    star_scale_mag: float | None
    psf_sigma_px: float | None = None
    prf_digest: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, for digests and provenance.

        Returns
        -------
        dict
            Names and values of the fields that matter for this `psf`.
        """
        unused = "psf_sigma_px" if self.psf == "prf" else "prf_digest"
        return {name: value for name, value in asdict(self).items() if name != unused}


def parse_offsets(text: str) -> OffsetList:
    """Read ``dx,dy,dx,dy,...`` into offsets.

    Parameters
    ----------
    text : str
        Numbers separated by commas, in TESS pixels.

    Returns
    -------
    tuple of (float, float)
        The offsets in the order given, without negative zeros.

    Raises
    ------
    ConfigError
        If something isn't a number, the count is odd or zero, an offset is larger than 2 pixels
        or two offsets would share a file name.

    Examples
    --------
    >>> parse_offsets("0.0,0.0,0.5,-0.0")
    ((0.0, 0.0), (0.5, 0.0))
    """
    try:
        values = [float(part) + 0.0 for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"{text!r} holds something that is not a number: give dx,dy,dx,dy,... such as "
            '"0.0,0.0,0.5,0.0"'
        ) from None
    if len(values) % 2:
        raise ConfigError(
            f"{text!r} holds {len(values)} numbers, an odd count: give pairs dx,dy such as "
            '"0.0,0.0,0.5,0.0"'
        )
    return check_offsets(tuple(zip(values[::2], values[1::2], strict=True)))


def check_offsets(pairs: OffsetList) -> OffsetList:
    """Return offsets that templates can have.

    Parameters
    ----------
    pairs : tuple of (float, float)
        TESS pixels.

    Returns
    -------
    tuple of (float, float)
        The same.

    Raises
    ------
    ConfigError
        If there is none, one is larger than 2 pixels, or two would share a file name.
    """
    if not pairs:
        raise ConfigError("there is no offset: give one or more, such as 0.0,0.0")
    names: set[str] = set()
    for pair in pairs:
        for value in pair:
            if not abs(value) <= MAX_OFFSET_PX:
                raise ConfigError(
                    f"offset {value} is out of range: offsets are TESS pixels from "
                    f"-{MAX_OFFSET_PX} to {MAX_OFFSET_PX}"
                )
        name = format_offset(*pair)
        if name in names:
            raise ConfigError(
                f"{name} is there more than once: offsets must differ by 0.001 pixel or more"
            )
        names.add(name)
    return pairs


def parse_pixel(text: str) -> tuple[float, float]:
    """Read ``X,Y``.

    Parameters
    ----------
    text : str
        Two numbers separated by a comma.

    Returns
    -------
    (float, float)
        The numbers.

    Raises
    ------
    ConfigError
        If `text` is not two finite numbers.

    Examples
    --------
    >>> parse_pixel("1000,1020.5")
    (1000.0, 1020.5)
    """
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ConfigError(
            f"pixel {text!r} is not X,Y: give two numbers such as 1000,1020.5 (FFI array pixels, "
            "0-based)"
        )
    return x, y
