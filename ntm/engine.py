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

    reads: np.ndarray  # (R*M,G) from the reads to the lowest layer
    below: np.ndarray  # (L-1,C,G) from each layer to the next
    before: np.ndarray  # (L,C,G) from a layer's own last output; (0,C,G) for the feedforward controller
    heads: np.ndarray  # (C,O)


class Record(NamedTuple):
    """What the steps leave behind. Slot t of what has T+1 is the state before step t, slot t+1 the state after it.

    The large ones, with N in them, keep K slots: T+1 when a backward will come, else 2, used in turn.
    """

    gates: np.ndarray  # (L,T,B,G) what the inputs and biases give them at first, then the gates
    hidden: np.ndarray  # (L,T+1,B,C)
    cell: np.ndarray  # (L,T+1,B,C); (0,T+1,B,C) for the feedforward controller
    orders: np.ndarray  # (T,B,O) the biases at first; then key, beta, gate, shift, gamma - 1 of each head, erase, add
    reads: np.ndarray  # (T+1,B,R*M)
    norm: np.ndarray  # (K,B,N) of each row of memory
    similarity: np.ndarray  # (K,B,H,N) equation 6
    content: np.ndarray  # (K,B,H,N) equation 5
    shifted: np.ndarray  # (K,B,H,N) equation 8
    weighting: np.ndarray  # (K,B,H,N) equation 9
    memory: np.ndarray  # (K,B,M,N)


class Gradients(NamedTuple):
    """d of what the backward is given, carries from step to step, and leaves behind."""

    features: np.ndarray  # (T,B,C+R*M) given: d of what the output layer sees, the highest hidden and the reads
    hidden: np.ndarray  # (L,B,C) carried: d of the state after a step, then before it
    cell: np.ndarray  # (L,B,C) or (0,B,C)
    reads: np.ndarray  # (B,R*M)
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
def tanh(out, row):
    """out = tanh(row)."""
    one, two = row.dtype.type(1), row.dtype.type(2)
    for i in range(row.shape[0]):
        out[i] = one - two / (one + _exp(two * row[i]))


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
        grad[i] *= dtype(-math.expm1(-row[i])) if row[i] < most else dtype(0)


@jit_finite
def largest(row):
    """The largest number of a row; NaN may be passed over."""
    most = row[0]
    for n in range(row.shape[0]):
        most = max(most, row[n])
    return most


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
    units = hidden.shape[0]
    g = gates[2 * units : 3 * units]
    sigmoid(gates[: 2 * units])
    tanh(g, g)
    sigmoid(gates[3 * units :])
    for c in range(units):
        cell[c] = gates[units + c] * cell_before[c] + gates[c] * gates[2 * units + c]
    tanh(hidden, cell)
    for c in range(units):
        hidden[c] *= gates[3 * units + c]


@jit
def lstm_cell_backward(d_gates, d_hidden, d_cell, gates, cell, cell_before):
    """d_cell in place: after the step -> before it."""
    units = cell.shape[0]
    one = cell.dtype.type(1)
    squashed = np.empty_like(cell)
    tanh(squashed, cell)
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
    size = width + shifts + 3
    for h in range(heads):
        o = order[h * size : (h + 1) * size]
        tanh(o[:width], o[:width])
        softplus(o[width : width + 1], most)
        sigmoid(o[width + 1 : width + 2])
        softmax(o[width + 2 : width + 2 + shifts], o[width + 2 : width + 2 + shifts], order.dtype.type(1))
        softplus(o[width + 2 + shifts :], most)
    for start in range(heads * size, order.shape[0], 2 * width):
        sigmoid(order[start : start + width])
        tanh(order[start + width : start + 2 * width], order[start + width : start + 2 * width])


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
def cosine_similarity(similarity, keys, memory, norm, epsilon):
    """Equation 6 for all heads: keys (H,M), memory (M,N), norm (N,) -> similarity (H,N)."""
    similarity[:] = 0
    multiply(similarity, keys, memory)
    for h in range(keys.shape[0]):
        length = np.sqrt(dot(keys[h], keys[h]))
        row = similarity[h]
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
    locations = content.shape[0]
    inside, other = ring[reach : reach + locations], content.dtype.type(1) - gate
    for n in range(locations):
        inside[n] = gate * content[n] + other * before[n]
    for i in range(reach):
        ring[i] = inside[(i - reach) % locations]
        ring[reach + locations + i] = inside[i % locations]


