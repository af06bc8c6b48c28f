"""The equations compiled: loops over one sequence's arrays, each equation beside its backward.

What :mod:`ntm.engine` runs. The functions are named for what they compute in the literal model, which is where to
read first. Letters as in :mod:`ntm.model`, and G = 4C gates of an LSTM layer (C units of a feedforward one), K = what a
layer sees, O = width of the heads' projection, F = C + R*M features that the output layer sees. Memory lies as (M,N),
locations innermost, so that every loop over locations is one over neighbouring numbers. A name that begins with d_
holds the loss's gradient with respect to what the rest of the name says; "d of" in the comments says the same.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from ntm.engine import compiler
from ntm.engine.compiler import TOGETHER
from ntm.engine.simd import LANES, fma, load, multiplied, multiply, spread, store, total

jit = compiler.jit({"contract", "reassoc", "arcp", "nsz"})  # sums in any order; NaN and infinity as they are
jit_exact = compiler.jit({"contract"})
jit_finite = compiler.jit(True)


class Weights(NamedTuple):
    """The weights, each as its product wants it: the side that a row of the result has innermost.

    Here and below the last axis is padded to whole packs (:mod:`ntm.engine.simd`) where a product or a loop over N runs
    over it; what is behind the end of memory, of weightings and of weights is 0.
    """

    layers: np.ndarray  # (L,G,K)
    layers_t: np.ndarray  # (L,K,G)
    bias: np.ndarray  # (L,G)
    heads: np.ndarray  # (O,C)
    heads_t: np.ndarray  # (C,O)
    heads_bias: np.ndarray  # (O,)
    output: np.ndarray  # (Y,F)
    output_bias: np.ndarray  # (Y,)


class Record(NamedTuple):
    """What the steps leave behind. Slot t of what has T+1 is the state before step t, slot t+1 the state after it.

    A layer sees K numbers: the inputs, then what comes from below (the reads, or the layer below), then, in an LSTM,
    its own last output. The arrays with N in them have T+1 slots when a backward will come, else 2, used in turn.
    """

    seen: np.ndarray  # (L,T+1,B,K)
    gates: np.ndarray  # (L,T,B,G)
    cell: np.ndarray  # (L,T+1,B,C); (0,T+1,B,C) for the feedforward controller
    features: np.ndarray  # (T,B,F) the controller's output and the reads, F = C + R*M
    logits: np.ndarray  # (T,B,Y)
    orders: np.ndarray  # (T,B,O) key, beta, gate, shift and gamma - 1 of each head, erase and add of each write head
    norm: np.ndarray  # (T+1,B,N) of each row of memory
    similarity: np.ndarray  # (T+1,B,H,N) equation 6
    content: np.ndarray  # (T+1,B,H,N) equation 5
    shifted: np.ndarray  # (T+1,B,H,N) equation 8
    weighting: np.ndarray  # (T+1,B,H,N) equation 9
    memory: np.ndarray  # (T+1,B,M,N)


class Gradients(NamedTuple):
    """d of what the backward is given, carries from step to step, and leaves behind."""

    logits: np.ndarray  # (T,B,Y) given
    seen: np.ndarray  # (L,B,K) carried: d of the state after a step, then before it
    cell: np.ndarray  # (L,B,C) or (0,B,C)
    weighting: np.ndarray  # (B,H,N)
    memory: np.ndarray  # (B,M,N)
    inputs: np.ndarray  # (T,B,X) left behind
    gates: np.ndarray  # (L,T,B,G) d of the gates' inputs
    orders: np.ndarray  # (T,B,O) d of the heads' projection


class Room(NamedTuple):
    """Scratch for one thread; 0 at first, and for ever where it is padded."""

    keys: np.ndarray  # (H,M)
    d_keys: np.ndarray  # (H,M)
    ring: np.ndarray  # (N+S and a pack,)
    d_ring: np.ndarray
    d_shifted: np.ndarray  # (N,)
    d_dots: np.ndarray  # (H,N)
    d_norm: np.ndarray  # (N,)
    erased: np.ndarray  # (W,M,N)
    exps: np.ndarray  # (O,)
    squashed: np.ndarray  # (C,)
    d_features: np.ndarray  # (B,F)
    d_hidden: np.ndarray  # (B,C)


class Shape(NamedTuple):
    """Sizes without padding, and the constants of the literal equations."""

    locations: int  # N
    width: int  # M
    heads: int  # H
    shifts: int  # S
    inputs: int  # X
    units: int  # C
    sees: int  # K
    reads: int  # R*M
    orders: int  # O
    epsilon: Any
    tiny: Any
    most: Any


# Elementary functions, since numba has none that work on several numbers at once. Each is exact to a few units in the
# last place, and hands NaN on. Splitting x = k ln 2 + r with the bits of a float: adding MAGIC rounds k to a whole
# number and leaves it in the lowest bits.


def _exp(x): ...
def _log(x): ...


def _polynomials(dtype: Any) -> tuple[Any, Any]:
    """exp and log for one type of float."""
    integer, bits, half, magic, terms, log_terms = {
        np.float32: (np.int32, 23, 127, 1.5 * 2**23, 7, 5),
        np.float64: (np.int64, 52, 1023, 1.5 * 2**52, 13, 11),
    }[dtype]
    shift, one_bits = integer(bits), integer(half << bits)
    magic, log2e, one = dtype(magic), dtype(np.log2(np.e)), dtype(1)
    ln2_high = dtype(np.float32(0.693359375))  # few bits, so that k times it is exact
    ln2_low = dtype(np.log(2) - 0.693359375)
    # Below, 0 is returned: early enough that products of two such numbers are no denormals, which are slow.
    lowest, highest = dtype(-69 if dtype is np.float32 else -600), dtype(88 if dtype is np.float32 else 709)
    c = tuple(dtype(1 / np.prod(np.arange(1.0, i + 1))) for i in range(terms))
    s = tuple(dtype(2 / (2 * i + 1)) for i in range(log_terms))
    root_bits = integer(np.array(np.sqrt(0.5), dtype).view(integer))
    zero = dtype(0)
    order, log_order = terms - 1, log_terms - 1

    def exp(x):
        y = highest if x > highest else x
        k = dtype(y * log2e + magic)
        scale = integer(integer(dtype(k).view(integer) << shift) + one_bits).view(dtype)
        k = k - magic
        r = (y - k * ln2_high) - k * ln2_low
        p = c[order]
        for i in range(order - 1, -1, -1):
            p = p * r + c[i]
        return zero if x < lowest else p * scale

    def log(x):
        k = integer(integer(dtype(x).view(integer) - root_bits) >> shift)
        m = integer(dtype(x).view(integer) - integer(k << shift)).view(dtype)
        f = (m - one) / (m + one)
        z = f * f
        p = s[log_order]
        for i in range(log_order - 1, -1, -1):
            p = p * z + s[i]
        k = dtype(k)
        return k * ln2_high + (k * ln2_low + p * f) + (x - x)  # x - x: NaN and infinity come out as NaN

    return jit_exact(exp), jit_exact(log)


_exp32, _log32 = _polynomials(np.float32)
_exp64, _log64 = _polynomials(np.float64)


@overload(_exp)
def _(x):
    return (lambda x: _exp32(x)) if x == types.float32 else (lambda x: _exp64(x))


@overload(_log)
def _(x):
    return (lambda x: _log32(x)) if x == types.float32 else (lambda x: _log64(x))


# Loops that the equations share. Each row is one sequence's, contiguous.


@jit
def fill(row, value):
    """row = value."""
    for n in range(row.shape[0]):
        row[n] = value


@jit
def copy(out, row):
    """The beginning of out = row."""
    for n in range(row.shape[0]):
        out[n] = row[n]


@jit
def transpose(out, matrix):
    """The part that both have room for; eight rows at once, written out, which numba takes twice as fast as a loop."""
    rows, columns = matrix.shape[0], out.shape[0]
    whole = rows - rows % 8
    for r in range(0, whole, 8):
        for c in range(columns):
            out[c, r], out[c, r + 1], out[c, r + 2] = matrix[r, c], matrix[r + 1, c], matrix[r + 2, c]
            out[c, r + 3], out[c, r + 4], out[c, r + 5] = matrix[r + 3, c], matrix[r + 4, c], matrix[r + 5, c]
            out[c, r + 6], out[c, r + 7] = matrix[r + 6, c], matrix[r + 7, c]
    for r in range(whole, rows):
        for c in range(columns):
            out[c, r] = matrix[r, c]


@jit
def add_scaled(out, row, factor):
    """out += factor row."""
    for n in range(out.shape[0]):
        out[n] += factor * row[n]


@jit
def dot(a, b):
    """The sum of the products."""
    total = a.dtype.type(0)
    for n in range(a.shape[0]):
        total += a[n] * b[n]
    return total


@jit
def sigmoid(row):
    """In place."""
    one = row.dtype.type(1)
    for i in range(row.shape[0]):
        row[i] = one / (one + _exp(-row[i]))


@jit
def sigmoid_backward(grad, row):
    """In place: d of a sigmoid's result -> d of its argument; also for ``row`` = sigmoid."""
    one = row.dtype.type(1)
    for i in range(row.shape[0]):
        grad[i] *= row[i] * (one - row[i])


