"""What a difference needs: the FFI's pixels, the template's planes, and its fine samples."""

from __future__ import annotations

import functools
import math
import zlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from syndiff.differences.fine_template import refine_file, sample_finely, sample_widely
from syndiff.differences.matched import MatchConfig
from syndiff.errors import (
    ConfigError,
    MissingInputError,
    ObservationError,
    RenderingError,
    StorageError,
)
from syndiff.ffi.observation import read_observation
from syndiff.ffi.pixels import read_ffi_pixels
from syndiff.layout import Detector
from syndiff.scenes.metadata import SceneRecord
from syndiff.scenes.scene import AUX_PLANES, SceneStrip
from syndiff.scenes.store import SceneStore, StoredScene
from syndiff.sky.displacement import SPACING_PX, displacement_between
from syndiff.sky.mapping import Reference
from syndiff.sky.mapping_files import read_mapping
from syndiff.storage.locks import locked
from syndiff.storage.place import Place
from syndiff.templates.template import Template, follow_noise, follow_template, near_flags
from syndiff.templates.template_file import (
    read_header,
    read_template,
    template_frame,
    template_offset,
)
from syndiff.window import Window

if TYPE_CHECKING:
    from astropy.io import fits
    from numpy.typing import NDArray

    from syndiff.differences.matching import FineModel
    from syndiff.ffi.frame import Frame
    from syndiff.ffi.observation import Observation
    from syndiff.ffi.pixels import FfiPixels
    from syndiff.layout import Layout
    from syndiff.sky.displacement import Displacement
    from syndiff.sky.mapping import Mapping

Placing = Literal["template", "WCS"]

__all__ = ["DifferenceInputs", "TemplateSource", "read_ffi", "read_inputs", "template_detector"]

_SAME_PX = 1e-3
# FFIs whose WCSs differ by less have the same one.
_WIDE_SPACING_PX = 32
# Of a displacement's nodes over a large window: errs by 2e-5 px for FFIs that are 2 px apart, and
# in proportion to that.
_USUAL_REACH_PX = 6
# Around a template, for a kernel of 3 px and FFIs that are 2 px apart.


@dataclass(frozen=True)
class DifferenceInputs:
    """An FFI and a template of the same pixels.

    Parameters
    ----------
    observation : Observation
        The FFI.
    window, held : Window
        FFI pixels of the template, and those of them that see the sky.
    ffi : FfiPixels
        The FFI's pixels in `held`.
    template : Template
        The template's planes in `held`, sources where they stand in the FFI.
    header : Header
        The template file's.
    model : FineModel or None
        The template's fine samples, likewise; None where no kernel was asked for.
    placing : {"template", "WCS"}
        Whether sources stand where the template has them (the FFI has the WCS that it was made
        for, or its stars refined it) or were moved to where the FFI's own WCS has them.
    """

    observation: Observation
    window: Window
    held: Window
    ffi: FfiPixels
    template: Template
    header: fits.Header
    model: FineModel | None
    placing: Placing


def read_ffi(path: str) -> Observation:
    """Return what an FFI's headers say, its pixels at hand.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    Observation
        The FFI.

    Raises
    ------
    ConfigError
        If it is a product of syndiff's.
    ObservationError
        If it is no FFI that can be read.
    """
    try:
        return read_observation(path, keep=True)
    except ObservationError as error:
        product = _product(path)
        if not product:
            raise
        raise ConfigError(
            f"{path} is a {product} of syndiff, no FFI: give the FFI first, then the template"
        ) from error


def _product(path: str) -> str:
    """Return which product of ours a file is; empty for none."""
    try:
        header = read_header(Place.at(path))
    except (RenderingError, StorageError):
        return ""
    return "" if header is None else header.get("PRODUCT", "template")


def template_detector(template: str) -> Detector:
    """Return the CCD of a template.

    Parameters
    ----------
    template : str
        The file.

    Returns
    -------
    Detector
        Sector, camera and CCD.

    Raises
    ------
    RenderingError
        If it is no template that can be read.
    """
    header = read_header(Place.at(template))
    if header is None:
        raise RenderingError(
            f"template {template} is not there: give FFIs first, the template last"
        )
    return Detector(*(int(header[key]) for key in ("SECTOR", "CAMERA", "CCD")))


