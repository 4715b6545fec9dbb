"""What the benchmarks work on: full-size stack files, and a CCD's worth of reduced skycells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits

from syndiff.config import BANDS
from syndiff.ffi.frame import Frame
from syndiff.ffi.tiles import MARGIN_PX
from syndiff.layout import Detector, Layout
from syndiff.settings import Settings
from syndiff.simulation import plan_simulation, simulate
from syndiff.simulation.ffi import SCIENCE, example_cards
from syndiff.sky.mapping import Reference, map_frame
from syndiff.sky.mapping_files import read_mapping, write_mapping
from syndiff.sky.tessellation import Tessellation
from syndiff.stacks.atlas import Atlas
from syndiff.stacks.inventory import Inventory, InventoryEntry

DETECTOR = Detector(20, 3, 3)
SKYCELL = "skycell.2589.093"
"""A skycell on that CCD."""

FFI_SHAPE = 2078, 2136


@dataclass(frozen=True)
class Inputs:
    """Folders that are filled when they are needed first, and kept.

    Parameters
    ----------
    work : Path
        Where; about 2 GB.
    archive : Path or None
        Folder with full-size files of `SKYCELL`; None to simulate them (minutes).
    """

    work: Path
    archive: Path | None = None

    @cached_property
    def tessellation(self) -> Tessellation:
        """All skycells."""
        return Tessellation.rings_v3()

    @cached_property
    def skycell(self):
        """The skycell that is reduced."""
        return self.tessellation[SKYCELL]

    @cached_property
    def frame(self) -> Frame:
        """A whole CCD."""
        header = fits.Header.fromstring(example_cards(), sep="\n")
        return Frame.from_header(header, DETECTOR, FFI_SHAPE, SCIENCE)

    @cached_property
    def layout(self) -> Layout:
        """Data root of the CCD."""
        return Layout.under(str(self.work / "ccd"), DETECTOR)

    def stack_folder(self) -> Path:
        """Return the folder of the skycell's full-size files."""
        if self.archive is not None:
            return self.archive
        folder = self.work / "sky"
        if not (folder / "simulation.json").exists():
            plan = plan_simulation(kind="field", noise=True, skycells=[self.skycell])
            simulate(plan, folder)
        return folder / "archive"

    def stack_files(self) -> dict[tuple[str, str], Path]:
        """Return the skycell's files by band and plane."""
        suffixes = {"image": "", "variance": ".wt", "mask": ".mask"}
        _, projection, cell = SKYCELL.split(".")
        folder = self.stack_folder() / projection / cell
        return {
            (band, plane): folder / f"rings.v3.{SKYCELL}.stk.{band}.unconv{suffix}.fits"
            for band in BANDS
            for plane, suffix in suffixes.items()
        }

    def mapping(self):
        """Return the CCD's mapping, made if it is not there."""
        if not self.layout.skycell_list.exists():
            days = "2020-01-01T00:00:00Z", "2020-01-01T00:30:00Z"
            reference = Reference("benchmark.fits", "SPOC", *days)
            write_mapping(
                map_frame(self.frame, self.tessellation, margin_px=MARGIN_PX, reference=reference),
                self.layout,
            )
        return read_mapping(self.layout)

    def fill_atlas(self, reduced) -> None:
        """Give every skycell of the CCD the planes of one, cut or stretched at the far edges."""
        config = Settings()
        inventory = Inventory.read(self.layout.inventory, config)
        members = [m.skycell for m in self.mapping().members]
        atlas = Atlas(self.layout.atlas, DETECTOR)
        todo = [cell for cell in members if not atlas.has(atlas.key(cell, config))]
        for cell in todo:
            key = atlas.key(cell, config)
            record = atlas.write(key, _fitted(reduced, cell))
            entry = InventoryEntry(
                cell.name, "reduced", key.digest, record.content_digest, source="benchmark"
            )
            inventory.record(entry)
        if todo:
            inventory.write()


def _fitted(reduced, skycell):
    """Return a reduced skycell under another one's name and size."""
    sides = {
        8: ("light", "left_out", "mask", "valid"),
        32: ("faint", "variance", "count", "left_out_count", "flagged"),
        256: ("level",),
    }
    planes = {
        name: _cut(getattr(reduced, name), -(-skycell.ny // side), -(-skycell.nx // side))
        for side, names in sides.items()
        for name in names
    }
    return replace(reduced, name=skycell.name, shape=(skycell.ny, skycell.nx), **planes)


def _cut(plane, ny, nx):
    part = plane[..., :ny, :nx]
    more = [(0, 0)] * (part.ndim - 2) + [(0, ny - part.shape[-2]), (0, nx - part.shape[-1])]
    return np.ascontiguousarray(np.pad(part, more, mode="edge"))
