"""A rectangle of pixels: the science window, a region of interest, a tile."""

from dataclasses import dataclass

from syndiff.errors import ConfigError

__all__ = ["Window"]


@dataclass(frozen=True, order=True)
class Window:
    """Pixels ``x0 <= x < x1``, ``y0 <= y < y1`` of an FFI array, 0-based.

    Parameters
    ----------
    x0, y0, x1, y1 : int
        First column and row, and one past the last column and row.

    Raises
    ------
    ConfigError
        If the window holds no pixel.

    Examples
    --------
    >>> from syndiff import Window
    >>> window = Window(990, 1010, 1006, 1026)
    >>> window.shape, str(window.grown(2))
    ((16, 16), '988,1008,1008,1028')
    >>> Window.parse("1000,1010,1100,1110").intersection(window)
    Window(x0=1000, y0=1010, x1=1006, y1=1026)
    """

    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise ConfigError(
                f"window {self} holds no pixel: give x0,y0,x1,y1 with x1 > x0 and y1 > y0"
            )

    def __str__(self) -> str:
        return f"{self.x0},{self.y0},{self.x1},{self.y1}"

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Read ``x0,y0,x1,y1``.

        Parameters
        ----------
        text : str
            Four integers separated by commas.

        Returns
        -------
        Window
            The window.

        Raises
        ------
        ConfigError
            If `text` is not four integers or holds no pixel.
        """
        try:
            x0, y0, x1, y1 = (int(part) for part in text.split(","))
        except ValueError:
            raise ConfigError(
                f"region of interest {text!r} is not x0,y0,x1,y1 (four whole numbers: FFI array "
                "pixels, 0-based, half-open)"
            ) from None
        return cls(x0, y0, x1, y1)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of this window in a ``[row, column]`` array of the whole FFI."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grown(self, margin_px: int) -> "Window":
        """Return the window with `margin_px` more pixels on every side.

        Parameters
        ----------
        margin_px : int
            Pixels to add; negative to shrink.

        Returns
        -------
        Window
            The larger window.
        """
        return Window(
            self.x0 - margin_px, self.y0 - margin_px, self.x1 + margin_px, self.y1 + margin_px
        )

    def intersection(self, other: "Window") -> "Window | None":
        """Return the pixels that both windows hold, or None.

        Parameters
        ----------
        other : Window
            The other window.

        Returns
        -------
        Window or None
            The common pixels.
        """
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        x1, y1 = min(self.x1, other.x1), min(self.y1, other.y1)
        return Window(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def union(self, other: "Window") -> "Window":
        """Return the smallest window that holds both.

        Parameters
        ----------
        other : Window
            The other window.

        Returns
        -------
        Window
            Their pixels, and those between them.
        """
        return Window(
            min(self.x0, other.x0),
            min(self.y0, other.y0),
            max(self.x1, other.x1),
            max(self.y1, other.y1),
        )

    def contains(self, other: "Window") -> bool:
        """Tell whether every pixel of `other` is in this window.

        Parameters
        ----------
        other : Window
            The other window.

        Returns
        -------
        bool
            True where it is.
        """
        return self.intersection(other) == other

    def holds(self, x: float, y: float) -> bool:
        """Tell whether a point lies on a pixel of this window.

        Parameters
        ----------
        x, y : float
            Pixel coordinates, 0-based, integers at the pixels' centres; NaN is in no window.

        Returns
        -------
        bool
            True where it does.
        """
        return self.x0 - 0.5 <= x < self.x1 - 0.5 and self.y0 - 0.5 <= y < self.y1 - 0.5