@jit
def tanh(row):
    """In place."""
    one, two = row.dtype.type(1), row.dtype.type(2)
    for i in range(row.shape[0]):
        row[i] = one - two / (one + _exp(two * row[i]))


@jit
def tanh_backward(grad, row):
    """In place."""
    one = row.dtype.type(1)
    for i in range(row.shape[0]):
        grad[i] *= one - row[i] * row[i]


@jit
def softplus(row, most):
    """In place: log(1 + exp(row)), and no more than ``most``."""
    dtype = row.dtype.type
    for i in range(row.shape[0]):
        x = row[i]
        y = max(x, dtype(0)) + dtype(math.log1p(_exp(-abs(x))))
        row[i] = most if y > most else y


@jit
def softplus_backward(grad, row, most):
    """In place; the slope 1 - exp(-row) is 0 from the ceiling on."""
    dtype = row.dtype.type
    for i in range(row.shape[0]):
        grad[i] *= dtype(1) - _exp(-row[i]) if row[i] < most else dtype(0)


@jit_finite
def largest(row):
    """The largest number of a row, in four strands; NaN may be passed over."""
    a = b = c = d = row[0]
    n = 0
    while n + 4 <= row.shape[0]:
        a, b, c, d = max(a, row[n]), max(b, row[n + 1]), max(c, row[n + 2]), max(d, row[n + 3])
        n += 4
    for i in range(n, row.shape[0]):
        a = max(a, row[i])
    return max(max(a, b), max(c, d))


