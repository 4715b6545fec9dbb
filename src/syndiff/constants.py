"""Numbers of surveys, formats and statistics that several modules need, each written once."""

__all__ = [
    "CARD_LENGTH",
    "DAY_S",
    "FITS_BLOCK",
    "FRAME_CYCLE_S",
    "FRAME_S",
    "FULL_WELL_E",
    "GAIA_YEAR",
    "MAD_TO_SIGMA",
    "ZERO_POINT",
]

ZERO_POINT = 25.0
"""AB magnitude of flux 1 in PS1's stacks per second, in the atlas, scenes and templates."""

FRAME_S = 1.98
"""Time on source of one TESS frame, seconds (TESS Instrument Handbook, Vanderspek et al. 2018)."""

FRAME_CYCLE_S = 2.0
"""Time from one frame to the next, however long an FFI's cadence is: as often, charge is read."""

FULL_WELL_E = 2.0e5
"""Electrons that a TESS pixel holds.

By "Saturation" in https://heasarc.gsfc.nasa.gov/docs/tess/telescope_information.html, after the
TESS Instrument Handbook: a star of T = 5 brings 9e5 electrons to its brightest pixel, if 0.3 of its
light falls there, and blooms over 5 rows; one of T = 2.5, ten times as bright, over 50.
"""

GAIA_YEAR = 2016.0
"""Julian year that the positions of Gaia DR3 hold for."""

DAY_S = 86400
"""Seconds in a day."""

FITS_BLOCK = 2880
"""Bytes that a FITS file grows by."""

CARD_LENGTH = 80
"""Letters of a FITS card."""

MAD_TO_SIGMA = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution."""
