"""The command line: arguments to settings, settings to the pipeline, its report to the terminal."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from syndiff import __version__
from syndiff.config import parse_pixel, parse_target
from syndiff.layout import Detector
from syndiff.options import (
    AllowPartial,
    Archive,
    Background,
    Camera,
    Catalogue,
    CatalogueOption,
    Ccd,
    Cores,
    DataRoot,
    Diffuse,
    Ffi,
    Follow,
    GaiaUrl,
    IgnoreMaskBits,
    Jobs,
    Json,
    KeepRaw,
    Offsets,
    Oversample,
    Overwrite,
    PrfDir,
    Psf,
    PsfSigma,
    Refine,
    Roi,
    Scheduler,
    Sector,
    Size,
    Stars,
    StarScale,
    Target,
    Verbose,
)
from syndiff.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from syndiff.terminal import Terminal

__all__ = ["app", "run"]

_DEFAULT = Settings()
_INTERRUPTED = 130

app = typer.Typer(
    name="syndiff",
    help="Transient-free TESS full-frame templates from Pan-STARRS1 stack skycells.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        # --snake_case is accepted wherever --kebab-case is
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)


def run(command: str | None = None) -> None:
    """Run the command line.

    Parameters
    ----------
    command : str, optional
        Subcommand that the arguments belong to; None if they name it themselves.
    """
    _print_anything()
    try:
        app(args=[*([command] if command else []), *sys.argv[1:]], prog_name="syndiff")
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            # Threads may be waiting for a server; what they do can be lost at any time.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(_INTERRUPTED)
        raise


def _print_anything() -> None:
    """Let stdout take every path: a terminal or log without Unicode is no reason to fail."""
    codecs.register_error("syndiff-legible", _legible)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="syndiff-legible")


def _legible(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return the bytes of a path that isn't text as they are, and other characters escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    try:
        text = error.object[error.start : error.end]
        return text.encode("ascii", "surrogateescape"), error.end
    except UnicodeEncodeError:
        return codecs.backslashreplace_errors(error)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"syndiff {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Transient-free TESS full-frame templates from Pan-STARRS1 stack skycells."""


@contextlib.contextmanager
def _terminal(verbose: int, *, as_json: bool) -> Iterator[Terminal]:
    """Load what shows a run only when there is one."""
    from syndiff.terminal import terminal

    with terminal(verbose, as_json=as_json) as shown:
        yield shown


def _settings(arguments: Mapping[str, Any], **others: object) -> Settings:
    """Return the settings that a command's arguments make.

    Arguments named like a setting become that setting; `others` have another name there.
    """
    names = {field.name for field in fields(Settings)}
    return Settings(**{k: v for k, v in arguments.items() if k in names}, **others)  # type: ignore[arg-type]


@app.command()
def pipeline(
    tess_fits: Ffi,
    skycell_wcs_csv: Catalogue = None,
    data_root: DataRoot = _DEFAULT.data_root,
    cores: Cores = _DEFAULT.cores,
    jobs: Jobs = _DEFAULT.jobs,
    overwrite: Overwrite = _DEFAULT.overwrite,
    multi_offset_array: Offsets = _DEFAULT.offsets,
    oversample: Oversample = _DEFAULT.oversample,
    ignore_mask_bits: IgnoreMaskBits = _DEFAULT.ignore_mask_bits,
    archive: Archive = _DEFAULT.archive,
    roi: Roi = None,
    target: Target = None,
    size: Size = _DEFAULT.size,
    psf: Psf = _DEFAULT.psf,
    psf_sigma: PsfSigma = _DEFAULT.psf_sigma,
    prf_dir: PrfDir = _DEFAULT.prf_dir,
    background: Background = _DEFAULT.background,
    diffuse: Diffuse = _DEFAULT.diffuse,
    stars: Stars = _DEFAULT.stars,
    star_scale: StarScale = None,
    gaia_url: GaiaUrl = _DEFAULT.gaia_url,
    keep_raw: KeepRaw = _DEFAULT.keep_raw,
    allow_partial: AllowPartial = _DEFAULT.allow_partial,
    scheduler: Scheduler = None,
    verbose: Verbose = 0,
    json: Json = False,
) -> None:
    """Make the templates of an FFI: mapping, download, process, downsample."""
    settings = _settings(locals(), catalogue=skycell_wcs_csv, offsets=multi_offset_array)
    with _terminal(verbose, as_json=json) as terminal:
        from syndiff.pipeline import run_pipeline

        terminal.show(run_pipeline(tess_fits, settings, terminal.progress))


