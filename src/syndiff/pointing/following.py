"""FFIs to follow: whether their pointing is known, and their displacement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syndiff.errors import ConfigError, GeometryError, ObservationError, RenderingError
from syndiff.ffi.dead_pixels import describe_dead
from syndiff.ffi.ffi_file import FfiFile
from syndiff.ffi.observation import read_observation
from syndiff.ffi.pixels import check_frame
from syndiff.masks import UNTRUSTED_POINTING, format_quality
from syndiff.sky.displacement import displacement_between
from syndiff.sky.mapping import Reference
from syndiff.templates.template import check_reach

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from syndiff.ffi.frame import Frame
    from syndiff.ffi.observation import Observation
    from syndiff.layout import Detector
    from syndiff.sky.displacement import Displacement
    from syndiff.window import Window

__all__ = [
    "Candidate",
    "check_detector",
    "displacement_of",
    "doubt_about",
    "read_candidates",
    "reason_against",
]


_TOLD_DEAD = 1e-3
# Part of the science pixels, two columns: fewer dead ones are not reported.


@dataclass(frozen=True)
class Candidate:
    """An FFI that a template may follow.

    Parameters
    ----------
    path : str
        As it was given.
    observation : Observation or None
        None if it can't be read or has no WCS that can be used.
    reason : str
        Why it can't be followed; empty if it can.
    dead : str
        How many of its science pixels hold no light, in words; empty for less than 0.1 %.
    """

    path: str
    observation: Observation | None
    reason: str
    dead: str = ""

    @property
    def name(self) -> str:
        """File name, in ASCII."""
        if self.observation is None:
            return FfiFile(self.path).name
        return Reference.of(self.observation).name

    @property
    def quality(self) -> int:
        """DQUALITY; 0 where it can't be read."""
        return 0 if self.observation is None else self.observation.quality


def read_candidates(paths: Iterable[str]) -> list[Candidate]:
    """Read FFIs, and find which of them have a pointing that can be used.

    A frame without light has none, whatever its header says; pixels are read to find that.

    Parameters
    ----------
    paths : iterable of str
        FFIs of SPOC or TICA.

    Returns
    -------
    list of Candidate
        In the order given.

    Raises
    ------
    ConfigError
        If two of them have one name.
    """
    candidates = [_read(path) for path in paths]
    names: set[str] = set()
    for candidate in candidates:
        if candidate.name in names:
            raise ConfigError(f"{candidate.name} is given more than once: give each FFI once")
        names.add(candidate.name)
    return candidates


def _read(path: str) -> Candidate:
    try:
        observation = read_observation(path)
    except ObservationError as error:
        return Candidate(path, None, str(error))
    try:
        codes = check_frame(observation)
    except ObservationError as error:
        return Candidate(path, observation, str(error))
    dead = describe_dead(codes) if (codes > 0).mean() > _TOLD_DEAD else ""
    return Candidate(path, observation, doubt_about(observation), dead)


def doubt_about(observation: Observation) -> str:
    """Return why an FFI's WCS may not give its true pointing.

    Parameters
    ----------
    observation : Observation
        The FFI.

    Returns
    -------
    str
        Empty if there is no reason.
    """
    untrusted = observation.quality & UNTRUSTED_POINTING
    if not untrusted:
        return ""
    return (
        f"{observation.name}: DQUALITY {observation.quality} ({format_quality(untrusted)}): "
        "its WCS may not give its true pointing"
    )


def check_detector(candidates: Sequence[Candidate], detector: Detector) -> None:
    """Raise if an FFI is of another detector.

    Parameters
    ----------
    candidates : sequence of Candidate
        FFIs.
    detector : Detector
        Sector, camera and CCD that they should be of.

    Raises
    ------
    ConfigError
        The first one that isn't.
    """
    for candidate in candidates:
        found = candidate.observation and candidate.observation.frame.detector
        if found and found != detector:
            raise ConfigError(
                f"{candidate.path} is of {found}, not of {detector}: give FFIs of one sector, "
                "camera and CCD"
            )


def displacement_of(candidate: Observation, reference: Frame, window: Window) -> Displacement:
    """Return the displacement of an FFI over pixels that a scene must hold.

    Parameters
    ----------
    candidate : Observation
        The FFI.
    reference : Frame
        The FFI that the scene was made for.
    window : Window
        FFI pixels of the template.

    Returns
    -------
    Displacement
        By the WCS of both.

    Raises
    ------
    GeometryError
        If there is none, or the FFIs differ in their science pixels.
    RenderingError
        If it leaves the scene.
    """
    frame = candidate.frame
    if (frame.shape, frame.science) != (reference.shape, reference.science):
        raise GeometryError(
            f"its science pixels are {frame.science}, those of the reference FFI "
            f"{reference.science} (x0,y0,x1,y1): give FFIs of one pipeline, SPOC or TICA"
        )
    displacement = displacement_between(reference, frame)
    check_reach(displacement, window)
    return displacement


def reason_against(candidate: Candidate, reference: Frame, window: Window) -> str:
    """Return why a template can't follow an FFI.

    Parameters
    ----------
    candidate : Candidate
        The FFI.
    reference : Frame
        The FFI that the scene was made for.
    window : Window
        FFI pixels of the template.

    Returns
    -------
    str
        Empty if it can.
    """
    if candidate.reason or candidate.observation is None:
        return candidate.reason
    try:
        displacement_of(candidate.observation, reference, window)
    except (GeometryError, RenderingError) as error:
        return f"{candidate.name}: {error}"
    return ""
