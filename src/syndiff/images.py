"""Templates and differences as objects: planes, WCS, flags, figures, subtraction, files."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from syndiff import values
from syndiff.differences.inputs import read_ffi
from syndiff.differences.products import (
    UNIT,
    pack_difference,
    read_difference,
    write_difference,
)
from syndiff.errors import ConfigError, RenderingError
from syndiff.masks import spoilt_pixels
from syndiff.settings import Settings
from syndiff.stages.difference import subtract
from syndiff.stages.run import Run
from syndiff.storage.place import Place
from syndiff.templates.template_file import read_header, read_template
from syndiff.window import Window

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.io.fits import Header
    from astropy.nddata import CCDData
    from astropy.wcs import WCS
    from numpy.typing import NDArray

    from syndiff.config import Kernel
    from syndiff.plots import Stretch

__all__ = ["DifferenceImage", "TemplateImage"]

_FLUX_UNIT = "0.36308 uJy"
# The flux of AB magnitude 25, the BUNIT of FLUX_SUM.
_OF_FILES_ONLY = ("CHECKSUM", "DATASUM", "EXTNAME", "FILESIZE", "INHERIT")
# Cards that describe one file only, and would be wrong in any other.


@dataclass(frozen=True, repr=False, eq=False)
class _Image:
    """What templates and differences have in common."""

    data: NDArray[np.floating]
    uncertainty: NDArray[np.floating]
    flags: NDArray[np.int32]
    header: Header

    _unit: ClassVar[str]
    _stretch: ClassVar[Stretch]

    @functools.cached_property
    def wcs(self) -> WCS:
        """The celestial WCS of `data`, with distortion; not to be changed."""
        from astropy.wcs import WCS, FITSFixedWarning

        with warnings.catch_warnings():
            # astropy warns that it sets MJD-OBS from DATE-OBS.
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(self.header, naxis=2)
        wcs.array_shape = self.data.shape
        return wcs

    @property
    def window(self) -> Window:
        """FFI pixels that it holds, 0-based, half-open."""
        return Window(*(int(self.header[key]) for key in ("XMIN", "YMIN", "XMAX", "YMAX")))

    @property
    def unit(self) -> str:
        """Unit of `data` and `uncertainty`."""
        return self._unit

    def good_pixels(self) -> NDArray[np.bool_]:
        """Return which pixels can be used for measurements.

        The same rule as in the subtraction: the flux is known, and no flag is set except those of
        a strap or of a star that was replaced.

        Returns
        -------
        (ny, nx) bool
            True where the flux is reliable.
        """
        known: NDArray[np.bool_] = np.isfinite(self.data)
        return known & ~spoilt_pixels(self.flags)

    def to_ccddata(self) -> CCDData:
        """Return a copy as astropy's `CCDData`.

        Returns
        -------
        CCDData
            Unit, WCS, standard deviations and header; ``mask`` is True where `good_pixels` is
            False, ``flags`` are `flags`.
        """
        from astropy.nddata import CCDData, StdDevUncertainty

        meta = self.header.copy(strip=True)
        for key in _OF_FILES_ONLY:
            meta.remove(key, ignore_missing=True)
        return CCDData(
            self.data.copy(),
            unit=self.unit,
            wcs=self.wcs.deepcopy(),
            uncertainty=StdDevUncertainty(self.uncertainty.copy()),
            mask=~self.good_pixels(),
            flags=self.flags.copy(),
            meta=meta,
        )

    def plot(self, axes: Any = None) -> Any:  # noqa: ANN401 - matplotlib is loaded to draw only
        """Draw the image over right ascension and declination, flagged pixels outlined.

        Parameters
        ----------
        axes : WCSAxes, optional
            Where to draw, as ``plt.subplot(projection=image.wcs)`` makes them; a new figure if not
            given.

        Returns
        -------
        WCSAxes
            The axes; ``axes.figure.savefig("image.png")`` keeps the figure.

        Raises
        ------
        ConfigError
            If the axes have no WCS.
        """
        from syndiff.plots import Plane, show_sky

        plane = Plane(self._title, self.data, self.unit, self._stretch, ~self.good_pixels())
        return show_sky(plane, self.wcs, axes)

    @property
    def _title(self) -> str:
        raise NotImplementedError

    def _about(self, what: str, *advice: str) -> str:
        """Return a `repr`: what it is, and what can be done with it."""
        ny, nx = self.data.shape
        good = 100 * float(self.good_pixels().mean())
        lines = (
            what,
            f"{nx} x {ny} values in {self.unit}, window {self.window}, {good:.1f} % good pixels",
            ".data .uncertainty .flags .wcs .header .good_pixels() .to_ccddata() .plot()",
            *advice,
        )
        return "<" + "\n ".join(lines) + ">"


@dataclass(frozen=True, repr=False, eq=False)
class TemplateImage(_Image):
    """A template: what TESS would have seen if nothing had changed since Pan-STARRS1.

    Made by `Field.template`, or read from a file by `TemplateImage.read`.

    Parameters
    ----------
    data : (ny, nx) float32
        Flux at AB zero point 25; NaN where unknown.
    uncertainty : (ny, nx) float32
        Its standard deviation.
    flags : (ny, nx) int32
        Bits of `syndiff.masks.DataQuality`, the DQ plane.
    header : Header
        WCS and provenance.
    coverage : (ny, nx) float32
        Part of the response that PS1 covers, 0 to 1.
    path : str
        The file.
    settings : Settings
        The settings it was made with, among them the folder of its scene.
    ffi : str, optional
        The FFI that `subtract` takes if none is given.

    Examples
    --------
    >>> import syndiff
    >>> ccd = syndiff.open(20, 3, 3, data_root="data")
    >>> template = ccd.around("14:23:37.7 +76:11:57.7", size=64).template()
    >>> axes = template.plot()
    >>> same = syndiff.TemplateImage.read(template.path, data_root="data")
    >>> difference = same.subtract("sky/tess2020011021200-s0020-3-3-0000-s_ffic.fits")
    """

    coverage: NDArray[np.float32]
    path: str
    settings: Settings
    ffi: str | None = None

    _unit: ClassVar[str] = _FLUX_UNIT
    _stretch: ClassVar[Stretch] = "light"

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        data_root: str | Path = Settings.data_root,
        convolved: str | Path | None = None,
    ) -> TemplateImage:
        """Read a template file.

        Parameters
        ----------
        path : str or Path
            The file.
        data_root : str or Path
            The data root with the scene that it was sampled from, needed by `subtract`.
        convolved : str or Path, optional
            Folder of the scenes, if not under the data root.

        Returns
        -------
        TemplateImage
            The template.

        Raises
        ------
        ConfigError
            If it is no path.
        RenderingError
            If it is no template, or damaged.
        StorageError
            If it can't be read.
        """
        settings = Settings(data_root=data_root, convolved=convolved)  # type: ignore[arg-type]  # read there
        return cls._of(values.place(path), settings, None)

    @classmethod
    def _of(cls, path: str, settings: Settings, ffi: str | None) -> TemplateImage:
        planes, header = read_template(path)
        return cls(
            data=planes.flux,
            uncertainty=planes.uncertainty,
            flags=planes.quality,
            header=header,
            coverage=planes.coverage,
            path=path,
            settings=settings,
            ffi=ffi,
        )

    def subtract(
        self, ffi: str | Path | None = None, *, kernel: Kernel = Settings.kernel
    ) -> DifferenceImage:
        """Subtract the template from an FFI of its CCD: scale, background and kernel are fitted.

        The same as ``syndiff difference``, but nothing is written.

        Parameters
        ----------
        ffi : str or Path, optional
            The FFI; default: the one that the CCD was opened with.
        kernel : {"fitted", "none"}
            Whether a kernel is fitted, or scale and background only.

        Returns
        -------
        DifferenceImage
            The FFI less the template.

        Raises
        ------
        ConfigError
            If there is no FFI, or a value can't be used.
        RenderingError
            If the template's file was replaced or removed since it was read.
        SyndiffError
            If something can't be read or fitted.
        """
        image = self.ffi if ffi is None else values.place(ffi)
        if image is None:
            raise ConfigError(
                "`ffi` is not given, and this template was not made from an FFI but from a data "
                "root: give the path of an FFI of the same CCD"
            )
        stored = read_header(Place.at(self.path))
        if stored is None or stored["CFGDIG"] != self.header["CFGDIG"]:
            raise RenderingError(
                f"{self.path} is not there any more, or was made again with other settings: make "
                "the template again, and give each set of settings its own `templates` and "
                "`convolved` folder"
            )
        record = subtract(Run(read_ffi(image), replace(self.settings, kernel=kernel)), self.path)
        return DifferenceImage._of(pack_difference(record), image)  # noqa: SLF001 - of this module

    @property
    def _title(self) -> str:
        header = self.header
        where = " ".join(f"{key.lower()} {header[key]}" for key in ("SECTOR", "CAMERA", "CCD"))
        return f"template, {where}"

    def __repr__(self) -> str:
        detector = self._title.removeprefix("template, ")
        ffi = "" if self.ffi else '"tess..._ffic.fits"'
        return self._about(
            f"TemplateImage of {detector}, {self.path}",
            f".subtract({ffi}) gives the difference of an FFI and this template",
        )


@dataclass(frozen=True, repr=False, eq=False)
class DifferenceImage(_Image):
    """An FFI less its template: what has changed since Pan-STARRS1.

    Made by `TemplateImage.subtract`, or read from a file by `DifferenceImage.read`.

    Parameters
    ----------
    data : (ny, nx) float32
        Electrons per second; NaN where unknown.
    uncertainty : (ny, nx) float32
        Its standard deviation.
    flags : (ny, nx) int32
        Bits of `syndiff.masks.DataQuality`, the DQ plane.
    header : Header
        The FFI's WCS, provenance, and the fitted scale and zero point.
    model, background : (ny, nx) float32
        What was subtracted: the convolved, scaled template, and the background.
    content : bytes
        The FITS file's bytes, as `write` writes them.
    name : str
        Name of the FFI or of the file, for titles.

    Examples
    --------
    >>> import syndiff
    >>> ccd = syndiff.open(20, 3, 3, data_root="data")
    >>> template = ccd.around("14:23:37.7 +76:11:57.7", size=64).template()
    >>> difference = template.subtract("sky/tess2020011021200-s0020-3-3-0000-s_ffic.fits")
    >>> difference.write("difference.fits")
    'difference.fits'
    >>> difference = syndiff.DifferenceImage.read("difference.fits")
    >>> round(difference.header["ZPAB"], 1)  # AB magnitude of 1 electron/s
    20.8
    """

    model: NDArray[np.float32]
    background: NDArray[np.float32]
    content: bytes | memoryview
    name: str

    _unit: ClassVar[str] = UNIT
    _stretch: ClassVar[Stretch] = "signed"

    @classmethod
    def read(cls, path: str | Path) -> DifferenceImage:
        """Read a difference file.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        DifferenceImage
            The difference.

        Raises
        ------
        ConfigError
            If it is no path.
        RenderingError
            If it is no difference of syndiff, or damaged.
        StorageError
            If it can't be read.
        """
        place = Place.at(values.place(path))
        return cls._of(place.read(), str(place))

    @classmethod
    def _of(cls, content: bytes | memoryview, name: str) -> DifferenceImage:
        planes, header = read_difference(content, name)
        return cls(
            data=planes["DIFF"],
            uncertainty=planes["UNCERT"],
            flags=planes["DQ"],
            header=header,
            model=planes["MODEL"],
            background=planes["BACKGROUND"],
            content=content,
            name=Place.at(name).name,
        )

    def write(self, path: str | Path) -> str:
        """Write the difference as ``syndiff difference`` does; the file holds the kernel too.

        Parameters
        ----------
        path : str or Path
            Where to, ending in ``.fits``. An existing difference is replaced; any other file, an
            FFI for example, is an error.

        Returns
        -------
        str
            The path.

        Raises
        ------
        ConfigError
            If it is no path that ends in ``.fits``.
        StorageError
            If another file is there, or it can't be written.
        """
        where = values.place(path)
        if not where.endswith(".fits"):
            raise ConfigError(f"path {where!r} must end in .fits")
        folder, _, name = where.rpartition("/")
        write_difference(Place.at(folder or where[: -len(name)] or ".") / name, self.content)
        return where

    @property
    def _title(self) -> str:
        return f"{self.header['FFI']}\n- {self.header['TEMPLATE']}"

    def __repr__(self) -> str:
        header = self.header
        return self._about(
            f"DifferenceImage of {header['FFI']}",
            f"less {header['TEMPLATE']}, kernel {header['KERNEL']}",
            f"zero point {header['ZPAB']:.3f} +- {header['ZPABERR']:.3f} AB, robust rms of data / "
            f"uncertainty {header['SCATTER']:.2f}",
            '.write("d.fits") keeps it',
        )
