"""The demonstration: a small sky, its archive served, the real pipeline, the truth."""

from __future__ import annotations

import contextlib
import math
import threading
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from syndiff.config import TESS_ZERO_POINT
from syndiff.differences.scaled import subtract_template
from syndiff.errors import MissingInputError, RenderingError, StorageError
from syndiff.execution import LocalExecutor, available_cores
from syndiff.ffi.observation import read_observation
from syndiff.masks import DataQuality
from syndiff.pipeline import run_pipeline
from syndiff.plots import Plane, draw_panel
from syndiff.settings import Settings
from syndiff.simulation import (
    Simulation,
    SimulationConfig,
    Transient,
    isolated_stars,
    plan_simulation,
    simulate,
)
from syndiff.simulation.accuracy import clean_pixels, compare_box, compare_field, flux_ratios
from syndiff.simulation.ffi import E_PER_S_PER_FLUX, wcs_of
from syndiff.simulation.grid import small_catalogue
from syndiff.storage.place import Place
from syndiff.templates.template import MIN_COVERAGE
from syndiff.templates.template_file import read_template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from syndiff.config import Background
    from syndiff.simulation.accuracy import BoxAccuracy, FieldAccuracy, FluxRatio
    from syndiff.sky.tessellation import Skycell
    from syndiff.stages.stage import Progress
    from syndiff.templates.template import Template

__all__ = ["DemoReport", "FfiAccuracy", "Limit", "run_demo", "serve"]

OFFSETS = ((0.0, 0.0), (0.37, -0.21), (-0.5, 0.5), (0.25, 0.75))
MAG_EDGES = (13.5, 15.0, 17.0, 19.0, 21.0)
PANEL = "demo.png"

_TRANSIENT_MAG = 16.5
_TRANSIENT_PX = (5.3, 4.6)  # from the field's middle


@dataclass(frozen=True)
class Limit:
    """A promise and how it was kept.

    Parameters
    ----------
    name : str
        What was measured.
    value, limit : float
        The worst that was found, and the worst that may be.
    """

    name: str
    value: float
    limit: float

    @property
    def is_kept(self) -> bool:
        """Whether the value is within the limit; never for a value that is not a number."""
        return self.value <= self.limit


@dataclass(frozen=True)
class FfiAccuracy:
    """The FFI less the template at (0, 0).

    Parameters
    ----------
    scatter : float
        Rms of the difference over clean pixels, in units of the FFI's noise.
    expected : float
        What the noise of FFI and template together would make of it at most.
    zero_point, zero_point_error : float
        AB magnitude of 1 e-/s as fitted.
    true_zero_point : float
        As simulated.
    transient, transient_error : float
        Flux of the transient in the difference over the simulated one, and its standard deviation.
    """

    scatter: float
    expected: float
    zero_point: float
    zero_point_error: float
    true_zero_point: float
    transient: float
    transient_error: float


