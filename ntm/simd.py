"""Packs of neighbouring numbers for numba: what a processor loads, multiplies and adds at once.

Numba's own loops are made of packs too, but it must prove that it may, and it keeps sums in memory. Here a kernel says
what it means: ``load``, ``store``, ``spread`` and ``fma`` work on LANES numbers, and ``tile`` keeps a block of a matrix
product in the processor's registers. Rows that are walked in packs are padded to a multiple of LANES.
"""

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

_features = binding.get_host_cpu_features()
# Numbers in a pack, and rows of the largest tile: ROWS x 3 sums and what they are made of fill the registers.
LANES, ROWS = (16, 8) if _features.get("avx512f") else (8, 4) if _features.get("avx") else (4, 4)


class Pack(types.Type):
    """LANES numbers of one type."""

    def __init__(self, dtype: types.Float) -> None:
        super().__init__(name=f"Pack({dtype}, {LANES})")
        self.dtype = dtype


@register_model(Pack)
class _PackModel(models.PrimitiveModel):
    def __init__(self, manager: Any, pack: Pack) -> None:
        super().__init__(manager, pack, ir.VectorType(manager.lookup(pack.dtype).get_value_type(), LANES))


def padded(count: int) -> int:
    """The next multiple of LANES."""
    return -(-count // LANES) * LANES


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, indices: list[Any], pack: Pack) -> Any:
    array = context.make_array(array_type)(context, builder, array)
    pointer = cgutils.get_item_pointer(context, builder, array_type, array, indices, wraparound=False)
    return builder.bitcast(pointer, context.get_value_type(pack).as_pointer())


def _indices(context: Any, builder: Any, index_type: Any, index: Any) -> list[Any]:
    parts = cgutils.unpack_tuple(builder, index, len(index_type))
    return [context.cast(builder, part, kind, types.intp) for part, kind in zip(parts, index_type, strict=True)]


@intrinsic
def load(typing_context, array, index):
    """The pack that begins at this place of an array: ``load(memory, (m, n))``."""
    pack = Pack(array.dtype)

    def generate(context, builder, signature, arguments):
        indices = _indices(context, builder, index, arguments[1])
        pointer = _pointer(context, builder, array, arguments[0], indices, pack)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return pack(array, index), generate


@intrinsic
def store(typing_context, array, index, pack):
    """Put a pack at this place of an array."""

    def generate(context, builder, signature, arguments):
        indices = _indices(context, builder, index, arguments[1])
        pointer = _pointer(context, builder, array, arguments[0], indices, pack)
        builder.store(arguments[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, index, pack), generate


@intrinsic
def spread(typing_context, number):
    """A pack of the same number."""
    pack = Pack(number)

    def generate(context, builder, signature, arguments):
        return _spread(builder, arguments[0])

    return pack(number), generate


def _spread(builder: Any, value: Any) -> Any:
    kind = ir.VectorType(value.type, LANES)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.fadd(builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])


@intrinsic
def fma(typing_context, a, b, c):
    """a b + c, of packs."""

    def generate(context, builder, signature, arguments):
        return _fma(builder, *arguments)

    return a(a, b, c), generate


@intrinsic
def multiplied(typing_context, a, b):
    """a b, of packs."""

    def generate(context, builder, signature, arguments):
        return builder.fmul(*arguments)

    return a(a, b), generate


@intrinsic
def total(typing_context, pack):
    """The sum of a pack's numbers."""

    def generate(context, builder, signature, arguments):
        number = context.get_value_type(pack.dtype)
        kind = ir.FunctionType(number, [number, arguments[0].type])
        name = f"llvm.vector.reduce.fadd.v{LANES}f{pack.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, [ir.Constant(number, -0.0), arguments[0]], fastmath=["reassoc"])

    return pack.dtype(pack), generate


