"""The command line: arguments to settings, settings to the pipeline, its report to the terminal."""

import codecs
import io
import os
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from syndiff import __version__
from syndiff.commands.options import Camera, Catalogue, Ccd, Ffi, Sector, Verbose, shown, takes
from syndiff.commands.where import where
from syndiff.config import parse_pixel
from syndiff.layout import Detector
from syndiff.positions import read_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syndiff.commands.display import Terminal
    from syndiff.settings import Settings

__all__ = ["app", "run"]

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


_REGION = ("roi", "target", "size", "sesame_url")
_RESPONSE = ("psf", "psf_sigma", "prf_dir")
_LIGHT = ("background", "diffuse", "stars", "star_scale", "gaia_url")


@app.command()
@takes(
    *("data_root", "cores", "jobs", "overwrite", "offsets", "oversample", "ignore_mask_bits"),
    *("archive", *_REGION, *_RESPONSE, *_LIGHT, "keep_raw", "allow_mixed", "allow_partial"),
    "scheduler",
)
def pipeline(
    tess_fits: Ffi, skycell_wcs_csv: Catalogue = None, *, settings: "Settings", terminal: "Terminal"
) -> None:
    """Make the templates of an FFI: mapping, download, process, downsample."""
    from syndiff.pipeline import run_pipeline

    settings = replace(settings, catalogue=skycell_wcs_csv)
    terminal.show(run_pipeline(tess_fits, settings, terminal.progress))


@app.command()
@takes("catalogue", "mapping", "overwrite", "data_root", *_REGION, "scheduler")
def mapping(
    tess_fits: Ffi,
    max_workers: Annotated[
        int | None, typer.Option(help="Worker processes. Default: all cores.")
    ] = None,
    *,
    settings: "Settings",
    terminal: "Terminal",
) -> None:
    """Find the skycells under an FFI and map where they land."""
    from syndiff.execution import available_cores
    from syndiff.pipeline import Run, run_stages

    settings = replace(settings, cores=available_cores() if max_workers is None else max_workers)
    terminal.show(run_stages(Run(tess_fits, settings, terminal.progress), "mapping"))


@app.command()
@takes(
    *("overwrite", "ignore_mask_bits", "data_root", "archive", *_REGION, "background"),
    *("keep_raw", "allow_mixed", "allow_partial", "cores", "scheduler", "atlas"),
    jobs=("--num-workers", 32),
)
def download(
    sector: Sector,
    camera: Camera,
    ccd: Ccd,
    use_local_files: Annotated[
        bool, typer.Option("--use-local-files", help="Read stack files from --local-data-path.")
    ] = False,
    local_data_path: Annotated[
        str | None,
        typer.Option(help="Folder of stack files. Default: DATA_ROOT/ps1_skycells."),
    ] = None,
    *,
    settings: "Settings",
    terminal: "Terminal",
) -> None:
    """Fetch the skycells of a mapped CCD and reduce them into the atlas."""
    from syndiff.pipeline import Run, run_stages

    if use_local_files or local_data_path is not None:
        archive = local_data_path or f"{settings.data_root}/ps1_skycells"
        settings = replace(settings, archive=archive)
    run = Run(Detector(sector, camera, ccd), settings, terminal.progress)
    terminal.show(run_stages(run, "download"))


@app.command()
@takes(
    *("data_root", "limit", *_RESPONSE, *_LIGHT, "ignore_mask_bits", *_REGION),
    *("overwrite", "allow_partial", "cores", "scheduler"),
)
def process(
    sector: Sector, camera: Camera, ccd: Ccd, *, settings: "Settings", terminal: "Terminal"
) -> None:
    """Combine the bands of a CCD's skycells and render its scene at TESS's resolution."""
    from syndiff.pipeline import Run, run_stages

    run = Run(Detector(sector, camera, ccd), settings, terminal.progress)
    terminal.show(run_stages(run, "process"))


class _SeveralFfis(TyperCommand):
    """A command whose option --follow takes every FFI up to the next option.

    Click's options take a fixed number of values. Whole numbers are no FFIs but the detector.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer has its own click
        """Write --follow before each of its FFIs, then go on as usual."""
        return super().parse_args(ctx, list(_each_followed(args)))


def _each_followed(args: list[str]) -> "Iterator[str]":
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
@takes(
    *("data_root", "convolved", "templates", "offsets", "follow", "refine", "oversample"),
    *(*_REGION, "overwrite", "allow_partial"),
)
def downsample(
    sector: Sector = 20,
    camera: Camera = 3,
    ccd: Ccd = 3,
    *,
    settings: "Settings",
    terminal: "Terminal",
) -> None:
    """Sample a CCD's scene on the TESS pixel grid, one template per offset or FFI."""
    from syndiff.pipeline import Run, run_stages

    run = Run(Detector(sector, camera, ccd), settings, terminal.progress)
    terminal.show(run_stages(run, "downsample"))


@app.command()
@takes("data_root", "reference", "tolerance", "output")
def drift(
    ffis: Annotated[
        list[str], typer.Argument(metavar="FFI...", help="TESS FFIs of one sector, camera, CCD.")
    ],
    *,
    settings: "Settings",
    terminal: "Terminal",
) -> None:
    """Tabulate how the field shifts from FFI to FFI; find few offsets that stand for them."""
    from syndiff.pipeline import run_drift

    terminal.show_drift(run_drift(ffis, settings))


