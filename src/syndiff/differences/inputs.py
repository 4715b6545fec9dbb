"""What a difference needs: the FFI's pixels, the template's planes, and its fine samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import numpy as np

from syndiff.differences.fine_template import refine_file, sample_finely
from syndiff.errors import (
    ConfigError,
    MissingInputError,
    ObservationError,
    RenderingError,
    StorageError,
)
from syndiff.ffi.observation import read_observation
from syndiff.ffi.pixels import read_ffi_pixels
from syndiff.scenes.metadata import SceneRecord
from syndiff.scenes.store import SceneStore
from syndiff.sky.displacement import displacement_between
from syndiff.sky.mapping import Reference
from syndiff.sky.mapping_files import read_mapping
from syndiff.storage.locks import locked
from syndiff.storage.place import Place
from syndiff.templates.template import Template, follow_template
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
    from syndiff.scenes.store import StoredScene
    from syndiff.sky.mapping import Mapping

Placing = Literal["template", "WCS"]

__all__ = ["DifferenceInputs", "read_ffi", "read_inputs"]

_SAME_PX = 1e-3
# FFIs whose WCSs differ by less have the same one.


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
    planes, header = read_template(Place.at(template))
    detector = observation.frame.detector
    stated = tuple(header[key] for key in ("SECTOR", "CAMERA", "CCD"))
    if stated != (detector.sector, detector.camera, detector.ccd):
        raise ConfigError(
            f"{template} is of sector {stated[0]} camera {stated[1]} ccd {stated[2]}, the FFI of "
            f"{detector}: give a template of the FFI's own CCD"
        )
    window = Window(header["XMIN"], header["YMIN"], header["XMAX"], header["YMAX"])
    held = window.intersection(observation.frame.science)
    if held is None:
        raise ConfigError(f"{template} holds no science pixel of {detector}: give another template")
    source = _Source(template, header, held, layout)
    apart = source.apart_px(observation.frame)
    placing: Placing = (
        "template" if apart < _SAME_PX or source.is_refined_for(observation) else "WCS"
    )
    planes = _cut(planes, window, held, header["OVERSAMP"])
    model = None
    if pad_px is not None:
        model, planes = source.sample(observation.frame, planes, placing, pad_px)
    elif header["OVERSAMP"] != 1:
        raise RenderingError(
            f"{template} has {header['OVERSAMP']} samples per pixel, they are subtracted through a "
            "kernel only: leave `kernel` at its default, or give a template with one sample"
        )
    elif placing == "WCS":
        raise RenderingError(
            f"{observation.path} has another WCS than {template}, {apart:.3f} px apart: give a "
            "template of its own, or leave `kernel` at its default, which follows it"
        )
    pixels = read_ffi_pixels(observation, held)
    return DifferenceInputs(observation, window, held, pixels, planes, header, model, placing)


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
class _Source:
    """A template file, and the scene that it was sampled from."""

    template: str
    header: fits.Header
    held: Window
    layout: Layout

    def apart_px(self, frame: Frame) -> float:
        """Return how far the FFI's WCS is from that of the FFI that the template is made for."""
        return displacement_between(self._own(frame), frame).largest(self.held)

    def is_refined_for(self, observation: Observation) -> bool:
        """Tell whether the FFI's own stars moved the template from where the FFI's WCS has them."""
        name = Reference.of(observation).name
        return "REFORDER" in self.header and self.header["FOLLOWS"] == name

    def _own(self, frame: Frame) -> Frame:
        """Return the pixel grid that the template's own WCS tells."""
        return template_frame(self.header, frame.shape, frame.science)

    def sample(
        self, frame: Frame, planes: Template, placing: Placing, pad_px: int
    ) -> tuple[FineModel, Template]:
        """Return the template's fine samples, and its planes per pixel where sources stand."""
        oversample = self.header["OVERSAMP"]
        if oversample > 1 and placing == "template":
            fine = refine_file(planes.flux, oversample, self.held, pad_px=pad_px)
            return fine, binned(planes, oversample)
        mapping = self._mapping()
        reference = mapping.frame
        seen = self._own(frame) if placing == "template" else frame
        there = displacement_between(reference, seen)
        if placing == "template":
            there = there.moved(*(np.full(there.dx.shape, v) for v in template_offset(self.header)))
        with locked(self.layout.scene, to_read=True):
            stored = self._scene(mapping, pad_px + math.ceil(there.largest(self.held)))
        model = sample_finely(
            stored.strip.flux, stored.origin, self.held, displacement=there, pad_px=pad_px
        )
        if placing == "WCS":
            planes = follow_template(
                stored.strip, origin=stored.origin, window=self.held, displacement=there
            )
        return model, planes

    def _mapping(self) -> Mapping:
        """Return the mapping of the CCD that the scene was made for."""
        try:
            return read_mapping(self.layout)
        except MissingInputError as error:
            raise self._missing(error) from error

    def _missing(self, error: MissingInputError) -> MissingInputError:
        return MissingInputError(
            f"a kernel acts on the scene that {self.template} was sampled from, and that is not "
            f"there ({error}): give its `data_root` (and `convolved`), or a template made with "
            "`oversample` 4, or pass `kernel` none for scale and background only"
        )

    def _scene(self, mapping: Mapping, reach_px: int) -> StoredScene:
        """Return the scene under the template and as far around as a kernel reaches."""
        science = mapping.frame.science
        store = SceneStore(self.layout.scene, science)
        try:
            record = SceneRecord.read(self.layout, mapping, store)
            found = record.under(self.held).sampled
        except MissingInputError as error:
            raise self._missing(error) from error
        stated = self.header.get("SCENEDIG")
        if found != stated:
            raise RenderingError(
                f"{self.template} was sampled from another scene (SCENEDIG {stated}) than the one "
                f"in {self.layout.scene} ({found}): make the template again with `syndiff "
                f"downsample {self.layout.detector.arguments}`, or give the `data_root` of its own"
            )
        # What the kernel lacks at the border of what the scene holds is unknown.
        grown = (self.held.grown(k).intersection(science) for k in range(reach_px - 1, 0, -1))
        wholes = (window for window in grown if window is not None and record.holds(window))
        return store.read(next(wholes, self.held))