def tile(rows: int, columns: int, strands: int) -> Callable[..., None]:
    """A function for numba that adds to a block of a product: out[b:b+rows, j:j+columns*LANES] += source @ weight.

    The sums stay in registers over all k, which is as many as ``weight`` has rows. ``strands`` sums beside each other
    for each number of the result keep a processor busy that needs several cycles for one addition.
    """

    @intrinsic
    def add_tile(typing_context, out, source, weight, b, j):
        pack = Pack(out.dtype)

        def generate(context, builder, signature, arguments):
            out_value, source_value, weight_value, b_value, j_value = arguments
            number = context.get_value_type(out.dtype)
            kind, size = context.get_value_type(pack), out.dtype.bitwidth // 8
            intp = context.get_value_type(types.intp)

            def at(base: Any, by: int) -> Any:
                return builder.add(base, ir.Constant(intp, by))

            def place(array_type: Any, array: Any, row: Any, column: Any) -> Any:
                return _pointer(context, builder, array_type, array, [row, column], pack)

            zero = ir.Constant(kind, [0.0] * LANES)
            sums = {}
            for s in range(strands):
                for r in range(rows):
                    for c in range(columns):
                        sums[s, r, c] = cgutils.alloca_once_value(builder, zero)

            def step(k: Any, s: int) -> None:
                packs = [
                    builder.load(place(weight, weight_value, k, at(j_value, c * LANES)), align=size)
                    for c in range(columns)
                ]
                for r in range(rows):
                    pointer = place(source, source_value, at(b_value, r), k)
                    factor = _spread(builder, builder.load(builder.bitcast(pointer, number.as_pointer())))
                    for c in range(columns):
                        slot = sums[s, r, c]
                        builder.store(_fma(builder, factor, packs[c], builder.load(slot)), slot)

            inner = cgutils.unpack_tuple(builder, context.make_array(weight)(context, builder, weight_value).shape, 2)[0]
            whole = builder.mul(builder.sdiv(inner, ir.Constant(intp, strands)), ir.Constant(intp, strands))
            start, stride = ir.Constant(intp, 0), ir.Constant(intp, strands)
            with cgutils.for_range_slice(builder, start, whole, stride, inc=True) as (k, _):
                for s in range(strands):
                    step(at(k, s), s)
            if strands > 1:
                with cgutils.for_range_slice(builder, whole, inner, ir.Constant(intp, 1), inc=True) as (k, _):
                    step(k, 0)
            for r in range(rows):
                for c in range(columns):
                    pointer = place(out, out_value, at(b_value, r), at(j_value, c * LANES))
                    value = builder.load(pointer, align=size)
                    for s in range(strands):
                        value = builder.fadd(value, builder.load(sums[s, r, c]))
                    builder.store(value, pointer, align=size)
            return context.get_dummy_value()

        return types.void(out, source, weight, types.intp, types.intp), generate

    return add_tile


def column_of_tiles(columns: int) -> Callable[..., None]:
    """A function for numba that adds to some columns of a product, for any number of rows."""
    largest, four, two, one = (tile(r, columns, max(1, 12 // (3 * r))) for r in (ROWS, 4, 2, 1))

    @numba.njit(nogil=True, cache=True, _nrt=False)
    def add_column(out, source, weight, j):
        b, rows = 0, out.shape[0]
        while b + ROWS <= rows:
            largest(out, source, weight, b, j)
            b += ROWS
        while b + 4 <= rows:
            four(out, source, weight, b, j)
            b += 4
        while b + 2 <= rows:
            two(out, source, weight, b, j)
            b += 2
        if b < rows:
            one(out, source, weight, b, j)

    return add_column


_three, _single = column_of_tiles(3), column_of_tiles(1)


@numba.njit(nogil=True, cache=True, _nrt=False)
def multiply(out, source, weight):
    """out (B,J) += source (B,K or more) @ weight (K,J), for J that is padded."""
    j, width = 0, weight.shape[1]
    while j + 3 * LANES <= width:
        _three(out, source, weight, j)
        j += 3 * LANES
    while j < width:
        _single(out, source, weight, j)
        j += LANES
