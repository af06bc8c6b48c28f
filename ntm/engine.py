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
from torch import Tensor
from torch.autograd.function import once_differentiable

from ntm import addressing, heads

try:
    import numba
except ImportError:
    numba = None


def _jit(freedom: Any) -> Any:
    """Compile with numba, which may use the named freedoms of arithmetic; nothing happens where numba is missing."""
    if not numba:
        return lambda function: function
    return numba.njit(fastmath=freedom, error_model="numpy", nogil=True, cache=False)


jit = _jit({"contract", "reassoc", "arcp", "nsz"})  # sums in any order; NaN and infinity as they are
jit_exact = _jit({"contract"})
jit_finite = _jit(True)


class Weights(NamedTuple):
    """The weights in the recurrence, as the products want them: the side that a row of the result has innermost."""

    layers: np.ndarray  # (L,K,G) from what a layer sees, beside the inputs
    heads: np.ndarray  # (C,O)


class Record(NamedTuple):
    """What the steps leave behind. Slot t of what has T+1 is the state before step t, slot t+1 the state after it.

    A layer sees (K,): the reads, or the layer below, in the first K - C places; then, in an LSTM, its own last output.
    The large arrays, with N in them, have T+1 slots when a backward will come, else 2, used in turn.
    """

    gates: np.ndarray  # (L,T,B,G) what the inputs and biases give them at first, then the gates
    seen: np.ndarray  # (L,T+1,B,K)
    hidden: np.ndarray  # (T+1,B,C) of the highest layer
    cell: np.ndarray  # (L,T+1,B,C); (0,T+1,B,C) for the feedforward controller
    orders: np.ndarray  # (T,B,O) the biases at first; then key, beta, gate, shift, gamma - 1 of each head, erase, add
    norm: np.ndarray  # (T+1,B,N) of each row of memory
    similarity: np.ndarray  # (T+1,B,H,N) equation 6
    content: np.ndarray  # (T+1,B,H,N) equation 5
    shifted: np.ndarray  # (T+1,B,H,N) equation 8
    weighting: np.ndarray  # (T+1,B,H,N) equation 9
    memory: np.ndarray  # (T+1,B,M,N)


class Gradients(NamedTuple):
    """d of what the backward is given, carries from step to step, and leaves behind."""

    features: np.ndarray  # (T,B,C+R*M) given: d of what the output layer sees, the highest hidden and the reads
    seen: np.ndarray  # (L,B,K) carried: d of the state after a step, then before it
    cell: np.ndarray  # (L,B,C) or (0,B,C)
    weighting: np.ndarray  # (B,H,N)
    memory: np.ndarray  # (B,M,N)
    gates: np.ndarray  # (L,T,B,G) left behind: d of the gates' inputs
    orders: np.ndarray  # (T,B,O) d of the heads' projection


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
    """out (B,J) += source (B,K) @ weight (K,J), eight rows of weight at a time while they are in the nearest cache."""
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
def address(record, before, after, b, order, shifts, keys, ring, epsilon, tiny):
    """Equations 5 to 9 for one sequence: from slot ``before`` of the record to slot ``after``."""
    heads, width = keys.shape
    size, reach = width + shifts + 3, shifts // 2
    for h in range(heads):
        keys[h] = order[h * size : h * size + width]
    similarity = record.similarity[after, b]
    cosine_similarity(similarity, keys, record.memory[before, b], record.norm[before, b], epsilon)
    for h in range(heads):
        o = order[h * size + width : (h + 1) * size]
        content, shifted = record.content[after, b, h], record.shifted[after, b, h]
        softmax(content, similarity[h], o[0])
        interpolate(ring, content, record.weighting[before, b, h], o[1], reach)
        shift(shifted, ring, o[2 : 2 + shifts])
        sharpen(record.weighting[after, b, h], shifted, o[2 + shifts] + order.dtype.type(1), tiny, ring)


