"""Compile all kernels ahead, once for every process that will use them.

Numba writes its cache without locks: processes that compile the same kernel for different types
at the same time can leave an index that names one's machine code as the other's. So one process
compiles, whoever starts meanwhile waits, and the rest only read.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from syndiff.kernels.compile import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike

__all__ = ["compile_all", "signatures", "warm"]

logger = logging.getLogger(__name__)


def warm() -> None:
    """Compile every kernel unless that was done before; without a cache, do nothing.

    Kernels still compile on first use where this could not.
    """
    folder = cache_folder()
    if folder is None or numba.config.DISABLE_JIT:
        return
    mark = Path(folder, f"compiled-{_source_digest()}")
    if mark.exists():
        return
    try:
        with _locked(Path(folder)):
            if not mark.exists():
                start = time.perf_counter()
                compile_all()
                mark.touch()
                logger.info("kernels compiled in %.1f s", time.perf_counter() - start)
    except OSError as error:
        logger.info("%s can't be written (%s): kernels are compiled as needed", folder, error)
    except numba.core.errors.NumbaError as error:
        logger.warning("not all kernels were compiled ahead, they are as needed: %s", error)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the cache; the operating system lets go when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as file:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _source_digest() -> str:
    """Return the digest of the kernels' sources and paths, on which the cache depends."""
    folder = Path(__file__).parent
    found = hashlib.sha256(str(folder).encode())
    for path in sorted(folder.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def compile_all() -> None:
    """Compile every kernel for the types that Python code calls it with, or load it.

    Raises
    ------
    numba.core.errors.NumbaError
        If a kernel can't be compiled for the types named here.
    """
    for kernel, arguments in signatures():
        kernel.compile(tuple(numba.typeof(argument) for argument in arguments))


def _array(dtype: DTypeLike, dimensions: int, *, is_readonly: bool = False) -> np.ndarray[Any, Any]:
    """Return an empty array, for its type."""
    array = np.empty((0,) * dimensions, dtype)
    array.flags.writeable = not is_readonly
    return array


def signatures() -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Give the kernels that Python code calls, and arguments of the right types.

    Yields
    ------
    kernel : numba dispatcher
        What is called; kernels that only kernels call are part of it.
    arguments : tuple
        Their values mean nothing.
    """
    yield from _reduction_signatures()
    yield from _mapping_signatures()
    yield from _scene_signatures()
    yield from _difference_signatures()
    yield from _simulation_signatures()


def _reduction_signatures() -> Iterator[tuple[Any, tuple[Any, ...]]]:
    from syndiff.kernels import bigendian, boxes, coding, decimate, detect, rice

    bytes_1, bytes_2 = _array("u1", 1, is_readonly=True), _array("u1", 2)
    words_1, words_2 = _array("u2", 1, is_readonly=True), _array("u2", 2)
    short_2, index_1, index_i4 = _array("i2", 2), _array("i8", 1), _array("i4", 1)
    single_1, single_2 = _array("f4", 1), _array("f4", 2)
    double_2, double_3 = _array("f8", 2), _array("f8", 3)
    rows = boxes.StripRows(words_2, words_2, words_2, single_1, single_1)
    sums = boxes.BoxSums(single_2, bytes_2, single_2, bytes_2, words_2, words_2)
    bits = np.uint16(0)
    packed = _array("u2", 2, is_readonly=True)
    yield bigendian.unpack_rows, (packed, index_1, bits, words_2)
    yield rice.decode_rows, (bytes_1, index_1, index_1, 0, short_2)
    aside = boxes.LeftOutBoxes(index_i4, index_i4, single_1, _array("u1", 1))
    yield boxes.sum_boxes, (rows, 0, bits, bits, sums, aside)
    yield boxes.add_pairs, (single_1, single_1)
    yield detect.sum_cells, (single_2, bytes_2, single_2, bytes_2)
    yield detect.median, (single_1,)
    yield detect.mesh_medians, (single_2, bytes_2, bytes_2, 0, 0, single_2, _array("i4", 2))
    yield detect.mesh_sums, (single_2, bytes_2, bytes_2, single_2, double_2, double_2)
    yield detect.sum_dark, (single_2, single_2, bytes_2, single_2, single_2)
    yield detect.count_marked, (bytes_2, bytes_2)
    yield detect.mark_wide, (bytes_2, single_2, bytes_2)
    yield detect.add_residual, (single_2, bytes_2, single_2, np.float32(0), single_2)
    yield detect.matched_filter, (single_2, single_2, single_2)
    yield detect.grow, (bytes_2, bytes_2)
    light = decimate.Boxes(single_2, bytes_2, bytes_2, single_2, single_2)
    coarse = decimate.CoarseSums(single_2, double_2, words_2)
    yield decimate.split_light, (light, single_1, coarse)
    yield decimate.split_variance, (single_2, bytes_2, double_3)
    yield decimate.scatter_light, (index_i4, index_i4, single_1, single_1, double_2)
    for values in (single_2, double_2):
        yield coding.encode_asinh, (values, 0.0, 0.0, _array("f8", 1), short_2)
    yield coding.look_up, (single_1, words_1, single_1)


def _mapping_signatures() -> Iterator[tuple[Any, tuple[Any, ...]]]:
    from syndiff.kernels import lattice, projection

    double_1, double_2, double_3 = _array("f8", 1), _array("f8", 2), _array("f8", 3)
    yield projection.project_pixels, (double_2, double_3, double_1, double_2, double_2)
    yield projection.project_vectors, (double_2, double_3, double_1, double_2, double_2)
    yield projection.unproject_pixels, (double_2, double_3, double_1, double_2, double_2)
    yield lattice.evaluate_lattice, (double_2, 0, double_1, double_1, double_1)
    yield lattice.index_cells, (double_2, double_2, 0, _array("i8", 1), _array("i4", 2))


def _scene_signatures() -> Iterator[tuple[Any, tuple[Any, ...]]]:
    from syndiff.kernels import combine, convolve, planes, rings, sample, sharing, splat

    bytes_1, bytes_2 = _array("u1", 1), _array("u1", 2)
    index_1, index_2 = _array("i8", 1), _array("i8", 2)
    single_1, single_2, single_3 = _array("f4", 1), _array("f4", 2), _array("f4", 3)
    double_1, double_2, double_3 = _array("f8", 1), _array("f8", 2), _array("f8", 3)
    geometry = (double_3, double_2, index_1, double_2, double_3, double_1)
    yield sharing.share_points, (double_1, double_1, 0, geometry, double_1)
    yield sharing.share_lit, (bytes_2, double_1, double_1, geometry, single_2)
    lost = (double_1, double_1, double_2, double_1, double_1, bytes_2, index_1, bytes_2)
    yield sharing.mark_lost, lost
    yield sharing.list_marked, (bytes_2, index_1, index_1)
    again = (bytes_1, double_1, double_1, geometry, (bytes_1, index_2), single_2)
    yield sharing.share_again, again
    codes = combine.CodedLight(_array("u2", 3, is_readonly=True), single_2, index_1)
    yield combine.weigh_codes, (codes, single_1, bytes_2, 0.0, single_2, double_1)
    yield combine.decode_cells, (codes, index_1, index_1, single_2)
    yield combine.mark_lit, (single_2, bytes_2, bytes_2)
    yield combine.take_share, (single_2, single_2, bytes_2)
    yield combine.weigh_bands, (single_3, single_1, single_2)
    masks = _array("u2", 2, is_readonly=True), _array("u2", 3, is_readonly=True)
    yield combine.raise_flags, (*masks, _array("u2", 1), bytes_1, bytes_2)
    yield combine.sum_changes, (index_1, index_1, single_2, double_3)
    yield rings.subtract_rings, (single_3, index_2, (0, 0), 0)
    yield combine.sum_bright, (single_2, bytes_2, 0.0, single_3, double_1)
    limits = 0.0, 0.0, 0.0
    yield combine.guess_lost, (bytes_2, (index_1, index_1), single_2, limits, single_2)
    lost_light = single_2, single_2, bytes_1, single_2, single_2
    yield combine.stand_in, (index_1, index_1, *lost_light)
    node = (0, double_2, double_2, double_1, 0, index_1, 0)
    yield splat.splat_cells, (single_3, *node, double_3)
    yield splat.splat_flags, (bytes_2, *node, bytes_2)
    yield sample.sample_constant, (single_2, 0, 0, 0, single_1, single_1, single_2)
    yield sample.sample_boxes, (bytes_2, 0, 0, 0, 0, bytes_2)
    places = sample.Places(double_2, double_2, 0, 0, 0, 0.0, 0.0)
    yield sample.sample_field, (single_2, (0, 0), 0, single_2, places, single_2)
    single_4, index_taps = _array("f4", 4), _array("i8", 2)
    yield convolve.convolve_varying, (single_4, index_taps, double_3, double_2, double_2, double_2)
    yield sample.pick_flags, (bytes_2, (0, 0), 0, places, bytes_2)
    int_2 = _array("i4", 2)
    sampled = planes.Sampled(*[single_2] * 7)
    covered = planes.Limits(np.float32(0), np.float32(0), np.int32(0), np.int32(0))
    yield planes.finish_planes, (sampled, single_2, bytes_2, covered, (int_2, int_2, int_2))
    noise = ((single_2, single_2), single_2, bytes_2, covered, (single_2, int_2))
    yield planes.finish_noise, noise
    yield planes.tally_pixels, (single_2, int_2, (0, 0, 0, 0), index_1)


def _difference_signatures() -> Iterator[tuple[Any, tuple[Any, ...]]]:
    from syndiff.kernels import convolve, normal, resample, stars, widen

    marked, index_1, index_2 = _array("?", 2), _array("i8", 1), _array("i8", 2)
    single_2, single_4 = _array("f4", 2), _array("f4", 4)
    double_1, double_2, double_3 = _array("f8", 1), _array("f8", 2), _array("f8", 3)
    yield convolve.convolve_cubic, (single_4, index_2, double_3, double_2, single_2, single_2)
    yield normal.gather_samples, (single_4, index_2, index_1, index_1, single_2)
    yield normal.weigh_samples, (single_2, single_2, single_2, double_1)
    yield normal.project_residuals, (single_2, single_2, double_1, double_2)
    yield widen.widen, (marked, 0, 0)
    for plane in (single_2, double_2):
        yield stars.mark_maxima, (plane, plane, 0.0, marked)
        yield stars.sum_boxes, (plane, plane, plane, marked, (index_1, index_1), 0.0, double_2)
        yield stars.measure_boxes, (plane, plane, plane, (index_1, index_1), double_2)
    field = (double_2, double_2, 0)
    yield (
        resample.resample,
        (single_2, (0, 0), 0, single_2, field, (0.0, 0.0), 0, single_4),
    )


def _simulation_signatures() -> Iterator[tuple[Any, tuple[Any, ...]]]:
    from syndiff.kernels import fine_grid, gaussians, rice_encoder

    index_1, short_2 = _array("i8", 1), _array("i2", 2)
    double_1, double_2, double_3 = _array("f8", 1), _array("f8", 2), _array("f8", 3)
    yield gaussians.add_round, (double_2, double_2, 0.0, double_2)
    yield gaussians.add_elliptical, (double_2, double_2, 0.0)
    yield gaussians.add_integrated, (double_2, double_2, 0.0, double_1, double_1)
    sources = (double_1, double_3, double_2, double_3, double_1, index_1, double_2)
    yield gaussians.integrate_sources, sources
    single_2 = _array("f4", 2)
    yield gaussians.warp_bilinear, (single_2, double_2, double_1, single_2)
    single_3 = _array("f4", 3)
    fine = (single_3, index_1, single_2, single_2, single_3, single_3)
    yield fine_grid.sum_block, fine
    yield rice_encoder.encode_rows, (short_2, _array("u1", 1), index_1)
