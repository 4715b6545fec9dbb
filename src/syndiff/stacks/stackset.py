"""Whether image, variance and mask belong to one stack, and what is done where they don't."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from syndiff.errors import ArchiveError
from syndiff.stacks.archive import PLANES, Fetched, SkycellFiles
from syndiff.stacks.stackheader import MIXED_OPTION, Plane

__all__ = ["check_sets"]

_SAME_EXPTIME = 1e-4
"""Relative difference of exposure times that headers of one stack may have: their last digits."""


def check_sets(
    files: SkycellFiles, *, allow_mixed: bool = False
) -> tuple[SkycellFiles, dict[str, tuple[str, ...]]]:
    """Check the files of each band against each other.

    That each has the skycell's size and WCS, and says no other band, was checked on opening. What
    can't change a flux (epochs, comments, the constants of each file's own scaling) may differ.

    Parameters
    ----------
    files : SkycellFiles
        All files of a skycell.
    allow_mixed : bool
        Take files that contradict each other: the image's header counts for all three.

    Returns
    -------
    files : SkycellFiles
        To be reduced.
    contradictions : dict
        Band -> what its files disagree on; only bands where they do, and only if that is allowed.

    Raises
    ------
    ArchiveError
        If the files of a band contradict each other and that isn't allowed, or two of them are
        one.
    """
    planes, found = dict(files.planes), {}
    for band in files.bands:
        trio = {plane: planes[band, plane] for plane in PLANES}
        _check_distinct(files.name, band, trio)
        mismatches = [*_mismatches(trio)]
        if mismatches and not allow_mixed:
            raise ArchiveError(
                f"{files.name} band {band}: {mismatches[0]}: the files are not of one stack, and "
                "fluxes or their errors would be wrong. Give the right files, go on by "
                f"{MIXED_OPTION} as the image's header says, or without the skycell by "
                "`allow_partial`"
            )
        mismatches += [text for one in trio.values() for text in one.stack.contradictions]
        if mismatches:
            found[band] = tuple(mismatches)
            exptime_s = trio["image"].stack.exptime_s
            stack = replace(trio["variance"].stack, exptime_s=exptime_s)
            planes[band, "variance"] = replace(trio["variance"], stack=stack)
    return replace(files, planes=planes), found


def _check_distinct(name: str, band: str, trio: Mapping[Plane, Fetched]) -> None:
    """Raise if one file is given twice."""
    seen: dict[str, Fetched] = {}
    for file in trio.values():
        other = seen.setdefault(file.sha256, file)
        if other is not file:
            raise ArchiveError(
                f"{name} band {band}: {file.source} is the same file as {other.source}: give the "
                f"{file.stack.plane} of this stack, or go on without the skycell by "
                "`allow_partial`"
            )


def _mismatches(trio: Mapping[Plane, Fetched]) -> Iterator[str]:
    """Yield what the other planes' headers say against the image's."""
    image = trio["image"]
    for plane in PLANES[1:]:
        file = trio[plane]
        times = file.stack.exptime_s, image.stack.exptime_s
        if not math.isnan(times[0]) and not math.isclose(*times, rel_tol=_SAME_EXPTIME):
            yield f"EXPTIME is {times[0]:g} s in {file.source}, {times[1]:g} s in {image.source}"
        if plane == "variance" and file.stack.is_linear != image.stack.is_linear:
            kinds = [
                "has no BOFFSET and BSOFTEN" if one.stack.is_linear else "has BOFFSET and BSOFTEN"
                for one in (file, image)
            ]
            yield f"{file.source} {kinds[0]}, {image.source} {kinds[1]}"
