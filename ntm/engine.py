"""The compiled engine: a whole sequence forward and backward, equal to the literal model and many times as fast.

The literal model launches some sixty small operations per step. Here numba compiles the same equations to loops over
one sequence, each equation beside its backward; torch sees one ``autograd.Function`` for the whole sequence. Weight
gradients are one product over all time steps, at the end. :meth:`ntm.model.NTM.forward` comes here by itself, on the
CPU, as long as the functions of the paper's equations are those that were compiled here (``usable``).

Letters as in :mod:`ntm.model`, and G = 4C gates of an LSTM layer (C units of a feedforward one), O = width of the
heads' projection. Memory lies here as (M,N), locations innermost, so that every loop over locations is one over
neighbouring numbers. In the comments d is "the loss's gradient with respect to".
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ntm import addressing, controller, heads, memory

try:
    import numba
except ImportError:
    numba = None


def _jit(freedom: Any) -> Any:
    """Compile with numba, which may use the named freedoms of arithmetic; nothing happens where numba is missing."""
    if not numba:
        return lambda function: function
    return numba.njit(fastmath=freedom, error_model="numpy", nogil=True, cache=True)


jit = _jit({"contract", "reassoc", "arcp", "nsz"})  # sums in any order; NaN and infinity as they are
jit_exact = _jit({"contract"})
jit_finite = _jit(True)


class Weights(NamedTuple):
    """The weights, each in the order in which the products want it: the side that a row of the result has innermost."""

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

    A layer sees K numbers: the inputs, then what comes from below (the reads, or the layer below), then, in an LSTM, its
    own last output. The large arrays, with N in them, have T+1 slots when a backward will come, else 2, used in turn.
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


class Shape(NamedTuple):
    """What the shapes of the arrays do not say, and the constants of the literal equations."""

    writers: int
    shifts: int
    inputs: int
    epsilon: Any
    tiny: Any
    most: Any


# Elementary functions, since numba has none that work on several numbers at once. Each is exact to a few units in the
# last place, and hands NaN on. Splitting x = k ln 2 + r with the bits of a float: adding MAGIC rounds k to a whole
# number and leaves it in the lowest bits.


def _exp(x): ...
def _log(x): ...


if numba:
    from numba import types
    from numba.extending import overload

    def _polynomials(dtype: type) -> tuple[Any, Any]:
        """exp and log for one type of float."""
        integer, bits, half, magic, terms, log_terms = {
            np.float32: (np.int32, 23, 127, 1.5 * 2**23, 7, 5),
            np.float64: (np.int64, 52, 1023, 1.5 * 2**52, 13, 11),
        }[dtype]
        shift, one_bits = integer(bits), integer(half << bits)
        magic, log2e, one, two = dtype(magic), dtype(np.log2(np.e)), dtype(1), dtype(2)
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
def multiply(out, source, weight):
    """out (B,J) += source (B,K or more) @ weight (K,J), eight rows of weight at a time while they are in the cache."""
    inner, width = weight.shape
    k = 0
    while k + 8 <= inner:
        w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        w4, w5, w6, w7 = weight[k + 4], weight[k + 5], weight[k + 6], weight[k + 7]
        for b in range(out.shape[0]):
            row, s = out[b], source[b]
            s0, s1, s2, s3 = s[k], s[k + 1], s[k + 2], s[k + 3]
            s4, s5, s6, s7 = s[k + 4], s[k + 5], s[k + 6], s[k + 7]
            for j in range(width):
                row[j] += (
                    (s0 * w0[j] + s1 * w1[j] + s2 * w2[j] + s3 * w3[j])
                    + (s4 * w4[j] + s5 * w5[j] + s6 * w6[j] + s7 * w7[j])
                )
        k += 8
    while k < inner:
        for b in range(out.shape[0]):
            add_scaled(out[b], weight[k], source[b, k])
        k += 1


@jit
def fill(row, value):
    """row = value."""
    for n in range(row.shape[0]):
        row[n] = value


@jit
def copy(out, row):
    """out = row."""
    for n in range(row.shape[0]):
        out[n] = row[n]


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
    sigmoid(gates[3 * units :])
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


# The heads. One order is [key M, beta 1, gate 1, shift S, gamma - 1: 1] for each head, [erase M, add M] for each writer.


@jit
def squash(order, heads, width, shifts, most):
    """The ranges of section 3.3, in place."""
    size, few = width + shifts + 3, np.empty(shifts, order.dtype)
    for h in range(heads):
        o = order[h * size : (h + 1) * size]
        tanh(o[:width])
        softplus(o[width : width + 1], most)
        sigmoid(o[width + 1 : width + 2])
        few[:] = o[width + 2 : width + 2 + shifts]
        softmax(o[width + 2 : width + 2 + shifts], few, order.dtype.type(1))
        softplus(o[width + 2 + shifts :], most)
    for start in range(heads * size, order.shape[0], 2 * width):
        sigmoid(order[start : start + width])
        tanh(order[start + width : start + 2 * width])


@jit
def squash_backward(grad, order, heads, width, shifts, most):
    """In place."""
    size = width + shifts + 3
    for h in range(heads):
        g, o = grad[h * size : (h + 1) * size], order[h * size : (h + 1) * size]
        tanh_backward(g[:width], o[:width])
        softplus_backward(g[width : width + 1], o[width : width + 1], most)
        sigmoid_backward(g[width + 1 : width + 2], o[width + 1 : width + 2])
        softmax_backward(g[width + 2 : width + 2 + shifts], o[width + 2 : width + 2 + shifts])
        softplus_backward(g[width + 2 + shifts :], o[width + 2 + shifts :], most)
    for start in range(heads * size, order.shape[0], 2 * width):
        sigmoid_backward(grad[start : start + width], order[start : start + width])
        tanh_backward(grad[start + width : start + 2 * width], order[start + width : start + 2 * width])


# Addressing. A ``ring`` is a row with its ends repeated on the other side, so that a circular shift is a plain one.


@jit
def close_ring(ring, locations, reach):
    """Repeat the ends."""
    for i in range(reach):
        ring[i] = ring[reach + (i - reach) % locations]
        ring[reach + locations + i] = ring[reach + i % locations]


@jit
def cosine_similarity(similarity, keys, memory, norm, epsilon):
    """Equation 6 for all heads: keys (H,M), memory (M,N), norm (N,) -> similarity (H,N)."""
    for h in range(keys.shape[0]):
        fill(similarity[h], 0)
    multiply(similarity, keys, memory)
    for h in range(keys.shape[0]):
        length, row = np.sqrt(dot(keys[h], keys[h])), similarity[h]
        for n in range(norm.shape[0]):
            row[n] /= length * norm[n] + epsilon


@jit
def cosine_similarity_backward(d_similarity, d_key, d_norm, similarity, key, norm, epsilon):
    """One head: d_similarity in place -> d of key times memory; adds to d_key (by the key's length) and to d_norm."""
    zero = norm.dtype.type(0)
    length = np.sqrt(dot(key, key))
    d_length = zero
    for n in range(norm.shape[0]):
        d = d_similarity[n] / (length * norm[n] + epsilon)
        d_similarity[n] = d
        d_length -= d * similarity[n] * norm[n]
        d_norm[n] -= d * similarity[n] * length
    if length > zero:
        add_scaled(d_key, key, d_length / length)


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
    last = weights.shape[0] - 1
    fill(shifted, 0)
    for s in range(weights.shape[0]):
        weight, start = weights[s], last - s
        for n in range(shifted.shape[0]):
            shifted[n] += weight * ring[start + n]


@jit
def shift_backward(d_gated, d_weights, d_ring, ring, weights, reach):
    """d of the shifted row, as a ring, -> d of the row before, and of the weights."""
    last = weights.shape[0] - 1
    fill(d_gated, 0)
    for s in range(weights.shape[0]):
        weight, start, total = weights[s], last - s, ring.dtype.type(0)
        for n in range(d_gated.shape[0]):
            d_gated[n] += weight * d_ring[s + n]
            total += d_ring[reach + n] * ring[start + n]
        d_weights[s] = total


@jit
def sharpen(weighting, shifted, gamma, tiny, logs):
    """Equation 9, as softmax(gamma log w); ``logs`` has room for N numbers."""
    for n in range(shifted.shape[0]):
        logs[n] = _log(tiny if shifted[n] < tiny else shifted[n])
    softmax(weighting, logs[: shifted.shape[0]], gamma)


@jit
def sharpen_backward(d_ring, grad, weighting, shifted, gamma, tiny, reach):
    """d of the weighting -> d of the shifted row, into a ring, and d of gamma."""
    zero = grad.dtype.type(0)
    mean, d_gamma = dot(grad, weighting), zero
    for n in range(grad.shape[0]):
        w = tiny if shifted[n] < tiny else shifted[n]
        d = weighting[n] * (grad[n] - mean)
        d_gamma += d * _log(w)
        d_ring[reach + n] = zero if shifted[n] < tiny else d * gamma / w
    close_ring(d_ring, grad.shape[0], reach)
    return d_gamma


# Reading and writing


@jit
def read(reads, memory, weighting):
    """Equation 2: memory (M,N), one head's weighting (N,) -> its read vector (M,)."""
    for m in range(memory.shape[0]):
        reads[m] = dot(memory[m], weighting)


@jit
def read_backward(d_memory, d_weighting, d_reads, memory, weighting):
    """Adds to both; d_reads (1,M), d_weighting (1,N)."""
    multiply(d_weighting, d_reads, memory)
    add(d_memory, weighting, d_reads[0])


@jit
def erase(new, old, weighting, vector):
    """Equation 3, one head: old (M,N) -> new (M,N)."""
    one = new.dtype.type(1)
    for m in range(new.shape[0]):
        for n in range(new.shape[1]):
            new[m, n] = old[m, n] * (one - weighting[n] * vector[m])


@jit
def erase_backward(d_memory, d_weighting, d_vector, old, weighting, vector):
    """d_memory in place: of the new memory -> of the old; adds to d_weighting, fills d_vector."""
    one = old.dtype.type(1)
    for m in range(old.shape[0]):
        total = old.dtype.type(0)
        for n in range(old.shape[1]):
            grad = d_memory[m, n]
            d = grad * old[m, n]
            total -= d * weighting[n]
            d_weighting[n] -= d * vector[m]
            d_memory[m, n] = grad * (one - weighting[n] * vector[m])
        d_vector[m] = total


@jit
def add(memory, weighting, vector):
    """Equation 4, one head, in place."""
    for m in range(memory.shape[0]):
        for n in range(memory.shape[1]):
            memory[m, n] += weighting[n] * vector[m]


@jit
def add_backward(d_weighting, d_vector, d_memory, weighting, vector):
    """Adds to d_weighting (1,N), fills d_vector (1,M); vector (1,M)."""
    multiply(d_weighting, vector, d_memory)
    read(d_vector[0], d_memory, weighting)


@jit
def norms(norm, memory):
    """The length of each row of memory, which is a column here: (M,N) -> (N,)."""
    fill(norm, 0)
    for m in range(memory.shape[0]):
        for n in range(norm.shape[0]):
            norm[n] += memory[m, n] * memory[m, n]
    for n in range(norm.shape[0]):
        norm[n] = np.sqrt(norm[n])


# A head's step, and a step's whole


@jit
def address(record, before, after, b, order, shape, keys, ring):
    """Equations 5 to 9 for one sequence: from slot ``before`` of the record to slot ``after``."""
    heads, width = keys.shape
    shifts = shape.shifts
    size, reach = width + shifts + 3, shifts // 2
    for h in range(heads):
        keys[h] = order[h * size : h * size + width]
    similarity = record.similarity[after, b]
    cosine_similarity(similarity, keys, record.memory[before, b], record.norm[before, b], shape.epsilon)
    for h in range(heads):
        o = order[h * size + width : (h + 1) * size]
        content, shifted = record.content[after, b, h], record.shifted[after, b, h]
        softmax(content, similarity[h], o[0])
        interpolate(ring, content, record.weighting[before, b, h], o[1], reach)
        shift(shifted, ring, o[2 : 2 + shifts])
        sharpen(record.weighting[after, b, h], shifted, o[2 + shifts] + order.dtype.type(1), shape.tiny, ring)


@jit
def address_backward(record, d, before, after, b, order, d_order, shape):
    """From d of the weightings after the step to d of those before it, of memory, and of the heads' orders."""
    heads, locations = record.weighting.shape[2:]
    width, shifts = record.memory.shape[2], shape.shifts
    size, reach, one = width + shifts + 3, shifts // 2, order.dtype.type(1)
    memory, d_memory, norm = record.memory[before, b], d.memory[b], record.norm[before, b]
    ring, d_ring = np.empty(locations + 2 * reach, order.dtype), np.empty(locations + 2 * reach, order.dtype)
    d_content, d_norm = np.empty((heads, locations), order.dtype), np.zeros(locations, order.dtype)
    for h in range(heads):
        o, d_o = order[h * size : (h + 1) * size], d_order[h * size : (h + 1) * size]
        beta, gate, gamma = o[width], o[width + 1], o[width + 2 + shifts] + one
        move, d_move = o[width + 2 : width + 2 + shifts], d_o[width + 2 : width + 2 + shifts]
        content, weighting_before = record.content[after, b, h], record.weighting[before, b, h]
        similarity, shifted, grad = record.similarity[after, b, h], record.shifted[after, b, h], d.weighting[b, h]
        interpolate(ring, content, weighting_before, gate, reach)
        d_o[width + 2 + shifts] = sharpen_backward(
            d_ring, grad, record.weighting[after, b, h], shifted, gamma, shape.tiny, reach
        )
        shift_backward(grad, d_move, d_ring, ring, move, reach)
        d_o[width + 1] = dot(grad, content) - dot(grad, weighting_before)
        d_similarity = d_content[h]
        for n in range(locations):
            d_similarity[n] = gate * grad[n]
            grad[n] *= one - gate
        softmax_backward(d_similarity, content)
        d_o[width] = dot(d_similarity, similarity)
        for n in range(locations):
            d_similarity[n] *= beta
        d_o[:width] = 0
        cosine_similarity_backward(d_similarity, d_o[:width], d_norm, similarity, o[:width], norm, shape.epsilon)
    for n in range(locations):
        d_norm[n] = d_norm[n] / norm[n] if norm[n] > 0 else norm[n]
    for m in range(width):
        for n in range(locations):
            d_memory[m, n] += memory[m, n] * d_norm[n]
    for h in range(heads):
        for m in range(width):
            d_order[h * size + m] += dot(d_content[h], memory[m])
        add(d_memory, d_content[h], order[h * size : h * size + width])


@jit
def write_and_read(record, before, after, b, order, reads, writers):
    """Equations 3 and 4, then 2, for one sequence."""
    old, memory, weighting = record.memory[before, b], record.memory[after, b], record.weighting[after, b]
    width, readers = memory.shape[0], weighting.shape[0] - writers
    first = order.shape[0] - writers * 2 * width
    for h in range(writers):
        start = first + 2 * width * h
        erase(memory, old if h == 0 else memory, weighting[readers + h], order[start : start + width])
    for h in range(writers):
        start = first + 2 * width * h + width
        add(memory, weighting[readers + h], order[start : start + width])
    norms(record.norm[after, b], memory)
    for r in range(readers):
        read(reads[r * width : (r + 1) * width], memory, weighting[r])


@jit
def write_and_read_backward(record, d, t, b, order, d_order, d_reads, writers, erased):
    """d of memory in place: after the write -> before it. ``erased`` (W,M,N) has room for what each writer erases."""
    old, memory, weighting = record.memory[t, b], record.memory[t + 1, b], record.weighting[t + 1, b]
    d_memory, d_weighting = d.memory[b], d.weighting[b]
    width, readers = memory.shape[0], weighting.shape[0] - writers
    first = order.shape[0] - writers * 2 * width
    for r in range(readers):
        part = d_reads[r * width : (r + 1) * width].reshape(1, width)
        read_backward(d_memory, d_weighting[r : r + 1], part, memory, weighting[r])
    for h in range(writers):
        start = first + 2 * width * h + width
        vector, d_vector = order[start : start + width], d_order[start : start + width]
        w, d_w = weighting[readers + h], d_weighting[readers + h : readers + h + 1]
        add_backward(d_w, d_vector.reshape(1, width), d_memory, w, vector.reshape(1, width))
        if h > 0:
            start = first + 2 * width * (h - 1)
            erase(erased[h], old if h == 1 else erased[h - 1], weighting[readers + h - 1], order[start : start + width])
    for h in range(writers - 1, -1, -1):
        start = first + 2 * width * h
        vector, d_vector = order[start : start + width], d_order[start : start + width]
        d_w = d_weighting[readers + h]
        erase_backward(d_memory, d_w, d_vector, erased[h] if h else old, weighting[readers + h], vector)


@jit
def run(first, last, weights, record, shape):
    """All steps, for the sequences from ``first`` to ``last`` of the batch."""
    layers, steps, sees = record.seen.shape[0], record.gates.shape[1], record.seen.shape[3]
    slots, _, width, locations = record.memory.shape
    heads, units, dtype = record.weighting.shape[2], weights.heads.shape[1], record.gates.dtype
    lstm = record.cell.shape[0] > 0
    keys, ring = np.empty((heads, width), dtype), np.empty(locations + shape.shifts - 1, dtype)
    for b in range(first, last):
        norms(record.norm[0, b], record.memory[0, b])
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
                    copy(record.seen[layer, t + 1, b, sees - units :], hidden)
                else:
                    tanh(gates)
                    copy(hidden, gates)
                if layer + 1 < layers:
                    copy(record.seen[layer + 1, t, b, shape.inputs :], hidden)
        for b in range(first, last):
            copy(record.orders[t, b], weights.heads_bias)
        multiply(record.orders[t, first:last], record.features[t, first:last], weights.heads_t)
        for b in range(first, last):
            order, features = record.orders[t, b], record.features[t, b]
            squash(order, heads, width, shape.shifts, shape.most)
            address(record, before, after, b, order, shape, keys, ring)
            write_and_read(record, before, after, b, order, features[units:], shape.writers)
            copy(record.seen[0, t + 1, b, shape.inputs :], features[units:])
            for y in range(weights.output.shape[0]):
                record.logits[t, b, y] = weights.output_bias[y] + dot(weights.output[y], features)


@jit
def run_backward(first, last, weights, record, d, shape):
    """All steps from the last to the first."""
    layers, steps, sees = record.seen.shape[0], record.gates.shape[1], record.seen.shape[3]
    heads, width = record.weighting.shape[2], record.memory.shape[2]
    units, dtype = weights.heads.shape[1], record.gates.dtype
    lstm = record.cell.shape[0] > 0
    erased = np.empty((shape.writers, *record.memory.shape[2:]), dtype)
    d_features, squashed = np.empty(record.features.shape[1:], dtype), np.empty(units, dtype)
    d_hidden = np.empty((record.features.shape[1], units), dtype)
    for t in range(steps - 1, -1, -1):
        for b in range(first, last):
            fill(d_features[b], 0)
        multiply(d_features[first:last], d.logits[t, first:last], weights.output)
        for b in range(first, last):
            order, d_order = record.orders[t, b], d.orders[t, b]
            d_reads = d_features[b, units:]
            for i in range(d_reads.shape[0]):
                d_reads[i] += d.seen[0, b, shape.inputs + i]
            copy(d_hidden[b], d_features[b, :units])
            write_and_read_backward(record, d, t, b, order, d_order, d_reads, shape.writers, erased)
            address_backward(record, d, t, t + 1, b, order, d_order, shape)
            squash_backward(d_order, order, heads, width, shape.shifts, shape.most)
        multiply(d_hidden[first:last], d.orders[t, first:last], weights.heads)
        for layer in range(layers - 1, -1, -1):
            for b in range(first, last):
                grad, seen, gates = d.gates[layer, t, b], d.seen[layer, b], record.gates[layer, t, b]
                if lstm:
                    cell, before = record.cell[layer, t + 1, b], record.cell[layer, t, b]
                    for c in range(units):
                        d_hidden[b, c] += seen[sees - units + c]
                    lstm_cell_backward(grad, d_hidden[b], d.cell[layer, b], gates, cell, before, squashed)
                else:
                    copy(grad, d_hidden[b])
                    tanh_backward(grad, gates)
                fill(seen, 0)
            multiply(d.seen[layer, first:last], d.gates[layer, t, first:last], weights.layers[layer])
            for b in range(first, last):
                if layer > 0:
                    copy(d_hidden[b], d.seen[layer, b, shape.inputs : shape.inputs + units])
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
                nats = max(x, zero) - x * z + dtype(math.log1p(e))
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
def learn(first, last, weights, record, d, shape, targets, mask, weight, huber, sums):
    """Forward, loss and backward of a batch's sequences."""
    run(first, last, weights, record, shape)
    losses(first, last, record, d, targets, mask, weight, huber, sums)
    run_backward(first, last, weights, record, d, shape)


# Optimisers, over all parameters in one row


@jit
def clip(grad, by_norm, at):
    """In place: bound the norm of the whole or each number; returns the norm before."""
    norm = np.sqrt(dot(grad, grad))
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
def adam(theta, grad, mean, square, rate, beta_1, beta_2, epsilon, correction):
    """Kingma and Ba (2015) as torch has it: rate = learning rate / (1 - beta_1^k), correction = sqrt(1 - beta_2^k)."""
    one = grad.dtype.type(1)
    for i in range(theta.shape[0]):
        mean[i] += (one - beta_1) * (grad[i] - mean[i])
        square[i] = beta_2 * square[i] + (one - beta_2) * grad[i] * grad[i]
        theta[i] -= rate * mean[i] / (np.sqrt(square[i]) / correction + epsilon)


@jit
def graves_rmsprop(theta, grad, square, mean, delta, rate, decay, momentum, epsilon):
    """Graves (2013), equations 38 to 45."""
    one = grad.dtype.type(1)
    for i in range(theta.shape[0]):
        square[i] += (one - decay) * (grad[i] * grad[i] - square[i])
        mean[i] += (one - decay) * (grad[i] - mean[i])
        delta[i] = momentum * delta[i] - rate * grad[i] / np.sqrt(square[i] - mean[i] * mean[i] + epsilon)
        theta[i] += delta[i]


# For torch


class Lease:
    """A buffer cut into arrays; when nobody refers to it any longer, the next one may have the same memory.

    Pages that the system has to hand out anew cost more time than filling them. A second forward before the first
    one's backward gets memory of its own.
    """

    KEPT, LARGEST = 4, 2**28  # buffers kept for the next ones, and bytes of the largest to keep
    free: ClassVar[list[Tensor]] = []

    def __init__(self, dtype: torch.dtype, shapes: dict[str, tuple[int, ...]]) -> None:
        align = 64 // dtype.itemsize
        ends = np.cumsum([-(-math.prod(shape) // align) * align for shape in shapes.values()])
        found = None
        for i, buffer in enumerate(self.free):
            if buffer.dtype == dtype and ends[-1] <= len(buffer):
                found = self.free.pop(i)
                break
        self.buffer = torch.empty(int(ends[-1]), dtype=dtype) if found is None else found
        parts = zip(shapes.items(), ends.tolist(), strict=True)
        self.arrays = {}
        start, flat = 0, self.buffer.numpy()
        for (name, shape), end in parts:
            self.arrays[name] = flat[start : start + math.prod(shape)].reshape(shape)
            start = end

    def __del__(self) -> None:
        if self.buffer.nbytes <= self.LARGEST:
            self.free.append(self.buffer)
            self.free.sort(key=len)
            del self.free[: -self.KEPT]


@cache
def _helpers() -> ThreadPoolExecutor:
    """Threads beside the caller's own."""
    return ThreadPoolExecutor(os.cpu_count() or 1, "ntm-engine")


os.register_at_fork(after_in_child=_helpers.cache_clear)  # a forked process has the executor, but not its threads


def _shared(threads: int, kernel: Any, batch: int, *arguments: Any) -> None:
    """Run a kernel over all sequences, shared among torch's number of threads; each sequence as if it were alone."""
    threads = min(threads, batch)
    bounds = [batch * i // threads for i in range(threads + 1)]
    parts = zip(bounds[1:], bounds[2:], strict=False)
    others = [_helpers().submit(_flushed, kernel, first, last, *arguments) for first, last in parts]
    _flushed(kernel, 0, bounds[1], *arguments)
    for other in others:
        other.result()


def _flushed(kernel: Any, *arguments: Any) -> None:
    """Run a kernel with denormal numbers taken as 0: arithmetic with them is some fifty times as slow."""
    flushes = bool(np.float32(1e-45) * np.float32(1) == 0)
    torch.set_flush_denormal(True)
    kernel(*arguments)
    torch.set_flush_denormal(flushes)


class Sizes(NamedTuple):
    """Of a machine (letters as above), from its configuration."""

    X: int
    Y: int
    C: int
    L: int
    M: int
    R: int
    W: int
    S: int
    lstm: bool

    @property
    def below(self) -> int:
        """Places for what comes from below in what a layer sees."""
        return max(self.R * self.M, self.C) if self.L > 1 else self.R * self.M

    @property
    def K(self) -> int:  # noqa: N802 (a letter of the glossary)
        """What a layer sees."""
        return self.X + self.below + (self.C if self.lstm else 0)

    @property
    def G(self) -> int:  # noqa: N802
        """Gates of a layer."""
        return 4 * self.C if self.lstm else self.C

    @property
    def O(self) -> int:  # noqa: E743, N802
        """Orders of all heads."""
        return (self.R + self.W) * (self.M + self.S + 3) + 2 * self.W * self.M

    def weights(self) -> dict[str, tuple[int, ...]]:
        """The shapes of Weights."""
        features = self.C + self.R * self.M
        shapes = [(self.L, self.G, self.K), (self.L, self.K, self.G), (self.L, self.G)]
        shapes += [(self.O, self.C), (self.C, self.O), (self.O,), (self.Y, features), (self.Y,)]
        return dict(zip(Weights._fields, shapes, strict=True))

    def record(self, steps: int, batch: int, locations: int, keep: bool) -> dict[str, tuple[int, ...]]:
        """The shapes of a Record."""
        slots, layers, features = steps + 1 if keep else 2, self.L, self.C + self.R * self.M
        shapes = [(layers, steps + 1, batch, self.K), (layers, steps, batch, self.G)]
        shapes += [(layers if self.lstm else 0, steps + 1, batch, self.C), (steps, batch, features)]
        shapes += [(steps, batch, self.Y), (steps, batch, self.O), (slots, batch, locations)]
        shapes += [(slots, batch, self.R + self.W, locations)] * 4 + [(slots, batch, self.M, locations)]
        return dict(zip(Record._fields, shapes, strict=True))

    def gradients(self, steps: int, batch: int, locations: int) -> dict[str, tuple[int, ...]]:
        """The shapes of Gradients."""
        shapes = [(steps, batch, self.Y), (self.L, batch, self.K), (self.L if self.lstm else 0, batch, self.C)]
        shapes += [(batch, self.R + self.W, locations), (batch, self.M, locations), (steps, batch, self.X)]
        shapes += [(self.L, steps, batch, self.G), (steps, batch, self.O)]
        return dict(zip(Gradients._fields, shapes, strict=True))

    def shape(self, dtype: torch.dtype) -> Shape:
        """Constants as numbers of the type computed with."""
        number = np.float32 if dtype == torch.float32 else np.float64
        constants = (addressing.SIMILARITY_EPSILON, torch.finfo(dtype).tiny, heads.LARGEST_STRENGTH)
        return Shape(self.W, self.S, self.X, *map(number, constants))

    def fill_weights(self, weights: Weights, parameters: list[Tensor]) -> None:
        """From a model's parameters (heads' and output's weight and bias, then each layer's) to ``weights``."""
        heads_weight, heads_bias, output, output_bias, *layers = (parameter.detach() for parameter in parameters)
        if self.L > 1:
            weights.layers[:] = 0
        for i in range(self.L):
            if self.lstm:
                from_below, own, bias, bias_too = layers[4 * i : 4 * i + 4]
                weights.layers[i, :, -self.C :] = own.numpy()
                weights.bias[i] = (bias + bias_too).numpy()
            else:
                from_below, bias = layers[2 * i : 2 * i + 2]
                weights.bias[i] = bias.numpy()
            start = self.X if i else 0
            weights.layers[i, :, start : start + from_below.shape[1]] = from_below.numpy()
        weights.layers_t[:] = weights.layers.transpose(0, 2, 1)
        weights.heads[:] = heads_weight.numpy()
        weights.heads_t[:] = weights.heads.T
        weights.heads_bias[:], weights.output[:], weights.output_bias[:] = heads_bias, output, output_bias

    def fill_start(self, record: Record, inputs: Tensor, state: list[Tensor]) -> None:
        """The inputs, and the state before the first step, into a record."""
        hidden, cell, reads, weighting, memory = (value.detach().numpy() for value in state)
        if self.L > 1:
            record.seen[:] = 0
        record.seen[0, :-1, :, : self.X] = inputs.detach().numpy()
        record.seen[0, 0, :, self.X : self.X + self.R * self.M] = reads.reshape(len(reads), -1)
        if self.lstm:
            record.seen[:, 0, :, -self.C :], record.cell[:, 0] = hidden, cell
        record.weighting[0] = weighting
        record.memory[0] = memory.transpose(0, 2, 1)

    def of_state(self, d: Gradients) -> tuple[np.ndarray, ...]:
        """d of hidden, cell, reads, weighting and memory, as views into what is carried."""
        d_reads = d.seen[0, :, self.X : self.X + self.R * self.M].reshape(-1, self.R, self.M)
        d_hidden = d.seen[:, :, self.K - self.C :] if self.lstm else d.seen[:, :, :0]
        return d_hidden, d.cell, d_reads, d.weighting, d.memory.transpose(0, 2, 1)

    def weight_gradients(self, record: Record, d: Gradients, out: list[Tensor]) -> None:
        """One product each over all steps of all sequences, in the order of ``fill_weights``."""
        orders, logits = torch.from_numpy(d.orders).flatten(0, 1), torch.from_numpy(d.logits).flatten(0, 1)
        features = torch.from_numpy(record.features).flatten(0, 1)
        torch.mm(orders.t(), features[:, : self.C], out=out[0])
        torch.sum(orders, 0, out=out[1])
        torch.mm(logits.t(), features, out=out[2])
        torch.sum(logits, 0, out=out[3])
        each = 4 if self.lstm else 2
        for i in range(self.L):
            from_below, *others = out[4 + each * i : 4 + each * (i + 1)]
            gates, seen = torch.from_numpy(d.gates[i]).flatten(0, 1), torch.from_numpy(record.seen[i, :-1]).flatten(0, 1)
            start = self.X if i else 0
            torch.mm(gates.t(), seen[:, start : start + from_below.shape[1]], out=from_below)
            if self.lstm:
                torch.mm(gates.t(), seen[:, -self.C :], out=others[0])
            for bias in others[-1:] if not self.lstm else others[1:]:
                torch.sum(gates, 0, out=bias)


class Sequence(torch.autograd.Function):
    """Inputs, state and parameters -> logits, and the state after the last step."""

    @staticmethod
    def forward(ctx: Any, keep: bool, sizes: Sizes, inputs: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """``tensors``: hidden, cell, reads, weighting, memory, then parameters in the order of ``fill_weights``."""
        (steps, batch, _), locations = inputs.shape, tensors[3].shape[2]
        of_weights = Lease(inputs.dtype, sizes.weights())
        of_record = Lease(inputs.dtype, sizes.record(steps, batch, locations, keep))
        weights, record = Weights(**of_weights.arrays), Record(**of_record.arrays)
        sizes.fill_weights(weights, list(tensors[5:]))
        sizes.fill_start(record, inputs, list(tensors[:5]))
        _shared(torch.get_num_threads(), run, batch, weights, record, sizes.shape(inputs.dtype))
        end = steps % len(record.memory)
        after = [
            record.seen[:, -1, :, sizes.K - sizes.C :] if sizes.lstm else record.seen[:, -1, :, :0],
            record.cell[:, -1],
            record.features[-1, :, sizes.C :].reshape(batch, sizes.R, sizes.M),
            record.weighting[end],
            record.memory[end],
        ]
        logits, *others, memory = (torch.from_numpy(value.copy()) for value in (record.logits, *after))
        if keep:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(inputs, *tensors)  # for torch's check that nothing was changed in place
            ctx.sizes, ctx.leases, ctx.weights, ctx.record = sizes, (of_weights, of_record), weights, record
        return logits, *others, memory.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_logits: Tensor | None, *d_after: Tensor | None) -> tuple[Tensor | None, ...]:
        """d of all tensors that went into ``forward``."""
        inputs, *tensors = ctx.saved_tensors
        sizes, record, weights = ctx.sizes, ctx.record, ctx.weights
        steps, batch, _ = inputs.shape
        lease = Lease(inputs.dtype, sizes.gradients(steps, batch, record.memory.shape[3]))
        d = Gradients(**lease.arrays)
        for array in d[:5]:
            array[:] = 0
        for given, array in zip((d_logits, *d_after), (d.logits, *sizes.of_state(d)), strict=True):
            if given is not None:
                array[:] = given.numpy()
        _shared(torch.get_num_threads(), run_backward, batch, weights, record, d, sizes.shape(inputs.dtype))
        asked = zip((d.inputs, *sizes.of_state(d)), ctx.needs_input_grad[2:8], strict=True)
        d_state = [torch.from_numpy(value.copy()) if needed else None for value, needed in asked]
        grads = [torch.empty_like(parameter) for parameter in tensors[5:]]
        sizes.weight_gradients(record, d, grads)
        return None, None, *d_state, *grads


# The functions whose equations are compiled here. Where one of them is replaced, the literal model runs instead.
_COMPILED = [
    (place, name, getattr(place, name))
    for place, names in {
        addressing: ("cosine_similarity", "content_weighting", "interpolate", "shift", "sharpen"),
        memory: ("read", "apply_erase", "apply_add", "write"),
        controller.LSTM: ("forward",),
        controller.Feedforward: ("forward",),
        heads.Heads: ("forward",),
    }.items()
    for name in names
]


def serves(model: nn.Module) -> bool:
    """Whether the engine computes what the literal model would: on the CPU, with the equations as they are."""
    weight = model.output.weight
    return (
        numba is not None
        and weight.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.float64)
        and all(getattr(place, name) is function for place, name, function in _COMPILED)
        and type(model.controller) in (controller.LSTM, controller.Feedforward)
        and type(model.heads) is heads.Heads
        and not torch._C._are_functorch_transforms_active()
    )


def forward(model: nn.Module, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    """What the literal ``model(inputs, state)`` returns."""
    keep = torch.is_grad_enabled()
    sizes, tensors = sizes_of(model), [*flat_state(state), *parameters_of(model)]
    logits, hidden, cell, *others = Sequence.apply(keep, sizes, inputs, *tensors)
    return logits, type(state)((hidden, cell) if sizes.lstm else (), *others)


class Costs(NamedTuple):
    """Of one batch: the loss, the mean cost per sequence, and the norm of the gradient before clipping."""

    loss: float
    bits_per_sequence: float
    wrong_bits: float
    norm: float


class Step:
    """A whole training step compiled: forward, loss, backward, clipping, optimiser; for small batches above all.

    The model's parameters, their gradients and the optimiser's state stay where they were for everybody else, but
    become views into one row each.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, huber: bool, clip_norm: bool, clip_at: float):
        self.model, self.sizes, self.huber, self.clip_norm = model, sizes_of(model), huber, clip_norm
        self.parameters = parameters_of(model)
        everything = [*self.parameters, model.initial_reads]
        if self.sizes.lstm:
            everything += [model.controller.initial_hidden, model.controller.initial_cell]
        self.start = everything[len(self.parameters) :]
        self.optimizer = optimizer
        self.theta, views = _one_row(everything)
        self.grad, self.grads = _one_row([torch.zeros_like(p) for p in everything])
        for parameter, view, grad in zip(everything, views, self.grads, strict=True):
            parameter.data, parameter.grad = view, grad
        self.is_adam = isinstance(optimizer, torch.optim.Adam)
        names = ("exp_avg", "exp_avg_sq") if self.is_adam else ("square", "mean", "delta")
        self.moments = []
        for name in names:
            row, views = _one_row([optimizer.state[p].get(name, torch.zeros_like(p)) for p in everything])
            self.moments.append(row.numpy())
            for parameter, view in zip(everything, views, strict=True):
                optimizer.state[parameter][name] = view
        if self.is_adam:
            self.count = torch.tensor([float(optimizer.state[p].get("step", 0)) for p in everything])
            for parameter, count in zip(everything, self.count.unbind(), strict=True):
                optimizer.state[parameter]["step"] = count
        self.weights_lease = Lease(self.theta.dtype, self.sizes.weights())
        self.weights = Weights(**self.weights_lease.arrays)
        self.shape = self.sizes.shape(self.theta.dtype)
        self.number = np.float32 if self.theta.dtype == torch.float32 else np.float64
        self.clip_at = self.number(clip_at)

    def __call__(self, inputs: Tensor, targets: Tensor, mask: Tensor, rate: float) -> Costs:
        """One update with this learning rate; none if the gradient's norm is not finite."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # torch's own threads go on spinning for milliseconds after a product
        try:
            return self.run(threads, inputs, targets, mask, rate)
        finally:
            torch.set_num_threads(threads)

    def run(self, threads, inputs, targets, mask, rate):
        (steps, batch, _), sizes, number = inputs.shape, self.sizes, self.number
        state = self.model.initial_state(batch)
        locations = state.memory.shape[1]
        lease = Lease(inputs.dtype, sizes.record(steps, batch, locations, True) | {"sums": (batch, 3)})
        d_lease = Lease(inputs.dtype, sizes.gradients(steps, batch, locations))
        sums = lease.arrays.pop("sums")
        record, d = Record(**lease.arrays), Gradients(**d_lease.arrays)
        sizes.fill_weights(self.weights, self.parameters)
        sizes.fill_start(record, inputs, flat_state(state))
        for carried in d[1:5]:
            carried[:] = 0
        bits = float(mask.sum()) * sizes.Y
        weight = np.array([1 / bits], number)
        _shared(threads, learn, batch, self.weights, record, d, self.shape, targets.numpy(), mask.numpy(), weight, self.huber, sums)
        sizes.weight_gradients(record, d, self.grads[: len(self.parameters)])
        d_hidden, d_cell, d_reads, _, _ = sizes.of_state(d)
        for grad, of in zip(self.grads[len(self.parameters) :], (d_reads, d_hidden, d_cell), strict=False):
            grad.numpy()[:] = of.sum(axis=0 if of is d_reads else 1, keepdims=True)
        norm = float(clip(self.grad.numpy(), self.clip_norm, self.clip_at))
        loss, nats, wrong = sums.sum(axis=0).tolist()
        if math.isfinite(norm) and math.isfinite(loss):
            self.update(rate)
        return Costs(loss / bits, nats / math.log(2) / batch, wrong / batch, norm)

    def update(self, rate: float) -> None:
        number, theta, grad = self.number, self.theta.numpy(), self.grad.numpy()
        if self.is_adam:
            self.count += 1
            group = self.optimizer.param_groups[0]
            (beta_1, beta_2), k = group["betas"], float(self.count[0])
            terms = (rate / (1 - beta_1**k), beta_1, beta_2, group["eps"], math.sqrt(1 - beta_2**k))
            adam(theta, grad, *self.moments, *map(number, terms))
        else:
            o = self.optimizer
            graves_rmsprop(theta, grad, *self.moments, *map(number, (rate, o.DECAY, o.MOMENTUM, o.EPSILON)))


def _one_row(tensors: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """All numbers in one row, and views into it in the tensors' shapes."""
    row = torch.cat([t.detach().flatten() for t in tensors])
    parts = row.split([t.numel() for t in tensors])
    return row, [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]


def sizes_of(model: nn.Module) -> Sizes:
    c = model.config
    return Sizes(c.inputs, c.outputs, c.hidden, c.layers, c.width, c.read_heads, c.write_heads, c.shifts, c.controller == "lstm")


def parameters_of(model: nn.Module) -> list[Tensor]:
    """In the order of ``Sizes.fill_weights``."""
    projection, output = model.heads.projection, model.output
    if model.config.controller == "lstm":
        layers = [p for c in model.controller.cells for p in (c.weight_ih, c.weight_hh, c.bias_ih, c.bias_hh)]
    else:
        layers = [p for layer in model.controller.layers for p in (layer.weight, layer.bias)]
    return [projection.weight, projection.bias, output.weight, output.bias, *layers]


def flat_state(state: Any) -> list[Tensor]:
    """A model's State as hidden, cell (both empty for a feedforward controller), reads, weighting, memory."""
    if state.controller:
        return [*state.controller, *state[1:]]
    batch = state.reads.shape[0]
    return [state.reads.new_empty(0, batch, 0), state.reads.new_empty(0, batch, 0), *state[1:]]
