"""What a user can tell a run, each default written once; light, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syndiff.config import (
    DEFAULT_ARCHIVE,
    DEFAULT_GAIA_TAP,
    DEFAULT_PRF_DIR,
    MAX_OVERSAMPLE,
    ReductionConfig,
    SceneConfig,
    parse_offsets,
)
from syndiff.errors import ConfigError
from syndiff.layout import Detector, Layout
from syndiff.masks import parse_bits
from syndiff.window import Window

if TYPE_CHECKING:
    from syndiff.config import Background, PsfModel, StarSource

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """Everything that commands share; each default is written here and nowhere else.

    Parameters
    ----------
    data_root : str
        Folder or ``s3://`` URL that everything is kept under.
    mapping, atlas, convolved, templates : str, optional
        Other places for the four parts of it.
    catalogue : str, optional
        Skycell catalogue.
    archive : str
        Root of the PS1 stacks: ``https://``, ``s3://`` or a folder.
    jobs : int
        Simultaneous requests.
    cores : int
        Worker processes, capped at the cores there are.
    scheduler : str, optional
        Address of a running Dask scheduler.
    roi : str, optional
        ``x0,y0,x1,y1``, FFI array pixels, 0-based, half-open.
    target : str, optional
        ``RA,DEC`` at the centre of a square region of interest, degrees or sexagesimal.
    size : int
        Side of that square in TESS pixels.
    ignore_mask_bits : str
        PS1 mask bits whose pixels are left out, numbers or names.
    background : {"matched", "sep", "none"}
        What counts as light.
    diffuse : float
        Width in arcsec by which undetected light is smoothed before it is added; 0: left out.
    psf : {"gaussian", "prf"}
        The response of TESS's pixels: a Gaussian, or the measured one.
    psf_sigma : float
        Standard deviation of the Gaussian response in PS1 pixels.
    prf_dir : str
        Where the measured responses are: ``https://``, ``s3://`` or a folder.
    stars : str
        Star catalogue: a file, ``gaia`` or ``none``.
    star_scale : float, optional
        AB less TESS magnitude of the stars that are put back; measured if not given.
    gaia_url : str
        TAP service that ``gaia`` asks.
    offsets : str
        ``dx,dy,dx,dy,...`` in TESS pixels.
    oversample : int
        Samples per TESS pixel and axis of the templates.
    follow : tuple of str
        FFIs to make templates for, each at its own WCS; instead of `offsets`.
    refine : bool
        Whether the stars of those FFIs decide where they look, not their WCS alone.
    keep_raw : bool
        Keep the stack planes losslessly too.
    allow_partial : bool
        Go on, flagged, without what failed.
    overwrite : bool
        Make again what is there.
    limit : int, optional
        Use the skycells of the first projections only.
    """

    data_root: str = "data"
    mapping: str | None = None
    atlas: str | None = None
    convolved: str | None = None
    templates: str | None = None
    catalogue: str | None = None
    archive: str = DEFAULT_ARCHIVE
    jobs: int = 60
    cores: int = 8
    scheduler: str | None = None
    roi: str | None = None
    target: str | None = None
    size: int = 64
    ignore_mask_bits: str = "12"
    background: Background = "matched"
    diffuse: float = 0.0
    psf: PsfModel = "gaussian"
    psf_sigma: float = 40.0
    prf_dir: str = DEFAULT_PRF_DIR
    stars: str = "none"
    star_scale: float | None = None
    gaia_url: str = DEFAULT_GAIA_TAP
    offsets: str = "0.0,0.0"
    oversample: int = 1
    follow: tuple[str, ...] = ()
    refine: bool = False
    keep_raw: bool = False
    allow_partial: bool = False
    overwrite: bool = False
    limit: int | None = None

    def layout(self, detector: Detector) -> Layout:
        """Return where everything of a CCD lies.

        Parameters
        ----------
        detector : Detector
            Sector, camera and CCD.

        Returns
        -------
        Layout
            Under the data root, but for the places given elsewhere.
        """
        return Layout.under(
            self.data_root,
            detector,
            mapping=self.mapping,
            atlas=self.atlas,
            convolved=self.convolved,
            templates=self.templates,
        )

    @property
    def scene(self) -> SceneConfig:
        """How reduced skycells become a scene; the files of a measured response not read yet."""
        named: dict[str, StarSource] = {"none": "none", "gaia": "gaia"}
        return SceneConfig(
            self.psf_sigma,
            self.background,
            self.diffuse,
            psf=self.psf,
            stars=named.get(self.stars, "file"),
            star_scale_mag=self.star_scale,
        )

    @property
    def reduction(self) -> ReductionConfig:
        """How skycells are reduced."""
        return ReductionConfig(parse_bits(self.ignore_mask_bits), self.scene.detection)

    def _check_follow(self) -> None:
        if self.follow and self.offsets != type(self).offsets:
            raise ConfigError(
                "--follow and --multi-offset-array are both given: a template that follows an FFI "
                "has that FFI's own pointing, give one of them"
            )
        if self.refine and not self.follow:
            raise ConfigError("--refine is for FFIs that are followed: give them with --follow")

    def check(self) -> None:
        """Raise for every bad value before any work is done.

        Raises
        ------
        ConfigError
            The first bad value.
        """
        parse_offsets(self.offsets)
        if not 1 <= self.oversample <= MAX_OVERSAMPLE:
            raise ConfigError(f"oversample {self.oversample}: give 1 to {MAX_OVERSAMPLE}")
        self._check_follow()
        _ = self.reduction
        for name in ("jobs", "cores", "size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} is too few: give 1 or more")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit {self.limit} is too few projections: give 1 or more")
        if self.roi is not None:
            Window.parse(self.roi)
