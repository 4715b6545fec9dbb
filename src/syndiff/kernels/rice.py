"""RICE_1 rows of int16, sixteen at a time.

Notes
-----
A RICE_1 tile (Pence et al. 2009, PASP 121, 414; FITS 4.0, section 10.4.1) is the first value in
16 bits, then blocks of ``blocksize`` pixels. A block begins with 4 bits: 0, all differences are
zero; 15, differences of 16 bits each; else f + 1, and each difference d is a code, 2d or -2d - 1,
in three parts::

    0 0 ... 0 1 b b ... b        zeros = code >> f, a one bit, the code's f low bits
    |-zeros-|   |-- f --|

Everything is modulo 2**16.

A code's length is known only once it is read, so a row on its own waits for its own shifts.
`_advance` takes the same step in sixteen rows: its inner loops run over rows, and the compiler
turns them into vectors of as many lanes as the processor has (4 of AVX2, 8 of AVX-512).
Million pixels a second: 110 row by row; sixteen together 860 with AVX2, 950 with AVX-512.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from syndiff.kernels.compile import njit

__all__ = ["LANES", "SPARE_BYTES", "decode_rows"]

LANES = 16
"""Rows that advance together: 8 leave processors waiting, 32 don't fit their registers."""

SPARE_BYTES = 512
"""Bytes that must be readable after each row's last one.

`_advance` looks at a row's end once in 32 pixels. A pixel takes at most 51 + 1 + 13 bits, so it
gets at most 261 bytes past the end before that is noticed, and reads 8 more.
"""

_BLOCK = 32
"""Pixels of a block that `_advance` knows; every file of the survey has this number."""

_RAW = 15
_U = np.uint64

_SURE = 51
"""Most zeros that `_zeros` tells, and most bits that two codes from one load may take.

A load of 64 bits, shifted by up to 7 to where the code begins, is sure to hold 57.
"""

_TWO_TO_52 = np.uint64(0x4330000000000000)
"""2.0**52 as bits: or-ed with a number below 2**52, it is the float ``2.0**52 + number``."""


def _load(data: Any, index: Any) -> Any:
    """Return the 64 bits, most significant first, that begin at byte `index`."""
    octets = data[int(index) : int(index) + 8].tobytes()
    if len(octets) != 8:
        raise IndexError(f"8 bytes at {index} of {data.size}")
    return _U(int.from_bytes(octets, "big"))


