"""Codes of RICE_1 rows, a row in each lane of the processor's vectors.

Every row of a group takes the same steps on bits of its own, so that sixteen advance at the price
of two. Numba has no vectors: the inner loop is written for LLVM, which makes AVX-512 of it where
the processor has that (measured: twice as fast as four rows one beside the other), and something
slower but right elsewhere.
"""

from typing import Any

from llvmlite import binding, ir
from numba import config
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["CHUNK", "LANES", "advance_lanes", "are_lanes_fast"]

_WIDTH = 8
"""Rows in one vector of 64-bit words."""

_VECTORS = 2
"""Vectors side by side: each waits some 50 cycles for its codes, in which the other one works."""

LANES = _WIDTH * _VECTORS
"""Rows that advance together."""

CHUNK = 32
"""Pixels of a row that are decoded in one go: they fill a vector."""

_CODES = 2
"""Codes read from each load, which is sure to hold 57 bits."""

_FEW = 64 - 57 - 1
"""Added to the bits of a load, makes 64 or more of more than are valid."""

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_Words = ir.VectorType(_I64, _WIDTH)
_Truths = ir.VectorType(ir.IntType(1), _WIDTH)


def are_lanes_fast() -> bool:
    """Tell whether this processor counts leading zeros in vectors, and nobody turned Numba off.

    Returns
    -------
    bool
        True where `advance_lanes` is worth its while.
    """
    return not config.DISABLE_JIT and binding.get_host_cpu_features().get("avx512cd", False)


class _Emitter:
    """Writes instructions on vectors of words, one to a method, where a builder stands."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def all_of(self, number: int) -> ir.Constant:
        """Return the vector with the same number in each lane."""
        return ir.Constant(_Words, [number] * _WIDTH)

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        """Call one of LLVM's own functions."""
        kinds = [argument.type for argument in arguments]
        kind = ir.FunctionType(result, kinds)
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, arguments)

    def leading_zeros(self, words: Any) -> Any:
        """Return how many zero bits precede the first one bit; 64 for 0."""
        return self.call("llvm.ctlz.v8i64", _Words, words, ir.IntType(1)(0))

    def push(self, pixels: Any, words: Any) -> Any:
        """Move the low 16 bits of `words` into the high end of `pixels`, which shift down."""
        return self.call("llvm.fshr.v8i64", _Words, words, pixels, self.all_of(16))

    def shift_left(self, words: Any, bits: Any) -> Any:
        """Shift by `bits` modulo 64: LLVM leaves it open what a shift by 64 is."""
        return self.builder.shl(words, self.builder.and_(bits, self.all_of(63)))

    def peek(self, address: Any, pos: Any) -> Any:
        """Return the bits from `pos` on in the high end of each word; the first 57 are valid."""
        b = self.builder
        first = b.insert_element(ir.Constant(_Words, ir.Undefined), address, _I32(0))
        everywhere = self.shuffle(first, first, [0] * _WIDTH)
        pointers = b.inttoptr(
            b.add(everywhere, b.lshr(pos, self.all_of(3))),
            ir.VectorType(_I64.as_pointer(), _WIDTH),
        )
        all_lanes = ir.Constant(_Truths, [1] * _WIDTH)
        is_opaque = getattr(_I64.as_pointer(), "is_opaque", False)
        name = "llvm.masked.gather.v8i64.v8p0" + ("" if is_opaque else "i64")
        words = self.call(name, _Words, pointers, _I32(1), all_lanes, self.all_of(0))
        swapped = self.call("llvm.bswap.v8i64", _Words, words)
        return self.shift_left(swapped, b.and_(pos, self.all_of(7)))

    def shuffle(self, one: Any, other: Any, lanes: list[int]) -> Any:
        """Return the named lanes of two vectors laid end to end."""
        mask = ir.Constant(ir.VectorType(_I32, len(lanes)), lanes)
        return self.builder.shuffle_vector(one, other, mask)

    def transpose(self, vectors: list[Any]) -> list[Any]:
        """Return eight vectors of eight with lanes and vectors exchanged."""
        low, high = [0, 8, 1, 9, 2, 10, 3, 11], [4, 12, 5, 13, 6, 14, 7, 15]
        for _ in range(3):
            pairs = [(vectors[k], vectors[k + 4]) for k in range(4)]
            vectors = [self.shuffle(*pair, half) for pair in pairs for half in (low, high)]
        return vectors

    def is_below(self, words: Any, limit: int) -> Any:
        """Tell whether all lanes are below a power of two."""
        union = _I64(0)
        for q in range(_WIDTH):
            union = self.builder.or_(union, self.builder.extract_element(words, _I32(q)))
        return self.builder.icmp_unsigned("<", union, _I64(limit))