@jit
def shift(shifted, ring, weights):
    """Equation 8: weight S//2 + 1 takes what lay one location before."""
    locations, shifts = shifted.shape[0], weights.shape[0]
    shifted[:] = 0
    for s in range(shifts):
        add_scaled(shifted, ring[shifts - 1 - s : shifts - 1 - s + locations], weights[s])


@jit
def shift_backward(d_gated, d_weights, d_ring, ring, weights, reach):
    """d of the shifted row, as a ring, -> d of the row before, and of the weights."""
    locations, shifts = d_gated.shape[0], weights.shape[0]
    d_shifted = d_ring[reach : reach + locations]
    d_gated[:] = 0
    for s in range(shifts):
        add_scaled(d_gated, d_ring[s : s + locations], weights[s])
        d_weights[s] = dot(d_shifted, ring[shifts - 1 - s : shifts - 1 - s + locations])


@jit
def sharpen(weighting, shifted, gamma, tiny):
    """Equation 9, as softmax(gamma log w)."""
    for n in range(shifted.shape[0]):
        weighting[n] = _log(tiny if shifted[n] < tiny else shifted[n])
    softmax(weighting, weighting, gamma)


@jit
def sharpen_backward(d_ring, grad, weighting, shifted, gamma, tiny, reach):
    """d of the weighting -> d of the shifted row, into a ring, and d of gamma."""
    zero, locations = grad.dtype.type(0), grad.shape[0]
    d_shifted = d_ring[reach : reach + locations]
    mean, d_gamma = dot(grad, weighting), zero
    for n in range(locations):
        w = tiny if shifted[n] < tiny else shifted[n]
        d = weighting[n] * (grad[n] - mean)
        d_gamma += d * _log(w)
        d_shifted[n] = zero if shifted[n] < tiny else d * gamma / w
    for i in range(reach):
        d_ring[i] = d_shifted[(i - reach) % locations]
        d_ring[reach + locations + i] = d_shifted[i % locations]
    return d_gamma


# Reading and writing, one row of (M,N) at a time: one number of the erase and add vectors against all locations


@jit
def erase_row(new, old, weighting, erase):
    """Equation 3."""
    one = new.dtype.type(1)
    for n in range(new.shape[0]):
        new[n] = old[n] * (one - weighting[n] * erase)


@jit
def erase_row_backward(d_weighting, grad, others, weighting, erase):
    """Adds to d_weighting and returns d of erase; ``others`` is the row as all other heads erased it."""
    d_erase = grad.dtype.type(0)
    for n in range(grad.shape[0]):
        d = grad[n] * others[n]
        d_weighting[n] -= erase * d
        d_erase -= d * weighting[n]
    return d_erase


@jit
def add_squares(norm, row):
    """norm += row squared."""
    for n in range(norm.shape[0]):
        norm[n] += row[n] * row[n]


@jit
def write_and_read(new, norm, reads, old, weighting, order, writers):
    """Equations 3, 4 and 2: the memory after the step, the norms of its rows, and what is read (R*M,)."""
    width, heads = new.shape[0], weighting.shape[0]
    readers, first = heads - writers, order.shape[0] - writers * 2 * width
    norm[:] = 0
    for m in range(width):
        row, before = new[m], old[m]
        for h in range(writers):
            erase_row(row, before, weighting[readers + h], order[first + 2 * width * h + m])
            before = row
        for h in range(writers):
            add_scaled(row, weighting[readers + h], order[first + 2 * width * h + width + m])
        add_squares(norm, row)
        for r in range(readers):
            reads[r * width + m] = dot(row, weighting[r])
    for n in range(norm.shape[0]):
        norm[n] = np.sqrt(norm[n])


