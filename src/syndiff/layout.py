"""Every path under a data root: the only module that builds one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syndiff.errors import ConfigError
from syndiff.storage.place import Place

if TYPE_CHECKING:
    from syndiff.window import Window

__all__ = [
    "PART_ENDING",
    "Detector",
    "Layout",
    "difference_name",
    "export_name",
    "format_offset",
]

PART_ENDING = ".part.zip"
"""What follows a file's own name where only parts of it are kept."""


@dataclass(frozen=True, order=True)
class Detector:
    """One CCD in one sector.

    Parameters
    ----------
    sector : int
        Sector number, 1 or more.
    camera, ccd : int
        1 to 4.

    Raises
    ------
    ConfigError
        If a number is out of range.

    Examples
    --------
    >>> from syndiff import Detector
    >>> detector = Detector(20, 3, 3)
    >>> str(detector), detector.tag
    ('sector 20 camera 3 ccd 3', 's0020_3_3')
    """

    sector: int
    camera: int
    ccd: int

    def __post_init__(self) -> None:
        if not 1 <= self.sector <= 9999:
            raise ConfigError(f"sector {self.sector} is not a TESS sector: give 1 to 9999")
        for name in ("camera", "ccd"):
            value = getattr(self, name)
            if not 1 <= value <= 4:
                raise ConfigError(f"{name} {value} is not a TESS {name}: give 1 to 4")

    def __str__(self) -> str:
        return f"sector {self.sector} camera {self.camera} ccd {self.ccd}"

    @property
    def tag(self) -> str:
        """Short form for file names, e.g. ``s0020_3_3``."""
        return f"s{self.sector:04d}_{self.camera}_{self.ccd}"

    @property
    def folder(self) -> str:
        """Nested form for folders, e.g. ``sector_0020/camera_3/ccd_3``."""
        return f"sector_{self.sector:04d}/camera_{self.camera}/ccd_{self.ccd}"

    @property
    def arguments(self) -> str:
        """Form for the command line, e.g. ``20 3 3``."""
        return f"{self.sector} {self.camera} {self.ccd}"


def difference_name(ffi: str, roi: Window | None) -> str:
    """Return the file name of a difference image, without its ending.

    Parameters
    ----------
    ffi : str
        File name of the FFI.
    roi : Window, optional
        FFI pixels that it holds; None for the full frame.

    Returns
    -------
    str
        For example ``syndiff_difference_tess2020019135923-s0020-3-3-0165-s_ffic``, without ending:
        ``.fits`` is the image, ``_stars.ecsv`` the table, ``_stars.png`` the figure.

    Examples
    --------
    >>> difference_name("tess2020019135923-s0020-3-3-0165-s_ffic.fits.gz", None)
    'syndiff_difference_tess2020019135923-s0020-3-3-0165-s_ffic'
    """
    stem = ffi.removesuffix(".gz").removesuffix(".fits")
    return f"syndiff_difference_{stem}{_format_window(roi)}"


def export_name(tool: str, ffi: str, roi: Window | None) -> str:
    """Return what the folder for another tool is called.

    Parameters
    ----------
    tool : str
        Its name.
    ffi : str
        File name of the FFI.
    roi : Window, optional
        FFI pixels that it holds; None for the full frame.

    Returns
    -------
    str
        For example ``syndiff_hotpants_tess2020019135923-s0020-3-3-0165-s_ffic``.
    """
    return difference_name(ffi, roi).replace("difference", tool, 1)


def _format_window(roi: Window | None) -> str:
    return "" if roi is None else f"_{roi.x0}-{roi.y0}-{roi.x1}-{roi.y1}"


def format_offset(dx: float, dy: float) -> str:
    """Return an offset as it is written in file names.

    Parameters
    ----------
    dx, dy : float
        Offset in TESS pixels.

    Returns
    -------
    str
        For example ``dx+0.370_dy-0.210``; never a negative zero.

    Examples
    --------
    >>> format_offset(0.37, -0.0001)
    'dx+0.370_dy+0.000'
    """
    rounded = [round(value, 3) + 0.0 for value in (dx, dy)]
    return f"dx{rounded[0]:+.3f}_dy{rounded[1]:+.3f}"


