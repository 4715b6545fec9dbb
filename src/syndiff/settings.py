"""The settings of a run, each declared once; a light import, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from syndiff import values
from syndiff.config import (
    DEFAULT_ARCHIVE,
    DEFAULT_GAIA_TAP,
    DEFAULT_PRF_DIR,
    DEFAULT_SESAME,
    DETECTION_SIGMA,
    DIFFUSE_ARCSEC,
    MAX_OVERSAMPLE,
    ReductionConfig,
    SceneConfig,
)
from syndiff.errors import ConfigError
from syndiff.layout import Detector, Layout
from syndiff.masks import parse_bits

if TYPE_CHECKING:
    from syndiff.config import (
        Background,
        Compression,
        Kernel,
        OffsetList,
        Planes,
        PsfModel,
        Residuals,
        StarSource,
    )
    from syndiff.window import Window

__all__ = ["Option", "Settings", "option_of"]


@dataclass(frozen=True)
class Option:
    """The help text of a setting, and how its value is read in any form.

    Parameters
    ----------
    help : str
        One sentence; other settings in backquotes.
    read : callable
        From what a user gives to what the setting holds.
    metavar : str
        Placeholder of the value in the help; empty for the value's type.
    """

    help: str
    read: values.Converter
    metavar: str = ""


def _setting(default: object, text: str, read: values.Converter, *, metavar: str = "") -> Any:  # noqa: ANN401 - a field of whatever type is annotated
    """Declare a setting."""
    return field(default=default, metadata={"option": Option(text, read, metavar)})


def option_of(name: str) -> tuple[object, Option]:
    """Return a setting's default and how it is given.

    Parameters
    ----------
    name : str
        Name of the setting.

    Returns
    -------
    (object, Option)
        The default as a user would write it, and its option.
    """
    (found,) = (one for one in fields(Settings) if one.name == name)
    return found.default, found.metadata["option"]


@dataclass(frozen=True, repr=False)
class Settings:
    """All settings of a run; each setting and its default is declared here alone.

    Values are read and checked when the settings are made: paths may be text or `pathlib.Path`,
    positions text or `SkyCoord`, angles numbers or quantities, offsets text or pairs, mask bits
    numbers or names.

    Parameters
    ----------
    data_root : str or path
        Folder or ``s3://`` URL of all products.
    mapping, atlas, convolved, templates : str or path, optional
        Other places for the four parts of it.
    catalogue : str or path, optional
        Skycell catalogue.
    archive : str or path
        Root of the PS1 stacks: ``https://``, ``s3://`` or a folder.
    jobs : int
        Simultaneous requests.
    cores : int
        Worker processes, capped at the cores there are.
    scheduler : str, optional
        Address of a running Dask scheduler.
    roi : Window, str or sequence of int, optional
        ``x0,y0,x1,y1``, FFI array pixels, 0-based, half-open.
    target : str, SkyCoord or pair of float, optional
        Right ascension and declination at the centre of a square region of interest, or the name of
        an object there.
    sesame_url : str
        Name service that is asked once where an object is.
    size : int, optional
        Side of that square in TESS pixels; 64 if not given.
    ignore_mask_bits : str, int or sequence of them
        PS1 mask bits whose pixels are left out, numbers or names.
    background : {"matched", "sep", "none"}
        What counts as light.
    diffuse : float or Quantity
        Width in arcsec by which undetected light is smoothed before it is added; 0: left out.
    psf : {"gaussian", "prf"}
        The response of TESS's pixels: a Gaussian, or the measured one.
    psf_sigma : float or Quantity
        Standard deviation of the Gaussian response, in PS1 pixels or as an angle.
    prf_dir : str or path
        Where the measured responses are: ``https://``, ``s3://`` or a folder.
    stars : str or path
        Star catalogue: a file, ``gaia`` or ``none``.
    star_scale : float, optional
        AB less TESS magnitude of the stars that are put back; measured if not given.
    gaia_url : str
        TAP service that ``gaia`` asks.
    offsets : str or sequence of pairs
        ``dx,dy,dx,dy,...`` in TESS pixels.
    oversample : int
        Samples per TESS pixel and axis of the templates.
    follow : path or sequence of paths
        FFIs to make templates for, each at its own WCS; instead of `offsets`.
    refine : bool
        Whether the stars of those FFIs correct their pointing, or their WCS alone is used.
    keep_raw : bool
        Keep the stack files too, unchanged.
    allow_mixed : bool
        Take stack files that contradict each other, as the image's header says.
    allow_partial : bool
        Go on, flagged, without what failed.
    overwrite : bool
        Make existing products again.
    limit : int, optional
        Use the skycells of the first projections only.
    kernel : {"fitted", "none"}
        Whether a template is subtracted through a kernel, or with scale and background only.
    planes : {"all", "difference"}
        Planes of a difference: all, or DIFF, UNCERT and DQ.
    compress : {"none", "rice"}
        Whether differences are rounded to an eighth of the noise and compressed.
    residuals : {"all", "some", "none"}
        Of which differences what is left of stars is written: of one FFI but not of several, if
        some.
    reference : str or path, optional
        FFI that shifts are counted from.
    tolerance : float
        How far an offset may be from the field of an FFI that it serves, in TESS pixels.
    output : str or path, optional
        File of a difference, or folder of a drift's table and plot.

    Raises
    ------
    ConfigError
        For the first value that can't be used; it names the setting in backquotes.

    Examples
    --------
    >>> from syndiff import Settings
    >>> settings = Settings(target="14:20:00 +76:30:00", size=32, offsets=[(0, 0), (0.5, 0.25)])
    >>> settings.size, settings.offsets
    (32, ((0.0, 0.0), (0.5, 0.25)))

    Settings are frozen; `dataclasses.replace` returns changed ones. Those that are not printed
    have their defaults:

    >>> from dataclasses import replace
    >>> replace(Settings(roi=(990, 1010, 1006, 1026)), psf="prf")
    Settings(roi=Window(x0=990, y0=1010, x1=1006, y1=1026), psf='prf')
    """

    data_root: str = _setting(
        "data", "Folder or s3:// URL that everything is kept under.", values.place
    )
    mapping: str | None = _setting(
        None,
        "Folder of the maps. Default: DATA_ROOT/mapping_output.",
        values.place,
    )
    atlas: str | None = _setting(
        None,
        "Folder of the atlas. Default: DATA_ROOT/ps1_skycells_zarr.",
        values.place,
    )
    convolved: str | None = _setting(
        None,
        "Folder of the scenes. Default: DATA_ROOT/convolved_results.",
        values.place,
    )
    templates: str | None = _setting(
        None,
        "Folder of the templates. Default: DATA_ROOT/templates.",
        values.place,
    )
    catalogue: str | None = _setting(None, "Skycell catalogue, as for `pipeline`.", values.place)
    archive: str = _setting(
        DEFAULT_ARCHIVE,
        "Root of the PS1 stacks: https://, s3:// or a folder.",
        values.place,
        metavar="URL|DIR",
    )
    jobs: int = _setting(
        60, "Simultaneous requests, fewer where a host asks for it.", values.at_least_one
    )
    cores: int = _setting(
        8, "Worker processes, capped at the cores there are.", values.at_least_one
    )
    scheduler: str | None = _setting(
        None,
        "Use a running Dask cluster, e.g. tcp://node1:8786.",
        values.place,
        metavar="ADDRESS",
    )
    roi: Window | None = _setting(
        None,
        "Region of interest: FFI array pixels, 0-based, half-open.",
        values.window,
        metavar="X0,Y0,X1,Y1",
    )
    target: tuple[float, float] | str | None = _setting(
        None,
        "Centre of a square region of interest: degrees, sexagesimal, or an object's name.",
        values.target,
        metavar="RA,DEC|NAME",
    )
    sesame_url: str = _setting(
        DEFAULT_SESAME,
        "Name service that is asked, once, where an object is.",
        values.place,
        metavar="URL",
    )
    size: int | None = _setting(
        None,
        "Side of the square around `target`, px. Default: 64.",
        values.at_least_one,
        metavar="N",
    )
    ignore_mask_bits: tuple[str, ...] = _setting(
        "12",
        "PS1 mask bits whose pixels are left out: numbers or names (12,SAT); '' for none.",
        values.bits,
    )
    background: Background = _setting(
        "matched",
        "What counts as light, not as background.",
        values.choice("matched", "sep", "none"),
        metavar="matched|sep|none",
    )
    diffuse: float = _setting(
        0.0,
        "Add undetected light smoothed by this width; 0 leaves it out.",
        values.angle,
        metavar="ARCSEC",
    )
    psf: PsfModel = _setting(
        "gaussian",
        "Response of TESS's pixels: prf, as measured, where the template itself is to look like "
        "TESS; gaussian, sharper than TESS, where a kernel is fitted to it (difference).",
        values.choice("gaussian", "prf"),
        metavar="gaussian|prf",
    )
    psf_sigma: float = _setting(
        40.0,
        'Gaussian response, standard deviation in PS1 pixels of 0.25".',
        values.ps1_pixels,
    )
    prf_dir: str = _setting(
        DEFAULT_PRF_DIR,
        "Root of the measured responses: https://, s3:// or a folder.",
        values.place,
        metavar="URL|DIR",
    )
    stars: str = _setting(
        "none",
        "Catalogue of the stars that replace saturated ones.",
        values.place,
        metavar="FILE|gaia|none",
    )
    star_scale: float | None = _setting(
        None,
        "AB less TESS magnitude of those stars. Default: measured on others.",
        values.number,
        metavar="MAG",
    )
    gaia_url: str = _setting(
        DEFAULT_GAIA_TAP, "TAP service of `stars` gaia.", values.place, metavar="URL"
    )
    offsets: OffsetList = _setting(
        "0.0,0.0",
        "Offsets of the templates in TESS pixels.",
        values.offsets,
        metavar="DX,DY,...",
    )
    oversample: int = _setting(
        1,
        f"Samples per TESS pixel and axis of the templates, 1 to {MAX_OVERSAMPLE}.",
        values.at_least_one,
        metavar="N",
    )
    follow: tuple[str, ...] = _setting(
        (),
        "Make a template for each of these FFIs, at its own WCS, instead of offsets.",
        values.places,
        metavar="FFI...",
    )
    refine: bool = _setting(False, "Let the stars of each FFI correct its pointing.", values.switch)
    keep_raw: bool = _setting(False, "Keep the stack files too, unchanged.", values.switch)
    allow_mixed: bool = _setting(
        False,
        "Take files of one stack that contradict each other: the image's header counts.",
        values.switch,
    )
    allow_partial: bool = _setting(
        False, "Make flagged templates without what failed (exit 3).", values.switch
    )
    overwrite: bool = _setting(
        False,
        "Make again what is there already.",
        values.switch,
    )
    limit: int | None = _setting(
        None,
        "Use the first N projections only, for trials (exit 3).",
        values.at_least_one,
        metavar="N",
    )
    kernel: Kernel = _setting(
        "fitted",
        "Fit a kernel that varies over the field, or scale and background only.",
        values.choice("fitted", "none"),
        metavar="fitted|none",
    )
    planes: Planes = _setting(
        "all",
        "Planes of a difference: all, or DIFF, UNCERT and DQ (MODEL and BACKGROUND together are "
        "the FFI less DIFF).",
        values.choice("all", "difference"),
        metavar="all|difference",
    )
    compress: Compression = _setting(
        "none",
        "Compress differences, rounded to an eighth of the median noise.",
        values.choice("none", "rice"),
        metavar="none|rice",
    )
    residuals: Residuals = _setting(
        "some",
        "Write what is left of each star, table and figure: all, none, or some, of one FFI but not "
        "of several.",
        values.choice("all", "some", "none"),
        metavar="all|some|none",
    )
    reference: str | None = _setting(
        None,
        "Count shifts from this FFI. Default: the data root's reference FFI, or else the first one "
        "given.",
        values.place,
        metavar="FFI",
    )
    tolerance: float = _setting(
        0.02, "How far an offset may be from an FFI's field.", values.number, metavar="PX"
    )
    output: str | None = _setting(
        None,
        "Difference file; folder of several, of an export, or of a drift's table and plot. "
        "Default: beside the template; DATA_ROOT/drift/sector_.../...",
        values.place,
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is None and one.default is None:
                continue
            try:
                read = one.metadata["option"].read(value)
            except ConfigError as error:
                raise ConfigError(f"`{one.name}`: {error}") from None
            object.__setattr__(self, one.name, read)
        self._check_together()

    def _check_together(self) -> None:
        """Raise for settings that contradict each other."""
        if self.roi is not None and self.target is not None:
            raise ConfigError("`roi` and `target` are both given: give one of them")
        if self.size is not None and self.target is None:
            raise ConfigError(
                f"`size` {self.size} is the side of a square around `target`: give that too"
            )
        if self.follow and self.offsets != values.offsets(type(self).offsets):
            raise ConfigError(
                "`follow` and `offsets` are both given: a template that follows an FFI has that "
                "FFI's own pointing, give one of them"
            )
        if self.refine and not self.follow:
            raise ConfigError("`refine` is for FFIs that are followed: give them with `follow`")
        if self.oversample > MAX_OVERSAMPLE:
            raise ConfigError(f"`oversample` {self.oversample}: give 1 to {MAX_OVERSAMPLE}")
        self._check_light()

    def _check_light(self) -> None:
        """Raise for settings of the light that can't be used, or not together."""
        low, high = DIFFUSE_ARCSEC
        if self.diffuse and not low <= self.diffuse <= high:
            raise ConfigError(
                f"`diffuse` {self.diffuse} is out of range: give 0 (none) or a width of "
                f"{low:g} to {high:g} arcsec"
            )
        if self.diffuse and self.background == "none":
            raise ConfigError(
                f"`diffuse` {self.diffuse} with `background` 'none': undetected light is "
                "all in already; give `background` 'matched' or 'sep'"
            )
        if self.star_scale is not None and not abs(self.star_scale) <= 2:
            raise ConfigError(
                f"`star_scale` {self.star_scale} is no AB less TESS magnitude: give about 0.4 "
                "(-2 to 2)"
            )
        if not self.psf_sigma > 0:
            raise ConfigError(f"`psf_sigma` {self.psf_sigma} must be above 0 (PS1 pixels)")

    def __repr__(self) -> str:
        usual = type(self)()
        given = [
            f"{one.name}={getattr(self, one.name)!r}"
            for one in fields(self)
            if getattr(self, one.name) != getattr(usual, one.name)
        ]
        return f"Settings({', '.join(given)})"

    def layout(self, detector: Detector) -> Layout:
        """Return the paths of a CCD.

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
    def left_out_bits(self) -> int:
        """The PS1 mask bits whose pixels are left out, as one number."""
        return parse_bits(",".join(self.ignore_mask_bits))

    @property
    def detection(self) -> Literal["matched", "sep"]:
        """How light is separated from background: a matched filter on 1" sums, or SEP."""
        return "sep" if self.background == "sep" else "matched"

    @property
    def reduction(self) -> ReductionConfig:
        """What the reduction of a skycell depends on."""
        return ReductionConfig(self.left_out_bits, self.detection, DETECTION_SIGMA)

    def scene(self, prf_digest: str) -> SceneConfig:
        """Return what a scene depends on besides its skycells and stars.

        Parameters
        ----------
        prf_digest : str
            Digest of the measured responses; of no meaning for a Gaussian.

        Returns
        -------
        SceneConfig
            For digests and provenance.
        """
        named: dict[str, StarSource] = {"none": "none", "gaia": "gaia"}
        stars = named.get(self.stars, "file")
        light = self.background, self.diffuse, self.psf, stars, self.star_scale
        if self.psf == "prf":
            return SceneConfig(*light, prf_digest=prf_digest)
        return SceneConfig(*light, psf_sigma_px=self.psf_sigma)