@jit
def softmax(out, row, scale):
    """out = softmax(scale row), scale > 0."""
    most, total = largest(row), row.dtype.type(0)
    for n in range(row.shape[0]):
        e = _exp(scale * (row[n] - most))
        out[n] = e
        total += e
    factor = row.dtype.type(1) / total
    for n in range(row.shape[0]):
        out[n] *= factor


@jit
def softmax_backward(grad, out):
    """In place: d of a softmax's result -> d of its argument, the scale included."""
    mean = dot(grad, out)
    for n in range(grad.shape[0]):
        grad[n] = out[n] * (grad[n] - mean)


# The controller


@jit
def lstm_cell(gates, hidden, cell, cell_before):
    """The four gates (4C,) in torch's order, in place; hidden and cell after the step."""
    units = cell.shape[0]
    sigmoid(gates[: 2 * units])
    tanh(gates[2 * units : 3 * units])
    sigmoid(gates[3 * units : 4 * units])
    for c in range(units):
        cell[c] = gates[units + c] * cell_before[c] + gates[c] * gates[2 * units + c]
        hidden[c] = cell[c]
    tanh(hidden)
    for c in range(units):
        hidden[c] *= gates[3 * units + c]


@jit
def lstm_cell_backward(d_gates, d_hidden, d_cell, gates, cell, cell_before, squashed):
    """d_cell in place: after the step -> before it; ``squashed`` (C,) has room for tanh(cell)."""
    units, one = cell.shape[0], cell.dtype.type(1)
    copy(squashed, cell)
    tanh(squashed)
    for c in range(units):
        i, f, g, o = gates[c], gates[units + c], gates[2 * units + c], gates[3 * units + c]
        d = d_cell[c] + d_hidden[c] * o * (one - squashed[c] * squashed[c])
        d_gates[c] = d * g * i * (one - i)
        d_gates[units + c] = d * cell_before[c] * f * (one - f)
        d_gates[2 * units + c] = d * i * (one - g * g)
        d_gates[3 * units + c] = d_hidden[c] * squashed[c] * o * (one - o)
        d_cell[c] = d * f


# The heads. An order is [key M, beta, gate, shift S, gamma - 1] for each head, then [erase M, add M] for each writer.


@jit
def squash(order, shape, scratch):
    """The ranges of section 3.3, in place: (O padded,)."""
    dtype = order.dtype.type
    width = shape.width
    size = width + shape.shifts + 3
    for i in range(order.shape[0]):
        scratch[i] = _exp(-abs(order[i]))
    for h in range(shape.heads):
        start = h * size
        squash_tanh(order, scratch, start, start + width)
        squash_sigmoid(order, scratch, start + width + 1, start + width + 2)
        for i in (start + width, start + size - 1):
            x = max(order[i], dtype(0)) + dtype(math.log1p(scratch[i]))
            order[i] = shape.most if x > shape.most else x
        first = start + width + 2
        few = order[first : first + shape.shifts]
        most, total = largest(few), dtype(0)
        for s in range(shape.shifts):
            few[s] = _exp(few[s] - most)
            total += few[s]
        for s in range(shape.shifts):
            few[s] /= total
    for start in range(shape.heads * size, shape.orders, 2 * width):
        squash_sigmoid(order, scratch, start, start + width)
        squash_tanh(order, scratch, start + width, start + 2 * width)


@jit
def squash_tanh(row, exps, first, last):
    """In place, from x and exp(-|x|)."""
    one, zero = row.dtype.type(1), row.dtype.type(0)
    for i in range(first, last):
        e = exps[i] * exps[i]
        x = (one - e) / (one + e)
        row[i] = -x if row[i] < zero else x


@jit
def squash_sigmoid(row, exps, first, last):
    """In place, from x and exp(-|x|)."""
    one, zero = row.dtype.type(1), row.dtype.type(0)
    for i in range(first, last):
        row[i] = (exps[i] if row[i] < zero else one) / (one + exps[i])


@jit
def squash_backward(grad, order, shape):
    """In place."""
    one, zero, width = order.dtype.type(1), order.dtype.type(0), shape.width
    size = width + shape.shifts + 3
    for h in range(shape.heads):
        start, mean = h * size, zero
        for i in range(start, start + width):
            grad[i] *= one - order[i] * order[i]
        for i in (start + width, start + size - 1):  # softplus has the slope 1 - exp(-result), and 0 at the ceiling
            grad[i] *= one - _exp(-order[i]) if order[i] < shape.most else zero
        gate = order[start + width + 1]
        grad[start + width + 1] *= gate * (one - gate)
        first = start + width + 2
        for i in range(first, first + shape.shifts):
            mean += grad[i] * order[i]
        for i in range(first, first + shape.shifts):
            grad[i] = order[i] * (grad[i] - mean)
    for start in range(shape.heads * size, shape.orders, 2 * width):
        for i in range(start, start + width):
            grad[i] *= order[i] * (one - order[i])
        for i in range(start + width, start + 2 * width):
            grad[i] *= one - order[i] * order[i]


# Addressing. A ``ring`` is a row with its ends repeated on the other side, so that a circular shift is a plain one.