@jit
def address_backward(record, d, before, after, b, order, d_order, shifts, epsilon, tiny):
    """From d of the weightings after the step to d of those before it, of memory, and of the heads' orders."""
    heads, locations = record.weighting.shape[2:]
    width = record.memory.shape[2]
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
            d_ring, grad, record.weighting[after, b, h], shifted, gamma, tiny, reach
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
        cosine_similarity_backward(d_similarity, d_o[:width], d_norm, similarity, o[:width], norm, epsilon)
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
def write_and_read(record, before, after, t, b, order, writers):
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
        read(record.seen[0, t + 1, b, r * width : (r + 1) * width], memory, weighting[r])


@jit
def write_and_read_backward(record, d, t, b, order, d_order, writers, erased):
    """d of memory in place: after the write -> before it. ``erased`` (W,M,N) has room for what each writer erases."""
    old, memory, weighting = record.memory[t, b], record.memory[t + 1, b], record.weighting[t + 1, b]
    d_memory, d_weighting, d_reads = d.memory[b], d.weighting[b], d.seen[0, b]
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
def run(first, last, weights, record, writers, shifts, epsilon, tiny, most):
    """All steps, for the sequences from ``first`` to ``last`` of the batch."""
    layers, steps = record.gates.shape[:2]
    slots, _, width, locations = record.memory.shape
    heads, units, dtype = record.weighting.shape[2], record.hidden.shape[2], record.gates.dtype
    lstm, own = record.cell.shape[0] > 0, record.seen.shape[3] - units
    keys, ring = np.empty((heads, width), dtype), np.empty(locations + shifts - 1, dtype)
    for b in range(first, last):
        norms(record.norm[0, b], record.memory[0, b])
    for t in range(steps):
        before, after = t % slots, (t + 1) % slots
        for layer in range(layers):
            multiply(record.gates[layer, t, first:last], record.seen[layer, t, first:last], weights.layers[layer])
            for b in range(first, last):
                gates, hidden = record.gates[layer, t, b], record.hidden[t + 1, b]
                if lstm:
                    lstm_cell(gates, hidden, record.cell[layer, t + 1, b], record.cell[layer, t, b])
                    copy(record.seen[layer, t + 1, b, own:], hidden)
                else:
                    tanh(gates)
                    copy(hidden, gates)
                if layer + 1 < layers:
                    copy(record.seen[layer + 1, t, b], hidden)
        multiply(record.orders[t, first:last], record.hidden[t + 1, first:last], weights.heads)
        for b in range(first, last):
            order = record.orders[t, b]
            squash(order, heads, width, shifts, most)
            address(record, before, after, b, order, shifts, keys, ring, epsilon, tiny)
            write_and_read(record, before, after, t, b, order, writers)


@jit
def run_backward(first, last, weights, record, d, writers, shifts, epsilon, tiny, most):
    """All steps from the last to the first; ``weights`` are transposed."""
    layers, steps = record.gates.shape[:2]
    heads, width = record.weighting.shape[2], record.memory.shape[2]
    units, dtype = record.hidden.shape[2], record.gates.dtype
    lstm, own, reads = record.cell.shape[0] > 0, record.seen.shape[3] - units, (heads - writers) * width
    erased = np.empty((writers, *record.memory.shape[2:]), dtype)
    d_hidden, squashed = np.empty((record.hidden.shape[1], units), dtype), np.empty(units, dtype)
    for t in range(steps - 1, -1, -1):
        for b in range(first, last):
            order, d_order = record.orders[t, b], d.orders[t, b]
            for i in range(reads):
                d.seen[0, b, i] += d.features[t, b, units + i]
            copy(d_hidden[b], d.features[t, b, :units])
            write_and_read_backward(record, d, t, b, order, d_order, writers, erased)
            address_backward(record, d, t, t + 1, b, order, d_order, shifts, epsilon, tiny)
            squash_backward(d_order, order, heads, width, shifts, most)
        multiply(d_hidden[first:last], d.orders[t, first:last], weights.heads)
        for layer in range(layers - 1, -1, -1):
            for b in range(first, last):
                grad, seen, gates = d.gates[layer, t, b], d.seen[layer, b], record.gates[layer, t, b]
                if lstm:
                    cell, before = record.cell[layer, t + 1, b], record.cell[layer, t, b]
                    for c in range(units):
                        d_hidden[b, c] += seen[own + c]
                    lstm_cell_backward(grad, d_hidden[b], d.cell[layer, b], gates, cell, before, squashed)
                else:
                    copy(grad, d_hidden[b])
                    tanh_backward(grad, gates)
                fill(seen, 0)
            multiply(d.seen[layer, first:last], d.gates[layer, t, first:last], weights.layers[layer])
            if layer > 0:
                for b in range(first, last):
                    copy(d_hidden[b], d.seen[layer, b, :units])


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