def read_inputs(
    observation: Observation, template: str, layout: Layout, *, pad_px: int | None
) -> DifferenceInputs:
    """Read an FFI's pixels, a template and, for a kernel, the scene that it was sampled from.

    Parameters
    ----------
    observation : Observation
        The FFI.
    template : str
        The file.
    layout : Layout
        Where the scene is.
    pad_px : int or None
        Pixels that the kernel reaches; None for no kernel.

    Returns
    -------
    DifferenceInputs
        The inputs.

    Raises
    ------
    ObservationError
        If the FFI can't be read, or holds no light here.
    ConfigError
        If the two are of different CCDs.
    RenderingError
        If the template or the scene is damaged, or the scene is another one.
    MissingInputError
        If the scene is not there.
    """
    return TemplateSource(template, layout).inputs(observation, pad_px=pad_px)


class TemplateSource:
    """A template and the scene that it was sampled from, each read once for many FFIs.

    Parameters
    ----------
    template : str
        The file; it is read at once, the scene when an FFI needs it.
    layout : Layout
        Where the scene is.

    Raises
    ------
    RenderingError
        If the template is damaged.
    """

    def __init__(self, template: str, layout: Layout) -> None:
        self.template = template
        self.layout = layout
        self.planes, self.header = read_template(Place.at(template))
        keys = ("XMIN", "YMIN", "XMAX", "YMAX")
        self.window = Window(*(int(self.header[key]) for key in keys))
        self._scene: _Scene | None = None

    def inputs(self, observation: Observation, *, pad_px: int | None) -> DifferenceInputs:
        """Return what the difference of an FFI needs.

        Parameters
        ----------
        observation : Observation
            The FFI.
        pad_px : int or None
            Pixels that the kernel reaches; None for no kernel.

        Returns
        -------
        DifferenceInputs
            The inputs.

        Raises
        ------
        SyndiffError
            As of `read_inputs`.
        """
        held = self._held(observation)
        source = _Source(self, held)
        apart = source.apart_px(observation.frame)
        placing: Placing = (
            "template" if apart < _SAME_PX or source.is_refined_for(observation) else "WCS"
        )
        planes = _cut(self.planes, self.window, held, self.header["OVERSAMP"])
        model = None
        if pad_px is not None:
            model, planes = source.sample(observation.frame, planes, placing, pad_px)
        else:
            self._check_kernel_not_needed(observation, placing, apart)
        pixels = read_ffi_pixels(observation, held)
        return DifferenceInputs(
            observation, self.window, held, pixels, planes, self.header, model, placing
        )

    def _held(self, observation: Observation) -> Window:
        """Return the science pixels of the template, after making sure that the CCD is its own."""
        detector = observation.frame.detector
        stated = tuple(self.header[key] for key in ("SECTOR", "CAMERA", "CCD"))
        if stated != (detector.sector, detector.camera, detector.ccd):
            raise ConfigError(
                f"{self.template} is of sector {stated[0]} camera {stated[1]} ccd {stated[2]}, the "
                f"FFI of {detector}: give a template of the FFI's own CCD"
            )
        held = self.window.intersection(observation.frame.science)
        if held is None:
            raise ConfigError(
                f"{self.template} holds no science pixel of {detector}: give another template"
            )
        return held

    def _check_kernel_not_needed(
        self, observation: Observation, placing: Placing, apart_px: float
    ) -> None:
        """Raise if scale and background alone can't subtract the template."""
        if self.header["OVERSAMP"] != 1:
            raise RenderingError(
                f"{self.template} has {self.header['OVERSAMP']} samples per pixel, they are "
                "subtracted through a kernel only: leave `kernel` at its default, or give a "
                "template with one sample"
            )
        if placing == "WCS":
            raise RenderingError(
                f"{observation.path} has another WCS than {self.template}, {apart_px:.3f} px "
                "apart: give a template of its own, or leave `kernel` at its default, which "
                "follows it"
            )

    def scene(self, held: Window, reach_px: int) -> _Scene:
        """Return the scene under some pixels and as far around as is needed.

        Parameters
        ----------
        held : Window
            The template's science pixels.
        reach_px : int
            How far around them.

        Returns
        -------
        _Scene
            In memory; the one of the FFI before, where it reaches as far.

        Raises
        ------
        RenderingError
            If it is another one than the template was sampled from, or damaged.
        MissingInputError
            If it is not there.
        """
        if self._scene is None or self._scene.reach_px < reach_px:
            with locked(self.layout.scene, to_read=True):
                self._scene = _read_scene(self, held, max(reach_px, _USUAL_REACH_PX))
        return self._scene

    @functools.cached_property
    def checksum(self) -> int:
        """CRC-32 of the template's light and flags."""
        first = zlib.crc32(self.planes.flux.tobytes())
        return zlib.crc32(self.planes.quality.tobytes(), first)

    @functools.cached_property
    def mapping(self) -> Mapping:
        """The mapping of the CCD that the scene was made for."""
        try:
            return read_mapping(self.layout)
        except MissingInputError as error:
            raise self.missing(error) from error

    def missing(self, error: MissingInputError) -> MissingInputError:
        """Return the error that says what to do without a scene.

        Parameters
        ----------
        error : MissingInputError
            What is missing.

        Returns
        -------
        MissingInputError
            To be raised.
        """
        return MissingInputError(
            f"a kernel acts on the scene that {self.template} was sampled from, and that is not "
            f"there ({error}): give its `data_root` (and `convolved`), or a template made with "
            "`oversample` 4, or pass `kernel` none for scale and background only"
        )


