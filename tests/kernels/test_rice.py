"""The RICE_1 kernel against astropy and against a slow, obvious twin."""

import ctypes
import io
import itertools
import mmap
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import config as numba_config
from stackplanes import compressed, sky_like

from syndiff.kernels.rice import LANES, SPARE_BYTES, decode_rows

# Only without the compiler: NumPy's scalars warn where 64 bits wrap around, as they should here.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

EXAMPLES = settings(
    max_examples=10 if numba_config.DISABLE_JIT else 100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


class MisfitError(Exception):
    """The codes need bits that their row doesn't have, or leave bytes unused."""


class Bits:
    """The bits of a row as a text of zeros and ones."""

    def __init__(self, octets):
        self.text = "".join(f"{octet:08b}" for octet in octets)
        self.pos = 0

    def take(self, count):
        if self.pos + count > len(self.text):
            raise MisfitError
        piece = self.text[self.pos : self.pos + count]
        self.pos += count
        return int(piece or "0", 2)

    def take_unary(self):
        one = self.text.find("1", self.pos)
        if one < 0:
            raise MisfitError
        zeros = one - self.pos
        self.pos = one + 1
        return zeros


def decode_slowly(octets, nx, blocksize):
    """Decode one row, bit after bit."""
    bits = Bits(octets)
    last = bits.take(16)
    row = []
    while len(row) < nx:
        kind = bits.take(4)
        for _ in range(min(blocksize, nx - len(row))):
            code = 0
            if kind == 15:
                code = bits.take(16)
            elif kind > 0:
                code = bits.take_unary() << (kind - 1)
                code += bits.take(kind - 1)
            last += -(code // 2) - 1 if code % 2 else code // 2
            row.append((last + 32768) % 65536 - 32768)
    if len(bits.text) - bits.pos >= 8:
        raise MisfitError
    return row


def pack(first, blocks):
    """Write a row of the first value and blocks of (kind, codes)."""
    text = f"{first % 65536:016b}"
    for kind, codes in blocks:
        text += f"{kind:04b}"
        low = kind - 1
        for code in codes:
            if kind == 15:
                text += f"{code:016b}"
            elif kind > 0:
                text += "0" * (code >> low) + "1"
                text += f"{code % (1 << low):0{low}b}" if low else ""
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def encode(row, blocksize, kinds):
    """Encode one row, its blocks by the kinds given (0 where it can), in turn."""
    steps = np.diff(row, prepend=row[0]).astype(np.int16).tolist()
    codes = [-2 * step - 1 if step < 0 else 2 * step for step in steps]
    blocks = []
    for n, i in enumerate(range(0, len(row), blocksize)):
        block = codes[i : i + blocksize]
        kind = kinds[n % len(kinds)]
        blocks.append((15 if kind == 0 and any(block) else kind, block))
    return pack(row[0], blocks)


def run_kernel(rows, nx, blocksize, spare):
    """Run the kernel on rows of bytes laid out back to back; returns its verdict and the DN."""
    lengths = np.array([len(row) for row in rows], np.int64)
    starts = 7 + np.cumsum(lengths) - lengths
    data = ending_at_a_guard(b"\xff" * 7 + b"".join(rows) + spare * SPARE_BYTES)
    guarded = np.full((len(rows) + 2, nx), 12345, np.int16)
    bad = decode_rows(data, starts, lengths, blocksize, guarded[1:-1])
    assert (guarded[[0, -1]] == 12345).all()
    return bad, guarded[1:-1]


def ending_at_a_guard(octets):
    """Lay bytes before a page that nobody may read: who reads on ends with a segmentation fault."""
    page = mmap.PAGESIZE
    size = -(-len(octets) // page) * page
    memory = mmap.mmap(-1, size + page)
    memory[size - len(octets) : size] = octets
    data = np.frombuffer(memory, np.uint8)
    guard = ctypes.c_void_p(data.ctypes.data + size)
    assert ctypes.CDLL(None).mprotect(guard, page, 0) == 0
    return data[size - len(octets) : size]


def decode(rows, nx, blocksize=32, spare=b"\xff"):
    """Decode rows one by one and, more often than there are lanes, together; both must agree."""
    bad, dn = run_kernel(rows, nx, blocksize, spare)
    assert len(rows) < LANES
    times = 1 + -(-LANES // len(rows))
    verdict, copies = run_kernel(rows * times, nx, blocksize, spare)
    assert verdict == bad
    if bad < 0:
        np.testing.assert_array_equal(copies, np.tile(dn, (times, 1)))
    return bad, dn


def assert_as_twin(rows, nx, blocksize):
    """Check verdict and, for legal rows, values."""
    expected = []
    for row in rows:
        try:
            expected.append(decode_slowly(row, nx, blocksize))
        except MisfitError:
            break
    bad, dn = decode(rows, nx, blocksize)
    if len(expected) < len(rows):
        assert bad == len(expected)
    else:
        assert bad == -1
        np.testing.assert_array_equal(dn, expected)


DN = st.integers(-32768, 32767)


@st.composite
def walks(draw, nx):
    """A row as images have them, or as no image has them."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    step = draw(st.sampled_from([0, 0.3, 2, 40, 900, 9000, 70000]))
    row = np.cumsum(rng.normal(0, step, nx)) + draw(DN)
    for _ in range(draw(st.integers(0, 3))):
        row[rng.integers(nx)] += draw(DN)
        i = rng.integers(nx)
        row[i : i + draw(st.integers(1, 200))] = draw(DN)
    if draw(st.booleans()):
        i = rng.integers(nx)
        row[i : i + 70 : 2], row[i + 1 : i + 70 : 2] = -32768, 32767
    return ((np.round(row) + 32768) % 65536 - 32768).astype(np.int16)


@st.composite
def images(draw):
    nx, ny = draw(st.integers(1, 700)), draw(st.integers(1, 9))
    return np.array([draw(walks(nx)) for _ in range(ny)])


@EXAMPLES
@given(images())
def test_agrees_with_astropy_on_what_astropy_writes(image):
    header, data = compressed(image, "RICE_1")
    ny = len(image)
    table = np.frombuffer(data[: 8 * ny], ">i4").reshape(ny, 2)
    rows = [data[8 * ny + start :][:length] for length, start in table]
    bad, dn = decode(rows, image.shape[1])
    assert header["ZVAL1"] == 32
    assert bad == -1
    np.testing.assert_array_equal(dn, image)


@EXAMPLES
@given(
    image=images(),
    blocksize=st.sampled_from([1, 2, 7, 16, 32, 33, 64, 100, 1000]),
    kinds=st.lists(st.integers(0, 15), min_size=1, max_size=5),
)
def test_decodes_any_legal_stream(image, blocksize, kinds):
    # A small f makes long unary runs; rows of millions of bits would only make the twin slow.
    rows = []
    for row in image.tolist():
        large = any(abs(b - a) > 2000 for a, b in itertools.pairwise(row))
        rows.append(encode(row, blocksize, [max(k, 9) if large else k for k in kinds]))
    bad, dn = decode(rows, image.shape[1], blocksize)
    assert bad == -1
    np.testing.assert_array_equal(dn, image)
    assert_as_twin(rows, image.shape[1], blocksize)


@pytest.mark.parametrize("kind", range(16))
@pytest.mark.parametrize("ny", [1, 4, 6])
def test_each_kind_of_block(kind, ny):
    low = max(kind - 1, 0)
    rng = np.random.default_rng(kind)
    image = rng.integers(-(1 << low), (1 << low) + 1, (ny, 75)) if kind else np.full((ny, 75), -7)
    rows = [encode(row, 32, [kind]) for row in image.tolist()]
    bad, dn = decode(rows, 75)
    assert bad == -1
    np.testing.assert_array_equal(dn, image)


@pytest.mark.parametrize("kind", range(1, 15))
@pytest.mark.parametrize("zeros", [*range(36, 68), 111, 112, 113, 4000])
def test_unary_runs_around_the_length_of_a_word(kind, zeros):
    """At every place within a byte, with low bits that would show if they were lost."""
    low = kind - 1
    long = (zeros << low) | (0b1010101010101 & ((1 << low) - 1))
    rows = []
    for shift in range(8):
        codes = [shift << low, 1, long, 2, long + 1, *[3] * 27]
        rows.append(pack(-5, [(kind, codes)]))
    assert_as_twin(rows, 32, 32)


def test_astropy_decodes_the_streams_of_our_encoder():
    """An external answer on kinds of blocks and sizes that astropy's compressor never writes."""
    image = sky_like((8, 333))
    header, data = compressed(image, "RICE_1")
    for blocksize, kinds in ((7, [15, 9, 13, 10, 14]), (64, [8, 9, 15])):
        rows = [encode(row, blocksize, kinds) for row in image.tolist()]
        lengths = np.array([len(row) for row in rows])
        table = np.stack([lengths, np.cumsum(lengths) - lengths], 1).astype(">i4").tobytes()
        header["PCOUNT"], header["ZVAL1"] = int(lengths.sum()), blocksize
        data = table + b"".join(rows)
        data += b"\0" * (-len(data) % 2880)
        file = fits.PrimaryHDU().header.tostring().encode() + header.tostring().encode() + data
        with fits.open(io.BytesIO(file)) as hdus:
            np.testing.assert_array_equal(hdus[1].data, image)
        bad, dn = decode(rows, 333, blocksize)
        assert bad == -1
        np.testing.assert_array_equal(dn, image)


def noise_rows(ny, nx, blocksize=32):
    """Rows of noise as astropy compresses it."""
    rng = np.random.default_rng(5)
    image = np.round(rng.normal(0, 300, (ny, nx))).astype(int).tolist()
    return [encode(row, blocksize, [9]) for row in image]


@EXAMPLES
@given(
    rows=st.lists(st.binary(min_size=0, max_size=90), min_size=1, max_size=9),
    nx=st.integers(1, 200),
    blocksize=st.sampled_from([1, 5, 32, 40, 1000]),
)
def test_corrupt_random_bytes(rows, nx, blocksize):
    assert_as_twin(rows, nx, blocksize)


@EXAMPLES
@given(ny=st.integers(1, 6), cut=st.integers(0, 200), which=st.integers(0, 5))
def test_corrupt_truncated_row(ny, cut, which):
    rows = noise_rows(ny, 90)
    which %= ny
    rows[which] = rows[which][: max(len(rows[which]) - cut, 0)]
    assert_as_twin(rows, 90, 32)


@EXAMPLES
@given(flips=st.lists(st.integers(0, 6 * 100 * 8), min_size=1, max_size=8))
def test_corrupt_flipped_bits(flips):
    rows = noise_rows(6, 90)
    for flip in flips:
        row = bytearray(rows[flip % 6])
        bit = flip // 6 % (8 * len(row))
        row[bit // 8] ^= 1 << (bit % 8)
        rows[flip % 6] = bytes(row)
    assert_as_twin(rows, 90, 32)


@pytest.mark.parametrize("filler", [b"\x00", b"\xff", b"\x10", b"\xe0"])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 50])
def test_corrupt_monotonous_rows(filler, length):
    """Zeros are constant blocks, or one unary run without end; the bytes after a row are ones."""
    assert_as_twin([filler * length] * 4, 300, 32)
    assert_as_twin([b"\0\0\x10" + b"\0" * length] * 5, 300, 1000)


@pytest.mark.parametrize("kind", [1, 14])
def test_corrupt_codes_that_run_far_past_the_end(kind):
    """32 pixels of zeros, each the longest step that the fast path can take: 51 + 1 + f bits."""
    for blocksize in (32, 1000):
        bad, _ = decode([bytes([0, 0, kind << 4])] * 4, 1000, blocksize, spare=b"\0")
        assert bad == 0


def test_lanes_of_all_sorts_at_once():
    """Each row has kinds of its own; a long code or a raw block makes all of them go slowly."""
    image = sky_like((LANES, 700))
    image[3, 100:300] = image[7, :] = -5
    rows = [encode(row, 32, [0, 9, 9 + q % 5, 12, 13]) for q, row in enumerate(image.tolist())]
    bad, dn = run_kernel(rows, 700, 32, b"\xff")
    assert bad == -1
    np.testing.assert_array_equal(dn, image)


@pytest.mark.skipif(bool(numba_config.DISABLE_JIT), reason="this is what the test runs")
def test_nothing_is_read_outside_the_buffer():
    """Without the compiler a read outside is an IndexError, which fails the tests above."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, __file__, "-k", "corrupt"],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


@pytest.mark.skipif(bool(numba_config.DISABLE_JIT), reason="Python code holds the GIL")
def test_releases_the_gil():
    """While a thread decodes, this one goes on; were the GIL held, it would stand still."""
    rows = noise_rows(4, 2000)
    lengths = np.array([len(row) for row in rows] * 5000, np.int64)
    starts = np.tile(np.cumsum(lengths[:4]) - lengths[:4], 5000)
    data = np.frombuffer(b"".join(rows) + b"\0" * SPARE_BYTES, np.uint8)
    out = np.empty((len(lengths), 2000), np.int16)
    decode_rows(data, starts[:8], lengths[:8], 32, out[:8])
    thread = threading.Thread(target=decode_rows, args=(data, starts, lengths, 32, out))
    ticks = 0
    thread.start()
    while thread.is_alive():
        time.sleep(0.002)
        ticks += 1
    # 40 Mpx take some 80 ms; one tick is what a held GIL would leave.
    assert ticks >= 5