@jit
def close_ring(ring, locations, reach):
    """Repeat the ends, from the inside outwards, since a shift may reach around more than once."""
    for i in range(reach):
        ring[reach - 1 - i] = ring[reach - 1 - i + locations]
        ring[reach + locations + i] = ring[reach + i]


@jit
def cosine_similarity(similarity, keys, memory, norm, locations, epsilon):
    """Equation 6 for all heads: keys (H,M), memory (M,N), norm (N,) -> similarity (H,N)."""
    for h in range(keys.shape[0]):
        fill(similarity[h], 0)
    multiply(similarity, keys, memory)
    for h in range(keys.shape[0]):
        length, row = np.sqrt(dot(keys[h], keys[h])), similarity[h]
        for n in range(locations):
            row[n] /= length * norm[n] + epsilon


@jit
def cosine_similarity_backward(d_similarity, d_key, d_norm, similarity, key, norm, epsilon):
    """One head: d_similarity in place -> d of key times memory; adds to d_norm, fills d_key with its length's part."""
    zero = norm.dtype.type(0)
    length = np.sqrt(dot(key, key))
    d_length = zero
    for n in range(d_similarity.shape[0]):
        d = d_similarity[n] / (length * norm[n] + epsilon)
        d_similarity[n] = d
        d_length -= d * similarity[n] * norm[n]
        d_norm[n] -= d * similarity[n] * length
    factor = d_length / length if length > zero else length
    for m in range(key.shape[0]):
        d_key[m] = factor * key[m]


@jit
def dots_backward(d_memory, d_keys, d_dots, d_norm, memory, keys):
    """The rest of equation 6, all heads: keys times memory (H,N), norms of memory -> adds to d_memory and d_keys."""
    for m in range(memory.shape[0]):
        for n in range(0, memory.shape[1], LANES):
            grad = fma(load(memory, (m, n)), load(d_norm, (n,)), load(d_memory, (m, n)))
            store(d_memory, (m, n), grad)
    for h in range(keys.shape[0]):
        for m in range(memory.shape[0]):
            d_keys[h, m] += row_dot(memory, m, d_dots[h])
        add(d_memory, d_dots[h], keys[h])


@jit
def interpolate(ring, content, before, gate, reach):
    """Equation 7, into a ring."""
    other = content.dtype.type(1) - gate
    for n in range(content.shape[0]):
        ring[reach + n] = gate * content[n] + other * before[n]
    close_ring(ring, content.shape[0], reach)


@jit
def shift(shifted, ring, weights):
    """Equation 8: weight S//2 + 1 takes what lay one location before."""
    last, zero = weights.shape[0] - 1, spread(ring.dtype.type(0))
    for n in range(0, shifted.shape[0], LANES):
        value = zero
        for s in range(weights.shape[0]):
            value = fma(spread(weights[s]), load(ring, (last - s + n,)), value)
        store(shifted, (n,), value)


@jit
def shift_backward(d_gated, d_weights, d_shifted, d_ring, ring, weights):
    """d of the shifted row (0 in its padding), and the same as a ring -> d of the row before, and of the weights."""
    last, zero = weights.shape[0] - 1, spread(ring.dtype.type(0))
    for n in range(0, d_gated.shape[0], LANES):
        value = zero
        for s in range(weights.shape[0]):
            value = fma(spread(weights[s]), load(d_ring, (s + n,)), value)
        store(d_gated, (n,), value)
    for s in range(weights.shape[0]):
        value = zero
        for n in range(0, d_gated.shape[0], LANES):
            value = fma(load(d_shifted, (n,)), load(ring, (last - s + n,)), value)
        d_weights[s] = total(value)


@jit
def sharpen(weighting, shifted, gamma, tiny, logs):
    """Equation 9, as softmax(gamma log w); ``logs`` has room for N numbers."""
    for n in range(shifted.shape[0]):
        logs[n] = _log(tiny if shifted[n] < tiny else shifted[n])
    softmax(weighting, logs[: shifted.shape[0]], gamma)


@jit
def sharpen_backward(d_shifted, grad, weighting, shifted, gamma, tiny):
    """d of the weighting -> d of the shifted row; returns d of gamma."""
    zero = grad.dtype.type(0)
    mean, d_gamma = dot(grad, weighting), zero
    for n in range(grad.shape[0]):
        w = tiny if shifted[n] < tiny else shifted[n]
        d = weighting[n] * (grad[n] - mean)
        d_gamma += d * _log(w)
        d_shifted[n] = zero if shifted[n] < tiny else d * gamma / w
    return d_gamma


# Reading and writing: one head's weighting (N,) and vectors (M,), memory (M,N)


@jit
def row_dot(matrix, m, row):
    """The sum of the products of a row of a matrix with another row."""
    value = spread(row.dtype.type(0))
    for n in range(0, row.shape[0], LANES):
        value = fma(load(matrix, (m, n)), load(row, (n,)), value)
    return total(value)


@jit
def read(reads, memory, weighting):
    """Equation 2."""
    for m in range(memory.shape[0]):
        reads[m] = row_dot(memory, m, weighting)


@jit
def erase(new, old, weighting, vector):
    """Equation 3: (M,N) -> (M,N), which may be the same."""
    for m in range(new.shape[0]):
        factor = spread(-vector[m])
        for n in range(0, new.shape[1], LANES):
            value = load(old, (m, n))
            store(new, (m, n), fma(multiplied(value, load(weighting, (n,))), factor, value))