@app.command()
@takes(
    *("data_root", "convolved", "kernel", "planes", "compress", "residuals", "output"),
    *("overwrite", "allow_partial"),
)
def difference(
    ffis: Annotated[
        list[str],
        typer.Argument(metavar="FFI...", help="TESS FFIs of one CCD, or folders of them."),
    ],
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="Template of the FFI's CCD, .fits.")
    ],
    stars: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Measure the residuals of this catalogue's stars. Default: the template's own.",
        ),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(
            metavar="hotpants|sfft",
            help="Subtract nothing: write what this tool reads, and the command to run.",
        ),
    ] = None,
    *,
    settings: "Settings",
    terminal: "Terminal",
) -> None:
    """Subtract a template from FFIs: scale, background and a kernel fitted to each."""
    from syndiff.pipeline import run_difference, run_export

    if export is not None:
        terminal.show(run_export(ffis, template, export, settings))  # type: ignore[arg-type]
        return
    terminal.show(run_difference(ffis, template, settings, stars, terminal.progress))


@app.command()
@takes(
    *("data_root", "cores", "jobs", "overwrite", "archive", "catalogue", *_RESPONSE),
    *(*_LIGHT, "scheduler"),
    stars=("--stars", "gaia"),
)
def lightcurve(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="RA,DEC of the target, degrees or sexagesimal.")
    ],
    ffis: Annotated[
        list[str],
        typer.Option("--ffis", metavar="DIR|FILE", help="Folder of FFIs, or FFIs; repeatable."),
    ],
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What to call it. Default: its position.")
    ] = None,
    size: Annotated[
        int, typer.Option(metavar="N", help="Side of the field in pixels: its stars tell.")
    ] = 64,
    sector: Annotated[
        int | None, typer.Option(metavar="N", help="Take the FFIs of this sector only.")
    ] = None,
    bins: Annotated[
        list[str] | None,
        typer.Option("--bin", metavar="WIDTH", help="Bins: 30min, 6h, 1d; repeatable."),
    ] = None,
    quiet_before: Annotated[
        str,
        typer.Option(
            metavar="DATE", help="Take off the mean before this date: 2020-01-10, JD, MJD or BTJD."
        ),
    ] = "",
    keep_images: Annotated[
        bool, typer.Option("--keep-images", help="Keep the differences of the field as one cube.")
    ] = False,
    *,
    settings: "Settings",
    terminal: "Terminal",
) -> None:
    """Measure a target in every frame: flux over time beyond what Pan-STARRS1 saw there."""
    from syndiff.lightcurves.light_curve import BINS
    from syndiff.sky.names import position_of
    from syndiff.target_run import TargetJob, run_light_curve

    settings = replace(settings, target=target, size=size)
    job = TargetJob(
        name=name or target.strip(),
        target=position_of(read_target(target), settings.sesame_url),
        ffis=tuple(ffis),
        sector=sector,
        bins=tuple(bins or BINS),
        quiet_before=quiet_before,
        keep_images=keep_images,
    )
    terminal.show_light_curve(run_light_curve(job, settings, terminal.progress))


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
        str | None, typer.Option(metavar="RA,DEC|NAME", help="Middle of the field.")
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
    archive: Annotated[
        bool, typer.Option(help="A PS1 archive; without one, fields can be as large as the CCD.")
    ] = True,
    faint: Annotated[
        float, typer.Option(metavar="MAG", help="Faintest i magnitude of drawn stars.")
    ] = 24.0,
    series: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Make a sector's N frames of the field too, with two supernovae, a variable star "
            "and an asteroid.",
        ),
    ] = 0,
    series_form: Annotated[
        str,
        typer.Option(metavar="cube|ffis|both", help="As TESScut's cube, full-frame images, both."),
    ] = "cube",
    series_cadence: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="20, 120, 200, 600 or 1800. Default: the sector's."),
    ] = 0.0,
    series_clean: Annotated[
        bool, typer.Option(help="Frames of which none is spoilt, without scattered light.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 1,
    verbose: Verbose = 0,
) -> None:
    """Make an FFI and a PS1 archive of a synthetic sky, or a sector's frames, to try things on."""
    with shown(verbose, as_json=False) as terminal:
        from syndiff.execution import available_cores, open_executor
        from syndiff.simulation import plan_simulation
        from syndiff.simulation import simulate as make
        from syndiff.simulation.series import check_form, simulate_series, with_series
        from syndiff.sky.names import position_of
        from syndiff.sky.tessellation import Tessellation

        names = [name.strip() for name in skycells.split(",")] if skycells else []
        plan = plan_simulation(
            kind=kind,  # type: ignore[arg-type]  # checked there
            noise=noise,
            detector=Detector(sector, camera, ccd),
            header=header,
            centre_px=parse_pixel(centre) if centre is not None else None,
            target=position_of(read_target(target)) if target is not None else None,
            size_px=size,
            skycells=[Tessellation.rings_v3()[name] for name in names],
            archive=archive,
            faint_mag=faint,
            psf=psf,  # type: ignore[arg-type]  # checked there
            seed=seed,
        )
        if series:
            check_form(series_form)
            plan, config = with_series(plan, series, cadence_s=series_cadence, clean=series_clean)
        with open_executor(cores=available_cores(), threads=1) as executor:
            progress = partial(terminal.progress, "skycells")
            sky = make(plan, directory, progress=progress, executor=executor)
        if series:
            progress = partial(terminal.progress, "frames")
            simulate_series(sky, config, form=series_form, progress=progress)  # type: ignore[arg-type]  # checked above
        terminal.show_simulation(sky)


app.command(context_settings={"ignore_unknown_options": True})(where)


@app.command()
def demo(
    directory: Annotated[str, typer.Argument(help="Folder to keep it in.")] = "syndiff_demo",
    verbose: Verbose = 0,
) -> None:
    """Simulate a small sky, make its templates, compare them with the truth. No network."""
    with shown(verbose, as_json=False) as terminal:
        from syndiff.simulation.demo import run_demo

        report = run_demo(directory, terminal.progress)
        terminal.show_demo(report)
        report.check()