@app.command()
def mapping(
    tess_fits: Ffi,
    skycell_wcs_csv: CatalogueOption = None,
    output_path: Annotated[
        str | None, typer.Option(help="Folder of the maps. Default: DATA_ROOT/mapping_output.")
    ] = None,
    max_workers: Annotated[
        int | None, typer.Option(help="Worker processes. Default: all cores.")
    ] = None,
    overwrite: Overwrite = _DEFAULT.overwrite,
    data_root: DataRoot = _DEFAULT.data_root,
    roi: Roi = None,
    target: Target = None,
    size: Size = _DEFAULT.size,
    scheduler: Scheduler = None,
    verbose: Verbose = 0,
    json: Json = False,
) -> None:
    """Find the skycells under an FFI and map where they land."""
    from syndiff.execution import available_cores

    cores = available_cores() if max_workers is None else max_workers
    settings = _settings(locals(), catalogue=skycell_wcs_csv, mapping=output_path)
    with _terminal(verbose, as_json=json) as terminal:
        from syndiff.pipeline import run_mapping

        terminal.show(run_mapping(tess_fits, settings, terminal.progress))


@app.command()
def download(
    sector: Sector,
    camera: Camera,
    ccd: Ccd,
    num_workers: Annotated[int, typer.Option(help="Simultaneous requests.")] = 32,
    zarr_output_dir: Annotated[
        str | None, typer.Option(help="Folder of the atlas. Default: DATA_ROOT/ps1_skycells_zarr.")
    ] = None,
    use_local_files: Annotated[
        bool, typer.Option("--use-local-files", help="Read stack files from --local-data-path.")
    ] = False,
    local_data_path: Annotated[
        str | None,
        typer.Option(help="Folder of stack files. Default: DATA_ROOT/ps1_skycells."),
    ] = None,
    overwrite: Overwrite = _DEFAULT.overwrite,
    ignore_mask_bits: IgnoreMaskBits = _DEFAULT.ignore_mask_bits,
    data_root: DataRoot = _DEFAULT.data_root,
    archive: Archive = _DEFAULT.archive,
    roi: Roi = None,
    target: Target = None,
    size: Size = _DEFAULT.size,
    background: Background = _DEFAULT.background,
    keep_raw: KeepRaw = _DEFAULT.keep_raw,
    allow_partial: AllowPartial = _DEFAULT.allow_partial,
    cores: Cores = _DEFAULT.cores,
    scheduler: Scheduler = None,
    verbose: Verbose = 0,
    json: Json = False,
) -> None:
    """Fetch the skycells of a mapped CCD and reduce them into the atlas."""
    if use_local_files or local_data_path is not None:
        archive = local_data_path or f"{data_root}/ps1_skycells"
    settings = _settings(locals(), jobs=num_workers, atlas=zarr_output_dir)
    with _terminal(verbose, as_json=json) as terminal:
        from syndiff.pipeline import run_download

        detector = Detector(sector, camera, ccd)
        terminal.show(run_download(detector, settings, terminal.progress))


