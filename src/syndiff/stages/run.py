"""One CCD and what is asked of it: all that its stages share, each made once, on first use."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from syndiff.errors import ConfigError
from syndiff.execution import LocalExecutor, open_executor
from syndiff.ffi.observation import Observation, read_observation
from syndiff.layout import Detector
from syndiff.scenes.prf import response_for
from syndiff.scenes.prf_files import keep_prf_grid
from syndiff.sky.chosen_tessellation import find_catalogue, open_tessellation
from syndiff.sky.mapping_files import read_mapping
from syndiff.sky.names import position_of
from syndiff.sky.pixelmap import sky_to_pixel
from syndiff.stars.coverage import check_coverage
from syndiff.stars.gaia import GaiaService, find_gaia_stars
from syndiff.stars.star_files import read_star_file
from syndiff.transport.attempt import ArchiveConfig
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syndiff.execution import Executor
    from syndiff.ffi.frame import Frame
    from syndiff.layout import Layout
    from syndiff.scenes.prf import Response
    from syndiff.settings import Settings
    from syndiff.sky.mapping import Mapping
    from syndiff.sky.tessellation import Tessellation
    from syndiff.stages.stage import Progress
    from syndiff.stars.catalogue import StarCatalogue
    from syndiff.storage.place import Place

__all__ = ["Run"]

_SIZE_PX = 64
"""Side of the square around a target: enough stars for a kernel at most galactic latitudes."""


def _say_nothing(stage: str, done: int, total: int) -> None:
    """Ignore progress."""


class Run:
    """A CCD and what is asked of it; carries what its stages share.

    Every property is made on first use and kept: a process opens the FFI once and reads the
    mapping once. Workers are sent what was asked, and make there what they need.

    Parameters
    ----------
    source : str, Observation or Detector
        The FFI, not read yet or read; or a CCD that is mapped in the data root.
    settings : Settings
        Everything else.
    progress : callable, optional
        Told after every task.
    """

    def __init__(
        self,
        source: str | Observation | Detector,
        settings: Settings,
        progress: Progress | None = None,
    ) -> None:
        self.source = source
        self.settings = settings
        self.progress: Progress = progress or _say_nothing
        self.executor: Executor = LocalExecutor()
        self._mapping: tuple[str, Mapping] | None = None
        self._prf_digest: str | None = None

    def asked(self, settings: Settings, progress: Progress | None = None) -> Run:
        """Return the same CCD with other settings; what doesn't depend on them is kept.

        Parameters
        ----------
        settings : Settings
            What is asked of it.
        progress : callable, optional
            Told after every task.

        Returns
        -------
        Run
            Another one; this one stays as it is.
        """
        source = self.source if isinstance(self.source, Detector) else self.observation
        other = Run(source, settings, progress)
        if other.layout.mapping == self.layout.mapping:
            other._mapping = self._mapping
        return other

    @functools.cached_property
    def observation(self) -> Observation:
        """What the FFI's headers say."""
        if isinstance(self.source, Detector):
            raise ConfigError(f"no FFI of {self.source} is given, and one is needed: give it")
        if isinstance(self.source, Observation):
            return self.source
        return read_observation(self.source)

    @property
    def detector(self) -> Detector:
        """Sector, camera and CCD."""
        return self.source if isinstance(self.source, Detector) else self.observation.frame.detector

    @property
    def frame(self) -> Frame:
        """Pixel grid of the FFI, or of the one that the CCD is mapped by."""
        return self.mapping.frame if isinstance(self.source, Detector) else self.observation.frame

    @functools.cached_property
    def layout(self) -> Layout:
        """Where everything lies."""
        return self.settings.layout(self.detector)

    @property
    def mapping(self) -> Mapping:
        """The CCD's skycells; read again only if another run has replaced it since."""
        version = self.layout.skycell_list.version()
        if self._mapping is None or not version or self._mapping[0] != version:
            self._mapping = version, read_mapping(self.layout)
        return self._mapping[1]

    def mapped(self, mapping: Mapping) -> None:
        """Keep a mapping that was read or written just now; the caller holds its lock.

        Parameters
        ----------
        mapping : Mapping
            As it is on disk.
        """
        self._mapping = self.layout.skycell_list.version(), mapping

    @functools.cached_property
    def window(self) -> Window | None:
        """The region of interest, on science pixels; None for the full frame."""
        settings, frame = self.settings, self.frame
        window = settings.roi
        if settings.target is not None:
            target = position_of(settings.target, settings.sesame_url)
            window = _around(target, settings.size or _SIZE_PX, frame)
        if window is None:
            return None
        held = window.intersection(frame.science)
        if held is None:
            raise ConfigError(
                f"region of interest {window} holds no science pixel of {frame.detector}: those "
                f"are {frame.science} (x0,y0,x1,y1)"
            )
        return held

    @functools.cached_property
    def catalogue(self) -> Place | None:
        """The skycell catalogue; None for the built-in tessellation."""
        return find_catalogue(self.layout, self.settings.catalogue)

    @functools.cached_property
    def tessellation(self) -> Tessellation:
        """The skycells to map."""
        return open_tessellation(self.catalogue)

    @property
    def archive(self) -> ArchiveConfig:
        """Where the stacks come from."""
        return ArchiveConfig(self.settings.archive, connections=self.settings.jobs)

    @functools.cached_property
    def response(self) -> Response:
        """The response of the pixels; measured ones are kept under the data root for workers."""
        settings, kept = self.settings, self.layout.pixel_response
        if settings.psf == "prf" and self._prf_digest is None:
            grid = keep_prf_grid(settings.prf_dir, self.detector, kept, again=settings.overwrite)
            self._prf_digest = grid.digest
        return response_for(self.frame, settings, kept, self._prf_digest)

    @functools.cached_property
    def stars(self) -> StarCatalogue | None:
        """The stars that stand in for saturated ones; None for none."""
        settings = self.settings
        if settings.stars == "none":
            return None
        if settings.stars == "gaia":
            service = GaiaService(settings.gaia_url)
            return find_gaia_stars(self.layout, self.frame, self.window, service)
        stars = read_star_file(settings.stars)
        check_coverage(stars, self.frame, self.window, settings.stars)
        return stars

    @contextlib.contextmanager
    def workers(self) -> Iterator[None]:
        """Open the executor that all stages share, and close it at the end."""
        settings = self.settings
        # Two tasks a process: one fetches while the other computes.
        with open_executor(
            cores=settings.cores, threads=2, scheduler=settings.scheduler
        ) as executor:
            self.executor = executor
            try:
                yield
            finally:
                self.executor = LocalExecutor()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker is sent."""
        identity = {"source": self.detector, "_prf_digest": self._prf_digest, "_mapping": None}
        return {"settings": self.settings, **identity}

    def _identity(self) -> tuple[object, ...]:
        return self.settings, self.detector, self._prf_digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


def _around(target: tuple[float, float], size: int, frame: Frame) -> Window:
    """Return the square around a position on the sky."""
    x, y = (float(v) for v in sky_to_pixel(frame, *target))
    science = frame.science
    if not science.holds(x, y):
        raise ConfigError(
            f"`target` {target[0]:.6g},{target[1]:.6g} is not on {frame.detector}: it would fall "
            f"on pixel ({x:.1f}, {y:.1f}), the science pixels are {science} (x0,y0,x1,y1)"
        )
    x0, y0 = round(x) - size // 2, round(y) - size // 2
    return Window(x0, y0, x0 + size, y0 + size)
