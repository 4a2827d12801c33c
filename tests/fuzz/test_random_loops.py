"""Random kernels: native code gives what the loop interpreter gives, up to the sign of zeros."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("ir", "native")]

from loop_build import interpreted, kernel_program, machines, run
from loop_kernels import kernels

from stepwell.ir.loop import format_kernel
from stepwell.ir.loop.core import Kernel
from stepwell.ir.target import Target


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kernels(exact=True),
    st.integers(0, 5),
    st.integers(0, 6),
    st.integers(0, 99),
    st.sampled_from(machines()),
)
def test_native_is_interpreted(kernel: Kernel, n: int, m: int, seed: int, target: Target) -> None:
    generator = np.random.default_rng(seed)
    arrays = {
        "x": generator.standard_normal((n, m)).astype(np.float32),
        "ids": generator.integers(-1, n + 1, n),
        "y": np.zeros((n, m), np.float32),
    }
    program, sizes = kernel_program(format_kernel(kernel)), {"N": n, "M": m}
    expected = interpreted(program, sizes, arrays)
    found = run(program, sizes, arrays, target)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