@jit
def write_and_read_backward(d_memory, d_weighting, d_order, d_reads, new, old, weighting, order, writers):
    """d_memory in place: after the step -> before it, by the write; adds to d_weighting, fills d of erase and add."""
    width, heads, locations = new.shape[0], weighting.shape[0], new.shape[1]
    readers, first = heads - writers, order.shape[0] - writers * 2 * width
    multiply(d_weighting[:readers], d_reads.reshape(readers, width), new)
    others = np.empty(locations, new.dtype)
    for m in range(width):
        grad = d_memory[m]
        for r in range(readers):
            add_scaled(grad, weighting[r], d_reads[r * width + m])
        for h in range(writers):
            i = first + 2 * width * h + m
            d_order[i + width] = dot(grad, weighting[readers + h])
            add_scaled(d_weighting[readers + h], grad, order[i + width])
            others[:] = old[m]
            for k in range(writers):
                if k != h:
                    erase_row(others, others, weighting[readers + k], order[first + 2 * width * k + m])
            d_order[i] = erase_row_backward(d_weighting[readers + h], grad, others, weighting[readers + h], order[i])
        for h in range(writers):
            erase_row(grad, grad, weighting[readers + h], order[first + 2 * width * h + m])


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
        sharpen(record.weighting[after, b, h], shifted, o[2 + shifts] + order.dtype.type(1), tiny)


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
            d_order[h * size + m] += dot(d_content[h], memory[m])
            add_scaled(d_memory[m], d_content[h], order[h * size + m])


@jit
def run(first, last, weights, record, writers, shifts, epsilon, tiny, most):
    """All steps, for the sequences from ``first`` to ``last`` of the batch."""
    layers, steps = record.gates.shape[:2]
    slots, _, width, locations = record.memory.shape
    heads, dtype = record.weighting.shape[2], record.gates.dtype
    keys, ring = np.empty((heads, width), dtype), np.empty(locations + shifts - 1, dtype)
    for t in range(steps):
        before, after = t % slots, (t + 1) % slots
        for layer in range(layers):
            gates = record.gates[layer, t, first:last]
            if layer == 0:
                multiply(gates, record.reads[t, first:last], weights.reads)
            else:
                multiply(gates, record.hidden[layer - 1, t + 1, first:last], weights.below[layer - 1])
            if weights.before.shape[0] > 0:
                multiply(gates, record.hidden[layer, t, first:last], weights.before[layer])
                for b in range(first, last):
                    cells = record.cell[layer]
                    lstm_cell(record.gates[layer, t, b], record.hidden[layer, t + 1, b], cells[t + 1, b], cells[t, b])
            else:
                for b in range(first, last):
                    tanh(record.hidden[layer, t + 1, b], record.gates[layer, t, b])
        multiply(record.orders[t, first:last], record.hidden[layers - 1, t + 1, first:last], weights.heads)
        for b in range(first, last):
            order, weighting = record.orders[t, b], record.weighting[after, b]
            squash(order, heads, width, shifts, most)
            address(record, before, after, b, order, shifts, keys, ring, epsilon, tiny)
            new, norm, reads = record.memory[after, b], record.norm[after, b], record.reads[t + 1, b]
            write_and_read(new, norm, reads, record.memory[before, b], weighting, order, writers)


