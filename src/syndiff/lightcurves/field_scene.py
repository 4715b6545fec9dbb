"""Read the scene under a field, and the response that it was made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syndiff.errors import RenderingError
from syndiff.lightcurves.series import FieldScene
from syndiff.scenes.metadata import GaussianRecord, SceneRecord
from syndiff.scenes.prf import GaussianResponse, PrfResponse
from syndiff.scenes.prf_grid import PrfGrid
from syndiff.scenes.store import SceneStore
from syndiff.sky.mapping_files import read_mapping

if TYPE_CHECKING:
    from syndiff.ffi.frame import Frame
    from syndiff.layout import Layout
    from syndiff.scenes.metadata import PrfRecord
    from syndiff.scenes.prf import Response
    from syndiff.window import Window

__all__ = ["REACH_PX", "read_field_scene", "scene_digest"]

REACH_PX = 4
"""Pixels around a field that its scene should hold: a kernel hands light on by 3."""


def read_field_scene(layout: Layout, window: Window) -> FieldScene:
    """Read the scene under a field, and around it as far as it goes.

    Parameters
    ----------
    layout : Layout
        Where everything lies.
    window : Window
        FFI pixels of the field.

    Returns
    -------
    FieldScene
        The scene.

    Raises
    ------
    MissingInputError
        If it is not there.
    RenderingError
        If it is damaged.
    """
    mapping = read_mapping(layout)
    science = mapping.frame.science
    store = SceneStore(layout.scene, science)
    record = SceneRecord.read(layout, mapping, store)
    content = record.under(window)
    grown = (window.grown(k).intersection(science) for k in range(REACH_PX, 0, -1))
    wholes = (one for one in grown if one is not None and record.holds(one))
    return FieldScene(
        frame=mapping.frame,
        response=_response(content.response, mapping.frame, layout),
        stored=store.read(next(wholes, window)),
        window=window,
    )


def scene_digest(layout: Layout, window: Window) -> str:
    """Return the digest of the scene under a field.

    Parameters
    ----------
    layout : Layout
        Where everything lies.
    window : Window
        FFI pixels of the field.

    Returns
    -------
    str
        Of all that it is made from there.

    Raises
    ------
    MissingInputError
        If it is not there.
    """
    mapping = read_mapping(layout)
    store = SceneStore(layout.scene, mapping.frame.science)
    return str(SceneRecord.read(layout, mapping, store).under(window).sampled)


def _response(stated: GaussianRecord | PrfRecord, frame: Frame, layout: Layout) -> Response:
    if isinstance(stated, GaussianRecord):
        return GaussianResponse(frame, stated.sigma_px)
    grid = PrfGrid.unpack(layout.pixel_response.read(), layout.pixel_response)
    if grid.digest != stated.digest:
        raise RenderingError(
            f"{layout.pixel_response} holds the pixel responses {grid.digest}, the scene was made "
            f"with {stated.digest}: run `syndiff process {layout.detector.arguments}` again"
        )
    return PrfResponse(grid)