def _lanes() -> Any:
    """Return a word for each lane, not set, on the stack of the function that calls this."""
    return np.empty(LANES, np.uint64)


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _load_compiled(_context: Any, data: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        array = context.make_array(data)(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        place = builder.bitcast(place, ir.IntType(64).as_pointer())
        return builder.bswap(builder.load(place, align=1))

    return types.uint64(data, index), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _stack_compiled(_context: Any) -> Any:
    def generate(_ctx: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        room = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(64), LANES))
        return builder.bitcast(room, ir.IntType(64).as_pointer())

    return types.CPointer(types.uint64)(), generate


@overload(_load, strict=False)  # type: ignore[untyped-decorator, unused-ignore]
def _overload_load(data: Any, index: Any) -> Any:  # noqa: ARG001
    return lambda data, index: _load_compiled(data, index)


# Inlined: the memory is the caller's, which a function of its own would have given back.
@overload(_lanes, strict=False, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _overload_lanes() -> Any:
    return lambda: carray(_stack_compiled(), (LANES,))


@njit(cache=True, nogil=True)
def _peek(data: Any, pos: Any) -> Any:
    """Return the bits from `pos` on in the high end of a word; the first 57 are valid."""
    return _load(data, pos >> _U(3)) << (pos & _U(7))


@njit(cache=True, nogil=True)
def _zeros(word: Any) -> Any:
    """Return how many zero bits precede the first one bit; `_SURE` for as many or more.

    Only AVX-512 counts zeros in vectors, but every processor has floats, whose exponent tells where
    the highest bit stands: that of ``x = (2**52 + x) - 2**52``, an exact difference, for the
    word's first 52 bits x. The last of them is set, so that x is never 0: then the exponent is 0
    to 51, biased by 1023, in a float's bits 52 and up.
    """
    raised = (word >> _U(12)) | _TWO_TO_52 | _U(1)
    x = np.uint64(raised).view(np.float64) - 2.0**52
    return _U(1023 + _SURE) - (np.float64(x).view(np.uint64) >> _U(52))


@njit(cache=True, nogil=True)
def _add(last: Any, code: Any) -> Any:
    """Return `last` plus the difference that `code` stands for (16 low bits count)."""
    # code = 2d gives d; 2 (-d) - 1 gives -d: all bits of the half inverted.
    return last + ((code >> _U(1)) ^ (_U(0) - (code & _U(1))))


@njit(cache=True, nogil=True)
def _long_code(data: Any, pos: Any, end: Any, low: Any) -> Any:
    """Read a code of any length; returns a position past `end` if it doesn't end before."""
    zeros = _U(0)
    more = _zeros(_peek(data, pos))
    while more == _U(_SURE) and pos <= end:
        zeros += more
        pos += more
        more = _zeros(_peek(data, pos))
    pos += more + _U(1)
    # Two shifts: one by 64, where there are no low bits, is undefined.
    tail = (_peek(data, pos) >> _U(1)) >> (_U(63) - low)
    return pos + low, ((zeros + more) << low) | tail


@njit(cache=True, nogil=True)
def _one_block(data: Any, pos: Any, end: Any, last: Any, out: Any) -> Any:
    """Decode one block of any kind and size; stops once `pos` is past `end`."""
    kind = _peek(data, pos) >> _U(60)
    pos += _U(4)
    if kind == _U(0):
        out[:] = np.int16(last)
        return pos, last
    for k in range(out.size):
        if pos > end:
            break
        if kind == _U(_RAW):
            code = _peek(data, pos) >> _U(48)
            pos += _U(16)
        else:
            pos, code = _long_code(data, pos, end, kind - _U(1))
        last = _add(last, code)
        out[k] = np.int16(last)
    return pos, last


@njit(cache=True, nogil=True)
def _fills(pos: Any, end: Any) -> Any:
    """Return whether the last code's last byte is the row's: else a bit fell over somewhere."""
    return (pos + _U(7)) >> _U(3) == end >> _U(3)


@njit(cache=True, nogil=True)
def _one_row(data: Any, start: Any, end: Any, blocksize: Any, out: Any) -> Any:
    """Decode one row (bits `start` to `end`); returns whether its codes fill it."""
    last = _peek(data, start) >> _U(48)
    pos = start + _U(16)
    for i in range(0, out.size, blocksize):
        if pos > end:
            return False
        pos, last = _one_block(data, pos, end, last, out[i : i + blocksize])
    return _fills(pos, end)


@njit(cache=True, nogil=True)
def _short_code(word: Any, low: Any) -> Any:
    """Read the code that a word begins with; returns it, its zeros and the word after it."""
    zeros = _zeros(word)
    word <<= zeros
    # The word begins with the one bit now, which counts as 1 << low.
    code = (word >> (_U(63) - low)) + ((zeros - _U(1)) << low)
    return code, zeros, word << (low + _U(1))


@njit(cache=True, nogil=True)
def _two_codes(data: Any, pos: Any, low: Any, live: Any, last: Any) -> Any:
    """Read two codes from one load; returns their bits and the first and the second pixel.

    More than `_SURE` bits mean that the pixels are wrong.
    """
    # Where all differences are zero, ones stand for the codes: no zeros, no low bits, code 0.
    word = _peek(data, pos) | ~live
    code, zeros, word = _short_code(word, low)
    first = _add(last, code)
    code, more, _ = _short_code(word, low)
    bits = zeros + more + _U(2) * (low + _U(1))
    return bits & live, first, _add(first, code)


@njit(cache=True, nogil=True)
def _advance(data: Any, state: Any, out: Any, column: Any) -> Any:
    """Decode a block of `LANES` rows by short codes; False, and nothing done, if one isn't.

    `state` holds each row's position and last pixel. The loops over lanes must become vectors. So
    they have no branch, and work on memory that is this function's own: the compiler could not
    tell any other from the data that are loaded. `column` is unsigned, since Numba would look at
    each pixel whether a signed one is negative (a fifth of the time).
    """
    pos, last, low, live, pixels, bits = _lanes(), _lanes(), _lanes(), _lanes(), _lanes(), _lanes()
    for q in range(LANES):
        kind = _peek(data, state[0, q]) >> _U(60)
        pos[q], last[q] = state[0, q] + _U(4), state[1, q]
        low[q] = max(kind, _U(1)) - _U(1)
        live[q] = _U(0) - _U(kind != _U(0))
        bits[q] = _U(kind == _U(_RAW)) << _U(6)
    for k in range(0, _BLOCK, 4):
        for _ in range(2):
            for q in range(LANES):
                step, first, last[q] = _two_codes(data, pos[q], low[q], live[q], last[q])
                # The latest four pixels, the first of them in the low end: a word to store.
                pixels[q] = (
                    (pixels[q] >> _U(32)) | (first & _U(0xFFFF)) << _U(32) | last[q] << _U(48)
                )
                pos[q] += step
                # More than `_SURE` set bit 6 or 7, however many others are or-ed to them.
                bits[q] |= step + _U(63 - _SURE)
        i = column + _U(k)
        for q in range(LANES):
            out[q, i], out[q, i + _U(1)] = np.int16(pixels[q]), np.int16(pixels[q] >> _U(16))
            out[q, i + _U(2)] = np.int16(pixels[q] >> _U(32))
            out[q, i + _U(3)] = np.int16(pixels[q] >> _U(48))
    union = _U(0)
    for q in range(LANES):
        union |= bits[q]
    if union >= _U(64):
        return False
    for q in range(LANES):
        state[0, q], state[1, q] = pos[q], last[q]
    return True


@njit(cache=True, nogil=True)
def _rows_together(data: Any, start: Any, end: Any, out: Any, state: Any) -> Any:
    """Decode `LANES` rows in blocks of `_BLOCK`; returns whether the codes of all fill them."""
    pos, last = state[0], state[1]
    for q in range(LANES):
        last[q] = _peek(data, start[q]) >> _U(48)
        pos[q] = start[q] + _U(16)
    nx = out.shape[1]
    for i in range(0, nx, _BLOCK):
        for q in range(LANES):
            if pos[q] > end[q]:
                return False
        if i + _BLOCK <= nx and _advance(data, state, out, _U(i)):
            continue
        for q in range(LANES):
            block = out[q, i : i + _BLOCK]
            pos[q], last[q] = _one_block(data, pos[q], end[q], last[q], block)
    filled = True
    for q in range(LANES):
        filled &= _fills(pos[q], end[q])
    return filled


@njit(cache=True, nogil=True)
def decode_rows(data: Any, starts: Any, lengths: Any, blocksize: Any, out: Any) -> Any:
    """Decode RICE_1 rows of int16.

    Parameters
    ----------
    data : (n,) uint8 array, C-contiguous
        Compressed bytes; not modified. `SPARE_BYTES` must follow the last row's end.
    starts, lengths : (rows,) int64 array
        Where each row's bytes begin in `data` and how many there are.
    blocksize : int
        Pixels per block, at least 1; the survey's 32 is the fast one.
    out : (rows, nx) int16 array, C-contiguous
        Receives the pixels.

    Returns
    -------
    int
        -1, or the first row whose codes need more bytes than it has, or leave some unused (`out`
        is then unspecified).
    """
    rows = out.shape[0]
    bits = np.empty((2, rows), np.uint64)
    for r in range(rows):
        bits[0, r] = _U(starts[r]) << _U(3)
        bits[1, r] = _U(starts[r] + lengths[r]) << _U(3)
    state = np.empty((2, LANES), np.uint64)
    r = 0
    if blocksize == _BLOCK:
        while r + LANES <= rows and _rows_together(data, bits[0, r:], bits[1, r:], out[r:], state):
            r += LANES
    # What is left, or the sixteen in which one is wrong: to tell which.
    while r < rows:
        if not _one_row(data, bits[0, r], bits[1, r], blocksize, out[r]):
            return r
        r += 1
    return -1
