"""Packs of neighbouring numbers for numba: what a processor loads, multiplies and adds at once.

Numba's own loops are made of packs too, but it must prove that it may, and it keeps sums in memory. Here a kernel says
what it means: ``load``, ``store``, ``spread`` and ``fma`` work on LANES numbers, and ``tile`` keeps a block of a matrix
product in the processor's registers. Rows that are walked in packs are padded to a multiple of LANES.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

from ntm.engine import compiler


def widths(triple: str, cpu: str, features: str) -> tuple[int, int]:
    """How many float32 a vector register holds, and how many rows of sums the registers, as LLVM would use them.

    Asked by compiling the sum of two long vectors: a processor's name or its features alone do not say it.
    """
    vector = "<16 x float>"
    text = f"""target triple = "{triple}"
        define void @add(ptr %a, ptr %b) {{
            %x = load {vector}, ptr %a
            %y = load {vector}, ptr %b
            %z = fadd {vector} %x, %y
            store {vector} %z, ptr %a
            ret void
        }}"""
    machine = binding.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    assembly = machine.emit_assembly(binding.parse_assembly(text))
    if "%zmm" in assembly:
        return 16, 8  # AVX-512: 32 registers
    if "%ymm" in assembly:
        return 8, 4  # AVX: 16 registers
    return 4, 4 if triple.startswith("x86") else 8  # SSE: 16 registers; NEON and the like: 32


# Numbers in a pack, and rows of the largest tile: ROWS x 3 sums and what they are made of fill the registers.
LANES, ROWS = widths(*cpu_target.target_context.codegen().magic_tuple())


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


def _pointer(
    context: Any, builder: Any, array_type: Any, array: Any, indices: list[Any], pack: Pack, count: int = LANES
) -> Any:
    """To the ``count`` numbers from a place on, as a pointer to a pack."""
    array = context.make_array(array_type)(context, builder, array)
    if compiler.checks_bounds():
        lengths = cgutils.unpack_tuple(builder, array.shape, array_type.ndim)
        counts = [1] * (array_type.ndim - 1) + [count]
        for index, length, many in zip(indices, lengths, counts, strict=True):
            before = builder.icmp_signed("<", index, index.type(0))
            beyond = builder.icmp_signed(">", builder.add(index, index.type(many)), length)
            with cgutils.if_unlikely(builder, builder.or_(before, beyond)):
                context.call_conv.return_user_exc(builder, IndexError, ("a pack reaches beyond its array",))
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


def tile(rows: int, columns: int) -> Callable[..., None]:
    """A function for numba that adds to a block of a product: out[b:b+rows, j:j+columns*LANES] += source @ weight.

    The sums stay in registers over all k, which is as many as ``weight`` has rows, and are made in the same order
    whatever the block's size.
    """

    @intrinsic
    def add_tile(typing_context, out, source, weight, b, j):
        pack = Pack(out.dtype)

        def generate(context, builder, signature, arguments):
            out_value, source_value, weight_value, b_value, j_value = arguments
            number, kind = context.get_value_type(out.dtype), context.get_value_type(pack)
            intp, size = context.get_value_type(types.intp), out.dtype.bitwidth // 8
            block = [(r, c) for r in range(rows) for c in range(columns)]
            down = [builder.add(b_value, ir.Constant(intp, r)) for r in range(rows)]
            along = [builder.add(j_value, ir.Constant(intp, c * LANES)) for c in range(columns)]
            zero = ir.Constant(kind, [0.0] * LANES)
            sums = {place: cgutils.alloca_once_value(builder, zero) for place in block}

            inner, _ = cgutils.unpack_tuple(builder, context.make_array(weight)(context, builder, weight_value).shape)
            with cgutils.for_range(builder, inner) as loop:
                packs = []
                for c in range(columns):
                    pointer = _pointer(context, builder, weight, weight_value, [loop.index, along[c]], pack)
                    packs.append(builder.load(pointer, align=size))
                for r in range(rows):
                    pointer = _pointer(context, builder, source, source_value, [down[r], loop.index], pack, 1)
                    factor = _spread(builder, builder.load(builder.bitcast(pointer, number.as_pointer())))
                    for c in range(columns):
                        slot = sums[r, c]
                        builder.store(_fma(builder, factor, packs[c], builder.load(slot)), slot)

            for r, c in block:
                pointer = _pointer(context, builder, out, out_value, [down[r], along[c]], pack)
                value = builder.fadd(builder.load(pointer, align=size), builder.load(sums[r, c]))
                builder.store(value, pointer, align=size)
            return context.get_dummy_value()

        return types.void(out, source, weight, types.intp, types.intp), generate

    return add_tile


def band(rows: int, columns: int) -> Callable[..., None]:
    """A function for numba that adds to some rows of a product, in tiles as wide as the registers allow."""
    wide, middle, narrow = tile(rows, columns), tile(rows, 3), tile(rows, 1)

    def add_band(out, source, weight, b):
        j, width = 0, weight.shape[1]
        while j + columns * LANES <= width:
            wide(out, source, weight, b, j)
            j += columns * LANES
        while j + 3 * LANES <= width:
            middle(out, source, weight, b, j)
            j += 3 * LANES
        while j < width:
            narrow(out, source, weight, b, j)
            j += LANES

    # The linker tells functions apart by name, also those that other processes compiled and kept.
    add_band.__qualname__ = add_band.__name__ = f"add_band_{rows}_{columns}"
    return compiler.jit()(add_band)


_many, _four, _two, _one = band(ROWS, 3), band(4, 3), band(2, 6), band(1, 9)


@compiler.jit()
def multiply(out, source, weight):
    """out (B,J) += source (B,K or more) @ weight (K,J), for J that is padded."""
    b, rows = 0, out.shape[0]
    while b + ROWS <= rows:
        _many(out, source, weight, b)
        b += ROWS
    while b + 4 <= rows:
        _four(out, source, weight, b)
        b += 4
    while b + 2 <= rows:
        _two(out, source, weight, b)
        b += 2
    if b < rows:
        _one(out, source, weight, b)
