"""Every exception of syndiff, and when each is raised.

A message names the problem, the value, what is allowed and what to do next.
Exceptions carry their message only, so they survive pickling between workers.
"""

__all__ = [
    "ArchiveError",
    "ArchiveUnavailableError",
    "AtlasError",
    "ConfigError",
    "CorruptDownloadError",
    "GeometryError",
    "IncompleteAtlasError",
    "MissingInputError",
    "ObservationError",
    "RenderingError",
    "ResponseError",
    "SkycellNotFoundError",
    "StorageError",
    "SyndiffError",
    "SyndiffWarning",
    "WrongFileError",
]


class SyndiffError(Exception):
    """Base of every error that syndiff raises on purpose.

    Examples
    --------
    >>> from syndiff import SyndiffError, Window
    >>> try:
    ...     Window.parse("0,0,0,8")
    ... except SyndiffError as error:
    ...     print(error)
    window 0,0,0,8 holds no pixel: give x0,y0,x1,y1 with x1 > x0 and y1 > y0
    """


class ConfigError(SyndiffError, ValueError):
    """An option or configuration value that can't be used (exit code 2)."""


class ObservationError(SyndiffError):
    """An FFI that can't be read, or whose header is incomplete or inconsistent."""


class GeometryError(SyndiffError):
    """A tessellation, catalogue or WCS that doesn't describe the sky it should."""


class MissingInputError(SyndiffError):
    """An earlier stage's product is not there; the message names the command that makes it."""


class ArchiveError(SyndiffError):
    """Base of errors in requests to the PS1 archive."""


class SkycellNotFoundError(ArchiveError):
    """The archive answers that it doesn't have this file (404)."""


class ArchiveUnavailableError(ArchiveError):
    """The archive did not answer, or answered with a failure, after every retry."""


class CorruptDownloadError(ArchiveError):
    """A file arrived that is not the FITS file it should be."""


class WrongFileError(CorruptDownloadError):
    """A complete file that is not the one expected; repeating the request rarely helps."""


class AtlasError(SyndiffError):
    """The atlas of reduced skycells is not what this version reads."""


class IncompleteAtlasError(AtlasError):
    """A skycell that the work needs is not complete in the atlas."""


class RenderingError(SyndiffError):
    """A scene or template can't be made as asked."""


class ResponseError(SyndiffError):
    """Files of a measured pixel response that are missing or not valid."""


class StorageError(SyndiffError, OSError):
    """A path or object under a data root can't be read or written."""


class SyndiffWarning(UserWarning):
    """Degraded but usable science."""
