"""The arguments and options that commands share: types, spellings, help."""

from typing import Annotated

import typer

__all__ = [
    "AllowPartial",
    "Archive",
    "Background",
    "Camera",
    "Catalogue",
    "CatalogueOption",
    "Ccd",
    "Cores",
    "DataRoot",
    "Diffuse",
    "Ffi",
    "Follow",
    "GaiaUrl",
    "IgnoreMaskBits",
    "Jobs",
    "Json",
    "KeepRaw",
    "Offsets",
    "Oversample",
    "Overwrite",
    "PrfDir",
    "Psf",
    "PsfSigma",
    "Refine",
    "Roi",
    "Scheduler",
    "Sector",
    "Size",
    "StarScale",
    "Stars",
    "Target",
    "Verbose",
]

Ffi = Annotated[
    str, typer.Argument(metavar="TESS_FITS", help="TESS FFI, SPOC or TICA, .fits or .fits.gz.")
]
Catalogue = Annotated[
    str | None,
    typer.Argument(
        metavar="SKYCELL_WCS_CSV",
        help="Skycell catalogue; default DATA_ROOT/SkyCells/skycell_wcs.csv if it is there, else "
        "the built-in RINGS.V3 tessellation.",
    ),
]
CatalogueOption = Annotated[
    str | None, typer.Option("--skycell-wcs-csv", help="Skycell catalogue, as for `pipeline`.")
]
Sector = Annotated[int, typer.Argument(metavar="SECTOR", help="TESS sector.")]
Camera = Annotated[int, typer.Argument(metavar="CAMERA", help="TESS camera, 1 to 4.")]
Ccd = Annotated[int, typer.Argument(metavar="CCD", help="TESS CCD, 1 to 4.")]
DataRoot = Annotated[str, typer.Option(help="Folder or s3:// URL that everything is kept under.")]
Archive = Annotated[
    str,
    typer.Option(metavar="URL|DIR", help="Root of the PS1 stacks: https://, s3:// or a folder."),
]
Cores = Annotated[int, typer.Option(help="Worker processes, capped at the cores there are.")]
Jobs = Annotated[int, typer.Option(help="Simultaneous requests, fewer where a host asks for it.")]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Use a running Dask cluster, e.g. tcp://node1:8786."),
]
Roi = Annotated[
    str | None,
    typer.Option(
        metavar="X0,Y0,X1,Y1", help="Region of interest: FFI array pixels, 0-based, half-open."
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="RA,DEC", help="Centre of a square region of interest, degrees or sexagesimal."
    ),
]
Size = Annotated[int, typer.Option(metavar="N", help="Side of the square around --target, px.")]
IgnoreMaskBits = Annotated[
    str,
    typer.Option(
        help="PS1 mask bits whose pixels are left out: numbers or names (12,SAT); '' for none."
    ),
]
Background = Annotated[
    str, typer.Option(metavar="matched|sep|none", help="What counts as light, not as background.")
]
Diffuse = Annotated[
    float,
    typer.Option(
        metavar="ARCSEC", help="Add undetected light smoothed by this width; 0 leaves it out."
    ),
]
Psf = Annotated[
    str, typer.Option(metavar="gaussian|prf", help="Response of TESS's pixels: model or measured.")
]
PrfDir = Annotated[
    str,
    typer.Option(
        metavar="URL|DIR", help="Root of the measured responses: https://, s3:// or a folder."
    ),
]
PsfSigma = Annotated[
    float, typer.Option(help='Gaussian response, standard deviation in PS1 pixels of 0.25".')
]
Oversample = Annotated[
    int, typer.Option(metavar="N", help="Samples per TESS pixel and axis of the templates, 1 to 8.")
]
Follow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FFI...",
        show_default=False,
        help="Make a template for each of these FFIs, at its own WCS, instead of offsets.",
    ),
]
Refine = Annotated[
    bool, typer.Option("--refine", help="Let the stars of each FFI correct where its WCS looks.")
]
Stars = Annotated[
    str,
    typer.Option(
        metavar="FILE|gaia|none", help="Catalogue of the stars that stand in for saturated ones."
    ),
]
StarScale = Annotated[
    float | None,
    typer.Option(
        metavar="MAG", help="AB less TESS magnitude of those stars. Default: measured on others."
    ),
]
GaiaUrl = Annotated[str, typer.Option(metavar="URL", help="TAP service of `--stars gaia`.")]
Offsets = Annotated[
    str, typer.Option(metavar="DX,DY,...", help="Offsets of the templates in TESS pixels.")
]
KeepRaw = Annotated[bool, typer.Option("--keep-raw", help="Keep the stack planes losslessly too.")]
AllowPartial = Annotated[
    bool,
    typer.Option("--allow-partial", help="Make flagged templates without what failed (exit 3)."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite/--no-overwrite", help="Make again what is there already.")
]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, show_default=False, help="-v INFO, -vv DEBUG.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