@jit
def erase_backward(d_memory, d_weighting, d_vector, old, weighting, vector):
    """d_memory in place: of the new memory -> of the old; adds to d_weighting, fills d_vector."""
    for m in range(old.shape[0]):
        factor, total_m = spread(-vector[m]), spread(vector.dtype.type(0))
        for n in range(0, old.shape[1], LANES):
            grad, w = load(d_memory, (m, n)), load(weighting, (n,))
            d = multiplied(grad, load(old, (m, n)))
            total_m = fma(d, w, total_m)
            store(d_weighting, (n,), fma(d, factor, load(d_weighting, (n,))))
            store(d_memory, (m, n), fma(multiplied(grad, w), factor, grad))
        d_vector[m] = -total(total_m)


@jit
def add(memory, weighting, vector):
    """Equation 4, in place."""
    for m in range(memory.shape[0]):
        factor = spread(vector[m])
        for n in range(0, memory.shape[1], LANES):
            store(memory, (m, n), fma(load(weighting, (n,)), factor, load(memory, (m, n))))


@jit
def norms(norm, memory, locations):
    """The length of each row of memory, which is a column here: (M,N) -> (N,)."""
    for n in range(0, memory.shape[1], LANES):
        value = spread(norm.dtype.type(0))
        for m in range(memory.shape[0]):
            value = fma(load(memory, (m, n)), load(memory, (m, n)), value)
        store(norm, (n,), value)
    for n in range(locations):
        norm[n] = np.sqrt(norm[n])


@jit
def write_and_read(new, reads, old, weighting, vectors):
    """Equations 3 and 4, then 2; ``vectors`` is [erase M, add M] of each writer."""
    width = new.shape[0]
    writers = vectors.shape[0] // (2 * width)
    readers = weighting.shape[0] - writers
    for h in range(writers):
        erase(new, new if h else old, weighting[readers + h], vectors[2 * h * width : (2 * h + 1) * width])
    for h in range(writers):
        add(new, weighting[readers + h], vectors[(2 * h + 1) * width : (2 * h + 2) * width])
    for r in range(readers):
        read(reads[r * width : (r + 1) * width], new, weighting[r])


@jit
def write_and_read_backward(d_memory, d_weighting, d_vectors, d_reads, new, old, weighting, vectors, erased):
    """d_memory in place: after the step -> before its write; adds to d_weighting, fills d_vectors.

    ``erased`` (W,M,N) has room for memory as each writer found it when it erased.
    """
    width = new.shape[0]
    writers = vectors.shape[0] // (2 * width)
    readers = weighting.shape[0] - writers
    multiply(d_weighting[:readers], d_reads.reshape(readers, width), new)
    for r in range(readers):
        add(d_memory, weighting[r], d_reads[r * width : (r + 1) * width])
    for h in range(writers):
        first, w = (2 * h + 1) * width, weighting[readers + h]
        read(d_vectors[first : first + width], d_memory, w)
        d_w = d_weighting[readers + h : readers + h + 1]
        multiply(d_w, vectors[first : first + width].reshape(1, width), d_memory)
        if h + 1 < writers:
            erase(erased[h + 1], erased[h] if h else old, w, vectors[first - width : first])
    for h in range(writers - 1, -1, -1):
        first, before = 2 * h * width, erased[h] if h else old
        vector, d_vector = vectors[first : first + width], d_vectors[first : first + width]
        erase_backward(d_memory, d_weighting[readers + h], d_vector, before, weighting[readers + h], vector)


# A head's step, and a step's whole. ``place`` is a sequence's place in the arrays with N in them.


@jit
def address(record, before, after, place, order, shape, keys, ring):
    """Equations 5 to 9 for one sequence: from slot ``before`` of the record to slot ``after``."""
    heads, width = keys.shape
    shifts, locations = shape.shifts, shape.locations
    size, reach = width + shifts + 3, shifts // 2
    for h in range(heads):
        copy(keys[h], order[h * size : h * size + width])
    similarity, norm = record.similarity[after, place], record.norm[before, place]
    cosine_similarity(similarity, keys, record.memory[before, place], norm, locations, shape.epsilon)
    for h in range(heads):
        o = order[h * size + width : (h + 1) * size]
        content, shifted = record.content[after, place, h, :locations], record.shifted[after, place, h]
        weighting = record.weighting[after, place, h]
        softmax(content, similarity[h, :locations], o[0])
        interpolate(ring, content, record.weighting[before, place, h], o[1], reach)
        shift(shifted, ring, o[2 : 2 + shifts])
        sharpen(weighting[:locations], shifted[:locations], o[2 + shifts] + order.dtype.type(1), shape.tiny, ring)
        fill(weighting[locations:], 0)