@app.command()
def process(
    sector: Sector,
    camera: Camera,
    ccd: Ccd,
    data_root: DataRoot = _DEFAULT.data_root,
    limit: Annotated[
        int | None, typer.Option(help="Use the first N projections only, for trials (exit 3).")
    ] = None,
    psf: Psf = _DEFAULT.psf,
    psf_sigma: PsfSigma = _DEFAULT.psf_sigma,
    prf_dir: PrfDir = _DEFAULT.prf_dir,
    background: Background = _DEFAULT.background,
    diffuse: Diffuse = _DEFAULT.diffuse,
    stars: Stars = _DEFAULT.stars,
    star_scale: StarScale = None,
    gaia_url: GaiaUrl = _DEFAULT.gaia_url,
    ignore_mask_bits: IgnoreMaskBits = _DEFAULT.ignore_mask_bits,
    roi: Roi = None,
    target: Target = None,
    size: Size = _DEFAULT.size,
    overwrite: Overwrite = _DEFAULT.overwrite,
    allow_partial: AllowPartial = _DEFAULT.allow_partial,
    cores: Cores = _DEFAULT.cores,
    scheduler: Scheduler = None,
    verbose: Verbose = 0,
    json: Json = False,
) -> None:
    """Combine the bands of a CCD's skycells and render its scene at TESS's resolution."""
    settings = _settings(locals())
    with _terminal(verbose, as_json=json) as terminal:
        from syndiff.pipeline import run_process

        detector = Detector(sector, camera, ccd)
        terminal.show(run_process(detector, settings, terminal.progress))


class _SeveralFfis(TyperCommand):
    """A command whose option --follow takes every FFI up to the next option.

    Click's options take a fixed number of values. Whole numbers are no FFIs but the detector.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer has its own click
        """Write --follow before each of its FFIs, then go on as usual."""
        return super().parse_args(ctx, list(_each_followed(args)))


def _each_followed(args: list[str]) -> Iterator[str]:
    is_following = False
    for index, arg in enumerate(args):
        if arg.startswith("-"):
            is_following = arg.split("=")[0] == "--follow"
        elif is_following and args[index - 1] != "--follow":
            if arg.isdecimal():
                is_following = False
            else:
                yield "--follow"
        yield arg


@app.command(cls=_SeveralFfis)
def downsample(
    sector: Sector = 20,
    camera: Camera = 3,
    ccd: Ccd = 3,
    data_root: DataRoot = _DEFAULT.data_root,
    convolved_dir: Annotated[
        str | None,
        typer.Option(help="Folder of the scenes. Default: DATA_ROOT/convolved_results."),
    ] = None,
    output_base: Annotated[
        str | None, typer.Option(help="Folder of the templates. Default: DATA_ROOT/templates.")
    ] = None,
    multi_offset_array: Offsets = _DEFAULT.offsets,
    follow: Follow = None,
    refine: Refine = _DEFAULT.refine,
    oversample: Oversample = _DEFAULT.oversample,
    roi: Roi = None,
    target: Target = None,
    size: Size = _DEFAULT.size,
    overwrite: Overwrite = _DEFAULT.overwrite,
    allow_partial: AllowPartial = _DEFAULT.allow_partial,
    verbose: Verbose = 0,
    json: Json = False,
) -> None:
    """Sample a CCD's scene on the TESS pixel grid, one template per offset or FFI."""
    follow = tuple(follow or ())  # type: ignore[assignment]  # settings hold tuples
    settings = _settings(
        locals(), offsets=multi_offset_array, convolved=convolved_dir, templates=output_base
    )
    with _terminal(verbose, as_json=json) as terminal:
        from syndiff.pipeline import run_downsample

        detector = Detector(sector, camera, ccd)
        terminal.show(run_downsample(detector, settings, terminal.progress))


@app.command()
def drift(
    ffis: Annotated[
        list[str], typer.Argument(metavar="FFI...", help="TESS FFIs of one sector, camera, CCD.")
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="FFI",
            help="Count shifts from this FFI. Default: the data root's reference FFI, or else the "
            "first one given.",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(metavar="PX", help="How far an offset may be from an FFI's field.")
    ] = 0.02,
    output: Annotated[
        str | None,
        typer.Option(help="Folder of table and plot. Default: DATA_ROOT/drift/sector_.../..."),
    ] = None,
    data_root: DataRoot = _DEFAULT.data_root,
    verbose: Verbose = 0,
    json: Json = False,
) -> None:
    """Tabulate how the field shifts from FFI to FFI; find few offsets that stand for them."""
    with _terminal(verbose, as_json=json) as terminal:
        from syndiff.pipeline import run_drift

        report = run_drift(
            ffis,
            data_root=data_root,
            reference=reference,
            tolerance_px=tolerance,
            output=output,
        )
        terminal.show_drift(report)


