"""`syndiff where`: the sectors, CCDs and pixels of a target."""

from typing import TYPE_CHECKING, Annotated

import typer

from syndiff.commands.options import takes
from syndiff.errors import ConfigError

if TYPE_CHECKING:
    from syndiff.commands.display import Terminal
    from syndiff.settings import Settings

__all__ = ["where"]


@takes("sesame_url")
def where(
    target: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET...",
            help="RA,DEC in degrees or sexagesimal, or an object's name; quotes are not needed.",
        ),
    ],
    *,
    settings: "Settings",
    terminal: "Terminal",
) -> None:
    """Find the sectors, cameras, CCDs and pixels in which TESS sees a target."""
    from syndiff.sky.visibility import where as find

    # A declination of -30 looks like an option, so unknown ones come here too.
    for word in target:
        if word.startswith("--") or (word.startswith("-") and word[1:2].isalpha()):
            raise ConfigError(f"there is no option {word}: `syndiff where --help` lists them")
    terminal.show_where(find(" ".join(target), sesame_url=settings.sesame_url))