@jit
def address_backward(record, d, before, after, place, order, d_order, shape, room):
    """From d of the weightings after the step to d of those before it, of memory, and of the heads' orders."""
    heads, width, shifts, locations = shape.heads, shape.width, shape.shifts, shape.locations
    size, reach, one = width + shifts + 3, shifts // 2, order.dtype.type(1)
    memory, norm = record.memory[before, place], record.norm[before, place, :locations]
    fill(room.d_norm, 0)
    for h in range(heads):
        o, d_o = order[h * size : (h + 1) * size], d_order[h * size : (h + 1) * size]
        beta, gate, gamma = o[width], o[width + 1], o[width + 2 + shifts] + one
        move, d_move = o[width + 2 : width + 2 + shifts], d_o[width + 2 : width + 2 + shifts]
        content = record.content[after, place, h, :locations]
        weighting_before = record.weighting[before, place, h, :locations]
        weighting, shifted = record.weighting[after, place, h, :locations], record.shifted[after, place, h, :locations]
        similarity, grad = record.similarity[after, place, h, :locations], d.weighting[place, h, :locations]
        interpolate(room.ring, content, weighting_before, gate, reach)
        d_gamma = sharpen_backward(room.d_shifted[:locations], grad, weighting, shifted, gamma, shape.tiny)
        d_o[width + 2 + shifts] = d_gamma
        copy(room.d_ring[reach:], room.d_shifted[:locations])
        close_ring(room.d_ring, locations, reach)
        shift_backward(d.weighting[place, h], d_move, room.d_shifted, room.d_ring, room.ring, move)
        d_o[width + 1] = dot(grad, content) - dot(grad, weighting_before)
        d_similarity = room.d_dots[h, :locations]
        for n in range(locations):
            d_similarity[n] = gate * grad[n]
            grad[n] *= one - gate
        softmax_backward(d_similarity, content)
        d_o[width] = dot(d_similarity, similarity)
        for n in range(locations):
            d_similarity[n] *= beta
        d_norm = room.d_norm[:locations]
        cosine_similarity_backward(d_similarity, room.d_keys[h], d_norm, similarity, o[:width], norm, shape.epsilon)
        copy(room.keys[h], o[:width])
    for n in range(locations):
        room.d_norm[n] = room.d_norm[n] / norm[n] if norm[n] > 0 else norm[n]
    dots_backward(d.memory[place], room.d_keys, room.d_dots, room.d_norm, memory, room.keys)
    for h in range(heads):
        copy(d_order[h * size :], room.d_keys[h])


@jit
def run(first, last, place, room, weights, record, shape):
    """All steps for the sequences from ``first`` to ``last`` of the batch, at ``place`` and after it."""
    layers, steps, slots = record.seen.shape[0], record.gates.shape[1], record.memory.shape[0]
    units, writes = shape.units, shape.heads * (shape.width + shape.shifts + 3)
    lstm, own = record.cell.shape[0] > 0, shape.sees - shape.units
    for p in range(place, place + last - first):
        norms(record.norm[0, p], record.memory[0, p], shape.locations)
    for t in range(steps):
        before, after = t % slots, (t + 1) % slots
        for layer in range(layers):
            for b in range(first, last):
                copy(record.gates[layer, t, b], weights.bias[layer])
            multiply(record.gates[layer, t, first:last], record.seen[layer, t, first:last], weights.layers_t[layer])
            for b in range(first, last):
                gates, hidden = record.gates[layer, t, b], record.features[t, b, :units]
                if lstm:
                    lstm_cell(gates, hidden, record.cell[layer, t + 1, b], record.cell[layer, t, b])
                    copy(record.seen[layer, t + 1, b, own:], hidden)
                else:
                    tanh(gates)
                    copy(hidden, gates[:units])
                if layer + 1 < layers:
                    copy(record.seen[layer + 1, t, b, shape.inputs :], hidden)
        for b in range(first, last):
            copy(record.orders[t, b], weights.heads_bias)
        multiply(record.orders[t, first:last], record.features[t, first:last], weights.heads_t)
        for b in range(first, last):
            p, order, features = place + b - first, record.orders[t, b], record.features[t, b]
            squash(order, shape, room.exps)
            address(record, before, after, p, order, shape, room.keys, room.ring)
            old, new, norm = record.memory[before, p], record.memory[after, p], record.norm[after, p]
            reads, weighting = features[units:], record.weighting[after, p]
            write_and_read(new, reads, old, weighting, order[writes : shape.orders])
            norms(norm, new, shape.locations)
            copy(record.seen[0, t + 1, b, shape.inputs :], reads)
            for y in range(weights.output.shape[0]):
                record.logits[t, b, y] = weights.output_bias[y] + dot(features, weights.output[y])