@dataclass(frozen=True)
class Layout:
    """The paths of everything that belongs to one CCD.

    Parameters
    ----------
    detector : Detector
        Sector, camera and CCD.
    data_root : Place
        The data root.
    mapping_root, atlas_root, convolved_root, templates_root : Place
        The four folders under it; each can be given elsewhere.

    Examples
    --------
    >>> from syndiff import Detector, Layout
    >>> layout = Layout.under("s3://bucket/data", Detector(20, 3, 3))
    >>> str(layout.mapping)
    's3://bucket/data/mapping_output/sector_0020/camera_3/ccd_3'
    >>> layout.template(0.25, -0.5).name
    'syndiff_template_s0020_3_3_dx+0.250_dy-0.500.fits'
    """

    detector: Detector
    data_root: Place
    mapping_root: Place
    atlas_root: Place
    convolved_root: Place
    templates_root: Place

    @classmethod
    def under(
        cls,
        data_root: str | Place,
        detector: Detector,
        *,
        mapping: str | None = None,
        atlas: str | None = None,
        convolved: str | None = None,
        templates: str | None = None,
    ) -> Layout:
        """Return the layout under a data root.

        Parameters
        ----------
        data_root : str or Place
            Folder or ``s3://`` URL.
        detector : Detector
            Sector, camera and CCD.
        mapping, atlas, convolved, templates : str, optional
            Other folders for the mapping, the atlas, the scene and the templates.

        Returns
        -------
        Layout
            The layout; nothing is created.
        """
        root = data_root if isinstance(data_root, Place) else Place.at(data_root)
        return cls(
            detector,
            root,
            Place.at(mapping) if mapping else root / "mapping_output",
            Place.at(atlas) if atlas else root / "ps1_skycells_zarr",
            Place.at(convolved) if convolved else root / "convolved_results",
            Place.at(templates) if templates else root / "templates",
        )

    def check_writable(self) -> None:
        """Raise if a stage would not be able to write.

        Raises
        ------
        StorageError
            If one of the four folders can't be written.
        """
        for folder in (self.mapping, self.atlas_root, self.convolved, self.templates):
            folder.check_writable()

    @property
    def catalogue(self) -> Place:
        """The user's skycell catalogue, optional."""
        return self.data_root / "SkyCells" / "skycell_wcs.csv"

    @property
    def mapping(self) -> Place:
        """Folder of the mapping stage."""
        return self.mapping_root / self.detector.folder

    @property
    def skycell_list(self) -> Place:
        """CSV, one row a skycell."""
        return self.mapping / f"tess_{self.detector.tag}_master_skycells_list.csv"

    @property
    def catalogue_used(self) -> Place:
        """Copy of the user's catalogue that the mapping was made with."""
        return self.mapping / f"tess_{self.detector.tag}_skycell_wcs.csv"

    @property
    def master_map(self) -> Place:
        """FFI-shaped image of skycell indices."""
        return self.mapping / f"tess_{self.detector.tag}_master_pixels2skycells.fits.gz"

    def skycell_map(self, name: str) -> Place:
        """Return the path of one skycell's map.

        Parameters
        ----------
        name : str
            Skycell name.

        Returns
        -------
        Place
            The FITS file.
        """
        return self.mapping / f"TESS_{self.detector.tag}_{name}.fits.gz"

    @property
    def regions(self) -> Place:
        """DS9 regions of the footprint and its skycells."""
        return self.mapping / f"tess_{self.detector.tag}_footprint.reg"

    @property
    def moc(self) -> Place:
        """Multi-order coverage map of the footprint."""
        return self.mapping / f"tess_{self.detector.tag}_footprint.moc.fits"

    @property
    def atlas(self) -> Place:
        """The atlas of reduced skycells, shared by all CCDs and sectors."""
        return self.atlas_root / "skycells.zarr"

    @property
    def stack_files(self) -> Place:
        """The archive's own files, kept with `keep_raw`, in its folder layout."""
        return self.data_root / "ps1_stack_files"

    @property
    def old_planes(self) -> Place:
        """Store in which earlier versions kept them; no longer read."""
        return self.atlas_root / "raw.zarr"

    @property
    def inventory(self) -> Place:
        """The CCD's own inventory of the atlas."""
        d = self.detector
        return self.atlas_root / f"sector_{d.sector:04d}_camera_{d.camera}_ccd_{d.ccd}.zarr"

    @property
    def convolved(self) -> Place:
        """Folder of the process stage."""
        return self.convolved_root / self.detector.folder

    @property
    def scene(self) -> Place:
        """The scene store."""
        return self.convolved / "convolved_images.zarr"

    @property
    def cell_metadata(self) -> Place:
        """The scene's inputs and settings, as JSON."""
        return self.convolved / "cell_metadata.json"

    @property
    def pixel_response(self) -> Place:
        """The measured pixel responses that the scene is made with."""
        return self.convolved / "pixel_response.npz"

    @property
    def star_catalogue(self) -> Place:
        """The stars that the scene was made with, as `StarCatalogue.pack` packs them."""
        return self.convolved / "star_catalogue.npy"

    def star_record(self, name: str) -> Place:
        """Return the path of the record of one skycell's stars.

        Parameters
        ----------
        name : str
            Skycell name.

        Returns
        -------
        Place
            The JSON file.
        """
        return self.convolved / "stars" / f"{name}.json"

    @property
    def replaced_stars(self) -> Place:
        """List of the stars that replace PS1's own image of them in the scene, ECSV."""
        return self.convolved / f"tess_{self.detector.tag}_replaced_stars.ecsv"

    def gaia_results(self, service: str) -> Place:
        """Return the folder of a Gaia service's answers for this CCD.

        Parameters
        ----------
        service : str
            Digest of the service and of the query.

        Returns
        -------
        Place
            The folder; one file per region.
        """
        return self.data_root / "star_catalogues" / self.detector.folder / f"gaia_{service}"

    @property
    def ffis(self) -> Place:
        """Folder of the FFIs that were fetched, whole or in part."""
        return self.data_root / "ffis" / self.detector.folder

    def kept_ffi(self, ffi: str) -> Place:
        """Return where a whole FFI is kept.

        Parameters
        ----------
        ffi : str
            Its file name.

        Returns
        -------
        Place
            The file as it came.
        """
        return self.ffis / ffi

    def kept_ffi_part(self, ffi: str) -> Place:
        """Return where the parts of an FFI are kept that regions needed.

        Parameters
        ----------
        ffi : str
            Its file name.

        Returns
        -------
        Place
            A zip archive.
        """
        return self.ffis / f"{ffi}{PART_ENDING}"

    @property
    def templates(self) -> Place:
        """Folder of the downsample stage."""
        return self.templates_root / self.detector.folder

    def template_following(
        self, ffi: str, *, roi: Window | None = None, oversample: int = 1, is_refined: bool = False
    ) -> Place:
        """Return the path of the template that follows an FFI.

        Parameters
        ----------
        ffi : str
            File name of the FFI.
        roi : Window, optional
            Region of interest; None for the full frame.
        oversample : int
            Samples per TESS pixel and axis.
        is_refined : bool
            Whether the pointing was refined by the FFI's own stars.

        Returns
        -------
        Place
            The FITS file.
        """
        stem = ffi.removesuffix(".gz").removesuffix(".fits")
        name = f"syndiff_template_{self.detector.tag}_{stem}" + "_refined" * is_refined
        return self.templates / f"{name}{_ending(roi, oversample)}"

    @property
    def light_curves(self) -> Place:
        """Folder of light curves, of all sectors."""
        return self.data_root / "lightcurves"

    def series(self, window: Window, digest: str) -> Place:
        """Return the folder of what was measured in each frame of a series.

        Parameters
        ----------
        window : Window
            FFI pixels of the field.
        digest : str
            Of all that rows depend on besides their frames.

        Returns
        -------
        Place
            The folder; an object a frame.
        """
        name = _format_window(window).removeprefix("_")
        return self.light_curves / self.detector.folder / f"{name}_{digest}"

    @property
    def drift(self) -> Place:
        """Default folder for the results of `syndiff drift`."""
        return self.data_root / "drift" / self.detector.folder

    def drift_files(self, folder: Place) -> tuple[Place, Place]:
        """Return the paths of the table and the plot of a field's drift.

        Parameters
        ----------
        folder : Place
            `drift`, or another folder.

        Returns
        -------
        table, plot : Place
            ECSV and PNG.
        """
        stem = f"syndiff_drift_{self.detector.tag}"
        return folder / f"{stem}.ecsv", folder / f"{stem}.png"

    def template(
        self, dx: float, dy: float, *, roi: Window | None = None, oversample: int = 1
    ) -> Place:
        """Return the path of the template for one offset.

        Parameters
        ----------
        dx, dy : float
            Offset in TESS pixels.
        roi : Window, optional
            Region of interest; None for the full frame.
        oversample : int
            Samples per TESS pixel and axis.

        Returns
        -------
        Place
            The FITS file.
        """
        name = f"syndiff_template_{self.detector.tag}_{format_offset(dx, dy)}"
        return self.templates / f"{name}{_ending(roi, oversample)}"


def _ending(roi: Window | None, oversample: int) -> str:
    """Return the ending of a template's file name."""
    return _format_window(roi) + (f"_os{oversample}" if oversample != 1 else "") + ".fits"
