"""The command line's options: from settings to what typer reads, and to a run."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syndiff.commands.flags import as_flags, flag_of
from syndiff.settings import Settings, option_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from syndiff.commands.display import Terminal

__all__ = ["Camera", "Catalogue", "Ccd", "Ffi", "Sector", "Verbose", "shown", "takes"]

Ffi = Annotated[
    str,
    typer.Argument(
        metavar="TESS_FITS", help="TESS FFI, SPOC or TICA: a file or its https:// or s3:// URL."
    ),
]
Catalogue = Annotated[
    str | None,
    typer.Argument(
        metavar="SKYCELL_WCS_CSV",
        help="Skycell catalogue; default DATA_ROOT/SkyCells/skycell_wcs.csv if it is there, else "
        "the built-in RINGS.V3 tessellation.",
    ),
]
Sector = Annotated[int, typer.Argument(metavar="SECTOR", help="TESS sector.")]
Camera = Annotated[int, typer.Argument(metavar="CAMERA", help="TESS camera, 1 to 4.")]
Ccd = Annotated[int, typer.Argument(metavar="CCD", help="TESS CCD, 1 to 4.")]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, show_default=False, help="-v INFO, -vv DEBUG.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]

_KINDS = {"int": int, "float": float, "bool": bool}
"""What typer reads; anything else is text, which the setting reads itself."""


@contextlib.contextmanager
def shown(verbose: int, *, as_json: bool) -> Iterator[Terminal]:
    """Load what shows a run only when there is one.

    Parameters
    ----------
    verbose : int
        0 warnings, 1 INFO, 2 DEBUG.
    as_json : bool
        Whether the report is printed as JSON.

    Yields
    ------
    Terminal
        Takes progress and the report.
    """
    from syndiff.commands.display import terminal

    with terminal(verbose, as_json=as_json) as found:
        yield found


def takes(*names: str, **renamed: tuple[str, object]) -> Callable[[Callable[..., None]], Any]:
    """Give a command the options of settings; it is called with them as `settings`.

    Parameters
    ----------
    *names : str
        Settings, in the order of `--help`.
    **renamed : (str, object)
        Settings that have another flag or default with this command.

    Returns
    -------
    callable
        Decorates a command, which takes its own arguments, `settings` and `terminal`.
    """
    flags = {name: (flag_of(name), option_of(name)[0]) for name in names}
    flags.update(renamed)
    options = [_option(name, flag, default) for name, (flag, default) in flags.items()]
    shared = [*options, _keyword("verbose", Verbose, 0), _keyword("json", Json, False)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        own = [p for n, p in signature.parameters.items() if n not in {"settings", "terminal"}]

        @functools.wraps(command)
        def run(verbose: int, json: bool, **arguments: Any) -> None:  # noqa: ANN401 - typer's
            given = {name: arguments.pop(name) for name in flags}
            with shown(verbose, as_json=json) as terminal:
                settings = Settings(**{k: v for k, v in given.items() if v is not None})
                command(**arguments, settings=settings, terminal=terminal)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _keyword(name: str, annotation: object, default: object) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _option(name: str, flag: str, default: object) -> inspect.Parameter:
    """Return the parameter by which typer knows a setting."""
    _, option = option_of(name)
    kind: Any = _KINDS.get(option.read.__annotations__["return"], str)
    if isinstance(default, tuple):
        kind, default = list[str] | None, None
    elif default is None:
        kind = kind | None
    about = typer.Option(flag, help=as_flags(option.help), metavar=option.metavar or None)
    return _keyword(name, Annotated[kind, about], default)