@dataclass(frozen=True)
class DemoReport:
    """What the demonstration found.

    Parameters
    ----------
    stars : dict of (float, float) to list of BoxAccuracy
        Offset to the accuracy of each star without noise.
    field : list of FieldAccuracy
        With noise, one an offset.
    ratios : list of FluxRatio
        With noise, by magnitude, at (0, 0).
    ffi : FfiAccuracy
        The FFI less the template.
    panel : Path
        The figure.
    """

    stars: dict[tuple[float, float], list[BoxAccuracy]]
    field: list[FieldAccuracy]
    ratios: list[FluxRatio]
    ffi: FfiAccuracy
    panel: Path

    def worst(self, name: str) -> float:
        """Return the worst figure of any star without noise at any offset.

        Parameters
        ----------
        name : str
            A field of `BoxAccuracy`.

        Returns
        -------
        float
            The largest magnitude.
        """
        every = [abs(getattr(star, name)) for found in self.stars.values() for star in found]
        return float(np.max(every))

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Every promise and how it was kept.

        Notes
        -----
        Without noise: what the pipeline promises of isolated stars. With noise: 4 standard
        deviations (which also hold the noise of what is next to a source), and on top 1e-3 of flux,
        1e-3 px and 1e-3 mag for light below detection, which a template with matched background
        leaves out. Its scatter is in UNCERT to about a tenth (docs/faint-light.md), and 0.2 leaves
        room for chance; the FFI less the template may scatter by a tenth more than the noise of
        both.
        """
        ffi, bright = self.ffi, self.ratios[0]
        scatter, shift, shift_error = (
            float(np.max([getattr(f, name) for f in self.field]))
            for name in ("scatter", "shift_px", "shift_error_px")
        )
        zero_point = abs(ffi.zero_point - ffi.true_zero_point)
        return (
            Limit("no noise: rms of template - truth, of peak", self.worst("rms"), 5e-5),
            Limit("no noise: largest error, of peak", self.worst("worst"), 3e-4),
            Limit("no noise: flux of a star", self.worst("flux"), 1e-4),
            Limit("no noise: centroid, px", self.worst("centroid_px"), 3e-4),
            Limit("rms of template - truth, of UNCERT", scatter, 1.2),
            Limit("pixels without flux inside the coverage", sum(f.lost for f in self.field), 0),
            Limit("position, px", shift, 1e-3 + 4 * shift_error),
            Limit("flux of the brightest bin", abs(bright.ratio - 1), 1e-3 + 4 * bright.error),
            Limit("rms of FFI - template, of the FFI's noise", ffi.scatter, 1.1 * ffi.expected),
            Limit("zero point, mag", zero_point, 1e-3 + 4 * ffi.zero_point_error),
            Limit("flux of the transient", abs(ffi.transient - 1), 4 * ffi.transient_error),
        )

    def check(self) -> None:
        """Raise if a promise is not kept.

        Raises
        ------
        RenderingError
            If a figure is worse than its limit.
        """
        broken = [limit for limit in self.limits if not limit.is_kept]
        if broken:
            words = "; ".join(f"{one.name} {one.value:.2g} > {one.limit:.2g}" for one in broken)
            raise RenderingError(
                f"templates are less accurate than promised: {words}: please report it with the "
                "demonstration's folder"
            )


def run_demo(directory: str | Path, progress: Progress | None = None) -> DemoReport:
    """Simulate, run the pipeline on it, compare with the truth.

    Parameters
    ----------
    directory : str or Path
        Where everything is kept; what is there from an earlier run is used again.
    progress : callable, optional
        Told after every task.

    Returns
    -------
    DemoReport
        What was found.

    Raises
    ------
    SyndiffError
        Whatever simulation and pipeline raise.
    """
    root = Path(directory)
    made = _simulate(root / "stars", plan_stars(), progress)
    noisy = _simulate(root / "field", plan_field(), progress)
    stars = _run(*made, "none", progress)
    field = _run(*noisy, "matched", progress)
    simulation = noisy[0]
    first = next(iter(field.items()))
    ffi, image = _difference(simulation, first[1])
    panel = root / PANEL
    try:
        panel.write_bytes(image)
    except OSError as error:
        raise StorageError(f"{panel} can't be written: {error}") from error
    return DemoReport(
        stars={offset: _boxes(made[0], template, offset) for offset, template in stars.items()},
        field=[
            compare_field(template, simulation, offset, min_coverage=MIN_COVERAGE)
            for offset, template in field.items()
        ],
        ratios=flux_ratios(first[1], simulation, first[0], MAG_EDGES),
        ffi=ffi,
        panel=panel,
    )


def plan_stars() -> SimulationConfig:
    """Return the sky without noise: nine bright stars where two rotated projections meet.

    Returns
    -------
    SimulationConfig
        For `simulate`.
    """
    plan = plan_simulation(kind="isolated", noise=False, size_px=16)
    stars = isolated_stars(plan.ffi.wcs_cards, plan.field, spacing_px=4.0)
    return replace(plan, sky=replace(plan.sky, stars=stars), skycells=_skycells(plan))


def plan_field() -> SimulationConfig:
    """Return the sky with noise: stars, galaxies, bad pixels, and a transient in the FFI.

    Returns
    -------
    SimulationConfig
        For `simulate`.
    """
    plan = plan_simulation(size_px=20, seed=4)
    x, y = _middle(plan)
    ra, dec = wcs_of(plan.ffi.wcs_cards).all_pix2world(
        x + _TRANSIENT_PX[0], y + _TRANSIENT_PX[1], 0
    )
    transient = Transient(float(ra), float(dec), _TRANSIENT_MAG)
    ffi = replace(plan.ffi, transients=(transient,))
    return replace(plan, ffi=ffi, skycells=_skycells(plan))


def _skycells(plan: SimulationConfig) -> tuple[Skycell, ...]:
    """Return skycells of two projections, small and few."""
    wcs = wcs_of(plan.ffi.wcs_cards)
    return tuple(small_catalogue(wcs, plan.field, margin_px=3.0, cell_px=1000, overlap_px=200))


def _middle(plan: SimulationConfig) -> tuple[float, float]:
    field = plan.field
    return (field.x0 + field.x1 - 1) / 2, (field.y0 + field.y1 - 1) / 2


def _simulate(
    directory: Path, plan: SimulationConfig, progress: Progress | None
) -> tuple[Simulation, bool]:
    """Return a simulation, and whether it had to be made."""
    with contextlib.suppress(MissingInputError):
        simulation = Simulation.load(directory)
        if simulation.config == plan:
            return simulation, False
    # Threads, here and in `_run`: work this small is done before worker processes have started.
    executor = LocalExecutor(available_cores())
    told = partial(progress, "simulate") if progress else None
    return simulate(plan, directory, progress=told, executor=executor), True


def _run(
    simulation: Simulation, is_new: bool, background: Background, progress: Progress | None
) -> dict[tuple[float, float], Template]:
    """Run the pipeline on a simulation's archive, served over HTTP; return its templates."""
    with serve(simulation.archive) as url:
        settings = Settings(
            data_root=str(simulation.directory / "data"),
            archive=url,
            catalogue=str(simulation.catalogue),
            roi=simulation.config.field,
            offsets=OFFSETS,
            background=background,
            overwrite=is_new,
            cores=1,
        )
        report = run_pipeline(str(simulation.ffi), settings, progress)
    products = report.stages[-1].products
    return {
        offset: read_template(Place.at(product))[0]
        for offset, product in zip(OFFSETS, products, strict=True)
    }


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder without logging."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as inherited
        """Say nothing."""


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP, to this machine only.

    Parameters
    ----------
    folder : Path
        What to serve.

    Yields
    ------
    str
        Its URL on a free port of 127.0.0.1.
    """
    handler = partial(_Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def _boxes(
    simulation: Simulation, template: Template, offset: tuple[float, float]
) -> list[BoxAccuracy]:
    """Compare every star without noise."""
    truth = simulation.truth(offset=offset)
    field, sources = simulation.config.field, simulation.sources
    x, y = wcs_of(simulation.config.ffi.wcs_cards).all_world2pix(sources.ra, sources.dec, 0)
    x, y = x + offset[0] - field.x0, y + offset[1] - field.y0
    return [compare_box(template.flux, truth, place) for place in zip(x, y, strict=True)]


def _difference(simulation: Simulation, template: Template) -> tuple[FfiAccuracy, bytes]:
    """Subtract the template from the FFI; return what was found, and the panel."""
    field = simulation.config.field
    observation = read_observation(simulation.ffi)
    image = observation.read_image()[field.slices].astype(float)
    noise = observation.read_uncertainty()[field.slices].astype(float)
    near = _near_transient(simulation, image.shape)
    clean = clean_pixels(template)
    difference = subtract_template(image, noise, template.flux, excluded=~clean | near)
    both = np.hypot(noise, difference.scale * template.uncertainty)
    quiet = clean & ~near
    flux = 10 ** (-0.4 * (_TRANSIENT_MAG - TESS_ZERO_POINT))
    found = FfiAccuracy(
        scatter=float(np.sqrt(np.mean((difference.image / noise)[quiet] ** 2))),
        expected=float(np.sqrt(np.mean((both / noise)[quiet] ** 2))),
        zero_point=difference.zero_point,
        zero_point_error=difference.zero_point_error,
        true_zero_point=25 + 2.5 * math.log10(E_PER_S_PER_FLUX),
        transient=float(difference.image[near].sum() / flux),
        transient_error=float(np.sqrt((both[near] ** 2).sum()) / flux),
    )
    return found, _panel(simulation, template, (image, difference.image / noise))


def _near_transient(simulation: Simulation, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the box of 5 x 5 pixels around the transient."""
    x, y = _transient_px(simulation)
    field = simulation.config.field
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    across, up = np.abs(columns - round(x - field.x0)), np.abs(rows - round(y - field.y0))
    return np.asarray((across <= 2) & (up <= 2))


def _transient_px(simulation: Simulation) -> tuple[float, float]:
    x, y = _middle(simulation.config)
    return x + _TRANSIENT_PX[0], y + _TRANSIENT_PX[1]


def _panel(
    simulation: Simulation,
    template: Template,
    images: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> bytes:
    """Draw FFI, template, difference and coverage."""
    ffi, difference = images
    spoilt = (template.quality & (DataQuality.SATURATED_IN_PS1 | DataQuality.LEFT_OUT_LIGHT)) != 0
    detector = simulation.config.ffi.detector
    return draw_panel(
        (
            Plane("FFI", ffi, "e$^-$/s", "light"),
            Plane("Template from PS1, (0, 0)", template.flux, "flux, AB zero point 25", "light"),
            Plane("FFI - template", difference, "in units of the FFI's noise", "signed", spoilt),
            Plane("Coverage", template.coverage, "part of the response on PS1 data", "fraction"),
        ),
        simulation.config.field,
        title=(
            f"syndiff demo: simulated {detector}; circle: a transient of T = {_TRANSIENT_MAG}; "
            "crosses: saturated in PS1"
        ),
        marks=[_transient_px(simulation)],
    )
