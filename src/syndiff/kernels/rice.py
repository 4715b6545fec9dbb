"""RICE_1 rows of int16, several at a time.

Notes
-----
A RICE_1 tile (Pence et al. 2009, PASP 121, 414; FITS 4.0, section 10.4.1) is the first value in
16 bits, then blocks of ``BLOCKSIZE`` pixels. A block begins with 4 bits: 0, all differences are
zero; 15, differences of 16 bits each; else f + 1, each difference is a unary number, a one bit and
f low bits. Differences d are stored as 2d or -2d - 1; everything is modulo 2**16.

Rows advance together because each code's length is known only once it is read: alone, a row waits
for its own shifts. Four independent ones fill a processor's scalar units (measured: 1.6 times as
fast); where it has vectors that fit, `rice_lanes` takes sixteen (3 times).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from syndiff.kernels.compile import njit
from syndiff.kernels.rice_lanes import CHUNK, LANES, advance_lanes, are_lanes_fast

__all__ = ["IN_LANES", "SPARE_BYTES", "decode_rows"]

IN_LANES = are_lanes_fast()
"""Whether sixteen rows in the lanes of vectors are faster here than four side by side."""

SPARE_BYTES = 512
"""Bytes that must be readable after each row's last one.

The fast path looks at a row's end once in 32 pixels. A pixel takes at most 64 + 1 + 13 bits, so it
gets at most 312 bytes past the end before that is noticed, and reads 8 more.
"""

_FOUR = (0,) * 4
_SIXTEEN = (0,) * LANES
_RAW = 15
_U = np.uint64

_LOADED = np.uint64(57)
"""Bits that a load is sure to hold, wherever in a byte it begins."""


def _load(data: Any, index: Any) -> Any:
    """Return the 64 bits, most significant first, that begin at byte `index`."""
    octets = data[int(index) : int(index) + 8].tobytes()
    if len(octets) != 8:
        raise IndexError(f"8 bytes at {index} of {data.size}")
    return _U(int.from_bytes(octets, "big"))


def _leading_zeros(word: Any) -> Any:
    """Return how many zero bits precede the first one bit; 64 for 0."""
    return _U(64 - int(word).bit_length())


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _load_compiled(_context: Any, data: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        array = context.make_array(data)(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        place = builder.bitcast(place, ir.IntType(64).as_pointer())
        return builder.bswap(builder.load(place, align=1))

    return types.uint64(data, index), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _leading_zeros_compiled(_context: Any, word: Any) -> Any:
    def generate(_ctx: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(word), generate


@overload(_load, strict=False)  # type: ignore[untyped-decorator, unused-ignore]
def _overload_load(data: Any, index: Any) -> Any:  # noqa: ARG001
    return lambda data, index: _load_compiled(data, index)


@overload(_leading_zeros, strict=False)  # type: ignore[untyped-decorator, unused-ignore]
def _overload_leading_zeros(word: Any) -> Any:  # noqa: ARG001
    return lambda word: _leading_zeros_compiled(word)


@njit(cache=True, nogil=True)
def _peek(data: Any, pos: Any) -> Any:
    """Return the bits from `pos` on in the high end of a word; the first 57 are valid."""
    return _load(data, pos >> _U(3)) << (pos & _U(7))


@njit(cache=True, nogil=True)
def _add(last: Any, code: Any) -> Any:
    """Return `last` plus the difference that `code` stands for (16 low bits count)."""
    return last + ((code >> _U(1)) ^ (_U(0) - (code & _U(1))))


@njit(cache=True, nogil=True)
def _two_codes(data: Any, pos: Any, low: Any, last: Any) -> Any:
    """Read two codes from one load; valid if they are `_LOADED` bits or fewer.

    Returns the position after them, and the values of the first and the second pixel.
    """
    word = _peek(data, pos)
    zeros = _leading_zeros(word)
    tail = (word << (zeros & _U(63))) << _U(1)
    first = _add(last, (zeros << low) | ((tail >> _U(1)) >> (_U(63) - low)))
    word = tail << low
    more = _leading_zeros(word)
    tail = (word << (more & _U(63))) << _U(1)
    second = _add(first, (more << low) | ((tail >> _U(1)) >> (_U(63) - low)))
    return pos + zeros + more + _U(2) + low + low, first, second


@njit(cache=True, nogil=True)
def _long_code(data: Any, pos: Any, end: Any, low: Any) -> Any:
    """Read a code of any length; returns a position past `end` if it doesn't end before."""
    zeros = _U(0)
    word = _peek(data, pos) >> _U(8)
    while word == _U(0) and pos <= end:
        zeros += _U(56)
        pos += _U(56)
        word = _peek(data, pos) >> _U(8)
    if word == _U(0):
        return pos, zeros
    more = _leading_zeros(word) - _U(8)
    pos += more + _U(1)
    tail = (_peek(data, pos) >> _U(1)) >> (_U(63) - low)
    return pos + low, ((zeros + more) << low) | tail


