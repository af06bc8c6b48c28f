"""Packs: as wide as the processor that is compiled for has them, and products held to numpy's."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="the literal model runs where numba is missing")

from llvmlite import binding

from ntm.engine import compiler

if compiler.why_not():
    pytest.skip(str(compiler.why_not()), allow_module_level=True)

from ntm.engine import simd

X86, ARM, APPLE = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "arm64-apple-darwin"


@pytest.mark.parametrize(
    "target, expected",
    [
        ((X86, "generic", ""), (4, 4)),
        ((X86, "nehalem", "+sse4.2"), (4, 4)),
        ((X86, "haswell", ""), (8, 4)),
        ((X86, "znver1", ""), (8, 4)),
        ((X86, "skylake-avx512", ""), (16, 8)),
        ((X86, "skylake-avx512", "-avx512f"), (8, 4)),
        ((X86, "generic", "+avx512f"), (16, 8)),
        ((ARM, "generic", ""), (4, 8)),
        ((ARM, "neoverse-v1", ""), (4, 8)),
        ((APPLE, "apple-m1", ""), (4, 8)),
    ],
)
def test_widths_are_those_of_the_processor_that_is_compiled_for(target, expected):
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    assert simd.widths(*target) == expected


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products(dtype, scale):
    generator = np.random.default_rng(0)
    for rows in (1, 2, 3, 5, 8, 13):
        for packs in (1, 2, 3, 4, 7, 10):
            shapes = (rows, packs * simd.LANES), (rows, 6), (6, packs * simd.LANES)
            out, source, weight = ((scale * generator.normal(size=shape)).astype(dtype) for shape in shapes)
            # Seven terms, each rounded at most seven times: relative to the sum of their absolute values.
            terms = np.abs(out) + np.abs(source).astype(np.float64) @ np.abs(weight)
            wanted = out + source.astype(np.float64) @ weight.astype(np.float64)
            simd.multiply(out, source, weight)
            assert (np.abs(out - wanted) <= 7 * np.finfo(dtype).eps * terms).all()
