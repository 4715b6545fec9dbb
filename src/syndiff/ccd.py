"""The objects a notebook begins with: a CCD, a field on it, its template."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from syndiff import values
from syndiff.errors import ConfigError, RenderingError
from syndiff.images import TemplateImage
from syndiff.layout import Detector
from syndiff.pipeline import STAGES, run_stages
from syndiff.settings import Settings
from syndiff.stages.run import Run
from syndiff.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from astropy.coordinates import SkyCoord

    from syndiff.ffi.frame import Frame
    from syndiff.lightcurves.light_curve import LightCurve
    from syndiff.stages.stage import Progress

    Position: TypeAlias = SkyCoord | Window | str | Sequence[float]

__all__ = ["Ccd", "Field", "open"]

_OF_THE_FIELD = ("roi", "target", "size")
_KNOWN = tuple(one.name for one in fields(Settings))


def open(  # noqa: A001 - read as `syndiff.open`
    ffi: str | Path | int,
    camera: int | None = None,
    ccd: int | None = None,
    *,
    data_root: str | Path = Settings.data_root,
    **settings: Any,  # noqa: ANN401 - as `Settings` takes them
) -> Ccd:
    """Open a CCD: an FFI, and the folder where all its products are kept.

    Parameters
    ----------
    ffi : str, Path or int
        An FFI; or the sector number of a CCD that is mapped in the data root, `camera` and `ccd`
        with it.
    camera, ccd : int, optional
        1 to 4, with a sector number only.
    data_root : str or Path
        Folder or ``s3://`` URL that everything is kept under; need not exist for an FFI.
    **settings : object
        Any setting of `Settings` but the region of interest, for all templates of this CCD:
        ``archive``, ``catalogue``, ``cores``, ``stars``, ...

    Returns
    -------
    Ccd
        The CCD; nothing is made yet.

    Raises
    ------
    ConfigError
        For a value or a setting that can't be used.
    ObservationError
        If the FFI can't be read.
    MissingInputError
        If the data root holds no mapping of the CCD.

    Examples
    --------
    With an FFI of MAST, ``syndiff.open(ffi, data_root="data")`` is enough. On the sky that
    ``syndiff simulate sky`` makes, the stacks and the catalogue of skycells are in its folder:

    >>> import syndiff
    >>> ffi = "sky/tess2020011021200-s0020-3-3-0000-s_ffic.fits"
    >>> stacks = {"archive": "sky/archive", "catalogue": "sky/skycell_wcs.csv"}
    >>> ccd = syndiff.open(ffi, data_root="data", **stacks)
    >>> template = ccd.around("14:23:37.7 +76:11:57.7", size=64).template()
    >>> template.unit
    '0.36308 uJy'

    A CCD that is mapped already is known by its numbers:

    >>> syndiff.open(20, 3, 3, data_root="data")
    <Ccd sector 20 camera 3 ccd 3, mapped in the data root
     data root data, science pixels 44,0,2092,2048
     .around("RA DEC", size=64) or .around((x0, y0, x1, y1)) gives a field;
     its .template() is made on demand>
    """
    _refuse(settings, _OF_THE_FIELD, "give the region to `Ccd.around`")
    chosen = _changed(Settings(), {"data_root": data_root, **settings})
    is_ffi = camera is None and ccd is None and not _is_number(ffi)
    numbers: dict[str, object] = {"sector": ffi, "camera": camera, "ccd": ccd}
    run = Run(values.place(ffi) if is_ffi else Detector(*_numbers(numbers)), chosen)
    _ = run.frame  # an FFI that can't be read is an error now
    return Ccd(run)


def _is_number(value: object) -> bool:
    return hasattr(value, "__index__")


def _numbers(given: dict[str, object]) -> list[int]:
    """Return sector, camera and CCD."""
    found = []
    for name, value in given.items():
        try:
            found.append(values.at_least_one(value))
        except ConfigError as error:
            raise ConfigError(
                f"`{name}`: {error}: give an FFI, or three numbers, sector, camera and ccd"
            ) from None
    return found


def _refuse(settings: dict[str, Any], names: Sequence[str], remedy: str) -> None:
    """Raise for settings that have another place."""
    for name in names:
        if name in settings:
            raise ConfigError(f"`{name}` can't be given here: {remedy}")


def _changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """Return settings with some of them changed; raise for an unknown name."""
    for name in changes:
        if name not in _KNOWN:
            close = difflib.get_close_matches(name, _KNOWN, 1)
            meant = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(_KNOWN)}"
            raise ConfigError(f"`{name}` is no setting: {meant}")
    return replace(settings, **changes)


@dataclass(frozen=True, repr=False)
class Ccd:
    """A CCD of TESS in one sector, with its data root; made by `syndiff.open`.

    Parameters
    ----------
    run : Run
        The CCD and its settings; what has been read is cached.

    Examples
    --------
    >>> import syndiff
    >>> ccd = syndiff.open(20, 3, 3, data_root="data")
    >>> ccd.detector.sector
    20
    >>> field = ccd.around((992, 1012, 1008, 1028))
    """

    run: Run

    @property
    def detector(self) -> Detector:
        """Sector, camera and CCD."""
        return self.run.detector

    @property
    def frame(self) -> Frame:
        """Its pixel grid."""
        return self.run.frame

    @property
    def settings(self) -> Settings:
        """The settings that its templates are made with."""
        return self.run.settings

    @property
    def ffi(self) -> str | None:
        """The FFI that it was opened with; None for a CCD of a mapped data root."""
        return self.run.source if isinstance(self.run.source, str) else None

    @property
    def science(self) -> Window:
        """The pixels that see the sky; ``ccd.around(ccd.science)`` is all of them."""
        return self.frame.science

    def around(self, position: Position, size: int | None = None) -> Field:
        """Return a field of the CCD.

        Parameters
        ----------
        position : SkyCoord, str, Window or sequence of numbers
            The centre of a square on the sky: coordinates, text such as ``"14:20:00 +76:30:00"``
            or ``"215.0, 76.5"``, an object's name, or two numbers, degrees. Or FFI pixels: a
            `Window`, or x0, y0, x1, y1 as numbers or text (0-based, half-open).
        size : int, optional
            Side of the square in TESS pixels, 64 if not given.

        Returns
        -------
        Field
            The field, clipped to the science pixels.

        Raises
        ------
        ConfigError
            If the position can't be read, or is not on the CCD.

        Examples
        --------
        >>> import syndiff
        >>> from astropy.coordinates import SkyCoord
        >>> ccd = syndiff.open(20, 3, 3, data_root="data")
        >>> field = ccd.around(SkyCoord("14:23:37.7 +76:11:57.7", unit=("hourangle", "deg")), 16)
        >>> field.window
        Window(x0=992, y0=1012, x1=1008, y1=1028)
        >>> ccd.around((992, 1012, 1008, 1028)).window == field.window
        True
        """
        kind = "roi" if _is_window(position) else "target"
        if kind == "roi" and size is not None:
            raise ConfigError(
                f"`size` {size!r} is the side of a square around a position on the sky, "
                f"{position!r} says how large it is: leave it out"
            )
        # None is allowed for `roi` and `target` in settings, but not here.
        read = values.window(position) if kind == "roi" else values.target(position)
        asked = self.run.asked(_changed(self.settings, {kind: read, "size": size}))
        return Field(self, asked.window or self.science)

    def __repr__(self) -> str:
        source = f"FFI {self.ffi}" if self.ffi else "mapped in the data root"
        return (
            f"<Ccd {self.detector}, {source}\n data root {self.settings.data_root}, science pixels "
            f'{self.science}\n .around("RA DEC", size=64) or .around((x0, y0, x1, y1)) gives a '
            "field;\n its .template() is made on demand>"
        )


def _is_window(position: object) -> bool:
    """Tell whether something means FFI pixels, not a position on the sky."""
    if isinstance(position, str):
        return position.count(",") == 3
    is_row = isinstance(position, list | tuple | np.ndarray)
    return isinstance(position, Window) or (is_row and len(position) == 4)  # type: ignore[arg-type]


@dataclass(frozen=True, repr=False)
class Field:
    """A part of a CCD; made by `Ccd.around`.

    Parameters
    ----------
    ccd : Ccd
        The CCD.
    window : Window
        Its FFI pixels.

    Examples
    --------
    >>> import syndiff
    >>> ccd = syndiff.open(20, 3, 3, data_root="data")
    >>> field = ccd.around("14:23:37.7 +76:11:57.7", size=64)
    >>> template = field.template()
    >>> template.window == field.window
    True
    """

    ccd: Ccd
    window: Window

    @property
    def centre(self) -> SkyCoord:
        """Sky position of the middle pixel; `Ccd.around` at it gives a square field again."""
        from astropy.coordinates import SkyCoord

        x, y = ((first + end) // 2 for first, end in self._sides())
        return SkyCoord(*self.ccd.frame.pixel_to_sky(x, y), unit="deg")

    def _sides(self) -> tuple[tuple[int, int], tuple[int, int]]:
        window = self.window
        return (window.x0, window.x1), (window.y0, window.y1)

    def template(
        self,
        *,
        offset: Sequence[float] | str | None = None,
        progress: Progress | None = None,
        **settings: Any,  # noqa: ANN401 - as `Settings` takes them
    ) -> TemplateImage:
        """Return the field's template; map, download and render what is missing.

        Parameters
        ----------
        offset : (float, float), optional
            dx, dy in TESS pixels that sources are shifted by; none if not given.
        progress : callable, optional
            Called after every task with the stage, the tasks done and their number.
        **settings : object
            Any setting of `Settings` but the region of interest and the data root, in place of what
            the CCD was opened with. Those that change the image most: ``stars="gaia"`` puts back
            stars that PS1 saturates, ``psf="prf"`` takes the measured response of TESS's pixels,
            ``background`` and ``diffuse`` say what counts as light, ``oversample`` gives samples
            within a pixel, ``follow`` names an FFI whose own pointing the template is to have.

        Returns
        -------
        TemplateImage
            The template. Existing products are used again.

        Raises
        ------
        ConfigError
            For a value that can't be used, or several templates.
        SyndiffError
            If the template can't be made.

        Examples
        --------
        >>> import syndiff
        >>> field = syndiff.open(20, 3, 3, data_root="data").around((990, 1010, 1006, 1026))
        >>> template = field.template(offset=(0.25, -0.5))
        >>> template.header["DX_SHIFT"]
        0.25

        On the real sky, with stars that PS1 saturates put back and the measured response, it is
        ``field.template(stars="gaia", psf="prf")``.
        """
        if offset is not None:
            _refuse(settings, ("offsets",), "`offset` is given too, give one of them")
            settings["offsets"] = offset if isinstance(offset, str) else [offset]
        run = self.asked(progress, **settings)
        chosen = run.settings
        if len(chosen.offsets) > 1 or len(chosen.follow) > 1:
            raise ConfigError(
                f"`offsets` {chosen.offsets}, `follow` {chosen.follow}: a field gives one template "
                "at a time, call it for each"
            )
        # A CCD opened by numbers is mapped already; the other stages keep existing products.
        report = run_stages(run, *(STAGES if self.ccd.ffi else STAGES[1:]))
        if report.failure:
            raise RenderingError(report.failure)
        return TemplateImage._of(report.stages[-1].products[0], chosen, self.ccd.ffi)  # noqa: SLF001 - the data root is known here

    def asked(self, progress: Progress | None = None, **settings: Any) -> Run:  # noqa: ANN401 - as `Settings` takes them
        """Return the run for this field with changed settings.

        Parameters
        ----------
        progress : callable, optional
            Called after every task.
        **settings : object
            As `template` takes them.

        Returns
        -------
        Run
            The run; it shares what the CCD has read already.
        """
        _refuse(settings, _OF_THE_FIELD, "the field has its region, take another field")
        _refuse(settings, ("data_root",), "give it to `syndiff.open`")
        chosen = _changed(self.ccd.settings, {**settings, "roi": self.window})
        return self.ccd.run.asked(chosen, progress)

    def light_curve(
        self,
        ffis: str | Path | Sequence[str | Path],
        target: Position | None = None,
        *,
        name: str | None = None,
        quiet_before: str = "",
        progress: Progress | None = None,
        **settings: Any,  # noqa: ANN401 - as `Settings` takes them
    ) -> LightCurve:
        """Measure a target in every frame; the scene that it lacks is made.

        The same as ``syndiff lightcurve``: what was measured is kept in the data root, and used
        again; tables and figures are not written.

        Parameters
        ----------
        ffis : str, Path or sequence of them
            FFIs of the field's CCD, or a folder of some.
        target : SkyCoord, str or pair of numbers, optional
            Where to measure; the field's centre if not given.
        name : str, optional
            What to call it; its position if not given.
        quiet_before : str
            Date before which it was quiet: the mean until then is taken off.
        progress : callable, optional
            Told after every task: stage, done, of how many.
        **settings : object
            Any setting of `Settings` but the region of interest and the data root, in place of what
            the CCD was opened with; they count where a scene has to be made.

        Returns
        -------
        LightCurve
            The light curve.

        Raises
        ------
        ConfigError
            For a value that can't be used.
        SyndiffError
            Whatever keeps it from being made.

        Examples
        --------
        >>> curve = field.light_curve("ffis/", name="SN 2020xyz")  # doctest: +SKIP
        >>> curve.plot()  # doctest: +SKIP
        """
        from syndiff.sky.names import position_of
        from syndiff.target_run import TargetJob, measure_field

        _refuse(settings, _OF_THE_FIELD, "the field has its region, take another field")
        _refuse(settings, ("data_root",), "give it to `syndiff.open`")
        chosen = _changed(self.ccd.settings, {**settings, "roi": self.window})
        if target is None:
            centre = self.centre
            place = float(centre.ra.deg), float(centre.dec.deg)
        else:
            place = position_of(values.target(target), chosen.sesame_url)
        job = TargetJob(
            name=name or f"{place[0]:.5f} {place[1]:+.5f}",
            target=place,
            ffis=values.places(ffis),
            quiet_before=quiet_before,
        )
        return measure_field(job, self.ccd.detector, chosen, self.window, progress)

    def __repr__(self) -> str:
        centre = self.centre.to_string("hmsdms", sep=":", precision=1)
        width, height = (end - first for first, end in self._sides())
        return (
            f"<Field of {width} x {height} TESS pixels, window {self.window}, {self.ccd.detector}\n"
            f' centre {centre}\n .template() or .template(stars="gaia") maps, downloads and '
            "renders what is missing>"
        )
