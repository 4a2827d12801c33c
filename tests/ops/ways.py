"""Ways to evaluate one op through the stair: naive loops, scheduled loops, native code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from stepwell.codegen.jit import NativeProgram
from stepwell.ir.graph import Graph, Op
from stepwell.ir.graph.core import Array
from stepwell.ir.loop import interpret_program, verify_program
from stepwell.ir.loop.core import Program
from stepwell.ir.size import evaluate, symbols
from stepwell.ir.target import host
from stepwell.lowering.decompose import Decompose
from stepwell.lowering.fuse import Fuse
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.lowering.plan_memory import PlanMemory
from stepwell.lowering.schedule import Schedule


@lru_cache(maxsize=4)
def _lowered(op: Op, names: tuple[str, ...]) -> tuple[Program, Program, NativeProgram]:
    """The op as a program, naive and scheduled, and as native code."""
    results = tuple((value.name, value) for value in op.results)
    graph = Graph("case", names, op.operands, (), (), (op,), results)
    naive = graph_to_loops(Fuse().run(Decompose().run(graph)))
    verify_program(naive)
    scheduled = PlanMemory().run(Schedule().run(naive))
    verify_program(scheduled)
    return naive, scheduled, NativeProgram.compile(scheduled, host())


def _programs(op: Op, sizes: Mapping[str, int]) -> tuple[Program, Program, NativeProgram]:
    used = {s for v in (*op.operands, *op.results) for dim in v.type.shape for s in symbols(dim)}
    value = op.attributes.get("value") if op.name == "dim" else None
    used |= symbols(value) if value is not None else set()
    return _lowered(op, tuple(sorted(used & set(sizes))))


def _interpreted(
    program: Program, op: Op, arrays: Sequence[Array], sizes: Mapping[str, int]
) -> list[Array]:
    named = {value.name: x for value, x in zip(op.operands, arrays, strict=True)}
    found = interpret_program(program, named, {}, {name: sizes[name] for name in program.sizes})
    return [found[value.name] for value in op.results]


def by_loops(op: Op, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Array]:
    """The naive nest, interpreted."""
    return _interpreted(_programs(op, sizes)[0], op, arrays, sizes)


def by_scheduled_loops(op: Op, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Array]:
    """The scheduled nest, interpreted."""
    return _interpreted(_programs(op, sizes)[1], op, arrays, sizes)


def by_native_code(op: Op, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Array]:
    """The compiled kernel."""
    _, program, native = _programs(op, sizes)
    inputs = [np.ascontiguousarray(x) for x in arrays]
    outputs = [
        np.empty([evaluate(d, sizes) for d in v.type.shape], v.type.dtype.numpy) for v in op.results
    ]
    memory = np.full(evaluate(program.workspace or 0, sizes) + 64, 255, np.uint8)
    workspace = (memory.ctypes.data + 63) // 64 * 64
    status = native.run(
        [sizes[name] for name in program.sizes],
        [x.ctypes.data for x in inputs],
        [y.ctypes.data for y in outputs],
        workspace,
        workspace,
    )
    assert status == 0
    return outputs
