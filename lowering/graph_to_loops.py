"""From a fused graph to naive loop nests: one kernel each.

In: a graph whose ops are all `kernel`s (after `fuse`) or array constants. Out: a `Program` whose
kernels are the textbook nests: nothing tiled, nothing vectorised. What is computed from parameters
and constants alone is computed once: its kernel's call is a preparation. A parameter that the graph
updates is a state, and so is what it carries along with these; new values are copied there when
nothing reads the old ones any more.

    %0 = kernel(%x) { %m = reduce_max(%x) {axes = [1]} …softmax… }

    kernel softmax[N](x: f32[N, 10] in, out: f32[N, 10] out) {
      for i in 0..N {
        alloc m: f32 register
        m[] = -inf
        for k in 0..10 { m[] = max(m[], x[i, k]) }
        …
        for j in 0..10 { out[i, j] = e[j] / s[] }
      }
    }
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepwell.ir.graph.core import Array, Graph, Op, Parameter, Value, free_name
from stepwell.ir.loop.core import (
    KNOWN,
    Buffer,
    Call,
    Check,
    Kernel,
    Program,
    ProgramBuffer,
    ProgramRole,
    statements,
)
from stepwell.ir.size import symbol
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType
from stepwell.lowering.attention_gradient_nest import AttentionGradientNest
from stepwell.lowering.kernel_nest import Nest
from stepwell.lowering.lower_kernel import lower_kernel
from stepwell.lowering.peel_reshapes import peel_reshapes


def graph_to_loops(graph: Graph) -> Program:
    """Lower every kernel; equal kernels become one. See the module's docstring."""
    return _ProgramLowering(graph).run()


class _ProgramLowering:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.buffers: list[ProgramBuffer] = []
        self.names: dict[Value, str] = {}
        self.taken: set[str] = set()
        self.kernels: list[Kernel] = []
        self.calls: list[Call] = []
        self.preparations: list[Call] = []
        self.known: set[str] = set()  # buffers whose elements are known before any run
        self.copies: dict[str, str] = {}  # output → its buffer, where it is copied from a value

    def run(self) -> Program:
        for value in self.graph.inputs:
            self._add(value, value.name, "input")
        for parameter in self.graph.parameters:
            self._hold(parameter)
        self._outputs()
        for op in self.graph.ops:
            self._lower(op)
        for name, value in self.graph.results:
            if name in self.copies:
                self._copy(value.type, self.names[value], self.copies[name])
        self._updates()
        return Program(
            self.graph.name,
            self.graph.sizes,
            tuple(self.buffers),
            self.graph.constraints,
            tuple(self.calls),
            tuple(self.kernels),
            None,
            tuple(self.preparations),
        )

    def _add(self, value: Value, hint: str, role: ProgramRole, data: Array | None = None) -> str:
        name = free_name(hint, self.taken)
        self.taken.add(name)
        self.names.setdefault(value, name)
        buffer = Buffer(name, value.type.dtype, value.type.shape)
        self.buffers.append(ProgramBuffer(buffer, role, data))
        if role in KNOWN:
            self.known.add(name)
        return name

    def _hold(self, parameter: Parameter) -> None:
        name = free_name(parameter.path, self.taken)
        updates = dict(self.graph.updates)
        mutable = parameter.value in updates or (updates and parameter.kind == "state")
        role: ProgramRole = "state" if mutable else "parameter"
        self._add(parameter.value, name, role)
        self.buffers[-1] = replace(
            self.buffers[-1],
            initializer=parameter.initializer,
            trained=role == "state" and parameter.kind == "param",
        )

    def _outputs(self) -> None:
        """Output buffers; results that no kernel writes into one of their own are copied."""
        producers = self.graph.producers()
        for hint, value in self.graph.results:
            producer = producers.get(value)
            if producer is None or producer.name != "kernel" or value in self.names:
                own = Value(f"{hint}.copy", value.type)
                self.copies[hint] = self._add(own, hint, "output")
            else:
                self._add(value, hint, "output")

    def _lower(self, op: Op) -> None:
        if op.name == "constant":
            self._add(op.result, op.result.name, "constant", op.attributes["value"])
            return
        region, constants = _hoist_constants(op.regions[0])
        region = peel_reshapes(region)
        for value, data in constants:
            self._add(value, value.name, "constant", data)
        operands = [self.names[v] for v in (*op.operands, *(value for value, _ in constants))]
        kernel = self._kernel(
            region, op.attributes["name"], op.attributes["family"], op.span, operands
        )
        apart = not any(value in self.names for value in op.results)
        once = apart and self.known.issuperset(operands) and _can_run_before(kernel)
        for value in op.results:
            if value not in self.names:
                self._add(value, value.name, "prepared" if once else "temporary")
        calls = self.preparations if once else self.calls
        calls.append(_call(kernel, [*operands, *(self.names[value] for value in op.results)]))

    def _kernel(
        self, region: Graph, name: str, family: str, span: Span | None, operands: Sequence[str]
    ) -> Kernel:
        taken = {kernel.name for kernel in self.kernels}
        inputs = zip(region.inputs, operands, strict=True)
        known = {value for value, operand in inputs if operand in self.known}
        name = free_name(name, taken)
        make = AttentionGradientNest if family == "attention_gradient" else Nest
        kernel = lower_kernel(region, name, family, self.graph.sizes, span, known, make)
        self.kernels.append(kernel)
        return kernel

    def _updates(self) -> None:
        """What is the old value of another state is put aside before any is written."""
        states = dict(self.graph.updates)
        changing = [(value, new) for value, new in self.graph.updates if value != new]
        sources = [self.names[new] for _, new in changing]
        for number, (value, new) in enumerate(changing):
            if new in states:
                aside = self._add(Value(f"{value.name}.next", value.type), "next", "temporary")
                self._copy(value.type, sources[number], aside)
                sources[number] = aside
        for (value, _), source in zip(changing, sources, strict=True):
            self._copy(value.type, source, self.names[value])

    def _copy(self, type: TensorType, source: str, target: str) -> None:
        """A kernel that copies what no kernel can write where it belongs."""
        x = Value("x", type)
        region = Graph("copy", (), (x,), (), (), (), (("y", x),))
        kernel = self._kernel(region, f"copy_{target}", "pointwise", None, [source])
        self.calls.append(_call(kernel, [source, target]))


def _call(kernel: Kernel, arguments: Sequence[str]) -> Call:
    sizes = tuple(symbol(size) for size in kernel.sizes)
    return Call(kernel.name, sizes, tuple(arguments), None, kernel.span)


def _can_run_before(kernel: Kernel) -> bool:
    """Whether no size and no failing check keeps the kernel from running before any input is."""
    return not kernel.sizes and not any(isinstance(s, Check) for s in statements(kernel.body))


def _hoist_constants(region: Graph) -> tuple[Graph, list[tuple[Value, Array]]]:
    """Array constants of a region become inputs of it: data is the program's, not a kernel's."""
    found = [
        op
        for op in region.ops
        if op.name == "constant" and isinstance(op.attributes["value"], np.ndarray)
    ]
    if not found:
        return region, []
    ops = tuple(op for op in region.ops if op not in found)
    inputs = (*region.inputs, *(op.result for op in found))
    hoisted = [(op.result, op.attributes["value"]) for op in found]
    return replace(region, ops=ops, inputs=inputs), hoisted
