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

__all__ = ["LANES", "STEP_PX", "advance_lanes", "are_lanes_fast"]

_WIDTH = 8
"""Rows in one vector of 64-bit words."""

_VECTORS = 2
"""Vectors side by side: each waits some 50 cycles for its codes, in which the other one works."""

LANES = _WIDTH * _VECTORS
"""Rows that advance together."""

STEP_PX = 8
"""Pixels decoded in one turn: they leave as one vector for each row."""

_CODES = 2
"""Codes read from each load, which is sure to hold 57 bits."""

_I16, _I32, _I64 = (ir.IntType(bits) for bits in (16, 32, 64))
_Words = ir.VectorType(_I64, _WIDTH)
_Pixels = ir.VectorType(_I16, STEP_PX)


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
        all_lanes = ir.Constant(ir.VectorType(ir.IntType(1), _WIDTH), [1] * _WIDTH)
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

    def is_any(self, words: Any, bit: int) -> Any:
        """Tell whether a bit at or above `bit` is set in any lane."""
        b = self.builder
        lanes = [b.extract_element(words, _I32(q)) for q in range(_WIDTH)]
        union = lanes[0]
        for lane in lanes[1:]:
            union = b.or_(union, lane)
        return b.icmp_unsigned(">=", union, _I64(1 << bit))


class _Group:
    """Eight rows in the lanes of one vector: what stays the same in a block, and what advances."""

    def __init__(self, emit: _Emitter, state: list[Any]) -> None:
        b = emit.builder
        self.pos, self.last, self.low, self.live = state
        self.to_low_end = b.sub(emit.all_of(63), self.low)
        self.one = b.shl(emit.all_of(1), self.low)
        fixed = b.add(b.mul(self.low, emit.all_of(_CODES)), emit.all_of(_CODES))
        self.fixed_bits = b.and_(fixed, self.live)

    def read_code(self, emit: _Emitter, words: Any) -> tuple[Any, Any]:
        """Read a code from each word and go one pixel on; return the words after it, and zeros."""
        b = emit.builder
        zeros = emit.leading_zeros(words)
        code = emit.shift_left(words, zeros)
        rest = b.shl(b.shl(code, self.low), emit.all_of(1))
        # The shifted word begins with the one bit that ends the zeros.
        code = b.add(b.lshr(code, self.to_low_end), b.sub(b.shl(zeros, self.low), self.one))
        sign = b.sub(emit.all_of(0), b.and_(code, emit.all_of(1)))
        step = b.xor(b.lshr(code, emit.all_of(1)), sign)
        self.last = b.add(self.last, b.and_(step, self.live))
        return rest, b.and_(zeros, self.live)


def _emit_turn(emit: _Emitter, groups: list[_Group], address: Any, lengths: Any) -> Any:
    """Decode `STEP_PX` pixels of all groups.

    Returns the pixels as a list of vectors, one for each row, and the union of `lengths` with
    6 + the bits of each load, which reaches 64 where these are more than a load is sure to hold.
    """
    b = emit.builder
    pixels: list[list[Any]] = [[] for _ in groups]
    for _ in range(STEP_PX // _CODES):
        words = [emit.peek(address, group.pos) for group in groups]
        bits = [group.fixed_bits for group in groups]
        # The groups take turns: what one waits for, another one does not.
        for _ in range(_CODES):
            for k, group in enumerate(groups):
                words[k], zeros = group.read_code(emit, words[k])
                bits[k] = b.add(bits[k], zeros)
                pixels[k].append(b.trunc(group.last, _Pixels))
        for k, group in enumerate(groups):
            lengths = b.or_(lengths, b.add(bits[k], emit.all_of(6)))
            group.pos = b.add(group.pos, bits[k])
    return [row for columns in pixels for row in emit.transpose(columns)], lengths


def _emit_loop(
    builder: Any, address: Any, state: list[Any], out: tuple[Any, Any], turns: Any
) -> Any:
    """Decode `turns` x `STEP_PX` pixels; write `state` back and return whether that was right."""
    emit = _Emitter(builder)
    vectors = range(_VECTORS)
    # pos, last, low, live: one array of LANES words each
    places = [[builder.gep(array, [_I64(k)]) for array in state] for k in vectors]
    start = [[builder.load(place, align=8) for place in places[k]] for k in vectors]
    groups = [_Group(emit, values) for values in start]
    before, turn, after = (
        builder.block,
        builder.append_basic_block("turn"),
        builder.append_basic_block("after"),
    )
    builder.branch(turn)
    builder.position_at_end(turn)
    number, lengths = builder.phi(_I64), builder.phi(_Words)
    moving = [(builder.phi(_Words), builder.phi(_Words)) for _ in vectors]
    for group, (pos, last) in zip(groups, moving, strict=True):
        group.pos, group.last = pos, last
    rows, union = _emit_turn(emit, groups, address, lengths)
    first, stride = out
    for q, row in enumerate(rows):
        at = builder.add(first, builder.mul(stride, _I64(q)))
        at = builder.add(at, builder.mul(number, _I64(2 * STEP_PX)))
        builder.store(row, builder.inttoptr(at, _Pixels.as_pointer()), align=2)
    following = builder.add(number, _I64(1))
    loop = [(number, _I64(0), following), (lengths, emit.all_of(0), union)]
    for k, (pos, last) in enumerate(moving):
        loop += [(pos, start[k][0], groups[k].pos), (last, start[k][1], groups[k].last)]
    for phi, initial, carried in loop:
        phi.add_incoming(initial, before)
        phi.add_incoming(carried, turn)
    builder.cbranch(builder.icmp_signed("<", following, turns), turn, after)
    builder.position_at_end(after)
    is_right = builder.not_(emit.is_any(union, 6))
    with builder.if_then(is_right):
        for k, group in enumerate(groups):
            builder.store(group.pos, places[k][0], align=8)
            builder.store(group.last, places[k][1], align=8)
    return is_right


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def advance_lanes(
    _context: Any,
    data: Any,
    pos: Any,
    last: Any,
    low: Any,
    live: Any,
    out: Any,
    i: Any,  # noqa: ARG001 - Numba calls by name
    m: Any,  # noqa: ARG001
) -> Any:
    """Decode `m` pixels of `LANES` rows by codes of up to 57 bits for each two.

    Parameters
    ----------
    data : (n,) uint8 array
        Compressed bytes, with `rice.SPARE_BYTES` to spare after each row.
    pos, last : (LANES,) uint64 array
        Bit that the rows' next code begins with, and their last pixel; moved on.
    low : (LANES,) uint64 array
        Low bits of a code.
    live : (LANES,) uint64 array
        All bits set; none in the lane of a row whose differences are zero and take no bits.
    out : (LANES, nx) int16 array
        Receives the pixels from column `i` on, rows contiguous.
    i, m : int64
        Column; number of pixels, a multiple of `STEP_PX` above 0.

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
        address = builder.ptrtoint(arrays[0].data, _I64)
        state = [builder.bitcast(array.data, _Words.as_pointer()) for array in arrays[1:5]]
        stride = cgutils.unpack_tuple(builder, arrays[5].strides, 2)[0]
        first = builder.add(
            builder.ptrtoint(arrays[5].data, _I64), builder.mul(arguments[6], _I64(2))
        )
        turns = builder.sdiv(arguments[7], _I64(STEP_PX))
        return _emit_loop(builder, address, state, (first, stride), turns)

    signature = types.boolean(data, pos, last, low, live, out, types.int64, types.int64)
    return signature, generate
