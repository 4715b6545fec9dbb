"""How a CCD's science window is cut into tiles, fixed to the CCD and not to the run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from syndiff.errors import ConfigError
from syndiff.window import Window

__all__ = ["EDGE_PX", "MARGIN_PX", "REACH_PX", "TILE_PX", "TileGrid"]

TILE_PX = 64
"""Side of a tile in TESS pixels.

The response varies across a tile and is blended from its corners; the blend errs with the square
of this side (9e-5 of peak at 128, a quarter of it at 64). A smaller tile costs more margin.
"""

EDGE_PX = 4
"""How far the scene reaches beyond the tiles: largest offset, half an interpolation kernel."""

REACH_PX = 8
"""Farthest that a response may carry light."""

MARGIN_PX = EDGE_PX + REACH_PX + 1
"""Light this far from a tile may enter its grid: edge, reach, and the splat at the grid's border.

So far around the science pixels skycells are mapped, whatever the response, so that the mapping
does not depend on it.
"""


@dataclass(frozen=True)
class TileGrid:
    """Tiles over a science window; tile (row, column) = (0, 0) holds its first pixel.

    Parameters
    ----------
    science : Window
        The CCD's science window, in FFI array pixels.
    """

    science: Window

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        ny, nx = self.science.shape
        return math.ceil(ny / TILE_PX), math.ceil(nx / TILE_PX)

    def covering(self, window: Window, *, margin_px: int = EDGE_PX) -> Window:
        """Return the tiles that the grown window touches.

        Parameters
        ----------
        window : Window
            FFI pixels.
        margin_px : int
            Pixels to add around; the default is what sampling a template needs.

        Returns
        -------
        Window
            Range of tile columns (x) and rows (y), clipped to the grid.

        Raises
        ------
        ConfigError
            If the window lies outside the science window.
        """
        grown = self._science_of(window).grown(margin_px)
        rows, columns = self.shape
        return Window(
            max(0, (grown.x0 - self.science.x0) // TILE_PX),
            max(0, (grown.y0 - self.science.y0) // TILE_PX),
            min(columns, -(-(grown.x1 - self.science.x0) // TILE_PX)),
            min(rows, -(-(grown.y1 - self.science.y0) // TILE_PX)),
        )

    def pixels(self, tiles: Window) -> Window:
        """Return the FFI pixels of a range of tiles.

        Parameters
        ----------
        tiles : Window
            Range of tile columns and rows.

        Returns
        -------
        Window
            FFI pixels; the last tiles may reach beyond the science window.
        """
        x0, y0 = self.science.x0, self.science.y0
        return Window(
            x0 + TILE_PX * tiles.x0,
            y0 + TILE_PX * tiles.y0,
            x0 + TILE_PX * tiles.x1,
            y0 + TILE_PX * tiles.y1,
        )

    def inputs(self, window: Window, reach_px: float = REACH_PX) -> Window:
        """Return the FFI pixels whose light templates of a window need.

        Parameters
        ----------
        window : Window
            FFI pixels, for example a region of interest.
        reach_px : float
            How far the response carries light; the default is the farthest.

        Returns
        -------
        Window
            The window's science pixels, `EDGE_PX` for offsets and interpolation, and the reach.

        Raises
        ------
        ConfigError
            If the window lies outside the science window.
        """
        return self._science_of(window).grown(EDGE_PX + math.ceil(reach_px))

    def _science_of(self, window: Window) -> Window:
        """Return the science pixels of a window."""
        held = window.intersection(self.science)
        if held is None:
            raise ConfigError(
                f"window {window} lies outside the science window {self.science}: give a region "
                "of interest (x0,y0,x1,y1) that holds science pixels"
            )
        return held
