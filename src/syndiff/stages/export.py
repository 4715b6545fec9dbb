"""The export stage: an FFI and its template written for another tool, in a folder of their own."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from syndiff.differences.exports import COMMAND_FILES, MARK, export_pair
from syndiff.errors import StorageError
from syndiff.layout import export_name
from syndiff.stages.stage import StageReport, clock
from syndiff.storage.place import Place
from syndiff.window import Window

if TYPE_CHECKING:
    from syndiff.differences.exports import Tool
    from syndiff.differences.inputs import DifferenceInputs

__all__ = ["export_stage"]


def export_stage(
    inputs: DifferenceInputs, template: str, tool: Tool, folder: str | None
) -> StageReport:
    """Write what another tool reads, and the command that runs it.

    Parameters
    ----------
    inputs : DifferenceInputs
        FFI and template on the same pixels.
    template : str
        The template file.
    tool : {"hotpants", "sfft"}
        Which tool.
    folder : str, optional
        Where to; default: a folder beside the template.

    Returns
    -------
    StageReport
        The command is among its notes.

    Raises
    ------
    RenderingError
        If too few pixels can be used.
    StorageError
        If the folder can't be written, or holds other files.
    """
    with clock() as seconds:
        ny, nx = inputs.observation.frame.shape
        roi = None if inputs.window == Window(0, 0, nx, ny) else inputs.window
        beside = template.rpartition("/")[0] or "."
        place = Place.at(folder or f"{beside}/{export_name(tool, inputs.observation.name, roi)}")
        _check_ours(place)
        exported = export_pair(inputs, PurePosixPath(template).name, tool)
        for name, content in exported.files.items():
            (place / name).write(content)
    return StageReport(
        stage="export",
        seconds=seconds(),
        counts={"masked pixels": exported.spoilt},
        notes=(f"in {place}: {exported.command}", "diff.fits will be in the FFI's electron/s"),
        products=tuple(str(place / name) for name in exported.files),
    )


def _check_ours(place: Place) -> None:
    """Raise for a folder that holds something, but no export."""
    names = {name for name, _ in place.walk()} if _is_there(place) else set()
    ours = any(
        name in names and MARK.encode() in (place / name).read(len(MARK) + 40)
        for name in COMMAND_FILES
    )
    if names and not ours:
        raise StorageError(
            f"{place} holds {min(names)} and no export of syndiff: nothing is written there, give "
            "an empty folder"
        )


def _is_there(place: Place) -> bool:
    """Tell whether there may be something; opening a local store makes the folder."""
    from pathlib import Path

    return not place.is_local or Path(str(place)).exists()