def _cut(planes: Template, window: Window, held: Window, oversample: int) -> Template:
    """Return the planes of a part of a template's window."""
    y, x = (oversample * v for v in (held.y0 - window.y0, held.x0 - window.x0))
    rows, columns = (oversample * n for n in held.shape)
    part = np.s_[y : y + rows, x : x + columns]
    return Template(*(getattr(planes, field.name)[part] for field in fields(planes)))


def binned(planes: Template, oversample: int) -> Template:
    """Return the planes of an oversampled template per pixel.

    Parameters
    ----------
    planes : Template
        Samples, so many a pixel and axis.
    oversample : int
        How many.

    Returns
    -------
    Template
        Flux and counts of the samples in a pixel are added, flags combined, the coverage is the
        least. The uncertainty is that of a whole pixel, the mean over its samples.
    """
    if oversample == 1:
        return planes

    def blocks(name: str) -> NDArray[np.generic]:
        plane = getattr(planes, name)
        rows, columns = (n // oversample for n in plane.shape)
        split = plane.reshape(rows, oversample, columns, oversample).swapaxes(1, 2)
        return np.asarray(split.reshape(rows, columns, oversample**2))

    return Template(
        flux=blocks("flux").sum(-1),
        count=blocks("count").sum(-1, dtype=np.int32),
        mask=blocks("mask").sum(-1, dtype=np.int32),
        # A sample's is that of a whole pixel over their number: noise is correlated over a pixel.
        uncertainty=blocks("uncertainty").sum(-1),
        coverage=blocks("coverage").min(-1),
        quality=np.bitwise_or.reduce(blocks("quality"), axis=-1),
        faint=blocks("faint").sum(-1),
        # smooth, so that samples err together
        faint_error=blocks("faint_error").sum(-1),
    )


@dataclass(frozen=True)
class _Scene:
    """A scene in memory, as one FFI after another is sampled from it.

    Of a large window the noise and the coverage alone are kept, and flags are combined.
    """

    stored: StoredScene
    reach_px: int
    is_wide: bool


@dataclass(frozen=True)
class _Source:
    """Some pixels of a template file and of the scene that it was sampled from."""

    file: TemplateSource
    held: Window

    @property
    def is_wide(self) -> bool:
        """Whether the window is one of which only some pixels are fitted."""
        rows, columns = self.held.shape
        return rows * columns > MatchConfig.max_pixels

    def apart_px(self, frame: Frame) -> float:
        """Return how far the FFI's WCS is from that of the FFI that the template is made for."""
        spacing = _WIDE_SPACING_PX if self.is_wide else SPACING_PX
        between = displacement_between(self._own(frame), frame, spacing_px=spacing)
        return between.largest(self.held)

    def is_refined_for(self, observation: Observation) -> bool:
        """Tell whether the FFI's own stars moved the template from where the FFI's WCS has them."""
        name = Reference.of(observation).name
        return "REFORDER" in self.file.header and self.file.header["FOLLOWS"] == name

    def _own(self, frame: Frame) -> Frame:
        """Return the pixel grid that the template's own WCS tells."""
        return template_frame(self.file.header, frame.shape, frame.science)

    def sample(
        self, frame: Frame, planes: Template, placing: Placing, pad_px: int
    ) -> tuple[FineModel, Template]:
        """Return the template's fine samples, and its planes per pixel where sources stand."""
        header = self.file.header
        oversample = header["OVERSAMP"]
        if oversample > 1 and placing == "template":
            fine = refine_file(planes.flux, oversample, self.held, pad_px=pad_px)
            return fine, binned(planes, oversample)
        seen = self._own(frame) if placing == "template" else frame
        spacing = _WIDE_SPACING_PX if self.is_wide else SPACING_PX
        there = displacement_between(self.file.mapping.frame, seen, spacing_px=spacing)
        if placing == "template":
            there = there.moved(*(np.full(there.dx.shape, v) for v in template_offset(header)))
        scene = self.file.scene(self.held, pad_px + math.ceil(there.largest(self.held)))
        stored = scene.stored
        sampled = sample_widely if self.is_wide else sample_finely
        model = sampled(
            stored.strip.flux, stored.origin, self.held, displacement=there, pad_px=pad_px
        )
        if placing == "WCS":
            planes = _follow(scene, self.held, there)
        return model, planes


def _follow(scene: _Scene, held: Window, there: Displacement) -> Template:
    """Return a template's planes where another FFI looks; noise and flags alone of a large one."""
    stored = scene.stored
    where: dict[str, Any] = {"origin": stored.origin, "window": held, "displacement": there}
    if not scene.is_wide:
        return follow_template(stored.strip, **where)
    nothing = np.zeros((1, 1), np.float32)
    unknown = np.broadcast_to(nothing, held.shape)
    counts = np.broadcast_to(nothing.astype(np.int32), held.shape)
    uncertainty, quality = follow_noise(stored.strip, **where)
    return Template(unknown, counts, counts, uncertainty, unknown, quality, unknown, unknown)


def _read_scene(file: TemplateSource, held: Window, reach_px: int) -> _Scene:
    """Return the scene under the template and as far around as a kernel reaches."""
    science = file.mapping.frame.science
    store = SceneStore(file.layout.scene, science)
    try:
        record = SceneRecord.read(file.layout, file.mapping, store)
        found = record.under(held).sampled
    except MissingInputError as error:
        raise file.missing(error) from error
    stated = file.header.get("SCENEDIG")
    if found != stated:
        raise RenderingError(
            f"{file.template} was sampled from another scene (SCENEDIG {stated}) than the one "
            f"in {file.layout.scene} ({found}): make the template again with `syndiff "
            f"downsample {file.layout.detector.arguments}`, or give the `data_root` of its own"
        )
    # What the kernel lacks at the border of what the scene holds is unknown.
    grown = (held.grown(k).intersection(science) for k in range(reach_px - 1, 0, -1))
    wholes = (window for window in grown if window is not None and record.holds(window))
    stored = store.read(next(wholes, held))
    is_wide = _Source(file, held).is_wide
    return _Scene(_of_noise(stored) if is_wide else stored, reach_px, is_wide)


def _of_noise(stored: StoredScene) -> StoredScene:
    """Return a scene as `follow_noise` takes it."""
    names = [AUX_PLANES.index(name) for name in ("variance", "coverage")]
    strip = stored.strip
    return StoredScene(
        SceneStrip(strip.flux, strip.aux[names], near_flags(strip.flags)), stored.origin
    )