@jit
def run_backward(first, last, weights, record, d, writers, shifts, epsilon, tiny, most):
    """All steps from the last to the first; ``weights`` are transposed."""
    layers, steps = record.gates.shape[:2]
    heads, width = record.weighting.shape[2], record.memory.shape[2]
    units = record.hidden.shape[3]
    for t in range(steps - 1, -1, -1):
        for b in range(first, last):
            order, d_order, d_reads, d_weighting = record.orders[t, b], d.orders[t, b], d.reads[b], d.weighting[b]
            add_scaled(d_reads, d.features[t, b, units:], order.dtype.type(1))
            add_scaled(d.hidden[layers - 1, b], d.features[t, b, :units], order.dtype.type(1))
            new, old, weighting = record.memory[t + 1, b], record.memory[t, b], record.weighting[t + 1, b]
            write_and_read_backward(
                d.memory[b], d_weighting, d_order, d_reads, new, old, weighting, order, writers
            )
            address_backward(record, d, t, t + 1, b, order, d_order, shifts, epsilon, tiny)
            squash_backward(d_order, order, heads, width, shifts, most)
        multiply(d.hidden[layers - 1, first:last], d.orders[t, first:last], weights.heads)
        for layer in range(layers - 1, -1, -1):
            d_gates, d_hidden = d.gates[layer, t, first:last], d.hidden[layer, first:last]
            for b in range(first, last):
                grad = d.gates[layer, t, b]
                if weights.before.shape[0] > 0:
                    gates, cells = record.gates[layer, t, b], record.cell[layer]
                    lstm_cell_backward(grad, d.hidden[layer, b], d.cell[layer, b], gates, cells[t + 1, b], cells[t, b])
                else:
                    grad[:] = d.hidden[layer, b]
                    tanh_backward(grad, record.hidden[layer, t + 1, b])
            d_hidden[:] = 0
            if weights.before.shape[0] > 0:
                multiply(d_hidden, d_gates, weights.before[layer])
            if layer > 0:
                multiply(d.hidden[layer - 1, first:last], d_gates, weights.below[layer - 1])
            else:
                d.reads[first:last] = 0
                multiply(d.reads[first:last], d_gates, weights.reads)


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
    others = [_helpers().submit(kernel, first, last, *arguments) for first, last in parts]
    kernel(0, bounds[1], *arguments)
    for other in others:
        other.result()


class Sizes(NamedTuple):
    """What the shapes of the weights do not say."""

    lstm: bool
    writers: int
    shifts: int


