"""What the skycells under a row of tiles add to a scene, each read once while rows need it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from syndiff.config import BANDS
from syndiff.scenes.combine import Contribution, combine, contribute_nothing, invalid_bands
from syndiff.sky.pixelmap import PixelMap
from syndiff.sky.sharing import Sharing, sharing_of
from syndiff.stars.replacement import known_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from syndiff.scenes.scene_inputs import SceneInputs
    from syndiff.sky.mapping import Member
    from syndiff.sky.pixelmap import Lattice
    from syndiff.sky.tessellation import Skycell, Tessellation
    from syndiff.stars.skycell_stars import PlacedStars
    from syndiff.window import Window

__all__ = ["Contributions"]

_KEPT_INVALID = 160
"""Skycells of which it is kept what they lack."""


def _lacking(plane: Callable[[str], NDArray[Any]], placed: PlacedStars | None) -> NDArray[np.uint8]:
    """Return which bands a skycell lacks, cell by cell, once stars are put back."""
    valid = plane("valid")
    if placed is not None:
        valid = known_cells(plane("mask"), valid, placed)
    return invalid_bands(valid)


class Contributions:
    """What skycells add to a scene.

    Parameters
    ----------
    inputs : SceneInputs
        What the scene is made from.
    tessellation : Tessellation
        The one that the CCD was mapped with.
    part : frozenset of str
        Names of the skycells that are rendered.
    """

    def __init__(
        self, inputs: SceneInputs, tessellation: Tessellation, part: frozenset[str]
    ) -> None:
        self._inputs = inputs
        self._tessellation = tessellation
        self._part = part
        self._held: dict[str, tuple[Lattice, Contribution]] = {}
        self._invalid: dict[str, NDArray[np.uint8]] = {}

    def under(self, window: Window) -> Iterator[tuple[Lattice, Contribution]]:
        """Yield each skycell under a window: its position on the CCD and what it adds.

        Parameters
        ----------
        window : Window
            FFI pixels; skycells that don't reach into it are forgotten.

        Yields
        ------
        (Lattice, Contribution)
            In the order of the mapping.
        """
        around = self._inputs.mapping.mapped_under(window)
        members = [member for member in around if member.skycell.name in self._part]
        for name in set(self._held) - {member.skycell.name for member in members}:
            del self._held[name]
        yield from map(self._of, members)

    def _of(self, member: Member) -> tuple[Lattice, Contribution]:
        """Return a member's position on the CCD and what it adds; read once while rows need it."""
        skycell = member.skycell
        if skycell.name not in self._held:
            lattice = PixelMap.between(skycell, self._inputs.mapping.frame).lattice()
            sharing = sharing_of(self._tessellation, skycell)
            self._held[skycell.name] = lattice, self._contribute(member, sharing)
        return self._held[skycell.name]

    def _contribute(self, member: Member, sharing: Sharing) -> Contribution:
        skycell = member.skycell
        holes = self._holes(sharing)
        state = self._inputs.state(skycell.name)
        if state != "reduced":
            failed = state != "absent"
            return contribute_nothing(skycell, sharing=sharing, holes=holes, failed=failed)
        atlas = self._inputs.atlas
        key = atlas.key(skycell, self._inputs.settings)
        reduced = atlas.read(key, with_left_out=False)
        stars = self._inputs.stars
        placed = stars.place(skycell, reduced.meta) if stars is not None else None
        if reduced.meta.invalid_cells:
            plane = functools.partial(getattr, reduced)
            self._keep_invalid(skycell.name, _lacking(plane, placed))
        made = combine(
            reduced,
            skycell=skycell,
            sharing=sharing,
            holes=holes,
            settings=self._inputs.settings,
            stars=placed,
        )
        if stars is not None:
            stars.record(skycell, made)
        return made

    def _holes(self, sharing: Sharing) -> dict[str, NDArray[np.uint8] | int]:
        """Return which neighbours lack valid data, and where.

        A neighbour that is no part of what is rendered reaches no pixel that counts.
        """
        holes: dict[str, NDArray[np.uint8] | int] = {}
        for name in sharing.neighbours:
            if name not in self._part:
                continue
            if self._inputs.state(name) != "reduced":
                holes[name] = (1 << len(BANDS)) - 1
            elif self._inputs.atlas_record(self._tessellation[name]).meta.invalid_cells:
                holes[name] = self._invalid_of(self._tessellation[name])
        return holes

    def _invalid_of(self, skycell: Skycell) -> NDArray[np.uint8]:
        """Return which bands a reduced skycell lacks, cell by cell; read if it is not kept."""
        cells = self._invalid.get(skycell.name)
        if cells is None:
            atlas, stars = self._inputs.atlas, self._inputs.stars
            key = atlas.key(skycell, self._inputs.settings)
            meta = self._inputs.atlas_record(skycell).meta
            placed = stars.place(skycell, meta) if stars is not None else None
            cells = _lacking(functools.partial(atlas.read_plane, key), placed)
        self._keep_invalid(skycell.name, cells)
        return cells

    def _keep_invalid(self, name: str, cells: NDArray[np.uint8]) -> None:
        """Keep which bands a skycell lacks for its neighbours; drop the least recently used.

        The skycells of a row of tiles have some 100 neighbours, 0.7 MB each.
        """
        self._invalid.pop(name, None)
        self._invalid[name] = cells
        while len(self._invalid) > _KEPT_INVALID:
            del self._invalid[next(iter(self._invalid))]