@app.command()
def difference(
    tess_fits: Ffi,
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="Template of the FFI's CCD, .fits.")
    ],
    data_root: DataRoot = _DEFAULT.data_root,
    convolved_dir: Annotated[
        str | None,
        typer.Option(help="Folder of the scenes. Default: DATA_ROOT/convolved_results."),
    ] = None,
    kernel: Annotated[
        str,
        typer.Option(
            metavar="fitted|none",
            help="Fit a kernel that varies over the field, or scale and background only.",
        ),
    ] = "fitted",
    stars: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Measure the residuals of this catalogue's stars. Default: the template's own.",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="Difference file. Default: beside the template.")
    ] = None,
    verbose: Verbose = 0,
    json: Json = False,
) -> None:
    """Subtract a template from an FFI: scale, background and a kernel fitted to it."""
    settings = _settings(locals(), convolved=convolved_dir)
    with _terminal(verbose, as_json=json) as terminal:
        from syndiff.pipeline import run_difference
        from syndiff.stages.difference import DifferenceJob

        job = DifferenceJob(tess_fits, template, kernel, stars, output)  # type: ignore[arg-type]
        terminal.show(run_difference(job, settings))


@app.command()
def simulate(
    directory: Annotated[str, typer.Argument(help="Folder to make it in.")],
    sector: Annotated[int, typer.Option(help="TESS sector.")] = 20,
    camera: Annotated[int, typer.Option(help="TESS camera, 1 to 4.")] = 3,
    ccd: Annotated[int, typer.Option(help="TESS CCD, 1 to 4.")] = 3,
    header: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Take the WCS from this FFI or header. Default: the built-in one of 20 3 3, "
            "others from the package tesswcs.",
        ),
    ] = None,
    kind: Annotated[
        str, typer.Option(metavar="field|crowded|isolated", help="What is in the sky.")
    ] = "field",
    noise: Annotated[bool, typer.Option(help="Noise and spoilt pixels.")] = True,
    centre: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y", help="Middle of the field, FFI pixels. Default: of the CCD, or skycells."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="RA,DEC", help="Middle of the field, degrees.")
    ] = None,
    size: Annotated[int, typer.Option(metavar="N", help="Side of the field, FFI pixels.")] = 40,
    skycells: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="Make these of RINGS.V3, at full size. Default: two made-up projections that "
            "meet in the field.",
        ),
    ] = "",
    psf: Annotated[
        str,
        typer.Option(
            metavar="gaussian|prf", help="TESS's response; prf writes its files as MAST has them."
        ),
    ] = "gaussian",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 1,
    verbose: Verbose = 0,
) -> None:
    """Make an FFI and a PS1 archive of a synthetic sky, to try things on."""
    with _terminal(verbose, as_json=False) as terminal:
        from syndiff.execution import available_cores, open_executor
        from syndiff.simulation import plan_simulation
        from syndiff.simulation import simulate as make
        from syndiff.sky.tessellation import Tessellation

        names = [name.strip() for name in skycells.split(",")] if skycells else []
        plan = plan_simulation(
            kind=kind,  # type: ignore[arg-type]  # checked there
            noise=noise,
            detector=Detector(sector, camera, ccd),
            header=header,
            centre_px=parse_pixel(centre) if centre is not None else None,
            target=parse_target(target) if target is not None else None,
            size_px=size,
            skycells=[Tessellation.rings_v3()[name] for name in names],
            psf=psf,  # type: ignore[arg-type]  # checked there
            seed=seed,
        )
        with open_executor(cores=available_cores(), threads=1) as executor:
            progress = partial(terminal.progress, "skycells")
            terminal.show_simulation(make(plan, directory, progress=progress, executor=executor))


@app.command()
def demo(
    directory: Annotated[str, typer.Argument(help="Folder to keep it in.")] = "syndiff_demo",
    verbose: Verbose = 0,
) -> None:
    """Simulate a small sky, make its templates, compare them with the truth. No network."""
    with _terminal(verbose, as_json=False) as terminal:
        from syndiff.demo import run_demo

        report = run_demo(directory, terminal.progress)
        terminal.show_demo(report)
        report.check()