@jit
def run_backward(first, last, place, room, weights, record, d, shape):
    """All steps from the last to the first."""
    layers, steps, dtype = record.seen.shape[0], record.gates.shape[1], record.gates.dtype
    units, writes = shape.units, shape.heads * (shape.width + shape.shifts + 3)
    lstm, own = record.cell.shape[0] > 0, shape.sees - shape.units
    d_features, d_hidden = room.d_features[: last - first], room.d_hidden[: last - first]
    for t in range(steps - 1, -1, -1):
        for i in range(last - first):
            fill(d_features[i], 0)
        multiply(d_features, d.logits[t, first:last], weights.output)
        for b in range(first, last):
            i, p = b - first, place + b - first
            order, d_order, d_reads = record.orders[t, b], d.orders[t, b], d_features[i, units : units + shape.reads]
            add_scaled(d_reads, d.seen[0, b, shape.inputs :], dtype.type(1))
            copy(d_hidden[i], d_features[i, :units])
            new, old, weighting = record.memory[t + 1, p], record.memory[t, p], record.weighting[t + 1, p]
            vectors, d_vectors = order[writes : shape.orders], d_order[writes : shape.orders]
            write_and_read_backward(
                d.memory[p], d.weighting[p], d_vectors, d_reads, new, old, weighting, vectors, room.erased
            )
            address_backward(record, d, t, t + 1, p, order, d_order, shape, room)
            squash_backward(d_order, order, shape)
        multiply(d_hidden, d.orders[t, first:last], weights.heads)
        for layer in range(layers - 1, -1, -1):
            for b in range(first, last):
                grad, seen, gates = d.gates[layer, t, b], d.seen[layer, b], record.gates[layer, t, b]
                hidden = d_hidden[b - first, :units]
                if lstm:
                    cell, before = record.cell[layer, t + 1, b], record.cell[layer, t, b]
                    add_scaled(hidden, seen[own : own + units], dtype.type(1))
                    lstm_cell_backward(grad, hidden, d.cell[layer, b], gates, cell, before, room.squashed)
                else:
                    copy(grad, hidden)
                    tanh_backward(grad[:units], gates[:units])
                fill(seen, 0)
            multiply(d.seen[layer, first:last], d.gates[layer, t, first:last], weights.layers[layer])
            for b in range(first, last):
                if layer > 0:
                    copy(d_hidden[b - first], d.seen[layer, b, shape.inputs : shape.inputs + units])
                else:
                    copy(d.inputs[t, b], d.seen[0, b, : shape.inputs])


# Losses: logits -> d of the logits, for the mean over all bits that count, and each sequence's sums


@jit
def losses(first, last, record, d, targets, mask, weight, huber, sums):
    """Cross-entropy (nats) or Huber loss; sums (B,3): loss, nats of cross-entropy, wrong bits. ``weight``: of a bit."""
    dtype = weight.dtype.type
    zero, half, one = dtype(0), dtype(0.5), dtype(1)
    for b in range(first, last):
        fill(sums[b], 0)
        for t in range(targets.shape[0]):
            logits, grad, target = record.logits[t, b], d.logits[t, b], targets[t, b]
            for y in range(logits.shape[0]):
                x, z, m = logits[y], target[y], mask[t, b]
                e = _exp(-abs(x))
                p = (one if x >= zero else e) / (one + e)
                nats = max(x, zero) - x * z + _log(one + e)
                off = p - z
                if huber:
                    grad[y] = m * weight[0] * off * p * (one - p)
                    sums[b, 0] += m * half * off * off
                else:
                    grad[y] = m * weight[0] * off
                    sums[b, 0] += m * nats
                sums[b, 1] += m * nats
                sums[b, 2] += m if (x > zero) != (z > half) else zero


@jit
def learn(first, last, place, room, weights, record, d, shape, weighting, memory, targets, mask, weight, huber, sums):
    """Forward, loss and backward of a batch's sequences, TOGETHER at a time, so that their steps stay in the caches."""
    locations = shape.locations
    for b in range(first, last, TOGETHER):
        end = min(b + TOGETHER, last)
        for i in range(end - b):
            for h in range(shape.heads):
                copy(record.weighting[0, place + i, h], weighting[b + i, h])
                fill(record.weighting[0, place + i, h, locations:], 0)
                fill(d.weighting[place + i, h], 0)
            for m in range(shape.width):
                row = record.memory[0, place + i, m]
                for n in range(locations):
                    row[n] = memory[b + i, n, m]
                fill(row[locations:], 0)
                fill(d.memory[place + i, m], 0)
        run(b, end, place, room, weights, record, shape)
        losses(b, end, record, d, targets, mask, weight, huber, sums)
        run_backward(b, end, place, room, weights, record, d, shape)


# Parameters: flat rows, in the order of :meth:`ntm.engine.sizes.Sizes.parameter_shapes`


@jit
def place(out, row, start, width):
    """A flat (rows,width) matrix into the columns from ``start`` on."""
    for r in range(out.shape[0]):
        copy(out[r, start : start + width], row[r * width : (r + 1) * width])


@jit
def place_weights(weights, flat, shape):
    """The parameters, each where and how its products want it, with zeros behind every end."""
    layers, gates, _ = weights.layers.shape
    units, sees, features = shape.units, shape.sees, shape.units + shape.reads
    each = (len(flat) - 4) // layers
    for i in range(layers):
        out, first = weights.layers[i], 4 + each * i
        if layers > 1:
            for g in range(gates):
                fill(out[g], 0)
        if i == 0:
            place(out, flat[first], 0, shape.inputs + shape.reads)
        else:
            place(out, flat[first], shape.inputs, units)
        copy(weights.bias[i], flat[first + each - 1])
        if each == 4:
            place(out, flat[first + 1], sees - units, units)
            add_scaled(weights.bias[i], flat[first + 2], out.dtype.type(1))
        for g in range(gates):
            fill(out[g, sees:], 0)
        transpose(weights.layers_t[i], out)
        for k in range(sees):
            fill(weights.layers_t[i, k, gates:], 0)
    place(weights.heads, flat[0], 0, units)
    for o in range(shape.orders):
        fill(weights.heads[o, units:], 0)
    transpose(weights.heads_t, weights.heads)
    for c in range(units):
        fill(weights.heads_t[c, shape.orders :], 0)
    copy(weights.heads_bias, flat[1])
    place(weights.output, flat[2], 0, features)
    for y in range(weights.output.shape[0]):
        fill(weights.output[y, features:], 0)
    copy(weights.output_bias, flat[3])