class Sequence(torch.autograd.Function):
    """Inputs, state and weights -> what the output layer sees, and the state after the last step."""

    @staticmethod
    def forward(ctx: Any, keep: bool, sizes: Sizes, *tensors: Tensor) -> tuple[Tensor, ...]:
        """``tensors``: inputs, hidden, cell, reads, weighting, memory, heads' weight and bias, and each layer's."""
        inputs, hidden, cell, reads, weighting, content, heads_weight, heads_bias, *layers = (
            tensor.detach() for tensor in tensors
        )
        (steps, batch, channels), (count, _, units) = inputs.shape, hidden.shape
        heads_count, locations = weighting.shape[1:]
        width = content.shape[2]
        below, before, biases = _by_layer(layers, sizes.lstm)
        gates_count, slots = below[0].shape[0], steps + 1 if keep else 2
        per_head = (slots, batch, heads_count, locations)
        lease = Lease(
            inputs.dtype,
            {
                "gates": (count, steps, batch, gates_count),
                "hidden": (count, steps + 1, batch, units),
                "cell": (cell.shape[0], steps + 1, batch, units),
                "orders": (steps, batch, heads_weight.shape[0]),
                "reads": (steps + 1, batch, reads[0].numel()),
                "norm": (slots, batch, locations),
                "similarity": per_head,
                "content": per_head,
                "shifted": per_head,
                "weighting": per_head,
                "memory": (slots, batch, width, locations),
            },
        )
        record = Record(**lease.arrays)
        torch.addmm(
            biases[0],
            inputs.flatten(0, 1),
            below[0][:, :channels].t(),
            out=torch.from_numpy(record.gates[0]).flatten(0, 1),
        )
        for layer in range(1, count):
            record.gates[layer] = biases[layer].numpy()
        record.orders[:] = heads_bias.numpy()
        record.hidden[:, 0], record.cell[:, 0] = hidden.numpy(), cell.numpy()
        record.reads[0], record.weighting[0] = reads.flatten(1).numpy(), weighting.numpy()
        record.memory[0] = content.numpy().transpose(0, 2, 1)
        record.norm[0] = content.norm(dim=2).numpy()
        weights = Weights(
            *(
                value.contiguous().numpy()
                for value in (
                    below[0][:, channels:].t(),
                    _stacked([w.t() for w in below[1:]], (units, gates_count), inputs),
                    _stacked([w.t() for w in before], (units, gates_count), inputs),
                    heads_weight.t(),
                )
            )
        )
        _shared(run, batch, weights, record, sizes.writers, sizes.shifts, *_constants(inputs.dtype))
        features = np.concatenate([record.hidden[-1, 1:], record.reads[1:]], axis=2)
        end = steps % slots
        after = (
            record.hidden[:, -1],
            record.cell[:, -1],
            record.reads[-1].reshape(reads.shape),
            record.weighting[end],
            record.memory[end].transpose(0, 2, 1),
        )
        if keep:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(inputs, heads_weight, *layers)
            ctx.sizes, ctx.lease, ctx.record = sizes, lease, record
        return torch.from_numpy(features), *(torch.from_numpy(value.copy()) for value in after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_features: Tensor | None, *d_after: Tensor | None) -> tuple[Tensor | None, ...]:
        """d of all tensors that went into ``forward``."""
        inputs, heads_weight, *layers = ctx.saved_tensors
        record, sizes = ctx.record, ctx.sizes
        below, before, _ = _by_layer(layers, sizes.lstm)
        count, steps, batch, gates_count = record.gates.shape
        units, channels, width = record.hidden.shape[3], inputs.shape[2], record.memory.shape[2]
        lease = Lease(
            inputs.dtype,
            {
                "features": (steps, batch, units + record.reads.shape[2]),
                "hidden": (count, batch, units),
                "cell": (record.cell.shape[0], batch, units),
                "reads": record.reads.shape[1:],
                "weighting": record.weighting.shape[1:],
                "memory": record.memory.shape[1:],
                "gates": record.gates.shape,
                "orders": record.orders.shape,
            },
        )
        d = Gradients(**lease.arrays)
        for array, given in zip(d, (d_features, *d_after), strict=False):
            if given is None:
                array[:] = 0
            elif array is d.memory:
                array[:] = given.numpy().transpose(0, 2, 1)
            else:
                array[:] = given.numpy().reshape(array.shape)
        weights = Weights(
            *(
                value.contiguous().numpy()
                for value in (
                    below[0][:, channels:],
                    _stacked(below[1:], (gates_count, units), inputs),
                    _stacked(before, (gates_count, units), inputs),
                    heads_weight,
                )
            )
        )
        _shared(run_backward, batch, weights, record, d, sizes.writers, sizes.shifts, *_constants(inputs.dtype))

        # The weights' gradients: one product each over all steps of all sequences.
        gates = torch.from_numpy(d.gates).flatten(1, 2)
        orders, hidden = torch.from_numpy(d.orders).flatten(0, 1), torch.from_numpy(record.hidden)
        reads = torch.from_numpy(record.reads)
        grads: list[Tensor | None] = [orders.t() @ hidden[-1, 1:].flatten(0, 1), orders.sum(0)]
        for layer in range(count):
            seen = hidden[layer - 1, 1:] if layer else torch.cat([inputs, reads[:-1]], dim=2)
            grads.append(gates[layer].t() @ seen.flatten(0, 1))
            bias = gates[layer].sum(0)
            grads += [gates[layer].t() @ hidden[layer, :-1].flatten(0, 1), bias, bias] if sizes.lstm else [bias]
        d_inputs = (gates[0] @ below[0][:, :channels]).view(inputs.shape) if ctx.needs_input_grad[2] else None
        heads_count = record.weighting.shape[2]
        d_state = (
            d.hidden,
            d.cell,
            d.reads.reshape(batch, heads_count - sizes.writers, width),
            d.weighting,
            d.memory.transpose(0, 2, 1),
        )
        asked = zip(d_state, ctx.needs_input_grad[3:8], strict=True)
        return None, None, d_inputs, *(torch.from_numpy(v.copy()) if need else None for v, need in asked), *grads


def _by_layer(layers: list[Tensor], lstm: bool) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The layers' weights from below, their weights from before (of an LSTM), and their biases."""
    if lstm:
        return layers[::4], layers[1::4], [a + b for a, b in zip(layers[2::4], layers[3::4], strict=True)]
    return layers[::2], [], layers[1::2]


def _stacked(values: list[Tensor], shape: tuple[int, int], like: Tensor) -> Tensor:
    return torch.stack(values) if values else like.new_empty(0, *shape)


@cache
def _constants(dtype: torch.dtype) -> tuple[Any, ...]:
    """Those of the literal equations, as numbers of the type computed with."""
    number = np.float32 if dtype == torch.float32 else np.float64
    return tuple(
        map(number, (addressing.SIMILARITY_EPSILON, torch.finfo(dtype).tiny, heads.LARGEST_STRENGTH))
    )