class _Group:
    """Eight rows in the lanes of one vector: what stays the same in a block, and what advances."""

    def __init__(self, emit: _Emitter, state: list[Any]) -> None:
        b = emit.builder
        self.pos, self.last, self.low, live = state
        self.is_live = b.icmp_unsigned("!=", live, emit.all_of(0))
        self.to_low_end = b.sub(emit.all_of(63), self.low)
        self.one = b.shl(emit.all_of(1), self.low)
        self.code_bits = b.add(self.low, emit.all_of(1))
        self.fixed_bits = b.mul(self.code_bits, emit.all_of(_CODES))

    def read_code(self, emit: _Emitter, words: Any) -> tuple[Any, Any]:
        """Read a code from each word and go one pixel on; return the words after it, and zeros."""
        b = emit.builder
        zeros = emit.leading_zeros(words)
        code = emit.shift_left(words, zeros)
        after = b.shl(code, self.code_bits)
        # The shifted word begins with the one bit that ends the zeros.
        code = b.add(b.lshr(code, self.to_low_end), b.sub(b.shl(zeros, self.low), self.one))
        size = b.lshr(code, emit.all_of(1))
        step = b.select(b.trunc(code, _Truths), b.not_(size), size)
        self.last = b.select(self.is_live, b.add(self.last, step), self.last)
        return after, zeros

    def pass_over(self, emit: _Emitter, bits: Any) -> Any:
        """Move on by `bits`, and return them; rows that take none stay."""
        bits = emit.builder.select(self.is_live, bits, emit.all_of(0))
        self.pos = emit.builder.add(self.pos, bits)
        return bits


def _emit_chunk(emit: _Emitter, groups: list[_Group], address: Any) -> tuple[list[Any], Any]:
    """Decode `CHUNK` pixels of all groups.

    Returns a vector of pixels for each row, and whether no load had more bits than are valid.
    """
    b = emit.builder
    pixels: list[list[Any]] = [[] for _ in groups]
    lengths = emit.all_of(0)
    for first in range(0, CHUNK, _CODES):
        words = [emit.peek(address, group.pos) for group in groups]
        bits = [group.fixed_bits for group in groups]
        # The groups take turns: what one waits for, another one does not.
        for i in range(first, first + _CODES):
            for k, group in enumerate(groups):
                words[k], zeros = group.read_code(emit, words[k])
                bits[k] = b.add(bits[k], zeros)
                if i % 4 == 0:
                    pixels[k].append(emit.all_of(0))
                pixels[k][-1] = emit.push(pixels[k][-1], group.last)
        for k, group in enumerate(groups):
            length = b.add(group.pass_over(emit, bits[k]), emit.all_of(_FEW))
            lengths = b.or_(lengths, length)
    rows = [row for columns in pixels for row in emit.transpose(columns)]
    return rows, emit.is_below(lengths, 64)


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def advance_lanes(
    context: Any,  # noqa: ARG001
    data: Any,
    pos: Any,
    last: Any,
    low: Any,
    live: Any,
    out: Any,
    i: Any,  # noqa: ARG001 - Numba calls by name
) -> Any:
    """Decode `CHUNK` pixels of `LANES` rows by codes of up to 57 bits for each two.

    Parameters
    ----------
    context : object
        Numba's, when it compiles; not to be passed.
    data : (n,) uint8 array
        Compressed bytes, with `rice.SPARE_BYTES` to spare after each row.
    pos, last : (LANES,) uint64 array
        Bit that the rows' next code begins with, and their last pixel; moved on.
    low : (LANES,) uint64 array
        Low bits of a code.
    live : (LANES,) uint64 array
        Not 0; 0 in the lane of a row whose differences are zero and take no bits.
    out : (LANES, nx) int16 array
        Receives the pixels from column `i` on, rows contiguous.
    i : int64
        Column, at most nx - `CHUNK`.

    Returns
    -------
    bool
        False if a code is longer: then `pos` and `last` are as they were.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[:6], arguments[:6], strict=True)
        ]
        pointers = [builder.bitcast(array.data, _Words.as_pointer()) for array in arrays[1:5]]
        emit, groups, places = _Emitter(builder), [], []
        for k in range(_VECTORS):
            state = [builder.gep(pointer, [_I64(k)]) for pointer in pointers]
            places.append(state)
            groups.append(_Group(emit, [builder.load(place, align=8) for place in state]))
        rows, is_right = _emit_chunk(emit, groups, builder.ptrtoint(arrays[0].data, _I64))
        stride = cgutils.unpack_tuple(builder, arrays[5].strides, 2)[0]
        address = builder.ptrtoint(arrays[5].data, _I64)
        address = builder.add(address, builder.mul(arguments[6], _I64(2)))
        for q, row in enumerate(rows):
            place = builder.add(address, builder.mul(stride, _I64(q)))
            builder.store(row, builder.inttoptr(place, _Words.as_pointer()), align=2)
        with builder.if_then(is_right):
            for group, (pos_place, last_place, *_) in zip(groups, places, strict=True):
                builder.store(group.pos, pos_place, align=8)
                builder.store(group.last, last_place, align=8)
        return is_right

    return types.boolean(data, pos, last, low, live, out, types.int64), generate