def _shared(kernel: Any, batch: int, *arguments: Any) -> None:
    """Run a kernel over all sequences, shared among torch's number of threads; each sequence as if it were alone."""
    threads = min(torch.get_num_threads(), batch)
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


class Sequence(torch.autograd.Function):
    """Inputs, state and weights -> what the output layer sees, and the state after the last step."""

    @staticmethod
    def forward(ctx: Any, keep: bool, writers: int, shifts: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        """``tensors``: inputs, hidden, cell, reads, weighting, memory, heads' weight and bias, and each layer's."""
        inputs, hidden, cell, reads, weighting, memory, heads_weight, heads_bias, *layers = (
            tensor.detach() for tensor in tensors
        )
        (steps, batch, channels), (count, _, units), (_, locations, width) = inputs.shape, hidden.shape, memory.shape
        lstm, read_width, slots = len(cell) > 0, reads[0].numel(), steps + 1 if keep else 2
        below = max(read_width, units) if count > 1 else read_width
        gates_width, sees = len(layers[0]), below + (units if lstm else 0)
        per_head = (slots, batch, weighting.shape[1], locations)
        lease = Lease(
            inputs.dtype,
            {
                "gates": (count, steps, batch, gates_width),
                "seen": (count, steps + 1, batch, sees),
                "hidden": (steps + 1, batch, units),
                "cell": (len(cell), steps + 1, batch, units),
                "orders": (steps, batch, len(heads_bias)),
                "norm": (slots, batch, locations),
                "similarity": per_head,
                "content": per_head,
                "shifted": per_head,
                "weighting": per_head,
                "memory": (slots, batch, width, locations),
                "weights": (count, gates_width, sees),
                "weights_t": (count, sees, gates_width),
                "heads_t": (units, len(heads_bias)),
            },
        )
        record = Record(*(lease.arrays[name] for name in Record._fields))
        weights = torch.from_numpy(lease.arrays["weights"])
        if count > 1:
            weights.zero_()
            record.seen[:] = 0
        for i, parts in enumerate(_by_layer(layers, lstm)):
            from_below, from_before, bias = parts
            weights[i, :, : read_width if i == 0 else units] = from_below[:, channels if i == 0 else 0 :]
            gates = torch.from_numpy(record.gates[i])
            if lstm:
                weights[i, :, below:] = from_before
            if i == 0:
                torch.addmm(bias, inputs.flatten(0, 1), from_below[:, :channels].t(), out=gates.flatten(0, 1))
            else:
                gates[:] = bias
        torch.from_numpy(lease.arrays["weights_t"]).copy_(weights.transpose(1, 2))
        torch.from_numpy(lease.arrays["heads_t"]).copy_(heads_weight.t())
        record.orders[:] = heads_bias.numpy()
        record.seen[0, 0, :, :read_width] = reads.flatten(1).numpy()
        if lstm:
            record.seen[:, 0, :, below:], record.cell[:, 0] = hidden.numpy(), cell.numpy()
        record.weighting[0] = weighting.numpy()
        torch.from_numpy(record.memory[0]).copy_(memory.transpose(1, 2))

        weights_t = Weights(lease.arrays["weights_t"], lease.arrays["heads_t"])
        _shared(run, batch, weights_t, record, writers, shifts, *_constants(inputs.dtype))

        end = steps % slots
        features = np.concatenate([record.hidden[1:], record.seen[0, 1:, :, :read_width]], axis=2)
        after = (
            record.seen[:, -1, :, below:] if lstm else hidden.numpy(),
            record.cell[:, -1],
            record.seen[0, -1, :, :read_width].reshape(reads.shape),
            record.weighting[end],
            record.memory[end],
        )
        *others, memory = (torch.from_numpy(value.copy()) for value in after)
        if keep:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(inputs, heads_weight, *layers)
            ctx.writers, ctx.shifts, ctx.lease, ctx.record = writers, shifts, lease, record
        return torch.from_numpy(features), *others, memory.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_features: Tensor | None, *d_after: Tensor | None) -> tuple[Tensor | None, ...]:
        """d of all tensors that went into ``forward``."""
        inputs, heads_weight, *layers = ctx.saved_tensors
        record = ctx.record
        (count, steps, batch, _), (_, _, heads, locations) = record.gates.shape, record.weighting.shape
        units, width = record.hidden.shape[2], record.memory.shape[2]
        channels, lstm = inputs.shape[2], len(record.cell) > 0
        read_width, below = (heads - ctx.writers) * width, record.seen.shape[3] - (units if lstm else 0)
        if d_features is None:
            d_features = inputs.new_zeros(steps, batch, units + read_width)
        lease = Lease(
            inputs.dtype,
            {
                "seen": (count, batch, record.seen.shape[3]),
                "cell": (len(record.cell), batch, units),
                "weighting": record.weighting.shape[1:],
                "memory": record.memory.shape[1:],
                "gates": record.gates.shape,
                "orders": record.orders.shape,
            },
        )
        d = Gradients(d_features.contiguous().numpy(), **lease.arrays)
        d_hidden, d_reads = d.seen[:, :, below:], d.seen[0, :, :read_width]
        for carried in d[1:5]:
            carried[:] = 0
        state = (d_hidden, d.cell, d_reads.reshape(batch, -1, width), d.weighting, d.memory.transpose(0, 2, 1))
        for array, given in zip((d_hidden, d.cell, d_reads, d.weighting, state[4]), d_after, strict=True):
            if given is not None:
                array[:] = given.numpy().reshape(array.shape)

        weights = Weights(ctx.lease.arrays["weights"], heads_weight.numpy())
        _shared(run_backward, batch, weights, record, d, ctx.writers, ctx.shifts, *_constants(inputs.dtype))

        # The weights' gradients: one product each over all steps of all sequences.
        orders, gates = torch.from_numpy(d.orders).flatten(0, 1), torch.from_numpy(d.gates).flatten(1, 2)
        seen, hidden = torch.from_numpy(record.seen), torch.from_numpy(record.hidden)
        grads: list[Tensor | None] = [orders.t() @ hidden[1:].flatten(0, 1), orders.sum(0)]
        for i in range(count):
            product, bias = gates[i].t() @ seen[i, :-1].flatten(0, 1), gates[i].sum(0)
            if i == 0:
                of_inputs = gates[i].t() @ inputs.flatten(0, 1)
                grads.append(torch.cat([of_inputs, product[:, :read_width]], dim=1))
            else:
                grads.append(product[:, :units])
            grads += [product[:, below:], bias, bias] if lstm else [bias]
        d_inputs = None
        if ctx.needs_input_grad[3]:
            d_inputs = (gates[0] @ layers[0][:, :channels]).view(inputs.shape)
        state = (d_hidden, d.cell, d_reads.reshape(batch, -1, width), d.weighting, d.memory.transpose(0, 2, 1))
        asked = zip(state, ctx.needs_input_grad[4:9], strict=True)
        return None, None, None, d_inputs, *(torch.from_numpy(v.copy()) if need else None for v, need in asked), *grads


def _by_layer(layers: list[Tensor], lstm: bool) -> list[tuple[Tensor, Tensor | None, Tensor]]:
    """Each layer's weights from below, its weights from its own last output (of an LSTM), and its bias."""
    if lstm:
        return [(layers[i], layers[i + 1], layers[i + 2] + layers[i + 3]) for i in range(0, len(layers), 4)]
    return [(layers[i], None, layers[i + 1]) for i in range(0, len(layers), 2)]


@cache
def _constants(dtype: torch.dtype) -> tuple[Any, ...]:
    """Those of the literal equations, as numbers of the type computed with."""
    number = np.float32 if dtype == torch.float32 else np.float64
    return tuple(map(number, (addressing.SIMILARITY_EPSILON, torch.finfo(dtype).tiny, heads.LARGEST_STRENGTH)))