@jit
def place_start(record, inputs, hidden, cell, reads, shape):
    """The inputs, and the state before the first step but for weighting and memory; one row of that may serve all."""
    layers, steps, batch, units = record.seen.shape[0], inputs.shape[0], inputs.shape[1], shape.units
    lstm, own = record.cell.shape[0] > 0, shape.sees - shape.units
    if layers > 1:
        for i in range(layers):
            for t in range(steps + 1):
                for b in range(batch):
                    fill(record.seen[i, t, b], 0)
    for b in range(batch):
        for t in range(steps):
            copy(record.seen[0, t, b, : shape.inputs], inputs[t, b])
        copy(record.seen[0, 0, b, shape.inputs : shape.inputs + shape.reads], reads[b % reads.shape[0]])
        if lstm:
            for i in range(layers):
                copy(record.seen[i, 0, b, own:], hidden[i, b % hidden.shape[1]][:units])
                copy(record.cell[i, 0, b], cell[i, b % cell.shape[1]])


@jit
def sum_rows(out, rows):
    """out = the sum over the first two axes of (T,B,J or more)."""
    fill(out, 0)
    for t in range(rows.shape[0]):
        for b in range(rows.shape[1]):
            add_scaled(out, rows[t, b], out.dtype.type(1))


@jit
def bias_gradients(grads, d):
    """d of every bias, into its flat row."""
    layers = d.gates.shape[0]
    each = (len(grads) - 4) // layers
    sum_rows(grads[1], d.orders)
    sum_rows(grads[3], d.logits)
    for i in range(layers):
        last = 4 + each * (i + 1) - 1
        sum_rows(grads[last], d.gates[i])
        if each == 4:
            copy(grads[last - 1], grads[last])


@jit
def start_gradients(grads, d, shape):
    """d of the learned start: reads, then an LSTM's hidden and cell, into flat rows."""
    own, units, one = shape.sees - shape.units, shape.units, d.seen.dtype.type(1)
    for grad in grads:
        fill(grad, 0)
    for b in range(d.seen.shape[1]):
        add_scaled(grads[0], d.seen[0, b, shape.inputs :], one)
        for p in range(1, len(grads)):
            for i in range(d.cell.shape[0]):
                grad = grads[p][i * units : (i + 1) * units]
                if p == 1:
                    add_scaled(grad, d.seen[i, b, own:], one)
                else:
                    add_scaled(grad, d.cell[i, b], one)


# Clipping, and optimisers, which change each parameter where it lies


@jit
def wide_norm(row):
    """The norm of a row, in double precision."""
    total = 0.0
    for i in range(row.shape[0]):
        total += np.float64(row[i]) ** 2
    return np.sqrt(total)


@jit
def clip(grad, by_norm, at):
    """In place, unless it is not finite: bound the norm of the whole or each number; returns the norm before."""
    norm = np.sqrt(dot(grad, grad))
    if not np.isfinite(norm):  # though each number may be: its square is not, from 1e19 on in single precision
        norm = grad.dtype.type(wide_norm(grad))
        if not np.isfinite(norm):
            return norm
    if by_norm:
        factor = at / (norm + grad.dtype.type(1e-6))
        if factor < 1:
            for i in range(grad.shape[0]):
                grad[i] *= factor
    else:
        for i in range(grad.shape[0]):
            grad[i] = min(max(grad[i], -at), at)
    return norm


@jit
def adam(thetas, grads, counts, means, squares, rate, beta_1, beta_2, epsilon):
    """Kingma and Ba (2015) as torch has it; each count is that of the steps of one parameter."""
    for p in range(len(thetas)):
        counts[p][0] += 1
        dtype, k = thetas[p].dtype.type, np.float64(counts[p][0])
        length, correction = dtype(rate / (1 - beta_1**k)), dtype(math.sqrt(1 - beta_2**k))
        _adam(
            thetas[p], grads[p], means[p], squares[p], length, dtype(beta_1), dtype(beta_2), dtype(epsilon), correction
        )


@jit
def _adam(theta, grad, mean, square, rate, beta_1, beta_2, epsilon, correction):
    one = grad.dtype.type(1)
    for i in range(theta.shape[0]):
        mean[i] += (one - beta_1) * (grad[i] - mean[i])
        square[i] = beta_2 * square[i] + (one - beta_2) * grad[i] * grad[i]
        theta[i] -= rate * mean[i] / (np.sqrt(square[i]) / correction + epsilon)


@jit
def graves_rmsprop(thetas, grads, squares, means, deltas, rate, decay, momentum, epsilon):
    """Graves (2013), equations 38 to 45."""
    for p in range(len(thetas)):
        theta, grad, square, mean, delta = thetas[p], grads[p], squares[p], means[p], deltas[p]
        one, zero = grad.dtype.type(1), grad.dtype.type(0)
        for i in range(theta.shape[0]):
            square[i] += (one - decay) * (grad[i] * grad[i] - square[i])
            mean[i] += (one - decay) * (grad[i] - mean[i])
            variance = max(square[i] - mean[i] * mean[i], zero)  # rounding may leave less than nothing
            delta[i] = momentum * delta[i] - rate * grad[i] / np.sqrt(variance + epsilon)
            theta[i] += delta[i]