@njit(cache=True, nogil=True)
def _block(data: Any, pos: Any, end: Any, last: Any, kind: Any, out: Any) -> Any:
    """Decode one block of any kind; stops once `pos` is past `end`."""
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
        kind = _peek(data, pos) >> _U(60)
        pos, last = _block(data, pos + _U(4), end, last, kind, out[i : i + blocksize])
    return _fills(pos, end)


@njit(cache=True, nogil=True)
def _four_blocks(data: Any, pos: Any, last: Any, low: Any, out: Any, i: Any, m: Any) -> Any:
    """Decode `m` <= 32 pixels, an even number, of four rows by short codes; False if one isn't."""
    p0, p1, p2, p3 = pos[0], pos[1], pos[2], pos[3]
    m0, m1, m2, m3 = last[0], last[1], last[2], last[3]
    f0, f1, f2, f3 = low[0], low[1], low[2], low[3]
    o0, o1, o2, o3 = out[0], out[1], out[2], out[3]
    longest = _U(0)
    for k in range(i, i + m, 2):
        e0, l0, m0 = _two_codes(data, p0, f0, m0)
        e1, l1, m1 = _two_codes(data, p1, f1, m1)
        e2, l2, m2 = _two_codes(data, p2, f2, m2)
        e3, l3, m3 = _two_codes(data, p3, f3, m3)
        longest = max(longest, max(max(e0 - p0, e1 - p1), max(e2 - p2, e3 - p3)))
        p0, p1, p2, p3 = e0, e1, e2, e3
        o0[k], o0[k + 1] = np.int16(l0), np.int16(m0)
        o1[k], o1[k + 1] = np.int16(l1), np.int16(m1)
        o2[k], o2[k + 1] = np.int16(l2), np.int16(m2)
        o3[k], o3[k + 1] = np.int16(l3), np.int16(m3)
    if longest > _LOADED:
        return False
    pos[0], pos[1], pos[2], pos[3] = p0, p1, p2, p3
    last[0], last[1], last[2], last[3] = m0, m1, m2, m3
    return True


@njit(cache=True, nogil=True)
def _rows_together(
    data: Any, start: Any, end: Any, blocksize: Any, out: Any, state: Any, group: Any
) -> Any:
    """Decode as many rows as `group` has; returns whether the codes of all of them fill them.

    A tuple tells the compiler their number, which a number would not.
    """
    pos, last, low, live = state[0], state[1], state[2], state[3]
    in_lanes = len(group) == LANES
    for q in range(len(group)):
        last[q] = _peek(data, start[q]) >> _U(48)
        pos[q] = start[q] + _U(16)
    nx = out.shape[1]
    for i in range(0, nx, blocksize):
        stop = min(i + blocksize, nx)
        together = True
        for q in range(len(group)):
            if pos[q] > end[q]:
                return False
            kind = _peek(data, pos[q]) >> _U(60)
            pos[q] += _U(4)
            low[q] = max(kind, _U(1)) - _U(1)
            live[q] = _U(0) - _U(kind != _U(0))
            together &= kind != _U(_RAW) and (in_lanes or kind != _U(0))
        k = i
        while k < stop:
            m = min(CHUNK, stop - k)
            done = False
            if together and in_lanes and m == CHUNK:
                done = advance_lanes(data, pos, last, low, live, out, k)
            elif together and not in_lanes and m % 2 == 0:
                done = _four_blocks(data, pos, last, low, out, k, m)
            if not done:
                for q in range(len(group)):
                    row = out[q, k : k + m]
                    kind = (low[q] + _U(1)) & live[q]
                    pos[q], last[q] = _block(data, pos[q], end[q], last[q], kind, row)
            for q in range(len(group)):
                if pos[q] > end[q]:
                    return False
            k += m
    filled = True
    for q in range(len(group)):
        filled &= _fills(pos[q], end[q])
    return filled


@njit(cache=True, nogil=True)
def decode_rows(
    data: Any, starts: Any, lengths: Any, blocksize: Any, out: Any, in_lanes: Any
) -> Any:
    """Decode RICE_1 rows of int16.

    Parameters
    ----------
    data : (n,) uint8 array, C-contiguous
        Compressed bytes; not modified. `SPARE_BYTES` must follow the last row's end.
    starts, lengths : (rows,) int64 array
        Where each row's bytes begin in `data` and how many there are.
    blocksize : int
        Pixels per block, at least 1.
    out : (rows, nx) int16 array, C-contiguous
        Receives the pixels.
    in_lanes : bool
        Sixteen rows at a time where there are as many, in the lanes of vectors; else four. The
        pixels are the same, and `IN_LANES` tells what is faster here.

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
    state = np.empty((4, LANES), np.uint64)
    r = 0
    if in_lanes:
        while r + LANES <= rows and _rows_together(
            data, bits[0, r:], bits[1, r:], blocksize, out[r:], state, _SIXTEEN
        ):
            r += LANES
    else:
        while r + 4 <= rows and _rows_together(
            data, bits[0, r:], bits[1, r:], blocksize, out[r:], state, _FOUR
        ):
            r += 4
    while r < rows:
        if not _one_row(data, bits[0, r], bits[1, r], blocksize, out[r]):
            return r
        r += 1
    return -1
